//! Where the time of a decode step goes, dispatch by dispatch, from timestamps that the device takes itself.

use crate::error::{Error, Result};
use crate::gpu::plan::Class;
use crate::gpu::{Gpu, readback};
use crate::graph::{Row, Step};

/// What the dispatches of one kernel took in a step.
#[derive(Clone, Debug, serde::Serialize)]
pub struct KernelTime {
    /// The kernel and what is in its slots.
    pub kernel: String,
    /// The node that it computes last, without the layer; empty for what no node is.
    pub node: String,
    /// How often it runs in a step.
    pub count: usize,
    /// Microseconds of all of them, the median over the repeats.
    pub us: f64,
    /// Bytes of weights that they read.
    pub bytes: u64,
}

impl Gpu {
    /// Runs the decode step at `position` some times and says what each kernel took.
    pub fn profile(&mut self, position: u32, repeats: usize) -> Result<Vec<KernelTime>> {
        if !self.device.caps.timestamps {
            return Err(Error::Device(format!("{} has no timestamps within a pass", self.device.info.name)));
        }
        let step = Step { rows: vec![Row { token: 1, slot: 0, position }], asked: vec![0] };
        let class = Class::One;
        self.write_step(class, &step);
        let ran: Vec<usize> = (0..self.stages[0].len()).filter(|&i| self.stages[0][i].runs(&step)).collect();
        let count = ran.len() as u32 + 1;
        let queries = self.device.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("profile"),
            ty: wgpu::QueryType::Timestamp,
            count,
        });
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let resolved = self.device.buffer("timestamps", count as u64 * 8, usage)?;
        let mut times: Vec<Vec<f64>> = vec![Vec::new(); ran.len()];
        for _ in 0..repeats {
            let mut encoder = self.device.device.create_command_encoder(&Default::default());
            {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                pass.write_timestamp(&queries, 0);
                for (i, &at) in ran.iter().enumerate() {
                    self.stages[0][at].encode(&mut pass, &step);
                    pass.write_timestamp(&queries, i as u32 + 1);
                }
            }
            encoder.resolve_query_set(&queries, 0..count, &resolved, 0);
            let bytes = readback::copy(&self.device, encoder, &resolved, count as u64 * 8)?;
            let stamps: Vec<u64> = bytemuck::pod_collect_to_vec(&bytes);
            let period = self.device.queue.get_timestamp_period() as f64 / 1e3;
            for (time, pair) in times.iter_mut().zip(stamps.windows(2)) {
                time.push(pair[1].saturating_sub(pair[0]) as f64 * period);
            }
        }
        Ok(self.sum(&ran, times))
    }

    fn sum(&self, ran: &[usize], times: Vec<Vec<f64>>) -> Vec<KernelTime> {
        let mut sums: Vec<KernelTime> = Vec::new();
        for (&at, mut time) in ran.iter().zip(times) {
            let planned = &self.planned[0][at];
            let node = planned.nodes.last().map_or("", |&n| self.model.graph.entry(n).label.as_str());
            let node = node.rsplit('.').next().unwrap_or(node).to_string();
            let kernel = planned.label();
            time.sort_by(f64::total_cmp);
            let us = time.get(time.len() / 2).copied().unwrap_or_default();
            let bytes =
                planned.weight.map_or(0, |(m, p)| self.weights.planes[m][p].iter().map(|b| b.size()).sum());
            match sums.iter_mut().find(|s| (&s.kernel, &s.node) == (&kernel, &node)) {
                Some(s) => {
                    s.count += 1;
                    s.us += us;
                    s.bytes += bytes;
                }
                None => sums.push(KernelTime { kernel, node, count: 1, us, bytes }),
            }
        }
        sums
    }
}
