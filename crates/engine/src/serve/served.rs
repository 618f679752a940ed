//! The model that is served: what of it is asked for besides computing.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use crate::chat::{CallFormat, ChatTemplate};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::grammar::Grammars;
use crate::tokenizer::Tokenizer;

/// A model behind a worker.
#[derive(Debug)]
pub struct Served {
    /// What clients call it.
    pub name: String,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Its template, or why it has none.
    pub template: Result<ChatTemplate>,
    /// How it writes calls of tools, if its template says so.
    pub calls: Option<CallFormat>,
    /// What makes constraints for its vocabulary, once somebody asks for one.
    grammars: OnceLock<Result<Grammars>>,
    /// The tokens at which it ends.
    pub ends: Arc<BTreeSet<u32>>,
    /// Numbers of what its graph ends with: of an embedding, where it ends with the hidden state.
    pub width: usize,
    /// Positions of a sequence at most.
    pub context: usize,
    /// Positions that it was made for.
    pub trained_context: usize,
    /// Its architecture, as its file says it.
    pub architecture: String,
    /// The device that it runs on.
    pub device: String,
    /// Bytes of its weights.
    pub bytes: u64,
}

impl Served {
    /// Takes from an engine what is needed here. `alias` is what clients call the model, `template` a template in place of its own.
    ///
    /// # Errors
    /// [`Error::Model`] where the file has no tokenizer; [`Error::Usage`] where the given template cannot be read.
    pub fn new(engine: &mut Engine, alias: Option<&str>, template: Option<&str>) -> Result<Served> {
        let tokenizer = engine.tokenizer.take().ok_or_else(|| {
            Error::Model("the file has no tokenizer (tokenizer.ggml.model), and a server needs one; give it with --tokenizer FILE".into())
        })?;
        let template = match template {
            Some(text) => Ok(ChatTemplate::for_model(text, &engine.file, &tokenizer)?),
            None => ChatTemplate::from_gguf(&engine.file, &tokenizer),
        };
        let calls = template.as_ref().ok().and_then(|template| CallFormat::of_template(template.text()));
        let stem = Path::new(engine.file.name()).file_stem().unwrap_or_default().to_string_lossy();
        let architecture = engine.file.metadata().str("general.architecture").ok().flatten();
        Ok(Served {
            name: alias.map_or_else(|| stem.into_owned(), str::to_owned),
            ends: Arc::new(tokenizer.end_tokens().clone()),
            tokenizer,
            template,
            calls,
            grammars: OnceLock::new(),
            width: engine.model.graph.shape(engine.model.graph.output()).cols,
            context: engine.plan.context,
            trained_context: engine.model.context_length,
            architecture: architecture.unwrap_or_default().into(),
            device: engine.backend.device().name,
            bytes: engine.backend.memory().weights,
        })
    }

    /// What makes constraints for its vocabulary: the first time this takes long.
    ///
    /// # Errors
    /// [`Error::Model`] where the vocabulary cannot be used.
    pub fn grammars(&self) -> Result<&Grammars> {
        self.grammars.get_or_init(|| Grammars::new(&self.tokenizer)).as_ref().map_err(Error::clone)
    }

    /// What a token is, for people and for programs.
    pub fn token_text(&self, id: u32) -> (String, Vec<u8>) {
        let bytes = match self.tokenizer.control_text(id) {
            Some(text) => text.as_bytes(),
            None => self.tokenizer.piece(id),
        };
        (String::from_utf8_lossy(bytes).into_owned(), bytes.to_vec())
    }
}
