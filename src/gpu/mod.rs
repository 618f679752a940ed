//! Runs the same graph on wgpu.
//!
//! `plan` turns the graph into dispatches (by `fuse`'s patterns or node by node by `kernels`), as plain data; `pipelines`, `weights` and `buffers` make what they
//! name; a `stage` is a dispatch bound to all of it; `decode` encodes steps ahead of their results; `trace` and `profile` look on.

mod attention;
mod bandwidth;
mod buffers;
mod decode;
mod device;
mod dispatch;
mod fuse;
mod kernels;
mod kv_layout;
mod launch;
mod link;
mod matvec;
mod pipelines;
mod plan;
mod pool;
mod profile;
mod readback;
mod trace;
mod upload;
mod weights;

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::backend::{Backend, DeviceInfo, Limits, Memory, Placement, Precision, Profile, RuntimeConfig};
use crate::error::Result;
use crate::gguf::Gguf;
use crate::graph::{Kind, Node, Row, Step};
use crate::models::Model;
use crate::sampler::Sampling;

use buffers::{Buffers, step_words};
pub use device::{AdapterLine, Api, Caps, Device, Masks, adapters, best, choose};
use launch::BoundLaunch;
pub use link::{Slots, imports, kernels, link};
use pipelines::Pipelines;
use plan::{Launch, Planner, RowClass};
pub use trace::Traced;
use weights::{Layout, Weights};

/// Logits that come back in one step hold no more bytes than this.
const LOGITS: usize = 32 << 20;

/// The GPU backend.
pub struct Gpu {
    device: Device,
    model: Arc<Model>,
    plan: RuntimeConfig,
    outputs: usize,
    launches: [Vec<Launch>; 2],
    stages: [Vec<BoundLaunch>; 2],
    buffers: Buffers,
    layout: Layout,
    weights: Weights,
    pipelines_ms: f64,
    decoder: decode::Decoder,
    bandwidth: Option<Option<f64>>,
}

impl Gpu {
    /// Plans the dispatches, makes the pipelines and uploads the weights.
    pub fn new(
        device: Device,
        file: Arc<Gguf>,
        model: Arc<Model>,
        plan: RuntimeConfig,
        unfused: bool,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Gpu> {
        let graph = &model.graph;
        let (matrices, vectors) = weight_nodes(&model);
        let layout = Layout::new(graph, &matrices, &fuse::bundles(graph), device.caps.binding);
        let outputs = (LOGITS.min(device.caps.binding as usize) / (model.vocab_size * 4)).clamp(1, plan.rows);
        let launches = [RowClass::One, RowClass::Many].map(|class| {
            let (caps, RuntimeConfig { context, slots, precision, .. }) = (&device.caps, plan);
            plan::plan(&Planner { graph, layout: &layout, caps, class, context, slots, precision }, unfused)
        });
        let mut keys = launches.iter().flatten().map(launch::key).collect::<Result<Vec<_>>>()?;
        keys.extend(decode::Decoder::keys(&device, &model)?);
        let pipelines = Pipelines::make(&device, &keys)?;
        let buffers = Buffers::new(&device, &file, graph, plan, outputs, [&launches[0], &launches[1]])?;
        let weights = Weights::upload(&device, &file, graph, &layout, &vectors, progress)?;
        let bind = |class: RowClass| {
            let stage = |p| BoundLaunch::new(&device, &pipelines, &buffers, &weights, class, p);
            launches[class as usize].iter().map(stage).collect::<Result<Vec<_>>>()
        };
        let stages = [bind(RowClass::One)?, bind(RowClass::Many)?];
        let decoder = decode::Decoder::new(&device, &model, &pipelines, &buffers)?;
        device.check()?;
        let pipelines_ms = pipelines.ms;
        Ok(Gpu {
            device,
            model,
            plan,
            outputs,
            launches,
            stages,
            buffers,
            layout,
            weights,
            pipelines_ms,
            decoder,
            bandwidth: None,
        })
    }

    fn class_of(step: &Step) -> RowClass {
        if step.rows.len() == 1 { RowClass::One } else { RowClass::Many }
    }

    /// Tells the device the rows of a step.
    fn write_step(&self, class: RowClass, step: &Step) {
        let words = step_words(step, 0);
        self.device.queue.write_buffer(self.buffers.step(class), 0, bytemuck::cast_slice(&words));
    }

    /// Encodes a step.
    fn encode(&self, pass: &mut wgpu::ComputePass<'_>, class: RowClass, step: &Step) {
        for stage in &self.stages[class as usize] {
            stage.encode(pass, step);
        }
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
        if self.plan.precision == Precision::F32 {
            info.features.push("f32 arithmetic".into());
        }
        info
    }

    fn placement(&self) -> Placement {
        let first = Step { rows: vec![Row { token: 0, slot: 0, position: 0 }], outputs: vec![0] };
        Placement {
            layers_run: self.model.layers,
            block_count: self.model.block_count,
            cpu_nodes: 0,
            dispatches_per_token: self.stages[0].iter().filter(|s| s.runs(&first)).count()
                + self.decoder.dispatches(),
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
        self.pipelines_ms
    }

    fn read_bandwidth(&mut self) -> Option<f64> {
        *self.bandwidth.get_or_insert_with(|| bandwidth::measure(&self.device).ok())
    }

    fn can_profile(&self) -> Result<()> {
        profile::check(self)
    }

    fn profile(&mut self, position: u32) -> Result<Profile> {
        profile::profile(self, position)
    }

    fn limits(&self) -> Limits {
        Limits { rows: self.plan.rows, outputs: self.outputs }
    }

    fn step(&mut self, step: &Step) -> Result<Vec<f32>> {
        let class = Gpu::class_of(step);
        self.write_step(class, step);
        let mut encoder = self.device.device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            self.encode(&mut pass, class, step);
        }
        if step.outputs.is_empty() {
            self.device.queue.submit([encoder.finish()]);
            return self.device.check().map(|()| Vec::new());
        }
        let output = self.model.graph.output();
        let shape = self.model.graph.shape(output);
        let rows = step.outputs.len();
        let bytes = (rows * shape.stride() * 4) as u64;
        let logits = readback::copy(&self.device, encoder, self.buffers.value(class, output), bytes)?;
        Ok(readback::rows(&logits, rows, shape))
    }

    fn wait(&mut self) -> Result<()> {
        self.device.wait(None)
    }

    fn generate(
        &mut self,
        step: &Step,
        recent: &[u32],
        sampling: &Sampling,
        limit: usize,
        on_token: &mut dyn FnMut(u32) -> ControlFlow<()>,
    ) -> Result<()> {
        decode::generate(self, step, recent, sampling, limit, on_token)
    }
}
