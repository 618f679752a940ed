//! Flags that several commands share, and what they ask of the library.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Once;

use clap::Args;
use clap::builder::FalseyValueParser;
use wgllm_engine::backend::Precision;
use wgllm_engine::engine::{Choice, Options};
use wgllm_engine::gguf::Gguf;
use wgllm_engine::gpu::{Api, Masks};
use wgllm_engine::lookup;
use wgllm_engine::memory::{KV_FORMATS, KvFormat, kv_format};
use wgllm_engine::tokenizer::{Encode, Source, Tokenizer};
use wgllm_engine::{Error, Result};

use super::ids::{self, Ids};
use super::text;

/// Which backend to run on.
#[derive(Args, Clone)]
pub struct BackendFlag {
    /// Backend: auto, metal, vulkan, dx12 or cpu; only auto may choose the CPU, and says so
    #[arg(short, long, env = "WGLLM_BACKEND", hide_env = true, default_value = "auto", value_parser = backend)]
    pub backend: Choice,
}

/// Whether tokens are drafted.
#[derive(Args, Clone)]
pub struct LookupFlag {
    /// Draft up to N tokens at once from what was said before, and verify them together: the same text, sooner where it repeats itself; 0 is off
    #[arg(long, env = "WGLLM_LOOKUP", hide_env = true, value_name = "N", default_value_t = 0, value_parser = drafted)]
    pub lookup: usize,
}

/// Which device of a backend, and how to use it.
#[derive(Args, Clone)]
#[command(next_help_heading = "Device")]
pub struct Hardware {
    /// Adapter by its number in `wgllm devices`, or by a part of its name
    #[arg(long, env = "WGLLM_DEVICE", hide_env = true, value_name = "N|NAME")]
    pub device: Option<String>,
    /// Layers on the GPU: all, 0, or auto, which is -1 and leaves it to the backend (also -ngl)
    #[arg(long, env = "WGLLM_N_GPU_LAYERS", hide_env = true, value_name = "all|0|auto|N", value_parser = gpu_layers)]
    n_gpu_layers: Option<Layers>,
    /// Arithmetic: fast (what the adapter does best) or f32 (the reference's)
    #[arg(long, env = "WGLLM_PRECISION", hide_env = true, value_name = "P", default_value = "fast", value_parser = precision)]
    pub precision: Precision,
    /// How keys are kept: f32, f16 or q8_0; f16 where nothing is said and a GPU computes in fast, else f32 (also -ctk)
    #[arg(long, env = "WGLLM_CACHE_TYPE_K", hide_env = true, value_name = "TYPE", value_parser = cache_type)]
    cache_type_k: Option<&'static KvFormat>,
    /// How values are kept: the same (also -ctv)
    #[arg(long, env = "WGLLM_CACHE_TYPE_V", hide_env = true, value_name = "TYPE", value_parser = cache_type)]
    cache_type_v: Option<&'static KvFormat>,
    /// Rows of a prompt that are computed together (also -ub)
    #[arg(long, visible_alias = "ubatch-size", env = "WGLLM_BATCH_SIZE", hide_env = true, value_name = "N", default_value_t = 512, value_parser = at_least_one)]
    pub batch_size: usize,
    /// Threads of the CPU; -1 is one for each core
    #[arg(short, long, env = "WGLLM_THREADS", hide_env = true, value_name = "N", default_value_t = -1, value_parser = threads)]
    threads: i32,
    /// Do not use subgroup operations
    #[arg(long, env = "WGLLM_NO_SUBGROUPS", hide_env_values = true, value_parser = FalseyValueParser::new())]
    pub no_subgroups: bool,
    /// Do not use matrix units
    #[arg(long, env = "WGLLM_NO_COOP", hide_env_values = true, value_parser = FalseyValueParser::new())]
    pub no_coop: bool,
    /// Do not use what `bench --tune` found for the adapter
    #[arg(long, env = "WGLLM_NO_TUNE", hide_env_values = true, value_parser = FalseyValueParser::new())]
    pub no_tune: bool,
    /// Use no larger bindings of buffers than this
    #[arg(long, env = "WGLLM_MAX_BINDING", hide_env_values = true, value_name = "BYTES")]
    pub max_binding: Option<u64>,
}

