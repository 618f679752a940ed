//! A conversation that goes on in a sequence of its own: what is said next is appended to what is computed already.

use std::ops::ControlFlow;

use super::conversation::{Content, Conversation, Message};
use super::rendered::Rendered;
use super::reply::{End, Piece, Reply};
use super::template::{ChatTemplate, Options};
use crate::error::{Error, Result};
use crate::sampler::Sampling;
use crate::session::{Finish, Session, Timings};
use crate::tokenizer::Tokenizer;

/// What happens at the end of the context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The answer ends there, and a prompt that does not fit is an error.
    #[default]
    Stop,
    /// The oldest turns are left out; the system prompt and the newest turns stay whole.
    Shift,
}

/// How to answer.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// How many at most.
    pub limit: Option<usize>,
    /// Texts before which the answer ends.
    pub stops: Vec<String>,
    /// What happens at the end of the context.
    pub overflow: Overflow,
}

/// What was answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The message, as it stands in the conversation.
    pub message: Message,
    /// Its tokens, without the one that ended it.
    pub ids: Vec<u32>,
    /// How it ended.
    pub finish: Finish,
    /// What ended it, if it ended by itself.
    pub end: Option<End>,
    /// What it took.
    pub timings: Timings,
}

/// A conversation, and how it is put to a model.
#[derive(Debug)]
pub struct Dialog<'m> {
    template: &'m ChatTemplate,
    tokenizer: &'m Tokenizer,
    /// All of it, also what does not fit into the context any more.
    pub conversation: Conversation,
    /// How it is rendered.
    pub options: Options,
    /// Turns at the beginning that the model is not given.
    left_out: usize,
}

impl<'m> Dialog<'m> {
    /// A conversation with the model that the template and the tokenizer are of.
    pub fn new(
        template: &'m ChatTemplate,
        tokenizer: &'m Tokenizer,
        conversation: Conversation,
    ) -> Dialog<'m> {
        let options = Options { add_generation_prompt: true, ..Options::default() };
        Dialog { template, tokenizer, conversation, options, left_out: 0 }
    }

    /// Turns at the beginning that the model is not given, because they do not fit.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Begins again with another conversation.
    pub fn restart(&mut self, conversation: Conversation) {
        (self.conversation, self.left_out) = (conversation, 0);
    }

    /// What the model is given next.
    pub fn prompt(&self) -> Result<Rendered> {
        let newest = self.conversation.without_turns(self.left_out);
        self.template.render(newest.as_ref().unwrap_or(&self.conversation), &self.options)
    }

    /// Lets the model answer in `session`, which computes only what it does not hold yet; the answer is appended to the conversation. `show`
    /// says whether to go on.
    ///
    /// # Errors
    /// What the template says of a conversation that it does not take; that it does not fit into the context; what goes wrong in the backend. The
    /// conversation is then as it was.
    pub fn answer(
        &mut self,
        session: &mut Session<'_>,
        asked: &Asked,
        show: &mut dyn FnMut(Piece) -> ControlFlow<()>,
    ) -> Result<Answer> {
        self.left_out = self.left_out.min(self.conversation.turns().saturating_sub(1));
        let (mut prompt, rendered) = self.fitting(session.context(), 0, asked.overflow)?;
        let mut reply = Reply::new(self.tokenizer, &rendered, &asked.stops);
        let mut timings = Timings::default();
        let finish = loop {
            let limit = asked.limit.map(|limit| limit - reply.ids().len());
            let (finish, took) = session.answer(&prompt, &asked.sampling, limit, &mut |id| {
                let mut flow = ControlFlow::Continue(());
                for piece in reply.push(id) {
                    if show(piece).is_break() {
                        flow = ControlFlow::Break(());
                    }
                }
                if reply.end().is_some() { ControlFlow::Break(()) } else { flow }
            })?;
            timings = if timings.prompt_tokens == 0 { took } else { timings.and_then(&took) };
            // What keeps to a constraint cannot begin it again in its middle.
            let shifts = asked.overflow == Overflow::Shift && asked.sampling.constraint.is_none();
            let full = finish == Finish::Context && shifts;
            if !full || asked.limit.is_some_and(|limit| reply.ids().len() >= limit) || !self.leave_out() {
                break finish;
            }
            // The answer goes on behind the turns that are left.
            match self.fitting(session.context(), reply.ids().len(), asked.overflow) {
                Ok((shorter, _)) => prompt = [&shorter, reply.ids()].concat(),
                Err(_) => break finish,
            }
        };
        for piece in reply.finish() {
            let _ = show(piece);
        }
        let message = self.as_computed(session.tokens(), reply.message());
        self.conversation.messages.push(message.clone());
        Ok(Answer { message, ids: reply.ids().to_vec(), finish, end: reply.end(), timings })
    }

    /// The message without the white space in front of it, where the template writes that itself: then the next prompt goes on from what is computed.
    fn as_computed(&self, computed: &[u32], message: Message) -> Message {
        let text = message.content.as_ref().and_then(Content::plain).unwrap_or_default();
        if !text.starts_with(char::is_whitespace) {
            return message;
        }
        let trimmed = Message { content: Some(Content::Text(text.trim_start().into())), ..message.clone() };
        let shared = |message: &Message| {
            let mut next =
                self.conversation.without_turns(self.left_out).unwrap_or_else(|| self.conversation.clone());
            next.messages.push(message.clone());
            let rendered = self.template.render(&next, &self.options);
            let ids = rendered.and_then(|rendered| rendered.encode(self.tokenizer)).unwrap_or_default();
            ids.iter().zip(computed).take_while(|(a, b)| a == b).count()
        };
        if shared(&trimmed) > shared(&message) { trimmed } else { message }
    }

    /// The prompt, after as many turns were left out as is needed for `more` tokens to fit behind it.
    fn fitting(&mut self, context: usize, more: usize, overflow: Overflow) -> Result<(Vec<u32>, Rendered)> {
        let mut most = context;
        loop {
            let rendered = self.prompt()?;
            let ids = rendered.encode(self.tokenizer)?;
            let needed = ids.len() + more;
            if needed < most {
                return Ok((ids, rendered));
            }
            if overflow == Overflow::Shift && self.leave_out() {
                // Whoever leaves out leaves out enough to answer for a while.
                most = context - context / 4;
                continue;
            }
            if needed < context {
                return Ok((ids, rendered));
            }
            return Err(Error::Usage(format!(
                "the conversation has {needed} tokens, and the context {context} positions; begin another, give a larger \
                 context with -c, or leave the oldest turns out with --overflow shift"
            )));
        }
    }

    /// Leaves one more turn out; not the last one.
    fn leave_out(&mut self) -> bool {
        let more = self.left_out + 1 < self.conversation.turns();
        self.left_out += usize::from(more);
        more
    }
}
