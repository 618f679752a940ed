//! Many sequences on one backend: which rows the next batch has, what was asked for ahead, and which pages a sequence has.
//!
//! A slot holds a sequence: the tokens that were given to it and those that were handed out. A request appends tokens and asks for more;
//! requests of several slots are computed together, and join and leave between batches. Knows tokens, not text. Everything here is
//! for one thread; whoever asks from others talks to that thread.
//!
//! Keys and values are those of positions: a sequence is shortened to any of them. Layers with states ([`crate::memory::MemoryKind`]) go
//! back to where a snapshot was taken, which is done in front of the last token of each prompt, and on request; what lies behind it is
//! computed again with whatever comes next.
//!
//! Drafts ([`crate::lookup`]) are rows behind a sequence's last token. A token is sampled behind each; what was sampled behind a draft counts
//! where the draft is what the sequence then has. Noise is keyed by the position, so that these are the tokens that come one by one.

mod batching;
mod logits;
mod memory;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::backend::{Backend, Limits, RuntimeConfig};
use crate::batch::Ticket;
use crate::blocking::block_on;
use crate::constraint::{Constraint, Matcher, TokenMask};
use crate::error::{Error, Result};
use crate::logprobs::Logprobs;
use crate::lookup::{self, Drafts, Lookup};
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
    Failed(Error),
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
    /// Where its tokens stand, for drafts.
    lookup: Lookup,
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
    broken: Option<Error>,
}

impl Active {
    /// The tokens that may come next; none where all may, or where that cannot be known.
    fn mask(&mut self) -> Option<TokenMask> {
        match self.matcher.as_mut()?.mask() {
            Ok(mask) => Some(mask),
            Err(error) => {
                self.broken = Some(error);
                None
            }
        }
    }
}

/// A row whose next token is sampled.
#[derive(Clone, Copy)]
struct Output {
    slot: u32,
    /// What it was for.
    request: u64,
    /// The row's own position and token where these are drafted.
    draft: Option<(usize, u32)>,
}

/// A batch in flight.
struct Flight {
    ticket: Ticket,
    outputs: Vec<Output>,
    /// The positions that are computed then, of each slot.
    reached: Vec<(u32, u64, usize)>,
    steps: usize,
    /// Whether its logits come back and are sampled from here.
    on_host: bool,
    /// Whether it appended nothing but what it sampled.
    decode: bool,
    /// Whether it is computed up to its logits and waits for masks.
    held: bool,
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
    /// Tokens of a draft at most, and what came of all drafts.
    lookup: usize,
    drafts: Drafts,
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
            lookup: 0,
            drafts: Drafts::default(),
            steps: 1,
            mark: None,
            turn: 0,
        }
    }

    /// Drafts up to `most` tokens of each sequence from now on ([`crate::lookup`]); 0 drafts none. In f32 tokens are the same with and without.
    ///
    /// # Errors
    /// [`Error::Usage`] where layers have states, which do not go back behind a draft that was wrong.
    pub fn look_up(&mut self, most: usize) -> Result<()> {
        if most > 0 && self.limits.snapshots > 0 {
            return Err(lookup::has_states("this model"));
        }
        self.lookup = most.min(lookup::MOST);
        Ok(())
    }

    /// What came of all drafts so far.
    pub fn drafts(&self) -> Drafts {
        self.drafts
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
            broken = taken.err();
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
            self.sample_held()?;
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
            for (&output, logits) in flight.outputs.iter().zip(collected.logits.chunks_exact(self.vocab)) {
                if self.counts(output) {
                    self.sample(output.slot, logits, on_event);
                }
            }
        }
        for (i, &token) in collected.tokens.iter().enumerate() {
            let output = flight.outputs[i % flight.outputs.len()];
            if self.counts(output) {
                self.hand_out(output.slot, token, on_event);
            }
        }
        self.sample_held()?;
        self.finish(on_event)
    }

    /// Whether what was sampled behind a row is what comes next of its sequence: the request goes on, and the row was no draft that is wrong.
    fn counts(&mut self, output: Output) -> bool {
        let s = &mut self.slots[output.slot as usize];
        let Some(active) = s.active.as_mut().filter(|_| s.request == output.request) else { return false };
        let Some((position, token)) = output.draft else { return true };
        if s.tokens.get(position) != Some(&token) {
            return false;
        }
        (s.submitted, s.computed) = (position + 1, position + 1);
        active.drawn += 1;
        s.lookup.accept();
        self.drafts.accepted += 1;
        true
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
                    Some((Err(error), _)) => Event::Failed(error),
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
}
