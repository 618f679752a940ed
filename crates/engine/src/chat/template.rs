//! A chat template: read once, rendered for every prompt, with bounds on its work and on what it writes.

use std::io;
use std::sync::OnceLock;

use chrono::{Local, NaiveDateTime};
use minijinja::{Environment, ErrorKind};
use serde_json::{Map, Value};

use super::builtin::{self, CHATML_TOKENS};
use super::capabilities::Capabilities;
use super::conversation::{Content, Conversation};
use super::guard::Guard;
use super::python::{self, Raised};
use super::rendered::Rendered;
use super::source;
use crate::error::{Error, Result};
use crate::gguf::Gguf;
use crate::tokenizer::Tokenizer;

/// A template, and what it must know of the vocabulary.
#[derive(Debug)]
pub struct ChatTemplate {
    text: String,
    environment: Environment<'static>,
    bos: String,
    eos: String,
    /// The special tokens that people's text is kept apart from; absent without a vocabulary.
    guard: Option<Guard>,
    origin: Origin,
    capabilities: OnceLock<Capabilities>,
}

/// How to render.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// End with the words that make the assistant speak.
    pub add_generation_prompt: bool,
    /// What `strftime_now` says; absent, the local time.
    pub now: Option<NaiveDateTime>,
    /// Further variables of the template, such as `enable_thinking`.
    pub variables: Map<String, Value>,
}

/// Where a template comes from, and so whose fault its errors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    ModelFile,
    Given,
}

/// The key of a file's template, and of the one that it uses where there are tools.
const KEY: &str = "tokenizer.chat_template";
const WITH_TOOLS: &str = "tokenizer.chat_template.tool_use";

/// Templates in the environment.
const MAIN: &str = "chat template";
const TOOLS: &str = "chat template for tools";

/// The longest template that is read, in bytes; the longest known have 20 KiB.
const MAX_TEMPLATE: usize = 1 << 20;
/// Instructions that a rendering may take, with [`FUEL_A_BYTE`] more for each byte of the conversation. An instruction
/// may make 64 bytes, so this also bounds memory. Some templates look through all messages for each: hence [`FUEL_A_PAIR`].
const FUEL: u64 = 1 << 20;
const FUEL_A_BYTE: u64 = 8;
const FUEL_A_PAIR: u64 = 16;
/// Bytes that a rendering may write, with [`OUTPUT_A_BYTE`] more for each byte of the conversation.
const OUTPUT: usize = 1 << 20;
const OUTPUT_A_BYTE: usize = 8;

impl ChatTemplate {
    /// The template of a model file, or ChatML where the file has none and its vocabulary has ChatML's tokens.
    ///
    /// # Errors
    /// [`Error::Model`] says what is wrong with the template, or how to give one where there is none.
    pub fn from_gguf(file: &Gguf, tokenizer: &Tokenizer) -> Result<ChatTemplate> {
        ChatTemplate::find(file, tokenizer)?.ok_or_else(|| {
            let names: Vec<&str> = builtin::NAMED.iter().map(|named| named.name).collect();
            Error::Model(format!(
                "the file has no chat template ({KEY}), and its vocabulary lacks {} of ChatML; give one with \
                 --chat-template FILE, or by a name: {}",
                CHATML_TOKENS.join(" or "),
                names.join(", ")
            ))
        })
    }

    /// The same; none where the file has no template and no tokens of ChatML, as models have that merely continue texts.
    pub fn find(file: &Gguf, tokenizer: &Tokenizer) -> Result<Option<ChatTemplate>> {
        let meta = file.metadata();
        let Some(text) = meta.str(KEY)? else {
            let has = |token: &str| tokenizer.control_tokens().any(|control| control == token);
            if !CHATML_TOKENS.iter().all(|token| has(token)) {
                return Ok(None);
            }
            let chatml = builtin::find("chatml").map_or("", |named| named.text);
            return ChatTemplate::for_model(chatml, file, tokenizer).map(Some);
        };
        let mut template = ChatTemplate::new(text, Origin::ModelFile)?;
        if let Some(tools) = meta.str(WITH_TOOLS)? {
            template.add(TOOLS, tools)?;
        }
        template.set_vocabulary(file, tokenizer)?;
        Ok(Some(template))
    }

    /// A template that was given for a model, such as a [named](builtin) one.
    ///
    /// # Errors
    /// [`Error::Usage`] with the line that is wrong.
    pub fn for_model(text: &str, file: &Gguf, tokenizer: &Tokenizer) -> Result<ChatTemplate> {
        let mut template = ChatTemplate::new(text, Origin::Given)?;
        template.set_vocabulary(file, tokenizer)?;
        Ok(template)
    }

