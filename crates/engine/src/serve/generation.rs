//! Answers that are under way: what a worker computes becomes text, thoughts and calls, choice by choice.

use std::collections::VecDeque;
use std::sync::Arc;

use super::App;
use super::failure::Failure;
use super::jobs::{Jobs, Order};
use super::log::Entry;
use super::params::Params;
use super::served::Served;
use crate::chat::{CallFormat, Calls, End, Piece as ReplyPiece, Rendered, Reply, Said};
use crate::constraint::Constraint;
use crate::logprobs::Logprobs;
use crate::scheduler::Finish;
use crate::worker::{Update, Wants};

/// What is to be continued.
#[derive(Clone, Debug)]
pub struct Prompt {
    pub tokens: Vec<u32>,
    /// What a template made of a conversation; none where it is a text.
    pub rendered: Option<Rendered>,
    /// What the answer must keep to.
    pub constraint: Option<Constraint>,
}

/// Everything that is asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub prompts: Vec<Prompt>,
    pub params: Params,
    /// Where tools may be called: how that is written.
    pub calls: Option<CallFormat>,
    /// Ends behind the first call.
    pub one_call: bool,
    /// There must be a call.
    pub must_call: bool,
}

/// Something of a choice.
#[derive(Clone, Debug)]
pub enum Part {
    Reasoning(String),
    Text(String),
    /// The call with this number and id begins.
    Call {
        index: usize,
        id: String,
        name: String,
    },
    /// More of that call's arguments.
    Arguments {
        index: usize,
        text: String,
    },
    /// A token, how likely it was, and which were likely in its place: in front of what it adds.
    Logprob(TokenLogprob),
    /// The choice is whole.
    Finished(Reason),
}

/// How likely a token was.
#[derive(Clone, Debug)]
pub struct TokenLogprob {
    pub id: u32,
    pub logprob: f32,
    pub top: Vec<(u32, f32)>,
}

/// Why a choice ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// An end token.
    Stop,
    /// The stop string with this number.
    StopString(usize),
    /// As many tokens as were asked for, or as fit.
    Length,
    /// It called tools.
    Calls,
}

impl Reason {
    /// OpenAI's name.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Stop | Reason::StopString(_) => "stop",
            Reason::Length => "length",
            Reason::Calls => "tool_calls",
        }
    }
}

/// What was used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub prompt: usize,
    pub cached: usize,
    pub completion: usize,
    pub reasoning: usize,
}

/// The jobs of a request's answers.
pub struct Started {
    jobs: Jobs,
    /// What came while only the beginning was waited for.
    early: VecDeque<(usize, Update)>,
    wanted: Wanted,
    entry: Arc<Entry>,
}

impl Started {
    /// Hands the work to the worker.
    pub fn new(app: &App, served: &Served, wanted: Wanted, entry: &Arc<Entry>) -> Result<Started, Failure> {
        let choices = wanted.params.choices;
        let count = wanted.prompts.len() * choices;
        let capacity = app.worker.capacity();
        if count > capacity.running + capacity.waiting {
            let most = capacity.running + capacity.waiting;
            return Err(Failure::field(
                "n",
                format!("asks for {count} answers, and {most} are the most that wait"),
            ));
        }
        if let Some(prompt) = wanted.prompts.iter().find(|p| p.tokens.len() > served.context) {
            return Err(Failure::too_long(prompt.tokens.len(), served.context));
        }
        let vocab = served.tokenizer.vocab_size();
        if let Some((id, _)) = wanted.params.sampling.bias.iter().find(|(id, _)| *id as usize >= vocab) {
            let what = format!("is beyond the vocabulary, which has {vocab} tokens");
            return Err(Failure::field(format!("logit_bias.{id}"), what));
        }
        let order = |choice: usize| {
            let prompt = &wanted.prompts[choice / choices];
            let mut sampling = wanted.params.sampling.clone();
            sampling.seed = sampling.seed.wrapping_add((choice % choices) as u64);
            sampling.constraint = prompt.constraint.clone();
            if wanted.params.endless {
                sampling.banned = served.ends.iter().copied().collect();
            }
            let (tokens, limit) = (prompt.tokens.clone(), wanted.params.limit);
            Order { tokens, wants: Wants::Tokens, sampling, limit }
        };
        let jobs = Jobs::submit(app, served, (0..count).map(order))?;
        Ok(Started { jobs, early: VecDeque::new(), wanted, entry: entry.clone() })
    }

    /// Waits until the first job has a slot: from then on an answer can begin.
    pub async fn begun(&mut self) -> Result<(), Failure> {
        let update = self.receive().await?;
        if let (_, Update::Failed(error)) = update {
            return Err(error.into());
        }
        self.early.push_back(update);
        Ok(())
    }

    async fn receive(&mut self) -> Result<(usize, Update), Failure> {
        match self.early.pop_front() {
            Some(early) => Ok(early),
            None => self.jobs.receive().await,
        }
    }
}

/// One answer.
struct Choice<'s> {
    reply: Reply<'s>,
    calls: Calls,
    /// Calls that were begun.
    called: usize,
    done: bool,
}

/// The answers of a request.
pub struct Generation<'s> {
    served: &'s Served,
    started: Started,
    choices: Vec<Choice<'s>>,
    ready: VecDeque<(usize, Part)>,
    pub usage: Usage,
}

