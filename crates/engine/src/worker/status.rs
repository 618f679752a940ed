//! What the worker does now and has done: numbers that other threads may read at any time.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crate::error::Error;
use crate::lookup::Drafts;

/// How far the worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The model is being opened, for the first time or again.
    Loading,
    /// Jobs are computed.
    Ready,
    /// No job is computed any more.
    Ended,
}

/// Numbers about the worker.
#[derive(Debug, Default)]
pub struct Status {
    /// 0 loading, 1 ready, 2 ended.
    state: AtomicUsize,
    was_ready: AtomicUsize,
    failure: OnceLock<Error>,
    /// Jobs that were taken and have not ended.
    taken: AtomicUsize,
    running: AtomicUsize,
    waiting: AtomicUsize,
    pages: AtomicUsize,
    free_pages: AtomicUsize,
    prompt_tokens: AtomicU64,
    cached_tokens: AtomicU64,
    steps: AtomicU64,
    step_us: AtomicU64,
    lost: AtomicU64,
    drafted: AtomicU64,
    accepted: AtomicU64,
}

impl Status {
    /// How far the worker is.
    pub fn state(&self) -> State {
        match self.state.load(Relaxed) {
            0 => State::Loading,
            1 => State::Ready,
            _ => State::Ended,
        }
    }

    /// Why the worker ended, if it was not asked to.
    pub fn failure(&self) -> Option<&Error> {
        self.failure.get()
    }

    /// Jobs that have a slot.
    pub fn running(&self) -> usize {
        self.running.load(Relaxed)
    }

    /// Jobs that wait for one.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// Jobs that were taken and have not ended.
    pub fn taken(&self) -> usize {
        self.taken.load(Relaxed)
    }

    /// Pages of the pool: those that hold something, and all.
    pub fn pages(&self) -> (usize, usize) {
        let all = self.pages.load(Relaxed);
        (all - self.free_pages.load(Relaxed).min(all), all)
    }

    /// Tokens of prompts that were begun, and how many of them were computed before.
    pub fn prompt_tokens(&self) -> (u64, u64) {
        (self.prompt_tokens.load(Relaxed), self.cached_tokens.load(Relaxed))
    }

    /// Batches that were collected, and the seconds that they took.
    pub fn steps(&self) -> (u64, f64) {
        (self.steps.load(Relaxed), self.step_us.load(Relaxed) as f64 / 1e6)
    }

    /// Tokens that were drafted, and how many of them were right.
    pub fn drafted_tokens(&self) -> (u64, u64) {
        (self.drafted.load(Relaxed), self.accepted.load(Relaxed))
    }

    /// How often the device was lost.
    pub fn devices_lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    /// Counts `count` jobs in, unless there would be more than `most`.
    pub(super) fn take(&self, count: usize, most: usize) -> bool {
        let more = |taken: usize| taken.checked_add(count).filter(|&taken| taken <= most);
        self.taken.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    pub(super) fn give_back(&self, count: usize) {
        self.taken.fetch_sub(count, Relaxed);
    }

    pub(super) fn ready(&self, pages: usize) {
        self.pages.store(pages, Relaxed);
        self.free_pages.store(pages, Relaxed);
        self.was_ready.store(1, Relaxed);
        self.state.store(1, Relaxed);
    }

    pub(super) fn was_ready(&self) -> bool {
        self.was_ready.load(Relaxed) == 1
    }

    pub(super) fn lost(&self) {
        self.lost.fetch_add(1, Relaxed);
        self.state.store(0, Relaxed);
    }

    pub(super) fn ended(&self, failure: Option<Error>) {
        if let Some(error) = failure {
            let _ = self.failure.set(error);
        }
        self.state.store(2, Relaxed);
    }

    pub(super) fn now(&self, running: usize, waiting: usize, free_pages: usize) {
        self.running.store(running, Relaxed);
        self.waiting.store(waiting, Relaxed);
        self.free_pages.store(free_pages, Relaxed);
    }

    pub(super) fn begun(&self, prompt: usize, cached: usize) {
        self.prompt_tokens.fetch_add(prompt as u64, Relaxed);
        self.cached_tokens.fetch_add(cached as u64, Relaxed);
    }

    pub(super) fn drafts(&self, drafts: Drafts) {
        self.drafted.fetch_add(drafts.drafted as u64, Relaxed);
        self.accepted.fetch_add(drafts.accepted as u64, Relaxed);
    }

    pub(super) fn step(&self, took: Duration) {
        self.steps.fetch_add(1, Relaxed);
        self.step_us.fetch_add(took.as_micros() as u64, Relaxed);
    }
}
