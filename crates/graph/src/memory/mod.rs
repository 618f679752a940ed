//! What a sequence keeps from step to step, as plain data: which kinds of memory layers have, how positions lie in pages and
//! in which format, and which snapshots of states there are. Backends hold the bytes; nothing here knows one.

mod kind;
mod kv;
mod pages;
mod snapshots;

pub use kind::MemoryKind;
pub use kv::{KV_FORMATS, Kv, KvFormat, kv_format};
pub use pages::{PAGE, Pages};
pub use snapshots::Snapshots;
