//! A thread that owns a backend and computes what other threads ask of it, side by side: the loop around a [`Scheduler`].
//!
//! A [`Job`] is tokens in, how to sample, when to end, a sink for what comes and a way to give up. Jobs wait in the order in which they
//! came; none overtakes another. What a job computed is kept when it ends, for the next one that begins alike (`prefixes`).
//! Where positions run out, what is kept goes first, the least recently used before all; then the job that began last waits again and is
//! computed anew from its tokens. A device that is lost is opened again, and every job goes on from its tokens. Knows tokens, not text.

mod job;
mod pooling;
mod prefixes;
mod status;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::backend::{Backend, RuntimeConfig};
use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::logprobs::Logprobs;
use crate::sampler::no_token;
use crate::scheduler::{Event, Finish, Request, Scheduler};

pub use job::{Job, Refused, Sink, Update, Wants};
use pooling::Pool;
pub use pooling::Pooling;
use prefixes::{Kept, Place};
pub use status::{State, Status};

/// How often a device that was lost is opened again before the worker gives up, and the first pause between two tries.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);

/// How often a job may lose its device and go on.
const LIVES: u32 = 2;

/// What the worker computes with.
pub struct Opened {
    /// The backend.
    pub backend: Box<dyn Backend>,
    /// What was asked of it.
    pub plan: RuntimeConfig,
    /// How many tokens there are.
    pub vocab: usize,
    /// Tokens of a draft at most ([`Scheduler::look_up`]).
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
        let inner = Inner {
            receiver,
            capacity,
            status: status.clone(),
            give_up: give_up.clone(),
            waiting: VecDeque::new(),
            running: Vec::new(),
            kept: Kept::default(),
        };
        let thread = std::thread::Builder::new().name("worker".into()).spawn(move || inner.run(open));
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

/// A job that waits.
struct Waiting {
    job: Job,
    /// Tokens of the job that were sampled before it lost its slot.
    generated: usize,
    begun: bool,
    /// How often the device was lost while it was computed.
    lost: u32,
}

impl Waiting {
    fn new(job: Job) -> Waiting {
        Waiting { job, generated: 0, begun: false, lost: 0 }
    }
}

/// A job that has a slot.
struct Running {
    slot: u32,
    job: Job,
    /// Tokens of the sequence that were given, without those of `generated`.
    prompt: usize,
    logprobs: Option<Logprobs>,
    lost: u32,
    ended: bool,
}

impl Running {
    /// Tells the sink, and says whether the job goes on. A sink that panics ends its own job alone.
    fn tell(&mut self, update: Update) -> bool {
        tell(&mut self.job.sink, update) && !self.job.cancel.is_cancelled()
    }

    fn on_event(&mut self, event: Event) -> bool {
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
            Event::Failed(what) => {
                self.ended = true;
                self.tell(Update::Failed(Error::Other(what)))
            }
        }
    }
}

/// What the thread owns.
struct Inner {
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

impl Inner {
    fn run(mut self, mut open: Open) {
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

/// Calls a sink; false if it panics, which must not end others' jobs.
fn tell(sink: &mut Sink, update: Update) -> bool {
    catch_unwind(AssertUnwindSafe(|| sink(update))).is_ok()
}

/// A job as it waits for another slot: what it had so far becomes its prompt.
fn again(running: Running, scheduler: &Scheduler<'_>) -> Waiting {
    let Running { slot, mut job, prompt, lost, .. } = running;
    let tokens = scheduler.tokens(slot);
    let generated = tokens.len().saturating_sub(prompt);
    job.tokens.extend(tokens.get(prompt..).unwrap_or_default());
    Waiting { job, generated, begun: true, lost }
}
