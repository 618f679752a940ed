//! `wgllm run`, and `wgllm` without a command: answers a prompt, continues it, or goes on to a chat.

use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use wgllm_engine::backend::Backend;
use wgllm_engine::chat::{Asked, ChatTemplate, Dialog, Message, Piece, Reply};
use wgllm_engine::engine::{Engine, Options};
use wgllm_engine::gguf::Gguf;
use wgllm_engine::lookup;
use wgllm_engine::models::Model;
use wgllm_engine::recommended::Recommended;
use wgllm_engine::sampler::Sampling;
use wgllm_engine::session::{Finish, Session, Timings};
use wgllm_engine::{Error, Result};

use super::args::{self, BackendFlag, Hardware, LookupFlag, Prompt};
use super::chat::{self, ChatFlags};
use super::form::{FormFlags, Made};
use super::ids::Ids;
use super::model::{self, ModelFlag};
use super::profile::Profiled;
use super::report::{self, Bandwidth};
use super::reporter::Reporter;
use super::sampling::{EndFlags, SamplingFlags, random_seed};
use super::screen::Screen;
use super::settings::Settings;
use super::{Outcome, Quit, devices, interrupt};

/// How the story begins that is told when nothing is asked for.
const OPENING: &str = "Once upon a time";

/// The arguments of `run` and of `chat`.
#[derive(Args, Clone)]
pub struct Run {
    #[command(flatten)]
    pub model: ModelFlag,
    #[command(flatten)]
    pub prompt: Prompt,
    #[command(flatten)]
    pub chat: ChatFlags,
    /// Tokens to generate at most; -1 goes on to the model's end token or the end of the context
    #[arg(short = 'n', long = "predict", visible_alias = "max-tokens", env = "WGLLM_N_PREDICT", hide_env = true, value_name = "N", default_value_t = -1, value_parser = clap::value_parser!(i64).range(-1..))]
    predict: i64,
    /// Positions of the context; 0 is what the model was made for [default: that, but 4096 at most]
    #[arg(short, long, env = "WGLLM_CTX_SIZE", hide_env = true, value_name = "N", value_parser = args::context)]
    ctx_size: Option<usize>,
    #[command(flatten)]
    pub drafts: LookupFlag,
    #[command(flatten)]
    pub backend: BackendFlag,
    #[command(flatten)]
    pub hardware: Hardware,
    #[command(flatten)]
    pub choice: SamplingFlags,
    #[command(flatten)]
    pub ends: EndFlags,
    #[command(flatten)]
    pub form: FormFlags,
    /// Print one JSON object at the end instead of the text: of one prompt, which may come from standard input. A chat on a terminal is for
    /// people: there `/stats` says what an answer took and what of it came from the cache
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    /// Say at the end where the time of a token goes on the GPU
    #[arg(long, help_heading = "Output")]
    profile: bool,
    #[command(flatten)]
    pub reporter: Reporter,
    /// List the GPUs that can be used, like `wgllm devices`
    #[arg(long)]
    list_devices: bool,
}

/// What is to be done with the model.
enum Task {
    /// Talk, message by message.
    Chat,
    /// Answer a message, or continue it where the model has no template.
    Text(String),
    /// Continue these.
    Ids(Vec<u32>),
    /// Tell a story.
    Story,
}

/// What came of a prompt.
struct Said {
    text: String,
    reasoning: Option<String>,
    ids: Vec<u32>,
    finish: Finish,
    timings: Timings,
}

