//! `wgllm list`: the models that are in the cache of the hub's tools.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use wgllm_engine::hub::{self, Settings};

use super::text::{bytes, table};
use super::{Outcome, plain};

/// The arguments of `list`.
#[derive(Args)]
pub struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl List {
    /// Runs the command.
    pub fn run(&self) -> Outcome {
        let settings = Settings::from_environment()?;
        let (models, unfinished) = hub::list(&settings.cache)?;
        let text = if self.json {
            let model =
                |m: &hub::Cached| json!({ "name": m.name.to_string(), "bytes": m.bytes, "file": m.path });
            let models: Vec<_> = models.iter().map(model).collect();
            format!(
                "{}\n",
                json!({ "cache": settings.cache, "models": models, "unfinished_bytes": unfinished })
            )
        } else {
            let row = |m: &hub::Cached| {
                let path = m.path.display().to_string();
                vec![m.name.to_string(), bytes(m.bytes), plain::line(&path).into()]
            };
            let mut text = table(&models.iter().map(row).collect::<Vec<_>>());
            if models.is_empty() {
                text = format!("no models in {}\n", plain::line(&settings.cache.display().to_string()));
            }
            if unfinished > 0 {
                text += &format!("unfinished: {}\n", bytes(unfinished));
            }
            text
        };
        std::io::stdout().write_all(text.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}
