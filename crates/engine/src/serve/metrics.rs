//! Numbers about the server in Prometheus' text format.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::generation::Usage;
use crate::worker::Status;

type Labels = Vec<(&'static str, String)>;

/// All numbers.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Those of routes.
    paths: Vec<&'static str>,
    requests: Family<Labels, Counter>,
    completion_tokens: Counter,
    first_token: Histogram,
    next_token: Histogram,
    running: Gauge,
    waiting: Gauge,
    slots: Gauge,
    pages_used: Gauge,
    pages: Gauge,
    prompt_tokens: Counter,
    cached_tokens: Counter,
    drafted_tokens: Counter,
    accepted_tokens: Counter,
    steps: Counter,
    step_seconds: Counter<f64, AtomicU64>,
    devices_lost: Counter,
}

impl Metrics {
    /// All of them at nothing. Requests are told apart by these paths.
    pub fn new(paths: Vec<&'static str>) -> Metrics {
        let metrics = Metrics {
            paths,
            registry: Registry::with_prefix("wgllm"),
            requests: Family::default(),
            completion_tokens: Counter::default(),
            first_token: Histogram::new([
                0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
            ]),
            next_token: Histogram::new([
                0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
            ]),
            running: Gauge::default(),
            waiting: Gauge::default(),
            slots: Gauge::default(),
            pages_used: Gauge::default(),
            pages: Gauge::default(),
            prompt_tokens: Counter::default(),
            cached_tokens: Counter::default(),
            drafted_tokens: Counter::default(),
            accepted_tokens: Counter::default(),
            steps: Counter::default(),
            step_seconds: Counter::default(),
            devices_lost: Counter::default(),
        };
        Metrics { registry: metrics.registered(), ..metrics }
    }

    fn registered(&self) -> Registry {
        let mut all = Registry::with_prefix("wgllm");
        let seconds = || Unit::Seconds;
        all.register(
            "requests",
            "Requests by path, status and whether the answer went out whole",
            self.requests.clone(),
        );
        all.register("prompt_tokens", "Tokens of prompts that were begun", self.prompt_tokens.clone());
        all.register("cached_tokens", "Those of them that were computed before", self.cached_tokens.clone());
        all.register("completion_tokens", "Tokens that were generated", self.completion_tokens.clone());
        all.register("drafted_tokens", "Tokens that were drafted (--lookup)", self.drafted_tokens.clone());
        all.register("accepted_tokens", "Those of them that were right", self.accepted_tokens.clone());
        all.register_with_unit(
            "first_token",
            "From a request to its first token",
            seconds(),
            self.first_token.clone(),
        );
        all.register_with_unit(
            "next_token",
            "From a token to the next one of its request",
            seconds(),
            self.next_token.clone(),
        );
        all.register("requests_running", "Sequences that have a slot", self.running.clone());
        all.register("requests_waiting", "Sequences that wait for one", self.waiting.clone());
        all.register("slots", "Sequences that can be computed side by side", self.slots.clone());
        all.register("kv_pages_used", "Pages of the KV pool that hold something", self.pages_used.clone());
        all.register("kv_pages", "Pages of the KV pool", self.pages.clone());
        all.register("steps", "Batches that were computed", self.steps.clone());
        all.register_with_unit("step", "Time of all batches together", seconds(), self.step_seconds.clone());
        all.register("devices_lost", "How often the device was lost", self.devices_lost.clone());
        all
    }

    /// A request is over.
    pub fn request(&self, path: &str, status: u16, complete: bool, usage: &Usage) {
        // Paths that anybody may make up have no line of their own.
        let path = self.paths.iter().find(|known| **known == path).copied().unwrap_or("other");
        let complete = if complete { "true" } else { "false" };
        let labels =
            vec![("path", path.into()), ("status", status.to_string()), ("complete", complete.into())];
        self.requests.get_or_create(&labels).inc();
        self.completion_tokens.inc_by(usage.completion as u64);
    }

    /// A first token came so long after its request.
    pub fn first_token(&self, took: Duration) {
        self.first_token.observe(took.as_secs_f64());
    }

    /// Another token came so long after the one before it.
    pub fn next_token(&self, took: Duration) {
        self.next_token.observe(took.as_secs_f64());
    }

    /// Everything as text, with what the worker says of itself.
    pub fn text(&self, status: &Status, slots: usize) -> String {
        let gauge = |gauge: &Gauge, value: usize| gauge.set(value as i64);
        let counter = |counter: &Counter, value: u64| counter.inner().store(value, Relaxed);
        gauge(&self.running, status.running());
        gauge(&self.waiting, status.waiting());
        gauge(&self.slots, slots);
        let (used, all) = status.pages();
        gauge(&self.pages_used, used);
        gauge(&self.pages, all);
        let (prompt, cached) = status.prompt_tokens();
        counter(&self.prompt_tokens, prompt);
        counter(&self.cached_tokens, cached);
        let (drafted, accepted) = status.drafted_tokens();
        counter(&self.drafted_tokens, drafted);
        counter(&self.accepted_tokens, accepted);
        let (steps, seconds) = status.steps();
        counter(&self.steps, steps);
        self.step_seconds.inner().store(seconds.to_bits(), Relaxed);
        counter(&self.devices_lost, status.devices_lost());
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
