//! What a template made of a conversation: text for people, token ids for the model.

use super::guard::Marks;
use crate::error::{Error, Result};
use crate::tokenizer::{Encode, Part, Tokenizer};

/// A prompt. Its special tokens are the template's; people's text has none.
#[derive(Clone, Debug)]
pub struct Rendered {
    marked: String,
    /// Absent where the template knew no vocabulary.
    marks: Option<Marks>,
}

impl Rendered {
    pub(super) fn new(marked: String, marks: Option<Marks>) -> Rendered {
        Rendered { marked, marks }
    }

    /// The prompt as text.
    pub fn text(&self) -> String {
        match &self.marks {
            Some(marks) => marks.remove(&self.marked),
            None => self.marked.clone(),
        }
    }

    /// The prompt as token ids, by the tokenizer that the template was made for. BOS comes first where the vocabulary
    /// asks for it, once, whether or not the template wrote it. No EOS: the model goes on.
    ///
    /// # Errors
    /// [`Error::Other`] if the template was made for no vocabulary, so that people's text was not kept apart;
    /// [`Error::Model`] if the vocabulary has no token for a byte of the text.
    pub fn encode(&self, tokenizer: &Tokenizer) -> Result<Vec<u32>> {
        let Some(marks) = &self.marks else {
            let what =
                "this prompt was rendered for no vocabulary: make its template with ChatTemplate::for_model";
            return Err(Error::Other(what.into()));
        };
        let mut ids = Vec::new();
        for part in tokenizer.split(&self.marked) {
            match part {
                Part::Token(id) => ids.push(id),
                Part::Text(text) => ids.extend(tokenizer.encode(&marks.remove(text), Encode::default())?),
            }
        }
        if let Some(bos) = tokenizer.bos() {
            let written = ids.iter().take_while(|&&id| id == bos).count();
            if written > 1 {
                ids.drain(1..written);
            } else if written == 0 && tokenizer.adds_bos() {
                ids.insert(0, bos);
            }
        }
        Ok(ids)
    }
}