impl Hardware {
    /// What of the adapter not to use.
    pub fn masks(&self) -> Masks {
        let &Hardware { no_subgroups, no_coop, no_tune, max_binding, .. } = self;
        Masks { no_subgroups, no_coop, no_tune, max_binding, ..Masks::default() }
    }

    /// What to open `file` with on `backend`, once the flags are found not to contradict each other.
    pub fn options(&self, backend: Choice, file: &Gguf) -> Result<Options> {
        if backend == Choice::Cpu && self.device.is_some() {
            return Err(Error::Usage("--device chooses a GPU, and -b cpu has none; give one of them".into()));
        }
        let backend = self.backend_for_layers(backend, file)?;
        Ok(Options {
            backend,
            device: self.device.clone(),
            masks: self.masks(),
            precision: self.precision,
            cache_type_k: self.cache_type_k,
            cache_type_v: self.cache_type_v,
            batch: self.batch_size,
            ..Options::default()
        })
    }

    /// What `-ngl` makes of the backend: it is all of them or none, and never ignored.
    fn backend_for_layers(&self, backend: Choice, file: &Gguf) -> Result<Choice> {
        let Some(Layers::Count(layers)) = self.n_gpu_layers else { return Ok(backend) };
        match (layers, backend) {
            (0, Choice::Auto) if self.device.is_none() => return Ok(Choice::Cpu),
            (0, Choice::Cpu) => return Ok(Choice::Cpu),
            (0, _) => return Err(Error::Usage("-ngl 0 is the CPU, but a GPU was asked for".into())),
            (_, Choice::Cpu) => return Err(Error::Usage("-ngl asks for a GPU, but -b cpu was given".into())),
            _ => {}
        }
        let blocks = match file.metadata().str("general.architecture")? {
            Some(architecture) => file.metadata().u32(&format!("{architecture}.block_count"))?,
            None => None,
        };
        if layers < blocks.unwrap_or(99).min(99) as usize {
            let what = format!(
                "-ngl {layers}: layers run all on the GPU or all on the CPU; give -ngl all or -ngl 0"
            );
            return Err(Error::Usage(what));
        }
        let hardware = || wgllm_engine::gpu::adapters().iter().any(|a| !a.info.software);
        if backend == Choice::Auto && self.device.is_none() && !hardware() {
            let what =
                "-ngl asks for a GPU, and -b auto finds none here; `wgllm devices` lists what there is";
            return Err(Error::Device(what.into()));
        }
        Ok(backend)
    }

    /// Sets the number of threads that the CPU backend uses: once, whatever is loaded later.
    pub fn set_threads(&self) -> Result<()> {
        static DONE: Once = Once::new();
        let mut built = Ok(());
        DONE.call_once(|| {
            if let Ok(threads @ 1..) = usize::try_from(self.threads) {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
                built = pool.map_err(|e| Error::Other(format!("{threads} threads: {e}")));
            }
        });
        built
    }
}

/// Whose tokens a text becomes.
#[derive(Args, Clone)]
pub struct TokenizerFlag {
    /// Use this tokenizer.json instead of the model's own tokenizer
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
}

impl TokenizerFlag {
    /// Where the tokenizer comes from.
    pub fn source(&self) -> Source {
        self.tokenizer.clone().map_or(Source::Model, Source::Json)
    }

    /// The tokenizer for the model of `file`, if there is one.
    pub fn open(&self, file: &Gguf) -> Result<Option<Tokenizer>> {
        self.source().open(file)
    }

    /// Whether there is one for the model of `file`, at no cost.
    pub fn is_there(&self, file: &Gguf) -> bool {
        self.tokenizer.is_some() || Tokenizer::is_in(file)
    }

    /// Takes the flag back: another model has other tokens.
    pub fn forget(&mut self) {
        self.tokenizer = None;
    }
}

/// A text from the command line, a file or standard input.
#[derive(Args, Clone)]
pub struct Text {
    /// Text, whatever it begins with; `-` alone reads standard input
    #[arg(short, long, value_name = "TEXT", conflicts_with = "file", allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// File with the text; `-` reads standard input
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

impl Text {
    /// The text, if one was given, byte for byte but for the mark in front of a file in UTF-8.
    pub fn read(&self) -> Result<Option<String>> {
        match (&self.prompt, &self.file) {
            (Some(text), _) if text != "-" => Ok(Some(text.clone())),
            (None, None) => Ok(None),
            (_, Some(file)) if file != Path::new("-") => {
                let bytes = std::fs::read(file);
                utf8(&file.display().to_string(), bytes).map(Some)
            }
            _ => all_of_standard_input().map(Some),
        }
    }

