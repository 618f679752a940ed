//! Many clients at once: what they share, what they must not share, and what is left when they go.

use std::io::{BufReader, Write};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use serde_json::{Value, json};
use wgllm::worker::Capacity;

use crate::adapters::Target;
use crate::client::{chunk, connect, get, head, ok, post, request};
use crate::server::{Plan, Running, alone};
use crate::{Outcome, equal, must};

const SHARED: &str = "Once upon a time there was a big dog named Tom who lived in a small house near the forest. Every day Tom went out to play with his friends. ";

/// Prompts of which several begin alike, and each is of its own.
pub fn prompts(count: usize) -> Vec<String> {
    let names = ["Lily", "Ben", "Max", "Anna", "Sue", "Tim"];
    let prompt = |n: usize| {
        let name = names[n % names.len()];
        match n % 3 {
            0 => format!("{SHARED}One day {name} said"),
            1 => format!("{SHARED}The {n} birds and {name}"),
            _ => format!("{name} had {n} red"),
        }
    };
    (0..count).map(prompt).collect()
}

/// All at once; a third of them goes away in the middle.
fn ask_all(server: &Running, prompts: &[String], limit: usize) -> Result<Vec<Option<String>>, Failed> {
    let address = server.address;
    let ask = |(n, prompt): (usize, &String)| {
        let prompt = prompt.clone();
        std::thread::spawn(move || -> Result<Option<String>, Failed> {
            let body = json!({ "prompt": prompt, "max_tokens": limit, "stream": n % 2 == 0 });
            if n % 3 == 1 {
                let mut stream = connect(address)?;
                let body = json!({ "prompt": prompt, "max_tokens": limit, "stream": true });
                stream.write_all(&request("POST", "/v1/completions", &[], body.to_string().as_bytes()))?;
                let mut from = BufReader::new(stream);
                equal(head(&mut from)?.0, 200)?;
                for _ in 0..3 {
                    chunk(&mut from)?;
                }
                return Ok(None);
            }
            if n % 2 == 0 {
                let events = post(address, "/v1/completions", &body)?.events()?;
                return Ok(Some(events.iter().filter_map(|e| e["choices"][0]["text"].as_str()).collect()));
            }
            let whole = ok(address, "/v1/completions", &body)?;
            Ok(whole["choices"][0]["text"].as_str().map(str::to_owned))
        })
    };
    let threads: Vec<_> = prompts.iter().enumerate().map(ask).collect();
    threads.into_iter().map(|thread| thread.join().map_err(|_| "a client panicked")?).collect()
}

fn compare(target: &Target, plan: Plan, count: usize, limit: usize) -> Outcome {
    let prompts = prompts(count);
    let expected = alone(target, &prompts, limit)?;
    let made = plan.buffers.clone();
    let server = Running::ready(target, plan)?;
    // All buffers are there before anybody asks; a step tells how many they are.
    ok(server.address, "/v1/completions", &json!({ "prompt": "Once", "max_tokens": 2 }))?;
    let buffers = made.load(Relaxed);
    for _ in 0..2 {
        let found = ask_all(&server, &prompts, limit)?;
        for (n, (found, expected)) in found.iter().zip(&expected).enumerate() {
            if let Some(found) = found {
                must(found == expected, || format!("client {n} got {found:?}, alone {expected:?}"))?;
            }
        }
        server.idle()?;
    }
    equal(made.load(Relaxed), buffers)
}

pub fn together(target: &Target) -> Outcome {
    let capacity = Capacity { running: 6, waiting: 64 };
    compare(target, Plan { capacity, context: 1024, ..Plan::default() }, 18, 24)
}

/// Three sequences would fit if none grew: some must be sent back and begun again.
pub fn small_pool(target: &Target) -> Outcome {
    let capacity = Capacity { running: 4, waiting: 64 };
    compare(target, Plan { capacity, context: 224, ..Plan::default() }, 12, 80)
}

fn cached(answer: &Value) -> u64 {
    answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap_or(u64::MAX)
}

pub fn prefixes() -> Outcome {
    let server = Running::ready(&Target::cpu(), Plan::default())?;
    let ask = |prompt: &str, n: usize| {
        ok(server.address, "/v1/completions", &json!({ "prompt": prompt, "max_tokens": 4, "n": n }))
    };
    let whole = format!("{SHARED}{}One day", "They ran and ran until the sun was low and red. ".repeat(4));
    let first = ask(&whole, 1)?;
    equal(cached(&first), 0)?;
    let shared = first["usage"]["prompt_tokens"].as_u64().unwrap_or_default();
    // The same again: all but its last token.
    equal(cached(&ask(&whole, 1)?), shared - 1)?;
    let other = cached(&ask(&format!("{SHARED}Then a cat came"), 1)?);
    must(other > 30 && other < shared / 2 + 10, || format!("{other} of {shared} are shared"))?;
    // What was there before is still there, and a conversation goes on where it ended.
    equal(cached(&ask(&whole, 1)?), shared - 1)?;
    let text = first["choices"][0]["text"].as_str().unwrap_or_default();
    let further = cached(&ask(&format!("{whole}{text} and"), 1)?);
    must(further >= shared + 2, || format!("{further} of a conversation with {shared} are shared"))?;
    // Answers to one prompt compute it once, but for less than a page.
    let before = server.server.worker().status().prompt_tokens();
    let many = ask(&"A very different story about a queen who could not find her ring. ".repeat(4), 4)?;
    let length = many["usage"]["prompt_tokens"].as_u64().unwrap_or_default();
    let after = server.server.worker().status().prompt_tokens();
    equal(after.0 - before.0, 4 * length)?;
    must(after.1 - before.1 >= 3 * (length - 32), || format!("{before:?} {after:?} of {length}"))
}

