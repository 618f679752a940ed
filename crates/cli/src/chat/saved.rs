//! Conversations as files: JSON with the messages and with what was set.

use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use wgllm_engine::chat::{Conversation, Message};
use wgllm_engine::replace::Replacement;
use wgllm_engine::{Error, Result};

/// What a file says that it is.
const FORMAT: &str = "wgllm chat 1";

/// No conversation is longer, in bytes.
const LONGEST: u64 = 64 << 20;

/// Who may speak.
const ROLES: &[&str] = &["system", "developer", "user", "assistant", "tool"];

/// What stands in a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    format: String,
    /// The model's file, for people to read.
    #[serde(default)]
    model: String,
    /// Flags' long names and their values.
    #[serde(default)]
    settings: Map<String, Value>,
    messages: Vec<Message>,
}

impl Saved {
    /// A conversation with a model.
    pub fn new(conversation: &Conversation, model: &str, settings: &[(String, String)]) -> Saved {
        let value = |text: &str| match text.parse::<i64>() {
            Ok(number) => number.into(),
            Err(_) => text.parse::<f64>().ok().filter(|n| n.is_finite()).map_or(text.into(), Value::from),
        };
        Saved {
            format: FORMAT.into(),
            model: model.into(),
            settings: settings.iter().map(|(name, text)| (name.clone(), value(text))).collect(),
            messages: conversation.messages.clone(),
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Usage`] with what it is not.
    pub fn read(path: &Path) -> Result<Saved> {
        let at = path.display();
        let read = || -> io::Result<Option<Vec<u8>>> {
            match std::fs::metadata(path)?.len() {
                0..=LONGEST => std::fs::read(path).map(Some),
                _ => Ok(None),
            }
        };
        let bytes = read().map_err(|e| Error::Usage(format!("{at}: {e}")))?;
        let bytes = bytes.ok_or_else(|| {
            Error::Usage(format!("{at} is no conversation: it is larger than {LONGEST} bytes"))
        })?;
        let saved: Saved = serde_json::from_slice(&bytes)
            .map_err(|e| Error::Usage(format!("{at} is no conversation that /save wrote: {e}")))?;
        if saved.format != FORMAT {
            let format = &saved.format;
            return Err(Error::Usage(format!("{at} has the format {format:?}, expected {FORMAT:?}")));
        }
        if let Some(message) = saved.messages.iter().find(|message| !ROLES.contains(&&*message.role)) {
            let role = &message.role;
            return Err(Error::Usage(format!(
                "{at}: there is no role {role:?}; known are {}",
                ROLES.join(", ")
            )));
        }
        Ok(saved)
    }

    /// Writes a file. One that holds something else is not overwritten.
    pub fn write(&self, path: &Path) -> Result<()> {
        let there = std::fs::metadata(path).is_ok_and(|about| about.is_file() && about.len() > 0);
        if there && Saved::read(path).is_err() {
            let what = format!("{} is there and is no conversation; give another file", path.display());
            return Err(Error::Usage(what));
        }
        let write = || -> io::Result<()> {
            let mut file = Replacement::create(path)?;
            serde_json::to_writer_pretty(&mut file, self)?;
            file.write_all(b"\n")?;
            file.finish()
        };
        write().map_err(|e| Error::Other(format!("{}: {e}", path.display())))
    }

    /// The messages.
    pub fn conversation(&self) -> Conversation {
        self.messages.clone().into()
    }

    /// Flags' long names and their values.
    pub fn settings(&self) -> impl Iterator<Item = (&str, String)> {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        self.settings.iter().map(move |(name, value)| (name.as_str(), text(value)))
    }
}
