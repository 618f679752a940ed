//! The edge between what waits for a device and threads that may stand still meanwhile.
//!
//! Opening a device, uploading, measuring and collecting are written once, as `async` functions whose names end in `_async`: where only an
//! event loop is, they are awaited. Functions of the same name without that ending are for threads of their own, and wait here.

use std::pin::Pin;

/// What comes when a device has done it.
pub type Waiting<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Waits for a future on this thread.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    pollster::block_on(future)
}
