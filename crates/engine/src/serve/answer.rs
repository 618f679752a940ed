//! What the endpoints that answer share: a request is read, its jobs are begun, and what comes is written whole or as events. How each
//! reads and writes is a [`Form`].

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use serde_json::Value;

use super::conversation::Asked;
use super::failure::{Failure, json_response};
use super::fields::Fields;
use super::generation::{Generation, Prompt, Started, Wanted};
use super::log::Entry;
use super::params::Params;
use super::served::Served;
use super::{App, sse};

/// Whom an endpoint asks while it reads.
pub struct Asking {
    pub app: Arc<App>,
    pub served: Arc<Served>,
    pub entry: Arc<Entry>,
}

/// How an endpoint reads requests and writes answers. It holds what is the same in all of an answer.
pub trait Form: Sized + Send + Sync + 'static {
    /// Reads what is asked for.
    fn read(asking: &Asking, fields: Fields) -> impl Future<Output = Result<(Self, Wanted), Failure>> + Send;

    /// The answer as one object.
    fn whole(&self, generation: Generation<'_>) -> impl Future<Output = Result<Value, Failure>> + Send;

    /// The answer as events.
    fn streamed(
        &self,
        generation: Generation<'_>,
        events: &sse::Events,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// What stands in place of an answer.
    fn error(failure: &Failure) -> Value {
        failure.json()
    }

    /// The last event of an answer that is broken off behind `sent` events.
    fn error_event(failure: &Failure, sent: usize) -> String;
}

/// Answers a request.
pub async fn answer<F: Form>(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    let answer = begin::<F>(app, request).await;
    answer.unwrap_or_else(|failure| failure.response(&F::error(&failure)))
}

async fn begin<F: Form>(app: Arc<App>, request: Request) -> Result<Response<Body>, Failure> {
    let served = app.served()?;
    let (entry, fields) = app.fields(request).await?;
    if app.settings.embeddings.is_some() {
        return Err(Failure::request("this server was started with --embeddings and answers nothing else"));
    }
    let asking = Asking { app, served, entry };
    let (form, wanted) = F::read(&asking, fields).await?;
    let Asking { app, served, entry } = asking;
    let stream = wanted.params.stream;
    let mut started = Started::new(&app, &served, wanted, &entry)?;
    started.begun().await?;
    if !stream {
        let body = form.whole(Generation::new(&served, started)).await?;
        return Ok(json_response(StatusCode::OK, &body));
    }
    let run =
        async move |events: sse::Events| form.streamed(Generation::new(&served, started), &events).await;
    Ok(sse::respond(entry, run, F::error_event))
}

impl Asking {
    /// What is wanted of a conversation.
    pub async fn conversation(&self, asked: Asked, params: Params) -> Result<Wanted, Failure> {
        let (calls, one_call) = (asked.calls, asked.structure.one_call);
        let must_call = asked.structure.required.is_some();
        Ok(Wanted { prompts: vec![self.prompt(asked).await?], params, calls, one_call, must_call })
    }

    /// Renders and encodes a conversation, away from the thread that answers.
    pub async fn prompt(&self, asked: Asked) -> Result<Prompt, Failure> {
        let served = self.served.clone();
        let (prompt, text) = self
            .app
            .compute(move || {
                let rendered = asked.render(&served)?;
                let tokens = rendered.encode(&served.tokenizer)?;
                let text = rendered.text();
                let constraint = asked.structure.constraint(&served, Some(&text))?;
                Ok((Prompt { tokens, rendered: Some(rendered), constraint }, text))
            })
            .await?;
        if self.app.settings.log_prompts {
            self.entry.prompt(text);
        }
        Ok(prompt)
    }
}
