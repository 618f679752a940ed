//! `wgllm rm`: removes a model from the cache of the hub's tools.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use wgllm_engine::hub::{self, Name, Settings};

use super::text::bytes;
use super::{Outcome, plain};

/// The arguments of `rm`.
#[derive(Args)]
pub struct Rm {
    /// ORG/REPO:QUANT, or ORG/REPO for all of its models and what is unfinished of them
    name: Name,
}

impl Rm {
    /// Runs the command.
    pub fn run(&self) -> Outcome {
        let removed = hub::remove(&Settings::from_environment()?.cache, &self.name)?;
        let mut out = std::io::stdout();
        for path in &removed.files {
            writeln!(out, "removed {}", plain::line(&path.display().to_string()))?;
        }
        writeln!(out, "{} are free again", bytes(removed.bytes))?;
        Ok(ExitCode::SUCCESS)
    }
}
