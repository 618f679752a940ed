//! What models answer under constraints.

use libtest_mimic::Failed;
use serde_json::Value;
use wgllm::backend::Precision;
use wgllm::constraint::{Constraint, Matcher};
use wgllm::engine::{Engine, Options};
use wgllm::gguf::Gguf;
use wgllm::grammar::{Grammars, Language, Thought};
use wgllm::sampler::Sampling;
use wgllm::scheduler::{Event, Finish, Request, Scheduler};
use wgllm::tokenizer::{Encode, Tokenizer};

use crate::adapters::Target;
use crate::ahead::Ahead;
use crate::demands::{equal, must};
use crate::wrapped::Wrapped;
use crate::{Outcome, byte_model, cpu, json_schema, schemas};

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo-q8_0.gguf");
const CONTEXT: usize = 512;

/// A model and what makes constraints for it.
struct Model {
    engine: Engine,
    tokenizer: Tokenizer,
    grammars: Grammars,
}

/// The model that the repository carries, or one of random weights whose tokens are bytes.
fn open(target: &Target, bytes: bool, slots: usize) -> Result<Model, Failed> {
    // Prompts in chunks, or all of them in one step of many rows.
    let batch = if bytes { 128 } else { 24 };
    let options = Options { slots, context: Some(CONTEXT), batch, ..target.options(Precision::F32) };
    let mut engine = match bytes {
        true => {
            let file = byte_model::file(&[], CONTEXT).bytes();
            Engine::with_file(Gguf::from_static("bytes", file.leak())?, &options, &mut |_, _| {})?
        }
        false => Engine::open(DEMO.as_ref(), &options, &mut |_, _| {})?,
    };
    let tokenizer = engine.tokenizer.take().ok_or("no tokenizer")?;
    let grammars = Grammars::new(&tokenizer)?;
    Ok(Model { engine, tokenizer, grammars })
}

/// As free as can be.
fn free(seed: u64, constraint: Option<Constraint>) -> Sampling {
    Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, seed, constraint, ..Sampling::default() }
}

/// What came of a request.
type Answered = (Vec<u32>, Option<Finish>);

impl Model {
    fn request(&self, sampling: Sampling, limit: usize) -> Result<Request, Failed> {
        let tokens = self.tokenizer.encode("Once upon a time", Encode { special: false, bos: true })?;
        Ok(Request { tokens, sampling, limit: Some(limit) })
    }

    /// Answers requests side by side: tokens, without the one that ended them, and how they ended.
    fn answer(&mut self, requests: &[Request]) -> Result<Vec<Answered>, Failed> {
        let (plan, vocab) = (self.engine.plan, self.engine.model.vocab_size);
        let mut scheduler = Scheduler::new(self.engine.backend.as_mut(), plan, vocab);
        let mut found: Vec<Answered> = vec![(Vec::new(), None); requests.len()];
        let mut of_slot = vec![usize::MAX; plan.slots];
        let (mut next, mut failed) = (0, None);
        while next < requests.len() || scheduler.busy() {
            while next < requests.len()
                && let Some(slot) = scheduler.open()
            {
                scheduler.request(slot, requests[next].clone())?;
                of_slot[slot as usize] = next;
                next += 1;
            }
            let mut ended = Vec::new();
            scheduler.advance(&mut |slot, event| {
                let (tokens, finish) = &mut found[of_slot[slot as usize]];
                match event {
                    Event::Token(token) if self.tokenizer.is_end(token) => return false,
                    Event::Token(token) => tokens.push(token),
                    Event::Finished(how) => {
                        *finish = Some(how);
                        ended.push(slot);
                    }
                    Event::NoToken | Event::Failed(_) => {
                        failed = Some(format!("{event:?} behind {:?}", self.tokenizer.decode(tokens)));
                        ended.push(slot);
                    }
                    Event::Logprobs(_) => {}
                }
                true
            })?;
            for slot in ended {
                scheduler.close(slot);
            }
        }
        failed.map_or(Ok(found), |failed| Err(failed.into()))
    }

    fn constraint(&self, language: Language) -> Result<Constraint, Failed> {
        Ok(self.grammars.constraint(&language.into(), None)?)
    }
}

fn valid(text: &str, schema: &Value) -> Outcome {
    let value: Value = serde_json::from_str(text).map_err(|e| format!("{e} in {text:?}, {schema}"))?;
    json_schema::fault(&value, schema)
        .map_or(Ok(()), |fault| Err(format!("{fault} in {text:?}, {schema}").into()))
}

