//! `wgllm quantize`: a model file with its weights in another type.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use wgllm_engine::models;
use wgllm_engine::quantize::{TARGETS, Target, quantize};

use super::reporter::Reporter;
use super::text::{bytes, plural};
use super::{Outcome, interrupt};

/// The arguments of `quantize`.
#[derive(Args)]
pub struct Quantize {
    /// The model: a GGUF file, of a split one the first part, or a folder with config.json and safetensors files
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The file to write
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// F16, BF16, Q8_0, Q6_K, Q5_K_M, Q5_0, Q4_K_M or Q4_0
    #[arg(value_name = "TYPE", value_parser = target)]
    target: &'static Target,
    #[command(flatten)]
    reporter: Reporter,
}

fn target(name: &str) -> Result<&'static Target, String> {
    let known = || format!("known are {}", TARGETS.map(|target| target.name).join(", "));
    Target::by_name(name).ok_or_else(known)
}

impl Quantize {
    /// Runs the command.
    pub fn run(&self) -> Outcome {
        let file = models::open_as_gguf(&self.input)?;
        let bar = self.reporter.bytes_bar("quantizing");
        let done = quantize(
            &file,
            &self.output,
            self.target,
            interrupt::flag(),
            &mut |unfinished| interrupt::unfinished(unfinished),
            &mut |done, total| {
                bar.set_length(total);
                bar.set_position(done);
            },
        );
        bar.finish_and_clear();
        let done = done.map_err(|e| e.in_file(&self.input))?;
        let tensors = |count| plural(count, "tensor");
        if done.requantized > 0 {
            let what =
                "quantised before: what was lost then stays lost, and an F16 file of the model gives more";
            self.reporter.say(format_args!("note: {} {what}", tensors(done.requantized)));
        }
        if done.unfit > 0 {
            let what = "rows that are no whole blocks: a type with smaller blocks and more bits there";
            self.reporter.say(format_args!("note: {} with {what}", tensors(done.unfit)));
        }
        let (from, to) = (bytes(done.bytes.0), bytes(done.bytes.1));
        self.reporter.say(format_args!(
            "{}: {}, {from} of weights are now {to}",
            self.output.display(),
            self.target.name
        ));
        Ok(ExitCode::SUCCESS)
    }
}
