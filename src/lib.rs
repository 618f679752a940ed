//! Runs Llama- and GPT-family models from GGUF files on any GPU that wgpu reaches, and checks every node of them against a
//! reference on the CPU.
//!
//! A [`gguf`] file's metadata tells [`models`] which [`graph`] of [`ops`] to write; its tensors are stored in [`formats`]. A
//! [`backend`], the [`cpu`] or the [`gpu`], runs the graph; a [`session`] feeds it tokens of the [`tokenizer`] and samples its logits
//! ([`sampler`]). A [`chat`] template makes the text of a conversation. [`engine`] puts all of that together, [`check`] holds one backend to the other.
//!
//! ```
//! use std::ops::ControlFlow;
//! use wgllm::engine::{Choice, Engine, Options};
//! use wgllm::sampler::Sampling;
//! use wgllm::session::Session;
//! use wgllm::tokenizer::Encode;
//!
//! # fn main() -> wgllm::Result<()> {
//! let options = Options { backend: Choice::Cpu, ..Options::default() };
//! let mut engine = Engine::open("models/demo-q8_0.gguf".as_ref(), &options, &mut |_, _| {})?;
//! let tokenizer = engine.tokenizer.take().ok_or(wgllm::Error::Other("no tokenizer".into()))?;
//! let prompt = tokenizer.encode("Once upon a time", Encode { special: false, bos: true })?;
//! let (mut text, mut stream) = (String::new(), tokenizer.stream());
//! let mut session = Session::new(engine.backend.as_mut(), engine.plan, engine.model.vocab_size);
//! session.generate(&prompt, &Sampling::greedy(), Some(16), &mut |token| {
//!     text += &stream.push(token);
//!     if tokenizer.is_end(token) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
//! })?;
//! assert!(text.starts_with(", there was a little girl"), "{text}");
//! # Ok(())
//! # }
//! ```

pub mod backend;
pub mod batch;
pub mod blocking;
pub mod cancel;
pub mod chat;
pub mod check;
pub mod checkpoint;
pub mod constraint;
pub mod cpu;
pub mod engine;
pub mod gpu;
#[cfg(feature = "grammar")]
pub mod grammar;
pub mod hub;
pub mod logprobs;
pub mod lookup;
pub mod models;
pub mod perplexity;
pub mod quantize;
pub mod recommended;
pub mod replace;
pub mod sampler;
pub mod scheduler;
#[cfg(feature = "serve")]
pub mod serve;
pub mod session;
pub mod stops;
pub mod tokenizer;
pub mod worker;

pub use wgllm_graph::{Error, Result, error, formats, gguf, graph, memory, ops};
