//! `wgllm tokenize`: the ids of a text, or the text of ids.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use wgllm_engine::Error;
use wgllm_engine::tokenizer::Encode;

use super::Outcome;
use super::args::{Text, TokenizerFlag, need_tokenizer};
use super::ids::{self, Ids};
use super::model::ModelFlag;
use super::reporter::Reporter;

/// The arguments of `tokenize`.
#[derive(Args)]
pub struct Tokenize {
    #[command(flatten)]
    model: ModelFlag,
    #[command(flatten)]
    tokenizer: TokenizerFlag,
    #[command(flatten)]
    text: Text,
    /// Read the text of control tokens, such as <|im_end|>, as these tokens
    #[arg(long)]
    special: bool,
    /// Do not put BOS in front, nor EOS behind, where the vocabulary asks for it
    #[arg(long)]
    no_bos: bool,
    /// Print the text of these ids
    #[arg(long, value_name = "1,2,3", value_parser = ids::parse, conflicts_with_all = ["prompt", "file", "special", "no_bos"])]
    decode: Option<Ids>,
    #[command(flatten)]
    reporter: Reporter,
}

impl Tokenize {
    /// Runs the command.
    pub fn run(&self) -> Outcome {
        let text = self.text.read()?;
        let file = self.model.open(&self.reporter)?;
        let tokenizer = self.tokenizer.open(&file)?;
        let tokenizer = need_tokenizer(tokenizer.as_ref())?;
        let line = match (&self.decode, text) {
            (Some(Ids(ids)), _) => {
                if let Some(id) = ids.iter().find(|&&id| id as usize >= tokenizer.vocab_size()) {
                    let size = tokenizer.vocab_size();
                    return Err(Error::Usage(format!("token {id} is not in the vocabulary of {size}")).into());
                }
                tokenizer.decode(ids)
            }
            (None, Some(text)) => {
                let ids = tokenizer.encode(&text, Encode { special: self.special, bos: !self.no_bos })?;
                ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ")
            }
            (None, None) => {
                let what =
                    "nothing to tokenize: give -p TEXT, -f FILE, -f - for standard input, or --decode IDS";
                return Err(Error::Usage(what.into()).into());
            }
        };
        writeln!(std::io::stdout(), "{line}")?;
        Ok(ExitCode::SUCCESS)
    }
}
