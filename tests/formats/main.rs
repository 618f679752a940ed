//! The weight formats: their values are ggml's bit for bit, and so is what weights are encoded as; products with a row are of the same values, their planes hold
//! them, and so say the WGSL decoders, on every adapter of this machine.

#[path = "../common/blocks.rs"]
mod blocks;
mod dot;
mod encode;
mod golden;
mod gpu;
mod planes;
mod wgsl;

fn main() -> std::process::ExitCode {
    let arguments = libtest_mimic::Arguments::from_args();
    let trials = [golden::trials, encode::trials, dot::trials, planes::trials, wgsl::trials, gpu::trials]
        .into_iter()
        .flat_map(|trials| trials())
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
