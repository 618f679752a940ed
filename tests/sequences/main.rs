//! Sequences side by side: each gets the tokens that it gets alone, whoever joins or leaves; turns, shortened and shared sequences get
//! what one prompt of the same tokens gets.

#[path = "../common/adapters.rs"]
mod adapters;
#[path = "../common/blocks.rs"]
mod blocks;
#[path = "../common/gguf_file.rs"]
mod gguf_file;
#[path = "../common/tiny_model.rs"]
mod tiny_model;

mod drafts;
mod slots;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use wgllm::backend::Precision;
use wgllm::engine::{Engine, Options};
use wgllm::gguf::Gguf;
use wgllm::memory::{KvFormat, kv_format};
use wgllm::sampler::Sampling;
use wgllm::scheduler::{Event, Request, Scheduler};

use adapters::{Target as Device, adapters, none_here};
use tiny_model::{HYBRIDS, Hybrid, Llama};

type Outcome = Result<(), Failed>;

/// Sequences at once. 64 fill the class of few rows, 70 do not fit it.
const COUNTS: [usize; 6] = [2, 3, 7, 16, 64, 70];

fn main() -> ExitCode {
    let mut trials = Vec::new();
    let mut devices = vec![Device::cpu()];
    devices.extend(adapters());
    if devices.len() == 1 {
        trials.push(none_here("sequences on an adapter"));
    }
    for device in devices {
        let target = Target { label: device.label.clone(), device, model: "llama", kept: None };
        let label = format!("with KV in q8_0, {}", target.label);
        let blocks = Target { label, kept: kv_format("q8_0"), ..target.clone() };
        let cases = COUNTS.map(|count| (count, &target)).into_iter().chain([(7, &blocks), (70, &blocks)]);
        for (count, of) in cases {
            let of = of.clone();
            let name = format!("{count} sequences get what each gets alone, on {}", of.label);
            // Of several a software adapter meets the fewest and some, and of many one.
            let met = of.device.is_cpu() || !matches!(count, 3 | 16 | 64);
            trials.push(Trial::test(name, move || together(&of, count)).with_ignored_flag(!met));
        }
        if !target.device.is_cpu() {
            let of = target.clone();
            let name =
                format!("16 greedy sequences in fast take what f32 takes by a margin, on {}", target.label);
            trials.push(Trial::test(name, move || in_fast(&of, 16)));
        }
        for (name, run) in [
            ("drafts change no text", drafts::alone_with_drafts as fn(&Target) -> Outcome),
            ("a stop in the middle of a draft is a stop", drafts::stopped),
            ("sequences with drafts get what each gets alone", drafts::together),
        ] {
            for of in [&target, &blocks] {
                let of = of.clone();
                trials.push(Trial::test(format!("{name}, on {}", of.label), move || run(&of)));
            }
        }
        for (name, run) in [
            ("two turns are one prompt", slots::turns as fn(&Target) -> Outcome),
            ("a shortened sequence goes on as if it had ended there", slots::shortened),
            ("a fork goes on as its source, and neither disturbs the other", slots::forked),
            ("a pool that is too small is an error, and the slots go on", slots::too_small),
            ("after a snapshot, going on and back, it goes on the same", slots::snapshot),
            ("what is broken off goes on with what was handed out", slots::broken_off),
            ("batches that nobody collected are in nobody's way", behind_others),
        ] {
            for of in [&target, &blocks] {
                let of = of.clone();
                trials.push(Trial::test(format!("{name}, on {}", of.label), move || run(&of)));
            }
            for model in HYBRIDS {
                let of = Target { model, ..target.clone() };
                trials.push(Trial::test(format!("{name}, {model} on {}", target.label), move || run(&of)));
            }
        }
        for model in HYBRIDS {
            let of = Target { model, ..target.clone() };
            let name = format!("drafts are refused, {model} on {}", target.label);
            trials.push(Trial::test(name, move || drafts::refused(&of)));
            let of = Target { model, ..target.clone() };
            let name = format!("7 sequences get what each gets alone, {model} on {}", target.label);
            trials.push(Trial::test(name, move || together(&of, 7)));
            let of = Target { model, ..target.clone() };
            let name = format!("steps of many rows give what steps of few give, {model} on {}", target.label);
            trials.push(Trial::test(name, move || in_long_steps(&of)));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// A model, and where it runs.
#[derive(Clone)]
struct Target {
    label: String,
    device: Device,
    /// Its architecture.
    model: &'static str,
    /// How keys and values are kept; none: as the backend does where nothing is said.
    kept: Option<&'static KvFormat>,
}

impl Target {
    fn file(&self) -> Result<Gguf, Failed> {
        let file = match self.model {
            "llama" => Llama { format: "Q8_0", head_dim: 32, context: 128, ..Llama::default() }.file(),
            architecture => Hybrid { architecture, format: "Q8_0" }.file(),
        };
        Ok(Gguf::from_static("tiny", file.leak())?)
    }

    /// Whether its memory goes back to snapshots alone.
    fn has_states(&self) -> bool {
        self.model != "llama"
    }
}

fn open(target: &Target, slots: usize) -> Result<Engine, Failed> {
    open_in(target, slots, Precision::F32)
}

fn open_in(target: &Target, slots: usize, precision: Precision) -> Result<Engine, Failed> {
    open_with(target, slots, precision, 24)
}

/// `batch`: the most rows of a step.
fn open_with(target: &Target, slots: usize, precision: Precision, batch: usize) -> Result<Engine, Failed> {
    let options =
        Options { cache_type_k: target.kept, cache_type_v: target.kept, ..target.device.options(precision) };
    // A chunk is shorter than most prompts.
    let options = Options { slots, batch, context: Some(96), ..options };
    Ok(Engine::with_file(target.file()?, &options, &mut |_, _| {})?)
}

/// A request unlike all others: of its own length, and sampled in its own way.
fn request(n: usize) -> Request {
    let tokens = (0..1 + n * 7 % 41).map(|i| ((n * 31 + i * 17) % 150) as u32).collect();
    let sampling = match n % 3 {
        0 => Sampling::greedy(),
        1 => Sampling { temperature: 1.0, seed: n as u64, ..Sampling::default() },
        _ => Sampling {
            temperature: 0.9,
            top_k: 0,
            repeat_penalty: 1.2,
            seed: n as u64,
            ..Sampling::default()
        },
    };
    Request { tokens, sampling, limit: Some(5 + n * 5 % 23) }
}

/// What a request gets with nobody beside it.
fn alone(scheduler: &mut Scheduler<'_>, slot: u32, request: Request) -> Result<Vec<u32>, Failed> {
    scheduler.request(slot, request)?;
    let mut tokens = Vec::new();
    while scheduler.busy() {
        scheduler.advance(&mut |_, event| {
            if let Event::Token(token) = event {
                tokens.push(token);
            }
            true
        })?;
    }
    Ok(tokens)
}

fn expected(target: &Target, requests: &[Request]) -> Result<Vec<Vec<u32>>, Failed> {
    let mut engine = open(target, 1)?;
    let mut all = Vec::new();
    for request in requests {
        let mut scheduler = Scheduler::new(engine.backend.as_mut(), engine.plan, engine.model.vocab_size);
        let slot = scheduler.open().ok_or("no slot")?;
        all.push(alone(&mut scheduler, slot, request.clone())?);
    }
    Ok(all)
}

/// Whoever asks a backend next gets what it would get alone, although batches of others, who are gone, were never collected.
fn behind_others(target: &Target) -> Outcome {
    let requests = [request(1)];
    let expected = expected(target, &requests)?;
    let mut engine = open(target, 1)?;
    for _ in 0..3 {
        let mut scheduler = Scheduler::new(engine.backend.as_mut(), engine.plan, engine.model.vocab_size);
        let slot = scheduler.open().ok_or("no slot")?;
        scheduler.request(slot, Request { limit: None, ..request(0) })?;
        let mut left = 3;
        while scheduler.busy() {
            scheduler.advance(&mut |_, event| {
                left -= usize::from(matches!(event, Event::Token(_)));
                left > 0
            })?;
        }
        drop(scheduler);
        let mut scheduler = Scheduler::new(engine.backend.as_mut(), engine.plan, engine.model.vocab_size);
        let slot = scheduler.open().ok_or("no slot")?;
        let found = alone(&mut scheduler, slot, requests[0].clone())?;
        if found != expected[0] {
            return Err(format!("got {found:?}, alone {:?}", expected[0]).into());
        }
    }
    Ok(())
}

fn together(target: &Target, count: usize) -> Outcome {
    let requests: Vec<Request> = (0..count + count.min(9)).map(request).collect();
    let expected = expected(target, &requests)?;
    let found = side_by_side(&mut open(target, count)?, &requests, 0)?;
    for (n, (found, expected)) in found.iter().zip(&expected).enumerate() {
        if found != expected {
            return Err(format!("request {n} got {found:?}, alone {expected:?}").into());
        }
    }
    Ok(())
}

/// Prompts that fill steps together, whose rows of one slot begin and end anywhere in a chunk, a snapshot of what they leave, and a second
/// prompt behind it.
fn in_long_steps(target: &Target) -> Outcome {
    let prompt = |n: u32, len: u32| -> Vec<u32> { (0..len).map(|i| (n * 31 + i * 17) % 150).collect() };
    let turns = [(0, 71, 9), (1, 34, 12), (2, 66, 5)]
        .map(|(n, first, second)| [greedy(&prompt(n, first), 6), greedy(&prompt(n + 7, second), 6)]);
    let mut found = Vec::new();
    for (slots, batch) in [(1, 24), (3, 160)] {
        let mut engine = open_with(target, slots, Precision::F32, batch)?;
        let mut of_engine = Vec::new();
        for turns in turns.chunks(slots) {
            let mut scheduler = Scheduler::new(engine.backend.as_mut(), engine.plan, engine.model.vocab_size);
            let mut said: Vec<Vec<u32>> = vec![Vec::new(); turns.len()];
            for turn in 0..2 {
                for (slot, requests) in turns.iter().enumerate() {
                    if turn == 0 {
                        scheduler.open().ok_or("no slot")?;
                    }
                    scheduler.request(slot as u32, requests[turn].clone())?;
                }
                while scheduler.busy() {
                    scheduler.advance(&mut |slot, event| {
                        if let Event::Token(token) = event {
                            said[slot as usize].push(token);
                        }
                        true
                    })?;
                }
            }
            of_engine.extend(said);
        }
        found.push(of_engine);
    }
    match found[0] == found[1] {
        true => Ok(()),
        false => Err(format!("got {:?}, in short steps {:?}", found[1], found[0]).into()),
    }
}

/// Wherever the reference prefers its token by more than this, `fast` takes it too.
const MARGIN: f32 = 0.2;

fn in_fast(target: &Target, count: usize) -> Outcome {
    let greedy = |n| Request { sampling: Sampling::greedy(), ..request(n) };
    let requests: Vec<Request> = (0..count).map(greedy).collect();
    let found = side_by_side(&mut open_in(target, count, Precision::Fast)?, &requests, 0)?;
    let mut reference = open(&Target { device: Device::cpu(), ..target.clone() }, 1)?;
    let vocab = reference.model.vocab_size;
    for (n, (request, tokens)) in requests.iter().zip(&found).enumerate() {
        let mut scheduler = Scheduler::new(reference.backend.as_mut(), reference.plan, vocab);
        let slot = scheduler.open().ok_or("no slot")?;
        let mut logits = Vec::new();
        let all = [&request.tokens[..], &tokens[..tokens.len() - 1]].concat();
        scheduler.logits(slot, &all, &mut |rows| logits.extend_from_slice(rows))?;
        let rows = logits.chunks_exact(vocab).skip(request.tokens.len() - 1);
        for (at, (row, &token)) in rows.zip(tokens).enumerate() {
            let best = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let margin = best - row[token as usize];
            if margin > MARGIN {
                return Err(format!(
                    "request {n}, token {at}: {token}, which the reference likes {margin} less"
                )
                .into());
            }
        }
    }
    Ok(())
}

/// What requests get, more of them than there are slots: a slot takes the next one when its last is done. Drafts have up to `lookup` tokens.
fn side_by_side(engine: &mut Engine, requests: &[Request], lookup: usize) -> Result<Vec<Vec<u32>>, Failed> {
    let count = engine.plan.slots;
    let mut scheduler = Scheduler::new(engine.backend.as_mut(), engine.plan, engine.model.vocab_size);
    scheduler.look_up(lookup)?;
    let mut found: Vec<Vec<u32>> = vec![Vec::new(); requests.len()];
    let mut of_slot: Vec<Option<usize>> = vec![None; count];
    let mut next = 0;
    loop {
        // One joins at a time, so that all begin at different steps.
        if next < requests.len()
            && let Some(slot) = scheduler.open()
        {
            scheduler.request(slot, requests[next].clone())?;
            of_slot[slot as usize] = Some(next);
            next += 1;
        }
        let mut ended = Vec::new();
        scheduler.advance(&mut |slot, event| {
            match (event, of_slot[slot as usize]) {
                (Event::Token(token), Some(n)) => found[n].push(token),
                (Event::Finished(_), _) => ended.push(slot),
                _ => {}
            }
            true
        })?;
        for slot in ended {
            of_slot[slot as usize] = None;
            scheduler.close(slot);
        }
        if next == requests.len() && !scheduler.busy() {
            break;
        }
    }
    Ok(found)
}

fn greedy(tokens: &[u32], limit: usize) -> Request {
    Request { tokens: tokens.to_vec(), sampling: Sampling::greedy(), limit: Some(limit) }
}

fn same(found: &[u32], expected: &[u32]) -> Outcome {
    match found == expected {
        true => Ok(()),
        false => Err(format!("got {found:?}, expected {expected:?}").into()),
    }
}