    /// A template without a model: its prompts are text alone.
    ///
    /// # Errors
    /// [`Error::Usage`] with the line that is wrong.
    pub fn parse(text: &str, bos: &str, eos: &str) -> Result<ChatTemplate> {
        let mut template = ChatTemplate::new(text, Origin::Given)?;
        (template.bos, template.eos) = (bos.into(), eos.into());
        Ok(template)
    }

    fn new(text: &str, origin: Origin) -> Result<ChatTemplate> {
        let environment = python::environment().map_err(|e| Error::Other(format!("chat templates: {e}")))?;
        let mut template = ChatTemplate {
            text: text.into(),
            environment,
            bos: String::new(),
            eos: String::new(),
            guard: None,
            origin,
            capabilities: OnceLock::new(),
        };
        template.add(MAIN, text)?;
        Ok(template)
    }

    fn add(&mut self, name: &'static str, text: &str) -> Result<()> {
        if text.len() > MAX_TEMPLATE {
            let what = format!("the {name} has {} bytes, expected {MAX_TEMPLATE} at most", text.len());
            return Err(self.origin.error(what));
        }
        source::check(text).map_err(|what| self.origin.error(format!("the {name} {what}")))?;
        let added = self.environment.add_template_owned(name, source::as_read(text));
        added.map_err(|e| self.origin.error(format!("the {name} cannot be read: {}", told(&e))))
    }

    fn set_vocabulary(&mut self, file: &Gguf, tokenizer: &Tokenizer) -> Result<()> {
        let text = |id: Option<u32>| -> Result<String> {
            let mut tokens = file.metadata().strings("tokenizer.ggml.tokens")?;
            let token = id.and_then(|id| tokens.as_mut()?.nth(id as usize));
            let of_file = token.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            Ok(of_file.or_else(|| tokenizer.control_text(id?).map(str::to_owned)).unwrap_or_default())
        };
        self.bos = text(tokenizer.bos())?;
        self.eos = text(tokenizer.eos())?;
        self.guard = Some(Guard::new(tokenizer));
        Ok(())
    }

    /// The template as it was given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What the template can write; found out when it is first asked for.
    pub fn capabilities(&self) -> Capabilities {
        *self.capabilities.get_or_init(|| {
            let options = Options { add_generation_prompt: true, ..Options::default() };
            Capabilities::find(|conversation| {
                let context = context(conversation, None);
                self.run(context, &options).map(|rendered| rendered.text())
            })
        })
    }

    /// What the model is given of a conversation.
    ///
    /// # Errors
    /// [`Error::Usage`] if the template refuses the conversation, with what it says; [`Error::Usage`] or
    /// [`Error::Model`], by where the template comes from, if it fails or exceeds its bounds.
    pub fn render(&self, conversation: &Conversation, options: &Options) -> Result<Rendered> {
        // Asking costs some renderings: texts need no answer where a template knows of nothing else.
        let plain = conversation.messages.iter().all(|message| {
            message.tool_calls.is_empty()
                && message.reasoning_content.is_none()
                && matches!(message.content, Some(Content::Text(_)))
        });
        let known = !plain || self.text.contains("type");
        let context = context(conversation, known.then(|| (self.capabilities(), &*self.text)));
        self.run(context, options).map_err(|failure| match failure {
            Failure::Refused(said) => {
                Error::Usage(format!("the chat template refuses this conversation: {}", shown(&said)))
            }
            Failure::Other(error) => error,
        })
    }

