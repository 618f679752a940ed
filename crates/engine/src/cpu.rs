//! Runs a graph on the host, node by node: by [`Kernels`], or by each op's own reference, which is what they are
//! held to.

pub use wgllm_graph::kernels::{Instructions, Kernels};

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::backend::{BESIDE, Backend, DeviceInfo, Limits, Memory, Placement, RuntimeConfig};
use crate::batch::{Batch, BatchRow, Collected, Input, Then, Ticket};
use crate::blocking::Waiting;
use crate::constraint::TokenMask;
use crate::error::{Error, Result};
use crate::gguf::Gguf;
use crate::graph::{Cache, Kind, Node, Step};
use crate::memory::{Kv, KvFormat, MemoryKind, PAGE, Snapshots};
use crate::models::Model;
use crate::ops::{CacheRows, Op, States, Value, WeightRows};
use crate::sampler::{self, NO_TOKEN, Sampling};

/// The values that nodes have in a step.
pub type Values = HashMap<Node, Vec<f32>>;

/// The host as a backend.
pub struct Cpu {
    file: Arc<Gguf>,
    model: Arc<Model>,
    config: RuntimeConfig,
    /// None: each node by its op's reference.
    kernels: Option<Kernels>,
    /// Of each layer's keys and values: `[page][position][head]`, in words.
    caches: Vec<Vec<u32>>,
    /// Of each layer's states: `[slot][numbers]`.
    states: Vec<States>,
    /// Of each snapshot, the states of a slot, one behind the other.
    snapshots: Vec<Vec<f32>>,
    /// The pages of each slot.
    tables: Vec<Vec<u32>>,
    slots: Vec<Slot>,
    tickets: u64,
    /// Outputs that wait for their masks: of each its slot, its position and its logits.
    held: Vec<(u32, u32, Vec<f32>)>,
    /// What came of batches, by their tickets.
    done: VecDeque<(u64, Collected)>,
}

/// What is kept of a sequence besides keys and values.
struct Slot {
    sampling: Sampling,
    recent: Vec<u32>,
}

impl Cpu {
    /// Prepares a model; its weights stay in the file's mapping.
    pub fn new(file: Arc<Gguf>, model: Arc<Model>, config: RuntimeConfig) -> Result<Cpu> {
        let mut caches = Vec::new();
        config.kv.check(&model.graph)?;
        let of_slot: usize = model.graph.states().map(|(_, numbers)| numbers).sum();
        let count = if of_slot > 0 { Snapshots::of(config.slots) } else { 0 };
        let bytes = |kind: MemoryKind| {
            let copies = if kind.needs_snapshots() { config.slots + count } else { 1 };
            (copies as u64).saturating_mul(kind.bytes((config.pages * PAGE) as u64, &config.kv))
        };
        let kinds = model.graph.nodes().filter_map(|(_, e)| e.memory());
        let wanted = kinds.map(bytes).fold(0, u64::saturating_add);
        if let Some(free) = free_memory().filter(|&free| wanted > free) {
            let context = config.context;
            let what = format!("the memory of {context} positions is {wanted} bytes, {free} are free");
            return Err(Error::OutOfMemory(format!("{what}; try a smaller -c")));
        }
        for (_, entry) in model.graph.nodes() {
            if let Kind::Cache(cache) = &entry.kind {
                let bytes = config.kv.format(cache.holds).bytes(cache.head_dim);
                let words = config.pages.checked_mul(PAGE * entry.shape.cols / cache.head_dim * bytes / 4);
                let mut cache: Vec<u32> = Vec::new();
                match words {
                    Some(n) if cache.try_reserve_exact(n).is_ok() => cache.resize(n, 0),
                    _ => {
                        let context = config.context;
                        return Err(Error::OutOfMemory(format!(
                            "a KV cache of {context} positions does not fit; try a smaller -c"
                        )));
                    }
                }
                caches.push(cache);
            }
        }
        let zeros = |(_, numbers)| States::new(numbers, vec![0.0; config.slots * numbers]);
        let states = model.graph.states().map(zeros).collect();
        let snapshots = vec![vec![0.0; of_slot]; count];
        let pages = |slot: usize| (slot * config.table()..(slot + 1) * config.table()).map(|p| p as u32);
        let tables = (0..config.slots).map(|slot| pages(slot).collect()).collect();
        let slot = |_| Slot { sampling: Sampling::greedy(), recent: Vec::new() };
        let slots = (0..config.slots).map(slot).collect();
        let kernels = Some(Kernels::new(Instructions::best(), config.precision));
        let (held, done) = (Vec::new(), VecDeque::new());
        Ok(Cpu {
            file,
            model,
            config,
            kernels,
            caches,
            states,
            snapshots,
            tables,
            slots,
            tickets: 0,
            held,
            done,
        })
    }

