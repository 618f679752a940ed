//! `wgllm serve`: a model for every program that speaks OpenAI's protocol.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::{Args, ValueEnum};
use wgllm_engine::engine::{Engine, Options};
use wgllm_engine::graph::Head;
use wgllm_engine::lookup;
use wgllm_engine::recommended::Recommended;
use wgllm_engine::serve::{Address, Listener, LogFormat, Place, Served, Server, Settings};
use wgllm_engine::worker::{Capacity, Opened, Pooling, State, Worker};
use wgllm_engine::{Error, Result};

use super::args::{self, BackendFlag, Hardware, LookupFlag, TokenizerFlag};
use super::model::{self, ModelFlag};
use super::reporter::Reporter;
use super::sampling::SamplingFlags;
use super::{Outcome, interrupt, plain, template};

/// The arguments of `serve`.
#[derive(Args)]
pub struct Serve {
    #[command(flatten)]
    model: ModelFlag,
    #[command(flatten)]
    tokenizer: TokenizerFlag,
    /// Positions of the KV pool, which all sequences share; 0 is what the model was made for [default: that, but 4096 at most]
    #[arg(short, long, env = "WGLLM_CTX_SIZE", hide_env = true, value_name = "N", value_parser = args::count)]
    ctx_size: Option<usize>,
    /// Sequences that are computed side by side (also -np)
    #[arg(long, env = "WGLLM_PARALLEL", hide_env = true, value_name = "N", default_value_t = 4, value_parser = args::parallel)]
    parallel: usize,
    /// Sequences that wait for a place; what comes then is refused with 429
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = args::count)]
    queue: usize,
    /// Compute embeddings instead of answers, at /v1/embeddings
    #[arg(long)]
    embeddings: bool,
    /// What of a text's tokens its embedding is made of
    #[arg(long, value_name = "HOW", default_value = "mean", requires = "embeddings")]
    pooling: Pool,
    /// Template to use instead of the model's: a file, or a name
    #[arg(long, value_name = "FILE|NAME")]
    chat_template: Option<String>,
    #[command(flatten)]
    drafts: LookupFlag,
    #[command(flatten)]
    choice: SamplingFlags,
    #[command(flatten)]
    http: Http,
    #[command(flatten)]
    backend: BackendFlag,
    #[command(flatten)]
    hardware: Hardware,
    #[command(flatten)]
    reporter: Reporter,
}

