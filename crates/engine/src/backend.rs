//! What runs a graph: the one trait that the CPU and the GPU share, and what each reports of itself.

use crate::batch::{Batch, Collected, Ticket};
use crate::blocking::{Waiting, block_on};
use crate::constraint::TokenMask;
use crate::error::{Error, Result};
use crate::graph::Step;
use crate::memory::{Kv, Pages};
use crate::sampler::Sampling;
pub use wgllm_graph::Precision;

/// What is asked of a backend when it is made.
#[derive(Clone, Copy, Debug)]
pub struct RuntimeConfig {
    /// Positions of a sequence at most.
    pub context: usize,
    /// Sequences that are kept side by side.
    pub slots: usize,
    /// Pages of positions that all slots share ([`crate::memory::PAGE`]).
    pub pages: usize,
    /// The most rows of a step.
    pub rows: usize,
    /// How to compute.
    pub precision: Precision,
    /// How keys and values are kept.
    pub kv: Kv,
}

impl RuntimeConfig {
    /// `slots` sequences of `context` positions, with pages for all of them; keys and values as a GPU keeps them in that precision.
    pub const fn new(context: usize, slots: usize, rows: usize, precision: Precision) -> RuntimeConfig {
        let (pages, kv) = (slots * Pages::of(context), Kv::of(precision));
        RuntimeConfig { context, slots, pages, rows, precision, kv }
    }

    /// Pages of a slot at most.
    pub fn table(&self) -> usize {
        Pages::of(self.context)
    }
}

/// [`Limits::beside`] where a processor computes: as many rows cost no more each than a whole step's, and are soon over.
pub const BESIDE: usize = 128;

/// The most that one batch may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Rows of a step.
    pub rows: usize,
    /// Rows of prompts in a step for whose end sequences wait that generate.
    pub beside: usize,
    /// Output rows of a step.
    pub outputs: usize,
    /// Rows of a batch of several steps.
    pub repeated: usize,
    /// Steps of a batch.
    pub steps: usize,
    /// Batches that are worth having in flight at once.
    pub ahead: usize,
    /// Snapshots of slots' states that there is room for; 0 where the model has no states.
    pub snapshots: usize,
}

/// Where the graph runs.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Placement {
    /// Layers that are computed.
    pub layers_run: usize,
    /// Layers in the file.
    pub block_count: usize,
    /// Nodes that the CPU computes: none when a GPU was asked for.
    pub cpu_nodes: usize,
    /// Dispatches of a decode step; 0 on the CPU.
    pub dispatches_per_token: usize,
}

/// What the backend holds, in bytes.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Memory {
    /// Weights, as they are kept.
    pub weights: u64,
    /// What layers keep of sequences: keys and values, states and their snapshots.
    pub kv: u64,
    /// Activations and everything else.
    pub scratch: u64,
    /// Buffers made on the device so far: generating makes none.
    pub buffers: u64,
}

/// What runs.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct DeviceInfo {
    /// The adapter's name.
    pub name: String,
    /// `vulkan`, `metal`, `dx12` or `cpu`.
    pub api: String,
    /// The driver and its version.
    pub driver: String,
    /// What of the adapter is used: f16, subgroups, dot4 and so on.
    pub features: Vec<String>,
    /// Whether the adapter is a program rather than a device.
    pub software: bool,
}

/// Dispatches of one kind in a step, and what they took.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct DispatchGroup {
    /// The kernel and what is in its slots.
    pub kernel: String,
    /// The node that it computes last, without the layer.
    pub node: String,
    /// The format of the weights that it reads; empty where it reads none.
    pub format: &'static str,
    /// Rows and columns of those weights, of each dispatch.
    pub shape: [usize; 2],
    /// How many there are in a step.
    pub count: usize,
    /// Microseconds of all of them, one after the other.
    pub us: f64,
    /// Bytes of weights that all of them read.
    pub weight_bytes: u64,
    /// Bytes of keys and values that all of them read, each counted once.
    pub cache_bytes: u64,
    /// Multiplications and additions of all of them, where they multiply weights.
    pub operations: u64,
}

impl DispatchGroup {
    /// Bytes per second at which weights and cache were read.
    pub fn rate(&self) -> f64 {
        let bytes = self.weight_bytes + self.cache_bytes;
        if self.us > 0.0 { bytes as f64 / self.us * 1e6 } else { 0.0 }
    }

    /// Operations per second.
    pub fn operation_rate(&self) -> f64 {
        if self.us > 0.0 { self.operations as f64 / self.us * 1e6 } else { 0.0 }
    }
}

