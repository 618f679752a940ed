//! `wgllm devices`: the adapters that can be used, with the numbers that `--device` takes.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use wgllm_engine::gpu;

use super::Outcome;
use super::text::table;

/// The arguments of `devices`.
#[derive(Args)]
pub struct Devices {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Devices {
    /// Runs the command.
    pub fn run(&self) -> Outcome {
        if !self.json {
            return print_table();
        }
        let adapters = serde_json::json!(gpu::adapters());
        writeln!(std::io::stdout(), "{adapters}")?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints the table, which ends with the CPU.
pub fn print_table() -> Outcome {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for adapter in gpu::adapters() {
        let info = adapter.info;
        let software = if info.software { ", software" } else { "" };
        rows.push(vec![
            info.api,
            adapter.index.to_string(),
            format!("{}{software}", info.name),
            info.driver,
            info.features.join(", "),
        ]);
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let cpu = ["cpu", "-", "CPU", &format!("{threads} threads"), "f32"];
    rows.push(cpu.map(String::from).to_vec());
    write!(std::io::stdout(), "{}", table(&rows))?;
    Ok(ExitCode::SUCCESS)
}