pub fn leaving() -> Outcome {
    let capacity = Capacity { running: 1, waiting: 4 };
    let server = Running::ready(&Target::cpu(), Plan { capacity, ..Plan::default() })?;
    let status = server.server.worker().status();
    // It goes on for as long as there are positions.
    let body = json!({ "prompt": "Once", "logit_bias": { "2": -100, "0": -100, "1": -100 }, "stream": true });
    for streamed in [true, false] {
        let mut body = body.clone();
        body["stream"] = streamed.into();
        let mut stream = connect(server.address)?;
        stream.write_all(&request("POST", "/v1/completions", &[], body.to_string().as_bytes()))?;
        server.wait("its beginning", || Ok(status.running() == 1))?;
        let start = Instant::now();
        drop(stream);
        server.wait("its end", || Ok(status.running() == 0 && status.taken() == 0))?;
        let took = start.elapsed();
        must(took < Duration::from_millis(500), || format!("it took {took:?} to notice"))?;
    }
    // One that waits is forgotten, too.
    let bytes = request("POST", "/v1/completions", &[], body.to_string().as_bytes());
    let mut first = connect(server.address)?;
    first.write_all(&bytes)?;
    server.wait("the first", || Ok(status.running() == 1))?;
    let mut second = connect(server.address)?;
    second.write_all(&bytes)?;
    server.wait("the second", || Ok(status.taken() == 2))?;
    drop(second);
    server.wait("one left", || Ok(status.taken() == 1))?;
    drop(first);
    server.idle()
}

/// Whoever generates does not wait for as long as a prompt takes, nor for as much of it as a step could hold.
pub fn beside() -> Outcome {
    let plan = Plan { context: 2048, batch: 512, ..Plan::default() };
    let batches = plan.batches.clone();
    let server = Running::ready(&Target::cpu(), plan)?;
    let long = |n: usize| json!({ "prompt": format!("{n} {}", "word ".repeat(800)), "max_tokens": 1 });
    let rows = |slots: usize| -> Result<Vec<usize>, Failed> {
        let all = std::mem::take(&mut *batches.lock().map_err(|e| e.to_string())?);
        Ok(all.into_iter().filter(|&(rows, of)| of == slots && rows > 1).map(|(rows, _)| rows).collect())
    };
    ok(server.address, "/v1/completions", &long(1))?;
    let alone = rows(1)?;
    equal(alone.iter().max(), Some(&512))?;
    let mut stream = connect(server.address)?;
    let body = json!({ "prompt": "Once", "max_tokens": 1000, "ignore_eos": true, "stream": true });
    stream.write_all(&request("POST", "/v1/completions", &[], body.to_string().as_bytes()))?;
    let mut from = BufReader::new(stream);
    equal(head(&mut from)?.0, 200)?;
    chunk(&mut from)?;
    ok(server.address, "/v1/completions", &long(2))?;
    let beside = rows(2)?;
    must(beside.iter().all(|&rows| rows <= 129) && beside.len() >= 6, || {
        format!("steps of {beside:?} rows")
    })?;
    drop(from);
    server.idle()
}

pub fn full() -> Outcome {
    let capacity = Capacity { running: 1, waiting: 1 };
    let server = Running::ready(&Target::cpu(), Plan { capacity, ..Plan::default() })?;
    let status = server.server.worker().status();
    let bytes = request(
        "POST",
        "/v1/completions",
        &[],
        br#"{"prompt":"Once upon a time","max_tokens":300,"stream":true}"#,
    );
    let mut streams = Vec::new();
    for n in 0..2 {
        let mut stream = connect(server.address)?;
        stream.write_all(&bytes)?;
        streams.push(stream);
        server.wait("it", || Ok(status.taken() == n + 1))?;
    }
    let refused = post(server.address, "/v1/completions", &json!({ "prompt": "Once" }))?;
    equal(refused.status, 429)?;
    must(refused.headers.contains("retry-after: 1"), || refused.headers.clone())?;
    equal(&refused.json()?["error"]["type"], &json!("rate_limit_error"))?;
    equal(get(server.address, "/ready")?.status, 503)?;
    equal(get(server.address, "/health")?.status, 200)?;
    drop(streams);
    server.idle()?;
    equal(post(server.address, "/v1/completions", &json!({ "prompt": "Once", "n": 3 }))?.status, 400)?;
    equal(post(server.address, "/v1/completions", &json!({ "prompt": "Once", "max_tokens": 1 }))?.status, 200)
}

/// The memory of this process, in KiB.
pub fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?
        .trim()
        .trim_end_matches(" kB")
        .trim()
        .parse()
        .ok()
}

pub fn flat() -> Outcome {
    let capacity = Capacity { running: 4, waiting: 64 };
    let server = Running::ready(&Target::cpu(), Plan { capacity, ..Plan::default() })?;
    let round = || -> Outcome {
        for _ in 0..8 {
            ask_all(&server, &prompts(12), 4)?;
        }
        server.idle()
    };
    round()?;
    let before = resident();
    for _ in 0..3 {
        round()?;
    }
    // Other tests run beside this one: what 288 requests left behind would show all the same.
    if let (Some(before), Some(after)) = (before, resident()) {
        must(after < before + 96 * 1024, || format!("{before} KiB became {after} KiB"))?;
    }
    let (used, all) = server.server.worker().status().pages();
    must(used <= all, || format!("{used} of {all} pages"))
}
