//! Many sequences on one backend: which rows the next batch has, what was asked for ahead, and which pages a sequence has.
//!
//! A slot holds a sequence: the tokens that were given to it and those that were handed out. A request appends tokens and asks for more;
//! requests of several slots are computed together, and join and leave between batches. Knows tokens, not text. Everything here is
//! for one thread; whoever asks from others talks to that thread.
//!
//! Keys and values are those of positions: a sequence is shortened to any of them. Layers with states ([`crate::memory::MemoryKind`]) go
//! back to where a snapshot was taken, which is done in front of the last token of each prompt, and on request; what lies behind it is
//! computed again with whatever comes next.

mod memory;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rayon::iter::{ParallelBridge, ParallelIterator};

use crate::backend::{Backend, Limits, RuntimeConfig};
use crate::batch::{Batch, BatchRow, Input, Then, Ticket};
use crate::blocking::block_on;
use crate::constraint::{Constraint, Matcher, TokenMask};
use crate::error::{Error, Result};
use crate::logprobs::Logprobs;
use crate::memory::{Pages, Snapshots};
use crate::sampler::{self, NO_TOKEN, Sampling};

/// A batch of several steps should take no longer, so that text comes evenly and little is dropped at a stop.
const PACE: Duration = Duration::from_millis(16);

/// How a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// As many tokens as were asked for.
    Length,
    /// The context is full.
    Context,
    /// The caller broke off: an end token, a stop string, Ctrl-C.
    Stopped,
    /// The constraint lets nothing come behind it.
    Complete,
}

/// What happened in a slot.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// How likely the next token is, and what others are: in front of each token, where [`Sampling::logprobs`] asks for it.
    Logprobs(Logprobs),
    /// The next token of the sequence.
    Token(u32),
    /// The request is done; the slot takes another.
    Finished(Finish),
    /// Every logit was NaN, so that there is no next token ([`sampler::no_token`]); the slot takes another request.
    NoToken,
    /// The constraint cannot go on, and why; the slot takes another request.
    Failed(String),
}

/// What is appended to a sequence, and what is wanted behind it.
#[derive(Clone, Debug)]
pub struct Request {
    /// The tokens that are appended.
    pub tokens: Vec<u32>,
    /// How the following ones are chosen.
    pub sampling: Sampling,
    /// How many are wanted at most; as many as fit where there is no number.
    pub limit: Option<usize>,
}

/// A sequence.
#[derive(Default)]
struct Slot {
    open: bool,
    /// Given or handed out.
    tokens: Vec<u32>,
    /// Positions whose computation was submitted; fewer than there are tokens while some wait, more while some are not handed out.
    submitted: usize,
    /// Positions that are known to be computed.
    computed: usize,
    /// Positions after which the states stand where they do, with all that was submitted; none where nobody knows.
    states: Option<usize>,
    /// The request that is under way.
    active: Option<Active>,
    /// Counts the requests: what was computed for an earlier one is dropped.
    request: u64,
}

/// A request under way.
struct Active {
    sampling: Sampling,
    limit: usize,
    /// Tokens whose sampling was submitted, and those handed out.
    drawn: usize,
    handed: usize,
    /// Where the tokens that were generated begin.
    prompt: usize,
    /// Whether the backend knows how to sample for the slot.
    told: bool,
    /// Where the sequence stands in what it keeps to.
    matcher: Option<Box<dyn Matcher>>,
    /// Why that cannot go on.
    broken: Option<String>,
}

impl Active {
    /// The tokens that may come next; none where all may, or where that cannot be known.
    fn mask(&mut self) -> Option<TokenMask> {
        match self.matcher.as_mut()?.mask() {
            Ok(mask) => Some(mask),
            Err(error) => {
                self.broken = Some(error.to_string());
                None
            }
        }
    }
}

/// A batch in flight.
struct Flight {
    ticket: Ticket,
    /// The slot of each output, and the request that it was for.
    outputs: Vec<(u32, u64)>,
    /// The positions that are computed then, of each slot.
    reached: Vec<(u32, u64, usize)>,
    steps: usize,
    /// Whether its logits come back and are sampled from here.
    on_host: bool,
    /// Whether it appended nothing but what it sampled.
    decode: bool,
}

