//! What runs on the device: launches bound to buffers, batches in flight, the sampler, and what looks on.

pub mod bandwidth;
pub mod launch;
pub mod matrix_test;
pub mod profile;
pub mod readback;
pub mod sampler;
pub mod subgroup;
pub mod submission;
pub mod trace;
