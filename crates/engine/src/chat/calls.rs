//! Calls of tools, told apart from the text that a model says, while it comes.
//!
//! Text goes in in pieces of any length, and comes out as soon as it is clear what it is. What looks like a call and is none is text.

use super::call::{CallFormat, CallReader, Read};
use crate::stops::longest_beginning;

/// A part of what a model says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// More text.
    Text(String),
    /// A tool is called; its arguments follow.
    Call {
        /// The tool's name.
        name: String,
    },
    /// More of the arguments of the call that was begun last: JSON text, as the model wrote it.
    Arguments(String),
    /// The call that was begun last is whole.
    CallEnd,
}

/// Looks for calls in what a model says.
#[derive(Debug)]
pub struct Calls {
    /// None: there is nothing but text.
    format: Option<CallFormat>,
    mode: Mode,
    /// Text that is not told yet, since what follows may make something else of it.
    held: String,
}

#[derive(Debug)]
enum Mode {
    /// Text; `fresh` while there was none but white space, or none since a call ended.
    Text { fresh: bool },
    /// In a call.
    Call(Box<CallReader>),
    /// Behind the opening of Mistral's calls.
    List,
    /// Behind a call.
    Between { in_list: bool },
}

impl Calls {
    /// Looks for calls in this format; for none where there is none.
    pub fn new(format: Option<CallFormat>) -> Calls {
        Calls { format, mode: Mode::Text { fresh: true }, held: String::new() }
    }

    /// Takes text, and tells what it is.
    pub fn push(&mut self, text: &str) -> Vec<Said> {
        self.held.push_str(text);
        let mut said = Vec::new();
        while self.step(&mut said) {}
        joined(said)
    }

    /// What is left at the end.
    pub fn finish(&mut self) -> Vec<Said> {
        let held = std::mem::take(&mut self.held);
        let text = match &self.mode {
            Mode::Text { .. } => held,
            Mode::Call(reader) if !reader.named() => format!("{}{held}", self.unread(reader)),
            Mode::Call(_) | Mode::List | Mode::Between { .. } => return Vec::new(),
        };
        joined(vec![Said::Text(text)])
    }

    /// What was read of a call that is none, as text.
    fn unread(&self, reader: &CallReader) -> String {
        match self.format {
            Some(CallFormat::Llama3) | None => reader.raw.clone(),
            Some(format) => format!("{}{}", format.opening(), reader.raw),
        }
    }

    /// Makes something of what is held; false where more is needed.
    fn step(&mut self, said: &mut Vec<Said>) -> bool {
        if self.held.is_empty() {
            return false;
        }
        let Some(format) = self.format else {
            said.push(Said::Text(std::mem::take(&mut self.held)));
            return false;
        };
        match &mut self.mode {
            Mode::Text { fresh } => {
                if *fresh {
                    let begins = self.held.trim_start();
                    if begins.is_empty() {
                        return false;
                    }
                    if format == CallFormat::Llama3 && begins.starts_with('{') {
                        self.held = begins.into();
                        self.mode = Mode::Call(Box::new(CallReader::new(false)));
                        return true;
                    }
                }
                if let Some(at) = self.held.find(format.opening()) {
                    said.push(Said::Text(self.held[..at].trim_end().into()));
                    self.held.drain(..at + format.opening().len());
                    self.mode = match format {
                        CallFormat::Mistral => Mode::List,
                        _ => Mode::Call(Box::new(CallReader::new(format == CallFormat::Harmony))),
                    };
                    return true;
                }
                *fresh = false;
                let told = self.release(format.opening());
                said.push(Said::Text(told));
                false
            }
            Mode::List => {
                let begins = self.held.trim_start();
                let Some(first) = begins.chars().next() else { return false };
                let list = first == '[';
                self.held = begins[usize::from(list)..].into();
                self.mode = match list {
                    true => Mode::Between { in_list: true },
                    false => Mode::Call(Box::new(CallReader::new(true))),
                };
                true
            }
            Mode::Between { in_list } => {
                let in_list = *in_list;
                let between = |c: char| c.is_whitespace() || matches!(c, ',' | ';');
                let begins = self.held.trim_start_matches(between);
                let closing = if in_list { "]" } else { format.closing().unwrap_or_default() };
                let open = in_list || format == CallFormat::Llama3;
                if let Some(rest) = begins.strip_prefix(closing).filter(|_| !closing.is_empty()) {
                    self.held = rest.into();
                    self.mode = Mode::Text { fresh: true };
                } else if begins.starts_with('{') && open {
                    self.held = begins.into();
                    self.mode = Mode::Call(Box::new(CallReader::new(false)));
                } else if begins.is_empty() || closing.starts_with(begins) {
                    return false;
                } else {
                    self.held = begins.into();
                    self.mode = Mode::Text { fresh: true };
                }
                true
            }
            Mode::Call(reader) => {
                let mut chars = self.held.chars();
                let (mut ended, mut refused) = (false, false);
                while !ended && !refused {
                    let Some(c) = chars.next() else { break };
                    reader.push(c, &mut |read| match read {
                        Read::More => {}
                        Read::Name(name) => said.push(Said::Call { name }),
                        Read::Arguments(text) => said.push(Said::Arguments(text)),
                        Read::End => ended = true,
                        Read::NoCall => refused = true,
                    });
                }
                let rest = chars.as_str().to_owned();
                if ended {
                    said.push(Said::CallEnd);
                    self.mode = Mode::Between { in_list: format == CallFormat::Mistral && !reader.is_bare() };
                } else if refused {
                    let named = reader.named();
                    if let Mode::Call(reader) = std::mem::replace(&mut self.mode, Mode::Text { fresh: false })
                        && !named
                    {
                        said.push(Said::Text(self.unread(&reader)));
                    }
                }
                self.held = rest;
                ended || refused
            }
        }
    }

