//! `--profile`: where the time of a step goes, as a table for people and as JSON.

use serde_json::{Map, Value, json};
use wgllm_engine::Result;
use wgllm_engine::backend::{Backend, DispatchGroup, Profile};

use super::text::{bandwidth, count};

/// A profile, and what it is compared with.
pub struct Profiled {
    profile: Profile,
    /// Microseconds of a token by the clock on the wall, where some were generated.
    wall_us: Option<f64>,
    /// Bytes per second that the device reads.
    device: Option<f64>,
}

/// Columns of the table; the first three are text.
const COLUMNS: [&str; 12] = [
    "kernel",
    "node",
    "weights",
    "shape",
    "n",
    "µs",
    "µs each",
    "weights MB",
    "cache MB",
    "GB/s",
    "of read",
    "TFLOP/s",
];
const TEXT: usize = 3;

impl Profiled {
    /// Profiles a step of `rows` rows from `position` on; tokens took `wall_us` each when they were generated around there.
    pub fn measure(
        backend: &mut dyn Backend,
        position: usize,
        rows: usize,
        wall_us: Option<f64>,
    ) -> Result<Profiled> {
        let device = backend.read_bandwidth();
        Ok(Profiled { profile: backend.profile(position as u32, rows)?, wall_us, device })
    }

    /// The share of the time in which the GPU computes.
    fn busy(&self) -> Option<f64> {
        self.wall_us.filter(|&us| us > 0.0).map(|us| self.profile.step_us / us)
    }

    fn share(&self, group: &DispatchGroup) -> Option<f64> {
        self.device.filter(|_| group.rate() > 0.0).map(|device| group.rate() / device)
    }

    /// A table in Markdown, and what the groups come to below it.
    pub fn table(&self) -> String {
        let mut rows = vec![COLUMNS.map(String::from)];
        rows.extend(self.profile.groups.iter().map(|g| self.cells(g)));
        // Two at least: `-:`
        let width = |c: usize| rows.iter().map(|row| row[c].chars().count()).max().unwrap_or(0).max(2);
        let widths: [usize; COLUMNS.len()] = std::array::from_fn(width);
        let line = |row: &[String; COLUMNS.len()]| {
            let cell = |c: usize| match c < TEXT {
                true => format!("{:1$}", row[c], widths[c]),
                false => format!("{:>1$}", row[c], widths[c]),
            };
            format!("| {} |\n", (0..COLUMNS.len()).map(cell).collect::<Vec<_>>().join(" | "))
        };
        let rule = |c: usize| match c < TEXT {
            true => "-".repeat(widths[c]),
            false => format!("{}:", "-".repeat(widths[c] - 1)),
        };
        let position = count(self.profile.position);
        let mut text = match self.profile.rows {
            1 => format!("a decode step at position {position}:\n\n"),
            rows => format!("a step of {rows} rows from position {position} on:\n\n"),
        };
        text += &line(&rows[0]);
        text += &line(&std::array::from_fn(rule));
        text.extend(rows[1..].iter().map(line));
        text + "\n" + &self.sums()
    }

    fn cells(&self, g: &DispatchGroup) -> [String; COLUMNS.len()] {
        let shown = |holds: bool, text: String| if holds { text } else { String::new() };
        let megabytes = |bytes: u64| shown(bytes > 0, format!("{:.1}", bytes as f64 / 1e6));
        [
            g.kernel.clone(),
            g.node.clone(),
            g.format.into(),
            shown(!g.format.is_empty(), format!("{} × {}", g.shape[0], g.shape[1])),
            g.count.to_string(),
            format!("{:.1}", g.us),
            format!("{:.1}", g.us / g.count as f64),
            megabytes(g.weight_bytes),
            megabytes(g.cache_bytes),
            shown(g.rate() > 0.0, format!("{:.0}", g.rate() / 1e9)),
            self.share(g).map_or(String::new(), |share| format!("{:.0} %", share * 100.0)),
            shown(g.operations > 0, format!("{:.1}", g.operation_rate() / 1e12)),
        ]
    }

    /// `groups 512 µs, 103 % of the step in one pass, 497 µs · a token by the clock on the wall 520 µs: the GPU is busy for 96 %`
    fn sums(&self) -> String {
        let p = &self.profile;
        let mut text = format!(
            "groups {:.1} µs, {:.0} % of the step in one pass, {:.1} µs",
            p.sum_us(),
            p.sum_us() / p.step_us * 100.0,
            p.step_us
        );
        if let (Some(wall), Some(busy)) = (self.wall_us, self.busy()) {
            text += &format!(
                " · a token by the clock on the wall {wall:.1} µs: the GPU is busy for {:.0} % of it",
                busy * 100.0
            );
        }
        text += &format!("\na pass itself takes {:.1} µs, which is not in these times", p.pass_us);
        if let Some(device) = self.device {
            text += &format!(" · the device reads {}", bandwidth(device));
        }
        text + "\n"
    }

    /// The groups and what they come to, for the members of another object.
    pub fn json(&self) -> Map<String, Value> {
        let group = |g: &DispatchGroup| {
            json!({
                "kernel": g.kernel,
                "node": g.node,
                "format": g.format,
                "shape": g.shape,
                "count": g.count,
                "us": g.us,
                "us_each": g.us / g.count as f64,
                "weight_bytes": g.weight_bytes,
                "cache_bytes": g.cache_bytes,
                "bytes_per_second": g.rate(),
                "bandwidth_share": self.share(g),
                "operations": g.operations,
            })
        };
        let p = &self.profile;
        let object = json!({
            "profile": p.groups.iter().map(group).collect::<Vec<_>>(),
            "profile_position": p.position,
            "profile_rows": p.rows,
            "profile_sum_us": p.sum_us(),
            "profile_step_us": p.step_us,
            "profile_pass_us": p.pass_us,
            "wall_us": self.wall_us,
            "gpu_busy": self.busy(),
        });
        match object {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }
}
