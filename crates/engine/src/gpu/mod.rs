//! Runs the same graph on wgpu.
//!
//! `plan` turns the graph into launches (by groups, or node by node by `kernels`), as plain data; `pipelines` and `memory` make what they
//! name; a bound `launch` is a dispatch with all of it; `submission` encodes batches ahead of their results, `sampler` what chooses their tokens; `trace` and `profile` look on.

mod adapter;
mod caps;
mod device;
mod link;
mod memory;
mod pipelines;
mod plan;
mod run;
mod signal;
mod tune;
mod tuned;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::backend::{
    BESIDE, Backend, DeviceInfo, Limits, Memory, Placement, Precision, Profile, RuntimeConfig,
};
use crate::batch::{Batch, Collected, Ticket};
use crate::blocking::{Waiting, block_on};
use crate::constraint::TokenMask;
use crate::error::{Error, Result};
use crate::gguf::Gguf;
use crate::graph::{Kind, Node, Step};
use crate::models::Model;
use crate::sampler::Sampling;

use memory::buffers::{Buffers, Room, step_words};
use plan::{chain, groups};
use run::{bandwidth, launch, matrix_test, profile, sampler, submission};

pub use adapter::{AdapterLine, Api, adapters, adapters_async, best, best_async, choose, choose_async};
pub use caps::{Caps, Masks};
pub use device::Device;
pub use link::{Slots, imports, kernels, link, stems};
use memory::weights::{Layout, Weights};
pub use plan::Arithmetic;
pub use plan::chain::of_blocks as dispatches_in_a_row;
pub use plan::policy::Policy;
use plan::{Launch, Planner, RowClass, SEVERAL};
use run::launch::BoundLaunch;
use run::sampler::Sampler;
use run::submission::Flights;
pub use run::trace::Traced;
pub use tune::{StepTimes, Tuning, tune, tune_async};
pub use tuned::{file as tuned_file, keep as keep_tuned};

/// Logits that come back in one step hold no more bytes than this.
const LOGITS: usize = 32 << 20;

/// The GPU backend.
pub struct Gpu {
    device: Device,
    model: Arc<Model>,
    config: RuntimeConfig,
    outputs: usize,
    launches: Vec<Vec<Launch>>,
    bound: Vec<Vec<BoundLaunch>>,
    buffers: Buffers,
    layout: Layout,
    weights: Weights,
    /// Whether all pipelines were made ahead of the first step.
    ready: bool,
    sampler: sampler::Sampler,
    flights: submission::Flights,
    /// The pages of each slot.
    tables: Vec<Vec<u32>>,
    bandwidth: Option<Option<f64>>,
    notes: Vec<String>,
}

