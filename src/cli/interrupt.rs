//! Ctrl-C: the first press ends a generation cleanly, the second one the process.

use std::sync::atomic::{AtomicBool, Ordering};

use wgllm::{Error, Result};

/// What a shell expects of a process that Ctrl-C ended: 128 and the signal's number.
pub const EXIT_CODE: u8 = 130;

static PRESSED: AtomicBool = AtomicBool::new(false);

/// From here on, Ctrl-C is noted instead of ending the process.
pub fn watch() -> Result<()> {
    let handler = || {
        if PRESSED.swap(true, Ordering::Relaxed) {
            std::process::exit(EXIT_CODE.into());
        }
    };
    ctrlc::set_handler(handler).map_err(|e| Error::Other(format!("Ctrl-C cannot be watched: {e}")))
}

/// Whether Ctrl-C was pressed.
pub fn pressed() -> bool {
    PRESSED.load(Ordering::Relaxed)
}
