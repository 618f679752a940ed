//! A backend that does what another one does, but for what a test changes about it.

use wgllm::Result;
use wgllm::backend::{Backend, DeviceInfo, Limits, Memory, Placement};
use wgllm::batch::{Batch, Collected, Ticket};
use wgllm::blocking::Waiting;
use wgllm::constraint::TokenMask;
use wgllm::sampler::Sampling;

/// What is changed.
pub trait Change: Send {
    /// The most that one batch may hold.
    fn limits(&self, limits: Limits) -> Limits {
        limits
    }

    /// A slot begins to sample anew.
    fn slot_is_set(&mut self) {}

    /// A batch is about to be submitted; an error is told in its place.
    fn submits(&mut self, _batch: &Batch) -> Result<()> {
        Ok(())
    }

    /// A batch was collected; `memory` is what the backend holds by then.
    fn collected(&mut self, _collected: &mut Collected, _memory: &Memory) {}
}

/// `inner`, with a change.
pub struct Wrapped<C> {
    pub inner: Box<dyn Backend>,
    pub change: C,
}

impl<C: Change> Backend for Wrapped<C> {
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
        self.change.limits(self.inner.limits())
    }

    fn set_slot(&mut self, slot: u32, sampling: &Sampling, recent: &[u32]) -> Result<()> {
        self.change.slot_is_set();
        self.inner.set_slot(slot, sampling, recent)
    }

    fn map_pages(&mut self, slot: u32, first: usize, pages: &[u32]) -> Result<()> {
        self.inner.map_pages(slot, first, pages)
    }

    fn copy_page(&mut self, from: u32, to: u32) -> Result<()> {
        self.inner.copy_page(from, to)
    }

    fn save_states(&mut self, slot: u32, snapshot: u32) -> Result<()> {
        self.inner.save_states(slot, snapshot)
    }

    fn restore_states(&mut self, snapshot: u32, slot: u32) -> Result<()> {
        self.inner.restore_states(snapshot, slot)
    }

    fn submit(&mut self, batch: &Batch) -> Result<Ticket> {
        self.change.submits(batch)?;
        self.inner.submit(batch)
    }

    fn sample(&mut self, ticket: &Ticket, masks: &[(u32, TokenMask)]) -> Result<()> {
        self.inner.sample(ticket, masks)
    }

    fn collect_async(&mut self, ticket: Ticket) -> Waiting<'_, Result<Collected>> {
        Box::pin(async move {
            let mut collected = self.inner.collect_async(ticket).await?;
            self.change.collected(&mut collected, &self.inner.memory());
            Ok(collected)
        })
    }
}
