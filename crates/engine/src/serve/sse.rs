//! Server-sent events: an answer that goes out while it is made.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Response, header};
use hyper::body::Frame;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::failure::Failure;
use super::log::Entry;

/// Events that wait for a slow reader.
const WAITING: usize = 64;
/// Silence after which a comment is sent: balancers close what is silent for long.
const SILENCE: Duration = Duration::from_secs(15);

/// Where events are sent, and how many were.
#[derive(Clone)]
pub struct Events {
    sender: Sender<Bytes>,
    sent: Arc<AtomicUsize>,
}

impl Events {
    /// How many events were sent so far.
    pub fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    /// Sends an event without a name. That nobody reads any more shows elsewhere: whoever sends is dropped then.
    pub async fn send(&self, data: &impl Serialize) {
        // What is sent has texts for keys, and such JSON can always be written.
        let data = serde_json::to_string(data).unwrap_or_default();
        self.text(format!("data: {data}\n\n")).await;
    }

    /// Sends an event with a name.
    pub async fn send_named(&self, name: &str, data: &Value) {
        self.text(format!("event: {name}\ndata: {data}\n\n")).await;
    }

    /// Sends what OpenAI ends with.
    pub async fn done(&self) {
        self.text("data: [DONE]\n\n".into()).await;
    }

    async fn text(&self, text: String) {
        let _ = self.sender.send(text.into()).await;
        self.sent.fetch_add(1, Ordering::Relaxed);
    }
}

/// A response whose events `run` sends. It is dropped when the client goes away. An error becomes an event by `on_error`, the last one, which is told how many
/// were in front of it.
pub fn respond<Run>(
    entry: Arc<Entry>,
    run: impl FnOnce(Events) -> Run,
    on_error: impl FnOnce(&Failure, usize) -> String + Send + 'static,
) -> Response<Body>
where
    Run: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let (sender, receiver) = channel(WAITING);
    let whole = Arc::new(AtomicBool::new(false));
    let body = Stream { receiver, whole: whole.clone() };
    let events = Events { sender: sender.clone(), sent: Arc::default() };
    let run = run(events.clone());
    tokio::spawn(async move {
        tokio::pin!(run);
        let mut silence = tokio::time::interval(SILENCE);
        silence.tick().await;
        loop {
            tokio::select! {
                () = sender.closed() => return,
                _ = silence.tick() => drop(sender.try_send(Bytes::from_static(b":\n\n"))),
                result = &mut run => {
                    match result {
                        Ok(()) => entry.complete(),
                        Err(failure) => {
                            entry.error(&failure.message);
                            let _ = sender.send(on_error(&failure, events.sent()).into()).await;
                        }
                    }
                    whole.store(true, Ordering::Release);
                    return;
                }
            }
        }
    });
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// The event of an error, as OpenAI's clients read it.
pub fn openai_error(failure: &Failure) -> String {
    format!("data: {}\n\n", failure.json())
}

/// The body: what is sent, and an error where its sender ended before its end.
struct Stream {
    receiver: Receiver<Bytes>,
    whole: Arc<AtomicBool>,
}

impl hyper::body::Body for Stream {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.receiver.poll_recv(context).map(|bytes| match bytes {
            Some(bytes) => Some(Ok(Frame::data(bytes))),
            None if self.whole.load(Ordering::Acquire) => None,
            None => Some(Err(io::ErrorKind::BrokenPipe.into())),
        })
    }
}
