//! `wgllm pull`, and what `-hf` does: a model by its name.

use std::path::PathBuf;
#[cfg(feature = "pull")]
use std::{io::Write, process::ExitCode};

#[cfg(feature = "pull")]
use clap::Args;
use wgllm_engine::Result;
use wgllm_engine::hub::{self, Name, Settings};

use super::reporter::Reporter;
#[cfg(feature = "pull")]
use super::{Outcome, interrupt, text::bytes};

/// The arguments of `pull`.
#[cfg(feature = "pull")]
#[derive(Args)]
pub struct Pull {
    /// ORG/REPO, ORG/REPO:QUANT or ORG/REPO:FILE.gguf
    name: Name,
    #[command(flatten)]
    reporter: Reporter,
}

#[cfg(feature = "pull")]
impl Pull {
    /// Runs the command.
    pub fn run(&self) -> Outcome {
        let path = fetch(&Settings::from_environment()?, &self.name, &self.reporter)?;
        writeln!(std::io::stdout(), "{}", path.display())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The file of a model that is in the cache, or is fetched now.
pub fn file(name: &Name, reporter: &Reporter) -> Result<PathBuf> {
    let settings = Settings::from_environment()?;
    match hub::find(&settings.cache, name) {
        Some(path) => Ok(path),
        None => fetch(&settings, name, reporter),
    }
}

#[cfg(feature = "pull")]
fn fetch(settings: &Settings, name: &Name, reporter: &Reporter) -> Result<PathBuf> {
    use hub::Event;
    let bar = reporter.fetch_bar("fetching");
    let mut fetching = false;
    let pulled = hub::pull(settings, name, interrupt::flag(), &mut |event| match event {
        Event::Chosen(files, total) => {
            bar.suspend(|| {
                reporter.say(format_args!("{}: {} ({})", name.repo, files.join(", "), bytes(total)))
            });
            bar.set_length(total);
        }
        Event::Progress(done, fetched) => {
            bar.set_position(done);
            // What was there before says nothing about the speed.
            if fetched && !std::mem::replace(&mut fetching, true) {
                bar.reset_eta();
            }
        }
        Event::Note(note) => bar.suspend(|| reporter.say(note)),
    });
    bar.finish_and_clear();
    let pulled = pulled?;
    match pulled.fetched {
        0 => reporter.say("nothing to fetch: it is in the cache"),
        fetched => reporter.say(format_args!("fetched {}", bytes(fetched))),
    }
    Ok(pulled.path)
}

#[cfg(not(feature = "pull"))]
fn fetch(settings: &Settings, name: &Name, _: &Reporter) -> Result<PathBuf> {
    let what = "is not there, and this build of wgllm fetches nothing";
    Err(wgllm_engine::Error::Usage(format!("{name}: in {} it {what}", settings.cache.display())))
}
