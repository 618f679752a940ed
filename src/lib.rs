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

pub use wgllm_engine::*;
