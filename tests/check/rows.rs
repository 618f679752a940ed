//! Every number of rows around the edges of tiles, of one slot and of many, for every format of weights and of keys and values, with matrix units and without.

use std::sync::Arc;

use libtest_mimic::{Failed, Trial};
use wgllm::backend::{Precision, RuntimeConfig};
use wgllm::check::compare;
use wgllm::cpu::Cpu;
use wgllm::engine::{Choice, Options};
use wgllm::formats::FORMATS;
use wgllm::gguf::Gguf;
use wgllm::gpu::{self, Device, Gpu, Masks};
use wgllm::graph::{Row, Step};
use wgllm::memory::{KV_FORMATS, Kv};
use wgllm::models::Model;

use crate::Outcome;
use crate::adapters::{HARDWARE, Target};
use crate::tiny_model::Llama;

/// Rows of a step; the most are first, so that the others have positions before them.
const ROWS: [usize; 22] =
    [2000, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 511, 512, 513];
const MOST: usize = ROWS[0];
/// Slots that rows are dealt to, where they are more than one's.
const SLOTS: usize = 17;
/// Where rows begin behind those of the first step: of one slot, and of many, of each a little further.
const BEHIND: u32 = 700;
const BEHIND_EACH: u32 = 40;

/// What is left of an adapter, and the precision.
const WAYS: [(&str, Masks, Precision); 4] = [
    (UNITS, HARDWARE, Precision::Fast),
    ("by integers", Masks { no_coop: true, ..HARDWARE }, Precision::Fast),
    ("in f32", HARDWARE, Precision::F32),
    (PROGRAM, Masks { as_hardware: false, ..HARDWARE }, Precision::Fast),
];
const UNITS: &str = "on matrix units";
const PROGRAM: &str = "as a program";

/// The format that every pair of formats of keys and values is tried with. Every run has it as a program, which takes lavapipe ten seconds; the others take it an
/// hour and more, and run with `--include-ignored`.
const EACH: &str = "Q8_0";

pub fn trials(target: &Target) -> Vec<Trial> {
    let of = |way: (&'static str, Masks, Precision), format: &'static str, kv: Kv| {
        let target = target.clone();
        let (by, _, precision) = way;
        let kept = if kv == Kv::of(precision) { String::new() } else { format!(", KV in {}", kv.name()) };
        let name = format!("llama {format}{kept}, all numbers of rows {by} on {}", target.label);
        let run = by == PROGRAM && format == EACH && kept.is_empty();
        Trial::test(name, move || agrees(&target, way, format, kv)).with_ignored_flag(!run)
    };
    let pairs =
        || KV_FORMATS.iter().flat_map(|keys| KV_FORMATS.iter().map(move |values| Kv { keys, values }));
    WAYS.into_iter()
        .flat_map(|way| {
            let formats = FORMATS.iter().map(move |format| of(way, format.name, Kv::of(way.2)));
            let others = pairs().filter(move |kv| *kv != Kv::of(way.2));
            formats.chain(others.map(move |kv| of(way, EACH, kv))).collect::<Vec<_>>()
        })
        .collect()
}

fn agrees(
    target: &Target,
    (way, masks, precision): (&str, Masks, Precision),
    format: &'static str,
    kv: Kv,
) -> Outcome {
    let options = Options { masks, ..target.options(precision) };
    let device = match way {
        UNITS => device(&options).and_then(|device| match device.caps.matrix {
            Some(_) => Ok(device),
            None => self::device(&Options { masks: Masks { emulated_matrices: true, ..masks }, ..options }),
        }),
        _ => device(&options),
    }?;
    // Rows are what is asked about, and the fewer heads and sums the sooner a software adapter has answered: no more than whole blocks take.
    let size = Llama { heads: 2, kv_heads: 1, head_dim: 64, width: Some(256), ffn: 256, ..Llama::default() };
    let model = Llama { layers: 1, context: MOST, format, ..size };
    let file = Arc::new(Gguf::from_static("tiny", model.file().leak())?);
    let model = Arc::new(Model::from_gguf(&file, None)?);
    let plan = RuntimeConfig { kv, ..RuntimeConfig::new(MOST, SLOTS, MOST, precision) };
    let mut gpu = Gpu::new(device, file.clone(), model.clone(), plan, false, &mut |_, _| {})?;
    let mut cpu = Cpu::new(file, model.clone(), RuntimeConfig { precision: Precision::F32, ..plan })?;
    for slots in [1, SLOTS] {
        for count in ROWS {
            let (step, label) = (step(count, slots), format!("{count} rows of {slots} slots"));
            let reports = compare(&mut gpu, &mut cpu, &model.graph, &step, &label)?;
            if let Some(report) = reports.iter().find(|r| !r.pass) {
                return Err(format!("{report:?}").into());
            }
        }
    }
    Ok(())
}

fn device(options: &Options) -> Result<Device, Failed> {
    let Choice::Gpu(api) = options.backend else { return Err("the CPU is no adapter".into()) };
    Ok(gpu::choose(Some(api), options.device.as_deref(), options.masks)?)
}

/// `count` rows, dealt to `slots` one after the other; asked for are the first and the last.
fn step(count: usize, slots: usize) -> Step {
    let mut rows: Vec<Row> = Vec::new();
    for i in 0..count {
        let slot = (i * slots / count) as u32;
        let first = match () {
            () if count == MOST => 0,
            () if slots == 1 => BEHIND,
            () => BEHIND_EACH + slot,
        };
        let position = rows.last().filter(|last| last.slot == slot).map_or(first, |last| last.position + 1);
        rows.push(Row { token: (i * 37 + 11) as u32 % 160, slot, position });
    }
    let mut outputs = vec![0, count as u32 - 1];
    outputs.dedup();
    Step { rows, outputs }
}
