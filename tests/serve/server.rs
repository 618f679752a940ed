//! Servers for the tests: in this process, on the model that the repository carries.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use wgllm::backend::Precision;
use wgllm::engine::{Engine, Options};
use wgllm::gguf::Gguf;
use wgllm::graph::Head;
use wgllm::sampler::Sampling;
use wgllm::serve::{Address, Listener, Place, Served, Server, Settings};
use wgllm::session::Session;
use wgllm::tokenizer::Encode;
use wgllm::worker::{Capacity, Opened, Worker};

use crate::adapters::Target;
use crate::faults::{Batches, Faults, Faulty};
use crate::wrapped::Wrapped;
use crate::{byte_model, client};

pub const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo-q8_0.gguf");

/// A template with tools, for a model that has none: it writes the conversation as a story.
pub const TEMPLATE: &str = "{% if tools %}<tool_call>{{ tools|tojson }}{% endif %}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% if m.tool_calls %}{{ m.tool_calls|tojson }}{% endif %}{% endfor %}{% if enable_thinking %}<think>{% endif %}Once upon a time";

/// How a server is started.
pub struct Plan {
    pub settings: Settings,
    pub capacity: Capacity,
    pub context: usize,
    pub head: Head,
    /// The model.
    pub model: PathBuf,
    /// How long the model takes to load, besides its own time.
    pub delay: Duration,
    /// What goes wrong.
    pub faults: Faults,
    /// What the model answers, whatever it is asked; nothing: what it has learnt.
    pub script: &'static str,
    /// Its template.
    pub template: String,
    /// Control tokens of a model whose other tokens are bytes; none: the model that the repository carries.
    pub bytes: Option<&'static [&'static str]>,
    /// Rows of a step.
    pub batch: usize,
    /// Is told of each batch how many rows it has, and of how many slots.
    pub batches: Batches,
    /// Is told how many buffers the device has made so far.
    pub buffers: Arc<AtomicU64>,
}

impl Default for Plan {
    fn default() -> Plan {
        let sampling = Sampling::greedy();
        Plan {
            settings: Settings { sampling, ..Settings::default() },
            capacity: Capacity { running: 4, waiting: 64 },
            context: 512,
            head: Head::Logits,
            model: MODEL.into(),
            delay: Duration::ZERO,
            faults: Faults::default(),
            script: "",
            template: TEMPLATE.into(),
            bytes: None,
            batch: 64,
            batches: Batches::default(),
            buffers: Arc::default(),
        }
    }
}

/// A server, until it is dropped.
pub struct Running {
    pub address: SocketAddr,
    pub server: Server,
    end: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub fn start(target: &Target, plan: Plan) -> Result<Running, Failed> {
        let options = Options {
            context: Some(plan.context),
            slots: plan.capacity.slots(),
            shared: true,
            batch: plan.batch,
            head: plan.head,
            ..target.options(Precision::F32)
        };
        let place: Place = Arc::new(OnceLock::new());
        let filled = place.clone();
        let open = move || {
            std::thread::sleep(plan.delay);
            let mut engine = match plan.bytes {
                Some(controls) => {
                    let file = byte_model::file(controls, plan.context).bytes();
                    Engine::with_file(Gguf::from_static("bytes", file.leak())?, &options, &mut |_, _| {})?
                }
                None => Engine::open(&plan.model, &options, &mut |_, _| {})?,
            };
            let mut script = Vec::new();
            if let Some(tokenizer) = engine.tokenizer.as_ref().filter(|_| !plan.script.is_empty()) {
                script = tokenizer.encode(plan.script, Encode { special: true, bos: false })?;
                script.extend(tokenizer.eos());
            }
            let _ = filled.set(Arc::new(Served::new(&mut engine, Some("story"), Some(&plan.template))?));
            let vocab = engine.model.vocab_size;
            let (faults, buffers, batches) =
                (plan.faults.clone(), plan.buffers.clone(), plan.batches.clone());
            let change = Faulty { faults, script, at: 0, buffers, batches };
            let backend = Box::new(Wrapped { inner: engine.backend, change });
            Ok(Opened { backend, plan: engine.plan, vocab, lookup: 0 })
        };
        let worker = Worker::start(Box::new(open), plan.capacity)?;
        let server = Server::new(plan.settings, worker, place);
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let (told, address) = std::sync::mpsc::channel();
        let of = server.clone();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = Listener::bind(&Address::Tcp("127.0.0.1".into(), 0)).await.expect("a port");
                told.send(listener.address().expect("it is TCP")).expect("somebody waits");
                of.run(listener, async { drop(ended.await) }).await;
            });
        });
        let address = address.recv()?;
        Ok(Running { address, server, end: Some(end), thread: Some(thread) })
    }

    /// A server that has its model.
    pub fn ready(target: &Target, plan: Plan) -> Result<Running, Failed> {
        let running = Running::start(target, plan)?;
        running.wait("the model", || Ok(client::get(running.address, "/health")?.status == 200))?;
        Ok(running)
    }

    /// Waits until something is so.
    pub fn wait(&self, what: &str, holds: impl Fn() -> Result<bool, Failed>) -> Result<(), Failed> {
        let start = Instant::now();
        while !holds()? {
            if start.elapsed() > Duration::from_secs(60) {
                return Err(format!("{what} did not come within a minute").into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Waits until no sequence is under way.
    pub fn idle(&self) -> Result<(), Failed> {
        let status = self.server.worker().status();
        self.wait("rest", || Ok(status.taken() == 0 && status.running() == 0))
    }

    /// Tells it to end.
    pub fn end(&mut self) {
        if let Some(end) = self.end.take() {
            let _ = end.send(());
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.server.worker().end();
    }
}

/// What each prompt is continued with when it is alone: greedy, at most `limit` tokens.
pub fn alone(target: &Target, prompts: &[String], limit: usize) -> Result<Vec<String>, Failed> {
    alone_by(MODEL.as_ref(), target, prompts, limit)
}

/// The same by another model.
pub fn alone_by(
    model: &Path,
    target: &Target,
    prompts: &[String],
    limit: usize,
) -> Result<Vec<String>, Failed> {
    let options = Options { context: Some(512), ..target.options(Precision::F32) };
    let mut engine = Engine::open(model, &options, &mut |_, _| {})?;
    let tokenizer = engine.tokenizer.take().ok_or("no tokenizer")?;
    let mut texts = Vec::new();
    for prompt in prompts {
        let ids = tokenizer.encode(prompt, Encode { special: false, bos: true })?;
        let (mut text, mut stream) = (String::new(), tokenizer.stream());
        let mut session = Session::new(engine.backend.as_mut(), engine.plan, engine.model.vocab_size);
        session.generate(&ids, &Sampling::greedy(), Some(limit), &mut |id| {
            text += &stream.push(id);
            match tokenizer.is_end(id) {
                true => std::ops::ControlFlow::Break(()),
                false => std::ops::ControlFlow::Continue(()),
            }
        })?;
        texts.push(text + &stream.finish());
    }
    Ok(texts)
}
