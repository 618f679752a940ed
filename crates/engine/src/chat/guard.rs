//! Keeps what people wrote apart from special tokens: their text may spell `<|im_end|>`, and it stays text.
//!
//! A mark, a character that nobody used, goes into every special token that people's text spells and to the edges that
//! could become one together with what a template writes beside them. It survives trimming, cutting and joining. Special
//! tokens are looked for while the marks are there, and text is encoded once they are gone.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::tokenizer::Tokenizer;

/// What templates compare, look up, and make special tokens of by themselves, as in `'<|' + message.role + '|>'`.
const PROTOCOL: &[&str] = &[
    // Roles.
    "system",
    "developer",
    "user",
    "assistant",
    "model",
    "tool",
    "function",
    "ipython",
    "tool_response",
    "tool_results",
    "environment",
    "documents",
    "context",
    // Keys of messages, calls, tools and documents.
    "role",
    "content",
    "reasoning_content",
    "reasoning",
    "thinking",
    "tool_calls",
    "tool_call_id",
    "name",
    "id",
    "type",
    "text",
    "image",
    "image_url",
    "video",
    "audio",
    "url",
    "title",
    "doc_id",
    "arguments",
    // JSON schemas.
    "description",
    "parameters",
    "properties",
    "required",
    "items",
    "enum",
    "default",
    "format",
    "return",
    "returns",
    "response",
    "anyOf",
    "oneOf",
    "allOf",
    "additionalProperties",
    "nullable",
    "const",
    "examples",
    "minimum",
    "maximum",
    "string",
    "number",
    "integer",
    "boolean",
    "object",
    "array",
    "null",
    "any",
];

/// Stands between special tokens where they are searched as one text.
const BETWEEN: char = '\u{FFFF}';

/// The special tokens of a vocabulary, ready to be looked for. Cases are folded (ASCII): a filter may change them.
#[derive(Debug)]
pub(super) struct Guard {
    tokens: HashSet<Box<str>>,
    /// The lengths of tokens in bytes, long ones first.
    lengths: Vec<usize>,
    /// Whether a token starts or ends with this byte.
    starts: [bool; 256],
    ends: [bool; 256],
    /// All tokens, each between two [`BETWEEN`].
    joined: String,
    /// Tokens of one character, which no mark can cut.
    single: Vec<char>,
}

/// The characters that one rendering uses, which nothing else in it contains.
#[derive(Clone, Debug)]
pub(super) struct Marks {
    mark: char,
    /// A token of one character, and what stands for it.
    single: Vec<(char, char)>,
}

impl Guard {
    pub fn new(tokenizer: &Tokenizer) -> Guard {
        let mut guard = Guard {
            tokens: HashSet::new(),
            lengths: Vec::new(),
            starts: [false; 256],
            ends: [false; 256],
            joined: BETWEEN.into(),
            single: Vec::new(),
        };
        for token in tokenizer.control_tokens() {
            guard.add(token);
        }
        guard.lengths.sort_unstable_by(|a, b| b.cmp(a));
        guard.lengths.dedup();
        guard
    }

    fn add(&mut self, token: &str) {
        let folded = token.to_ascii_lowercase();
        let (Some(&first), Some(&last)) = (folded.as_bytes().first(), folded.as_bytes().last()) else {
            return;
        };
        self.joined.push_str(&folded);
        self.joined.push(BETWEEN);
        let mut chars = token.chars();
        if let (Some(single), None) = (chars.next(), chars.next()) {
            self.single.push(single);
            return;
        }
        self.starts[first as usize] = true;
        self.ends[last as usize] = true;
        self.lengths.push(folded.len());
        self.tokens.insert(folded.into());
    }

