//! gpt-oss' way to answer: messages in channels, of which one is thoughts, one the answer, and one commentary, which may call functions.
//!
//! A message is `<|start|>assistant<|channel|>CHANNEL to=functions.NAME <|constrain|>json<|message|>CONTENT<|end|>`, where the prompt has
//! written the beginning; the receiver may stand in front of the channel. Calls are told on as text with one heading for both, which
//! [`super::Calls`] reads.

use super::call::CallFormat;
use super::reply::Piece;
use crate::tokenizer::Tokenizer;

/// The control tokens that messages are made of. They come as pieces of their own.
pub(super) const MARKS: &[&str] = &["<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|end|>"];

/// Cuts messages into thoughts, text and calls.
#[derive(Debug)]
pub(super) struct Harmony {
    place: Place,
    /// Whether there was text, from which more is kept apart.
    told: bool,
    /// Bytes of the heading that the prompt wrote.
    given: usize,
}

#[derive(Debug)]
enum Place {
    /// In front of a content: what was read of the heading.
    Heading(String),
    Thought,
    Text,
}

impl Harmony {
    /// Whether what follows `prompt` is in channels: the vocabulary has them, and the prompt speaks in them.
    pub fn is_spoken(prompt: &str, tokenizer: &Tokenizer) -> bool {
        let known = |mark: &&str| tokenizer.control_token(mark).is_some();
        prompt.contains("<|start|>") && MARKS.iter().all(known)
    }

    /// At the beginning of what follows `prompt`; none where that is not in channels.
    pub fn behind(prompt: &str, tokenizer: &Tokenizer) -> Option<Harmony> {
        if !Harmony::is_spoken(prompt, tokenizer) {
            return None;
        }
        let heading = prompt.rsplit("<|start|>").next().unwrap_or_default();
        let mut harmony = Harmony { place: Place::Heading(String::new()), told: false, given: 0 };
        match heading.split_once("<|message|>") {
            Some((heading, content)) if !content.contains("<|end|>") => {
                harmony.open(heading);
            }
            Some(_) => {}
            None => {
                harmony.given = heading.len();
                harmony.place = Place::Heading(heading.into());
            }
        }
        Some(harmony)
    }

    /// What is left at the end: of an answer that is in no channel, all of it.
    pub fn finish(&mut self) -> Option<Piece> {
        let Place::Heading(heading) = &mut self.place else { return None };
        let plain = !self.told && !heading.contains("<|channel|>") && heading.len() > self.given;
        plain.then(|| Piece::Text(heading.split_off(self.given)))
    }

    /// Takes a piece of text, or a mark, and hands out what is known of it.
    pub fn push(&mut self, piece: &str) -> Vec<Piece> {
        if piece.is_empty() {
            return Vec::new();
        }
        match (&mut self.place, piece) {
            (Place::Heading(heading), "<|message|>") => {
                let heading = std::mem::take(heading);
                self.open(&heading).into_iter().collect()
            }
            (_, "<|end|>" | "<|start|>") => {
                self.place = Place::Heading(String::new());
                Vec::new()
            }
            (Place::Heading(heading), _) => {
                heading.push_str(piece);
                Vec::new()
            }
            // A content without an end.
            (_, "<|channel|>") => {
                self.place = Place::Heading(piece.into());
                Vec::new()
            }
            (Place::Thought, _) => vec![Piece::Thought(piece.into())],
            (Place::Text, _) => {
                self.told = true;
                vec![Piece::Text(piece.into())]
            }
        }
    }

    /// Begins the content behind a heading.
    fn open(&mut self, heading: &str) -> Option<Piece> {
        let word = |behind: &str| {
            let rest = heading.split_once(behind)?.1;
            rest.split(|c: char| c.is_whitespace() || c == '<').next().filter(|word| !word.is_empty())
        };
        let function = word("to=").map(|to| to.strip_prefix("functions.").unwrap_or(to));
        match (word("<|channel|>"), function) {
            (Some("analysis"), None) => {
                self.place = Place::Thought;
                None
            }
            (_, Some(function)) => {
                self.place = Place::Text;
                let opening = CallFormat::Harmony.opening();
                Some(Piece::Text(format!("{opening}{function} <|constrain|>json<|message|>")))
            }
            _ => {
                self.place = Place::Text;
                // What is said in front of a call, and an answer behind it, are two texts.
                self.told.then(|| Piece::Text("\n\n".into()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Thoughts and texts of an answer, whose marks stand by themselves.
    fn cut(pieces: &[&str]) -> (String, String) {
        let mut harmony = Harmony { place: Place::Heading("assistant".into()), told: false, given: 9 };
        let (mut thought, mut text) = (String::new(), String::new());
        let mut all: Vec<Piece> = pieces.iter().flat_map(|piece| harmony.push(piece)).collect();
        all.extend(harmony.finish());
        for piece in all {
            match piece {
                Piece::Thought(piece) => thought += &piece,
                Piece::Text(piece) => text += &piece,
            }
        }
        (thought, text)
    }

    #[test]
    fn channels_are_thoughts_text_and_calls() {
        let call = "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{\"a\":1}";
        let cases: [(&[&str], &str, &str); 7] = [
            (&["<|channel|>", "final", "<|message|>", "Hel", "lo"], "", "Hello"),
            (
                &[
                    "<|channel|>",
                    "analy",
                    "sis",
                    "<|message|>",
                    "Hm",
                    ".",
                    "<|end|>",
                    "<|start|>",
                    "assistant",
                    "<|channel|>",
                    "final",
                    "<|message|>",
                    "Hello",
                ],
                "Hm.",
                "Hello",
            ),
            (
                &[
                    "<|channel|>",
                    "analysis",
                    "<|message|>",
                    "Hm.",
                    "<|end|>",
                    "<|start|>",
                    "assistant",
                    "<|channel|>",
                    "commentary to=functions.f ",
                    "<|constrain|>",
                    "json",
                    "<|message|>",
                    "{\"a\"",
                    ":1}",
                ],
                "Hm.",
                call,
            ),
            (&[" to=functions.f", "<|channel|>", "commentary json", "<|message|>", "{\"a\":1}"], "", call),
            (
                &[
                    "<|channel|>",
                    "commentary",
                    "<|message|>",
                    "First.",
                    "<|end|>",
                    "<|start|>",
                    "assistant",
                    "<|channel|>",
                    "final",
                    "<|message|>",
                    "Then.",
                ],
                "",
                "First.\n\nThen.",
            ),
            (&["<|channel|>", "analysis", "<|message|>", "never ends"], "never ends", ""),
            (&[" in no", " channel"], "", " in no channel"),
        ];
        for (pieces, thought, text) in cases {
            assert_eq!(cut(pieces), (thought.to_owned(), text.to_owned()), "{pieces:?}");
        }
    }
}
