//! Ctrl-C ends any command within half a second: what looks at the flag ends on its own, with all that it has to say; what does
//! not, because it waits for a driver or for input, is ended. A second press ends the process at once.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use wgllm::cancel::Cancel;
use wgllm::{Error, Result};

/// How long a command may take to notice.
const PATIENCE: Duration = Duration::from_millis(300);

static PRESSED: LazyLock<Cancel> = LazyLock::new(Cancel::new);
static ANSWERED: AtomicBool = AtomicBool::new(false);
/// A file that is of no use unless it is finished.
static UNFINISHED: Mutex<Option<PathBuf>> = Mutex::new(None);

/// From here on, Ctrl-C is noted instead of ending the process as the system would.
pub fn watch() -> Result<()> {
    let handler = || {
        if PRESSED.cancel() {
            end();
        }
        std::thread::spawn(|| {
            std::thread::sleep(PATIENCE);
            if !ANSWERED.load(Ordering::Relaxed) {
                end();
            }
        });
    };
    ctrlc::set_handler(handler).map_err(|e| Error::Other(format!("Ctrl-C cannot be watched: {e}")))
}

/// The flag that Ctrl-C raises.
pub fn flag() -> &'static Cancel {
    &PRESSED
}

/// Whether Ctrl-C was pressed. Whoever asks will end on its own and soon: from then on only a second press ends the process.
pub fn answer() -> bool {
    let pressed = PRESSED.is_cancelled();
    if pressed {
        ANSWERED.store(true, Ordering::Relaxed);
    }
    pressed
}

/// Names the file to remove where the process is ended before it is finished.
pub fn unfinished(file: Option<&Path>) {
    if let Ok(mut place) = UNFINISHED.lock() {
        *place = file.map(Path::to_path_buf);
    }
}

/// Ends the process with what a shell expects of one that Ctrl-C ended: 128 and the signal's number.
fn end() -> ! {
    if let Ok(Some(file)) = UNFINISHED.lock().map(|mut place| place.take()) {
        let _ = std::fs::remove_file(file);
    }
    let code = Error::Interrupted.exit_code().into();
    // SAFETY: `_exit` takes a number and does not return. Unlike `exit` it runs no destructors: drivers' own would run while
    // other threads are inside of those drivers.
    #[cfg(unix)]
    unsafe {
        libc::_exit(code)
    }
    #[cfg(not(unix))]
    std::process::exit(code)
}