    /// Marks for these values: characters that are neither in them, nor in the template, nor in a token.
    pub fn marks<'v>(&self, values: impl Iterator<Item = &'v Value>, template: &str) -> Result<Marks> {
        let mut used: HashSet<char> =
            self.joined.chars().chain(template.chars()).filter(|&c| free(c)).collect();
        for value in values {
            each_text(value, &mut |text| used.extend(text.chars().filter(|&c| free(c))));
        }
        let mut unused =
            ('\u{FDD0}'..='\u{FDEF}').chain('\u{F0000}'..='\u{10FFFF}').filter(|c| !used.contains(c));
        let mut next = || {
            unused.next().ok_or_else(|| {
                Error::Usage(
                    "the conversation uses every character that Unicode keeps for private use".into(),
                )
            })
        };
        let mark = next()?;
        let single = self.single.iter().map(|&c| Ok((c, next()?))).collect::<Result<_>>()?;
        Ok(Marks { mark, single })
    }

    /// The value with marks in all its texts and keys.
    pub fn protect(&self, value: Value, marks: &Marks) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text, marks)),
            Value::Array(items) => items.into_iter().map(|item| self.protect(item, marks)).collect(),
            Value::Object(map) => {
                let entry = |(key, value)| (self.text(key, marks), self.protect(value, marks));
                Value::Object(map.into_iter().map(entry).collect::<Map<_, _>>())
            }
            other => other,
        }
    }

    fn text(&self, text: String, marks: &Marks) -> String {
        if PROTOCOL.contains(&&*text) {
            return text;
        }
        let cuts = self.cuts(&text.to_ascii_lowercase());
        if cuts.is_empty() && !text.contains(|c| self.single.contains(&c)) {
            return text;
        }
        let mut marked = String::with_capacity(text.len() + cuts.len() * marks.mark.len_utf8());
        let mut at = 0;
        for cut in cuts {
            marked.extend(text[at..cut].chars().map(|c| marks.stand_in(c)));
            marked.push(marks.mark);
            at = cut;
        }
        marked.extend(text[at..].chars().map(|c| marks.stand_in(c)));
        marked
    }

    /// Where marks go, in bytes, rising.
    fn cuts(&self, text: &str) -> Vec<usize> {
        let mut cuts = Vec::new();
        for (at, c) in text.char_indices() {
            let spelt = |&length: &usize| text.get(at..at + length).is_some_and(|t| self.tokens.contains(t));
            if self.starts[text.as_bytes()[at] as usize] && self.lengths.iter().any(spelt) {
                cuts.push(at + c.len_utf8());
            }
        }
        let longest = self.lengths.first().copied().unwrap_or(0);
        let begin = text.len() - text.trim_start().len();
        let end = text.trim_end().len().max(begin);
        for whole in [0..text.len(), begin..end] {
            let text = &text[whole.clone()];
            if text.is_empty() {
                continue;
            }
            let place =
                |piece: &str, trimmed, untrimmed| if piece.trim().is_empty() { untrimmed } else { trimmed };
            // The text is a piece out of a token's middle, begins with a token's end, or ends with a token's beginning.
            if text.len() < longest && self.joined.contains(text) {
                cuts.push(place(text, begin, whole.start));
            }
            for length in
                (1..=text.len().min(longest)).filter(|&l| self.ends[text.as_bytes()[l - 1] as usize])
            {
                let Some(piece) = text.get(..length) else { continue };
                if self.joined.contains(&format!("{piece}{BETWEEN}")) {
                    cuts.push(place(piece, begin, whole.start));
                }
            }
            let first = text.len() - text.len().min(longest);
            for start in (first..text.len()).filter(|&s| self.starts[text.as_bytes()[s] as usize]) {
                let Some(piece) = text.get(start..) else { continue };
                if self.joined.contains(&format!("{BETWEEN}{piece}")) {
                    cuts.push(place(piece, end, whole.end));
                }
            }
        }
        cuts.sort_unstable();
        cuts.dedup();
        cuts
    }
}

impl Marks {
    /// Whether this is one of the characters, which filters must leave alone.
    pub fn contains(&self, c: char) -> bool {
        c == self.mark || self.single.iter().any(|&(_, stand_in)| c == stand_in)
    }

    fn stand_in(&self, c: char) -> char {
        self.single.iter().find(|&&(token, _)| token == c).map_or(c, |&(_, stand_in)| stand_in)
    }

    /// The text as people wrote it.
    pub fn remove(&self, text: &str) -> String {
        let original =
            |c| self.single.iter().find(|&&(_, stand_in)| stand_in == c).map_or(c, |&(token, _)| token);
        text.chars().filter(|&c| c != self.mark).map(original).collect()
    }
}

/// Whether a character may become a mark: Unicode gives it no meaning.
fn free(c: char) -> bool {
    matches!(c, '\u{FDD0}'..='\u{FDEF}' | '\u{F0000}'..='\u{10FFFF}')
}

fn each_text<'v>(value: &'v Value, see: &mut impl FnMut(&'v str)) {
    match value {
        Value::String(text) => see(text),
        Value::Array(items) => items.iter().for_each(|item| each_text(item, see)),
        Value::Object(map) => {
            for (key, value) in map {
                see(key);
                each_text(value, see);
            }
        }
        _ => {}
    }
}
