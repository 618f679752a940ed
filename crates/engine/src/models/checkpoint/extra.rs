//! What stands in the files beside the configuration: the tokens that begin and end texts, and the chat template.

use serde_json::Value;

use crate::checkpoint::{Checkpoint, Config};
use crate::error::Result;
use crate::gguf::{Assembly, Value as Key};
use crate::tokenizer::{EMBEDDED, Roles, Tokenizer};

/// Those tokens and the template.
pub(super) struct Extra {
    bos: Option<u32>,
    ends: Vec<u32>,
    template: Option<String>,
    /// `tokenizer_config.json`.
    tokenizer: Value,
}

impl Extra {
    /// Reads the files.
    pub(super) fn of(checkpoint: &Checkpoint, outer: &Config, config: &Config) -> Result<Extra> {
        let generation = checkpoint.beside("generation_config.json")?.unwrap_or(Value::Null);
        let named = |key: &str| {
            let found = [generation.get(key), config.get(key), outer.get(key)];
            found.into_iter().flatten().find(|value| !value.is_null()).cloned()
        };
        let ids = |value: Option<Value>| -> Vec<u32> {
            let id = |value: &Value| value.as_u64().and_then(|id| id.try_into().ok());
            match value {
                Some(Value::Array(ids)) => ids.iter().filter_map(id).collect(),
                Some(one) => id(&one).into_iter().collect(),
                None => Vec::new(),
            }
        };
        let written = checkpoint.text_beside("chat_template.jinja")?;
        let tokenizer = checkpoint.beside("tokenizer_config.json")?.unwrap_or(Value::Null);
        let template = match written {
            Some(text) => Some(text),
            None => template_of(&tokenizer["chat_template"]),
        };
        Ok(Extra {
            bos: ids(named("bos_token_id")).first().copied(),
            ends: ids(named("eos_token_id")),
            template,
            tokenizer,
        })
    }

    /// Writes the keys of a `tokenizer.json`: itself, and what stands in other files beside it.
    pub(super) fn write_tokenizer(&self, text: &str, config: &Config, out: &mut Assembly) -> Result<()> {
        let roles = Roles { bos: self.bos, eos: self.ends.clone(), ..Roles::default() };
        let label = config.path().with_file_name("tokenizer.json");
        let label = label.display().to_string();
        let read = Tokenizer::from_json_text(text.as_bytes(), &self.tokenizer, &label, &roles, None)?;
        out.key(EMBEDDED, Key::Str(text.as_bytes()));
        out.key("tokenizer.ggml.add_bos_token", Key::Bool(read.adds_bos()));
        out.key("tokenizer.ggml.add_eos_token", Key::Bool(read.adds_eos()));
        for (known, key, id) in
            [(self.bos.is_some(), "bos", read.bos()), (!self.ends.is_empty(), "eos", read.eos())]
        {
            if let Some(id) = id.filter(|_| !known) {
                out.key(&format!("tokenizer.ggml.{key}_token_id"), Key::U32(id));
            }
        }
        Ok(())
    }

    /// Writes the keys.
    pub(super) fn write(&self, out: &mut Assembly) {
        if let Some(bos) = self.bos {
            out.key("tokenizer.ggml.bos_token_id", Key::U32(bos));
        }
        // GGUF has a key for each reason to end.
        for (key, &id) in ["eos", "eot", "eom"].iter().zip(&self.ends) {
            out.key(&format!("tokenizer.ggml.{key}_token_id"), Key::U32(id));
        }
        if let Some(template) = &self.template {
            out.key("tokenizer.chat_template", Key::Str(template.as_bytes()));
        }
    }
}

/// The template, or of several the default one.
fn template_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(all) => all
            .iter()
            .find(|one| one["name"] == "default")
            .and_then(|one| one["template"].as_str())
            .map(str::to_owned),
        _ => None,
    }
}
