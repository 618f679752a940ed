//! The worker's thread: which jobs have a slot, step by step, and what happens when a step fails.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use super::job::{Job, Update, Wants};
use super::pooling::Pool;
use super::prefixes::{Kept, Place};
use super::status::Status;
use super::taken::{Running, Waiting, again, tell};
use super::{Capacity, Open};
use crate::cancel::Cancel;
use crate::error::Error;
use crate::scheduler::{Finish, Request, Scheduler};

/// How often a device that was lost is opened again before the worker gives up, and the first pause between two tries.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);

/// How often a job may lose its device and go on.
const LIVES: u32 = 2;

/// What the thread owns: the jobs that it was handed.
pub struct Steps {
    receiver: Receiver<Vec<Job>>,
    capacity: Capacity,
    status: Arc<Status>,
    give_up: Cancel,
    waiting: VecDeque<Waiting>,
    /// In the order in which they began.
    running: Vec<Running>,
    kept: Kept,
}

/// Why the loop over steps ended.
enum End {
    /// Nobody wants anything any more.
    Done,
    /// The device is gone.
    Lost(Error),
}

impl Steps {
    /// No job yet; they come from `receiver`. `give_up` ends all of them.
    pub fn new(
        receiver: Receiver<Vec<Job>>,
        capacity: Capacity,
        status: Arc<Status>,
        give_up: Cancel,
    ) -> Steps {
        let (waiting, running, kept) = (VecDeque::new(), Vec::new(), Kept::default());
        Steps { receiver, capacity, status, give_up, waiting, running, kept }
    }

    /// Opens the model and computes until nobody wants anything any more.
    pub fn run(mut self, mut open: Open) {
        let mut failed = 0;
        loop {
            let opened = catch_unwind(AssertUnwindSafe(&mut open))
                .unwrap_or_else(|_| Err(Error::Other("opening the model failed in an unknown way".into())));
            let error = match opened {
                Ok(mut opened) => {
                    let backend = opened.backend.as_mut();
                    let mut scheduler = Scheduler::new(backend, opened.plan, opened.vocab);
                    if let Err(error) = scheduler.look_up(opened.lookup) {
                        self.fail_all(&error);
                        return self.status.ended(Some(error));
                    }
                    failed = 0;
                    self.status.ready(opened.plan.pages);
                    match self.steps(&mut scheduler) {
                        End::Done => return self.status.ended(None),
                        End::Lost(error) => {
                            self.status.lost();
                            self.wait_again(&scheduler, &error);
                            error
                        }
                    }
                }
                // What never worked will not work the next time.
                Err(error) if failed == 0 && !self.status.was_ready() => {
                    self.fail_all(&error);
                    return self.status.ended(Some(error));
                }
                Err(error) => error,
            };
            failed += 1;
            if failed > TRIES || self.give_up.is_cancelled() {
                self.fail_all(&error);
                return self.status.ended(Some(error));
            }
            std::thread::sleep(PAUSE * (1 << failed.min(4)) / 2);
        }
    }

    /// Computes until nobody wants anything any more.
    fn steps(&mut self, scheduler: &mut Scheduler<'_>) -> End {
        loop {
            self.status.now(self.running.len(), self.waiting.len(), scheduler.free_pages());
            if !self.receive() {
                return End::Done;
            }
            self.drop_cancelled(scheduler);
            self.admit(scheduler);
            self.make_room(scheduler);
            self.status.now(self.running.len(), self.waiting.len(), scheduler.free_pages());
            if let Some(end) = self.vectors(scheduler) {
                return end;
            }
            if self.running.is_empty() {
                continue;
            }
            let (start, drafts) = (Instant::now(), scheduler.drafts());
            let running = &mut self.running;
            let advanced = catch_unwind(AssertUnwindSafe(|| {
                scheduler.advance(&mut |slot, event| {
                    running.iter_mut().find(|r| r.slot == slot).is_some_and(|r| r.on_event(event))
                })
            }));
            self.status.step(start.elapsed());
            self.status.drafts(scheduler.drafts() - drafts);
            match advanced {
                Ok(Ok(())) => {}
                Ok(Err(error @ Error::Lost(_))) => return End::Lost(error),
                Ok(Err(error)) => self.fail_running(&error),
                // What the scheduler holds is in doubt, and so is what the backend has in flight.
                Err(_) => {
                    let error = Error::Other("a step of the model failed in an unknown way".into());
                    self.fail_running(&error);
                    return End::Lost(error);
                }
            }
            self.take_ended(scheduler);
        }
    }

    /// Computes the jobs that want vectors, side by side.
    fn vectors(&mut self, scheduler: &mut Scheduler<'_>) -> Option<End> {
        let mut jobs: Vec<(&mut Running, Pool)> = Vec::new();
        for running in self.running.iter_mut().filter(|running| !running.ended) {
            if let Wants::Vector { pooling, width } = running.job.wants {
                // Of what is there already there would be no rows.
                scheduler.truncate(running.slot, 0);
                jobs.push((running, Pool::new(pooling, width)));
            }
        }
        if jobs.is_empty() {
            return None;
        }
        let start = Instant::now();
        let tokens: Vec<(u32, Vec<u32>)> =
            jobs.iter().map(|(running, _)| (running.slot, running.job.tokens.clone())).collect();
        let asked: Vec<(u32, &[u32])> = tokens.iter().map(|(slot, tokens)| (*slot, &tokens[..])).collect();
        let computed = catch_unwind(AssertUnwindSafe(|| {
            scheduler.logits_of(&asked, &mut |n, rows| jobs[n].1.push(rows))
        }));
        self.status.step(start.elapsed());
        let (error, end) = match computed {
            Ok(Ok(())) => {
                for (running, pool) in jobs {
                    running.ended = true;
                    running.tell(Update::Vector(pool.normalised()));
                    running.tell(Update::Finished(Finish::Length));
                }
                self.take_ended(scheduler);
                return None;
            }
            Ok(Err(error @ Error::Lost(_))) => return Some(End::Lost(error)),
            Ok(Err(error)) => (error, false),
            Err(_) => (Error::Other("a step of the model failed in an unknown way".into()), true),
        };
        for (running, _) in jobs {
            running.ended = true;
            running.tell(Update::Failed(error.clone()));
        }
        self.take_ended(scheduler);
        end.then_some(End::Lost(error))
    }

