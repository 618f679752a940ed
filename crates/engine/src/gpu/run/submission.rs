//! Batches on the device: what is submitted and not yet collected.
//!
//! Steps of a batch follow each other: the sampler writes each next token where the next step reads it, and moves positions on. Ids come
//! back late, through a few small buffers, so that the device never waits for the host.

use std::collections::VecDeque;

use crate::batch::{Batch, Collected, Input, Then, Ticket};
use crate::constraint::TokenMask;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::gpu::device::Device;
use crate::gpu::memory::buffers::step_words;
use crate::gpu::plan::{Launch, RowClass, chain};
use crate::gpu::run::launch::BoundLaunch;
use crate::gpu::run::readback;
use crate::gpu::signal::Signal;
use crate::graph::Step;

/// Batches in flight: while one runs and one waits, a third is encoded.
pub const AHEAD: usize = 3;
/// Steps of a batch at most; stamps tell that many apart.
pub const STEPS: usize = 32;
/// Launches of a step of one row beside its longest chain from which on it has a compute pass of its own: a pass costs as much as some five waits less
/// (benches/README.md).
const OWN_PASS: usize = 8;
/// Launches of many rows that are submitted at once: about those of a layer.
const PIECE: usize = 16;
/// Launches that are submitted to a device that has nothing to do, before the others are encoded; of each later piece there are twice as many.
const FIRST: usize = 8;
/// In place of a token: what was sampled last for the row's slot (`wgsl/resolve.wgsl`).
const LAST_SAMPLED: u32 = u32::MAX;

/// A batch that was submitted.
struct Flight {
    ticket: u64,
    back: Option<wgpu::Buffer>,
    submitted: wgpu::SubmissionIndex,
    /// Given when it is done, and what comes back is mapped.
    done: Signal,
    /// Tokens or logits that come back.
    wanted: Wanted,
}

#[derive(Clone, Copy)]
enum Wanted {
    Tokens(usize),
    Logits(usize),
    Nothing,
}

/// A batch that is computed up to its logits and waits for masks.
struct Held {
    ticket: u64,
    class: RowClass,
    step: Step,
}

/// What is in flight.
pub struct Flights {
    flights: VecDeque<Flight>,
    held: Option<Held>,
    /// Buffers that ids come back in.
    free: Vec<wgpu::Buffer>,
    tickets: u64,
}

impl Flights {
    /// Nothing in flight; a submission brings `ids` tokens back at most.
    pub fn new(device: &Device, ids: usize) -> Result<Flights> {
        let read = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let free =
            (0..AHEAD).map(|_| device.buffer("ids back", ids as u64 * 4, read)).collect::<Result<_>>()?;
        Ok(Flights { flights: VecDeque::new(), held: None, free, tickets: 0 })
    }

    /// A buffer that ids come back in. Where none is free, the oldest batch is given up: nobody has more than [`AHEAD`] in flight, so that
    /// whoever submitted it is gone.
    fn ids_back(&mut self) -> Option<wgpu::Buffer> {
        let brings_ids = |flight: &Flight| matches!(flight.wanted, Wanted::Tokens(_));
        self.free.pop().or_else(|| {
            let oldest = self.flights.iter().position(brings_ids)?;
            let back = self.flights.remove(oldest)?.back?;
            // Where it is not mapped yet, it never is.
            back.unmap();
            Some(back)
        })
    }
}

/// Whether each step of one row, whose launches these are, has a pass of its own, and its values share no buffers. Within a pass whatever writes a buffer that
/// was used before, be it by the step in front, waits for all that was before, whether it depends on that or not.
pub fn apart(device: &Device, launches: &[Launch]) -> Result<bool> {
    // Metal has each dispatch of a pass wait for the one before.
    let waits_for_all = device.adapter.backend == wgpu::Backend::Metal;
    Ok(!waits_for_all && chain::beside(launches)? >= OWN_PASS)
}

