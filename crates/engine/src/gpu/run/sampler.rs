//! What samples on the device: kernels bound to the logits of each row class, and what slots keep for them. A sampled token goes to
//! where the next step reads it, to the slot's last and recent tokens, and to the ids that the host brings back.

use crate::constraint::TokenMask;
use crate::error::Result;
use crate::gpu::device::Device;
use crate::gpu::link::Slots;
use crate::gpu::memory::buffers::Buffers;
use crate::gpu::pipelines::{Key, Pipeline};
use crate::gpu::plan::RowClass;
use crate::gpu::plan::dispatch::Extent;
use crate::gpu::run::launch::BoundLaunch;
use crate::graph::{Rows, Step};
use crate::models::Model;
use crate::sampler::Sampling;

/// Logits of a part that `argmax_part.wgsl` and `mask.wgsl` look at.
const ARGMAX_PART: u32 = 1024;
/// `sample.wgsl` holds as many parts in workgroup memory.
const MOST_PARTS: u32 = 1024;
/// Tokens that a slot can ban.
const BANNED: usize = Sampling::BANNED;
/// Words of a slot's sampling.
const SAMPLING_WORDS: u64 = 8;

/// The kernels that choose the most likely token.
const GREEDY: [&str; 2] = ["argmax_part", "argmax"];

/// The kernels of one row class.
struct Bound {
    resolve: BoundLaunch,
    greedy: Vec<BoundLaunch>,
    random: Vec<BoundLaunch>,
    penalize: BoundLaunch,
    mask: BoundLaunch,
}

/// The sampler of a device.
pub struct Sampler {
    /// Of the classes that have launches.
    bound: Vec<Option<Bound>>,
    sampling: wgpu::Buffer,
    banned: wgpu::Buffer,
    masks: wgpu::Buffer,
    recent: wgpu::Buffer,
    /// How each slot samples, for choosing kernels.
    slots: Vec<Sampling>,
    /// Which slots have a mask on the device.
    masked: Vec<bool>,
    /// Words of a mask.
    mask_words: usize,
    /// Tokens that a slot's ring of recent ones holds.
    ring: usize,
    /// The tokens of a submission, step after step.
    pub ids: wgpu::Buffer,
}

/// Logits of a part that `sample_part.wgsl` looks at.
fn sample_part(vocab: u32) -> u32 {
    vocab.div_ceil(MOST_PARTS).max(256)
}

fn key(device: &Device, model: &Model, kernel: &'static str) -> Result<Key> {
    let subgroups = device.caps.subgroups;
    let slots = Slots { subgroups, ..Slots::NONE };
    let part = match kernel.starts_with("sample") {
        true => sample_part(model.vocab_size as u32),
        false => ARGMAX_PART,
    };
    let vocab = model.vocab_size;
    let mut constants = Vec::new();
    if kernel != "resolve" {
        constants.extend([("VOCAB", vocab as f64), ("WORKGROUP", device.caps.invocations.min(256) as f64)]);
    }
    if !matches!(kernel, "resolve" | "argmax") {
        constants.push(("VOCAB_STRIDE", vocab.next_multiple_of(8) as f64));
    }
    if kernel == "penalize" {
        constants.push(("BANNED", BANNED as f64));
    }
    if !matches!(kernel, "resolve" | "penalize") {
        constants.push(("PART", part as f64));
    }
    Key::new(kernel, slots, &constants)
}

