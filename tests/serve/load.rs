//! Load: 64 clients for a while, of which a third breaks off. `WGLLM_LOAD_SECONDS` says how long, two minutes where nothing is said;
//! `WGLLM_LOAD_MODEL` is a model file in place of the one that the repository carries.

use std::io::{BufReader, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use serde_json::json;
use wgllm::worker::Capacity;

use crate::adapters::Target;
use crate::client::{chunk, connect, head, post, request};
use crate::many::{prompts, resident};
use crate::server::{MODEL, Plan, Running, alone_by};
use crate::{Outcome, must};

const CLIENTS: usize = 64;
const LIMIT: usize = 24;

/// What became of requests.
#[derive(Default)]
struct Counts {
    whole: AtomicUsize,
    broken_off: AtomicUsize,
    refused: AtomicUsize,
}

pub fn clients(target: &Target) -> Outcome {
    let seconds = std::env::var("WGLLM_LOAD_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(120);
    let prompts = prompts(30);
    let model = std::env::var_os("WGLLM_LOAD_MODEL").map_or(MODEL.into(), PathBuf::from);
    let expected = alone_by(&model, target, &prompts, LIMIT)?;
    let capacity = Capacity { running: 8, waiting: 48 };
    let made = Arc::<AtomicU64>::default();
    let plan = Plan { capacity, context: 1024, buffers: made.clone(), model, ..Plan::default() };
    let server = Running::ready(target, plan)?;
    let counts = Counts::default();
    let round = |length: Duration| -> Outcome {
        let end = Instant::now() + length;
        std::thread::scope(|scope| {
            let client = |n| {
                let (server, prompts, expected, counts) = (&server, &prompts, &expected, &counts);
                scope.spawn(move || client(n, server, prompts, expected, counts, end))
            };
            let clients: Vec<_> = (0..CLIENTS).map(client).collect();
            clients.into_iter().try_for_each(|client| client.join().map_err(|_| "a client panicked")?)
        })?;
        server.idle()
    };
    // All buffers are there before anybody asks; a step tells how many they are.
    post(server.address, "/v1/completions", &json!({ "prompt": "Once", "max_tokens": 2 }))?;
    let buffers = made.load(Relaxed);
    // What the host keeps between requests is there after a while; from then on nothing may be added.
    round(Duration::from_secs(seconds) / 4)?;
    let before = resident();
    round(Duration::from_secs(seconds) * 3 / 4)?;
    let status = server.server.worker().status();
    must(status.running() == 0 && status.waiting() == 0 && status.taken() == 0, || "slots are taken".into())?;
    let (used, all) = status.pages();
    must(used <= all, || format!("{used} of {all} pages"))?;
    if let (Some(before), Some(after)) = (before, resident()) {
        must(after < before + 32 * 1024, || format!("{before} KiB became {after} KiB"))?;
    }
    must(made.load(Relaxed) == buffers, || format!("{buffers} buffers became {}", made.load(Relaxed)))?;
    let Counts { whole, broken_off, refused } = &counts;
    let (whole, broken_off) = (whole.load(Relaxed), broken_off.load(Relaxed));
    eprintln!(
        "{whole} answers whole, {broken_off} broken off, {} times 429, {before:?} and then {:?} KiB, {buffers} buffers",
        refused.load(Relaxed),
        resident(),
    );
    // How many there are is the machine's affair; that there are both is not.
    must(whole > CLIENTS / 4 && broken_off > CLIENTS / 8, || {
        format!("{whole} whole, {broken_off} broken off")
    })
}

/// Asks again and again, in an order of its own.
fn client(
    n: usize,
    server: &Running,
    prompts: &[String],
    expected: &[String],
    counts: &Counts,
    end: Instant,
) -> Outcome {
    let mut turn = n;
    while Instant::now() < end {
        turn += 1;
        let which = (n * 7 + turn * 11) % prompts.len();
        let (breaks_off, streamed) = ((turn + n).is_multiple_of(3), turn.is_multiple_of(2));
        let body = json!({ "prompt": prompts[which], "max_tokens": LIMIT, "stream": streamed || breaks_off });
        if breaks_off {
            match break_off(server, &body.to_string(), turn % 5)? {
                true => counts.broken_off.fetch_add(1, Relaxed),
                false => wait(counts),
            };
            continue;
        }
        let response = post(server.address, "/v1/completions", &body)?;
        let text = match response.status {
            429 => {
                wait(counts);
                continue;
            }
            200 if streamed => {
                let events = response.events()?;
                events.iter().filter_map(|e| e["choices"][0]["text"].as_str()).collect()
            }
            200 => response.json()?["choices"][0]["text"].as_str().unwrap_or("?").to_owned(),
            _ => return Err(format!("{body} got {response:?}").into()),
        };
        must(text == expected[which], || format!("{body} got {text:?}, alone {:?}", expected[which]))?;
        counts.whole.fetch_add(1, Relaxed);
    }
    Ok(())
}

fn wait(counts: &Counts) -> usize {
    std::thread::sleep(Duration::from_millis(200));
    counts.refused.fetch_add(1, Relaxed)
}

/// Leaves after so many chunks; whether it was let in.
fn break_off(server: &Running, body: &str, chunks: usize) -> Result<bool, Failed> {
    let mut stream = connect(server.address)?;
    stream.write_all(&request("POST", "/v1/completions", &[], body.as_bytes()))?;
    let mut from = BufReader::new(stream);
    match head(&mut from)?.0 {
        200 => {}
        429 => return Ok(false),
        status => return Err(format!("{body} got {status}").into()),
    }
    for _ in 0..chunks {
        if chunk(&mut from)?.is_none() {
            break;
        }
    }
    Ok(true)
}
