//! Everything on the device besides weights: activations from the pool, caches, tables, steps, and where results come back.

use std::collections::HashMap;

use crate::backend::{Precision, RuntimeConfig};
use crate::error::{Error, Result};
use crate::gguf::Gguf;
use crate::gpu::attention;
use crate::gpu::device::Device;
use crate::gpu::kv_layout;
use crate::gpu::plan::{Launch, Operand, RowClass};
use crate::gpu::pool::Pool;
use crate::gpu::upload::Uploader;
use crate::gpu::weights::{Weights, weight};
use crate::graph::{Graph, Kind, Node, Rows, Step};
use crate::ops::{Op, Rope, WeightRows};

const STORAGE: wgpu::BufferUsages =
    wgpu::BufferUsages::STORAGE.union(wgpu::BufferUsages::COPY_DST).union(wgpu::BufferUsages::COPY_SRC);

/// Buffers of one model on one device.
pub struct Buffers {
    /// The pools of the two classes, over the same buffers.
    pools: [Pool; 2],
    values: Vec<wgpu::Buffer>,
    caches: HashMap<Node, wgpu::Buffer>,
    tables: HashMap<Node, wgpu::Buffer>,
    steps: [wgpu::Buffer; 2],
    nothing: wgpu::Buffer,
    unwritten: HashMap<Node, wgpu::Buffer>,
    /// Bytes of a number in a cache.
    pub cache_number: usize,
    /// Bytes of keys and values.
    pub kv_bytes: u64,
    /// Bytes of everything else here.
    pub scratch_bytes: u64,
}

/// How many rows a value of `rows` has at most.
pub fn most_rows(rows: Rows, class: RowClass, plan: RuntimeConfig, outputs: usize) -> usize {
    match (rows, class) {
        (Rows::Of(n), _) => n,
        (_, RowClass::One) => 1,
        (Rows::Step, RowClass::Many) => plan.rows,
        (Rows::Outputs, RowClass::Many) => outputs,
    }
}

impl Buffers {
    /// Allocates what the dispatches of both classes need.
    pub fn new(
        device: &Device,
        file: &Gguf,
        graph: &Graph,
        plan: RuntimeConfig,
        outputs: usize,
        classes: [&[Launch]; 2],
    ) -> Result<Buffers> {
        let size = |class: RowClass, operand: Operand| {
            let (Operand::Value(node) | Operand::ActivationCopy(node) | Operand::Partials(node)) = operand
            else {
                return 0;
            };
            let shape = graph.shape(node);
            let bytes = (most_rows(shape.rows, class, plan, outputs) * shape.stride()) as u64 * 4;
            // Two numbers more for each head of four at least, for each span.
            if let Operand::Partials(_) = operand {
                return bytes * 2 * plan.context.div_ceil(attention::SPAN as usize) as u64;
            }
            // A copy has some words for every block of 16 besides.
            if let Operand::ActivationCopy(_) = operand {
                bytes.next_multiple_of(64) * 5 / 4 + 256
            } else {
                bytes
            }
        };
        let pools = [RowClass::One, RowClass::Many].map(|class| {
            Pool::plan(classes[class as usize], |o| size(class, o), Operand::Value(graph.output()))
        });
        let count = pools[0].sizes.len().max(pools[1].sizes.len());
        let mut buffers = Buffers {
            values: Vec::new(),
            caches: HashMap::new(),
            tables: HashMap::new(),
            steps: [
                device.buffer("next step", 2 * 16, STORAGE)?,
                device.buffer("step", (1 + plan.rows as u64) * 16, STORAGE)?,
            ],
            nothing: device.buffer("nothing", 64, STORAGE)?,
            unwritten: HashMap::new(),
            cache_number: if plan.precision == Precision::F32 { 4 } else { 2 },
            kv_bytes: 0,
            scratch_bytes: (plan.rows as u64 + 3) * 16,
            pools,
        };
        for i in 0..count {
            let bytes = buffers.pools.iter().filter_map(|p| p.sizes.get(i)).copied().max().unwrap_or(0);
            let buffer = buffers.new_scratch(device, "activation", bytes)?;
            buffers.values.push(buffer);
        }
        for (_, operand) in classes.iter().copied().flatten().flat_map(|p| &p.operands) {
            if let Operand::Unwritten(node) = operand
                && !buffers.unwritten.contains_key(node)
            {
                buffers.unwritten.insert(*node, device.buffer("unwritten", 64, STORAGE)?);
            }
        }
        let mut made: Vec<(&Rope, Option<Node>, wgpu::Buffer)> = Vec::new();
        for (node, entry) in graph.nodes() {
            if let Kind::Cache(_) = entry.kind {
                buffers.new_cache(device, node, entry.shape.cols, plan)?;
            }
            let Some((Op::Rope(rope), inputs)) = entry.op() else { continue };
            // Layers share a table: it depends on the op's numbers and its factors alone.
            let factors = inputs.get(1).copied();
            if let Some((.., table)) = made.iter().find(|(r, f, _)| *r == rope && *f == factors) {
                buffers.tables.insert(node, table.clone());
                continue;
            }
            let divisors = factors.map(|f| WeightRows::of(file, weight(graph, f)).vector());
            let table = rope.table(plan.context, divisors.as_deref());
            let buffer = buffers.new_scratch(device, "table", table.len() as u64 * 4)?;
            let mut uploader = Uploader::new(device);
            uploader.write(&buffer, 0, bytemuck::cast_slice(&table))?;
            uploader.finish()?;
            made.push((rope, factors, buffer.clone()));
            buffers.tables.insert(node, buffer);
        }
        Ok(buffers)
    }

