//! A thread that owns a backend and computes what other threads ask of it, side by side: the loop around a [`Scheduler`](crate::scheduler::Scheduler).
//!
//! A [`Job`] is tokens in, how to sample, when to end, a sink for what comes and a way to give up. Jobs wait in the order in which they
//! came; none overtakes another. What a job computed is kept when it ends, for the next one that begins alike (`prefixes`).
//! Where positions run out, what is kept goes first, the least recently used before all; then the job that began last waits again and is
//! computed anew from its tokens. A device that is lost is opened again, and every job goes on from its tokens. Knows tokens, not text.

mod job;
mod pooling;
mod prefixes;
mod status;
mod steps;
mod taken;

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::backend::{Backend, RuntimeConfig};
use crate::cancel::Cancel;
use crate::error::{Error, Result};

pub use job::{Job, Refused, Sink, Update, Wants};
pub use pooling::Pooling;
pub use status::{State, Status};
use steps::Steps;

/// What the worker computes with.
pub struct Opened {
    /// The backend.
    pub backend: Box<dyn Backend>,
    /// What was asked of it.
    pub plan: RuntimeConfig,
    /// How many tokens there are.
    pub vocab: usize,
    /// Tokens of a draft at most ([`Scheduler::look_up`](crate::scheduler::Scheduler::look_up)).
    pub lookup: usize,
}

/// Opens the model, on the worker's thread: once at the beginning, and again where the device was lost.
pub type Open = Box<dyn FnMut() -> Result<Opened> + Send>;

/// How much is taken on at once.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Jobs that are computed side by side.
    pub running: usize,
    /// Jobs that wait for a place.
    pub waiting: usize,
}

impl Capacity {
    /// Slots that the backend should have: where there are several, as many more keep what ended jobs computed.
    pub fn slots(&self) -> usize {
        if self.running == 1 { 1 } else { 2 * self.running }
    }
}

/// The thread. Dropping it ends it, with whatever is under way.
pub struct Worker {
    sender: Mutex<Option<Sender<Vec<Job>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    capacity: Capacity,
    status: Arc<Status>,
    give_up: Cancel,
}

impl Worker {
    /// Starts the thread, which begins by opening the model.
    ///
    /// # Errors
    /// [`Error::Other`] if the system gives no thread.
    pub fn start(open: Open, capacity: Capacity) -> Result<Worker> {
        let (sender, receiver) = channel();
        let (status, give_up) = (Arc::new(Status::default()), Cancel::new());
        let steps = Steps::new(receiver, capacity, status.clone(), give_up.clone());
        let thread = std::thread::Builder::new().name("worker".into()).spawn(move || steps.run(open));
        let thread = thread.map_err(|e| Error::Other(format!("a thread for the backend: {e}")))?;
        let (sender, thread) = (Mutex::new(Some(sender)), Mutex::new(Some(thread)));
        Ok(Worker { sender, thread, capacity, status, give_up })
    }

    /// Takes all of these jobs or none of them.
    pub fn submit(&self, jobs: Vec<Job>) -> Result<(), Refused> {
        let sender = self.sender.lock().map_err(|_| Refused::Ended)?;
        let sender = sender.as_ref().ok_or(Refused::Ended)?;
        let count = jobs.len();
        if !self.status.take(count, self.capacity.running + self.capacity.waiting) {
            return Err(Refused::Full);
        }
        sender.send(jobs).map_err(|_| {
            self.status.give_back(count);
            Refused::Ended
        })
    }

    /// How much is taken on at once.
    pub fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// What it does now, and what it has done.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// Takes no more jobs; those that were taken go on.
    pub fn close(&self) {
        if let Ok(mut sender) = self.sender.lock() {
            sender.take();
        }
    }

    /// Ends the thread at its next step, and waits for it: jobs under way get no more.
    pub fn end(&self) {
        self.close();
        self.give_up.cancel();
        // A model that is being loaded is waited for by nobody.
        if self.status.state() == State::Ready
            && let Some(thread) = self.thread.lock().ok().and_then(|mut thread| thread.take())
        {
            // A panic there was said when it happened.
            let _ = thread.join();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.end();
    }
}
