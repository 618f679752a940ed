//! What a model thinks before it answers, kept apart from the answer: models mark it in a few ways.

use super::reply::Piece;
use crate::stops;

/// How a model marks what it thinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Begins a thought.
    pub open: &'static str,
    /// Ends it.
    pub close: &'static str,
}

/// The ways that are known.
pub const MARKS: &[Marks] = &[
    // Qwen 3, DeepSeek R1, SmolLM3, GLM 4.5, and most others.
    Marks { open: "<think>", close: "</think>" },
    // Magistral.
    Marks { open: "[THINK]", close: "[/THINK]" },
    // Command A.
    Marks { open: "<|START_THINKING|>", close: "<|END_THINKING|>" },
    // Seed-OSS.
    Marks { open: "<seed:think>", close: "</seed:think>" },
];

/// The marks of the thought that may stand between `prompt` and an answer by this template, and whether the prompt has begun it.
pub fn ahead(prompt: &str, template: &str) -> Option<(Marks, bool)> {
    let prompt = prompt.trim_end();
    if let Some(&marks) = MARKS.iter().find(|marks| prompt.ends_with(marks.open)) {
        return Some((marks, true));
    }
    let thought = MARKS.iter().any(|marks| prompt.ends_with(marks.close));
    let marks = MARKS.iter().find(|marks| template.contains(marks.open)).filter(|_| !thought)?;
    Some((*marks, false))
}

/// Whether this is a mark of a thought, which counts even where it is a token that prints nothing.
pub(super) fn is_mark(text: &str) -> bool {
    MARKS.iter().any(|marks| text == marks.open || text == marks.close)
}

/// Cuts a text that comes in pieces into a thought and what follows. A thought stands at the beginning or nowhere: further on, marks are text.
#[derive(Debug)]
pub(super) struct Thinking {
    place: Place,
    /// What cannot be told apart yet.
    held: String,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// Nothing but white space has come.
    Start,
    /// In a thought: where its first line and its end are.
    Thought { marks: Marks, begun: bool },
    /// Behind a thought, where white space is left out.
    Behind,
    /// In the answer.
    Text,
}

impl Thinking {
    /// At the beginning of what follows `prompt`, which may have opened a thought.
    pub fn behind(prompt: &str) -> Thinking {
        let open = MARKS.iter().find(|marks| prompt.trim_end().ends_with(marks.open));
        let place = open.map_or(Place::Start, |&marks| Place::Thought { marks, begun: false });
        Thinking { place, held: String::new() }
    }

    /// Of a text without thoughts.
    pub fn none() -> Thinking {
        Thinking { place: Place::Text, held: String::new() }
    }

    /// Takes a piece of text and hands out what is known of it.
    pub fn push(&mut self, piece: &str) -> Vec<Piece> {
        self.held.push_str(piece);
        let mut pieces = Vec::new();
        loop {
            match self.place {
                Place::Start => {
                    let begin = self.held.trim_start();
                    if let Some(&marks) = MARKS.iter().find(|marks| begin.starts_with(marks.open)) {
                        self.held = begin[marks.open.len()..].into();
                        self.place = Place::Thought { marks, begun: false };
                        continue;
                    }
                    if MARKS.iter().any(|marks| marks.open.starts_with(begin)) {
                        return pieces;
                    }
                    self.place = Place::Text;
                }
                Place::Thought { marks, begun } => {
                    if !begun {
                        self.held = self.held.trim_start().into();
                    }
                    let end = self.held.find(marks.close);
                    let known = end.unwrap_or_else(|| {
                        self.held.len() - stops::longest_beginning(&self.held, marks.close)
                    });
                    let rest = self.held.split_off(known);
                    let thought = std::mem::replace(&mut self.held, rest);
                    self.place = Place::Thought { marks, begun: begun || !thought.is_empty() };
                    if !thought.is_empty() {
                        pieces.push(Piece::Thought(thought));
                    }
                    if end.is_none() {
                        return pieces;
                    }
                    self.held.drain(..marks.close.len());
                    self.place = Place::Behind;
                }
                Place::Behind => {
                    self.held = self.held.trim_start().into();
                    if self.held.is_empty() {
                        return pieces;
                    }
                    self.place = Place::Text;
                }
                Place::Text => {
                    if !self.held.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut self.held)));
                    }
                    return pieces;
                }
            }
        }
    }

    /// What was held back, at the end of everything.
    pub fn finish(&mut self) -> Option<Piece> {
        let held = std::mem::take(&mut self.held);
        match self.place {
            _ if held.is_empty() => None,
            Place::Thought { .. } => Some(Piece::Thought(held)),
            _ => Some(Piece::Text(held)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Thought and text of an answer that comes in pieces of so many bytes.
    fn cut(prompt: &str, answer: &str, size: usize) -> (String, String) {
        let mut thinking = Thinking::behind(prompt);
        let (mut thought, mut text) = (String::new(), String::new());
        let mut take = |piece: Piece| match piece {
            Piece::Thought(piece) => thought.push_str(&piece),
            Piece::Text(piece) => text.push_str(&piece),
        };
        for piece in answer.as_bytes().chunks(size) {
            thinking.push(std::str::from_utf8(piece).unwrap()).into_iter().for_each(&mut take);
        }
        thinking.finish().into_iter().for_each(&mut take);
        (thought, text)
    }

    #[test]
    fn a_thought_is_told_from_the_answer_however_it_is_cut() {
        let cases = [
            ("", "Hello", "", "Hello"),
            ("", "\n<think>\nIt is so.\n</think>\n\nHello", "It is so.\n", "Hello"),
            ("assistant\n<think>\n", "It is so.</think>Hello", "It is so.", "Hello"),
            ("assistant\n<think>\n\n</think>\n\n", "Hello", "", "Hello"),
            ("", "[THINK]a</think>b[/THINK]c", "a</think>b", "c"),
            ("", "<think>never ends </thin", "never ends </thin", ""),
            ("", "So <think>is text</think>", "", "So <think>is text</think>"),
            ("", "  <thing>", "", "  <thing>"),
            ("", " \n", "", " \n"),
            ("", "<think></think>", "", ""),
            ("", "<thi", "", "<thi"),
        ];
        for (prompt, answer, thought, text) in cases {
            for size in [1, 2, 3, 7, 100] {
                let expected = (thought.to_owned(), text.to_owned());
                assert_eq!(cut(prompt, answer, size), expected, "{answer:?} in pieces of {size}");
            }
        }
    }
}
