//! Ctrl-C ends any command within half a second: what looks at the flag ends on its own, with all that it has to say; what does
//! not, because it waits for a driver or for input, is ended. A second press ends the process at once.
//!
//! In a chat a press ends what is under way, not the program ([`Regime`]), and nothing at all where nothing is under way.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use wgllm_engine::cancel::Cancel;
use wgllm_engine::{Error, Result};

/// How long a command may take to notice.
const PATIENCE: Duration = Duration::from_millis(300);

static PRESSED: LazyLock<Cancel> = LazyLock::new(Cancel::new);
static ANSWERED: AtomicBool = AtomicBool::new(false);
/// A file that is of no use unless it is finished.
static UNFINISHED: Mutex<Option<PathBuf>> = Mutex::new(None);

/// What a press does.
enum Press {
    /// It ends the program.
    Ends,
    /// It raises this flag; a second one ends the program.
    EndsWork(Cancel),
    /// It is answered with a line.
    Says(&'static str),
}

static PRESS: Mutex<Press> = Mutex::new(Press::Ends);

/// From here on, Ctrl-C is noted instead of ending the process as the system would.
pub fn watch() -> Result<()> {
    let handler = || {
        let Ok(press) = PRESS.lock() else { end() };
        match &*press {
            Press::Ends => {}
            Press::EndsWork(work) => {
                return if work.cancel() {
                    end()
                };
            }
            Press::Says(line) => return drop(writeln!(io::stderr(), "\n{line}")),
        }
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

/// Until it is dropped, a press does something else.
pub struct Regime(Option<Press>);

/// A press is answered with a line, and ends nothing.
pub fn says(line: &'static str) -> Regime {
    change(Press::Says(line))
}

/// A press ends what looks at `cancel`.
pub fn ends(cancel: &Cancel) -> Regime {
    change(Press::EndsWork(cancel.clone()))
}

fn change(press: Press) -> Regime {
    Regime(PRESS.lock().ok().map(|mut now| std::mem::replace(&mut *now, press)))
}

impl Drop for Regime {
    fn drop(&mut self) {
        if let (Some(before), Ok(mut now)) = (self.0.take(), PRESS.lock()) {
            *now = before;
        }
    }
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
