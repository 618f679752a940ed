//! What `wgllm` computes, and how a processor does: a [`gguf`] file's tensors in their [`formats`], the [`graph`] of [`ops`] that
//! is made of them, what sequences keep in [`memory`], and the host's [`kernels`]. Knows no model, no tokens and no device.
//!
//! A package of its own because it is compiled for speed in the binary that users get, and all else there for size.

pub mod error;
pub mod formats;
pub mod gguf;
pub mod graph;
pub mod kernels;
pub mod memory;
pub mod ops;
mod precision;

pub use error::{Error, Result};
pub use precision::Precision;