/// Slots over a backend.
pub struct Scheduler<'a> {
    backend: &'a mut dyn Backend,
    config: RuntimeConfig,
    vocab: usize,
    limits: Limits,
    slots: Vec<Slot>,
    pages: Pages,
    snapshots: Snapshots,
    flights: VecDeque<Flight>,
    /// Steps of the next batch of several, and when the last was collected.
    steps: usize,
    mark: Option<Instant>,
    /// The slot whose prompt is looked at first, so that none waits for ever.
    turn: usize,
}

impl<'a> Scheduler<'a> {
    /// No sequence yet; `config` is what the backend was made for, `vocab` the number of tokens that there are.
    pub fn new(backend: &'a mut dyn Backend, config: RuntimeConfig, vocab: usize) -> Scheduler<'a> {
        let limits = backend.limits();
        Scheduler {
            backend,
            config,
            vocab,
            limits,
            slots: (0..config.slots).map(|_| Slot::default()).collect(),
            pages: Pages::new(config.pages, config.slots),
            snapshots: Snapshots::new(limits.snapshots),
            flights: VecDeque::new(),
            steps: 1,
            mark: None,
            turn: 0,
        }
    }

    /// A slot for a new sequence; none while all are taken.
    pub fn open(&mut self) -> Option<u32> {
        let slot = self.slots.iter().position(|s| !s.open)?;
        self.slots[slot].open = true;
        Some(slot as u32)
    }

    /// Gives a slot and its pages back.
    pub fn close(&mut self, slot: u32) {
        self.truncate(slot, 0);
        self.slots[slot as usize].open = false;
    }

    /// The backend.
    pub fn backend(&mut self) -> &mut dyn Backend {
        self.backend
    }

    /// The tokens of a sequence: given or handed out.
    pub fn tokens(&self, slot: u32) -> &[u32] {
        &self.slots[slot as usize].tokens
    }

    /// Whether a request of any slot is under way.
    pub fn busy(&self) -> bool {
        self.slots.iter().any(|s| s.active.is_some())
    }

    /// Whether [`Scheduler::open`] would give a slot.
    pub fn has_closed(&self) -> bool {
        self.slots.iter().any(|s| !s.open)
    }

    /// Begins a request in a slot that has none under way.
    pub fn request(&mut self, slot: u32, request: Request) -> Result<()> {
        self.resume(slot, request, 0)
    }

    /// The same for a request that was begun elsewhere and broken off: the last `generated` of its tokens were sampled.
    pub fn resume(&mut self, slot: u32, request: Request, generated: usize) -> Result<()> {
        request.sampling.check()?;
        let s = &self.slots[slot as usize];
        self.fits(s.tokens.len(), &request.tokens)?;
        if s.tokens.len() + request.tokens.len() == 0 && request.limit != Some(0) {
            return Err(Error::Usage("the prompt is empty: there is nothing to continue".into()));
        }
        let s = &mut self.slots[slot as usize];
        s.tokens.extend(&request.tokens);
        s.request += 1;
        // The last token must be computed again where its logits are wanted and nothing was appended.
        let again = s.submitted == s.tokens.len() && request.limit != Some(0);
        let limit = request.limit.unwrap_or(usize::MAX);
        let prompt = s.tokens.len().saturating_sub(generated);
        let (sampling, mut broken) = (request.sampling, None);
        let mut matcher = sampling.constraint.as_ref().map(Constraint::start);
        if let Some(matcher) = &mut matcher {
            let taken = s.tokens[prompt..].iter().try_for_each(|&token| matcher.push(token));
            broken = taken.err().map(|error| error.to_string());
        }
        s.active =
            Some(Active { sampling, limit, drawn: 0, handed: 0, prompt, told: false, matcher, broken });
        if again {
            self.go_back(slot, self.slots[slot as usize].tokens.len() - 1);
        }
        Ok(())
    }

    fn fits(&self, held: usize, tokens: &[u32]) -> Result<()> {
        let (needed, context) = (held + tokens.len(), self.config.context);
        if needed > context {
            return Err(Error::Usage(format!(
                "{needed} tokens do not fit into a context of {context}; give a larger one with -c {needed}"
            )));
        }
        match tokens.iter().find(|&&id| id as usize >= self.vocab) {
            Some(id) => Err(Error::Usage(format!("token {id} is not in the vocabulary of {}", self.vocab))),
            None => Ok(()),
        }
    }

    /// Ends the request that is under way in a slot: what was computed ahead for it is dropped.
    pub fn stop(&mut self, slot: u32) {
        let s = &mut self.slots[slot as usize];
        s.active = None;
        s.request += 1;
        let position = s.submitted.min(s.tokens.len());
        self.go_back(slot, position);
    }

    /// [`Scheduler::advance_async`], on a thread that may wait.
    pub fn advance(&mut self, on_event: &mut dyn FnMut(u32, Event) -> bool) -> Result<()> {
        block_on(self.advance_async(on_event))
    }

    /// Computes on, and hands out what came of it: (slot, event). Returns when a batch was collected, or when nothing is under way.
    /// `on_event` says whether the slot goes on.
    pub async fn advance_async(&mut self, on_event: &mut dyn FnMut(u32, Event) -> bool) -> Result<()> {
        let result = self.try_advance(on_event).await;
        if result.is_err() {
            // What is not known to be computed will be computed again. The backend is rid of what is in flight only when it is collected;
            // whatever else went wrong there is behind the error that is told.
            for flight in self.flights.drain(..) {
                let _ = self.backend.collect_async(flight.ticket).await;
            }
            for slot in 0..self.slots.len() {
                let s = &mut self.slots[slot];
                s.submitted = s.computed;
                s.states = None;
                self.snapshots.forget(slot as u32, s.computed);
                self.stop(slot as u32);
            }
        }
        result
    }

    async fn try_advance(&mut self, on_event: &mut dyn FnMut(u32, Event) -> bool) -> Result<()> {
        if self.flights.is_empty() {
            self.mark = None;
        }
        while self.flights.len() < self.limits.ahead
            && let Some(flight) = self.submit()?
        {
            self.flights.push_back(flight);
        }
        let Some(flight) = self.flights.pop_front() else {
            return self.finish(on_event);
        };
        let collected = self.backend.collect_async(flight.ticket).await?;
        let now = Instant::now();
        if let Some(mark) = self.mark.filter(|_| flight.decode) {
            let each = (now - mark) / flight.steps as u32;
            let wanted = (PACE.as_nanos() / each.as_nanos().max(1)) as usize;
            // Encoding twice as many takes no longer than what is in flight.
            self.steps = wanted.clamp(1, self.limits.steps.min(2 * self.steps));
        }
        self.mark = Some(now);
        for (slot, request, reached) in flight.reached {
            let s = &mut self.slots[slot as usize];
            if s.request == request {
                s.computed = reached;
            }
        }
        if flight.on_host {
            for (&(slot, request), logits) in
                flight.outputs.iter().zip(collected.logits.chunks_exact(self.vocab))
            {
                if self.slots[slot as usize].request == request {
                    self.sample(slot, logits, on_event);
                }
            }
        }
        for (i, &token) in collected.tokens.iter().enumerate() {
            let (slot, request) = flight.outputs[i % flight.outputs.len()];
            if self.slots[slot as usize].request == request {
                self.hand_out(slot, token, on_event);
            }
        }
        self.finish(on_event)
    }

    /// Samples the next token of a slot from its logits, and hands it out.
    fn sample(&mut self, slot: u32, logits: &[f32], on_event: &mut dyn FnMut(u32, Event) -> bool) {
        let s = &mut self.slots[slot as usize];
        let Some(active) = &mut s.active else { return };
        // The device does not learn of it.
        active.told = false;
        let position = s.submitted as u32 - 1;
        let generated = s.tokens.get(active.prompt..).unwrap_or_default();
        let masked = active.mask().map(|mask| {
            let mut left = logits.to_vec();
            mask.apply(&mut left);
            left
        });
        let left = masked.as_deref().unwrap_or(logits);
        let token = sampler::sample_adjusted(left, &s.tokens, generated, &active.sampling, position);
        let token = token.unwrap_or(NO_TOKEN);
        if let Some(top) = active.sampling.logprobs
            && token != NO_TOKEN
        {
            on_event(slot, Event::Logprobs(Logprobs::of(logits, token, top as usize)));
        }
        self.hand_out(slot, token, on_event);
    }

    /// Appends a token to its sequence, and tells of it.
    fn hand_out(&mut self, slot: u32, token: u32, on_event: &mut dyn FnMut(u32, Event) -> bool) {
        let s = &mut self.slots[slot as usize];
        let Some(active) = &mut s.active else { return };
        let ended = if let Some(broken) = active.broken.take() {
            Event::Failed(broken)
        } else if token == NO_TOKEN {
            Event::NoToken
        } else {
            s.tokens.push(token);
            active.handed += 1;
            match on_event(slot, Event::Token(token)) {
                false => Event::Finished(Finish::Stopped),
                true => match active.matcher.as_mut().map(|matcher| (matcher.push(token), matcher)) {
                    Some((Err(error), _)) => Event::Failed(error.to_string()),
                    Some((Ok(()), matcher)) if matcher.is_complete() => Event::Finished(Finish::Complete),
                    _ => return,
                },
            }
        };
        self.stop(slot);
        on_event(slot, ended);
    }

    /// Tells of the requests that have all they can have.
    fn finish(&mut self, on_event: &mut dyn FnMut(u32, Event) -> bool) -> Result<()> {
        for slot in 0..self.slots.len() {
            let s = &self.slots[slot];
            let Some(active) = &s.active else { continue };
            let done = match active.limit {
                0 => s.computed >= s.tokens.len(),
                limit => active.handed >= limit,
            };
            let finish = if done {
                Finish::Length
            } else if s.tokens.len() > self.config.context && active.handed == active.drawn {
                Finish::Context
            } else {
                continue;
            };
            self.stop(slot as u32);
            on_event(slot as u32, Event::Finished(finish));
        }
        Ok(())
    }

    /// Submits the next batch, if there is anything to compute.
    fn submit(&mut self) -> Result<Option<Flight>> {
        let context = self.config.context;
        let decoding = |s: &&Slot| {
            let goes_on = |a: &Active| a.drawn > 0 && a.drawn < a.limit;
            s.active.as_ref().is_some_and(goes_on) && s.submitted < context
        };
        let count = self.slots.iter().filter(decoding).count();
        let waiting =
            |s: &Slot| s.active.as_ref().is_some_and(|a| a.drawn == 0) && s.submitted < s.tokens.len();
        let prompts = self.slots.iter().any(waiting);
        if count == 0 && !prompts {
            return Ok(None);
        }
        // What is sampled here must be known before anything behind it is computed.
        let sampled_here = |s: &Slot| s.active.as_ref().is_some_and(|a| a.sampling.is_for_host());
        let on_host = self.slots.iter().any(sampled_here);
        // So it is with what a mask depends on; only the logits stay where they are.
        let masked = |s: &Slot| s.active.as_ref().is_some_and(|a| a.matcher.is_some());
        let one_by_one = on_host || self.slots.iter().any(masked);
        if one_by_one && !self.flights.is_empty() {
            return Ok(None);
        }
        let steps = match prompts || one_by_one || count > self.limits.repeated {
            true => 1,
            false => {
                self.slots.iter().filter(decoding).map(|s| self.left(s)).min().unwrap_or(1).min(self.steps)
            }
        };
        let then = if on_host { Then::Logits } else { Then::Sample };
        let mut batch = Batch { rows: Vec::new(), outputs: Vec::new(), then, steps: steps as u32 };
        let mut flight = Flight {
            ticket: Ticket(0),
            outputs: Vec::new(),
            reached: Vec::new(),
            steps,
            on_host,
            decode: !prompts,
        };
        let slots: Vec<usize> = (0..self.slots.len()).map(|i| (self.turn + i) % self.slots.len()).collect();
        for &slot in &slots {
            if decoding(&&self.slots[slot])
                && batch.rows.len() < self.limits.rows
                && batch.outputs.len() < self.limits.outputs
            {
                self.add_decode(slot as u32, steps, &mut batch, &mut flight)?;
            }
        }
        for &slot in &slots {
            if waiting(&self.slots[slot])
                && batch.rows.len() < self.limits.rows
                && batch.outputs.len() < self.limits.outputs
            {
                self.add_prompt(slot as u32, &mut batch, &mut flight)?;
            }
        }
        self.turn = (self.turn + 1) % self.slots.len();
        let masked = |&(slot, _): &(u32, u64)| masked(&self.slots[slot as usize]);
        if then == Then::Sample && flight.outputs.iter().any(masked) {
            batch.then = Then::SampleMasked;
        }
        flight.ticket = self.backend.submit(&batch)?;
        if batch.then == Then::SampleMasked {
            let masks = self.masks(&flight.outputs);
            self.backend.sample(&flight.ticket, &masks)?;
        }
        Ok(Some(flight))
    }

    /// The masks of those slots of a batch's outputs that have any, found while the backend computes.
    fn masks(&mut self, outputs: &[(u32, u64)]) -> Vec<(u32, TokenMask)> {
        let sampled = |(slot, _): &(u32, &mut Slot)| outputs.iter().any(|(of, _)| of == slot);
        let slots = (0..).zip(&mut self.slots).filter(sampled);
        slots.par_bridge().filter_map(|(slot, s)| Some((slot, s.active.as_mut()?.mask()?))).collect()
    }

    /// Steps that a slot may still take.
    fn left(&self, s: &Slot) -> usize {
        let wanted = s.active.as_ref().map_or(0, |a| a.limit - a.drawn);
        wanted.min(self.config.context - s.submitted)
    }

    fn add_decode(&mut self, slot: u32, steps: usize, batch: &mut Batch, flight: &mut Flight) -> Result<()> {
        let from = self.slots[slot as usize].submitted;
        self.room(slot, from..from + steps)?;
        let s = &mut self.slots[slot as usize];
        let Some(active) = &mut s.active else { return Ok(()) };
        if !active.told && !flight.on_host {
            self.backend.set_slot(slot, &active.sampling, &s.tokens)?;
            active.told = true;
        }
        let input = s.tokens.get(from).map_or(Input::LastSampled, |&token| Input::Token(token));
        batch.outputs.push(batch.rows.len() as u32);
        batch.rows.push(BatchRow { input, slot, position: from as u32 });
        active.drawn += steps;
        s.submitted += steps;
        s.states = Some(s.submitted);
        flight.outputs.push((slot, s.request));
        flight.reached.push((slot, s.request, s.submitted));
        Ok(())
    }

    fn add_prompt(&mut self, slot: u32, batch: &mut Batch, flight: &mut Flight) -> Result<()> {
        self.rewind(slot)?;
        let s = &self.slots[slot as usize];
        let from = s.submitted;
        let mut to = s.tokens.len().min(from + self.limits.rows - batch.rows.len());
        // States are kept in front of a prompt's last token, which is computed again where it is asked once more.
        let last = s.tokens.len() - 1;
        if self.limits.snapshots > 0 && s.active.as_ref().is_some_and(|a| a.limit > 0) {
            if from == last {
                self.save(slot, last)?;
            } else if to > last {
                to = last;
            }
        }
        self.room(slot, from..to)?;
        let s = &mut self.slots[slot as usize];
        let Some(active) = &mut s.active else { return Ok(()) };
        for (i, &token) in s.tokens[from..to].iter().enumerate() {
            batch.rows.push(BatchRow { input: Input::Token(token), slot, position: (from + i) as u32 });
        }
        (s.submitted, s.states) = (to, Some(to));
        flight.reached.push((slot, s.request, to));
        if to == s.tokens.len() && active.limit > 0 {
            if !active.told && !flight.on_host {
                self.backend.set_slot(slot, &active.sampling, &s.tokens)?;
                active.told = true;
            }
            active.drawn = 1;
            batch.outputs.push(batch.rows.len() as u32 - 1);
            flight.outputs.push((slot, s.request));
        }
        Ok(())
    }

    /// [`Scheduler::logits_async`], on a thread that may wait.
    pub fn logits(&mut self, slot: u32, tokens: &[u32], on_rows: &mut dyn FnMut(&[f32])) -> Result<()> {
        block_on(self.logits_async(slot, tokens, on_rows))
    }

    /// Appends `tokens` to an idle slot and hands out the logits of each, row by row, as `[rows][vocabulary]`.
    pub async fn logits_async(
        &mut self,
        slot: u32,
        tokens: &[u32],
        on_rows: &mut dyn FnMut(&[f32]),
    ) -> Result<()> {
        let held = self.slots[slot as usize].tokens.len();
        self.fits(held, tokens)?;
        self.slots[slot as usize].tokens.extend(tokens);
        self.rewind(slot)?;
        let from = self.slots[slot as usize].submitted;
        let most = self.limits.rows.min(self.limits.outputs).max(1);
        let all = self.slots[slot as usize].tokens.clone();
        for start in (from..all.len()).step_by(most) {
            let end = all.len().min(start + most);
            self.room(slot, start..end)?;
            let row = |p: usize| BatchRow { input: Input::Token(all[p]), slot, position: p as u32 };
            let batch = Batch {
                rows: (start..end).map(row).collect(),
                outputs: (held.max(start).min(end)..end).map(|p| (p - start) as u32).collect(),
                then: Then::Logits,
                steps: 1,
            };
            let ticket = self.backend.submit(&batch)?;
            on_rows(&self.backend.collect_async(ticket).await?.logits);
            let s = &mut self.slots[slot as usize];
            (s.submitted, s.computed, s.states) = (end, end, Some(end));
        }
        Ok(())
    }
}