pub fn thousand() -> Outcome {
    let (mut count, mut different) = (0, std::collections::BTreeSet::new());
    for bytes in [false, true] {
        let mut model = open(&cpu(), bytes, 8)?;
        for (name, schema) in schemas::all() {
            let constraint = model.constraint(Language::JsonSchema(schema.clone()))?;
            // What is cut by the limit is asked again: digits may go on for ever.
            let (mut seed, mut left, mut cut) = (0, 25, 0);
            while left > 0 {
                // Or else a model that says one digit again and again seldom ends.
                let sampling =
                    |seed| Sampling { repeat_penalty: 1.5, ..free(seed, Some(constraint.clone())) };
                let each = (seed..seed + left).map(|seed| model.request(sampling(seed), 400));
                let requests: Vec<Request> = each.collect::<Result<_, _>>()?;
                (seed, left) = (seed + left, 0);
                for (tokens, finish) in model.answer(&requests)? {
                    let text = model.tokenizer.decode(&tokens);
                    if finish == Some(Finish::Length) {
                        (left, cut) = (left + 1, cut + 1);
                        must(cut < 25, || format!("{name}: {cut} are cut, one behind {text:?}"))?;
                        continue;
                    }
                    must(finish.is_some(), || format!("{name}: no end of {text:?}"))?;
                    valid(&text, &schema)
                        .map_err(|e| Failed::from(format!("{name}: {}", e.message().unwrap_or_default())))?;
                    different.insert(text);
                    count += 1;
                }
            }
        }
    }
    equal(count, 1000)?;
    must(different.len() > 500, || format!("{} different answers", different.len()))
}

/// Requests that keep to schemas, every third of them to none, sampled in several ways.
fn mixed(model: &Model, limit: usize) -> Result<Vec<Request>, Failed> {
    let mut requests = Vec::new();
    for (n, (_, schema)) in schemas::all().into_iter().enumerate() {
        let constraint = model.constraint(Language::JsonSchema(schema))?;
        let sampling = free(n as u64, Some(constraint).filter(|_| n % 3 != 2));
        let sampling = match n % 4 {
            0 => Sampling { temperature: 0.0, ..sampling },
            1 => Sampling { top_k: 12, repeat_penalty: 1.2, ..sampling },
            _ => sampling,
        };
        requests.push(model.request(sampling, limit)?);
    }
    Ok(requests)
}

fn same(found: Vec<Answered>, expected: Vec<Answered>) -> Outcome {
    for (n, (found, expected)) in found.into_iter().zip(expected).enumerate() {
        equal(found, expected)
            .map_err(|e| Failed::from(format!("request {n}: {}", e.message().unwrap_or_default())))?;
    }
    Ok(())
}

pub fn as_on_the_cpu(target: &Target) -> Outcome {
    for bytes in [false, true] {
        let (mut there, mut here) = (open(target, bytes, 6)?, open(&cpu(), bytes, 6)?);
        let requests = mixed(&here, 40)?;
        same(there.answer(&requests)?, here.answer(&requests)?)?;
    }
    Ok(())
}

pub fn overlapping() -> Outcome {
    let (Model { engine, tokenizer, grammars }, mut alone) =
        (open(&cpu(), false, 4)?, open(&cpu(), false, 1)?);
    let change = Ahead::default();
    let overlapped = change.overlapped.clone();
    let backend = Box::new(Wrapped { inner: engine.backend, change });
    let mut model = Model { engine: Engine { backend, ..engine }, tokenizer, grammars };
    let requests = mixed(&alone, 40)?;
    let found = model.answer(&requests)?;
    let steps = found.iter().map(|(tokens, _)| tokens.len()).sum::<usize>() / 4;
    same(found, alone.answer(&requests)?)?;
    // All but those that begin when nothing is under way.
    let overlapped = overlapped.load(std::sync::atomic::Ordering::Relaxed);
    must(overlapped > steps / 2, || format!("{overlapped} of about {steps} batches did not wait"))
}

