//! The token loop, on the device: the sampler's kernel writes the next token where the next step reads it, positions advance there
//! too, and steps are encoded ahead of their results. Ids come back late, through a few small buffers; what was computed past the
//! token that the caller breaks at is dropped.

use std::collections::VecDeque;
use std::ops::{ControlFlow, Range};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::gpu::buffers::{Buffers, step_words};
use crate::gpu::device::Device;
use crate::gpu::dispatch::Extent;
use crate::gpu::launch::BoundLaunch;
use crate::gpu::link::Slots;
use crate::gpu::pipelines::{Key, Pipelines};
use crate::gpu::plan::RowClass;
use crate::gpu::{Gpu, readback};
use crate::graph::{Row, Rows, Step};
use crate::models::Model;
use crate::sampler::{NO_TOKEN, Sampling, no_token};

/// Tokens that repeat penalties look back on at most.
pub const RECENT: usize = 256;
/// Draws that are kept until the host has read them: more than are ever in flight.
const RING: usize = 128;
/// Submissions in flight: while one runs and one waits, a third is encoded.
const AHEAD: usize = 3;
/// Steps of a submission at most.
const STEPS: usize = 32;
/// A submission should take no longer, so that text comes evenly and little is dropped at a stop.
const PACE: Duration = Duration::from_millis(16);

const ARGMAX_PART: u32 = 1024;
/// `sample.wgsl` holds as many parts in workgroup memory.
const MOST_PARTS: u32 = 1024;

/// The kernels that choose the most likely token.
const GREEDY: [&str; 2] = ["argmax_part", "argmax"];

/// What samples on the device: kernels bound to the logits of either class, and what they share.
pub struct Decoder {
    greedy: [Vec<BoundLaunch>; 2],
    random: [Vec<BoundLaunch>; 2],
    penalize: [BoundLaunch; 2],
    sampling: wgpu::Buffer,
    recent: wgpu::Buffer,
    ids: wgpu::Buffer,
    back: Vec<wgpu::Buffer>,
}

/// Logits of a part that `sample_part.wgsl` looks at.
fn sample_part(vocab: u32) -> u32 {
    vocab.div_ceil(MOST_PARTS).max(256)
}

fn key(device: &Device, model: &Model, kernel: &'static str) -> Result<Key> {
    let subgroups = device.caps.subgroups;
    let slots = Slots { weight: None, input: None, output: None, copy: None, cache: "f16", subgroups };
    let part = if kernel.starts_with("argmax") { ARGMAX_PART } else { sample_part(model.vocab_size as u32) };
    let vocab = model.vocab_size;
    let mut constants = vec![("VOCAB", vocab as f64), ("WORKGROUP", device.caps.invocations.min(256) as f64)];
    if kernel != "argmax" {
        constants.push(("VOCAB_STRIDE", vocab.next_multiple_of(8) as f64));
    }
    if kernel != "penalize" {
        constants.push(("PART", part as f64));
    }
    if matches!(kernel, "penalize" | "argmax" | "sample") {
        constants.push(("RECENT", RECENT as f64));
    }
    if matches!(kernel, "argmax" | "sample") {
        constants.push(("RING", RING as f64));
    }
    Key::new(kernel, slots, &constants)
}

impl Decoder {
    /// The pipelines that sampling needs.
    pub fn keys(device: &Device, model: &Model) -> Result<Vec<Key>> {
        let kernels = ["penalize", "argmax_part", "argmax", "sample_part", "sample"];
        kernels.into_iter().map(|kernel| key(device, model, kernel)).collect()
    }