impl Run {
    /// Runs the command.
    pub fn run(&self, settings: Settings, chat: bool) -> Outcome {
        if self.list_devices {
            return devices::print_table();
        }
        let task = self.task(chat)?;
        let file = self.model.open(&self.reporter)?;
        if matches!(task, Task::Chat | Task::Text(_)) && !self.prompt.tokenizer.is_there(&file) {
            // What else is wrong with the file says more.
            Model::from_gguf(&file, None)?;
            args::need_tokenizer(None)?;
        }
        let options = self.options(&file)?;
        let mut engine = model::load(file, &options, &self.hardware, &self.reporter)?;
        if self.profile {
            engine.backend.can_profile()?;
        }
        lookup::check(&engine.model, self.drafts.lookup)?;
        let template = self.template(&task, &engine, chat)?;
        match (task, template) {
            (Task::Chat, Some(template)) => chat::talk(self.clone(), settings, engine, template),
            (Task::Chat, None) => {
                let what = "nothing to continue: give a prompt with -p TEXT, -f FILE, or -f - for standard input; this model has no \
                            chat template to talk with (--chat-template gives it one)";
                Err(Error::Usage(what.into()).into())
            }
            (Task::Text(text), Some(template)) => self.answer(&mut engine, &template, text),
            (task, _) => self.continue_(&mut engine, task),
        }
    }

    /// What to open a file with.
    pub fn options(&self, file: &Gguf) -> Result<Options> {
        Ok(Options {
            context: self.ctx_size,
            tokenizer: self.prompt.tokenizer.source(),
            ..self.hardware.options(self.backend.backend, file)?
        })
    }

    /// Tokens to generate at most.
    pub fn limit(&self) -> Option<usize> {
        usize::try_from(self.predict).ok()
    }
    fn task(&self, chat: bool) -> Result<Task> {
        if let Some(Ids(ids)) = &self.prompt.ids {
            return Ok(Task::Ids(ids.clone()));
        }
        if let Some(text) = self.prompt.text.read_prompt()? {
            return Ok(Task::Text(text));
        }
        if self.model.is_carried() && !chat {
            return Ok(Task::Story);
        }
        if io::stdin().is_terminal() && io::stdout().is_terminal() {
            // Nobody reads JSON from a terminal; a program that goes on with a conversation keeps it in a file.
            let goes_on = ", and a conversation that goes on with --load-history FILE --save-history FILE; in a chat /stats says what an answer took";
            let one_prompt = [
                ("--json", self.json, goes_on),
                ("--profile", self.profile, ""),
                ("--raw", self.chat.is_raw(), ""),
            ];
            return match one_prompt.iter().find(|(_, given, _)| *given) {
                Some((flag, _, more)) => Err(Error::Usage(format!(
                    "{flag} is for one prompt: give it with -p TEXT or -f FILE{more}"
                ))),
                None => Ok(Task::Chat),
            };
        }
        let text = args::read_standard_input()?;
        if text.trim().is_empty() {
            let what = "nothing to continue: give a prompt with -p TEXT, -f FILE, or -f - for standard input";
            return Err(Error::Usage(what.into()));
        }
        Ok(Task::Text(text))
    }

    /// The template that the task goes through; none where the prompt is continued as it is.
    fn template(&self, task: &Task, engine: &Engine, chat: bool) -> Result<Option<ChatTemplate>> {
        let (Task::Chat | Task::Text(_), Some(tokenizer)) = (task, &engine.tokenizer) else {
            return Ok(None);
        };
        if self.chat.is_raw() && !matches!(task, Task::Chat) {
            return Ok(None);
        }
        let template = match chat {
            true => self.chat.template(&engine.file, tokenizer).map(Some),
            false => self.chat.find_template(&engine.file, tokenizer),
        };
        template.map_err(|e| e.in_file(engine.file.name().as_ref()))
    }

    /// How tokens are chosen.
    fn sampling(&self, engine: &Engine) -> Sampling {
        let recommended = Recommended::from_metadata(engine.file.metadata());
        for warning in &recommended.warnings {
            self.reporter.say(format_args!("note: {warning}"));
        }
        let temperature = self.model.temperature();
        let sampling = self.choice.sampling(&recommended, temperature, engine.plan.context, random_seed());
        Sampling { banned: self.ends.banned(engine.tokenizer.as_ref()), ..sampling }
    }

