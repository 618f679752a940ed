//! The library of `wgllm`, whose documentation begins there: all modules of it, among them those of [`wgllm_graph`], under the names that they have in `wgllm`.

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