    fn run(&self, mut people: Map<String, Value>, options: &Options) -> Result<Rendered, Failure> {
        const OURS: [&str; 3] = ["add_generation_prompt", "bos_token", "eos_token"];
        let taken = |name: &&String| people.contains_key(*name) || OURS.contains(&name.as_str());
        if let Some(name) = options.variables.keys().find(taken) {
            let what = format!("{name:?} is not a variable of the template that can be set");
            return Err(Error::Usage(what).into());
        }
        people.extend(options.variables.clone());
        let bytes: usize = people.iter().map(|(key, value)| key.len() + size(value)).sum();
        let pairs = people["messages"].as_array().map_or(0, |messages| (messages.len() as u64).pow(2));
        let marks = match &self.guard {
            Some(guard) => Some(guard.marks(people.values(), &self.text)?),
            None => None,
        };
        if let (Some(guard), Some(marks)) = (&self.guard, &marks) {
            people.values_mut().for_each(|value| *value = guard.protect(value.take(), marks));
        }
        let tools = people.get("tools").is_some_and(|tools| !tools.is_null());
        people.insert("add_generation_prompt".into(), options.add_generation_prompt.into());
        people.insert("bos_token".into(), self.bos.clone().into());
        people.insert("eos_token".into(), self.eos.clone().into());

        let now = options.now.unwrap_or_else(|| Local::now().naive_local());
        let mut environment = python::with_rendering(&self.environment, now, marks.as_ref());
        environment.set_fuel(Some(FUEL + FUEL_A_BYTE * bytes as u64 + FUEL_A_PAIR * pairs));
        let template = match environment.get_template(TOOLS) {
            Ok(template) if tools => template,
            _ => environment.get_template(MAIN).map_err(|e| Error::Other(told(&e)))?,
        };
        let mut out = Bounded { bytes: Vec::new(), most: OUTPUT + OUTPUT_A_BYTE * bytes };
        let context =
            minijinja::Value::from_pairs(people.into_iter().map(|(key, value)| (key, python::value(value))));
        if let Err(error) = template.render_captured_to(context, &mut out) {
            let plain = |text: &str| marks.as_ref().map_or_else(|| text.into(), |marks| marks.remove(text));
            return Err(match raised(&error) {
                Some(said) => Failure::Refused(plain(said)),
                None if error.kind() == ErrorKind::OutOfFuel => {
                    let what = format!("the chat template takes too much time or memory: {}", told(&error));
                    self.origin.error(what).into()
                }
                None if out.bytes.len() >= out.most => {
                    let what = format!("the chat template writes more than {} bytes", out.most);
                    self.origin.error(what).into()
                }
                None => {
                    self.origin.error(format!("the chat template fails: {}", plain(&told(&error)))).into()
                }
            });
        }
        let text = String::from_utf8(out.bytes)
            .map_err(|_| self.origin.error("the chat template writes what is not UTF-8".into()))?;
        Ok(Rendered::new(text, marks))
    }
}

/// Why there is no prompt.
#[derive(Debug)]
pub(super) enum Failure {
    /// The template does not take this conversation, and says why.
    Refused(String),
    /// Anything else.
    Other(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Other(error)
    }
}

impl Origin {
    fn error(self, what: String) -> Error {
        match self {
            Origin::ModelFile => Error::Model(what),
            Origin::Given => Error::Usage(what),
        }
    }
}

/// The variables that come from people, in the shape that the template can write.
fn context(conversation: &Conversation, template: Option<(Capabilities, &str)>) -> Map<String, Value> {
    let mut conversation = conversation.clone();
    if let Some((capabilities, text)) = template {
        for message in &mut conversation.messages {
            capabilities.shape(message, text);
        }
    }
    let list = |items: Vec<Value>| if items.is_empty() { Value::Null } else { items.into() };
    let messages =
        conversation.messages.iter().map(|m| serde_json::to_value(m).unwrap_or_default()).collect();
    Map::from_iter([
        ("messages".into(), Value::Array(messages)),
        ("tools".into(), list(conversation.tools)),
        ("documents".into(), list(conversation.documents)),
    ])
}

/// About how many bytes a value has as text.
fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(|item| size(item) + 2).sum(),
        Value::Object(map) => map.iter().map(|(key, value)| key.len() + size(value) + 6).sum(),
        _ => 8,
    }
}

/// What the template raised, if that is why it failed.
fn raised(error: &minijinja::Error) -> Option<&str> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(Raised(what)) = error.downcast_ref() {
            return Some(what);
        }
        cause = error.source();
    }
    None
}

/// An error of the engine in one line.
fn told(error: &minijinja::Error) -> String {
    let what = error
        .detail()
        .map_or_else(|| error.kind().to_string(), |detail| format!("{}: {detail}", error.kind()));
    match error.line() {
        Some(line) => format!("line {line}: {}", shown(&what)),
        None => shown(&what),
    }
}

/// A text that a file or a template made up, fit for one line.
fn shown(text: &str) -> String {
    let escaped = |c: char| match c.is_control() {
        true => c.escape_default().collect::<String>(),
        false => c.to_string(),
    };
    let mut shown: String = text.chars().take(500).map(escaped).collect();
    if text.chars().nth(500).is_some() {
        shown.push('…');
    }
    shown
}

/// Takes no more bytes than are allowed.
struct Bounded {
    bytes: Vec<u8>,
    most: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.most - self.bytes.len();
        if room == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let taken = bytes.len().min(room);
        self.bytes.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
