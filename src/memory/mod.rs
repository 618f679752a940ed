//! What a sequence keeps from step to step, as plain data: how its positions lie in pages, and in which format. Backends hold the
//! bytes; nothing here knows one.

mod kv;
mod pages;

pub use kv::{KV_FORMATS, Kv, KvFormat, kv_format};
pub use pages::{PAGE, Pages};