    /// The same without the line end that editors and `echo` put behind a text that is to be continued.
    pub fn read_prompt(&self) -> Result<Option<String>> {
        let mut text = self.read()?;
        if let Some(text) = &mut text
            && (self.file.is_some() || self.prompt.as_deref() == Some("-"))
        {
            without_line_end(text);
        }
        Ok(text)
    }
}

/// A text from standard input, without the line end that `echo` puts behind it.
pub fn read_standard_input() -> Result<String> {
    let mut text = all_of_standard_input()?;
    without_line_end(&mut text);
    Ok(text)
}

fn all_of_standard_input() -> Result<String> {
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().read_to_end(&mut bytes);
    utf8("standard input", read.map(|_| bytes))
}

fn without_line_end(text: &mut String) {
    if text.ends_with('\n') {
        text.pop();
        text.truncate(text.strip_suffix('\r').unwrap_or(text).len());
    }
}

fn utf8(source: &str, bytes: std::io::Result<Vec<u8>>) -> Result<String> {
    text::decode(source, bytes.map_err(|e| Error::Other(format!("{source}: {e}")))?)
}

/// A text or the token ids themselves.
#[derive(Args, Clone)]
pub struct Prompt {
    #[command(flatten)]
    pub text: Text,
    #[command(flatten)]
    pub tokenizer: TokenizerFlag,
    /// Token ids instead of a text: no BOS is added
    #[arg(long = "prompt-ids", visible_alias = "ids", value_name = "1,2,3", value_parser = ids::parse, conflicts_with_all = ["prompt", "file"])]
    pub ids: Option<Ids>,
}

impl Prompt {
    /// The ids, by the tokenizer for `file` where a text was given; none where nothing was.
    pub fn ids(&self, file: &Gguf) -> Result<Option<Vec<u32>>> {
        let ids = match (&self.ids, self.text.read_prompt()?) {
            (Some(Ids(ids)), _) => ids.clone(),
            (None, Some(text)) => encode(self.tokenizer.open(file)?.as_ref(), &text)?,
            (None, None) => return Ok(None),
        };
        if ids.is_empty() {
            return Err(Error::Usage("the prompt is empty: there is nothing to compute".into()));
        }
        Ok(Some(ids))
    }
}

/// The ids of a prompt's text: BOS where the vocabulary asks for it, and no control tokens out of what a user wrote.
pub fn encode(tokenizer: Option<&Tokenizer>, text: &str) -> Result<Vec<u32>> {
    need_tokenizer(tokenizer)?.encode(text, Encode { special: false, bos: true })
}

/// The tokenizer, or what to do without one.
pub fn need_tokenizer(tokenizer: Option<&Tokenizer>) -> Result<&Tokenizer> {
    tokenizer.ok_or_else(|| {
        Error::Model(
            "the file has no tokenizer (tokenizer.ggml.model); give one with --tokenizer FILE, or token ids with --prompt-ids".into(),
        )
    })
}

/// Reads `-b`.
pub fn backend(name: &str) -> Result<Choice, String> {
    match name {
        "auto" => Ok(Choice::Auto),
        "cpu" => Ok(Choice::Cpu),
        "metal" => Ok(Choice::Gpu(Api::Metal)),
        "vulkan" => Ok(Choice::Gpu(Api::Vulkan)),
        "dx12" => Ok(Choice::Gpu(Api::Dx12)),
        number if number.parse::<u32>().is_ok() => {
            Err(format!("-b is the backend; did you mean --batch-size {number}?"))
        }
        "cuda" | "opencl" | "rocm" | "hybrid" | "hybrid-f32" => {
            Err("every GPU runs by vulkan, dx12 or metal; known are auto, metal, vulkan, dx12, cpu".into())
        }
        _ => Err("known are auto, metal, vulkan, dx12, cpu".into()),
    }
}

fn precision(name: &str) -> Result<Precision, String> {
    match name {
        "fast" => Ok(Precision::Fast),
        "f32" => Ok(Precision::F32),
        _ => Err("known are fast and f32".into()),
    }
}

fn cache_type(name: &str) -> Result<&'static KvFormat, String> {
    let known = || KV_FORMATS.iter().map(|format| format.name).collect::<Vec<_>>().join(", ");
    kv_format(name).ok_or_else(|| format!("known are {}", known()))
}

