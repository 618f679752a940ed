//! What a thread holds of the heap, at most.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// What a file may make its reader hold beyond its own size.
pub const ALLOWED: u64 = 64 << 20;

thread_local! {
    static LIVE: Cell<u64> = const { Cell::new(0) };
    static PEAK: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The result of `run`, and the most bytes that this thread held meanwhile beyond what it held before.
pub fn peak<T>(run: impl FnOnce() -> T) -> (T, u64) {
    let before = LIVE.get();
    PEAK.set(before);
    let result = run();
    (result, PEAK.get().saturating_sub(before))
}

fn took(bytes: usize) {
    let live = LIVE.get() + bytes as u64;
    LIVE.set(live);
    PEAK.set(PEAK.get().max(live));
}

fn gave(bytes: usize) {
    // What another thread allocated may end here.
    LIVE.set(LIVE.get().saturating_sub(bytes as u64));
}

// SAFETY: every call goes to the system's allocator as it is; the counters are plain cells that allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        took(size);
        gave(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        gave(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}