/// See [`crate::backend::Backend::submit`].
pub fn submit(gpu: &mut Gpu, batch: &Batch) -> Result<Ticket> {
    let mut step = batch.step(|_| LAST_SAMPLED);
    let class = gpu.class_of(&step);
    if class == RowClass::Many && batch.steps > 1 {
        let (rows, most) = (batch.rows.len(), gpu.buffers.room.rows(RowClass::Several));
        return Err(Error::Other(format!("a batch of several steps has {rows} rows, {most} at most")));
    }
    let resolves = batch.rows.iter().any(|row| row.input == Input::LastSampled);
    if !gpu.ready {
        make_ready(gpu, batch, class, step.clone(), resolves)?;
    }
    gpu.flights.tickets += 1;
    let ticket = gpu.flights.tickets;
    // A stamp for each step: a submission's are those of its number.
    let words = step_words(&step, (ticket as u32).wrapping_mul(STEPS as u32), gpu.table_words());
    gpu.device.queue.write_buffer(gpu.buffers.step(class), 0, bytemuck::cast_slice(&words));

    let outputs = batch.outputs.len();
    let mut encoder = gpu.device.device.create_command_encoder(&Default::default());
    // A step alone begins while most of it is still encoded; of what follows other batches all is encoded while those run.
    let alone = batch.steps == 1 && gpu.flights.flights.is_empty();
    let whole = class != RowClass::Many && !alone;
    if !whole {
        submit_pieces(gpu, class, &step, resolves);
    }
    let mut resolve = gpu.sampler.resolve(class).filter(|_| resolves && whole);
    let passes = if gpu.buffers.apart() && class == RowClass::One { batch.steps } else { 1 };
    for _ in 0..passes {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        encode(&mut pass, resolve.take(), &step);
        for _ in 0..batch.steps / passes {
            if whole {
                encode(&mut pass, &gpu.bound[class as usize], &step);
            }
            if batch.then == Then::Sample && outputs > 0 {
                encode(&mut pass, gpu.sampler.sample(class, &step), &step);
            }
            advance(&mut step);
        }
    }
    let (back, wanted) = match batch.then {
        _ if outputs == 0 => (None, Wanted::Nothing),
        Then::Sample => {
            let tokens = outputs * batch.steps as usize;
            (Some(bring_ids(gpu, &mut encoder, tokens)?), Wanted::Tokens(tokens))
        }
        Then::SampleMasked => {
            gpu.device.queue.submit([encoder.finish()]);
            gpu.flights.held = Some(Held { ticket, class, step });
            gpu.device.check()?;
            return Ok(Ticket(ticket));
        }
        Then::Logits => {
            let shape = gpu.model.graph.shape(gpu.model.graph.output());
            let bytes = (outputs * shape.stride() * 4) as u64;
            let back = readback::staging(&gpu.device, bytes)?;
            encoder.copy_buffer_to_buffer(
                gpu.buffers.value(class, gpu.model.graph.output()),
                0,
                &back,
                0,
                bytes,
            );
            (Some(back), Wanted::Logits(outputs))
        }
    };
    depart(gpu, encoder, ticket, back, wanted)
}

/// Makes the pipelines of all steps of a batch, of which `step` is the first.
fn make_ready(gpu: &Gpu, batch: &Batch, class: RowClass, mut step: Step, resolves: bool) -> Result<()> {
    gpu.make_ready(gpu.sampler.resolve(class).filter(|_| resolves), &step)?;
    for _ in 0..batch.steps {
        gpu.make_ready(&gpu.bound[class as usize], &step)?;
        if batch.then == Then::Sample {
            gpu.make_ready(gpu.sampler.sample(class, &step), &step)?;
        }
        advance(&mut step);
    }
    Ok(())
}

/// The step behind a step.
fn advance(step: &mut Step) {
    for row in &mut step.rows {
        row.position += 1;
    }
}

fn encode<'a>(
    pass: &mut wgpu::ComputePass<'_>,
    launches: impl IntoIterator<Item = &'a BoundLaunch>,
    step: &Step,
) {
    for launch in launches {
        launch.encode(pass, step);
    }
}

/// See [`crate::backend::Backend::sample`].
pub fn sample(gpu: &mut Gpu, ticket: &Ticket, masks: &[(u32, TokenMask)]) -> Result<()> {
    let Some(Held { class, step, .. }) = gpu.flights.held.take_if(|held| held.ticket == ticket.0) else {
        return Err(Error::Other(format!("batch {} does not wait for masks", ticket.0)));
    };
    gpu.sampler.set_masks(&gpu.device, masks);
    let launches = || gpu.sampler.mask(class).into_iter().chain(gpu.sampler.sample(class, &step));
    gpu.make_ready(launches(), &step)?;
    let mut encoder = gpu.device.device.create_command_encoder(&Default::default());
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        encode(&mut pass, launches(), &step);
    }
    let tokens = step.outputs.len();
    let back = bring_ids(gpu, &mut encoder, tokens)?;
    depart(gpu, encoder, ticket.0, Some(back), Wanted::Tokens(tokens)).map(drop)
}

