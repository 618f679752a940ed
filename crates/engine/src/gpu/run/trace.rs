//! Runs a step dispatch by dispatch and reads back what each wrote: what `check` compares. Buffers hold guard words before they are
//! written, so that numbers that a kernel left out, or wrote past its result, are seen.

use std::sync::atomic::Ordering;

use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::memory::kv_layout::KvPlaces;
use crate::gpu::plan::{Arithmetic, Launch, Operand, RowClass};
use crate::gpu::run::readback;
use crate::graph::{Node, Step};
use crate::memory::PAGE;
use crate::ops::Op;

/// What one dispatch computed.
pub struct Traced {
    /// The kernel.
    pub kernel: String,
    /// All nodes that it computed, in the graph's order.
    pub nodes: Vec<Node>,
    /// The values that it wrote, `[rows][cols]`. What it left out is not a number.
    pub values: Vec<(Node, Vec<f32>)>,
    /// The states that nodes have moved on, of the step's slots in their order.
    pub states: Vec<(Node, Vec<f32>)>,
    /// Nodes past whose rows it wrote, or in whose cache or states it wrote elsewhere: none, unless a kernel is wrong.
    pub out_of_bounds: Vec<Node>,
    /// In what it multiplies.
    pub arithmetic: Arithmetic,
}

/// What a node's buffer holds before it is written: a NaN. Each node has its own, because what reads one hands it on.
fn guard(node: Node) -> u32 {
    0x7fc0_0001 + node.0 as u32
}

impl Gpu {
    /// Whether [`Masks::mutation`](crate::gpu::Masks::mutation) changed any kernel's text.
    pub fn is_mutated(&self) -> bool {
        self.device.mutated.load(Ordering::Relaxed)
    }

    /// Runs `step` and hands out what every dispatch computed, in order.
    pub async fn trace(&mut self, step: &Step, see: &mut dyn FnMut(Traced) -> Result<()>) -> Result<()> {
        let class = self.class_of(step);
        self.write_step(class, step);
        self.make_ready(&self.bound[class as usize], step)?;
        for at in 0..self.bound[class as usize].len() {
            // Some are there for other lengths of a sequence.
            if !self.bound[class as usize][at].runs(step) {
                continue;
            }
            let launches = &self.launches[class as usize][at];
            self.guard_values(class, at, step);
            let caches = self.caches_written(launches);
            let mut before = Vec::new();
            for &(_, cache) in &caches {
                before.push(self.read(self.buffers.cache(cache)).await?);
            }
            let moved = self.states_moved(launches);
            let mut stood = Vec::new();
            for &(_, state) in &moved {
                stood.push(self.read(self.buffers.state(state)).await?);
            }
            let mut encoder = self.device.device.create_command_encoder(&Default::default());
            {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                self.bound[class as usize][at].encode(&mut pass, step);
            }
            self.device.queue.submit([encoder.finish()]);
            let (mut values, mut states, mut out_of_bounds) = (Vec::new(), Vec::new(), Vec::new());
            for (&(node, state), before) in moved.iter().zip(stood) {
                let (found, spill) = self.states_after(step, state, &before).await?;
                states.push((node, found));
                if spill {
                    out_of_bounds.push(node);
                }
            }
            for &node in &launches.nodes {
                let (value, spill) = match caches.iter().position(|(n, _)| *n == node) {
                    Some(i) => self.stored(step, caches[i].1, &before[i]).await?,
                    None if names(launches, node) => self.value_of(class, step, node).await?,
                    None => continue, // a value between the nodes of a fused kernel
                };
                values.push((node, value));
                if spill {
                    out_of_bounds.push(node);
                }
            }
            let arithmetic = launches.arithmetic;
            see(Traced {
                kernel: launches.label(),
                nodes: launches.nodes.clone(),
                values,
                states,
                out_of_bounds,
                arithmetic,
            })?;
        }
        Ok(())
    }

