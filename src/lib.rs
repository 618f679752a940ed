//! wgllm (stub)

pub mod error;
pub mod formats;
pub mod gguf;
pub mod tokenizer;

pub use error::{Error, Result};
