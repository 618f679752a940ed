//! `wgllm template`: what the model is given of a conversation.

use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use chrono::NaiveDateTime;
use clap::Args;
use serde_json::{Map, Value};
use wgllm_engine::chat::{ChatTemplate, Conversation, Options, builtin};
use wgllm_engine::{Error, Result};

use super::Outcome;
use super::args::{TokenizerFlag, need_tokenizer};
use super::model::ModelFlag;
use super::reporter::Reporter;

/// The arguments of `template`.
#[derive(Args)]
pub struct Template {
    #[command(flatten)]
    model: ModelFlag,
    #[command(flatten)]
    tokenizer: TokenizerFlag,
    /// Template to use instead of the model's: a file, or a name
    #[arg(long, value_name = "FILE|NAME")]
    chat_template: Option<String>,
    /// Text of the token that begins a prompt, where there is no model to say so
    #[arg(long, value_name = "TEXT", requires = "chat_template")]
    bos: Option<String>,
    /// Text of the token that ends an answer, where there is no model to say so
    #[arg(long, value_name = "TEXT", requires = "chat_template")]
    eos: Option<String>,
    /// JSON with the messages: a list, or an object with `messages`, `tools`, `documents`; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    messages: PathBuf,
    /// JSON with a list of functions that the model may call
    #[arg(long, value_name = "FILE")]
    tools: Option<PathBuf>,
    /// End with the words that make the assistant speak
    #[arg(long)]
    add_generation_prompt: bool,
    /// Time that the template is told, instead of the local time
    #[arg(long, value_name = "YYYY-MM-DD HH:MM:SS", value_parser = time)]
    now: Option<NaiveDateTime>,
    /// Further variables of the template, as a JSON object
    #[arg(long, value_name = "JSON", value_parser = variables)]
    chat_template_kwargs: Option<Map<String, Value>>,
    /// Print token ids instead of the text
    #[arg(long)]
    ids: bool,
    #[command(flatten)]
    reporter: Reporter,
}

impl Template {
    /// Runs the command.
    pub fn run(&self) -> Outcome {
        let conversation = self.conversation()?;
        let options = Options {
            add_generation_prompt: self.add_generation_prompt,
            now: self.now,
            variables: self.chat_template_kwargs.clone().unwrap_or_default(),
        };
        let given = self.chat_template.as_deref().map(read_template).transpose()?;
        let mut out = std::io::stdout();
        if let (Some(text), true) = (&given, self.model.is_carried()) {
            if self.ids {
                return Err(
                    Error::Usage("--ids needs a model's vocabulary: give one with -m FILE".into()).into()
                );
            }
            let token = |given: &Option<String>| given.clone().unwrap_or_default();
            let template = ChatTemplate::parse(text, &token(&self.bos), &token(&self.eos))?;
            print(&mut out, &template.render(&conversation, &options)?.text())?;
            return Ok(ExitCode::SUCCESS);
        }
        if self.bos.is_some() || self.eos.is_some() {
            let what = "the model says what its BOS and EOS are: give --bos and --eos only without -m";
            return Err(Error::Usage(what.into()).into());
        }
        let file = self.model.open(&self.reporter)?;
        let tokenizer = self.tokenizer.open(&file)?;
        let tokenizer = need_tokenizer(tokenizer.as_ref())?;
        let template = match given {
            Some(text) => ChatTemplate::for_model(&text, &file, tokenizer),
            None => ChatTemplate::from_gguf(&file, tokenizer),
        };
        let rendered = template.and_then(|template| template.render(&conversation, &options));
        let rendered = rendered.map_err(|e| e.in_file(file.name().as_ref()))?;
        if self.ids {
            let ids = rendered.encode(tokenizer)?;
            writeln!(out, "{}", ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" "))?;
        } else {
            print(&mut out, &rendered.text())?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn conversation(&self) -> Result<Conversation> {
        let mut conversation = match json(&self.messages)? {
            list @ Value::Array(_) => parsed(&self.messages, Value::from_iter([("messages", list)])),
            other => parsed::<Conversation>(&self.messages, other),
        }?;
        if let Some(path) = &self.tools {
            conversation.tools = parsed(path, json(path)?)?;
        }
        Ok(conversation)
    }
}

/// The template of a file, or of that name; a name wins over a file of that name, which `./NAME` still means.
pub fn read_template(given: &str) -> Result<String> {
    if let Some(named) = builtin::find(given) {
        return Ok(named.text.into());
    }
    std::fs::read_to_string(given).map_err(|e| {
        let names: Vec<&str> = builtin::NAMED.iter().map(|named| named.name).collect();
        Error::Usage(format!("--chat-template {given}: {e}; names of templates are {}", names.join(", ")))
    })
}

fn json(path: &Path) -> Result<Value> {
    let mut text = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut text)
    } else {
        std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut text))
    };
    read.map_err(|e| Error::Other(format!("{}: {e}", path.display())))?;
    serde_json::from_slice(&text).map_err(|e| Error::Usage(format!("{}: {e}", path.display())))
}

fn parsed<T: serde::de::DeserializeOwned>(path: &Path, json: Value) -> Result<T> {
    serde_json::from_value(json).map_err(|e| Error::Usage(format!("{}: {e}", path.display())))
}

/// Byte for byte what the model is given; a terminal's prompt still starts on a line of its own.
fn print(out: &mut std::io::Stdout, text: &str) -> std::io::Result<()> {
    out.write_all(text.as_bytes())?;
    if out.is_terminal() && !text.ends_with('\n') {
        writeln!(out)?;
    }
    out.flush()
}

fn time(text: &str) -> Result<NaiveDateTime, String> {
    let expected = |_| "expected a time like '2026-01-31 12:30:45'".into();
    NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").map_err(expected)
}

/// Reads variables of a template.
pub fn variables(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|e| format!("expected a JSON object: {e}"))
}
