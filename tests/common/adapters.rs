//! What tests run on: the CPU, and every adapter of this machine.
#![allow(dead_code)] // Each test binary uses its own share of this.

use libtest_mimic::Trial;
use wgllm::backend::Precision;
use wgllm::engine::{Choice, Options};
use wgllm::gpu::{self, Api, Masks};

/// No mask; and what users' hardware runs is what software adapters run here.
pub const HARDWARE: Masks = Masks {
    no_subgroups: false,
    no_coop: false,
    emulated_matrices: false,
    claimed_subgroup: None,
    max_workgroup: None,
    max_binding: None,
    no_tune: true,
    checked: false,
    as_hardware: true,
    large: false,
    mutation: None,
};

/// A backend, and which of its adapters.
#[derive(Clone, Debug)]
pub struct Target {
    /// For the names of trials.
    pub label: String,
    backend: Choice,
    device: Option<String>,
}

impl Target {
    /// The reference.
    pub fn cpu() -> Target {
        Target { label: "the CPU".into(), backend: Choice::Cpu, device: None }
    }

    pub fn is_cpu(&self) -> bool {
        self.backend == Choice::Cpu
    }

    /// Options to open a model on it.
    pub fn options(&self, precision: Precision) -> Options {
        let (backend, device) = (self.backend, self.device.clone());
        Options { backend, device, precision, masks: HARDWARE, ..Options::default() }
    }
}

/// Every adapter of this machine.
pub fn adapters() -> Vec<Target> {
    let target = |line: gpu::AdapterLine| {
        let api = [Api::Vulkan, Api::Metal, Api::Dx12].into_iter().find(|a| a.name() == line.info.api)?;
        let label = format!("{} ({} {})", line.info.name, line.info.api, line.index);
        Some(Target { label, backend: Choice::Gpu(api), device: Some(line.index.to_string()) })
    };
    gpu::adapters().into_iter().filter_map(target).collect()
}

/// A trial that says that there is no adapter: it fails where one is required, and is ignored elsewhere.
pub fn none_here(what: &str) -> Trial {
    let required = std::env::var_os("WGLLM_REQUIRE_ADAPTER").is_some_and(|v| v == "1");
    let name = format!("{what} (no adapter here)");
    Trial::test(name, || Err("WGLLM_REQUIRE_ADAPTER is 1, and this machine has no adapter".into()))
        .with_ignored_flag(!required)
}

/// A precision, for the names of trials.
pub fn name(precision: Precision) -> &'static str {
    match precision {
        Precision::Fast => "fast",
        Precision::F32 => "f32",
    }
}