impl Sampler {
    /// Binds the sampler's kernels, for `slots` slots that look back on `ring` tokens at most; a submission brings `ids` tokens at most.
    pub fn new(
        device: &Device,
        model: &Model,
        buffers: &Buffers,
        [slots, ring, ids]: [usize; 3],
    ) -> Result<Sampler> {
        let vocab = model.vocab_size as u32;
        let parts = [vocab.div_ceil(ARGMAX_PART), vocab.div_ceil(sample_part(vocab))];
        let storage =
            wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
        let sampling = device.buffer("sampling", slots as u64 * SAMPLING_WORDS * 4, storage)?;
        let banned = device.buffer("banned tokens", (slots * (1 + BANNED)) as u64 * 4, storage)?;
        let mask_words = model.vocab_size.div_ceil(32);
        let masks = device.buffer("token masks", (slots * (1 + mask_words)) as u64 * 4, storage)?;
        let recent = device.buffer("recent tokens", (1 + slots * (1 + ring)) as u64 * 4, storage)?;
        device.queue.write_buffer(&recent, 0, bytemuck::bytes_of(&(ring as u32)));
        let last = device.buffer("last tokens", slots as u64 * 4, storage)?;
        let ids = device.buffer("ids", ids as u64 * 4, storage)?;
        let seen = device.buffer(
            "seen tokens",
            buffers.room.outputs(RowClass::Many) as u64 * vocab as u64 * 4,
            storage,
        )?;

        let bound = |class: RowClass| -> Result<Bound> {
            let (logits, step) = (buffers.value(class, model.graph.output()), buffers.step(class));
            let outputs = buffers.room.outputs(class) as u64;
            let found = device.buffer("parts", outputs * (1 + parts[0].max(parts[1])) as u64 * 8, storage)?;
            let one = Extent::PerRow { rows: Rows::Outputs, each: 1 };
            let each_part = |x: u32| Extent::Tiles { rows: Rows::Outputs, tile: 1, x };
            let bind =
                |kernel: &'static str, extent: Extent, bound: &[&wgpu::Buffer]| -> Result<BoundLaunch> {
                    let pipeline = Pipeline::of(device, key(device, model, kernel)?)?;
                    let bound = vec![(0..).zip(bound.iter().copied()).collect()];
                    Ok(BoundLaunch::bind(device, pipeline, &bound, extent))
                };
            Ok(Bound {
                resolve: bind(
                    "resolve",
                    Extent::Elements { rows: Rows::Step, cols: 1, tile: 64 },
                    &[step, &last],
                )?,
                greedy: vec![
                    bind(GREEDY[0], each_part(parts[0]), &[logits, step, &found])?,
                    bind(GREEDY[1], one, &[&found, step, &recent, &ids, &last])?,
                ],
                random: vec![
                    bind("sample_part", each_part(parts[1]), &[logits, step, &found])?,
                    bind("sample", one, &[logits, &found, &sampling, step, &recent, &ids, &last])?,
                ],
                penalize: bind("penalize", one, &[logits, &sampling, &recent, step, &seen, &banned])?,
                mask: bind("mask", each_part(parts[0]), &[logits, step, &masks])?,
            })
        };
        let of_class =
            |class| buffers.computes(class, model.graph.output()).then(|| bound(class)).transpose();
        let bound = RowClass::ALL.into_iter().map(of_class).collect::<Result<_>>()?;
        let (masked, slots) = (vec![false; slots], vec![Sampling::greedy(); slots]);
        Ok(Sampler { bound, sampling, banned, masks, recent, slots, masked, mask_words, ring, ids })
    }

    /// Tells the device how `slot` samples from now on, and what its last tokens were.
    pub fn set_slot(
        &mut self,
        device: &Device,
        slot: u32,
        sampling: &Sampling,
        recent: &[u32],
    ) -> Result<()> {
        sampling.check()?;
        let mut banned = vec![sampling.banned.len() as u32];
        banned.extend(&sampling.banned);
        let at = slot as u64 * (1 + BANNED as u64) * 4;
        device.queue.write_buffer(&self.banned, at, bytemuck::cast_slice(&banned));
        let at = slot as u64 * SAMPLING_WORDS * 4;
        device.queue.write_buffer(&self.sampling, at, bytemuck::cast_slice(&sampling.words()));
        // No more than is looked back on: a draft that was taken back is followed by this once more.
        let window = if sampling.penalizes() { self.ring.min(sampling.repeat_last_n as usize) } else { 0 };
        let tail = &recent[recent.len().saturating_sub(window)..];
        let mut ring = vec![tail.len() as u32];
        ring.extend(tail);
        let at = (1 + slot as u64 * (1 + self.ring as u64)) * 4;
        device.queue.write_buffer(&self.recent, at, bytemuck::cast_slice(&ring));
        self.slots[slot as usize] = sampling.clone();
        Ok(())
    }

    /// Tells the device which tokens these slots choose from next; others from all.
    pub fn set_masks(&mut self, device: &Device, masks: &[(u32, TokenMask)]) {
        let at = |slot: usize| (slot * (1 + self.mask_words)) as u64 * 4;
        for (slot, masked) in self.masked.iter_mut().enumerate() {
            let mask = masks.iter().find(|(of, _)| *of as usize == slot);
            match mask {
                Some((_, mask)) => {
                    let mut words = vec![1];
                    words.extend(mask.words());
                    words.resize(1 + self.mask_words, 0);
                    device.queue.write_buffer(&self.masks, at(slot), bytemuck::cast_slice(&words));
                }
                None if *masked => device.queue.write_buffer(&self.masks, at(slot), &[0; 4]),
                None => {}
            }
            *masked = mask.is_some();
        }
    }

    /// Dispatches that choosing the most likely token adds to a step.
    pub fn dispatches(&self) -> usize {
        GREEDY.len()
    }

    /// These dispatches, each with its kernel.
    pub fn greedy(&self, class: RowClass) -> impl Iterator<Item = (&'static str, &BoundLaunch)> {
        GREEDY.into_iter().zip(self.bound[class as usize].iter().flat_map(|b| &b.greedy))
    }

    /// All dispatches, of all classes.
    pub fn launches(&self) -> impl Iterator<Item = &BoundLaunch> {
        self.bound
            .iter()
            .flatten()
            .flat_map(|b| [&b.resolve, &b.penalize, &b.mask].into_iter().chain(&b.greedy).chain(&b.random))
    }

    /// What puts the tokens that were sampled last in the rows that ask for them.
    pub fn resolve(&self, class: RowClass) -> Option<&BoundLaunch> {
        self.bound[class as usize].as_ref().map(|bound| &bound.resolve)
    }

    /// What takes from the logits of a step what the slots' masks leave out.
    pub fn mask(&self, class: RowClass) -> Option<&BoundLaunch> {
        self.bound[class as usize].as_ref().map(|bound| &bound.mask)
    }

    /// What samples from every output of a step.
    pub fn sample(&self, class: RowClass, step: &Step) -> impl Iterator<Item = &BoundLaunch> {
        let samplings = || step.outputs.iter().map(|&row| &self.slots[step.rows[row as usize].slot as usize]);
        let bound = self.bound[class as usize].as_ref();
        let penalized = samplings().any(|s| s.penalizes() || !s.banned.is_empty());
        let greedy = samplings().all(Sampling::is_greedy);
        let penalize = bound.filter(|_| penalized).map(|b| &b.penalize);
        penalize
            .into_iter()
            .chain(bound.into_iter().flat_map(move |b| if greedy { &b.greedy } else { &b.random }))
    }
}