/// Where and for whom.
#[derive(Args)]
#[command(next_help_heading = "HTTP")]
struct Http {
    /// Address to listen at; 0.0.0.0 is every one of this machine
    #[arg(long, env = "WGLLM_HOST", hide_env = true, value_name = "ADDRESS", default_value = "127.0.0.1")]
    host: String,
    /// Port; 0 takes a free one
    #[arg(long, env = "WGLLM_PORT", hide_env = true, value_name = "N", default_value_t = 8080)]
    port: u16,
    /// Listen at a socket in the file system instead
    #[arg(long, value_name = "FILE", conflicts_with_all = ["host", "port"])]
    unix: Option<PathBuf>,
    /// Name of the model for clients [default: the file's]
    #[arg(short, long, value_name = "NAME")]
    alias: Option<String>,
    /// Key that clients must give; may be given several times
    #[arg(long, env = "WGLLM_API_KEY", hide_env_values = true, value_name = "KEY")]
    api_key: Vec<String>,
    /// File with keys, one a line
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Let pages of this origin ask, such as https://example.org, or `*`; may be given several times
    #[arg(long, value_name = "ORIGIN")]
    cors: Vec<String>,
    /// Bytes of a request at most
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 20, value_parser = args::at_least_one)]
    max_body: usize,
    /// Seconds that an answer may take
    #[arg(long, value_name = "S", default_value_t = 600, value_parser = args::at_least_one)]
    request_timeout: usize,
    /// Seconds that answers under way may take once the server is told to end
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = args::count)]
    drain_timeout: usize,
    /// Connections at once
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = args::at_least_one)]
    max_connections: usize,
    /// How lines about requests look
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: Format,
    /// Put what was asked into these lines
    #[arg(long)]
    log_prompts: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Pool {
    /// All of them
    Mean,
    /// The last one
    Last,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

impl Serve {
    /// Runs the command.
    pub fn run(self) -> Outcome {
        let mut settings = self.settings()?;
        let template = self.chat_template.as_deref().map(template::read_template).transpose()?;
        let address = match &self.http.unix {
            Some(path) => Address::Unix(path.clone()),
            None => Address::Tcp(self.http.host.clone(), self.http.port),
        };
        // What is wrong with the file is said before anybody connects.
        let file = self.model.open(&self.reporter)?;
        let recommended = Recommended::from_metadata(file.metadata());
        for warning in &recommended.warnings {
            self.reporter.say(format_args!("note: {warning}"));
        }
        settings.sampling = self.choice.sampling(&recommended, self.model.temperature(), usize::MAX, 0);
        settings.seed = self.choice.seed();
        let capacity = Capacity { running: self.parallel, waiting: self.queue };
        let options = Options {
            context: self.ctx_size,
            slots: capacity.slots(),
            shared: true,
            tokenizer: self.tokenizer.source(),
            head: if self.embeddings { Head::Hidden } else { Head::Logits },
            ..self.hardware.options(self.backend.backend, &file)?
        };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build();
        let runtime = runtime.map_err(|e| Error::Other(format!("the runtime of connections: {e}")))?;
        let listener = runtime.block_on(Listener::bind(&address));
        let listener = listener.map_err(|e| Error::Other(format!("{}: {e}", told(&address))))?;
        if let Address::Unix(path) = &address {
            interrupt::unfinished(Some(path));
        }

        let this = Arc::new(self);
        let place: Place = Arc::new(OnceLock::new());
        let (serve, filled) = (this.clone(), place.clone());
        let mut file = Some(file);
        let open = move || {
            let file = file.take().map_or_else(|| serve.model.open(&serve.reporter), Ok)?;
            let mut engine = model::load(file, &options, &serve.hardware, &serve.reporter)?;
            lookup::check(&engine.model, serve.drafts.lookup)?;
            serve.fill(&mut engine, &filled, template.as_deref())?;
            let vocab = engine.model.vocab_size;
            let lookup = serve.drafts.lookup;
            Ok(Opened { backend: engine.backend, plan: engine.plan, vocab, lookup })
        };
        let worker = Worker::start(Box::new(open), capacity)?;
        let server = Server::new(settings, worker, place.clone());
        let at = listener.address().map_or_else(|| told(&address), |address| format!("http://{address}"));
        this.reporter.always(format_args!("listening at {at}"));

        let failed = runtime.block_on(async {
            let mut failed = None;
            let ready = || {
                let name = place.get().map_or("", |served| &served.name);
                this.reporter.say(format_args!("serving {name} to {} at once", this.parallel));
            };
            let end = async {
                until_end(&server, ready, &mut failed).await;
                // From now on it may be another server's.
                if let Address::Unix(path) = &address {
                    interrupt::unfinished(None);
                    let _ = std::fs::remove_file(path);
                }
            };
            server.run(listener, end).await;
            failed
        });
        server.worker().end();
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(ExitCode::SUCCESS),
        }
    }

    /// Tells the server of its model.
    fn fill(&self, engine: &mut Engine, place: &Place, template: Option<&str>) -> Result<()> {
        if place.get().is_some() {
            return Ok(());
        }
        let served = Served::new(engine, self.http.alias.as_deref(), template)?;
        if let Err(error) = &served.template {
            self.reporter.say(format_args!("note: no chats, only completions: {error}"));
        }
        let _ = place.set(Arc::new(served));
        Ok(())
    }

    fn settings(&self) -> Result<Settings> {
        let http = &self.http;
        let mut keys = http.api_key.clone();
        if let Some(path) = &http.api_key_file {
            keys.extend(read_keys(path)?);
        }
        if keys.iter().any(String::is_empty) {
            return Err(Error::Usage("an API key is empty, and everybody would have it".into()));
        }
        let quiet = self.reporter.is_quiet();
        Ok(Settings {
            keys,
            origins: http.cors.clone(),
            body_limit: http.max_body,
            request_time: Duration::from_secs(http.request_timeout as u64),
            drain_time: Duration::from_secs(http.drain_timeout as u64),
            connections: http.max_connections,
            embeddings: self.embeddings.then_some(match self.pooling {
                Pool::Mean => Pooling::Mean,
                Pool::Last => Pooling::Last,
            }),
            log_format: match http.log_format {
                Format::Text => LogFormat::Text,
                Format::Json => LogFormat::Json,
            },
            lines: (!quiet).then(|| Arc::new(say as fn(&str)) as wgllm_engine::serve::Lines),
            log_prompts: http.log_prompts,
            ..Settings::default()
        })
    }
}

/// Prints a line about a request.
fn say(line: &str) {
    // A closed standard error is no reason to stop.
    let _ = writeln!(std::io::stderr(), "{}", plain::line(line));
}

fn read_keys(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| Error::Usage(format!("--api-key-file {}: {e}", path.display())))?;
    let keys: Vec<String> =
        text.lines().map(str::trim).filter(|key| !key.is_empty()).map(str::to_owned).collect();
    match keys.is_empty() {
        true => Err(Error::Usage(format!("--api-key-file {}: there is no key in it", path.display()))),
        false => Ok(keys),
    }
}

fn told(address: &Address) -> String {
    match address {
        Address::Tcp(host, port) => format!("{host}:{port}"),
        Address::Unix(path) => path.display().to_string(),
    }
}

/// Until the server is told to end, or its model cannot be run; says once that it is ready to answer, and not before it is.
async fn until_end(server: &Server, ready: impl Fn(), failed: &mut Option<Error>) {
    let failing = async {
        let mut told = false;
        loop {
            let status = server.worker().status();
            match status.state() {
                State::Ended => return status.failure().cloned(),
                State::Ready if !told => {
                    ready();
                    told = true;
                }
                _ => {}
            }
            tokio::time::sleep(Duration::from_millis(if told { 100 } else { 10 })).await;
        }
    };
    tokio::select! {
        error = failing => *failed = error,
        () = told_to_end() => {}
    }
}

#[cfg(unix)]
async fn told_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminated) => drop(terminated.recv().await),
        Err(_) => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn told_to_end() {
    std::future::pending().await
}
