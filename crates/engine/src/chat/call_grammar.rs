//! Grammars in which a model can do nothing but call a tool, or give an answer of a certain form: the forms that `calls` reads.

use serde_json::Value;

use super::call::CallFormat;
use super::harmony::Harmony;
use super::thinking;
use crate::error::Result;
use crate::grammar::{Grammar, Language, Thought};
use crate::tokenizer::{Encode, Tokenizer};

/// A tool that may be called.
#[derive(Clone, Debug, PartialEq)]
pub struct Callable {
    /// Its name.
    pub name: String,
    /// The schema of its arguments: of an object.
    pub parameters: Value,
}

/// What may be said in the place of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Otherwise {
    /// Nothing.
    Nothing,
    /// An answer of this form.
    Answer(Language),
    /// Any text, which may also stand in front of calls: whatever begins like a call is one.
    Text,
}

/// Calls of these tools, one or, where `many`, any number, and what may be said `otherwise`. `template` is the text of the model's.
pub fn call_grammar(
    format: CallFormat,
    tools: &[Callable],
    many: bool,
    otherwise: Otherwise,
    tokenizer: &Tokenizer,
    template: &str,
) -> Grammar {
    let marks = Marks(tokenizer);
    let form = Form::new(format, tools, &marks, template);
    // A message to a function ends the answer of a model that speaks harmony.
    let more = match many && format != CallFormat::Harmony {
        true => format!("({} call)*", form.between),
        false => String::new(),
    };
    let Form { opening, call, before, behind, .. } = &form;
    let mut rules = format!("calls: {before} call {more} {behind}\ncall: {call}\n");
    let opened = opening.map(|mark| marks.lark(mark)).unwrap_or_default();
    let mut start = format!("{opened} calls");
    let mut languages: Vec<(String, Language)> = tools
        .iter()
        .enumerate()
        .map(|(i, tool)| (format!("tool{i}"), Language::JsonSchema(tool.parameters.clone())))
        .collect();
    match otherwise {
        Otherwise::Nothing => {}
        Otherwise::Answer(answer) => {
            languages.push(("answer".into(), answer));
            start += " | answer";
            rules += &match format {
                CallFormat::Harmony => marks.answer("@answer"),
                _ => "answer: @answer\n".into(),
            };
        }
        Otherwise::Text if format == CallFormat::Harmony => {
            start += " | answer";
            rules += &marks.answer("TEXT");
        }
        Otherwise::Text => {
            rules += &marks.text_ahead(opening.unwrap_or(format.opening()));
            start = match format {
                CallFormat::Hermes if many => "(ahead call)* TEXT".into(),
                // Without a mark, too, and then at the beginning.
                CallFormat::Llama3 => "TEXT | ahead calls | calls".into(),
                _ => "TEXT | ahead calls".into(),
            };
            rules += match format {
                CallFormat::Llama3 => "TEXT: /([ \\t\\r\\n]*[^{ \\t\\r\\n](.|\\n)*)?/\n",
                _ => "TEXT: /(.|\\n)*/\n",
            };
        }
    }
    if format == CallFormat::Harmony {
        start = format!("thought* ({start})");
        rules += &marks.thought();
    }
    Grammar::framed(format!("start: {start}\n{rules}"), languages)
}

/// How calls are written, as Lark.
struct Form {
    /// The mark in front of the first.
    opening: Option<&'static str>,
    /// One, without that mark.
    call: String,
    /// What stands between two.
    between: String,
    /// What is around all.
    before: String,
    behind: String,
}