impl Gpu {
    /// [`Gpu::new_async`], on a thread that may wait.
    pub fn new(
        device: Device,
        file: Arc<Gguf>,
        model: Arc<Model>,
        config: RuntimeConfig,
        unfused: bool,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Gpu> {
        block_on(Gpu::new_async(device, file, model, config, unfused, progress))
    }

    /// Plans the dispatches, makes the pipelines and uploads the weights.
    pub async fn new_async(
        mut device: Device,
        file: Arc<Gguf>,
        model: Arc<Model>,
        config: RuntimeConfig,
        unfused: bool,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Gpu> {
        let graph = &model.graph;
        config.kv.check(graph)?;
        let mut notes: Vec<String> = device.untuned.iter().cloned().collect();
        if let Some(matrix) = device.caps.matrix
            && config.precision == Precision::Fast
            && config.rows > 1
            && let Err(e) = matrix_test::trust(&device, matrix).await
        {
            device.caps.matrix = None;
            let name = &device.info.name;
            notes.push(format!("the matrix units of {name} are not used, for they failed a test: {e}"));
        }
        let (matrices, vectors) = weight_nodes(&model);
        let groups = groups::groups(graph);
        let layout =
            Layout::new(graph, &matrices, &groups::weight_groups(graph, &groups), device.caps.binding)?;
        let outputs =
            (LOGITS.min(device.caps.binding as usize) / (model.vocab_size * 4)).clamp(1, config.rows);
        let plan = |class| {
            let (caps, in_order) = (&device.caps, config.slots == 1);
            let RuntimeConfig { precision, kv, context, .. } = config;
            plan::plan(
                &Planner { graph, layout: &layout, caps, class, in_order, context, precision, kv },
                &groups,
                unfused,
            )
        };
        let mut launches = vec![plan(RowClass::One), plan(RowClass::Few), Vec::new(), Vec::new()];
        let few = if unfused { SEVERAL } else { plan::few(graph, &device.caps, &layout, config.precision) };
        let several = plan::lanes::several(graph, &device.caps);
        let room = Room::new(graph, config, outputs, [few, several], &launches[RowClass::Few as usize]);
        // A class that no step falls into has no launches.
        for (class, below) in [(RowClass::Several, RowClass::Few), (RowClass::Many, RowClass::Several)] {
            if room.rows(class) > room.rows(below) {
                launches[class as usize] = plan(class);
                launches[class as usize].retain(|l| l.dispatch.extent.least() <= room.rows(class));
            }
        }
        let few = room.rows(RowClass::Few);
        launches[RowClass::Few as usize].retain(|l| few > 1 && l.dispatch.extent.least() <= few);
        let apart = submission::apart(&device, &launches[RowClass::One as usize])?;
        let buffers = Buffers::new(&device, &file, graph, config, room, &launches, apart).await?;
        let weights = Weights::upload(
            &device,
            &file,
            graph,
            &layout,
            &vectors,
            &groups::biases(graph, &groups),
            progress,
        )
        .await?;
        let bind = |class: RowClass| {
            let bound = |p| BoundLaunch::new(&device, &buffers, &weights, class, p);
            launches[class as usize].iter().map(bound).collect::<Result<Vec<_>>>()
        };
        let bound: Vec<Vec<BoundLaunch>> = RowClass::ALL.into_iter().map(bind).collect::<Result<_>>()?;
        let ids = outputs.max(SEVERAL * submission::STEPS);
        let sizes = [config.slots, config.context, ids];
        let sampler = Sampler::new(&device, &model, &buffers, sizes)?;
        let ready = !adapter::is_software(&device.adapter);
        if ready {
            launch::all_ready(&device, bound.iter().flatten().chain(sampler.launches()))?;
        }
        let flights = Flights::new(&device, ids)?;
        let table = config.table() as u32;
        let tables: Vec<Vec<u32>> =
            (0..config.slots as u32).map(|slot| (slot * table..(slot + 1) * table).collect()).collect();
        device.queue.write_buffer(buffers.pages(), 0, bytemuck::cast_slice(&tables.concat()));
        device.settled().await?;
        let bandwidth = None;
        Ok(Gpu {
            device,
            model,
            config,
            outputs,
            launches,
            bound,
            buffers,
            layout,
            weights,
            ready,
            sampler,
            flights,
            tables,
            bandwidth,
            notes,
        })
    }

    /// The device, without the model.
    pub fn into_device(self) -> Device {
        self.device
    }

    /// Which class's launches compute a step.
    fn class_of(&self, step: &Step) -> RowClass {
        match step.rows.len() {
            0 | 1 => RowClass::One,
            n if n <= self.buffers.room.rows(RowClass::Few) => RowClass::Few,
            n if n <= self.buffers.room.rows(RowClass::Several) => RowClass::Several,
            _ => RowClass::Many,
        }
    }

    /// The length of a table of pages, as a step says it.
    fn table_words(&self) -> u32 {
        if self.config.slots == 1 { 0 } else { self.config.table() as u32 }
    }

    /// Makes the pipelines of launches that a step of these rows runs and that are not made yet. On a software adapter that takes longer than all
    /// else, and most of what is planned never runs; of hardware all was made before.
    fn make_ready<'a>(&self, launches: impl IntoIterator<Item = &'a BoundLaunch>, step: &Step) -> Result<()> {
        match self.ready {
            true => Ok(()),
            false => launch::ready(&self.device, launches, step),
        }
    }

    /// The launches of a class whose values are apart, over buffers that they share: then like ones wait for each other, as those of a step do.
    fn shared(&self, class: RowClass) -> Result<Option<Vec<BoundLaunch>>> {
        let Some(buffers) = self.buffers.sharing().filter(|_| class == RowClass::One) else {
            return Ok(None);
        };
        let bound = |p| BoundLaunch::new(&self.device, &buffers, &self.weights, class, p);
        self.launches[class as usize].iter().map(bound).collect::<Result<_>>().map(Some)
    }

    /// Tells the device the rows of a step.
    fn write_step(&self, class: RowClass, step: &Step) {
        let words = step_words(step, submission::STEPS as u32, self.table_words());
        self.device.queue.write_buffer(self.buffers.step(class), 0, bytemuck::cast_slice(&words));
    }
}

/// The weights that are read as matrices, and those that are read as vectors.
fn weight_nodes(model: &Model) -> (Vec<Node>, Vec<Node>) {
    let (mut matrices, mut vectors) = (Vec::new(), Vec::new());
    for (_, entry) in model.graph.nodes() {
        let Some((op, inputs)) = entry.op() else { continue };
        for (i, &input) in inputs.iter().enumerate() {
            if let Kind::Weight(_) = model.graph.entry(input).kind {
                let kind = if op.matrix_input() == Some(i) { &mut matrices } else { &mut vectors };
                kind.push(input);
            }
        }
    }
    (matrices, vectors)
}

impl Backend for Gpu {
    fn device(&self) -> DeviceInfo {
        let mut info = self.device.info.clone();
        if self.config.precision == Precision::F32 {
            info.features.push("f32 arithmetic".into());
        }
        info
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }

