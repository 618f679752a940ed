//! The GPU's sampler chooses the tokens that `wgllm::sampler` chooses, with subgroups and without, on every adapter of this machine.

use std::borrow::Cow;

use libtest_mimic::{Arguments, Failed, Trial};
use wgllm::constraint::TokenMask;
use wgllm::gpu::{Slots, link};
use wgllm::sampler::{NO_TOKEN, Sampling, sample};
use wgpu::util::DeviceExt;

const RECENT: u32 = 40;
/// Banned tokens that a slot has room for.
const BANNED: usize = 31;
/// Where the rows of a step stand.
const POSITION: u32 = 100;
const ROWS: usize = 3;

fn main() {
    let arguments = Arguments::from_args();
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let mut trials = Vec::new();
    for adapter in &adapters {
        let name = adapter.get_info().name;
        for vocab in [5, 64, 257, 2048, 70_001, 262_208] {
            for subgroups in [false, true] {
                let has = adapter.features().contains(wgpu::Features::SUBGROUP);
                // Long rows take long on a software adapter: the longest is sampled in one way.
                if vocab > 100_000 && !subgroups && has {
                    continue;
                }
                let can = !subgroups || has;
                let how = if subgroups { "with subgroups" } else { "without subgroups" };
                let reason = if can { "" } else { " (it has none)" };
                let adapter = adapter.clone();
                let run = move || Gpu::new(&adapter, vocab, subgroups).chooses_what_the_reference_chooses();
                trials.push(
                    Trial::test(format!("{name}, {vocab} tokens, {how}{reason}"), run)
                        .with_ignored_flag(!can),
                );
            }
        }
    }
    if trials.is_empty() {
        let required = std::env::var_os("WGLLM_REQUIRE_ADAPTER").is_some_and(|v| v == "1");
        let none = || Err("WGLLM_REQUIRE_ADAPTER is 1, and this machine has no adapter".into());
        trials.push(Trial::test("the GPU's sampler (no adapter here)", none).with_ignored_flag(!required));
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// Rows that are unlike each other; what is beyond a model's: no order of tokens, no spread, ties, odd values, no number at all.
fn logits(vocab: u32) -> Vec<(&'static str, Vec<f32>)> {
    let row = |of: &dyn Fn(u32) -> f32| (0..vocab).map(of).collect::<Vec<f32>>();
    let odd = [f32::NAN, f32::NEG_INFINITY, f32::INFINITY, -0.0, 0.0, f32::MAX, 1e-40, -3.0];
    vec![
        ("model", row(&|i| 3.0 * normal(1, i))),
        ("recent", row(&|i| 3.0 * normal(6, i) + if i < 23 { 9.0 } else { 0.0 })),
        ("at the edge of top-p", row(&|i| if i < 2 { (vocab as f32 * 4.25).ln() } else { 0.0 })),
        ("peaked", row(&|i| 2.0 * normal(2, i) + if i == vocab / 2 { 12.0 } else { 0.0 })),
        ("flat", row(&|i| 0.01 * normal(3, i))),
        ("ordered", row(&|i| 20.0 - 40.0 * i as f32 / vocab as f32)),
        ("ties", row(&|i| (2.0 * normal(4, i)).round())),
        ("equal", row(&|_| -1.5)),
        ("odd", row(&|i| odd[i as usize % odd.len()])),
        ("a third NaN", row(&|i| if i % 3 == 0 { f32::NAN } else { 4.0 * normal(5, i) })),
        ("NaN", row(&|_| f32::NAN)),
    ]
}

/// Reproducible, and near enough to normal: a sum of twelve uniform numbers.
fn normal(seed: u32, i: u32) -> f32 {
    let uniform = |n: u32| {
        let mut h =
            seed.wrapping_mul(0x9e37_79b9) ^ i.wrapping_mul(0x85eb_ca6b) ^ n.wrapping_mul(0xc2b2_ae35);
        for shift in [16, 13, 16] {
            h = (h ^ (h >> shift)).wrapping_mul(0x7feb_352d);
        }
        (h >> 8) as f32 / 16_777_216.0
    };
    (0..12).map(uniform).sum::<f32>() - 6.0
}

fn settings() -> Vec<Sampling> {
    let open =
        Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, seed: 5, ..Sampling::default() };
    let penalty = Sampling { repeat_penalty: 1.3, repeat_last_n: 20, ..open.clone() };
    vec![
        Sampling::default(),
        Sampling::greedy(),
        Sampling { temperature: 0.0, ..penalty.clone() },
        Sampling { top_k: 3, ..penalty.clone() },
        Sampling { banned: (0..5).chain([22, u32::MAX]).collect(), ..penalty },
        Sampling { temperature: 0.0, banned: (0..31).collect(), ..open.clone() },
        Sampling { seed: u64::MAX - 1, ..open.clone() },
        Sampling { temperature: 2.0, top_p: 0.9, ..open.clone() },
        Sampling { temperature: 9.0, top_k: 40, top_p: 0.6, min_p: 0.3, ..open.clone() },
        Sampling { top_p: 0.0, ..open.clone() },
        Sampling { min_p: 0.02, temperature: 0.3, ..open.clone() },
        Sampling { top_k: 64, top_p: 0.5, ..open.clone() },
        Sampling { top_k: 2000, top_p: 0.99, min_p: 1e-4, temperature: 1.5, ..open.clone() },
        Sampling { top_k: 1, ..open },
    ]
}

/// Masks that leave many tokens, few, the last one alone, and none.
fn masks(vocab: u32) -> Vec<TokenMask> {
    let mask = |may: &dyn Fn(u32) -> bool| {
        let mut mask = TokenMask::none(vocab as usize);
        (0..vocab).filter(|&t| may(t)).for_each(|t| mask.set(t, true));
        mask
    };
    vec![mask(&|t| t % 7 != 3), mask(&|t| t % 61 == 4), mask(&|t| t == vocab - 1), mask(&|_| false)]
}

struct Gpu {
    device: wgpu::Device,
    queue: wgpu::Queue,
    vocab: u32,
    stride: u32,
    draws: u32,
    kernels: Vec<(&'static str, wgpu::ComputePipeline)>,
}

impl Gpu {
    fn new(adapter: &wgpu::Adapter, vocab: u32, subgroups: bool) -> Gpu {
        let required_features = adapter.features() & wgpu::Features::SUBGROUP;
        let descriptor = wgpu::DeviceDescriptor { required_features, ..Default::default() };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).expect("a device");
        let draws = if vocab > 10_000 { 1 } else { 12 }; // software adapters are slow
        let mut gpu =
            Gpu { device, queue, vocab, stride: vocab.next_multiple_of(8), draws, kernels: Vec::new() };
        for kernel in ["mask", "penalize", "argmax_part", "argmax", "sample_part", "sample"] {
            gpu.kernels.push((kernel, gpu.pipeline(kernel, subgroups)));
        }
        gpu
    }

    /// Logits of a part.
    fn part(&self, kernel: &str) -> u32 {
        if kernel.starts_with("argmax") || kernel == "mask" {
            1024
        } else {
            256 * self.vocab.div_ceil(256 * 1024)
        }
    }

    fn pipeline(&self, kernel: &str, subgroups: bool) -> wgpu::ComputePipeline {
        let slots = Slots { subgroups, ..Slots::NONE };
        let whole = link(kernel, slots).expect("a kernel that links");
        let numbers = [("VOCAB", self.vocab), ("VOCAB_STRIDE", self.stride), ("PART", self.part(kernel))];
        let mut constants: Vec<(&str, f64)> = numbers.map(|(name, value)| (name, value as f64)).to_vec();
        constants.retain(|(name, _)| whole.contains(&format!("override {name}:")));
        let source = wgpu::ShaderSource::Wgsl(Cow::Owned(whole));
        let module =
            self.device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some(kernel), source });
        let compilation_options = wgpu::PipelineCompilationOptions {
            constants: &constants,
            zero_initialize_workgroup_memory: false,
        };
        self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(kernel),
            layout: None,
            module: &module,
            entry_point: Some("main"),
            compilation_options,
            cache: None,
        })
    }

    /// So many tokens for each of the rows, whose logits are the same each time. A mask is for all slots but the first, which has row 0.
    fn sample(
        &self,
        rows: &[&[f32]],
        recent: &[u32],
        sampling: &Sampling,
        mask: Option<&TokenMask>,
    ) -> Vec<Vec<u32>> {
        let buffer = |words: Vec<u32>| {
            let usage =
                wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
            let contents = bytemuck::cast_slice(&words);
            self.device.create_buffer_init(&wgpu::util::BufferInitDescriptor { label: None, contents, usage })
        };
        let count = rows.len() as u32;
        let padded = |row: &&[f32]| {
            let mut words: Vec<u32> = row.iter().map(|l| l.to_bits()).collect();
            words.resize(self.stride as usize, f32::INFINITY.to_bits()); // must not be looked at
            words
        };
        let fresh = buffer(rows.iter().flat_map(padded).collect());
        let logits = buffer(vec![0; (count * self.stride) as usize]);
        let parts = |kernel| self.vocab.div_ceil(self.part(kernel));
        let scratch = buffer(vec![0; (2 * count * (1 + parts("sample").max(parts("argmax")))) as usize]);
        // Rows, outputs and slots each in an order of their own.
        let slot = |r: u32| (r + 1) % count;
        let rows_of = (0..count).flat_map(|r| [9, slot(r), POSITION, count - 1 - r]).collect();
        let step = buffer([vec![count, count, 64, 0], rows_of].concat());
        let held = &recent[recent.len().saturating_sub(RECENT as usize)..];
        let mut ring = [&[held.len() as u32], held].concat();
        ring.resize(1 + RECENT as usize, 0);
        let recent = buffer([vec![RECENT], ring.repeat(rows.len())].concat());
        let ids = buffer(vec![77; (self.draws * count) as usize]);
        let words = buffer(sampling.words().repeat(rows.len()));
        let last = buffer(vec![77; rows.len()]);
        let banned =
            [&[sampling.banned.len() as u32], &sampling.banned[..], &vec![0; BANNED - sampling.banned.len()]]
                .concat();
        let banned = buffer(banned.repeat(rows.len()));
        let seen = buffer(vec![0; (count * self.vocab) as usize]);
        let mask_words = |slot: usize| match mask {
            Some(mask) if slot > 0 => [&[1], mask.words()].concat(),
            _ => vec![0; 1 + self.vocab.div_ceil(32) as usize],
        };
        let masks = buffer((0..rows.len()).flat_map(mask_words).collect());
        let mut encoder = self.device.create_command_encoder(&Default::default());
        for _ in 0..self.draws {
            encoder.copy_buffer_to_buffer(&fresh, 0, &logits, 0, fresh.size());
            let mut pass = encoder.begin_compute_pass(&Default::default());
            let mut run = |kernel: &str, buffers: &[&wgpu::Buffer], groups: (u32, u32)| {
                let pipeline = &self.kernels.iter().find(|k| k.0 == kernel).expect("a kernel").1;
                let resources = (0..).zip(buffers.iter().map(|b| b.as_entire_binding()));
                let entries: Vec<_> =
                    resources.map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource }).collect();
                let layout = &pipeline.get_bind_group_layout(0);
                let group = wgpu::BindGroupDescriptor { label: None, layout, entries: &entries };
                pass.set_pipeline(pipeline);
                pass.set_bind_group(0, &self.device.create_bind_group(&group), &[]);
                pass.dispatch_workgroups(groups.0, groups.1, 1);
            };
            if mask.is_some() {
                run("mask", &[&logits, &step, &masks], (parts("mask"), count));
            }
            if sampling.penalizes() || !sampling.banned.is_empty() {
                run("penalize", &[&logits, &words, &recent, &step, &seen, &banned], (count, 1));
            }
            if sampling.is_greedy() {
                run("argmax_part", &[&logits, &step, &scratch], (parts("argmax"), count));
                run("argmax", &[&scratch, &step, &recent, &ids, &last], (count, 1));
            } else {
                run("sample_part", &[&logits, &step, &scratch], (parts("sample"), count));
                run("sample", &[&logits, &scratch, &words, &step, &recent, &ids, &last], (count, 1));
            }
        }
        self.queue.submit([encoder.finish()]);
        let (ids, step, last) = (self.read(&ids), self.read(&step), self.read(&last));
        let ids = |draw: u32, row: usize| ids[draw as usize * rows.len() + row];
        assert_eq!(step[2], 64 + self.draws, "the steps counted");
        for output in 0..rows.len() {
            let id = ids(self.draws - 1, output);
            let (row, fed) = (rows.len() - 1 - output, if id == NO_TOKEN { 0 } else { id });
            let slot = slot(row as u32);
            let moved = [fed, slot, POSITION + self.draws];
            assert_eq!(step[4 * (1 + row)..][..3], moved, "the next step, row {row}");
            assert_eq!(last[slot as usize], fed, "the slot of row {row}");
        }
        (0..rows.len()).map(|row| (0..self.draws).map(|draw| ids(draw, row)).collect()).collect()
    }

    fn read(&self, buffer: &wgpu::Buffer) -> Vec<u32> {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let descriptor =
            wgpu::BufferDescriptor { label: None, size: buffer.size(), usage, mapped_at_creation: false };
        let copy = self.device.create_buffer(&descriptor);
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(buffer, 0, &copy, 0, buffer.size());
        self.queue.submit([encoder.finish()]);
        copy.map_async(wgpu::MapMode::Read, .., |mapped| mapped.expect("a mapping"));
        self.device.poll(wgpu::PollType::wait_indefinitely()).expect("the device goes on");
        bytemuck::cast_slice(&copy.get_mapped_range(..).expect("a mapping")).to_vec()
    }

    fn chooses_what_the_reference_chooses(self) -> Result<(), Failed> {
        let rows = logits(self.vocab);
        let prompt: Vec<u32> = (0..60).map(|i| i * i % self.vocab.min(23)).collect();
        for (n, sampling) in settings().iter().enumerate() {
            self.compare(&rows, &prompt, sampling, None)?;
            let masks = masks(self.vocab);
            self.compare(&rows, &prompt, sampling, Some(&masks[n % masks.len()]))?;
        }
        Ok(())
    }

    fn compare(
        &self,
        rows: &[(&'static str, Vec<f32>)],
        prompt: &[u32],
        sampling: &Sampling,
        mask: Option<&TokenMask>,
    ) -> Result<(), Failed> {
        {
            for rows in rows.chunks(ROWS) {
                let views: Vec<&[f32]> = rows.iter().map(|r| &r.1[..]).collect();
                let found = self.sample(&views, prompt, sampling, mask);
                for (n, ((name, row), ids)) in rows.iter().zip(found).enumerate() {
                    let (mut recent, mut row) = (prompt.to_vec(), row.clone());
                    let mask = mask.filter(|_| n > 0);
                    if let Some(mask) = mask {
                        mask.apply(&mut row);
                    }
                    let row = &row;
                    for (draw, id) in (0..).zip(ids) {
                        if mask.is_some_and(|mask| id != NO_TOKEN && !mask.allows(id)) {
                            return Err(
                                format!("{name}, draw {draw}, {sampling:?}: token {id} is masked").into()
                            );
                        }
                        let expected = sample(row, &recent, sampling, POSITION + draw).unwrap_or(NO_TOKEN);
                        if id != expected && !is_close(row, id, &recent, sampling, POSITION + draw) {
                            let case = format!("{name}, draw {draw}, {sampling:?}");
                            return Err(format!("{case}: token {id}, expected {expected}").into());
                        }
                        recent.push(if id == NO_TOKEN { 0 } else { id });
                    }
                }
            }
        }
        Ok(())
    }
}

/// Whether the reference too takes the token where its logit is greater by what f32 may be off: WGSL grants 3 units in the last
/// place to a logarithm of up to 23 and 2.5 to a quotient of up to 32; the sums of top-p differ in their last bits.
fn is_close(row: &[f32], id: u32, recent: &[u32], sampling: &Sampling, draw: u32) -> bool {
    let Some(logit) = row.get(id as usize) else { return false };
    let mut nudged = row.to_vec();
    nudged[id as usize] = logit + sampling.temperature * 2e-5;
    sample(&nudged, recent, sampling, draw).is_ok_and(|other| other == id)
}