/// Where the time of a step goes, by the device's own clock.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Profile {
    /// The position of the step's first row.
    pub position: u32,
    /// Its rows.
    pub rows: usize,
    /// All dispatches, in the order in which the first of each kind runs.
    pub groups: Vec<DispatchGroup>,
    /// Microseconds of the whole step: all dispatches, those of the greedy sampler among them, in their order.
    pub step_us: f64,
    /// Microseconds of a pass with nothing in it, which were taken off all others.
    pub pass_us: f64,
}

impl Profile {
    /// Microseconds of all groups.
    pub fn sum_us(&self) -> f64 {
        self.groups.iter().map(|g| g.us).sum()
    }
}

/// Runs steps of one graph. The reference is `cpu`; `gpu` is held to it by `check`.
pub trait Backend: Send {
    /// What runs.
    fn device(&self) -> DeviceInfo;

    /// What the user should be told.
    fn notes(&self) -> &[String] {
        &[]
    }

    /// Where the graph runs.
    fn placement(&self) -> Placement;

    /// What is held.
    fn memory(&self) -> Memory;

    /// How long the pipelines took to make, in ms; 0 where there are none.
    fn pipelines_ms(&self) -> f64 {
        0.0
    }

    /// Bytes per second at which the device reads its memory, measured in this process; none where it cannot be.
    fn read_bandwidth_async(&mut self) -> Waiting<'_, Option<f64>> {
        Box::pin(async { None })
    }

    /// The same, on a thread that may wait.
    fn read_bandwidth(&mut self) -> Option<f64> {
        block_on(self.read_bandwidth_async())
    }

    /// Fails, with the reason, where there is no [`Backend::profile_async`].
    fn can_profile(&self) -> Result<()> {
        Err(no_profile(&self.device()))
    }

    /// Measures a step of `rows` rows from `position` on, whose keys and values are overwritten: no sequence should go on from there.
    fn profile_async(&mut self, _position: u32, _rows: usize) -> Waiting<'_, Result<Profile>> {
        let none = no_profile(&self.device());
        Box::pin(async { Err(none) })
    }

    /// The same, on a thread that may wait.
    fn profile(&mut self, position: u32, rows: usize) -> Result<Profile> {
        block_on(self.profile_async(position, rows))
    }

    /// The most that one step may hold.
    fn limits(&self) -> Limits;

    /// Tells how tokens are sampled for `slot` from now on, and what its last tokens were, the last one last.
    fn set_slot(&mut self, slot: u32, sampling: &Sampling, recent: &[u32]) -> Result<()>;

    /// Lays the positions of `slot` from page `first` of its table on into `pages`. Before the first call each slot has
    /// the pages that follow those of the slot before it.
    fn map_pages(&mut self, slot: u32, first: usize, pages: &[u32]) -> Result<()>;

    /// Copies one page of every layer's memory.
    fn copy_page(&mut self, from: u32, to: u32) -> Result<()>;

    /// Copies all states of `slot` to a snapshot, of which there are [`Limits::snapshots`], behind everything that was submitted before.
    fn save_states(&mut self, slot: u32, snapshot: u32) -> Result<()>;

    /// Makes the states of `slot` those of a snapshot, behind everything that was submitted before.
    fn restore_states(&mut self, snapshot: u32, slot: u32) -> Result<()>;

    /// Begins to compute `batch`, behind everything that was submitted before, and does not wait for it.
    fn submit(&mut self, batch: &Batch) -> Result<Ticket>;

    /// Samples from the outputs of a batch of [`crate::batch::Then::SampleMasked`], the one that was submitted last: for slots with a mask
    /// from the tokens that it lets through, for others from all. Until then it computes on.
    fn sample(&mut self, ticket: &Ticket, masks: &[(u32, TokenMask)]) -> Result<()>;

    /// Waits for a batch. Tickets are collected in their order. One that is passed over is dropped, and so is the oldest where more than
    /// [`Limits::ahead`] are in flight: whoever submitted it is gone.
    fn collect_async(&mut self, ticket: Ticket) -> Waiting<'_, Result<Collected>>;

    /// The same, on a thread that may wait.
    fn collect(&mut self, ticket: Ticket) -> Result<Collected> {
        block_on(self.collect_async(ticket))
    }

    /// Computes one step. The result is the logits of its outputs, `[outputs][vocabulary]`.
    fn step(&mut self, step: &Step) -> Result<Vec<f32>> {
        let ticket = self.submit(&Batch::logits(step))?;
        Ok(self.collect(ticket)?.logits)
    }
}

/// What a device without timestamps says when it is to be profiled.
pub fn no_profile(device: &DeviceInfo) -> Error {
    Error::Device(format!(
        "{} has no timestamps, which a profile is made of: choose a GPU with -b",
        device.name
    ))
}
