//! Runs Llama- and GPT-family models from GGUF files on any GPU that wgpu reaches, and checks every node of them against a
//! reference on the CPU.
//!
//! A [`gguf`] file's metadata tells [`models`] which [`graph`] of [`ops`] to write; its tensors are stored in [`formats`]. A
//! [`backend`], the [`cpu`] or the [`gpu`], runs the graph; a [`session`] feeds it tokens of the [`tokenizer`] and samples its logits
//! ([`sampler`]). A [`chat`] template makes the text of a conversation. [`engine`] puts all of that together, [`check`] holds one backend to the other.

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
