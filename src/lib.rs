//! Runs Llama- and GPT-family models from GGUF files on any GPU that wgpu reaches, and checks every node of them against a
//! reference on the CPU.

pub mod backend;
pub mod check;
pub mod cpu;
pub mod engine;
pub mod error;
pub mod formats;
pub mod gguf;
pub mod gpu;
pub mod graph;
pub mod models;
pub mod ops;
pub mod sampler;
pub mod session;
pub mod tokenizer;

pub use error::{Error, Result};
