//! The token loop: steps are encoded ahead of their results.

use std::ops::ControlFlow;

use crate::backend::Backend;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::buffers::Buffers;
use crate::gpu::device::Device;
use crate::gpu::pipelines::{Key, Pipelines};
use crate::graph::{Row, Step};
use crate::models::Model;
use crate::sampler::{self, Sampling};

/// What samples on the device.
pub struct Decoder;

impl Decoder {
    /// The pipelines that sampling needs.
    pub fn keys(_device: &Device, _model: &Model) -> Result<Vec<Key>> {
        Ok(Vec::new())
    }

    /// Binds the sampler's kernels.
    pub fn new(
        _device: &Device,
        _model: &Model,
        _pipelines: &Pipelines,
        _buffers: &Buffers,
    ) -> Result<Decoder> {
        Ok(Decoder)
    }

    /// Dispatches that sampling adds to a step.
    pub fn dispatches(&self) -> usize {
        0
    }
}

/// See [`Backend::generate`].
pub fn generate(
    gpu: &mut Gpu,
    step: &Step,
    recent: &[u32],
    sampling: &Sampling,
    limit: usize,
    on_token: &mut dyn FnMut(u32) -> ControlFlow<()>,
) -> Result<()> {
    let Some(&last) = step.rows.last() else { return Ok(()) };
    let mut recent = recent.to_vec();
    let mut logits = gpu.step(step)?;
    for draw in 0..limit as u32 {
        let token = sampler::sample(&logits, &recent, sampling, draw);
        if on_token(token).is_break() || draw as usize + 1 == limit {
            break;
        }
        recent.push(token);
        let row = Row { token, position: last.position + 1 + draw, ..last };
        logits = gpu.step(&Step { rows: vec![row], asked: vec![0] })?;
    }
    Ok(())
}