    fn placement(&self) -> Placement {
        let first = chain::first_step();
        Placement {
            layers_run: self.model.layers,
            block_count: self.model.block_count,
            cpu_nodes: 0,
            dispatches_per_token: self.bound[0].iter().filter(|s| s.runs(&first)).count()
                + self.sampler.dispatches(),
        }
    }

    fn memory(&self) -> Memory {
        Memory {
            weights: self.weights.bytes,
            kv: self.buffers.kv_bytes,
            scratch: self.buffers.scratch_bytes,
            buffers: self.device.buffers_made(),
        }
    }

    fn pipelines_ms(&self) -> f64 {
        self.device.pipelines_us.load(Ordering::Relaxed) as f64 / 1e3
    }

    fn read_bandwidth_async(&mut self) -> Waiting<'_, Option<f64>> {
        Box::pin(async {
            if self.bandwidth.is_none() {
                self.bandwidth = Some(bandwidth::measure(&self.device).await.ok());
            }
            self.bandwidth.flatten()
        })
    }

    fn can_profile(&self) -> Result<()> {
        profile::check(self)
    }

    fn profile_async(&mut self, position: u32, rows: usize) -> Waiting<'_, Result<Profile>> {
        Box::pin(profile::profile(self, position, rows))
    }

    fn limits(&self) -> Limits {
        Limits {
            rows: self.config.rows,
            beside: if self.device.caps.software { self.config.rows.min(BESIDE) } else { self.config.rows },
            outputs: self.outputs,
            repeated: self.buffers.room.outputs(RowClass::Several),
            steps: submission::STEPS,
            ahead: submission::AHEAD,
            snapshots: self.buffers.snapshots(),
        }
    }

    fn set_slot(&mut self, slot: u32, sampling: &Sampling, recent: &[u32]) -> Result<()> {
        self.sampler.set_slot(&self.device, slot, sampling, recent)
    }

    fn map_pages(&mut self, slot: u32, first: usize, pages: &[u32]) -> Result<()> {
        self.tables[slot as usize][first..first + pages.len()].copy_from_slice(pages);
        // Kernels for one slot look for its pages where they lie in order, and do not ask.
        if self.config.slots == 1 {
            return match (first as u32..).zip(pages).all(|(n, &page)| n == page) {
                true => Ok(()),
                false => Err(Error::Other("the pages of a lone slot must lie in order".into())),
            };
        }
        let at = (slot as usize * self.config.table() + first) as u64 * 4;
        self.device.queue.write_buffer(self.buffers.pages(), at, bytemuck::cast_slice(pages));
        Ok(())
    }

    fn copy_page(&mut self, from: u32, to: u32) -> Result<()> {
        self.buffers.copy_page(&self.device, self.config.pages, from, to)
    }

    fn save_states(&mut self, slot: u32, snapshot: u32) -> Result<()> {
        self.buffers.copy_states(&self.device, &self.model.graph, slot, snapshot, false)
    }

    fn restore_states(&mut self, snapshot: u32, slot: u32) -> Result<()> {
        self.buffers.copy_states(&self.device, &self.model.graph, slot, snapshot, true)
    }

    fn submit(&mut self, batch: &Batch) -> Result<Ticket> {
        submission::submit(self, batch)
    }

    fn sample(&mut self, ticket: &Ticket, masks: &[(u32, TokenMask)]) -> Result<()> {
        submission::sample(self, ticket, masks)
    }

    fn collect_async(&mut self, ticket: Ticket) -> Waiting<'_, Result<Collected>> {
        Box::pin(submission::collect(self, ticket))
    }
}