    /// Takes the jobs that have come, and waits for one where there is nothing else to do; false where there will be none.
    fn receive(&mut self) -> bool {
        loop {
            if self.give_up.is_cancelled() {
                return false;
            }
            let idle = self.running.is_empty() && self.waiting.is_empty();
            let jobs = match self.receiver.try_recv() {
                Ok(jobs) => jobs,
                Err(TryRecvError::Empty) if idle => match self.receiver.recv() {
                    Ok(jobs) => jobs,
                    Err(_) => return false,
                },
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return !idle,
            };
            self.waiting.extend(jobs.into_iter().map(Waiting::new));
        }
    }

    fn drop_cancelled(&mut self, scheduler: &mut Scheduler<'_>) {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| !waiting.job.cancel.is_cancelled());
        self.status.give_back(before - self.waiting.len());
        for running in self.running.iter_mut().filter(|r| r.job.cancel.is_cancelled()) {
            scheduler.stop(running.slot);
            running.ended = true;
        }
        self.take_ended(scheduler);
    }

    /// Keeps what ended jobs computed.
    fn take_ended(&mut self, scheduler: &mut Scheduler<'_>) {
        for ended in self.running.extract_if(.., |r| r.ended) {
            self.status.give_back(1);
            match scheduler.tokens(ended.slot).is_empty() {
                true => scheduler.close(ended.slot),
                false => self.kept.keep(ended.slot),
            }
        }
    }

    /// Gives slots to jobs that wait, in their order.
    fn admit(&mut self, scheduler: &mut Scheduler<'_>) {
        while self.running.len() < self.capacity.running
            && let Some(waiting) = self.waiting.front()
        {
            let running = self.running.iter().map(|r| r.slot);
            let place = match self.kept.place(scheduler, running, &waiting.job.tokens) {
                Place::Slot(slot) => slot,
                Place::NotYet => return,
            };
            let Some(waiting) = self.waiting.pop_front() else { return };
            self.begin(scheduler, place, waiting);
        }
    }

    fn begin(&mut self, scheduler: &mut Scheduler<'_>, slot: u32, waiting: Waiting) {
        let Waiting { mut job, generated, begun, lost } = waiting;
        let (given, cached) = (scheduler.tokens(slot).len(), scheduler.computed(slot));
        let prompt = job.tokens.len() - generated;
        let request = Request {
            tokens: job.tokens[given..].to_vec(),
            sampling: job.sampling.clone(),
            limit: job.limit.map(|limit| limit - generated.min(limit)),
        };
        let asked = scheduler.resume(slot, request, generated);
        job.tokens.truncate(prompt);
        let mut running = Running { slot, job, prompt, logprobs: None, lost, ended: false };
        match asked {
            Ok(()) if begun => {}
            Ok(()) => {
                self.status.begun(prompt, cached);
                running.tell(Update::Begun { cached });
            }
            Err(error) => {
                running.tell(Update::Failed(error));
                running.ended = true;
            }
        }
        self.running.push(running);
        self.take_ended(scheduler);
    }

    /// Sees to it that the next step finds its pages.
    fn make_room(&mut self, scheduler: &mut Scheduler<'_>) {
        while scheduler.wanted_pages() > scheduler.free_pages() {
            if self.kept.release(scheduler, None) {
                continue;
            }
            if self.running.len() < 2 {
                return;
            }
            let Some(last) = self.running.pop() else { return };
            let slot = last.slot;
            let waiting = again(last, scheduler);
            self.waiting.push_front(waiting);
            scheduler.close(slot);
        }
    }

    /// Lets all jobs wait for a new device, but those that met with this before: they may be what it is lost to.
    fn wait_again(&mut self, scheduler: &Scheduler<'_>, error: &Error) {
        while let Some(mut last) = self.running.pop() {
            last.lost += 1;
            if !last.ended && last.lost > LIVES {
                last.tell(Update::Failed(error.clone()));
                last.ended = true;
            }
            match last.ended {
                true => self.status.give_back(1),
                false => self.waiting.push_front(again(last, scheduler)),
            }
        }
        self.kept = Kept::default();
    }

    fn fail_running(&mut self, error: &Error) {
        for running in &mut self.running {
            running.tell(Update::Failed(error.clone()));
            running.ended = true;
        }
    }

    /// Fails what waits, too.
    fn fail_all(&mut self, error: &Error) {
        self.fail_running(error);
        self.status.give_back(self.running.drain(..).count());
        while let Ok(jobs) = self.receiver.try_recv() {
            self.waiting.extend(jobs.into_iter().map(Waiting::new));
        }
        for mut waiting in self.waiting.drain(..) {
            tell(&mut waiting.job.sink, Update::Failed(error.clone()));
            self.status.give_back(1);
        }
    }
}