    /// Takes from what is held all that cannot be the beginning of `marker`, nor white space in front of it.
    fn release(&mut self, marker: &str) -> String {
        let waits = longest_beginning(&self.held, marker);
        let told = self.held[..self.held.len() - waits].trim_end().len();
        let rest = self.held.split_off(told);
        std::mem::replace(&mut self.held, rest)
    }
}

/// Like parts beside each other as one, and none that is empty.
fn joined(parts: Vec<Said>) -> Vec<Said> {
    let mut all: Vec<Said> = Vec::new();
    for part in parts {
        match (all.last_mut(), part) {
            (Some(Said::Text(text)), Said::Text(more))
            | (Some(Said::Arguments(text)), Said::Arguments(more)) => text.push_str(&more),
            (_, Said::Text(text) | Said::Arguments(text)) if text.is_empty() => {}
            (_, part) => all.push(part),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said in short: text in quotes, name(arguments).
    fn told(format: CallFormat, text: &str, cut: usize) -> String {
        let mut calls = Calls::new(Some(format));
        let mut parts = Vec::new();
        let chars: Vec<char> = text.chars().collect();
        for part in chars.chunks(cut) {
            parts.extend(calls.push(&part.iter().collect::<String>()));
        }
        parts.extend(calls.finish());
        let mut short = String::new();
        for part in joined(parts) {
            short += &match part {
                Said::Text(text) => format!("'{text}'"),
                Said::Call { name } => format!("{name}("),
                Said::Arguments(text) => text,
                Said::CallEnd => ")".into(),
            };
        }
        short
    }

    #[test]
    fn calls_are_told_from_text_however_it_is_cut() {
        use CallFormat::{Harmony, Hermes, Llama3, Mistral};
        let cases = [
            (Hermes, "Hi <there>", "'Hi <there>'"),
            (
                Hermes,
                "Let me see.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"}\\\"\", \"b\": [1, {}]}}\n</tool_call>\n<tool_call>{\"name\":\"g\",\"arguments\":{}}</tool_call>",
                "'Let me see.'f({\"a\": \"}\\\"\", \"b\": [1, {}]})g({})",
            ),
            (
                Hermes,
                "<tool_call>{\"arguments\": {\"a\": 1}, \"name\": \"f\"}</tool_call> and more",
                "f({\"a\": 1})' and more'",
            ),
            (Hermes, "<tool_call>{\"name\": \"f\"}</tool_call>", "f({})"),
            (
                Hermes,
                "<tool_call>{\"name\": \"f\", \"arguments\": \"{\\\"a\\\":1}\"}</tool_call>",
                "f({\"a\":1})",
            ),
            (Hermes, "<tool_call>{\"name\": \"f\", \"arguments\": null}", "f({})"),
            (Hermes, "<tool_call>no json</tool_call>", "'<tool_call>no json</tool_call>'"),
            (Hermes, "<tool_call>{\"name\": 7}", "'<tool_call>{\"name\": 7}'"),
            (Hermes, "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1", "f({\"a\": 1"),
            (Hermes, "a <tool", "'a <tool'"),
            (
                Llama3,
                "{\"name\": \"f\", \"parameters\": {\"a\": 1}}; {\"name\": \"g\", \"parameters\": {}}",
                "f({\"a\": 1})g({})",
            ),
            (Llama3, "<|python_tag|>{\"type\": \"function\", \"name\": \"f\", \"parameters\": {}}", "f({})"),
            (Llama3, "{\"answer\": 42}", "'{\"answer\": 42}'"),
            (Llama3, "It is {1}", "'It is {1}'"),
            (
                Mistral,
                "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"a\": 1}}, {\"name\": \"g\", \"arguments\": {}}]",
                "f({\"a\": 1})g({})",
            ),
            (Mistral, "[TOOL_CALLS]f[ARGS]{\"a\": 1}[TOOL_CALLS]g[CALL_ID]x[ARGS]{}", "f({\"a\": 1})g({})"),
            (
                Harmony,
                "Let me see.<|channel|>commentary to=functions.f <|constrain|>json<|message|>{\"a\": {\"b\": \"}\"}}",
                "'Let me see.'f({\"a\": {\"b\": \"}\"}})",
            ),
            (Harmony, "<|channel|>commentary to=functions.g<|message|>{}", "g({})"),
        ];
        for (format, text, expected) in cases {
            for cut in [1, 2, 3, 7, 1000] {
                assert_eq!(told(format, text, cut), expected, "{text:?} in pieces of {cut}");
            }
        }
    }

    #[test]
    fn text_comes_as_soon_as_it_is_clear() {
        let mut calls = Calls::new(Some(CallFormat::Hermes));
        assert_eq!(calls.push("Hi, <"), [Said::Text("Hi,".into())]);
        assert_eq!(calls.push("b>"), [Said::Text(" <b>".into())]);
        assert_eq!(Calls::new(None).push(" <tool_call>"), [Said::Text(" <tool_call>".into())]);
    }
}
