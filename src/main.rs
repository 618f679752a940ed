//! The program: all of it is `wgllm_cli`'s.

use std::process::ExitCode;

#[cfg(all(without_unwind_tables, not(panic = "abort")))]
compile_error!("the profile `dist` needs `panic = \"abort\"`: its binaries have no tables to unwind by");

fn main() -> ExitCode {
    wgllm_cli::main(std::env::args_os())
}
