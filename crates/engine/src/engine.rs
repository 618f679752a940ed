//! Opens a model on a backend: the one place that knows all backends and decides between them.
//!
//! An explicit backend or device is a contract: it runs there or ends with an error. Only [`Choice::Auto`] may take the CPU, and
//! says so in [`Engine::notes`].

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::backend::{Backend, Precision, RuntimeConfig};
use crate::blocking::block_on;
use crate::cancel::Cancel;
use crate::cpu::Cpu;
use crate::error::{Error, Result};
use crate::gguf::Gguf;
use crate::gpu::{self, Gpu, Masks};
use crate::graph::Head;
use crate::memory::{Kv, KvFormat, Pages};
use crate::models::{self, Model};
use crate::tokenizer::{Source, Tokenizer};

/// Positions of the KV cache unless more are asked for: a model may be made for far more than fits.
pub const DEFAULT_CONTEXT: usize = 4096;

/// Which backend to run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Choice {
    /// The best hardware adapter, or the CPU where there is none.
    #[default]
    Auto,
    /// The reference.
    Cpu,
    /// An adapter of this API.
    Gpu(gpu::Api),
}

/// What a model is opened with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which backend to run on.
    pub backend: Choice,
    /// Which of its adapters: a number of `wgllm devices`, or a part of a name.
    pub device: Option<String>,
    /// What of the adapter not to use.
    pub masks: Masks,
    /// How to compute.
    pub precision: Precision,
    /// How keys are kept; none: f32 on the CPU, and on a GPU as `precision` says.
    pub cache_type_k: Option<&'static KvFormat>,
    /// The same of values.
    pub cache_type_v: Option<&'static KvFormat>,
    /// Positions of the KV cache; 0: the model's own; none: the smaller of that and [`DEFAULT_CONTEXT`].
    pub context: Option<usize>,
    /// Rows of a prefill step.
    pub batch: usize,
    /// Sequences that are kept side by side.
    pub slots: usize,
    /// Whether all of them share the positions of one context, instead of having one each.
    pub shared: bool,
    /// Only the first layers of the model.
    pub layers: Option<usize>,
    /// What is computed of output rows.
    pub head: Head,
    /// Every node by a dispatch of its own.
    pub unfused: bool,
    /// Which tokenizer is opened.
    pub tokenizer: Source,
    /// Gives up loading between its steps once it is raised.
    pub cancel: Cancel,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            backend: Choice::Auto,
            device: None,
            masks: Masks::default(),
            precision: Precision::Fast,
            cache_type_k: None,
            cache_type_v: None,
            context: None,
            batch: 512,
            slots: 1,
            shared: false,
            layers: None,
            head: Head::Logits,
            unfused: false,
            tokenizer: Source::Model,
            cancel: Cancel::new(),
        }
    }
}

impl Options {
    /// How keys and values are kept, on a GPU or on the CPU.
    pub fn kv(&self, on_gpu: bool) -> Kv {
        let usual = if on_gpu { Kv::of(self.precision) } else { Kv::F32 };
        Kv {
            keys: self.cache_type_k.unwrap_or(usual.keys),
            values: self.cache_type_v.unwrap_or(usual.values),
        }
    }
}

/// How far loading is: bytes of weights on the device, of all bytes.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// A model, ready to run.
pub struct Engine {
    /// The model file.
    pub file: Arc<Gguf>,
    /// Its graph.
    pub model: Arc<Model>,
    /// Its tokenizer, where there is one.
    pub tokenizer: Option<Tokenizer>,
    /// What it runs on.
    pub backend: Box<dyn Backend>,
    /// What was asked of the backend.
    pub plan: RuntimeConfig,
    /// From the call to readiness, in ms.
    pub load_ms: f64,
    /// Whether `auto` chose the CPU.
    pub fallback: bool,
    /// What the user should be told.
    pub notes: Vec<String>,
}

impl Engine {
    /// Opens the model at `path`, on a thread that may wait.
    pub fn open(path: &Path, options: &Options, progress: Progress<'_>) -> Result<Engine> {
        Engine::with_file(models::open(path)?, options, progress)
    }

    /// [`Engine::with_file_async`], on a thread that may wait.
    pub fn with_file(file: Gguf, options: &Options, progress: Progress<'_>) -> Result<Engine> {
        block_on(Engine::with_file_async(file, options, progress))
    }

    /// Opens a model from an opened file.
    pub async fn with_file_async(file: Gguf, options: &Options, progress: Progress<'_>) -> Result<Engine> {
        let start = Instant::now();
        let file = Arc::new(file);
        let mut model = Model::for_context(&file, options.layers, 0, options.head)?;
        let tokenizer = options.tokenizer.open(&file)?;
        let mut notes: Vec<String> = tokenizer.iter().flat_map(|t| t.warnings().to_vec()).collect();
        let context = match options.context {
            Some(0) => model.context_length,
            Some(c) => c,
            None => {
                model.context_length.min(DEFAULT_CONTEXT).min(model.original_context.unwrap_or(usize::MAX))
            }
        };
        if model.original_context.is_some_and(|original| context > original) {
            model = Model::for_context(&file, options.layers, context, options.head)?;
        }
        let model = Arc::new(model);
        if let Some(most) = model.position_limit.filter(|&most| context > most) {
            return Err(Error::Usage(format!("-c {context}: this model knows {most} positions and no more")));
        }
        if context > model.context_length {
            let own = model.context_length;
            notes.push(format!("a context of {context} is more than the {own} that the model was made for"));
        }
        let rows = options.batch.clamp(1, context);
        let mut fallback = false;
        let adapter = match options.backend {
            Choice::Cpu => None,
            Choice::Gpu(api) => {
                Some(gpu::choose_async(Some(api), options.device.as_deref(), options.masks).await?)
            }
            Choice::Auto if options.device.is_some() => {
                Some(gpu::choose_async(None, options.device.as_deref(), options.masks).await?)
            }
            Choice::Auto => {
                let best = gpu::best_async(options.masks).await?;
                if best.is_none() {
                    fallback = true;
                    notes.push("no GPU was found: running on the CPU (choose with -b to avoid this)".into());
                }
                best
            }
        };
        let mut plan = RuntimeConfig {
            kv: options.kv(adapter.is_some()),
            ..RuntimeConfig::new(context, options.slots, rows, options.precision)
        };
        if options.shared {
            plan.pages = Pages::of(context);
        }
        let backend: Box<dyn Backend> = match adapter {
            Some(device) => {
                options.cancel.check()?;
                let (file, model) = (file.clone(), model.clone());
                Box::new(Gpu::new_async(device, file, model, plan, options.unfused, progress).await?)
            }
            None => Box::new(Cpu::new(file.clone(), model.clone(), plan)?),
        };
        notes.extend_from_slice(backend.notes());
        let load_ms = start.elapsed().as_secs_f64() * 1e3;
        Ok(Engine { file, model, tokenizer, backend, plan, load_ms, fallback, notes })
    }
}