/// Copies so many sampled tokens to where the host reads them.
fn bring_ids(gpu: &mut Gpu, encoder: &mut wgpu::CommandEncoder, tokens: usize) -> Result<wgpu::Buffer> {
    let Some(back) = gpu.flights.ids_back() else {
        return Err(Error::Other(format!("more than {AHEAD} batches are in flight")));
    };
    encoder.copy_buffer_to_buffer(&gpu.sampler.ids, 0, &back, 0, tokens as u64 * 4);
    Ok(back)
}

/// Submits the end of a batch, and asks for what comes back.
fn depart(
    gpu: &mut Gpu,
    encoder: wgpu::CommandEncoder,
    ticket: u64,
    back: Option<wgpu::Buffer>,
    wanted: Wanted,
) -> Result<Ticket> {
    let submitted = gpu.device.queue.submit([encoder.finish()]);
    let done = match &back {
        Some(back) => gpu.device.map(back, wgpu::MapMode::Read, back.size()),
        None => gpu.device.submitted(),
    };
    gpu.flights.flights.push_back(Flight { ticket, back, submitted, done, wanted });
    gpu.device.check()?;
    Ok(Ticket(ticket))
}

/// Submits a step in pieces: of many rows since on a small GPU a whole one takes seconds, and some systems end a driver after two, of fewer so that the
/// device begins at once.
fn submit_pieces(gpu: &Gpu, class: RowClass, step: &Step, resolves: bool) {
    let launches: Vec<_> = gpu.bound[class as usize].iter().filter(|launch| launch.runs(step)).collect();
    let (mut left, mut resolves, mut size) = (&launches[..], resolves, FIRST);
    while !left.is_empty() {
        let (piece, others) = left.split_at(size.min(left.len()));
        let mut encoder = gpu.device.device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            let resolve = gpu.sampler.resolve(class).filter(|_| std::mem::take(&mut resolves));
            encode(&mut pass, resolve.into_iter().chain(piece.iter().copied()), step);
        }
        gpu.device.queue.submit([encoder.finish()]);
        left = others;
        size = if class == RowClass::Many { PIECE } else { 2 * size };
    }
}

/// See [`crate::backend::Backend::collect_async`].
pub async fn collect(gpu: &mut Gpu, ticket: Ticket) -> Result<Collected> {
    while let Some(flight) = gpu.flights.flights.pop_front() {
        let found = flight.ticket == ticket.0;
        let collected = finish(gpu, flight).await?;
        if found {
            return Ok(collected);
        }
    }
    Err(Error::Other(format!("batch {} is not in flight", ticket.0)))
}

/// Waits for a batch and reads what came of it.
async fn finish(gpu: &mut Gpu, flight: Flight) -> Result<Collected> {
    let waited = gpu.device.wait(Some(flight.submitted), flight.done).await;
    let Some(back) = flight.back else { return waited.map(|()| Collected::default()) };
    let read = waited.and_then(|()| {
        let collected = match flight.wanted {
            Wanted::Nothing => Collected::default(),
            Wanted::Tokens(count) => {
                let bytes = readback::read(&gpu.device, &back, count as u64 * 4)?;
                Collected { tokens: bytemuck::pod_collect_to_vec(&bytes), logits: Vec::new() }
            }
            Wanted::Logits(rows) => {
                let shape = gpu.model.graph.shape(gpu.model.graph.output());
                let bytes = readback::read(&gpu.device, &back, (rows * shape.stride() * 4) as u64)?;
                Collected { tokens: Vec::new(), logits: readback::rows(&bytes, rows, shape) }
            }
        };
        Ok(collected)
    });
    if read.is_err() {
        back.unmap();
    }
    if let Wanted::Tokens(_) = flight.wanted {
        gpu.flights.free.push(back);
    }
    read
}
