//! `wgllm bench`: the speed of prompts and of generation, with llama-bench's flags, columns and JSON keys, so that scripts
//! which read those read these.

mod measure;
mod output;
mod tune;

use std::process::ExitCode;

use clap::Args;
use wgllm_engine::engine::{Choice, Engine, Options};
use wgllm_engine::lookup;
use wgllm_engine::tokenizer::Source;
use wgllm_engine::{Error, Result};

use super::args::{self, Hardware, LookupFlag};
use super::model::{self, ModelFlag};
use super::profile::Profiled;
use super::reporter::Reporter;
use super::{Outcome, Quit, report};
use measure::{Samples, Setup, Test};
use output::{Format, Measured, Output};

/// The arguments of `bench`.
#[derive(Args)]
pub struct Bench {
    #[command(flatten)]
    model: ModelFlag,
    /// Backends, one after the other: cpu,vulkan
    #[arg(short, long, env = "WGLLM_BACKEND", hide_env = true, value_name = "B", default_value = "auto", value_delimiter = ',', value_parser = args::backend)]
    backend: Vec<Choice>,
    /// Lengths of prompts to measure; 0 is none
    #[arg(short = 'p', long, value_name = "N", default_value = "512", value_delimiter = ',', value_parser = args::count)]
    n_prompt: Vec<usize>,
    /// Tokens to generate; 0 is none
    #[arg(short = 'n', long, value_name = "N", default_value = "128", value_delimiter = ',', value_parser = args::count)]
    n_gen: Vec<usize>,
    /// A prompt and a generation behind it, measured together (also -pg)
    #[arg(long = "prompt-gen", value_name = "PP,TG", value_parser = pair)]
    prompt_gen: Vec<(usize, usize)>,
    /// Tokens in the context before the measurement begins
    #[arg(short = 'd', long, value_name = "N", default_value = "0", value_delimiter = ',', value_parser = args::count)]
    n_depth: Vec<usize>,
    /// Sequences at once, each with a prompt and a generation of its own; tokens/s are of all together (also -npl)
    #[arg(long, value_name = "N", default_value = "1", value_delimiter = ',', value_parser = args::parallel)]
    parallel: Vec<usize>,
    #[command(flatten)]
    drafts: LookupFlag,
    /// How often each test is repeated
    #[arg(short, long, value_name = "N", default_value_t = 5, value_parser = args::at_least_one)]
    repetitions: usize,
    /// Do not run each test once before it is measured
    #[arg(long)]
    no_warmup: bool,
    /// Form of the results
    #[arg(short, long, value_name = "md|csv|json|jsonl", default_value = "md", value_parser = Format::parse)]
    output: Format,
    /// Say where the time goes on the GPU: of a token, or of a prompt alone
    #[arg(long)]
    profile: bool,
    /// Find which kernels this adapter does best with over the matrices of the model, and keep that beside the pipelines for every later start
    #[arg(long, conflicts_with_all = ["n_prompt", "n_gen", "prompt_gen", "n_depth", "parallel", "repetitions", "no_warmup", "profile", "lookup"])]
    tune: bool,
    #[command(flatten)]
    hardware: Hardware,
    #[command(flatten)]
    reporter: Reporter,
}

fn pair(text: &str) -> Result<(usize, usize), String> {
    let numbers = text.split_once(',').map(|(p, n)| (args::count(p.trim()), args::count(n.trim())));
    match numbers {
        Some((Ok(prompt), Ok(gen_))) => Ok((prompt, gen_)),
        _ => Err(format!("expected two whole numbers, {} at most, as in 512,128", args::MOST)),
    }
}

impl Bench {
    /// Runs the command.
    pub fn run(&self) -> Outcome {
        if self.tune {
            return self.tune();
        }
        let tests = self.tests();
        self.check_profile()?;
        let context = tests.iter().map(Test::positions).max().unwrap_or(1).max(1);
        let mut output = Output::new(self.output);
        if let Err(quit) = self.measure(&tests, context, &mut output) {
            // The error itself says more than a failure to write behind it.
            let _ = output.abandon();
            return Err(quit);
        }
        output.end()?;
        Ok(ExitCode::SUCCESS)
    }

    /// Runs all tests on each backend, in a context of so many positions.
    fn measure(&self, tests: &[Test], context: usize, output: &mut Output) -> Result<(), Quit> {
        for &backend in &self.backend {
            let file = self.model.open(&self.reporter)?;
            let options = self.hardware.options(backend, &file)?;
            let slots = self.parallel.iter().copied().max().unwrap_or(1);
            let options = Options { context: Some(context), slots, tokenizer: Source::Nowhere, ..options };
            let mut engine = model::load(file, &options, &self.hardware, &self.reporter)?;
            if self.profile {
                engine.backend.can_profile()?;
            }
            lookup::check(&engine.model, self.drafts.lookup)?;
            let setup = Setup { lookup: self.drafts.lookup, ..Setup::of(&engine, self.hardware.batch_size) };
            let bar = self.reporter.steps_bar("measuring");
            bar.set_length(tests.len().saturating_mul(self.repetitions) as u64);
            for test in tests {
                let samples =
                    measure::run(&mut engine, test, self.repetitions, !self.no_warmup, setup.lookup, || {
                        bar.inc(1)
                    })?;
                let read_bandwidth = report::read_bandwidth(engine.backend.as_mut());
                let profiled = match self.profile {
                    true => Some(profile(&mut engine, test, &samples)?),
                    false => None,
                };
                let measured = Measured { samples, read_bandwidth, profiled };
                bar.suspend(|| output.row(&setup, test, &measured))?;
            }
            bar.finish_and_clear();
        }
        Ok(())
    }

    /// Refuses a profile that there would be nothing of, or no place for.
    fn check_profile(&self) -> Result<()> {
        if self.profile && self.output == Format::Csv {
            return Err(Error::Usage("--profile is a table of its own: give -o md, json or jsonl".into()));
        }
        Ok(())
    }

    /// Prompts, then generations, then both together, at each depth, as llama-bench orders them.
    fn tests(&self) -> Vec<Test> {
        let prompts = self.n_prompt.iter().map(|&prompt| (prompt, 0));
        let generations = self.n_gen.iter().map(|&tokens| (0, tokens));
        let shapes = prompts.chain(generations).chain(self.prompt_gen.iter().copied());
        let shapes: Vec<_> = shapes.filter(|&shape| shape != (0, 0)).collect();
        let test = |&(prompt, tokens): &(usize, usize)| {
            let depths = self.n_depth.iter();
            depths.flat_map(move |&depth| {
                self.parallel.iter().map(move |&parallel| Test { prompt, tokens, depth, parallel })
            })
        };
        shapes.iter().flat_map(test).collect()
    }
}

/// Profiles a step in the middle of what a test generates, or the last one of a prompt. The next test begins with a context of its own.
fn profile(engine: &mut Engine, test: &Test, samples: &Samples) -> Result<Profiled> {
    let backend = engine.backend.as_mut();
    if test.tokens == 0 {
        let rows = test.prompt.min(engine.plan.rows);
        return Profiled::measure(backend, test.depth + test.prompt - rows, rows, None);
    }
    Profiled::measure(backend, test.middle(), 1, measure::median(&samples.token_us))
}
