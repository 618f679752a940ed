//! Where the model comes from: the file given with `-m`, the name given with `-hf`, or the one that the program carries.

use std::path::PathBuf;

use clap::Args;
use wgllm_engine::engine::{Engine, Options};
use wgllm_engine::gguf::Gguf;
use wgllm_engine::hub::Name;
use wgllm_engine::sampler::Sampling;
use wgllm_engine::{Error, Result, models};

use super::args::{self, Hardware};
use super::reporter::Reporter;
use super::{interrupt, pull, report};

/// The variable that stands for `-m`.
const MODEL: &str = "WGLLM_MODEL";

/// The flags `-m` and `-hf`.
#[derive(Args, Clone)]
pub struct ModelFlag {
    /// Model: a GGUF file, or a folder with config.json and safetensors files; without it, the small story model that wgllm carries
    #[arg(short, long, env = MODEL, hide_env = true, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// Model by its name on Hugging Face's hub, fetched unless it is in the cache (also -hf)
    #[arg(long, value_name = "ORG/REPO[:QUANT]")]
    pub hf_repo: Option<Name>,
}

impl ModelFlag {
    /// Opens the file; fetches it before, where it has a name and is not in the cache.
    pub fn open(&self, reporter: &Reporter) -> Result<Gguf> {
        match (&self.model, &self.hf_repo) {
            // A flag goes before a variable.
            (Some(path), Some(_)) if std::env::var_os(MODEL).is_none_or(|set| set != *path) => {
                Err(Error::Usage("-m and -hf both say which model; give one of them".into()))
            }
            (_, Some(name)) => Gguf::open(&pull::file(name, reporter)?),
            (Some(path), None) => models::open(path),
            (None, None) => carried(),
        }
    }

    /// Whether it is the model that the program carries.
    pub fn is_carried(&self) -> bool {
        self.model.is_none() && self.hf_repo.is_none()
    }

    /// The temperature where nobody says one: the carried model tells better stories a little below the others.
    pub fn temperature(&self) -> f32 {
        if self.is_carried() { 0.7 } else { Sampling::default().temperature }
    }
}

/// Prepares the model of `file` for running, with a progress bar, and says what it runs on.
pub fn load(file: Gguf, options: &Options, hardware: &Hardware, reporter: &Reporter) -> Result<Engine> {
    if let Some(context) = options.context {
        args::check_context(&file, context)?;
    }
    hardware.set_threads()?;
    let bar = reporter.bytes_bar("loading");
    let engine = Engine::with_file(file, options, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let engine = engine?;
    interrupt::flag().check()?;
    for note in &engine.notes {
        reporter.say(format_args!("note: {note}"));
    }
    reporter.say(report::device_line(&engine.backend.device()));
    reporter.say(report::load_line(&engine));
    Ok(engine)
}

/// Bytes at an address that suits every type that tensors hold.
#[cfg(feature = "embedded-model")]
#[repr(C, align(64))]
struct Aligned<T: ?Sized>(T);

#[cfg(feature = "embedded-model")]
fn carried() -> Result<Gguf> {
    static MODEL: &Aligned<[u8]> =
        &Aligned(*include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/demo-q8_0.gguf")));
    Gguf::from_static("demo-q8_0.gguf", &MODEL.0)
}

#[cfg(not(feature = "embedded-model"))]
fn carried() -> Result<Gguf> {
    Err(Error::Usage("this build of wgllm carries no model; give one with -m FILE".into()))
}
