//! The results as a table, CSV, JSON or lines of JSON: llama-bench's columns and keys, and ours behind them.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::measure::{Samples, Setup, Test, mean_and_deviation};
use crate::profile::Profiled;
use crate::report;
use crate::text::bandwidth;

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A table in Markdown.
    Md,
    /// Values separated by commas, with a head line.
    Csv,
    /// One list of objects.
    Json,
    /// An object on each line.
    Jsonl,
}

impl Format {
    /// Reads `-o`.
    pub fn parse(name: &str) -> Result<Format, String> {
        match name {
            "md" => Ok(Format::Md),
            "csv" => Ok(Format::Csv),
            "json" => Ok(Format::Json),
            "jsonl" => Ok(Format::Jsonl),
            _ => Err("known are md, csv, json, jsonl".into()),
        }
    }
}

/// Writes results to standard output as they come.
pub struct Output {
    format: Format,
    rows: usize,
    /// What stands below the table: about each backend once, then each share of bandwidth.
    notes: Vec<String>,
    /// Where the time of each generation goes, below that.
    profiles: Vec<String>,
}

/// What was measured of a test.
pub struct Measured {
    /// How long it took.
    pub samples: Samples,
    /// Bytes per second that the device reads.
    pub read_bandwidth: Option<f64>,
    /// Where the time goes, if that was asked for.
    pub profiled: Option<Profiled>,
}

/// Titles and widths of the table; the first and the fourth column are text.
const COLUMNS: [(&str, usize); 7] =
    [("model", 30), ("size", 10), ("params", 10), ("backend", 10), ("ngl", 3), ("test", 15), ("t/s", 20)];

impl Output {
    /// Nothing is written before the first result: what fails before that leaves no half of a table.
    pub fn new(format: Format) -> Output {
        Output { format, rows: 0, notes: Vec::new(), profiles: Vec::new() }
    }

    /// Writes what stands above the results.
    fn begin(&self, out: &mut impl Write) -> io::Result<()> {
        match self.format {
            Format::Md => {
                writeln!(out, "{}", line(COLUMNS.map(|(title, _)| title.to_string())))?;
                let rule = |(i, (_, width)): (usize, (&str, usize))| match is_text(i) {
                    true => "-".repeat(width),
                    false => format!("{}:", "-".repeat(width - 1)),
                };
                let rules: Vec<String> = COLUMNS.into_iter().enumerate().map(rule).collect();
                writeln!(out, "| {} |", rules.join(" | "))
            }
            Format::Json => writeln!(out, "["),
            Format::Csv | Format::Jsonl => Ok(()),
        }
    }

    /// Writes the result of one test.
    pub fn row(&mut self, setup: &Setup, test: &Test, measured: &Measured) -> io::Result<()> {
        let &Measured { ref samples, read_bandwidth, ref profiled } = measured;
        let share = share(setup, test, samples, read_bandwidth);
        let mut out = io::stdout().lock();
        if self.rows == 0 {
            self.begin(&mut out)?;
        }
        match self.format {
            Format::Md => {
                let (mean, deviation) = mean_and_deviation(&samples.tps);
                let cells = [
                    setup.model.clone(),
                    size(setup.bytes),
                    short(setup.weights),
                    report::api_name(&setup.device.api).into(),
                    setup.gpu_layers.to_string(),
                    test.to_string(),
                    format!("{mean:.2} ± {deviation:.2}"),
                ];
                writeln!(out, "{}", line(cells))?;
                self.note(setup, test, share, read_bandwidth);
                self.notes.extend(report::drafts_line(samples.drafts).map(|line| format!("{test}: {line}")));
                self.profiles.extend(profiled.iter().map(|p| format!("{test}: {}", p.table())));
            }
            format => {
                let mut object = object(setup, test, samples, share, read_bandwidth);
                object.extend(profiled.iter().flat_map(Profiled::json));
                match format {
                    Format::Csv if self.rows == 0 => {
                        writeln!(out, "{}\n{}", csv_head(&object), csv(&object))?
                    }
                    Format::Csv => writeln!(out, "{}", csv(&object))?,
                    Format::Json => {
                        write!(out, "{}{:#}", if self.rows > 0 { ",\n" } else { "" }, Value::Object(object))?;
                    }
                    _ => writeln!(out, "{}", Value::Object(object))?,
                }
            }
        }
        self.rows += 1;
        out.flush()
    }

