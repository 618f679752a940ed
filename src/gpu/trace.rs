//! Runs a step dispatch by dispatch and reads back what each wrote: what `check` compares.

use std::ops::Range;

use crate::error::Result;
use crate::gpu::plan::{Class, Operand, Planned};
use crate::gpu::{Gpu, readback};
use crate::graph::{Node, Shape, Step};

/// What one dispatch computed.
pub struct Traced {
    /// The kernel.
    pub kernel: String,
    /// All nodes that it computed, in the graph's order.
    pub nodes: Vec<Node>,
    /// The values that it wrote, `[rows][cols]`.
    pub values: Vec<(Node, Vec<f32>)>,
    /// Whether it computes with activations in int8, which costs more than rounding.
    pub integer: bool,
}

impl Gpu {
    /// Runs `step` and hands out what every dispatch computed, in order.
    pub fn trace(&mut self, step: &Step, see: &mut dyn FnMut(Traced) -> Result<()>) -> Result<()> {
        let class = Gpu::class_of(step);
        self.write_step(class, step);
        for at in 0..self.stages[class as usize].len() {
            let mut encoder = self.device.device.create_command_encoder(&Default::default());
            {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                self.stages[class as usize][at].encode(&mut pass, step);
            }
            self.device.queue.submit([encoder.finish()]);
            let planned = &self.planned[class as usize][at];
            let mut values = Vec::new();
            for &node in &planned.nodes {
                if let Some(value) = self.value_of(class, step, planned, node)? {
                    values.push((node, value));
                }
            }
            let integer = planned.slots.input == Some("i8");
            see(Traced { kernel: planned.label(), nodes: planned.nodes.clone(), values, integer })?;
        }
        Ok(())
    }

    /// The value of a node, if the dispatch that computed it kept it.
    fn value_of(&self, class: Class, step: &Step, planned: &Planned, node: Node) -> Result<Option<Vec<f32>>> {
        let graph = &self.model.graph;
        let shape = graph.shape(node);
        let rows = shape.rows_in(step);
        let Some((op, inputs)) = graph.entry(node).op() else { return Ok(None) };
        if op.name() == "store" {
            return self.stored(step, inputs[1], shape).map(Some);
        }
        if !planned.operands.iter().any(|(_, o)| *o == Operand::Value(node)) {
            return Ok(None);
        }
        let encoder = self.device.device.create_command_encoder(&Default::default());
        let bytes = (rows * shape.stride() * 4) as u64;
        if bytes == 0 {
            return Ok(Some(Vec::new()));
        }
        let data = readback::copy(&self.device, encoder, self.buffers.value(class, node), bytes)?;
        Ok(Some(readback::rows(&data, rows, shape)))
    }

    /// What a step wrote into a cache.
    fn stored(&self, step: &Step, cache: Node, shape: Shape) -> Result<Vec<f32>> {
        let buffer = self.buffers.cache(cache);
        let number = buffer.size() as usize / (self.plan.slots * self.plan.context * shape.cols);
        let line = shape.cols * number;
        let place = |row: &crate::graph::Row| -> Range<usize> {
            let at = (row.slot as usize * self.plan.context + row.position as usize) * line;
            at..at + line
        };
        let encoder = self.device.device.create_command_encoder(&Default::default());
        let data = readback::copy(&self.device, encoder, buffer, buffer.size())?;
        let mut out = Vec::with_capacity(step.rows.len() * shape.cols);
        for row in &step.rows {
            let bytes = &data[place(row)];
            if number == 4 {
                out.extend(bytemuck::pod_collect_to_vec::<u8, f32>(bytes));
            } else {
                out.extend(bytemuck::pod_collect_to_vec::<u8, half::f16>(bytes).iter().map(|h| h.to_f32()));
            }
        }
        Ok(out)
    }
}