impl<'s> Generation<'s> {
    /// Reads what `started` brings.
    pub fn new(served: &'s Served, started: Started) -> Generation<'s> {
        let wanted = &started.wanted;
        let choice = |prompt: &Prompt| {
            let stops = &wanted.params.stops;
            let reply = match &prompt.rendered {
                Some(rendered) => Reply::new(&served.tokenizer, rendered, stops),
                None => Reply::continuing(&served.tokenizer, stops),
            };
            let marks = wanted.calls.map_or(&[][..], CallFormat::markup);
            Choice { reply: reply.with_marks(marks), calls: Calls::new(wanted.calls), called: 0, done: false }
        };
        let each = wanted.params.choices;
        let choices = wanted.prompts.iter().flat_map(|p| (0..each).map(move |_| p)).map(choice).collect();
        let prompt = wanted.prompts.iter().map(|p| p.tokens.len()).sum();
        let usage = Usage { prompt, ..Usage::default() };
        Generation { served, started, choices, ready: VecDeque::new(), usage }
    }

    /// The next part of any choice; none when all are whole.
    pub async fn next(&mut self) -> Result<Option<(usize, Part)>, Failure> {
        loop {
            if let Some(part) = self.ready.pop_front() {
                return Ok(Some(part));
            }
            if self.choices.iter().all(|choice| choice.done) {
                return Ok(None);
            }
            let (choice, update) = self.started.receive().await?;
            self.take(choice, update)?;
        }
    }

    fn take(&mut self, n: usize, update: Update) -> Result<(), Failure> {
        if self.choices[n].done {
            return Ok(());
        }
        match update {
            Update::Begun { cached } => {
                // Further choices find the prompt of the first.
                if n.is_multiple_of(self.started.wanted.params.choices) {
                    self.usage.cached += cached;
                }
                self.started.entry.begun(&self.usage);
            }
            Update::Token { id, logprobs } => self.token(n, id, logprobs),
            Update::Finished(finish) => {
                // The end token was computed like any other.
                self.usage.completion += usize::from(finish == Finish::Stopped);
                let reason = match finish {
                    Finish::Stopped | Finish::Complete => Reason::Stop,
                    Finish::Length | Finish::Context => Reason::Length,
                };
                self.finish(n, reason);
            }
            Update::Failed(error) => return Err(error.into()),
            // Nobody asked for one.
            Update::Vector(_) => {}
        }
        self.started.entry.used(&self.usage);
        Ok(())
    }

    fn token(&mut self, n: usize, id: u32, logprobs: Option<Logprobs>) {
        self.usage.completion += 1;
        self.started.entry.token();
        if let Some(Logprobs { chosen, top }) = logprobs {
            self.ready.push_back((n, Part::Logprob(TokenLogprob { id, logprob: chosen, top })));
        }
        let pieces = self.choices[n].reply.push(id);
        let reply = &self.choices[n].reply;
        self.usage.reasoning += usize::from(reply.text().is_empty() && !reply.thought().is_empty());
        self.pieces(n, pieces);
        let reply = &self.choices[n].reply;
        if reply.end() == Some(End::Text) {
            let stops = &self.started.wanted.params.stops;
            let found = stops.iter().position(|stop| Some(stop.as_str()) == reply.stop());
            self.finish(n, Reason::StopString(found.unwrap_or_default()));
        }
    }

    fn pieces(&mut self, n: usize, pieces: Vec<ReplyPiece>) {
        for piece in pieces {
            match piece {
                ReplyPiece::Thought(text) => self.ready.push_back((n, Part::Reasoning(text))),
                ReplyPiece::Text(text) => {
                    let said = self.choices[n].calls.push(&text);
                    self.said(n, said);
                }
            }
        }
    }

    fn said(&mut self, n: usize, said: Vec<Said>) {
        for said in said {
            let choice = &mut self.choices[n];
            if choice.done {
                return;
            }
            let part = match said {
                Said::Text(text) => Part::Text(text),
                Said::Call { name } => {
                    choice.called += 1;
                    // Mistral's templates take ids of nine characters alone.
                    let id = match self.started.wanted.calls {
                        Some(CallFormat::Mistral) => super::params::fresh_id("", 9),
                        _ => super::params::fresh_id("call_", 24),
                    };
                    Part::Call { index: choice.called - 1, id, name }
                }
                Said::Arguments(text) => Part::Arguments { index: choice.called.saturating_sub(1), text },
                Said::CallEnd if self.started.wanted.one_call => {
                    self.end(n, Reason::Calls);
                    continue;
                }
                Said::CallEnd => continue,
            };
            self.ready.push_back((n, part));
        }
    }

    /// Tells what was held back, and that the choice is whole.
    fn finish(&mut self, n: usize, reason: Reason) {
        let pieces = self.choices[n].reply.finish();
        self.pieces(n, pieces);
        let said = self.choices[n].calls.finish();
        // Where there must be a call, what is left is the beginning of one.
        if !self.started.wanted.must_call {
            self.said(n, said);
        }
        let called = self.choices[n].called > 0 && reason == Reason::Stop;
        self.end(n, if called { Reason::Calls } else { reason });
    }

    fn end(&mut self, n: usize, reason: Reason) {
        if !std::mem::replace(&mut self.choices[n].done, true) {
            self.started.jobs.cancel(n);
            self.ready.push_back((n, Part::Finished(reason)));
        }
    }

    /// The model.
    pub fn served(&self) -> &'s Served {
        self.served
    }
}