    /// The same, with each node computed by its op's own reference: slow, and what everything else is held to.
    pub fn by_references(self) -> Cpu {
        Cpu { kernels: None, ..self }
    }

    /// The value of `node`, from the values of its inputs. A state that it reads is moved on.
    pub fn compute(&self, node: Node, step: &Step, values: &Values) -> Vec<f32> {
        let graph = &self.model.graph;
        let entry = graph.entry(node);
        let Some((op, inputs)) = entry.op() else { panic!("{} is not computed", entry.label) };
        let inputs: Vec<Value<'_>> = inputs.iter().map(|&input| self.value(input, values)).collect();
        let mut out = vec![0.0; entry.shape.rows_in(step) * entry.shape.cols];
        if !out.is_empty() {
            match &self.kernels {
                Some(kernels) => kernels.compute(op, step, &inputs, &mut out),
                None => op.reference(step, &inputs, &mut out),
            }
        }
        out
    }

    fn value<'a>(&'a self, node: Node, values: &'a Values) -> Value<'a> {
        let entry = self.model.graph.entry(node);
        let cols = entry.shape.cols;
        match &entry.kind {
            Kind::Weight(w) => Value::Weight(WeightRows::of(&self.file, w)),
            Kind::Cache(cache) => Value::Cache(self.cache(cache, cols)),
            Kind::State(state) => Value::States(&self.states[state.id]),
            Kind::Op { .. } => Value::Rows { data: &values[&node], cols },
        }
    }

