//! `wgllm check`: one graph on the CPU and on a GPU, node by node.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use wgllm_engine::check::{NodeReport, Report, check};
use wgllm_engine::engine::{Choice, Options};
use wgllm_engine::models::Model;
use wgllm_engine::{Error, Result};

use super::args::{self, Hardware, Prompt};
use super::model::ModelFlag;
use super::reporter::Reporter;
use super::text::table;
use super::{Outcome, ids, report};

/// Ids of the prefill where none are given: more than one tile of any kernel, in steps of many rows and of few.
const IDS: usize = 71;

/// Single-row steps: every value of each is kept until the end.
const MOST_STEPS: i64 = 1 << 16;

/// The arguments of `check`.
#[derive(Args)]
pub struct Check {
    #[command(flatten)]
    model: ModelFlag,
    /// The reference and what is held to it: cpu,vulkan, or only the latter; reference,cpu holds the CPU's kernels to the plain references
    #[arg(short, long, env = "WGLLM_BACKEND", hide_env = true, value_name = "cpu,BACKEND", default_value = "auto", value_delimiter = ',', value_parser = side)]
    backend: Vec<Side>,
    #[command(flatten)]
    prompt: Prompt,
    /// Single-row steps behind the prompt, 65536 at most
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(..=MOST_STEPS))]
    decode: u32,
    /// Sequences that the rows of each step are dealt to
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = args::parallel)]
    parallel: usize,
    /// Seed of the ids, where none are given
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Only the first layers of the model
    #[arg(long, value_name = "N", value_parser = args::at_least_one)]
    layers: Option<usize>,
    /// Every node by a kernel of its own
    #[arg(long)]
    unfused: bool,
    #[command(flatten)]
    hardware: Hardware,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reporter: Reporter,
}

impl Check {
    /// Runs the command.
    pub fn run(&self) -> Outcome {
        let file = self.model.open(&self.reporter)?;
        let options = Options {
            layers: self.layers,
            unfused: self.unfused,
            slots: self.parallel,
            ..self.hardware.options(self.device()?, &file)?
        };
        self.hardware.set_threads()?;
        let ids = match self.prompt.ids(&file)? {
            Some(ids) => ids,
            None => ids::random(self.seed, IDS, Model::from_gguf(&file, self.layers)?.vocab_size),
        };
        args::check_context(&file, ids.len() + self.decode as usize)?;
        let report = check(file, &options, &ids, self.decode as usize)?;
        let mut out = std::io::stdout().lock();
        match self.json {
            true => writeln!(out, "{}", to_json(&report))?,
            false => writeln!(out, "{}{}", rows(&report.nodes), verdict(&report))?,
        }
        Ok(ExitCode::from(u8::from(report.failed() > 0)))
    }

    /// What is held to the CPU.
    fn device(&self) -> Result<Choice> {
        match self.backend[..] {
            [Side::Reference, Side::On(Choice::Cpu)] => Ok(Choice::Cpu),
            [Side::On(Choice::Cpu)] | [Side::On(Choice::Cpu), Side::On(Choice::Cpu)] => Err(Error::Usage(
                "the CPU is the reference: name what to hold to it, as in -b cpu,vulkan; -b reference,cpu holds the CPU itself to \
                 the plain references"
                    .into(),
            )),
            [Side::On(device)] | [Side::On(Choice::Cpu), Side::On(device)] => Ok(device),
            _ => Err(Error::Usage("check compares two: give -b cpu,BACKEND or -b reference,cpu".into())),
        }
    }
}

/// One of the two that are compared.
#[derive(Clone, Copy)]
enum Side {
    /// The plain references of the ops.
    Reference,
    On(Choice),
}

fn side(name: &str) -> Result<Side, String> {
    match name {
        "reference" => Ok(Side::Reference),
        name => args::backend(name).map(Side::On),
    }
}

/// The nodes that were compared, and how they differ.
struct Counts<'r> {
    agree: usize,
    fail: usize,
    within: usize,
    /// The node that comes closest to its bound or is furthest beyond it.
    worst: Option<&'r NodeReport>,
}

impl Counts<'_> {
    fn of(report: &Report) -> Counts<'_> {
        let compared = || report.nodes.iter().filter(|n| n.nmse.is_some());
        let share = |n: &NodeReport| {
            n.nmse.map_or(0.0, |nmse| if nmse.is_nan() { f64::INFINITY } else { nmse / n.bound })
        };
        Counts {
            agree: compared().filter(|n| n.pass).count(),
            fail: report.failed(),
            within: report.nodes.len() - compared().count(),
            worst: compared().max_by(|a, b| share(a).total_cmp(&share(b))),
        }
    }
}

fn rows(nodes: &[NodeReport]) -> String {
    let head = ["step", "node", "shape", "kernel", "NMSE", "bound"].map(String::from).to_vec();
    let row = |n: &NodeReport| {
        let mut row = vec![n.step.clone(), n.node.clone(), format!("{:?}", n.shape), n.kernel.clone()];
        if let Some(nmse) = n.nmse {
            row.extend([format!("{nmse:.1e}"), format!("{:.0e}", n.bound)]);
        }
        if !n.pass {
            row.resize(6, String::new());
            row.push(match n.worst {
                Some((at, cpu, gpu)) => format!("FAIL at {at:?}: cpu {cpu}, gpu {gpu}"),
                None => "FAIL".into(),
            });
        }
        row
    };
    table(&std::iter::once(head).chain(nodes.iter().map(row)).collect::<Vec<_>>())
}

/// The last line: how many values were compared with what, how many agree and fail, which is the worst.
fn verdict(report: &Report) -> String {
    let counts = Counts::of(report);
    let device = &report.device;
    let api = format!("{} {}", report::api_name(&device.api), device.driver);
    let within = match counts.within {
        0 => String::new(),
        n => format!(", {n} within fused kernels"),
    };
    let worst = match counts.worst {
        Some(n) => {
            format!(" · worst {} ({}), {:.1e} of {:.0e}", n.node, n.step, n.nmse.unwrap_or(0.0), n.bound)
        }
        None => String::new(),
    };
    format!(
        "{} nodes, {} ({}) against {}: {} agree, {} fail{within}{worst}",
        report.nodes.len(),
        device.name,
        api.trim_end(),
        report.reference,
        counts.agree,
        counts.fail,
    )
}

fn to_json(report: &Report) -> serde_json::Value {
    let counts = Counts::of(report);
    json!({
        "device": report.device,
        "reference": report.reference,
        "nodes": report.nodes,
        "agree": counts.agree,
        "fail": counts.fail,
        "within_fused": counts.within,
        "worst": counts.worst.map(|n| json!({ "node": n.node, "step": n.step, "nmse": n.nmse, "bound": n.bound })),
    })
}
