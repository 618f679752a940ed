//! `bench --tune`: finds which kernels an adapter does best with, and keeps that for the next start.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::{Value, json};
use wgllm_engine::backend::{DeviceInfo, Precision};
use wgllm_engine::engine::{Choice, Options};
use wgllm_engine::gguf::Gguf;
use wgllm_engine::gpu::{self, Device, Policy, StepTimes};
use wgllm_engine::{Error, Result};

use super::Bench;
use super::output::Format;
use crate::{Outcome, interrupt, plain, report};

/// What was found on a device.
struct Found {
    device: DeviceInfo,
    model: String,
    file: PathBuf,
    policy: Policy,
    steps: Vec<StepTimes>,
}

impl Bench {
    /// Tunes each backend that is asked for.
    pub(super) fn tune(&self) -> Outcome {
        if self.model.is_carried() {
            let what = "--tune measures the matrices of a model: give one with -m FILE or -hf ORG/REPO";
            return Err(Error::Usage(what.into()).into());
        }
        let mut all = Vec::new();
        for &backend in &self.backend {
            let file = self.model.open(&self.reporter)?;
            let options = self.hardware.options(backend, &file)?;
            all.push(self.tune_one(file, &options)?);
        }
        let mut out = io::stdout().lock();
        match self.output {
            Format::Md => all.iter().try_for_each(|found| out.write_all(found.table().as_bytes()))?,
            Format::Csv => all.iter().try_for_each(|found| out.write_all(found.csv().as_bytes()))?,
            Format::Json => writeln!(out, "{:#}", Value::from_iter(all.iter().map(Found::json)))?,
            Format::Jsonl => all.iter().try_for_each(|found| writeln!(out, "{}", found.json()))?,
        }
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }

    fn tune_one(&self, file: Gguf, options: &Options) -> Result<Found> {
        if options.precision != Precision::Fast {
            return Err(Error::Usage(
                "--tune is for --precision fast: in f32 there is nothing to choose".into(),
            ));
        }
        let device = device(options)?;
        if let Some(what) = &device.untuned {
            self.reporter.say(format_args!("note: {what}"));
        }
        let info = device.info.clone();
        self.reporter.say(report::device_line(&info));
        let model = file.name().to_owned();
        let mut say = |what: &'static str| self.reporter.say(format_args!("measuring {what}"));
        let (device, tuning) = gpu::tune(device, &Arc::new(file), interrupt::flag(), &mut say)?;
        let file = gpu::keep_tuned(&device, &tuning.policy)?;
        Ok(Found { device: info, model, file, policy: tuning.policy, steps: tuning.steps })
    }
}

/// The adapter that is asked for.
fn device(options: &Options) -> Result<Device> {
    let named = options.device.as_deref();
    match options.backend {
        Choice::Cpu => Err(Error::Usage("--tune is for GPUs, and -b cpu is none".into())),
        Choice::Gpu(api) => gpu::choose(Some(api), named, options.masks),
        Choice::Auto if named.is_some() => gpu::choose(None, named, options.masks),
        Choice::Auto => gpu::best(options.masks)?.ok_or_else(|| {
            Error::Device("no GPU was found to be tuned for; `wgllm devices` lists what there is".into())
        }),
    }
}

impl Found {
    fn table(&self) -> String {
        let mut text =
            String::from("| rows |  before, µs |     now, µs |\n| ---: | ----------: | ----------: |\n");
        for step in &self.steps {
            text += &format!("| {:>4} | {:>11.1} | {:>11.1} |\n", step.rows, step.before_us, step.after_us);
        }
        let (device, model) = (report::device_line(&self.device), plain::line(&self.model));
        text + &format!(
            "\n{device} · steps of the first layers of {model} · kept in {}, used from now on (--no-tune leaves it out)\n",
            self.file.display()
        )
    }

    fn csv(&self) -> String {
        let rows =
            self.steps.iter().map(|s| format!("\"{}\",\"{}\",\"{}\"\n", s.rows, s.before_us, s.after_us));
        "rows,before_us,after_us\n".to_owned() + &rows.collect::<String>()
    }

    fn json(&self) -> Value {
        json!({
            "device": report::device_json(&self.device),
            "model_filename": self.model,
            "tuned_file": self.file,
            "steps": self.steps,
            "policy": self.policy,
        })
    }
}