    fn cache(&self, cache: &Cache, cols: usize) -> CacheRows<'_> {
        let (words, tables) = (&self.caches[cache.id], &self.tables);
        let (format, head_dim) = (self.config.kv.format(cache.holds), cache.head_dim);
        CacheRows { words, format, tables, heads: cols / head_dim, head_dim }
    }

    /// How what a `store` node writes is kept; none of other nodes.
    pub fn stores_in(&self, node: Node) -> Option<&'static KvFormat> {
        let graph = &self.model.graph;
        let (Op::Store(_), inputs) = graph.entry(node).op()? else { return None };
        graph.cache_of(inputs[1]).map(|cache| self.config.kv.format(cache.holds))
    }

    /// How keys and values are kept.
    pub fn kv(&self) -> Kv {
        self.config.kv
    }

    /// Keeps what a `store` node wrote in its cache.
    pub fn keep(&mut self, node: Node, step: &Step, rows: &[f32]) {
        let graph = &self.model.graph;
        let Some((op, inputs)) = graph.entry(node).op() else { return };
        if !matches!(op, Op::Store(_)) {
            return;
        }
        let Kind::Cache(cache) = &graph.entry(inputs[1]).kind else { return };
        let cols = graph.shape(inputs[1]).cols;
        for (row, data) in step.rows.iter().zip(rows.chunks_exact(cols)) {
            let place = self.cache(cache, cols);
            let (at, words, format) = (place.index(row.slot, row.position), place.head_words(), place.format);
            let kept = &mut self.caches[cache.id][at..];
            for (head, kept) in data.chunks_exact(cache.head_dim).zip(kept.chunks_exact_mut(words)) {
                (format.store)(head, bytemuck::cast_slice_mut(kept));
            }
        }
    }

    /// The states that `node` has moved on, of the slots of a step in their order; nothing where it has none.
    pub fn states(&self, node: Node, step: &Step) -> Vec<f32> {
        let Some(states) = self.states_of(node) else { return Vec::new() };
        let (data, numbers) = (states.lock(), states.numbers());
        step.runs()
            .flat_map(|rows| data[step.rows[rows.start].slot as usize * numbers..][..numbers].to_vec())
            .collect()
    }

    /// Takes over what [`Cpu::states`] gave elsewhere.
    pub fn keep_states(&mut self, node: Node, step: &Step, found: &[f32]) {
        let Some(states) = self.states_of(node) else { return };
        let (mut data, numbers) = (states.lock(), states.numbers());
        for (rows, found) in step.runs().zip(found.chunks_exact(numbers)) {
            data[step.rows[rows.start].slot as usize * numbers..][..numbers].copy_from_slice(found);
        }
    }

    fn states_of(&self, node: Node) -> Option<&States> {
        match &self.model.graph.entry(self.model.graph.state_of(node)?).kind {
            Kind::State(state) => Some(&self.states[state.id]),
            _ => None,
        }
    }

    /// Computes a step and returns the value of every node still needed at its end: the logits.
    fn run(&mut self, step: &Step) -> Vec<f32> {
        // On one of the threads that compute: it goes from node to node without waking any other.
        rayon::scope(|_| self.run_nodes(step))
    }

    fn run_nodes(&mut self, step: &Step) -> Vec<f32> {
        let model = self.model.clone();
        let graph = &model.graph;
        let mut uses = vec![0usize; graph.len()];
        for (_, entry) in graph.nodes() {
            for input in entry.op().into_iter().flat_map(|(_, inputs)| inputs) {
                uses[input.0] += 1;
            }
        }
        let mut values = Values::new();
        for (node, entry) in graph.nodes() {
            let Some((_, inputs)) = entry.op() else { continue };
            let value = self.compute(node, step, &values);
            self.keep(node, step, &value);
            values.insert(node, value);
            for input in inputs {
                uses[input.0] -= 1;
                if uses[input.0] == 0 {
                    values.remove(input);
                }
            }
        }
        values.remove(&graph.output()).unwrap_or_default()
    }
}

/// Bytes of memory that are free, where the system tells. Elsewhere an allocation that fails is an error, too.
fn free_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}

impl Backend for Cpu {
    fn device(&self) -> DeviceInfo {
        let threads = rayon::current_num_threads();
        DeviceInfo {
            name: "CPU".into(),
            api: "cpu".into(),
            driver: format!("{threads} threads"),
            features: self
                .kernels
                .iter()
                .filter(|k| k.int8())
                .map(|_| "int8".into())
                .chain(["f32".into()])
                .collect(),
            software: true,
        }
    }

    fn placement(&self) -> Placement {
        Placement {
            layers_run: self.model.layers,
            block_count: self.model.block_count,
            cpu_nodes: self.model.graph.nodes().filter(|(_, e)| e.op().is_some()).count(),
            dispatches_per_token: 0,
        }
    }

    fn memory(&self) -> Memory {
        let weights = self.model.graph.nodes().filter_map(|(_, e)| match &e.kind {
            Kind::Weight(w) => Some(w.bytes().len() as u64),
            _ => None,
        });
        Memory {
            weights: weights.sum(),
            kv: (self.caches.iter().map(Vec::len).sum::<usize>()
                + self.snapshots.iter().map(Vec::len).sum::<usize>()
                + self.states.iter().map(|s| s.lock().len()).sum::<usize>()) as u64
                * 4,
            scratch: 0,
            buffers: 0,
        }
    }

    fn limits(&self) -> Limits {
        let (rows, snapshots) = (self.config.rows, self.snapshots.len());
        Limits { rows, beside: rows.min(BESIDE), outputs: rows, repeated: 1, steps: 1, ahead: 1, snapshots }
    }

