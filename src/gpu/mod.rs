//! Runs the same graph on wgpu. (Being written: only what others call is here.)

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::backend::{Backend, DeviceInfo, Limits, Memory, Placement, Plan};
use crate::error::{Error, Result};
use crate::gguf::Gguf;
use crate::graph::Step;
use crate::models::Model;
use crate::sampler::Sampling;

/// A graphics API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// Linux, Windows, Android.
    Vulkan,
    /// Macs.
    Metal,
    /// Windows.
    Dx12,
}

/// What of an adapter not to use: for tests, and for users with a broken driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Masks {
    /// No f16 arithmetic.
    pub no_f16: bool,
    /// No subgroup operations.
    pub no_subgroups: bool,
    /// No cooperative matrices.
    pub no_coop: bool,
    /// The largest binding of a buffer, in bytes.
    pub max_binding: Option<u64>,
}

/// An adapter as `wgllm devices` lists it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct AdapterLine {
    /// Its number, for `--device`: it counts the adapters of all APIs.
    pub index: usize,
    /// What it is.
    #[serde(flatten)]
    pub info: DeviceInfo,
}

/// An opened device.
pub struct Device;

/// All adapters here.
pub fn adapters() -> Vec<AdapterLine> {
    Vec::new()
}

/// The adapter that was asked for, or an error that lists those there are.
pub fn choose(_api: Option<Api>, _device: Option<&str>, _masks: Masks) -> Result<Device> {
    Err(Error::Device("no adapter".into()))
}

/// The best hardware adapter, if there is one.
pub fn best(_masks: Masks) -> Result<Option<Device>> {
    Ok(None)
}

/// The GPU backend.
pub struct Gpu;

impl Gpu {
    /// Makes the pipelines and uploads the weights.
    pub fn new(
        _device: Device,
        _file: Arc<Gguf>,
        _model: Arc<Model>,
        _plan: Plan,
        _unfused: bool,
        _progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Gpu> {
        Err(Error::Device("no adapter".into()))
    }
}

impl Backend for Gpu {
    fn device(&self) -> DeviceInfo {
        DeviceInfo::default()
    }
    fn placement(&self) -> Placement {
        Placement::default()
    }
    fn memory(&self) -> Memory {
        Memory::default()
    }
    fn limits(&self) -> Limits {
        Limits { rows: 1, asked: 1 }
    }
    fn step(&mut self, _step: &Step) -> Result<Vec<f32>> {
        Ok(Vec::new())
    }
    fn generate(
        &mut self,
        _step: &Step,
        _recent: &[u32],
        _sampling: &Sampling,
        _limit: usize,
        _on_token: &mut dyn FnMut(u32) -> ControlFlow<()>,
    ) -> Result<()> {
        Ok(())
    }
}
