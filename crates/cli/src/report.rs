//! What ran: the device, where the layers are, what is held, how fast it was. The words for it and the JSON of it.

use serde_json::{Value, json};
use wgllm_engine::backend::{Backend, DeviceInfo};
use wgllm_engine::engine::Engine;
use wgllm_engine::gguf::Gguf;
use wgllm_engine::lookup::Drafts;
use wgllm_engine::models::Model;
use wgllm_engine::session::Timings;

use super::text::{bandwidth, count, duration, mib, plural, rate};

/// An API's own spelling of its name.
pub fn api_name(api: &str) -> &str {
    match api {
        "vulkan" => "Vulkan",
        "metal" => "Metal",
        "dx12" => "DX12",
        "cpu" => "CPU",
        other => other,
    }
}

/// `NVIDIA H200 · Vulkan 580.159.04 · f16, subgroups of 32`
pub fn device_line(device: &DeviceInfo) -> String {
    let software = if device.software && device.api != "cpu" { ", software" } else { "" };
    let name = format!("{}{software}", device.name);
    let api = match device.api.as_str() {
        "cpu" => device.driver.clone(),
        api => format!("{} {}", api_name(api), device.driver).trim_end().to_string(),
    };
    let parts = [name, api, device.features.join(", ")];
    parts.into_iter().filter(|p| !p.is_empty()).collect::<Vec<_>>().join(" · ")
}

/// Where the layers are and what is held.
pub fn load_line(engine: &Engine) -> String {
    let (placement, memory) = (engine.backend.placement(), engine.backend.memory());
    let place = if engine.backend.device().api == "cpu" { "CPU" } else { "GPU" };
    format!(
        "{}, {} of {} layers on the {place}, {} on the CPU · weights {} ({}) · KV {} × {} = {} · scratch {}",
        engine.model.architecture,
        placement.layers_run,
        placement.block_count,
        plural(placement.cpu_nodes, "node"),
        mib(memory.weights),
        type_counts(&engine.file),
        engine.plan.kv.name(),
        count(engine.plan.context as u64),
        mib(memory.kv),
        mib(memory.scratch),
    )
}

/// How many tensors there are of each type, most first: `Q8_0 113, F32 34`.
pub fn type_counts(file: &Gguf) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for tensor in file.tensors() {
        match counts.iter_mut().find(|(name, _)| *name == tensor.kind.name) {
            Some((_, n)) => *n += 1,
            None => counts.push((tensor.kind.name, 1)),
        }
    }
    counts.sort_by_key(|&(_, n)| std::cmp::Reverse(n));
    counts.iter().map(|(name, n)| format!("{name} {n}")).collect::<Vec<_>>().join(", ")
}

/// Bytes per second that the device reads, as measured in this process; none where that is not known.
pub fn read_bandwidth(backend: &mut dyn Backend) -> Option<f64> {
    backend.read_bandwidth()
}

/// How fast a generation was, of how fast the device can read.
pub struct Bandwidth {
    /// Bytes per second that a kernel reads on this device, as measured now; none where that is not known.
    pub device: Option<f64>,
    /// The share of it at which weights were read.
    pub share: Option<f64>,
}

impl Bandwidth {
    /// Of `tokens_per_second`, one sequence at a time.
    pub fn of(backend: &mut dyn Backend, model: &Model, tokens_per_second: f64) -> Bandwidth {
        let device = read_bandwidth(backend);
        let read = tokens_per_second * model.bytes_per_token() as f64;
        Bandwidth { device, share: device.filter(|_| tokens_per_second > 0.0).map(|d| read / d) }
    }

    /// The same where tokens were drafted: several of them may have read the weights together.
    pub fn of_drafts(self, drafts: Drafts) -> Bandwidth {
        Bandwidth { share: self.share.filter(|_| drafts.drafted == 0), ..self }
    }
}

/// `81 % of 40 drafted tokens accepted`
pub fn drafts_line(drafts: Drafts) -> Option<String> {
    let share = drafts.share()?;
    Some(format!("{:.0} % of {} accepted", share * 100.0, plural(drafts.drafted, "drafted token")))
}

/// `prompt 3 tokens in 6 ms · 128 tokens at 1,604/s (46 % of 4.6 TB/s) · loaded in 0.7 s · seed 1833742`
pub fn timing_line(timings: &Timings, bandwidth_found: &Bandwidth, load_ms: f64, seed: u64) -> String {
    let share = match (bandwidth_found.share, bandwidth_found.device) {
        (Some(share), Some(device)) => format!(" ({:.0} % of {})", share * 100.0, bandwidth(device)),
        _ => String::new(),
    };
    let tokens = plural(timings.tokens, "token");
    let speed = match timings.decode_tps() {
        tps if tps > 0.0 => format!("{tokens} at {}/s{share}", rate(tps)),
        _ => tokens,
    };
    let drafts = drafts_line(timings.drafts).map(|line| format!(" · {line}")).unwrap_or_default();
    format!(
        "prompt {} in {} · {speed}{drafts} · loaded in {} · seed {seed}",
        plural(timings.prompt_tokens, "token"),
        duration(timings.ttft_ms),
        duration(load_ms),
    )
}

/// The members of an engine's JSON that no generation changes.
pub fn device_json(device: &DeviceInfo) -> Value {
    json!({ "name": device.name, "api": device.api, "driver": device.driver, "features": device.features })
}

/// The most memory that the process has held, in bytes, where the system tells.
pub fn peak_rss() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
