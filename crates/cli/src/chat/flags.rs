//! What a conversation is begun with, and how it is put to the model.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Map, Value};
use wgllm_engine::chat::{ChatTemplate, Conversation, Message, Options, Overflow};
use wgllm_engine::gguf::Gguf;
use wgllm_engine::tokenizer::Tokenizer;
use wgllm_engine::{Error, Result};

use super::saved::Saved;
use crate::template;

/// The flags.
#[derive(Args, Clone)]
#[command(next_help_heading = "Chat")]
pub struct ChatFlags {
    /// What the model is told to be (also -sys)
    #[arg(
        long,
        env = "WGLLM_SYSTEM_PROMPT",
        hide_env = true,
        value_name = "TEXT",
        allow_hyphen_values = true
    )]
    system_prompt: Option<String>,
    /// Template to use instead of the model's: a file, or a name
    #[arg(
        long,
        env = "WGLLM_CHAT_TEMPLATE",
        hide_env = true,
        value_name = "FILE|NAME",
        conflicts_with = "raw"
    )]
    chat_template: Option<String>,
    /// Continue the prompt as it is, without a template
    #[arg(long, visible_alias = "no-template")]
    raw: bool,
    /// Further variables of the template, as a JSON object
    #[arg(long, value_name = "JSON", value_parser = template::variables)]
    chat_template_kwargs: Option<Map<String, Value>>,
    /// Whether a model that can think before it answers does so [default: what its template says]
    #[arg(long, env = "WGLLM_THINKING", hide_env = true, value_name = "on|off")]
    thinking: Option<Switch>,
    /// At the end of the context: stop, or shift, which leaves the oldest turns out
    #[arg(long, env = "WGLLM_OVERFLOW", hide_env = true, value_name = "stop|shift", default_value = "stop")]
    overflow: AtEnd,
    /// Begin with the conversation of this file
    #[arg(long, value_name = "FILE")]
    load_history: Option<PathBuf>,
    /// Write the conversation to this file at the end
    #[arg(long, value_name = "FILE")]
    save_history: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AtEnd {
    Stop,
    Shift,
}

impl ChatFlags {
    /// Whether a prompt is continued as it is.
    pub fn is_raw(&self) -> bool {
        self.raw
    }

    /// The template that was given, or the model's.
    ///
    /// # Errors
    /// Where there is none, with how to give one.
    pub fn template(&self, file: &Gguf, tokenizer: &Tokenizer) -> Result<ChatTemplate> {
        match &self.chat_template {
            Some(given) => ChatTemplate::for_model(&template::read_template(given)?, file, tokenizer),
            None => ChatTemplate::from_gguf(file, tokenizer),
        }
    }

    /// The same; none where there is none.
    pub fn find_template(&self, file: &Gguf, tokenizer: &Tokenizer) -> Result<Option<ChatTemplate>> {
        match &self.chat_template {
            Some(_) => self.template(file, tokenizer).map(Some),
            None => ChatTemplate::find(file, tokenizer),
        }
    }

    /// How a conversation is rendered.
    pub fn rendering(&self) -> Options {
        let mut variables = self.chat_template_kwargs.clone().unwrap_or_default();
        if let Some(thinking) = self.thinking {
            variables.insert("enable_thinking".into(), (thinking == Switch::On).into());
        }
        Options { add_generation_prompt: true, variables, ..Options::default() }
    }

    /// What happens at the end of the context.
    pub fn overflow(&self) -> Overflow {
        match self.overflow {
            AtEnd::Stop => Overflow::Stop,
            AtEnd::Shift => Overflow::Shift,
        }
    }

    /// What the conversation begins with.
    pub fn conversation(&self) -> Result<Conversation> {
        let mut conversation = self.loaded()?.map(|saved| saved.conversation()).unwrap_or_default();
        if let Some(text) = &self.system_prompt {
            set_system(&mut conversation, Some(text));
        }
        Ok(conversation)
    }

    /// The settings that the file to begin with brings.
    pub fn loaded(&self) -> Result<Option<Saved>> {
        // A conversation that is kept in one file has none at its first start.
        let is_new = |path: &&PathBuf| self.save_history.as_ref() == Some(*path) && !path.exists();
        self.load_history.as_ref().filter(|path| !is_new(path)).map(|path| Saved::read(path)).transpose()
    }

    /// Writes the conversation where that was asked for.
    pub fn save(
        &self,
        conversation: &Conversation,
        model: &str,
        settings: &[(String, String)],
    ) -> Result<()> {
        match &self.save_history {
            Some(path) => Saved::new(conversation, model, settings).write(path),
            None => Ok(()),
        }
    }

    /// Where `/save` and `/load` go without a file.
    pub fn history(&self) -> Option<&Path> {
        self.save_history.as_deref().or(self.load_history.as_deref())
    }
}

/// Makes `text` the system prompt; none takes it away.
pub fn set_system(conversation: &mut Conversation, text: Option<&str>) {
    let messages = &mut conversation.messages;
    if messages.first().is_some_and(|message| message.role == "system") {
        messages.remove(0);
    }
    if let Some(text) = text {
        messages.insert(0, Message::system(text));
    }
}

/// The template's own error where a conversation cannot be rendered.
pub fn check(template: &ChatTemplate, conversation: &Conversation, options: &Options) -> Result<()> {
    // Nothing said yet is no conversation that a template need take.
    match conversation.messages.iter().any(|message| message.role == "user") {
        true => template.render(conversation, options).map(drop),
        false => Ok(()),
    }
}

/// What is wrong, for a person who has `what` in front of them.
pub fn usage(what: impl Into<String>) -> Error {
    Error::Usage(what.into())
}
