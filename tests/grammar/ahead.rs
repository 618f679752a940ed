//! What makes a backend take several batches at once, as a GPU does, and counts how many were in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use wgllm::Result;
use wgllm::backend::{Limits, Memory};
use wgllm::batch::{Batch, Collected, Then};

use crate::wrapped::Change;

/// Lets the CPU wear such a face: it computes what it is given at once.
#[derive(Default)]
pub struct Ahead {
    in_flight: usize,
    /// Batches that wait for masks, which were submitted behind one that nobody had collected yet.
    pub overlapped: Arc<AtomicUsize>,
}

impl Change for Ahead {
    fn limits(&self, limits: Limits) -> Limits {
        Limits { ahead: 3, ..limits }
    }

    fn submits(&mut self, batch: &Batch) -> Result<()> {
        if batch.then == Then::SampleMasked && self.in_flight > 0 {
            self.overlapped.fetch_add(1, Relaxed);
        }
        self.in_flight += 1;
        Ok(())
    }

    fn collected(&mut self, _: &mut Collected, _: &Memory) {
        self.in_flight -= 1;
    }
}
