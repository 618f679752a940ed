//! Everything on the device besides weights: activations from the pool, caches, tables, steps, and where results come back.

use std::collections::HashMap;

use crate::backend::{Precision, RuntimeConfig};
use crate::error::{Error, Result};
use crate::gguf::Gguf;
use crate::gpu::device::Device;
use crate::gpu::memory::pool::Pool;
use crate::gpu::memory::upload::Uploader;
use crate::gpu::memory::weights::{Weights, weight};
use crate::gpu::plan::attention;
use crate::gpu::plan::{FEW, Launch, Operand, RowClass};
use crate::graph::{Graph, Kind, Node, Rows, Step};
use crate::memory::PAGE;
use crate::ops::{Op, Rope, WeightRows};

const STORAGE: wgpu::BufferUsages =
    wgpu::BufferUsages::STORAGE.union(wgpu::BufferUsages::COPY_DST).union(wgpu::BufferUsages::COPY_SRC);

/// Buffers of one model on one device.
pub struct Buffers {
    /// The pools of the row classes, over the same buffers.
    pools: Vec<Pool>,
    values: Vec<wgpu::Buffer>,
    caches: HashMap<Node, wgpu::Buffer>,
    tables: HashMap<Node, wgpu::Buffer>,
    steps: Vec<wgpu::Buffer>,
    pages: wgpu::Buffer,
    outputs: [usize; 3],
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
fn most_rows(rows: Rows, class: RowClass, most: usize, outputs: usize) -> usize {
    match (rows, class) {
        (Rows::Of(n), _) => n,
        (_, RowClass::One) => 1,
        (Rows::Step, RowClass::Few) => FEW.min(most),
        (Rows::Outputs, RowClass::Few) => FEW.min(outputs),
        (Rows::Step, RowClass::Many) => most,
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
        classes: &[Vec<Launch>],
    ) -> Result<Buffers> {
        let size = |class: RowClass, operand: Operand| {
            let (Operand::Value(node) | Operand::ActivationCopy(node) | Operand::Partials(node)) = operand
            else {
                return 0;
            };
            let shape = graph.shape(node);
            let bytes = (most_rows(shape.rows, class, plan.rows, outputs) * shape.stride()) as u64 * 4;
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
        let pool = |class: RowClass| {
            Pool::plan(&classes[class as usize], |o| size(class, o), Operand::Value(graph.output()))
        };
        let pools: Vec<Pool> = RowClass::ALL.into_iter().map(pool).collect();
        let count = pools.iter().map(|p| p.sizes.len()).max().unwrap_or(0);
        let step = |class| {
            let rows = most_rows(Rows::Step, class, plan.rows, outputs) as u64;
            device.buffer("step", (1 + rows) * 16, STORAGE)
        };
        let mut buffers = Buffers {
            values: Vec::new(),
            caches: HashMap::new(),
            tables: HashMap::new(),
            steps: RowClass::ALL.into_iter().map(step).collect::<Result<_>>()?,
            pages: device.buffer("pages", (plan.slots * plan.table()) as u64 * 4, STORAGE)?,
            outputs: RowClass::ALL.map(|class| most_rows(Rows::Outputs, class, plan.rows, outputs)),
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
        for (_, operand) in classes.iter().flatten().flat_map(|p| &p.operands) {
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
        let bytes = (plan.pages * PAGE * cols * self.cache_number) as u64;
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
            Operand::Pages => &self.pages,
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

    /// Copies one page of every cache to another; each cache has `pages`.
    pub fn copy_page(&self, device: &Device, pages: usize, from: u32, to: u32) -> Result<()> {
        let mut encoder = device.device.create_command_encoder(&Default::default());
        for cache in self.caches.values() {
            let bytes = cache.size() / pages as u64;
            // wgpu copies between two buffers only.
            let between = device.buffer("page", bytes, STORAGE)?;
            encoder.copy_buffer_to_buffer(cache, from as u64 * bytes, &between, 0, bytes);
            encoder.copy_buffer_to_buffer(&between, 0, cache, to as u64 * bytes, bytes);
        }
        device.queue.submit([encoder.finish()]);
        device.check()
    }

    /// The pages of all slots, table after table.
    pub fn pages(&self) -> &wgpu::Buffer {
        &self.pages
    }

    /// Output rows that a class has room for.
    pub fn outputs(&self, class: RowClass) -> usize {
        self.outputs[class as usize]
    }

    /// The rows of the step that a class runs next.
    pub fn step(&self, class: RowClass) -> &wgpu::Buffer {
        &self.steps[class as usize]
    }
}

/// A step as the kernels read it: a head of (rows, outputs, stamp, table), then (token, slot, position, n-th output row) for each row n.
/// `table` is the length of a slot's table of pages, or 0 where there is one slot and its pages lie in order.
pub fn step_words(step: &Step, stamp: u32, table: u32) -> Vec<[u32; 4]> {
    let mut words = vec![[step.rows.len() as u32, step.outputs.len() as u32, stamp, table]];
    words.extend(step.rows.iter().map(|row| [row.token, row.slot, row.position, 0]));
    // As many as there are outputs, which may repeat a row.
    words.resize(words.len().max(1 + step.outputs.len()), [0; 4]);
    for (i, &output) in step.outputs.iter().enumerate() {
        words[1 + i][3] = output;
    }
    words
}
