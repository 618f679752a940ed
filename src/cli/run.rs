//! `wgllm run`, and `wgllm` without a command: continues a prompt.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use wgllm::backend::Backend;
use wgllm::engine::{Engine, Options};
use wgllm::models::Model;
use wgllm::sampler::Sampling;
use wgllm::session::{Finish, Session, Timings};
use wgllm::tokenizer::{Stream, Tokenizer};
use wgllm::{Error, Result};

use super::args::{self, BackendFlag, Hardware, Prompt};
use super::ids::Ids;
use super::model::{self, ModelFlag};
use super::profile::Profiled;
use super::report::{self, Bandwidth};
use super::reporter::Reporter;
use super::{Outcome, Quit, devices, interrupt};
use wgllm::stops::Stops;

/// How the story begins that is told when nothing is asked for.
const OPENING: &str = "Once upon a time";

/// The arguments of `run`.
#[derive(Args)]
pub struct Run {
    #[command(flatten)]
    model: ModelFlag,
    #[command(flatten)]
    prompt: Prompt,
    /// Tokens to generate at most; -1 goes on to the model's end token or the end of the context
    #[arg(short = 'n', long = "predict", visible_alias = "max-tokens", env = "WGLLM_N_PREDICT", hide_env = true, value_name = "N", default_value_t = -1, value_parser = clap::value_parser!(i64).range(-1..))]
    predict: i64,
    /// Positions of the context; 0 is what the model was made for [default: that, but 4096 at most]
    #[arg(short, long, env = "WGLLM_CTX_SIZE", hide_env = true, value_name = "N", value_parser = args::count)]
    ctx_size: Option<usize>,
    #[command(flatten)]
    backend: BackendFlag,
    #[command(flatten)]
    hardware: Hardware,
    #[command(flatten)]
    choice: SamplingFlags,
    /// Print one JSON object at the end instead of the text
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Say at the end where the time of a token goes on the GPU
    #[arg(long, help_heading = "Output")]
    profile: bool,
    #[command(flatten)]
    reporter: Reporter,
    /// List the GPUs that can be used, like `wgllm devices`
    #[arg(long)]
    list_devices: bool,
}

/// How tokens are chosen, and when that ends.
#[derive(Args)]
#[command(next_help_heading = "Sampling")]
struct SamplingFlags {
    /// Temperature; 0 and below take the most likely token [default: 0.8; 0.7 for the carried model]
    #[arg(long, visible_alias = "temperature", env = "WGLLM_TEMP", hide_env = true, value_name = "T", value_parser = args::temperature)]
    temp: Option<f32>,
    /// Choose among this many of the likeliest tokens; 0 and below are all
    #[arg(long, env = "WGLLM_TOP_K", hide_env = true, value_name = "K", default_value_t = 40, value_parser = args::ranks)]
    top_k: u32,
    /// Choose among the likeliest tokens that have this share of the probability together
    #[arg(long, env = "WGLLM_TOP_P", hide_env = true, value_name = "P", default_value_t = 0.95, value_parser = args::share)]
    top_p: f32,
    /// Choose among tokens of this probability at least, in terms of the likeliest
    #[arg(long, env = "WGLLM_MIN_P", hide_env = true, value_name = "P", default_value_t = 0.05, value_parser = args::share)]
    min_p: f32,
    /// Make recent tokens less likely by this factor; 1 is off
    #[arg(long, env = "WGLLM_REPEAT_PENALTY", hide_env = true, value_name = "X", default_value_t = 1.0, value_parser = args::positive)]
    repeat_penalty: f32,
    /// How many tokens are recent; -1 is all of the context
    #[arg(long, env = "WGLLM_REPEAT_LAST_N", hide_env = true, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(i32).range(-1..))]
    repeat_last_n: i32,
    /// Seed: the same one gives the same text on the same device; -1 takes a random one
    #[arg(short, long, env = "WGLLM_SEED", hide_env = true, value_name = "N", default_value_t = -1, value_parser = clap::value_parser!(i64).range(-1..))]
    seed: i64,
    /// End before this text, whatever it begins with; may be given several times
    #[arg(
        short = 'r',
        long = "stop",
        visible_alias = "reverse-prompt",
        value_name = "TEXT",
        allow_hyphen_values = true
    )]
    stop: Vec<String>,
    /// Make the model's end tokens impossible, so that it goes on to the limit
    #[arg(long)]
    ignore_eos: bool,
}

