//! What form answers must have: flags, and the constraint that comes of them. Without the cargo feature `grammar` there are none.

use clap::Args;
use wgllm_engine::Result;
use wgllm_engine::chat::{ChatTemplate, Dialog};
use wgllm_engine::constraint::Constraint;
use wgllm_engine::tokenizer::Tokenizer;

/// The flags.
#[derive(Args, Clone)]
#[command(next_help_heading = "Form of the answer")]
pub struct FormFlags {
    /// Answer with JSON that is valid by this schema: its text, or a file
    #[cfg(feature = "grammar")]
    #[arg(short = 'j', long, value_name = "JSON|FILE", conflicts_with = "grammar")]
    json_schema: Option<String>,
    /// Answer in the language of this file's grammar, which is Lark as llguidance knows it
    #[cfg(feature = "grammar")]
    #[arg(long, value_name = "FILE")]
    grammar: Option<String>,
}

/// What makes constraints for a vocabulary, once they are wanted.
#[derive(Default)]
pub struct Made {
    #[cfg(feature = "grammar")]
    grammars: std::cell::OnceCell<wgllm_engine::grammar::Grammars>,
}

#[cfg(not(feature = "grammar"))]
impl FormFlags {
    /// None.
    pub fn of_dialog(
        &self,
        _: &Dialog<'_>,
        _: &ChatTemplate,
        _: &Tokenizer,
        _: &Made,
    ) -> Result<Option<Constraint>> {
        Ok(None)
    }

    /// None.
    pub fn of_text(&self, _: Option<&Tokenizer>) -> Result<Option<Constraint>> {
        Ok(None)
    }
}

#[cfg(feature = "grammar")]
mod given {
    use wgllm_engine::Error;
    use wgllm_engine::chat::{answer_grammar, thought_ahead};
    use wgllm_engine::grammar::{Grammars, Language};

    use super::*;
    use crate::args;

    impl FormFlags {
        /// The constraint on the next answer of a dialog.
        ///
        /// # Errors
        /// [`Error::Usage`] where a flag's value cannot be kept to.
        pub fn of_dialog(
            &self,
            dialog: &Dialog<'_>,
            template: &ChatTemplate,
            tokenizer: &Tokenizer,
            made: &Made,
        ) -> Result<Option<Constraint>> {
            let Some((flag, language)) = self.language()? else { return Ok(None) };
            let prompt = dialog.prompt()?.text();
            let thought = thought_ahead(&prompt, template.text(), tokenizer)?;
            let grammars = made.of(tokenizer)?;
            let grammar = answer_grammar(language.clone(), Some(&prompt), tokenizer);
            if grammar.is_framed() {
                grammars.check(&language).map_err(|error| named(flag, error))?;
            }
            grammars.constraint(&grammar, thought).map(Some).map_err(|error| named(flag, error))
        }

        /// The constraint on what continues a text.
        ///
        /// # Errors
        /// The same, and where there is no tokenizer.
        pub fn of_text(&self, tokenizer: Option<&Tokenizer>) -> Result<Option<Constraint>> {
            let Some((flag, language)) = self.language()? else { return Ok(None) };
            let made = Made::default();
            let grammars = made.of(args::need_tokenizer(tokenizer)?)?;
            grammars.constraint(&language.into(), None).map(Some).map_err(|error| named(flag, error))
        }

        /// What was asked for, and by which flag.
        fn language(&self) -> Result<Option<(&'static str, Language)>> {
            Ok(match (&self.json_schema, &self.grammar) {
                (Some(schema), _) => Some(("--json-schema", Language::JsonSchema(schema_of(schema)?))),
                (None, Some(file)) => Some(("--grammar", Language::Lark(read("--grammar", file)?))),
                (None, None) => None,
            })
        }
    }

    impl Made {
        fn of(&self, tokenizer: &Tokenizer) -> Result<&Grammars> {
            if self.grammars.get().is_none() {
                let _ = self.grammars.set(Grammars::new(tokenizer)?);
            }
            self.grammars.get().ok_or_else(|| Error::Other("no grammars were made".into()))
        }
    }

    /// An error of what was given, with its flag.
    fn named(flag: &str, error: Error) -> Error {
        match error {
            Error::Usage(what) => Error::Usage(format!("{flag}: {what}")),
            other => other,
        }
    }

    fn read(flag: &str, file: &str) -> Result<String> {
        std::fs::read_to_string(file).map_err(|e| Error::Usage(format!("{flag} {file}: {e}")))
    }

    /// A schema, or that of a file.
    fn schema_of(given: &str) -> Result<serde_json::Value> {
        let is_text = given.trim_start().starts_with(['{', '[']) || ["true", "false"].contains(&given.trim());
        let text = if is_text { given.to_owned() } else { read("--json-schema", given)? };
        serde_json::from_str(&text).map_err(|e| Error::Usage(format!("--json-schema is no JSON: {e}")))
    }
}