    /// Answers one message.
    fn answer(&self, engine: &mut Engine, template: &ChatTemplate, text: String) -> Outcome {
        let mut sampling = self.sampling(engine);
        let tokenizer = args::need_tokenizer(engine.tokenizer.as_ref())?;
        let mut conversation = self.chat.conversation()?;
        conversation.messages.push(Message::user(text));
        let mut dialog = Dialog::new(template, tokenizer, conversation);
        dialog.options = self.chat.rendering();
        sampling.constraint = self.form.of_dialog(&dialog, template, tokenizer, &Made::default())?;
        self.reporter.detail(format_args!("{sampling:?}"));
        let asked = Asked {
            sampling,
            limit: self.limit(),
            stops: self.ends.stop.clone(),
            overflow: self.chat.overflow(),
        };
        let mut session = Session::new(engine.backend.as_mut(), engine.plan, engine.model.vocab_size);
        session.watch(interrupt::flag().clone());
        session.look_up(self.drafts.lookup)?;
        let mut shown = Shown::new(!self.json, "");
        let answer = dialog.answer(&mut session, &asked, &mut |piece| shown.show(&piece))?;
        shown.finish()?;
        self.chat.save(&dialog.conversation, engine.file.name(), &[])?;
        let said = Said {
            text: answer
                .message
                .content
                .as_ref()
                .and_then(wgllm_engine::chat::Content::plain)
                .unwrap_or_default(),
            reasoning: answer.message.reasoning_content,
            ids: answer.ids,
            finish: answer.finish,
            timings: answer.timings,
        };
        self.report(engine, &said, asked.sampling.seed)
    }