    fn note(&mut self, setup: &Setup, test: &Test, share: Option<f64>, read_bandwidth: Option<f64>) {
        let device = format!(
            "{} · {} of weights on the device · KV in {} · {} nodes on the CPU · pipelines made in {:.0} ms",
            report::device_line(&setup.device),
            size(setup.device_bytes),
            setup.kv.name(),
            setup.cpu_nodes,
            setup.pipelines_ms,
        );
        if !self.notes.contains(&device) {
            self.notes.push(device);
        }
        if let (Some(share), Some(device)) = (share, read_bandwidth) {
            self.notes.push(format!("{test}: {:.1} % of {}", share * 100.0, bandwidth(device)));
        }
    }

    /// Ends what was written before an error: JSON stays JSON.
    pub fn abandon(self) -> io::Result<()> {
        if self.rows > 0 && self.format == Format::Json {
            return writeln!(io::stdout(), "\n]");
        }
        Ok(())
    }

    /// Writes what stands below the results.
    pub fn end(self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.rows == 0 {
            self.begin(&mut out)?;
        }
        match self.format {
            Format::Md => {
                writeln!(out, "\n{}", self.notes.join("\n"))?;
                self.profiles.iter().try_for_each(|profile| write!(out, "\n{profile}"))
            }
            Format::Json => writeln!(out, "\n]"),
            Format::Csv | Format::Jsonl => Ok(()),
        }
    }
}

fn is_text(column: usize) -> bool {
    column == 0 || column == 3
}

fn line(cells: [String; COLUMNS.len()]) -> String {
    let cell = |(i, (cell, (_, width))): (usize, (String, (&str, usize)))| match is_text(i) {
        true => format!("{cell:width$}"),
        false => format!("{cell:>width$}"),
    };
    let cells: Vec<String> = cells.into_iter().zip(COLUMNS).enumerate().map(cell).collect();
    format!("| {} |", cells.join(" | "))
}

/// Bytes as llama-bench writes them: 1.22 GiB.
fn size(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    if mib >= 1024.0 { format!("{:.2} GiB", mib / 1024.0) } else { format!("{mib:.2} MiB") }
}

/// A number of weights as llama-bench writes it: 1.24 B.
pub fn short(weights: u64) -> String {
    let millions = weights as f64 / 1e6;
    if millions >= 1000.0 { format!("{:.2} B", millions / 1e3) } else { format!("{millions:.2} M") }
}

/// The share of the read bandwidth at which a generation read weights; a prompt is not bound by it, and drafts share what is read.
fn share(setup: &Setup, test: &Test, samples: &Samples, read_bandwidth: Option<f64>) -> Option<f64> {
    let (tps, _) = mean_and_deviation(&samples.tps);
    let one_by_one = test.prompt == 0 && samples.drafts.drafted == 0;
    read_bandwidth.filter(|_| one_by_one).map(|device| tps * setup.bytes_per_token as f64 / device)
}

