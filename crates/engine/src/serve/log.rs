//! One line about each request, when it is over.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::generation::Usage;
use super::metrics::Metrics;

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// An object a line.
    Json,
}

/// Takes lines.
pub type Lines = Arc<dyn Fn(&str) + Send + Sync>;

/// A request, from its beginning to the end of its answer: when the last who knows it lets it go, its line is written.
pub struct Entry {
    method: String,
    path: String,
    start: Instant,
    format: LogFormat,
    lines: Option<Lines>,
    metrics: Arc<Metrics>,
    numbers: Mutex<Numbers>,
}

#[derive(Default)]
struct Numbers {
    status: u16,
    usage: Usage,
    first: Option<Duration>,
    last: Option<Instant>,
    error: Option<String>,
    prompt: Option<String>,
    /// The answer went out whole.
    complete: bool,
}

impl Entry {
    /// A request begins.
    pub fn new(
        method: &str,
        path: &str,
        format: LogFormat,
        lines: Option<Lines>,
        metrics: Arc<Metrics>,
    ) -> Arc<Entry> {
        let (method, path) = (method.into(), path.into());
        let numbers = Mutex::new(Numbers::default());
        Arc::new(Entry { method, path, start: Instant::now(), format, lines, metrics, numbers })
    }

    fn with(&self, change: impl FnOnce(&mut Numbers)) {
        if let Ok(mut numbers) = self.numbers.lock() {
            change(&mut numbers);
        }
    }

    /// It is answered with this status.
    pub fn status(&self, status: StatusCode) {
        self.with(|n| n.status = status.as_u16());
    }

    /// It went wrong behind its status.
    pub fn error(&self, what: &str) {
        self.with(|n| n.error = Some(what.into()));
    }

    /// Its answer went out whole.
    pub fn complete(&self) {
        self.with(|n| n.complete = true);
    }

    /// This was asked, where that may be told.
    pub fn prompt(&self, text: String) {
        self.with(|n| n.prompt = Some(text));
    }

    /// It has a slot.
    pub fn begun(&self, usage: &Usage) {
        self.used(usage);
    }

    /// A token came.
    pub fn token(&self) {
        let now = Instant::now();
        self.with(|n| {
            if n.first.is_none() {
                let took = now - self.start;
                n.first = Some(took);
                self.metrics.first_token(took);
            } else if let Some(last) = n.last {
                self.metrics.next_token(now - last);
            }
            n.last = Some(now);
        });
    }

    /// So much was used until now.
    pub fn used(&self, usage: &Usage) {
        self.with(|n| n.usage = *usage);
    }

    fn line(&self, n: &Numbers) -> String {
        let ms = self.start.elapsed().as_secs_f64() * 1e3;
        let first = n.first.map(|first| first.as_secs_f64() * 1e3);
        let Usage { prompt, cached, completion, .. } = n.usage;
        if self.format == LogFormat::Json {
            let mut line = json!({
                "time": chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
                "method": self.method, "path": self.path, "status": n.status, "ms": round(ms),
                "complete": n.complete,
            });
            let mut set = |key: &str, value: Value| line[key] = value;
            if prompt > 0 {
                set("prompt_tokens", prompt.into());
                set("cached_tokens", cached.into());
                set("completion_tokens", completion.into());
                set("first_token_ms", first.map(round).into());
            }
            if let Some(error) = &n.error {
                set("error", error.as_str().into());
            }
            if let Some(prompt) = &n.prompt {
                set("prompt", prompt.as_str().into());
            }
            return line.to_string();
        }
        let mut line = format!("{} {} {} in {ms:.0} ms", self.method, self.path, n.status);
        if prompt > 0 {
            line += &format!(" · {prompt} tokens in ({cached} cached), {completion} out");
        }
        if let Some(first) = first {
            line += &format!(" · first after {first:.0} ms");
        }
        if !n.complete {
            line += " · broken off";
        }
        if let Some(error) = &n.error {
            line += &format!(" · {error}");
        }
        if let Some(prompt) = &n.prompt {
            line += &format!(" · {prompt:?}");
        }
        line
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let Ok(n) = self.numbers.lock() else { return };
        self.metrics.request(&self.path, n.status, n.complete, &n.usage);
        if let Some(lines) = &self.lines {
            lines(&self.line(&n));
        }
    }
}

fn round(ms: f64) -> f64 {
    (ms * 10.0).round() / 10.0
}