impl SamplingFlags {
    /// How many tokens are recent: there are never more than positions of the context.
    fn window(&self, context: usize) -> u32 {
        let context = u32::try_from(context).unwrap_or(u32::MAX);
        u32::try_from(self.repeat_last_n).unwrap_or(u32::MAX).min(context)
    }

    fn sampling(&self, tokenizer: Option<&Tokenizer>) -> Sampling {
        let ends = tokenizer.filter(|_| self.ignore_eos).map(Tokenizer::end_tokens);
        Sampling {
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repeat_penalty: self.repeat_penalty,
            seed: u64::try_from(self.seed).unwrap_or_else(|_| random_seed()),
            banned: ends.into_iter().flatten().copied().collect(),
            ..Sampling::default()
        }
    }
}

/// Short enough to be typed again.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish() >> 32
}

impl Run {
    /// Runs the command.
    pub fn run(&self) -> Outcome {
        if self.list_devices {
            return devices::print_table();
        }
        let text = self.prompt.text.read_prompt()?;
        if text.is_none() && self.prompt.ids.is_none() && !self.model.is_carried() {
            let what = "nothing to continue: give a prompt with -p TEXT, -f FILE, or -f - for standard input";
            return Err(Error::Usage(what.into()).into());
        }
        let file = self.model.open(&self.reporter)?;
        if text.is_some() && !Tokenizer::is_in(&file) {
            // What else is wrong with the file says more.
            Model::from_gguf(&file, None)?;
            args::need_tokenizer(None)?;
        }
        let options =
            Options { context: self.ctx_size, ..self.hardware.options(self.backend.backend, &file)? };
        let mut engine = model::load(file, &options, &self.hardware, &self.reporter)?;
        if self.profile {
            engine.backend.can_profile()?;
        }
        let (ids, text) = self.tokens(text, engine.tokenizer.as_ref())?;
        let sampling = Sampling {
            repeat_last_n: self.choice.window(engine.plan.context),
            temperature: self.choice.temp.unwrap_or(if self.model.is_carried() { 0.7 } else { 0.8 }),
            ..self.choice.sampling(engine.tokenizer.as_ref())
        };
        self.reporter.detail(format_args!("prompt ids {ids:?} · {sampling:?}"));
        self.generate(&mut engine, &ids, &text, &sampling)
    }

    /// The prompt's ids, and its text as it is shown.
    fn tokens(&self, text: Option<String>, tokenizer: Option<&Tokenizer>) -> Result<(Vec<u32>, String)> {
        if let Some(Ids(ids)) = &self.prompt.ids {
            let text = tokenizer.map_or_else(|| numbers(ids), |t| t.decode(ids));
            return Ok((ids.clone(), text));
        }
        let text = text.unwrap_or_else(|| {
            self.reporter.say("no prompt: a story begins (give yours with -p)");
            OPENING.into()
        });
        Ok((args::encode(tokenizer, &text)?, text))
    }