fn object(
    setup: &Setup,
    test: &Test,
    samples: &Samples,
    share: Option<f64>,
    read_bandwidth: Option<f64>,
) -> Map<String, Value> {
    let (avg_ns, stddev_ns) = mean_and_deviation(&samples.ns.iter().map(|&ns| ns as f64).collect::<Vec<_>>());
    let (avg_ts, stddev_ts) = mean_and_deviation(&samples.tps);
    let gpu = setup.gpu_layers > 0;
    let object = json!({
        "build_commit": concat!("wgllm ", env!("CARGO_PKG_VERSION")),
        "cpu_info": cpu_info(),
        "gpu_info": if gpu { setup.device.name.as_str() } else { "" },
        "backends": report::api_name(&setup.device.api),
        "model_filename": setup.file,
        "model_type": setup.model,
        "model_size": setup.bytes,
        "model_n_params": setup.weights,
        "n_batch": setup.batch,
        "n_ubatch": setup.batch,
        "n_threads": setup.threads,
        "type_k": setup.kv.keys.name,
        "type_v": setup.kv.values.name,
        "n_gpu_layers": setup.gpu_layers,
        "n_prompt": test.prompt,
        "n_gen": test.tokens,
        "n_depth": test.depth,
        "n_parallel": test.parallel,
        "test_time": now(),
        "avg_ns": avg_ns.round() as u64,
        "stddev_ns": stddev_ns.round() as u64,
        "avg_ts": avg_ts,
        "stddev_ts": stddev_ts,
        "samples_ns": samples.ns,
        "samples_ts": samples.tps,
        "adapter": setup.device.name,
        "api": setup.device.api,
        "driver": setup.device.driver,
        "features": setup.device.features,
        "tuned": setup.device.features.iter().any(|feature| feature == "tuned"),
        "cold_ms": setup.pipelines_ms,
        "bytes_weights": setup.device_bytes,
        "pct_bandwidth": share.map(|s| s * 100.0),
        "read_bandwidth": read_bandwidth,
        "cpu_ops": setup.cpu_nodes,
        "n_lookup": setup.lookup,
        "draft_n": samples.drafts.drafted,
        "draft_n_accepted": samples.drafts.accepted,
    });
    match object {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn csv_head(object: &Map<String, Value>) -> String {
    let scalar = object.iter().filter(|(key, _)| !key.starts_with("samples_"));
    scalar.map(|(key, _)| key.as_str()).collect::<Vec<_>>().join(",")
}

/// Every value in quotes, as in llama-bench; the single samples are left out, as there.
fn csv(object: &Map<String, Value>) -> String {
    let text = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    };
    let quoted = |value: &Value| format!("\"{}\"", text(value).replace('"', "\"\""));
    let scalar = object.iter().filter(|(key, _)| !key.starts_with("samples_"));
    scalar.map(|(_, value)| quoted(value)).collect::<Vec<_>>().join(",")
}

/// The processor's name, where the system tells.
fn cpu_info() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|l| l.strip_prefix("model name")).and_then(|l| l.split_once(':'));
    name.map_or(std::env::consts::ARCH, |(_, name)| name.trim()).into()
}

/// The time in UTC: 2026-10-14T09:30:00Z.
fn now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The date of a day since 1970, counted in years that begin in March, so that leap days come last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // from 1 March of the year 0
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates_on_both_sides_of_leap_days() {
        let cases = [
            (0, (1970, 1, 1)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (20_740, (2026, 10, 14)),
        ];
        for (days, expected) in cases {
            assert_eq!(date(days), expected, "day {days}");
        }
    }

    #[test]
    fn values_of_csv_keep_their_quotes_apart() {
        let object = json!({ "a": "x \"y\"", "b": null, "c": ["f16", "dot4"], "samples_ns": [1], "d": 2.5 });
        let Value::Object(object) = object else { panic!("not an object") };
        assert_eq!(csv_head(&object), "a,b,c,d");
        assert_eq!(csv(&object), "\"x \"\"y\"\"\",\"\",\"f16 dot4\",\"2.5\"");
    }

    #[test]
    fn rows_of_the_table_are_as_wide_as_its_head() {
        let head = line(COLUMNS.map(|(title, _)| title.to_string()));
        let row = line(
            ["llama 1B Q8_0", "1.22 GiB", "1.24 B", "Vulkan", "99", "tg128", "1604.12 ± 3.40"]
                .map(String::from),
        );
        assert_eq!(head.chars().count(), row.chars().count());
    }
}