    /// Continues a text or ids.
    fn continue_(&self, engine: &mut Engine, task: Task) -> Outcome {
        let mut sampling = self.sampling(engine);
        let tokenizer = engine.tokenizer.as_ref();
        sampling.constraint = self.form.of_text(tokenizer)?;
        let (ids, text) = match task {
            Task::Ids(ids) => {
                let text = tokenizer.map_or_else(|| numbers(&ids), |t| t.decode(&ids));
                (ids, text)
            }
            Task::Text(text) => (args::encode(tokenizer, &text)?, text),
            Task::Story | Task::Chat => {
                self.reporter.say("no prompt: a story begins (give yours with -p)");
                (args::encode(tokenizer, OPENING)?, OPENING.into())
            }
        };
        self.reporter.detail(format_args!("prompt ids {ids:?} · {sampling:?}"));
        let mut reply = tokenizer.map(|tokenizer| Reply::continuing(tokenizer, &self.ends.stop));
        let mut shown = Shown::new(!self.json, &text);
        let (mut words, mut given) = (String::new(), Vec::new());
        let mut session = Session::new(engine.backend.as_mut(), engine.plan, engine.model.vocab_size);
        session.watch(interrupt::flag().clone());
        session.look_up(self.drafts.lookup)?;
        let (finish, timings) = session.generate(&ids, &sampling, self.limit(), &mut |id| {
            if interrupt::answer() {
                return ControlFlow::Break(());
            }
            let pieces = match &mut reply {
                Some(reply) => reply.push(id),
                None => {
                    given.push(id);
                    words += &format!(" {id}");
                    vec![Piece::Text(format!(" {id}"))]
                }
            };
            let ended = reply.as_ref().is_some_and(|reply| reply.end().is_some());
            // The prompt is shown with the first token, whatever that is: then nothing can be wrong with the arguments any more.
            shown.show(&Piece::Text(String::new()))?;
            for piece in &pieces {
                shown.show(piece)?;
            }
            if ended { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if let Some(reply) = &mut reply {
            for piece in reply.finish() {
                let _ = shown.show(&piece);
            }
            (words, given) = (reply.text().to_owned(), reply.ids().to_vec());
        }
        shown.finish()?;
        let said = Said { text: words, reasoning: None, ids: given, finish, timings };
        self.report(engine, &said, sampling.seed)
    }

    /// Tells what it took, in words and as JSON.
    fn report(&self, engine: &mut Engine, said: &Said, seed: u64) -> Outcome {
        let timings = &said.timings;
        // Nothing more is measured for somebody who does not want to wait.
        let interrupted = interrupt::answer();
        let wanted = (self.json || !self.reporter.is_quiet()) && !interrupted;
        let tps = timings.decode_tps();
        let bandwidth = match wanted {
            true => Bandwidth::of(engine.backend.as_mut(), &engine.model, tps).of_drafts(timings.drafts),
            false => Bandwidth { device: None, share: None },
        };
        self.reporter.say(report::timing_line(timings, &bandwidth, engine.load_ms, seed));
        self.reporter.detail(format_args!(
            "pipelines made in {:.0} ms · {} dispatches a token",
            engine.backend.pipelines_ms(),
            engine.backend.placement().dispatches_per_token
        ));
        let profiled = match self.profile && !interrupted {
            true => Some(profile(engine.backend.as_mut(), engine.plan.context, timings)?),
            false => None,
        };
        if let Some(profiled) = &profiled {
            self.reporter.always(format_args!("\n{}", profiled.table()));
        }
        if self.json {
            let reason = if interrupted { "interrupted" } else { reason(said.finish) };
            let mut object = json(engine, said, reason, seed, bandwidth.share);
            if let (Some(object), Some(profiled)) = (object.as_object_mut(), profiled) {
                object.extend(profiled.json());
            }
            print(&format!("{object}\n"))?;
        }
        Ok(if interrupted { ExitCode::from(Error::Interrupted.exit_code()) } else { ExitCode::SUCCESS })
    }
}

/// A generation's end, as JSON says it.
fn reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stopped | Finish::Complete => "stop",
        Finish::Length => "length",
        Finish::Context => "context",
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

/// What is shown as it comes, unless everything is told at the end; and what went wrong with that.
struct Shown<'t> {
    screen: Option<Screen>,
    /// What is printed before the first of it.
    prompt: &'t str,
    failed: Option<Quit>,
}

impl<'t> Shown<'t> {
    fn new(live: bool, prompt: &'t str) -> Shown<'t> {
        Shown { screen: live.then(Screen::new), prompt, failed: None }
    }

    /// Shows a piece, and says whether to go on.
    fn show(&mut self, piece: &Piece) -> ControlFlow<()> {
        if interrupt::answer() {
            return ControlFlow::Break(());
        }
        let prompt = Piece::Text(std::mem::take(&mut self.prompt).to_owned());
        if let Some(screen) = &mut self.screen
            && let Err(quit) = screen.show(&prompt).and_then(|()| screen.show(piece))
        {
            self.failed = Some(quit);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    /// Ends the line.
    fn finish(&mut self) -> Result<(), Quit> {
        let prompt = Piece::Text(std::mem::take(&mut self.prompt).to_owned());
        match (self.failed.take(), &mut self.screen) {
            (Some(quit), _) => Err(quit),
            (None, Some(screen)) => screen.show(&prompt).and_then(|()| screen.end()),
            (None, None) => Ok(()),
        }
    }
}

fn numbers(ids: &[u32]) -> String {
    ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ")
}

fn json(
    engine: &Engine,
    said: &Said,
    reason: &str,
    seed: u64,
    bandwidth_share: Option<f64>,
) -> serde_json::Value {
    let (memory, timings) = (engine.backend.memory(), &said.timings);
    json!({
        "text": said.text,
        "reasoning": said.reasoning,
        "tokens": said.ids,
        "prompt_tokens": timings.prompt_tokens,
        "cached_tokens": timings.cached_tokens,
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
            "draft_n": timings.drafts.drafted,
            "draft_n_accepted": timings.drafts.accepted,
        },
    })
}
