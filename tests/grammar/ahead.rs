//! A backend that takes several batches at once, as a GPU does, and knows how many were in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use wgllm::Result;
use wgllm::backend::{Backend, DeviceInfo, Limits, Memory, Placement};
use wgllm::batch::{Batch, Collected, Then, Ticket};
use wgllm::blocking::Waiting;
use wgllm::constraint::TokenMask;
use wgllm::sampler::Sampling;

/// The CPU behind such a face: it computes what it is given at once.
pub struct Ahead {
    pub inner: Box<dyn Backend>,
    in_flight: usize,
    /// Batches that wait for masks, which were submitted behind one that nobody had collected yet.
    pub overlapped: Arc<AtomicUsize>,
}

impl Ahead {
    pub fn new(inner: Box<dyn Backend>) -> Ahead {
        Ahead { inner, in_flight: 0, overlapped: Arc::default() }
    }
}

impl Backend for Ahead {
    fn device(&self) -> DeviceInfo {
        self.inner.device()
    }

    fn placement(&self) -> Placement {
        self.inner.placement()
    }

    fn memory(&self) -> Memory {
        self.inner.memory()
    }

    fn limits(&self) -> Limits {
        Limits { ahead: 3, ..self.inner.limits() }
    }

    fn set_slot(&mut self, slot: u32, sampling: &Sampling, recent: &[u32]) -> Result<()> {
        self.inner.set_slot(slot, sampling, recent)
    }

    fn map_pages(&mut self, slot: u32, first: usize, pages: &[u32]) -> Result<()> {
        self.inner.map_pages(slot, first, pages)
    }

    fn copy_page(&mut self, from: u32, to: u32) -> Result<()> {
        self.inner.copy_page(from, to)
    }

    fn save_states(&mut self, slot: u32, place: u32) -> Result<()> {
        self.inner.save_states(slot, place)
    }

    fn restore_states(&mut self, place: u32, slot: u32) -> Result<()> {
        self.inner.restore_states(place, slot)
    }

    fn submit(&mut self, batch: &Batch) -> Result<Ticket> {
        if batch.then == Then::SampleMasked && self.in_flight > 0 {
            self.overlapped.fetch_add(1, Relaxed);
        }
        self.in_flight += 1;
        self.inner.submit(batch)
    }

    fn sample(&mut self, ticket: &Ticket, masks: &[(u32, TokenMask)]) -> Result<()> {
        self.inner.sample(ticket, masks)
    }

    fn collect_async(&mut self, ticket: Ticket) -> Waiting<'_, Result<Collected>> {
        self.in_flight -= 1;
        self.inner.collect_async(ticket)
    }
}
