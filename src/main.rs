//! Parses the command line, runs a command, prints the error if there is one, and sets the exit code. What a command
//! does and prints is in `cli`, one file for each; everything else is the library's.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

mod cli;

#[cfg(all(without_unwind_tables, not(panic = "abort")))]
compile_error!(
    "a profile with `opt-level = \"z\"` needs `panic = \"abort\"`, since its binaries have no tables to unwind by"
);

fn main() -> ExitCode {
    keep_wayland_quiet();
    match cli::run(std::env::args_os()) {
        Ok(code) => code,
        // Whoever read our output has seen enough, as in `wgllm | head -1`.
        Err(cli::Quit::Closed) => ExitCode::SUCCESS,
        Err(cli::Quit::Error(error)) => {
            let prefix = if matches!(error, wgllm::Error::Interrupted) { "" } else { "error: " };
            // If standard error is closed as well, the exit code still tells.
            let _ = writeln!(std::io::stderr(), "{prefix}{}", cli::plain::lines(&error.to_string()));
            ExitCode::from(error.exit_code())
        }
    }
}

/// Mesa asks Wayland which GPU to list first. Where there is no folder for its socket, Wayland's library says so on standard error, which
/// is for our lines alone; pointed at what is no socket, it finds none in silence.
fn keep_wayland_quiet() {
    let is_absolute = |name| std::env::var_os(name).is_some_and(|path| Path::new(&path).is_absolute());
    let told = is_absolute("WAYLAND_DISPLAY") || std::env::var_os("WAYLAND_SOCKET").is_some();
    if cfg!(target_os = "linux") && !told && !is_absolute("XDG_RUNTIME_DIR") {
        // SAFETY: nothing has run before this: no other thread reads the environment.
        unsafe { std::env::set_var("WAYLAND_DISPLAY", "/dev/null") }
    }
}
