//! Everything on the device besides weights: activations from the pool, caches, tables, steps, and where results come back.

use std::collections::HashMap;

use crate::backend::RuntimeConfig;
use crate::error::{Error, Result};
use crate::gguf::Gguf;
use crate::gpu::device::Device;
use crate::gpu::memory::kv_layout::KvPlaces;
use crate::gpu::memory::pool::Pool;
use crate::gpu::memory::upload::Uploader;
use crate::gpu::memory::weights::{Weights, weight};
use crate::gpu::plan::{Launch, Operand, RowClass};
use crate::gpu::plan::{attention, expert_matmul, kernels};
use crate::graph::{Graph, Kind, Node, Rows, Step};
use crate::memory::Snapshots;
use crate::ops::{AttentionShape, Op, Rope, WeightRows};

const STORAGE: wgpu::BufferUsages =
    wgpu::BufferUsages::STORAGE.union(wgpu::BufferUsages::COPY_DST).union(wgpu::BufferUsages::COPY_SRC);

/// Buffers of one model on one device.
#[derive(Clone)]
pub struct Buffers {
    /// The pools of the row classes, over the same buffers.
    pools: Vec<Pool>,
    /// Where values of one row are apart, the pool in which they share buffers.
    shared: Option<Pool>,
    values: Vec<wgpu::Buffer>,
    caches: HashMap<Node, wgpu::Buffer>,
    /// Of each layer's states: `[slot][numbers]`.
    states: HashMap<Node, wgpu::Buffer>,
    /// Of each snapshot, the states of a slot, one behind the other.
    snapshots: Vec<wgpu::Buffer>,
    tables: HashMap<Node, wgpu::Buffer>,
    steps: Vec<wgpu::Buffer>,
    pages: wgpu::Buffer,
    /// Through which a page is copied: wgpu copies between two buffers only. None where there are no caches.
    between: Option<wgpu::Buffer>,
    /// How many rows each class has room for.
    pub room: Room,
    nothing: wgpu::Buffer,
    unwritten: HashMap<Node, wgpu::Buffer>,
    /// Bytes of keys and values, of states and their snapshots.
    pub kv_bytes: u64,
    /// Bytes of everything else here.
    pub scratch_bytes: u64,
}

/// What attention of several rows may keep of its spans, in bytes: beyond that fewer rows are several.
const PARTIALS: usize = 72 << 20;

/// How many rows a step of each class has at most, and how many output rows.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    rows: [usize; RowClass::ALL.len()],
    outputs: [usize; RowClass::ALL.len()],
}

impl Room {
    /// For batches of `config`, of which `outputs` rows have logits at most; up to `few` rows are few and up to `several` not many. `launches` are
    /// those of few.
    pub fn new(
        graph: &Graph,
        config: RuntimeConfig,
        outputs: usize,
        [few, several]: [usize; 2],
        launches: &[Launch],
    ) -> Room {
        let partials = launches.iter().flat_map(|l| &l.operands).filter_map(|(_, o)| match o {
            Operand::Partials(node) => {
                Some(partial_bytes(RowClass::Several, attention::shape_of(graph, *node), config.context))
            }
            _ => None,
        });
        let each = partials.max().unwrap_or(0).max(1);
        let several = several.min(config.rows).min(PARTIALS / each).max(1);
        let rows = [1, few.min(several), several, config.rows];
        Room { rows, outputs: rows.map(|rows| rows.min(outputs)) }
    }

    /// Rows of a step.
    pub fn rows(&self, class: RowClass) -> usize {
        self.rows[class as usize]
    }

    /// Output rows of a step.
    pub fn outputs(&self, class: RowClass) -> usize {
        self.outputs[class as usize]
    }

    fn of(&self, rows: Rows, class: RowClass) -> usize {
        match rows {
            Rows::Of(n) => n,
            Rows::Step => self.rows(class),
            Rows::Outputs => self.outputs(class),
        }
    }
}

/// Bytes of a row's spans: of each head its sum, and a vector more.
fn partial_bytes(class: RowClass, shape: &AttentionShape, context: usize) -> usize {
    shape.heads * (shape.head_dim + 4) * 4 * attention::most_spans(class, shape, context)
}