    fn set_slot(&mut self, slot: u32, sampling: &Sampling, recent: &[u32]) -> Result<()> {
        sampling.check()?;
        self.slots[slot as usize] = Slot { sampling: sampling.clone(), recent: recent.to_vec() };
        Ok(())
    }

    fn map_pages(&mut self, slot: u32, first: usize, pages: &[u32]) -> Result<()> {
        self.tables[slot as usize][first..first + pages.len()].copy_from_slice(pages);
        Ok(())
    }

    fn copy_page(&mut self, from: u32, to: u32) -> Result<()> {
        for cache in &mut self.caches {
            let page = cache.len() / self.config.pages;
            cache.copy_within(from as usize * page..(from as usize + 1) * page, to as usize * page);
        }
        Ok(())
    }

    fn save_states(&mut self, slot: u32, snapshot: u32) -> Result<()> {
        let mut at = 0;
        for states in &self.states {
            let numbers = states.numbers();
            let state = &states.lock()[slot as usize * numbers..][..numbers];
            self.snapshots[snapshot as usize][at..at + numbers].copy_from_slice(state);
            at += numbers;
        }
        Ok(())
    }

    fn restore_states(&mut self, snapshot: u32, slot: u32) -> Result<()> {
        let mut at = 0;
        for states in &self.states {
            let numbers = states.numbers();
            let state = &self.snapshots[snapshot as usize][at..at + numbers];
            states.lock()[slot as usize * numbers..][..numbers].copy_from_slice(state);
            at += numbers;
        }
        Ok(())
    }

    fn submit(&mut self, batch: &Batch) -> Result<Ticket> {
        let mut batch = batch.clone();
        let mut collected = Collected::default();
        self.held.clear();
        for step in 0..batch.steps {
            let resolved = batch.step(|slot| self.slots[slot as usize].recent.last().copied().unwrap_or(0));
            let logits = self.run(&resolved);
            if batch.then == Then::Logits {
                collected.logits = logits;
                continue;
            }
            for (&row, logits) in batch.outputs.iter().zip(logits.chunks_exact(self.model.vocab_size)) {
                let BatchRow { slot, position, .. } = batch.rows[row as usize];
                match batch.then {
                    Then::SampleMasked => self.held.push((slot, position, logits.to_vec())),
                    _ => collected.tokens.push(self.choose(slot, position, logits)),
                }
            }
            if step + 1 < batch.steps {
                for row in &mut batch.rows {
                    *row = BatchRow { input: Input::LastSampled, position: row.position + 1, ..*row };
                }
            }
        }
        self.tickets += 1;
        self.done.push_back((self.tickets, collected));
        Ok(Ticket(self.tickets))
    }

    fn sample(&mut self, _: &Ticket, masks: &[(u32, TokenMask)]) -> Result<()> {
        let mut tokens = Vec::new();
        for (slot, position, mut logits) in std::mem::take(&mut self.held) {
            if let Some((_, mask)) = masks.iter().find(|(of, _)| *of == slot) {
                mask.apply(&mut logits);
            }
            tokens.push(self.choose(slot, position, &logits));
        }
        if let Some((_, last)) = self.done.back_mut() {
            last.tokens = tokens;
        }
        Ok(())
    }

    fn collect_async(&mut self, ticket: Ticket) -> Waiting<'_, Result<Collected>> {
        let at = self.done.iter().position(|(of, _)| *of == ticket.0);
        let done = at.and_then(|at| self.done.drain(..=at).next_back());
        let missing = || Error::Other(format!("batch {} is not in flight", ticket.0));
        let collected = done.map(|(_, collected)| collected).ok_or_else(missing);
        Box::pin(async { collected })
    }
}

impl Cpu {
    /// Samples the token behind `position` of `slot`, and remembers it.
    fn choose(&mut self, slot: u32, position: u32, logits: &[f32]) -> u32 {
        let slot = &mut self.slots[slot as usize];
        match sampler::sample(logits, &slot.recent, &slot.sampling, position) {
            Ok(token) => {
                slot.recent.push(token);
                token
            }
            Err(_) => NO_TOKEN,
        }
    }
}