/// What `-ngl` asks for.
#[derive(Clone, Copy, Debug)]
enum Layers {
    /// What `-b` makes of it.
    Auto,
    /// So many.
    Count(usize),
}

fn gpu_layers(text: &str) -> Result<Layers, String> {
    match text {
        "all" => Ok(Layers::Count(usize::MAX)),
        "auto" | "-1" => Ok(Layers::Auto),
        number => number
            .parse()
            .map(Layers::Count)
            .map_err(|_| "give all, 0, auto (or -1), or a number of layers".into()),
    }
}

/// The largest count: positions and rows are u32 on a device, and sums of a few counts must not wrap.
pub const MOST: usize = i32::MAX as usize;

/// Reads a count.
pub fn count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n <= MOST).ok_or_else(|| format!("expected a whole number, {MOST} at most"))
}

/// Reads the positions of a context.
pub fn context(text: &str) -> Result<usize, String> {
    let hint = if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
        ""
    } else {
        "; a configuration file is given with --config"
    };
    count(text).map_err(|e| format!("{e}{hint}"))
}

/// Reads a count that may not be 0.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    let number = count(text).ok().filter(|&n| n > 0);
    number.ok_or_else(|| format!("expected a whole number above 0, {MOST} at most"))
}

/// Reads the length of drafts.
fn drafted(text: &str) -> Result<usize, String> {
    let number = count(text).ok().filter(|&n| n <= lookup::MOST);
    number.ok_or_else(|| format!("expected a whole number, {} at most; 0 drafts nothing", lookup::MOST))
}

/// Reads a number of sequences at once: each has a context of its own.
pub fn parallel(text: &str) -> Result<usize, String> {
    let number = at_least_one(text).ok().filter(|&n| n <= 1024);
    number.ok_or_else(|| "expected a whole number from 1 to 1024".into())
}

/// Reads a number of threads: where there are many more than cores, starting them alone takes minutes.
fn threads(text: &str) -> Result<i32, String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let most = cores.max(512);
    let number: Option<i32> = text.parse().ok();
    let number = number.filter(|&n| usize::try_from(n).is_ok_and(|n| n <= most) || n == -1);
    number.ok_or_else(|| {
        format!("expected a whole number, {most} at most; this machine has {cores} cores, and -1 takes them")
    })
}

/// Refuses a context that no use of the model needs, before anything is made of that size.
///
/// Models are made to reach a few times as far as they were trained; 32 times as far leaves nothing to be wished for.
pub fn check_context(file: &Gguf, context: usize) -> Result<()> {
    let own = match file.metadata().get("general.architecture").and_then(|v| v.str()) {
        Some(architecture) => file.metadata().u32(&format!("{architecture}.context_length")).ok().flatten(),
        None => None,
    };
    let own = own.unwrap_or(0) as usize;
    let most = own.saturating_mul(32).clamp(1 << 20, MOST);
    if context <= most {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "a context of {context} positions: the model was made for {own}, and {most} is the most that is given; choose fewer"
    )))
}

/// Reads a temperature: what is below 0 counts as 0, as in llama.cpp.
pub fn temperature(text: &str) -> Result<f32, String> {
    finite(text).map(|t| t.max(0.0)).ok_or_else(|| "expected a number; 0 takes the likeliest token".into())
}

/// Reads a number of ranks: what is below 0 counts as 0, which is all, as in llama.cpp.
pub fn ranks(text: &str) -> Result<u32, String> {
    let number: Option<i64> = text.parse().ok();
    let number = number.and_then(|n| u32::try_from(n.max(0)).ok());
    number.ok_or_else(|| "expected a whole number below 2^32; 0 is all".into())
}

/// Reads a number above 0.
pub fn positive(text: &str) -> Result<f32, String> {
    finite(text).filter(|&x| x > 0.0).ok_or_else(|| "expected a number above 0".into())
}

/// Reads a number from 0 to 1.
pub fn share(text: &str) -> Result<f32, String> {
    finite(text).filter(|x| (0.0..=1.0).contains(x)).ok_or_else(|| "expected a number from 0 to 1".into())
}

fn finite(text: &str) -> Option<f32> {
    text.parse().ok().filter(|x: &f32| x.is_finite())
}