    /// Binds the sampler's kernels.
    pub fn new(device: &Device, model: &Model, pipelines: &Pipelines, buffers: &Buffers) -> Result<Decoder> {
        let vocab = model.vocab_size as u32;
        let parts = [vocab.div_ceil(ARGMAX_PART), vocab.div_ceil(sample_part(vocab))];
        let storage =
            wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
        let found = device.buffer("parts", (1 + parts[0].max(parts[1])) as u64 * 8, storage)?;
        let sampling = device.buffer("sampling", 32, storage)?;
        let recent = device.buffer("recent tokens", (1 + RECENT as u64) * 4, storage)?;
        let ids = device.buffer("ids", RING as u64 * 4, storage)?;
        let read = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let back =
            (0..AHEAD).map(|_| device.buffer("ids back", RING as u64 * 4, read)).collect::<Result<_>>()?;

        let next = buffers.step(RowClass::One);
        let one = Extent::PerRow { rows: Rows::Outputs, each: 1 };
        let each_part = |x: u32| Extent::Tiles { rows: Rows::Outputs, tile: 1, x };
        let bind = |kernel: &'static str, extent: Extent, bound: &[&wgpu::Buffer]| -> Result<BoundLaunch> {
            let pipeline = pipelines.get(&key(device, model, kernel)?);
            let bound = vec![(0..).zip(bound.iter().copied()).collect()];
            Ok(BoundLaunch::bind(device, pipeline, kernel, &bound, extent))
        };
        let greedy = |logits: &wgpu::Buffer| -> Result<Vec<BoundLaunch>> {
            Ok(vec![
                bind(GREEDY[0], each_part(parts[0]), &[logits, next, &found])?,
                bind(GREEDY[1], one, &[&found, next, &recent, &ids])?,
            ])
        };
        let random = |logits: &wgpu::Buffer| -> Result<Vec<BoundLaunch>> {
            Ok(vec![
                bind("sample_part", each_part(parts[1]), &[logits, next, &found])?,
                bind("sample", one, &[logits, &found, &sampling, next, &recent, &ids])?,
            ])
        };
        let penalize = |logits: &wgpu::Buffer| bind("penalize", one, &[logits, &sampling, &recent]);
        let logits = [RowClass::One, RowClass::Many].map(|class| buffers.value(class, model.graph.output()));
        Ok(Decoder {
            greedy: [greedy(logits[0])?, greedy(logits[1])?],
            random: [random(logits[0])?, random(logits[1])?],
            penalize: [penalize(logits[0])?, penalize(logits[1])?],
            sampling,
            recent,
            ids,
            back,
        })
    }

    /// Dispatches that choosing the most likely token adds to a step.
    pub fn dispatches(&self) -> usize {
        self.greedy[0].len()
    }

    /// These dispatches, each with its kernel.
    pub fn greedy(&self, class: RowClass) -> impl Iterator<Item = (&'static str, &BoundLaunch)> {
        GREEDY.into_iter().zip(&self.greedy[class as usize])
    }

    fn encode(&self, pass: &mut wgpu::ComputePass<'_>, class: RowClass, step: &Step, sampling: &Sampling) {
        if sampling.penalizes() {
            self.penalize[class as usize].encode(pass, step);
        }
        let stages = if sampling.is_greedy() { &self.greedy } else { &self.random };
        for stage in &stages[class as usize] {
            stage.encode(pass, step);
        }
    }
}

/// Steps that were submitted and whose ids have not been read.
struct Flight {
    back: wgpu::Buffer,
    submitted: wgpu::SubmissionIndex,
    draws: Range<usize>,
}

