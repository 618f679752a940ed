//! Jobs that the worker has taken: those that wait, and those that have a slot.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::job::{Job, Sink, Update};
use crate::logprobs::Logprobs;
use crate::sampler::no_token;
use crate::scheduler::{Event, Scheduler};

/// A job that waits.
pub struct Waiting {
    pub job: Job,
    /// Tokens of the job that were sampled before it lost its slot.
    pub generated: usize,
    /// Whether it was told so.
    pub begun: bool,
    /// How often the device was lost while it was computed.
    pub lost: u32,
}

impl Waiting {
    /// A job that has just come.
    pub fn new(job: Job) -> Waiting {
        Waiting { job, generated: 0, begun: false, lost: 0 }
    }
}

/// A job that has a slot.
pub struct Running {
    pub slot: u32,
    pub job: Job,
    /// Tokens of the sequence that were given, without those of `generated`.
    pub prompt: usize,
    /// Those of the token that comes next.
    pub logprobs: Option<Logprobs>,
    pub lost: u32,
    pub ended: bool,
}

impl Running {
    /// Tells the sink, and says whether the job goes on. A sink that panics ends its own job alone.
    pub fn tell(&mut self, update: Update) -> bool {
        tell(&mut self.job.sink, update) && !self.job.cancel.is_cancelled()
    }

    /// Tells what happened in its slot, and says whether the job goes on.
    pub fn on_event(&mut self, event: Event) -> bool {
        match event {
            Event::Logprobs(logprobs) => {
                self.logprobs = Some(logprobs);
                true
            }
            Event::Token(id) => {
                let logprobs = self.logprobs.take();
                !self.job.ends.contains(&id) && self.tell(Update::Token { id, logprobs })
            }
            Event::Finished(finish) => {
                self.ended = true;
                self.tell(Update::Finished(finish))
            }
            Event::NoToken => {
                self.ended = true;
                self.tell(Update::Failed(no_token()))
            }
            Event::Failed(error) => {
                self.ended = true;
                self.tell(Update::Failed(error))
            }
        }
    }
}

/// Calls a sink; false if it panics, which must not end others' jobs.
pub fn tell(sink: &mut Sink, update: Update) -> bool {
    catch_unwind(AssertUnwindSafe(|| sink(update))).is_ok()
}

/// A job as it waits for another slot: what it had so far becomes its prompt.
pub fn again(running: Running, scheduler: &Scheduler<'_>) -> Waiting {
    let Running { slot, mut job, prompt, lost, .. } = running;
    let tokens = scheduler.tokens(slot);
    let generated = tokens.len().saturating_sub(prompt);
    job.tokens.extend(tokens.get(prompt..).unwrap_or_default());
    Waiting { job, generated, begun: true, lost }
}
