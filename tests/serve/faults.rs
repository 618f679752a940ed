//! Devices that go away and steps that panic: what is under way goes on or is told, and the server goes on.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use serde_json::json;
use wgllm::backend::Memory;
use wgllm::batch::{Batch, Collected};
use wgllm::{Error, Result};

use crate::adapters::Target;
use crate::client::{get, ok, post};
use crate::server::{Plan, Running, alone};
use crate::wrapped::Change;
use crate::{Outcome, equal, must};

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    Lost,
    Panic,
}

/// What goes wrong at which batch, counted over all devices.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<Due>>);

/// Batches so far, and the faults that are still to come.
#[derive(Default)]
struct Due {
    batches: usize,
    faults: VecDeque<(usize, Fault)>,
}

impl Faults {
    pub fn at(faults: impl IntoIterator<Item = (usize, Fault)>) -> Faults {
        Faults(Arc::new(Mutex::new(Due { batches: 0, faults: faults.into_iter().collect() })))
    }

    fn next(&self) -> Option<Fault> {
        let mut due = self.0.lock().expect("nobody panics here");
        due.batches += 1;
        let now = due.batches;
        let comes = due.faults.front().is_some_and(|(at, _)| *at <= now);
        if comes { due.faults.pop_front().map(|(_, fault)| fault) } else { None }
    }
}

/// What makes things go wrong at a backend.
pub struct Faulty {
    pub faults: Faults,
    /// What it answers in place of what was sampled, again and again; its last token is an end token.
    pub script: Vec<u32>,
    pub at: usize,
    /// Buffers that the device has made so far.
    pub buffers: Arc<AtomicU64>,
    pub batches: Batches,
}

/// Of each batch its rows, and of how many slots they are.
pub type Batches = Arc<Mutex<Vec<(usize, usize)>>>;

impl Change for Faulty {
    fn slot_is_set(&mut self) {
        // The script begins with each request.
        self.at = 0;
    }

    fn submits(&mut self, batch: &Batch) -> Result<()> {
        let slots: BTreeSet<u32> = batch.rows.iter().map(|row| row.slot).collect();
        self.batches.lock().expect("nobody panics here").push((batch.rows.len(), slots.len()));
        match self.faults.next() {
            Some(Fault::Lost) => Err(Error::Lost("the device was taken away".into())),
            Some(Fault::Panic) => panic!("a step went wrong on purpose"),
            None => Ok(()),
        }
    }

    fn collected(&mut self, collected: &mut Collected, memory: &Memory) {
        self.buffers.store(memory.buffers, Relaxed);
        if self.script.is_empty() {
            return;
        }
        for token in &mut collected.tokens {
            *token = self.script[self.at];
            self.at = (self.at + 1) % self.script.len();
        }
    }
}

const PROMPT: &str = "Once upon a time";

pub fn lost() -> Outcome {
    let faults = Faults::at([(10, Fault::Lost), (30, Fault::Lost)]);
    let server = Running::ready(&Target::cpu(), Plan { faults, ..Plan::default() })?;
    let expected = &alone(&Target::cpu(), &[PROMPT.into()], 60)?[0];
    let body = json!({ "prompt": PROMPT, "max_tokens": 60, "stream": true });
    let events = post(server.address, "/v1/completions", &body)?.events()?;
    let text: String = events.iter().filter_map(|e| e["choices"][0]["text"].as_str()).collect();
    equal(&text, expected)?;
    equal(server.server.worker().status().devices_lost(), 2)?;
    must(get(server.address, "/metrics")?.body.contains("wgllm_devices_lost_total 2"), || {
        "it is not told".into()
    })?;
    server.idle()
}

pub fn lost_too_often() -> Outcome {
    let faults = Faults::at((10..60).step_by(5).map(|at| (at, Fault::Lost)).take(3));
    let server = Running::ready(&Target::cpu(), Plan { faults, ..Plan::default() })?;
    let body = json!({ "prompt": PROMPT, "max_tokens": 60 });
    equal(post(server.address, "/v1/completions", &body)?.status, 503)?;
    server.idle()?;
    ok(server.address, "/v1/completions", &body).map(drop)
}

pub fn panics() -> Outcome {
    let faults = Faults::at([(10, Fault::Panic)]);
    let server = Running::ready(&Target::cpu(), Plan { faults, ..Plan::default() })?;
    let body = json!({ "prompt": PROMPT, "max_tokens": 60 });
    let response = post(server.address, "/v1/completions", &body)?;
    equal(response.status, 500)?;
    equal(&response.json()?["error"]["type"], &json!("server_error"))?;
    server.idle()?;
    ok(server.address, "/v1/completions", &body).map(drop)
}