/// See [`crate::backend::Backend::generate`].
pub fn generate(
    gpu: &mut Gpu,
    step: &Step,
    recent: &[u32],
    sampling: &Sampling,
    limit: usize,
    on_token: &mut dyn FnMut(u32) -> ControlFlow<()>,
) -> Result<()> {
    sampling.check()?;
    if sampling.penalizes() && sampling.repeat_last_n as usize > RECENT {
        let n = sampling.repeat_last_n;
        return Err(Error::Usage(format!("--repeat-last-n {n}: on a GPU it is {RECENT} at most")));
    }
    let Some(&last) = step.rows.last() else { return Ok(()) };
    prepare(gpu, step, last, recent, sampling);

    let mut flights: VecDeque<Flight> = VecDeque::new();
    let mut free = gpu.decoder.back.clone();
    let (mut submitted, mut seen) = (0, 0);
    let mut steps = 1;
    let mut mark = Instant::now();
    while seen < limit {
        while submitted < limit
            && let Some(back) = free.pop()
        {
            let draws = submitted..(submitted + steps).min(limit);
            flights.push_back(submit(gpu, step, last, sampling, draws.clone(), back));
            submitted = draws.end;
        }
        let Some(flight) = flights.pop_front() else { break };
        gpu.device.wait(Some(flight.submitted))?;
        let bytes = readback::read(&gpu.device, &flight.back, RING as u64 * 4)?;
        let ids: Vec<u32> = bytemuck::pod_collect_to_vec(&bytes);
        free.push(flight.back);
        // Prefill is in the first flight; from the second on the time between two is a flight's.
        if seen > 0 {
            let each = mark.elapsed() / flight.draws.len() as u32;
            let wanted = (PACE.as_nanos() / each.as_nanos().max(1)) as usize;
            // Encoding twice as many takes no longer than what is in flight.
            steps = wanted.clamp(1, STEPS.min(2 * steps));
        }
        mark = Instant::now();
        for draw in flight.draws {
            seen += 1;
            let token = ids[draw % RING];
            if token == NO_TOKEN {
                return drain(gpu, flights).and(Err(no_token()));
            }
            if on_token(token).is_break() {
                return drain(gpu, flights);
            }
        }
    }
    drain(gpu, flights)
}

/// Tells the device the prompt's last rows, how to sample, and what the last tokens were.
fn prepare(gpu: &Gpu, step: &Step, last: Row, recent: &[u32], sampling: &Sampling) {
    let write = |buffer: &wgpu::Buffer, bytes: &[u8]| gpu.device.queue.write_buffer(buffer, 0, bytes);
    let class = Gpu::class_of(step);
    gpu.write_step(class, step);
    if class == RowClass::Many {
        let next = step_words(&Step { rows: vec![last], outputs: vec![0] }, 0);
        write(gpu.buffers.step(RowClass::One), bytemuck::cast_slice(&next));
    }
    write(&gpu.decoder.sampling, bytemuck::cast_slice(&sampling.words()));
    let tail = &recent[recent.len().saturating_sub(RECENT)..];
    let mut ring = vec![tail.len() as u32];
    ring.extend(tail);
    write(&gpu.decoder.recent, bytemuck::cast_slice(&ring));
}

/// Encodes and submits the steps of some draws in one compute pass; the first draw's step is the prompt's.
fn submit(
    gpu: &Gpu,
    step: &Step,
    last: Row,
    sampling: &Sampling,
    draws: Range<usize>,
    back: wgpu::Buffer,
) -> Flight {
    let mut encoder = gpu.device.device.create_command_encoder(&Default::default());
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        for draw in draws.clone() {
            let row = Row { position: last.position + draw as u32, ..last };
            let following = Step { rows: vec![row], outputs: vec![0] };
            let (class, step) =
                if draw == 0 { (Gpu::class_of(step), step) } else { (RowClass::One, &following) };
            gpu.encode(&mut pass, class, step);
            gpu.decoder.encode(&mut pass, class, step, sampling);
        }
    }
    encoder.copy_buffer_to_buffer(&gpu.decoder.ids, 0, &back, 0, RING as u64 * 4);
    let submitted = gpu.device.queue.submit([encoder.finish()]);
    back.map_async(wgpu::MapMode::Read, .., |_| {});
    Flight { back, submitted, draws }
}

/// Waits for what is still in flight and drops it.
fn drain(gpu: &Gpu, flights: VecDeque<Flight>) -> Result<()> {
    for flight in flights {
        gpu.device.wait(Some(flight.submitted))?;
        flight.back.unmap();
    }
    Ok(())
}