    fn new_scratch(&mut self, device: &Device, label: &str, bytes: u64) -> Result<wgpu::Buffer> {
        if bytes > device.caps.binding {
            let most = device.caps.binding;
            let what = format!("an {label} of {bytes} bytes exceeds the {most} bytes of a binding");
            return Err(Error::OutOfMemory(format!("{what}; try a smaller --batch-size or -c")));
        }
        let buffer = device.buffer(label, bytes, STORAGE)?;
        self.scratch_bytes += buffer.size();
        Ok(buffer)
    }

    fn new_cache(&mut self, device: &Device, node: Node, cols: usize, plan: RuntimeConfig) -> Result<()> {
        let bytes = (plan.slots * kv_layout::positions(plan.context) * cols * self.cache_number) as u64;
        if bytes > device.caps.binding {
            let (context, most) = (plan.context, device.caps.binding);
            let what = format!("a layer's keys of {context} positions are {bytes} bytes");
            return Err(Error::OutOfMemory(format!("{what}; a binding holds {most}: try a smaller -c")));
        }
        let buffer = device.buffer("cache", bytes, STORAGE)?;
        self.kv_bytes += buffer.size();
        self.caches.insert(node, buffer);
        Ok(())
    }

    /// The buffer behind an operand.
    pub fn operand<'a>(
        &'a self,
        class: RowClass,
        weights: &'a Weights,
        operand: Operand,
    ) -> &'a wgpu::Buffer {
        match operand {
            Operand::Step => self.step(class),
            Operand::Value(_) | Operand::ActivationCopy(_) | Operand::Partials(_) => {
                &self.values[self.pools[class as usize].place[&operand]]
            }
            Operand::Vector(node) => &weights.vectors[&node],
            Operand::Table(node) => &self.tables[&node],
            Operand::Cache(node) => self.cache(node),
            Operand::Nothing => &self.nothing,
            Operand::Unwritten(node) => &self.unwritten[&node],
        }
    }

    /// The buffer of an activation.
    pub fn value(&self, class: RowClass, node: Node) -> &wgpu::Buffer {
        &self.values[self.pools[class as usize].place[&Operand::Value(node)]]
    }

    /// The buffer of a cache.
    pub fn cache(&self, node: Node) -> &wgpu::Buffer {
        &self.caches[&node]
    }

    /// The rows of the step that a class runs next.
    pub fn step(&self, class: RowClass) -> &wgpu::Buffer {
        &self.steps[class as usize]
    }
}

/// A step as the kernels read it: a head of (rows, outputs, draw, 0), then (token, slot, position, index asked for) a row.
pub fn step_words(step: &Step, draw: u32) -> Vec<[u32; 4]> {
    let mut words = vec![[step.rows.len() as u32, step.outputs.len() as u32, draw, 0]];
    words.extend(step.rows.iter().map(|r| [r.token, r.slot, r.position, 0]));
    for (i, &output) in step.outputs.iter().enumerate() {
        words[1 + i][3] = output;
    }
    words
}
