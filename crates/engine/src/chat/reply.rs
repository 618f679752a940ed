//! What a model says, token by token: text and thoughts that can be shown, and where it ends.

use super::conversation::Message;
use super::harmony::{self, Harmony};
use super::rendered::Rendered;
use super::thinking::{self, Thinking};
use crate::stops::Stops;
use crate::tokenizer::{Stream, Tokenizer};

/// Something that can be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Of what the model thinks.
    Thought(String),
    /// Of its answer.
    Text(String),
}

/// Why a reply ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// An end token came.
    Token,
    /// A stop string came.
    Text,
}

/// A reply that comes token by token.
#[derive(Debug)]
pub struct Reply<'t> {
    tokenizer: &'t Tokenizer,
    stream: Stream<'t>,
    parts: Parts,
    stops: Stops,
    ids: Vec<u32>,
    thought: String,
    text: String,
    end: Option<End>,
    /// Texts of control tokens that count although they print nothing.
    marks: &'static [&'static str],
}

/// How thoughts are told from the answer.
#[derive(Debug)]
enum Parts {
    Marked(Thinking),
    Channels(Harmony),
}

impl<'t> Reply<'t> {
    /// The answer to a prompt, which ends at a token of the tokenizer or before one of `stops`.
    pub fn new(tokenizer: &'t Tokenizer, prompt: &Rendered, stops: &[String]) -> Reply<'t> {
        let prompt = prompt.text();
        let parts = match Harmony::behind(&prompt, tokenizer) {
            Some(harmony) => Parts::Channels(harmony),
            None => Parts::Marked(Thinking::behind(&prompt)),
        };
        Reply::with(tokenizer, parts, stops)
    }

    /// The continuation of a text, in which there are no thoughts.
    pub fn continuing(tokenizer: &'t Tokenizer, stops: &[String]) -> Reply<'t> {
        Reply::with(tokenizer, Parts::Marked(Thinking::none()), stops)
    }

    fn with(tokenizer: &'t Tokenizer, parts: Parts, stops: &[String]) -> Reply<'t> {
        Reply {
            tokenizer,
            stream: tokenizer.stream(),
            parts,
            stops: Stops::new(stops),
            ids: Vec::new(),
            thought: String::new(),
            text: String::new(),
            end: None,
            marks: &[],
        }
    }

    /// The same, with control tokens of these texts as part of the text: what calls of tools are marked with.
    pub fn with_marks(self, marks: &'static [&'static str]) -> Reply<'t> {
        Reply { marks, ..self }
    }

    /// Takes a token; the result is what can be shown now. What comes behind an end is dropped.
    pub fn push(&mut self, id: u32) -> Vec<Piece> {
        if self.end.is_some() {
            return Vec::new();
        }
        if self.tokenizer.is_end(id) {
            self.end = Some(End::Token);
            return Vec::new();
        }
        self.ids.push(id);
        let piece = match self.tokenizer.control_text(id).filter(|text| self.counts(text)) {
            Some(mark) => mark.to_owned(),
            None => self.stream.push(id),
        };
        let pieces = self.cut(&piece);
        self.take(pieces)
    }

    fn cut(&mut self, piece: &str) -> Vec<Piece> {
        match &mut self.parts {
            Parts::Marked(thinking) => thinking.push(piece),
            Parts::Channels(harmony) => harmony.push(piece),
        }
    }

    fn counts(&self, control: &str) -> bool {
        let of_parts = match self.parts {
            Parts::Marked(_) => thinking::is_mark(control),
            Parts::Channels(_) => harmony::MARKS.contains(&control),
        };
        of_parts || self.marks.contains(&control)
    }

    /// What was held back, when no more tokens come.
    pub fn finish(&mut self) -> Vec<Piece> {
        if self.end == Some(End::Text) {
            return Vec::new();
        }
        let rest = std::mem::replace(&mut self.stream, self.tokenizer.stream()).finish();
        let mut pieces = self.cut(&rest);
        pieces.extend(match &mut self.parts {
            Parts::Marked(thinking) => thinking.finish(),
            Parts::Channels(harmony) => harmony.finish(),
        });
        let mut shown = self.take(pieces);
        if self.end != Some(End::Text) {
            let held = self.stops.finish();
            if !held.is_empty() {
                self.text.push_str(&held);
                shown.push(Piece::Text(held));
            }
        }
        shown
    }

    /// Looks for stop strings in what is not thought.
    fn take(&mut self, pieces: Vec<Piece>) -> Vec<Piece> {
        let mut shown = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Thought(thought) => {
                    self.thought.push_str(&thought);
                    shown.push(Piece::Thought(thought));
                }
                Piece::Text(text) => {
                    let (text, stopped) = self.stops.push(&text);
                    if stopped {
                        self.end = Some(End::Text);
                    }
                    if !text.is_empty() {
                        self.text.push_str(&text);
                        shown.push(Piece::Text(text));
                    }
                    if stopped {
                        break;
                    }
                }
            }
        }
        shown
    }

    /// Whether and why it has ended by itself.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// The stop string that ended it.
    pub fn stop(&self) -> Option<&str> {
        self.stops.found()
    }

    /// The tokens, without the one that ended it.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The answer so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The thought so far.
    pub fn thought(&self) -> &str {
        &self.thought
    }

    /// The message that it is in a conversation; what was thought is beside the answer, for the template to leave out.
    pub fn message(&self) -> Message {
        let thought = self.thought.trim_end();
        let reasoning_content = (!thought.is_empty()).then(|| thought.to_owned());
        Message { reasoning_content, ..Message::assistant(&self.text) }
    }
}
