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

/// Calls of these tools, one or, where `many`, any number, or else `answer` where there is one. `template` is the text of the model's.
pub fn call_grammar(
    format: CallFormat,
    tools: &[Callable],
    many: bool,
    answer: Option<Language>,
    tokenizer: &Tokenizer,
    template: &str,
) -> Grammar {
    let marks = Marks(tokenizer);
    let each = |call: &dyn Fn(usize, &str) -> String| {
        let all: Vec<String> = tools.iter().enumerate().map(|(i, tool)| call(i, &tool.name)).collect();
        all.join(" | ")
    };
    let object = |arguments: &'static str| {
        each(&|i, name| {
            let name = Value::from(name);
            format!("{} @tool{i} {}", quoted(&format!("{{\"name\": {name}, \"{arguments}\": ")), quoted("}"))
        })
    };
    // What a call is, what stands between two, and what around all.
    let (call, between, before, behind) = match format {
        CallFormat::Hermes => {
            let [open, close] = ["<tool_call>", "</tool_call>"].map(|mark| marks.lark(mark));
            let call = format!("{open} \"\\n\" ({}) \"\\n\" {close}", object("arguments"));
            (call, quoted("\n"), String::new(), String::new())
        }
        CallFormat::Llama3 => (object("parameters"), quoted("; "), String::new(), String::new()),
        CallFormat::Mistral if template.contains("[ARGS]") => {
            let [open, arguments] = ["[TOOL_CALLS]", "[ARGS]"].map(|mark| marks.lark(mark));
            let call = each(&|i, name| format!("{open} {} {arguments} @tool{i}", quoted(name)));
            (call, String::new(), String::new(), String::new())
        }
        CallFormat::Mistral => {
            let before = format!("{} \"[\"", marks.lark("[TOOL_CALLS]"));
            (object("arguments"), quoted(", "), before, quoted("]"))
        }
        CallFormat::Harmony => {
            let [channel, constrain, message] =
                ["<|channel|>", "<|constrain|>", "<|message|>"].map(|mark| marks.lark(mark));
            let call = each(&|i, name| {
                let receiver = quoted(&format!("commentary to=functions.{name} "));
                format!("{channel} {receiver} {constrain} \"json\" {message} @tool{i}")
            });
            (call, String::new(), String::new(), String::new())
        }
    };
    // A message to a function ends the answer of a model that speaks harmony.
    let more = match many && format != CallFormat::Harmony {
        true => format!("({between} call)*"),
        false => String::new(),
    };
    let mut rules = format!("calls: {before} call {more} {behind}\ncall: {call}\n");
    let mut start = "calls".to_owned();
    let mut languages: Vec<(String, Language)> = tools
        .iter()
        .enumerate()
        .map(|(i, tool)| (format!("tool{i}"), Language::JsonSchema(tool.parameters.clone())))
        .collect();
    if let Some(answer) = answer {
        languages.push(("answer".into(), answer));
        start += " | answer";
        rules += &match format {
            CallFormat::Harmony => marks.answer(),
            _ => "answer: @answer\n".into(),
        };
    }
    if format == CallFormat::Harmony {
        start = format!("thought* ({start})");
        rules += &marks.thought();
    }
    Grammar::framed(format!("start: {start}\n{rules}"), languages)
}

/// An answer of this form alone to `prompt`, where a template wrote one.
pub fn answer_grammar(answer: Language, prompt: Option<&str>, tokenizer: &Tokenizer) -> Grammar {
    if !prompt.is_some_and(|prompt| Harmony::is_spoken(prompt, tokenizer)) {
        return answer.into();
    }
    let marks = Marks(tokenizer);
    let frame = format!("start: thought* answer\n{}{}", marks.answer(), marks.thought());
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

    /// The rule of an answer in its channel.
    fn answer(&self) -> String {
        let [channel, message] = ["<|channel|>", "<|message|>"].map(|mark| self.lark(mark));
        format!("answer: {channel} \"final\" {message} @answer\n")
    }

    /// The rule of a thought in its channel, and the beginning of what follows.
    fn thought(&self) -> String {
        let [channel, message, end, start] =
            ["<|channel|>", "<|message|>", "<|end|>", "<|start|>"].map(|mark| self.lark(mark));
        format!(
            "thought: {channel} \"analysis\" {message} TEXT {end} {start} \"assistant\"\nTEXT: /(.|\\n)+/\n"
        )
    }
}

/// A text in Lark, which quotes as JSON does.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