impl Buffers {
    /// Allocates what the dispatches of all classes need; `apart`, of one row a buffer for each value.
    pub async fn new(
        device: &Device,
        file: &Gguf,
        graph: &Graph,
        plan: RuntimeConfig,
        room: Room,
        classes: &[Vec<Launch>],
        apart: bool,
    ) -> Result<Buffers> {
        let size = |class: RowClass, operand: Operand| {
            let rows = |node: Node| room.of(graph.shape(node).rows, class);
            let bytes = match operand {
                Operand::Value(node) => rows(node) * graph.shape(node).stride() * 4,
                Operand::Partials(node) => {
                    rows(node) * partial_bytes(class, attention::shape_of(graph, node), plan.context)
                }
                Operand::Chunks(node) => kernels::chunk_bytes(graph, node, rows(node)),
                Operand::ActivationCopy(copy) => {
                    copy.kind.room(rows(copy.source) * copy.shares) * copy.stride(graph) * 4
                }
                Operand::Tiles(route) => expert_matmul::tiles_words(graph, route, rows(route)) * 4,
                Operand::Heads(node) => rows(node) * heads_width(graph, node) * 4,
                _ => 0,
            };
            bytes as u64
        };
        let pool = |class: RowClass, apart| {
            let kept = Operand::Value(graph.output());
            Pool::plan(&classes[class as usize], |o| size(class, o), kept, apart)
        };
        let pools: Vec<Pool> =
            RowClass::ALL.into_iter().map(|class| pool(class, apart && class == RowClass::One)).collect();
        let shared = apart.then(|| pool(RowClass::One, false));
        let all = || pools.iter().chain(&shared);
        let count = all().map(|p| p.sizes.len()).max().unwrap_or(0);
        let sizes: Vec<u64> =
            (0..count).map(|i| all().filter_map(|p| p.sizes.get(i)).copied().max().unwrap_or(0)).collect();
        let step = |class| {
            let rows = room.rows(class) as u64;
            device.buffer("step", (1 + rows) * 16, STORAGE)
        };
        let mut buffers = Buffers {
            values: Vec::new(),
            caches: HashMap::new(),
            states: HashMap::new(),
            snapshots: Vec::new(),
            tables: HashMap::new(),
            steps: RowClass::ALL.into_iter().map(step).collect::<Result<_>>()?,
            between: None,
            pages: device.buffer("pages", (plan.slots * plan.table()) as u64 * 4, STORAGE)?,
            room,
            nothing: device.buffer("nothing", 64, STORAGE)?,
            unwritten: HashMap::new(),
            kv_bytes: 0,
            scratch_bytes: (plan.rows as u64 + 3) * 16,
            pools,
            shared,
        };
        for bytes in sizes {
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
            if let Some(places) = KvPlaces::of(graph, plan.kv, node) {
                buffers.new_cache(device, node, places, plan)?;
            }
            if let Kind::State(_) = entry.kind {
                buffers.new_state(device, node, entry.shape.cols, plan.slots)?;
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
            uploader.write(&buffer, 0, bytemuck::cast_slice(&table)).await?;
            uploader.finish().await?;
            made.push((rope, factors, buffer.clone()));
            buffers.tables.insert(node, buffer);
        }
        buffers.new_snapshots(device, graph, plan.slots)?;
        let page = buffers.caches.values().map(|cache| cache.size() / plan.pages as u64).max();
        buffers.between = page.map(|bytes| buffers.new_scratch(device, "page", bytes)).transpose()?;
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

    fn new_cache(
        &mut self,
        device: &Device,
        node: Node,
        places: KvPlaces,
        plan: RuntimeConfig,
    ) -> Result<()> {
        let bytes = (plan.pages * places.page_bytes()) as u64;
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

    fn new_state(&mut self, device: &Device, node: Node, numbers: usize, slots: usize) -> Result<()> {
        let bytes = (slots * numbers * 4) as u64;
        if bytes > device.caps.binding {
            let most = device.caps.binding;
            let what = format!("a layer's states of {slots} sequences are {bytes} bytes");
            return Err(Error::OutOfMemory(format!(
                "{what}; a binding holds {most}: keep fewer side by side"
            )));
        }
        let buffer = device.buffer("state", bytes, STORAGE)?;
        self.kv_bytes += buffer.size();
        self.states.insert(node, buffer);
        Ok(())
    }

    fn new_snapshots(&mut self, device: &Device, graph: &Graph, slots: usize) -> Result<()> {
        let of_slot: usize = graph.states().map(|(_, numbers)| numbers * 4).sum();
        let count = if of_slot > 0 { Snapshots::of(slots) } else { 0 };
        for _ in 0..count {
            let buffer = device.buffer("snapshot", of_slot as u64, STORAGE)?;
            self.kv_bytes += buffer.size();
            self.snapshots.push(buffer);
        }
        Ok(())
    }

    /// The number of snapshots that there is room for.
    pub fn snapshots(&self) -> usize {
        self.snapshots.len()
    }

    /// Copies all states of a slot to a snapshot, or back.
    pub fn copy_states(
        &self,
        device: &Device,
        graph: &Graph,
        slot: u32,
        snapshot: u32,
        back: bool,
    ) -> Result<()> {
        let mut encoder = device.device.create_command_encoder(&Default::default());
        let snapshot = &self.snapshots[snapshot as usize];
        let mut at = 0;
        for (node, numbers) in graph.states() {
            let (state, bytes) = (self.state(node), numbers as u64 * 4);
            let of_slot = slot as u64 * bytes;
            match back {
                false => encoder.copy_buffer_to_buffer(state, of_slot, snapshot, at, bytes),
                true => encoder.copy_buffer_to_buffer(snapshot, at, state, of_slot, bytes),
            }
            at += bytes;
        }
        device.queue.submit([encoder.finish()]);
        device.check()
    }

    /// Whether values of one row are apart.
    pub fn apart(&self) -> bool {
        self.shared.is_some()
    }

    /// Where they are, the same buffers, but that they share them as all others do.
    pub fn sharing(&self) -> Option<Buffers> {
        let mut buffers = self.clone();
        buffers.pools[RowClass::One as usize] = self.shared.clone()?;
        Some(buffers)
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
            Operand::Value(_)
            | Operand::ActivationCopy(_)
            | Operand::Partials(_)
            | Operand::Chunks(_)
            | Operand::Tiles(_)
            | Operand::Heads(_) => &self.values[self.pools[class as usize].place[&operand]],
            Operand::Vector(node) => &weights.vectors[&node],
            Operand::Biases(node) => &weights.biases[&node],
            Operand::Table(node) => &self.tables[&node],
            Operand::Cache(node) => self.cache(node),
            Operand::State(node) => self.state(node),
            Operand::Pages => &self.pages,
            Operand::Nothing => &self.nothing,
            Operand::Unwritten(node) => &self.unwritten[&node],
        }
    }

    /// Whether a class computes the value of `node`.
    pub fn computes(&self, class: RowClass, node: Node) -> bool {
        self.pools[class as usize].place.contains_key(&Operand::Value(node))
    }

    /// The buffer of an activation.
    pub fn value(&self, class: RowClass, node: Node) -> &wgpu::Buffer {
        &self.values[self.pools[class as usize].place[&Operand::Value(node)]]
    }

    /// The buffer of a cache.
    pub fn cache(&self, node: Node) -> &wgpu::Buffer {
        &self.caches[&node]
    }

    /// The buffer of a layer's states.
    pub fn state(&self, node: Node) -> &wgpu::Buffer {
        &self.states[&node]
    }

    /// Copies one page of every cache to another; each cache has `pages`.
    pub fn copy_page(&self, device: &Device, pages: usize, from: u32, to: u32) -> Result<()> {
        let Some(between) = &self.between else { return Ok(()) };
        let mut encoder = device.device.create_command_encoder(&Default::default());
        for cache in self.caches.values() {
            let bytes = cache.size() / pages as u64;
            encoder.copy_buffer_to_buffer(cache, from as u64 * bytes, between, 0, bytes);
            encoder.copy_buffer_to_buffer(between, 0, cache, to as u64 * bytes, bytes);
        }
        device.queue.submit([encoder.finish()]);
        device.check()
    }

    /// The pages of all slots, table after table.
    pub fn pages(&self) -> &wgpu::Buffer {
        &self.pages
    }

    /// The rows of the step that a class runs next.
    pub fn step(&self, class: RowClass) -> &wgpu::Buffer {
        &self.steps[class as usize]
    }
}

/// Numbers of a row of all projections that read what the linear `first` reads.
fn heads_width(graph: &Graph, first: Node) -> usize {
    let x = graph.entry(first).op().map(|(_, inputs)| inputs[0]);
    let of_x = |n: &Node| {
        graph.entry(*n).op().is_some_and(|(op, inputs)| matches!(op, Op::Linear(_)) && Some(inputs[0]) == x)
    };
    let widths =
        x.map_or(0, |x| graph.users(x).iter().filter(|n| of_x(n)).map(|&n| graph.shape(n).cols).sum());
    widths.next_multiple_of(8)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::plan::SEVERAL;

    #[test]
    fn as_many_rows_are_several_however_long_the_context() {
        let (window, chunk, softcap, temperature) = (0, 0, 0.0, None);
        let of_8b = AttentionShape {
            heads: 32,
            kv_heads: 8,
            head_dim: 128,
            scale: 1.0,
            window,
            chunk,
            softcap,
            temperature,
        };
        for context in [4096, 16_384, 131_072, 1 << 20] {
            let each = partial_bytes(RowClass::Several, &of_8b, context);
            assert!(SEVERAL * each <= PARTIALS, "{context}: {each} bytes a row");
        }
    }
}
