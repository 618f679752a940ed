//! HTTP: a model behind the endpoints that OpenAI's clients know. The only code that knows axum; a file for each family of endpoints.
//!
//! One thread answers connections; another, the [`Worker`], computes. A request passes the `gate`, its `fields` are held to the `schema` of
//! what they are read into, its prompt is made, and `generation` turns what the worker sends into parts, which each `Form` writes in its own way, as
//! one object or as events (`sse`).

mod answer;
mod blocks;
mod chat;
mod completions;
mod constrained;
mod conversation;
mod embeddings;
mod failure;
mod fields;
mod gate;
mod generation;
mod info;
mod jobs;
mod listen;
mod log;
mod messages;
mod metrics;
mod openapi;
mod page;
mod params;
mod responses;
mod route;
mod schema;
mod served;
mod source;
mod sse;
mod text;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::Request;
use axum::http::{Method, Uri};

pub use listen::{Address, Listener};
pub use log::{Lines, LogFormat};
pub use served::Served;

use crate::sampler::Sampling;
use crate::worker::{Pooling, State, Worker};
use failure::Failure;
use fields::Fields;
use log::Entry;
use metrics::Metrics;
use route::{Route, routes};

/// What changes an answer besides the request.
const FINGERPRINT: &str = concat!("wgllm-", env!("CARGO_PKG_VERSION"));

/// How to serve.
#[derive(Clone)]
pub struct Settings {
    /// One of these must be given, where there are any.
    pub keys: Vec<String>,
    /// Pages of these origins may ask, besides our own; `*` is any.
    pub origins: Vec<String>,
    /// Bytes of a request's body at most.
    pub body_limit: usize,
    /// How long a body may take to come.
    pub body_time: Duration,
    /// How long an answer may take.
    pub request_time: Duration,
    /// How long answers under way may take once the server is to end.
    pub drain_time: Duration,
    /// Connections at once.
    pub connections: usize,
    /// Whether vectors are computed instead of answers, by a model that ends with its hidden state; and how they are made.
    pub embeddings: Option<Pooling>,
    /// How tokens are chosen where a request says nothing.
    pub sampling: Sampling,
    /// The seed where a request says none; a random one where there is none.
    pub seed: Option<u64>,
    /// How lines about requests look.
    pub log_format: LogFormat,
    /// Where they go.
    pub lines: Option<Lines>,
    /// Whether they hold what was asked.
    pub log_prompts: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            keys: Vec::new(),
            origins: Vec::new(),
            body_limit: 16 << 20,
            body_time: Duration::from_secs(30),
            request_time: Duration::from_secs(600),
            drain_time: Duration::from_secs(30),
            connections: 1024,
            embeddings: None,
            sampling: Sampling::default(),
            seed: None,
            log_format: LogFormat::Text,
            lines: None,
            log_prompts: false,
        }
    }
}

/// What the worker's thread fills in when the model is there.
pub type Place = Arc<OnceLock<Arc<Served>>>;

/// What all requests share.
struct App {
    settings: Settings,
    worker: Worker,
    served: Place,
    metrics: Arc<Metrics>,
    draining: AtomicBool,
    /// Unix seconds.
    created: u64,
}

impl App {
    /// The model, once it is there.
    fn served(&self) -> Result<Arc<Served>, Failure> {
        if let (State::Ended, Some(error)) = (self.worker.status().state(), self.worker.status().failure()) {
            return Err(Failure::unavailable(format!("the model cannot be run: {error}")));
        }
        self.served.get().cloned().ok_or_else(|| Failure::unavailable("the model is being loaded"))
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// The fields of a request, and where its line is written.
    async fn fields(&self, mut request: Request) -> Result<(Arc<Entry>, Fields), Failure> {
        let entry = request.extensions_mut().remove::<Arc<Entry>>();
        let entry = entry.ok_or_else(|| Failure::internal("a request came in without its entry"))?;
        let (parts, body) = request.into_parts();
        let Settings { body_limit, body_time, .. } = self.settings;
        Ok((entry, Fields::read(&parts.headers, body, body_limit, body_time).await?))
    }

    /// Computes what takes long away from the thread that answers.
    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let done = tokio::task::spawn_blocking(work).await;
        done.unwrap_or_else(|_| Err(Failure::internal("the request failed in an unknown way")))
    }
}

/// Unix seconds.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// A server that has its worker.
#[derive(Clone)]
pub struct Server(Arc<App>);

impl Server {
    /// A server whose `worker` puts its model into `place` when it is there.
    pub fn new(settings: Settings, worker: Worker, place: Place) -> Server {
        let paths = routes().into_iter().map(|route| route.path).filter(|path| !path.contains('{'));
        let metrics = Arc::new(Metrics::new(paths.collect()));
        Server(Arc::new(App {
            settings,
            worker,
            served: place,
            metrics,
            draining: AtomicBool::new(false),
            created: now(),
        }))
    }

    /// The worker.
    pub fn worker(&self) -> &Worker {
        &self.0.worker
    }

    /// Answers connections until `end` is; then takes no more, and gives those under way their time.
    pub async fn run(&self, listener: Listener, end: impl Future<Output = ()>) {
        let app = &self.0;
        let ending = async {
            end.await;
            app.draining.store(true, Ordering::Relaxed);
        };
        listen::serve(listener, self.router(), app.settings.connections, ending, app.settings.drain_time)
            .await;
    }

    fn router(&self) -> Router {
        let app = self.0.clone();
        let route = |router: Router<Arc<App>>, route: Route| router.route(route.path, route.handler);
        routes()
            .into_iter()
            .fold(Router::new(), route)
            .fallback(async |uri: Uri| Failure::path(uri.path()).at(uri.path()))
            .method_not_allowed_fallback(async |method: Method, uri: Uri| {
                Failure::method(method.as_str(), uri.path()).at(uri.path())
            })
            .layer(axum::middleware::from_fn_with_state(app.clone(), gate::pass))
            .with_state(app)
    }
}