    fn generate(&self, engine: &mut Engine, ids: &[u32], text: &str, sampling: &Sampling) -> Outcome {
        let limit = usize::try_from(self.predict).ok();
        let tokenizer = engine.tokenizer.as_ref();
        let mut shown = Shown {
            tokenizer: tokenizer.filter(|_| !self.choice.ignore_eos),
            stream: tokenizer.map(Tokenizer::stream),
            stops: Stops::new(&self.choice.stop),
            live: !self.json,
            prompt: text,
            text: String::new(),
            ids: Vec::new(),
        };
        let mut end = None;
        let mut session = Session::new(engine.backend.as_mut(), engine.plan, engine.model.vocab_size);
        let (finish, timings) = session.generate(ids, sampling, limit, &mut |id| {
            end = shown.token(id).transpose();
            if end.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        let end = end.transpose()?;
        shown.finish(end)?;

        // Nothing more is measured for somebody who does not want to wait.
        let interrupted = end == Some(End::Interrupt);
        let wanted = (self.json || !self.reporter.quiet) && !interrupted;
        let tps = timings.decode_tps();
        let bandwidth = match wanted {
            true => Bandwidth::of(engine.backend.as_mut(), &engine.model, tps),
            false => Bandwidth { device: None, share: None },
        };
        self.reporter.say(report::timing_line(&timings, &bandwidth, engine.load_ms, sampling.seed));
        self.reporter.detail(format_args!(
            "pipelines made in {:.0} ms · {} dispatches a token",
            engine.backend.pipelines_ms(),
            engine.backend.placement().dispatches_per_token
        ));
        let profiled = match self.profile && !interrupted {
            true => Some(profile(engine.backend.as_mut(), engine.plan.context, &timings)?),
            false => None,
        };
        if let Some(profiled) = &profiled {
            self.reporter.always(format_args!("\n{}", profiled.table()));
        }
        if self.json {
            let reason = match (finish, end) {
                (_, Some(End::Interrupt)) => "interrupted",
                (Finish::Stopped, _) => "stop",
                (Finish::Length, _) => "length",
                (Finish::Context, _) => "context",
            };
            let mut object = json(engine, &shown, &timings, reason, sampling.seed, bandwidth.share);
            if let (Some(object), Some(profiled)) = (object.as_object_mut(), profiled) {
                object.extend(profiled.json());
            }
            print(&format!("{object}\n"))?;
        }
        Ok(if interrupted { ExitCode::from(Error::Interrupted.exit_code()) } else { ExitCode::SUCCESS })
    }
}

/// Profiles a step in the middle of what was generated.
fn profile(backend: &mut dyn Backend, context: usize, timings: &Timings) -> Result<Profiled> {
    let middle = timings.prompt_tokens + timings.tokens / 2;
    Profiled::measure(backend, middle.min(context - 1), 1, timings.us_per_token())
}

/// Writes to standard output what must be seen at once.
fn print(text: &str) -> Result<(), Quit> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Why a generation ends before its limit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Token,
    Text,
    Interrupt,
}

/// What has been generated, and what of it has been shown.
struct Shown<'t> {
    /// Knows the end tokens; none where they do not end anything.
    tokenizer: Option<&'t Tokenizer>,
    /// None where the model has no tokenizer: then the ids are the text.
    stream: Option<Stream<'t>>,
    stops: Stops,
    /// Whether text is printed as it comes.
    live: bool,
    /// What is printed before the first of it: when that comes, nothing can be wrong with the arguments any more.
    prompt: &'t str,
    text: String,
    ids: Vec<u32>,
}

impl Shown<'_> {
    /// Takes a token, shows what can be shown, and says whether this is the end.
    fn token(&mut self, id: u32) -> Result<Option<End>, Quit> {
        if interrupt::answer() {
            return Ok(Some(End::Interrupt));
        }
        if self.tokenizer.is_some_and(|t| t.is_end(id)) {
            return Ok(Some(End::Token));
        }
        self.ids.push(id);
        let piece = match &mut self.stream {
            Some(stream) => stream.push(id),
            None => format!(" {id}"),
        };
        let (text, stop) = self.stops.push(&piece);
        self.show(&text)?;
        Ok(stop.then_some(End::Text))
    }

    /// Shows what was held back, unless a stop string has come, and ends the line.
    fn finish(&mut self, end: Option<End>) -> Result<(), Quit> {
        if end != Some(End::Text) {
            let rest = self.stream.take().map(Stream::finish).unwrap_or_default();
            let (text, stop) = self.stops.push(&rest);
            let held = self.stops.finish();
            self.show(&text)?;
            self.show(if stop { "" } else { &held })?;
        }
        if self.live { print("\n") } else { Ok(()) }
    }

    fn show(&mut self, text: &str) -> Result<(), Quit> {
        self.text.push_str(text);
        if !self.live {
            return Ok(());
        }
        let prompt = std::mem::take(&mut self.prompt);
        if prompt.is_empty() && text.is_empty() { Ok(()) } else { print(&format!("{prompt}{text}")) }
    }
}

fn numbers(ids: &[u32]) -> String {
    ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ")
}

fn json(
    engine: &Engine,
    shown: &Shown<'_>,
    timings: &Timings,
    reason: &str,
    seed: u64,
    bandwidth_share: Option<f64>,
) -> serde_json::Value {
    let memory = engine.backend.memory();
    json!({
        "text": shown.text,
        "tokens": shown.ids,
        "prompt_tokens": timings.prompt_tokens,
        "finish_reason": reason,
        "seed": seed,
        "fallback": engine.fallback,
        "device": report::device_json(&engine.backend.device()),
        "placement": engine.backend.placement(),
        "memory": {
            "weights": memory.weights,
            "kv": memory.kv,
            "type_k": engine.plan.kv.keys.name,
            "type_v": engine.plan.kv.values.name,
            "scratch": memory.scratch,
            "peak_rss": report::peak_rss(),
        },
        "timings": {
            "load_ms": engine.load_ms,
            "pipelines_ms": engine.backend.pipelines_ms(),
            "ttft_ms": timings.ttft_ms,
            "prefill_tps": timings.prefill_tps(),
            "decode_tps": timings.decode_tps(),
            "bandwidth_share": bandwidth_share,
        },
    })
}