pub fn broken_off() -> Outcome {
    let mut model = open(&cpu(), false, 1)?;
    let schema = schemas::all().pop().ok_or("no schema")?.1;
    let constraint = model.constraint(Language::JsonSchema(schema.clone()))?;
    let whole = model.request(free(3, Some(constraint)), 400)?;
    let (tokens, _) = model.answer(std::slice::from_ref(&whole))?.remove(0);
    let cut = tokens.len() / 2;
    let short = model.answer(&[Request { limit: Some(cut), ..whole.clone() }])?.remove(0);
    equal(short, (tokens[..cut].to_vec(), Some(Finish::Length)))?;
    // The same sequence in another slot, as after a lost device.
    let (plan, vocab) = (model.engine.plan, model.engine.model.vocab_size);
    let mut scheduler = Scheduler::new(model.engine.backend.as_mut(), plan, vocab);
    let slot = scheduler.open().ok_or("no slot")?;
    let request = Request { tokens: [&whole.tokens, &tokens[..cut]].concat(), ..whole };
    scheduler.resume(slot, request, cut)?;
    let mut rest = tokens[..cut].to_vec();
    while scheduler.busy() {
        scheduler.advance(&mut |_, event| match event {
            Event::Token(token) if model.tokenizer.is_end(token) => false,
            Event::Token(token) => {
                rest.push(token);
                true
            }
            _ => true,
        })?;
    }
    equal(rest, tokens)
}

pub fn other_languages() -> Outcome {
    let mut model = open(&cpu(), false, 4)?;
    let sum = "start: term (\" + \" term)*\nterm: NUMBER | \"(\" start \")\"\nNUMBER: /[1-9][0-9]?/";
    let expression = regex::Regex::new(r"^[0-9 +()]+$")?;
    let word = regex::Regex::new("^(ja|nein|vielleicht), [a-zß]{2,6}[.!]$")?;
    for (language, pattern) in [
        (Language::Regex("(ja|nein|vielleicht), [a-zß]{2,6}[.!]".into()), &word),
        (Language::Lark(sum.into()), &expression),
    ] {
        let constraint = model.constraint(language)?;
        let each = (0..8).map(|seed| model.request(free(seed, Some(constraint.clone())), 60));
        for (tokens, finish) in model.answer(&each.collect::<Result<Vec<_>, _>>()?)? {
            let text = model.tokenizer.decode(&tokens);
            must(pattern.is_match(&text), || format!("{text:?} ended with {finish:?}"))?;
        }
    }
    Ok(())
}

/// Pushes a text, token by token.
pub fn push(matcher: &mut dyn Matcher, tokenizer: &Tokenizer, text: &str) -> Outcome {
    for token in tokenizer.encode(text, Encode { special: true, bos: false })? {
        must(matcher.mask()?.allows(token), || format!("token {token} of {text:?} may not come"))?;
        matcher.push(token)?;
    }
    Ok(())
}

pub fn thoughts() -> Outcome {
    for controls in [&["<think>", "</think>"][..], &[]] {
        let file = byte_model::file(controls, CONTEXT).bytes();
        let tokenizer = Tokenizer::of(&Gguf::from_static("bytes", file.leak())?)?.ok_or("no tokenizer")?;
        let grammars = Grammars::new(&tokenizer)?;
        let close = "</think>".to_owned();
        let grammar = Language::Regex("yes|no".into()).into();
        let end = byte_model::END;
        for begun in [false, true] {
            // A model may begin a thought where the mark is one token.
            let open = tokenizer.control_token("<think>").filter(|_| !begun);
            if !begun && open.is_none() {
                continue;
            }
            let constraint = grammars.constraint(&grammar, Some(Thought { open, close: close.clone() }))?;
            let mut thinks = constraint.start();
            if !begun {
                push(thinks.as_mut(), &tokenizer, "<think>")?;
            }
            // Anything but an end, and text that the grammar knows is text.
            must(!thinks.mask()?.allows(end), || "a thought may end the answer".into())?;
            push(thinks.as_mut(), &tokenizer, "Hm, yes {no} </thin ĝ")?;
            push(thinks.as_mut(), &tokenizer, "</think>")?;
            must(!thinks.mask()?.allows(u32::from(b'x')), || "the answer is free".into())?;
            push(thinks.as_mut(), &tokenizer, "no")?;
            must(thinks.is_complete(), || "it goes on".into())?;
            if !begun {
                let mut answers = constraint.start();
                push(answers.as_mut(), &tokenizer, "yes")?;
                must(answers.is_complete(), || "it goes on".into())?;
            }
        }
    }
    Ok(())
}