    /// Fills the buffers of the values that dispatch `at` is the first to name, and so the first to write.
    fn guard_values(&self, class: RowClass, at: usize, step: &Step) {
        let launches = &self.launches[class as usize];
        let before = launches[..at].iter().zip(&self.bound[class as usize]);
        let before: Vec<&Launch> = before.filter(|(_, bound)| bound.runs(step)).map(|(l, _)| l).collect();
        for (_, operand) in &launches[at].operands {
            if let Operand::Value(node) = operand
                && !before.iter().any(|p| names(p, *node))
            {
                let buffer = self.buffers.value(class, *node);
                let words = vec![guard(*node); buffer.size() as usize / 4];
                self.device.queue.write_buffer(buffer, 0, bytemuck::cast_slice(&words));
            }
        }
    }

    /// The `store` nodes of a dispatch, with their caches.
    fn caches_written(&self, launches: &Launch) -> Vec<(Node, Node)> {
        let cache = |&node: &Node| {
            let (op, inputs) = self.model.graph.entry(node).op()?;
            matches!(op, Op::Store(_)).then(|| (node, inputs[1]))
        };
        launches.nodes.iter().filter_map(cache).collect()
    }

    /// The nodes of a dispatch that move states on, with these.
    fn states_moved(&self, launches: &Launch) -> Vec<(Node, Node)> {
        launches.nodes.iter().filter_map(|&node| Some((node, self.model.graph.state_of(node)?))).collect()
    }

    /// The states of a step's slots, and whether any other slot's have changed since `before`.
    async fn states_after(&self, step: &Step, state: Node, before: &[u8]) -> Result<(Vec<f32>, bool)> {
        let bytes = self.model.graph.shape(state).cols * 4;
        let mut data = self.read(self.buffers.state(state)).await?;
        let mut found = Vec::new();
        for rows in step.runs() {
            let at = step.rows[rows.start].slot as usize * bytes;
            found.extend(bytemuck::pod_collect_to_vec::<u8, f32>(&data[at..at + bytes]));
            data[at..at + bytes].copy_from_slice(&before[at..at + bytes]);
        }
        Ok((found, data != before))
    }

    async fn read(&self, buffer: &wgpu::Buffer) -> Result<Vec<u8>> {
        let encoder = self.device.device.create_command_encoder(&Default::default());
        readback::copy(&self.device, encoder, buffer, buffer.size()).await
    }

    /// The value of a node, and whether anything behind it was written.
    async fn value_of(&self, class: RowClass, step: &Step, node: Node) -> Result<(Vec<f32>, bool)> {
        let shape = self.model.graph.shape(node);
        let rows = shape.rows_in(step);
        let data = self.read(self.buffers.value(class, node)).await?;
        let (value, behind) = data.split_at(rows * shape.stride() * 4);
        let out_of_bounds = behind.chunks_exact(4).any(|word| word != guard(node).to_le_bytes());
        Ok((readback::rows(value, rows, shape), out_of_bounds))
    }

    /// What a step wrote into a cache, and whether anything else there has changed since `before`.
    async fn stored(&self, step: &Step, cache: Node, before: &[u8]) -> Result<(Vec<f32>, bool)> {
        let graph = &self.model.graph;
        let Some(places) = KvPlaces::of(graph, self.config.kv, cache) else {
            panic!("{} is no cache", graph.entry(cache).label)
        };
        let KvPlaces { format, heads, head_dim, .. } = places;
        let mut data = self.read(self.buffers.cache(cache)).await?;
        let mut out = vec![0.0; step.rows.len() * heads * head_dim];
        let written = step.rows.iter().flat_map(|row| (0..heads).map(move |head| (row, head)));
        for ((row, head), out) in written.zip(out.chunks_exact_mut(head_dim)) {
            let page = self.tables[row.slot as usize][row.position as usize / PAGE];
            // The head's elements in the order in which the host stores them.
            let mut stored = Vec::with_capacity(format.bytes(head_dim));
            for element in places.elements(page, row.position as usize, head) {
                let bytes = element * format.element..(element + 1) * format.element;
                stored.extend_from_slice(&data[bytes.clone()]);
                data[bytes.clone()].copy_from_slice(&before[bytes]);
            }
            (format.load)(&stored, out);
        }
        Ok((out, data != before))
    }
}

/// Whether a dispatch reads or writes the value of a node.
fn names(launches: &Launch, node: Node) -> bool {
    launches.operands.iter().any(|(_, o)| *o == Operand::Value(node))
}