impl Form {
    fn new(format: CallFormat, tools: &[Callable], marks: &Marks<'_>, template: &str) -> Form {
        let each = |call: &dyn Fn(usize, &str) -> String| {
            let all: Vec<String> = tools.iter().enumerate().map(|(i, tool)| call(i, &tool.name)).collect();
            all.join(" | ")
        };
        let object = |arguments: &'static str| {
            each(&|i, name| {
                let name = Value::from(name);
                let begins = quoted(&format!("{{\"name\": {name}, \"{arguments}\": "));
                format!("{begins} @tool{i} {}", quoted("}"))
            })
        };
        let form = |opening, call, between| Form {
            opening,
            call,
            between,
            before: String::new(),
            behind: String::new(),
        };
        match format {
            CallFormat::Hermes => {
                let [open, close] = ["<tool_call>", "</tool_call>"].map(|mark| marks.lark(mark));
                let call = format!("\"\\n\" ({}) \"\\n\" {close}", object("arguments"));
                form(Some("<tool_call>"), call, format!("\"\\n\" {open}"))
            }
            CallFormat::Llama3 => form(None, object("parameters"), quoted("; ")),
            CallFormat::Mistral if template.contains("[ARGS]") => {
                let [open, arguments] = ["[TOOL_CALLS]", "[ARGS]"].map(|mark| marks.lark(mark));
                let call = each(&|i, name| format!("{} {arguments} @tool{i}", quoted(name)));
                form(Some("[TOOL_CALLS]"), call, open)
            }
            CallFormat::Mistral => Form {
                before: quoted("["),
                behind: quoted("]"),
                ..form(Some("[TOOL_CALLS]"), object("arguments"), quoted(", "))
            },
            CallFormat::Harmony => {
                let [constrain, message] = ["<|constrain|>", "<|message|>"].map(|mark| marks.lark(mark));
                let call = each(&|i, name| {
                    let receiver = quoted(&format!("commentary to=functions.{name} "));
                    format!("{receiver} {constrain} \"json\" {message} @tool{i}")
                });
                form(Some("<|channel|>"), call, String::new())
            }
        }
    }
}

/// An answer of this form alone to `prompt`, where a template wrote one.
pub fn answer_grammar(answer: Language, prompt: Option<&str>, tokenizer: &Tokenizer) -> Grammar {
    if !prompt.is_some_and(|prompt| Harmony::is_spoken(prompt, tokenizer)) {
        return answer.into();
    }
    let marks = Marks(tokenizer);
    let frame = format!("start: thought* answer\n{}{}", marks.answer("@answer"), marks.thought());
    Grammar::framed(frame, vec![("answer".into(), answer)])
}

/// The thought that may stand between a prompt and the answer; none where there is none, or where it is in the grammar. `template` is the
/// text of the model's.
///
/// # Errors
/// [`crate::error::Error::Model`] if the vocabulary has no tokens for a byte of its mark.
pub fn thought_ahead(prompt: &str, template: &str, tokenizer: &Tokenizer) -> Result<Option<Thought>> {
    if Harmony::is_spoken(prompt, tokenizer) {
        return Ok(None);
    }
    let Some((marks, begun)) = thinking::ahead(prompt, template) else { return Ok(None) };
    let close = marks.close.into();
    if begun {
        return Ok(Some(Thought { open: None, close }));
    }
    // Models that think know the mark as one token.
    Ok(match tokenizer.encode(marks.open, Encode { special: true, bos: false })?[..] {
        [open] => Some(Thought { open: Some(open), close }),
        _ => None,
    })
}

/// Marks as Lark.
struct Marks<'t>(&'t Tokenizer);

impl Marks<'_> {
    /// The control token, where it is one, else its text.
    fn lark(&self, mark: &str) -> String {
        self.0.control_token(mark).map_or_else(|| quoted(mark), |id| format!("<[{id}]>"))
    }

    /// The rule of text up to a mark and with it: whatever the mark is in, it ends the text.
    fn text_ahead(&self, mark: &str) -> String {
        match self.0.control_token(mark) {
            Some(id) => format!("ahead: TEXT <[{id}]>\n"),
            None => format!("ahead[lazy]: TEXT {}\n", quoted(mark)),
        }
    }

    /// The rule of an answer in its channel.
    fn answer(&self, what: &str) -> String {
        let [channel, message] = ["<|channel|>", "<|message|>"].map(|mark| self.lark(mark));
        format!("answer: {channel} \"final\" {message} {what}\n")
    }

    /// The rule of a thought in its channel, or of what is said ahead of a call, and the beginning of what follows.
    fn thought(&self) -> String {
        let [channel, message, end, start] =
            ["<|channel|>", "<|message|>", "<|end|>", "<|start|>"].map(|mark| self.lark(mark));
        format!(
            "thought: {channel} (\"analysis\" | \"commentary\") {message} TEXT {end} {start} \"assistant\"\nTEXT: /(.|\\n)+/\n"
        )
    }
}

/// A text in Lark, which quotes as JSON does.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
