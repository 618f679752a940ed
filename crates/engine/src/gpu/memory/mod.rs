//! What lies on the device: weights, activations, caches and tables, and how it gets there.

pub mod buffers;
pub mod kv_layout;
pub mod pool;
pub mod upload;
pub mod weights;
