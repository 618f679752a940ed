//! A planned dispatch bound to its pipeline and buffers: what is left to do for a step is to encode it.

use crate::error::Result;
use crate::gpu::device::Device;
use crate::gpu::memory::buffers::Buffers;
use crate::gpu::memory::weights::Weights;
use crate::gpu::pipelines::{Key, Pipeline, make};
use crate::gpu::plan::dispatch::Extent;
use crate::gpu::plan::{Launch, RowClass};
use crate::graph::Step;

/// A dispatch, ready to be encoded.
pub struct BoundLaunch {
    pipeline: Pipeline,
    groups: Vec<wgpu::BindGroup>,
    extent: Extent,
}

/// The pipeline that a dispatch needs.
pub fn key(p: &Launch) -> Result<Key> {
    Key::new(p.dispatch.kernel, p.slots, &p.dispatch.constants)
}

impl BoundLaunch {
    /// Binds a planned dispatch.
    pub fn new(
        device: &Device,
        buffers: &Buffers,
        weights: &Weights,
        class: RowClass,
        p: &Launch,
    ) -> Result<BoundLaunch> {
        let operands = p.operands.iter().map(|&(binding, o)| (binding, buffers.operand(class, weights, o)));
        let mut bound = vec![operands.collect()];
        if let Some(w) = p.weight {
            bound.push((0..).zip(&weights.planes[w.matrix][w.part]).collect());
        }
        Ok(BoundLaunch::bind(device, Pipeline::of(device, key(p)?)?, &bound, p.dispatch.extent))
    }

    /// Binds buffers, group by group, to a pipeline.
    pub fn bind(
        device: &Device,
        pipeline: Pipeline,
        bound: &[Vec<(u32, &wgpu::Buffer)>],
        extent: Extent,
    ) -> BoundLaunch {
        let group = |(index, buffers): (usize, &Vec<(u32, &wgpu::Buffer)>)| {
            let entries: Vec<wgpu::BindGroupEntry<'_>> = buffers
                .iter()
                .map(|&(binding, buffer)| wgpu::BindGroupEntry {
                    binding,
                    resource: buffer.as_entire_binding(),
                })
                .collect();
            device.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(pipeline.kernel()),
                layout: pipeline.group(index),
                entries: &entries,
            })
        };
        let groups = bound.iter().enumerate().map(group).collect();
        BoundLaunch { pipeline, groups, extent }
    }

    /// Whether there is anything to do in a step of these rows.
    pub fn runs(&self, step: &Step) -> bool {
        self.extent.runs(step)
    }

    /// Encodes the dispatch for a step of these rows.
    pub fn encode(&self, pass: &mut wgpu::ComputePass<'_>, step: &Step) {
        if !self.runs(step) {
            return;
        }
        let [x, y, z] = self.extent.workgroups(step);
        pass.set_pipeline(self.pipeline.made());
        for (index, group) in self.groups.iter().enumerate() {
            pass.set_bind_group(index as u32, group, &[]);
        }
        pass.dispatch_workgroups(x, y, z);
    }
}

/// Makes the pipelines of launches that a step of these rows runs.
pub fn ready<'a>(
    device: &Device,
    launches: impl IntoIterator<Item = &'a BoundLaunch>,
    step: &Step,
) -> Result<()> {
    make(device, launches.into_iter().filter(|launch| launch.runs(step)).map(|launch| &launch.pipeline))
}

/// Makes the pipelines of all launches.
pub fn all_ready<'a>(device: &Device, launches: impl IntoIterator<Item = &'a BoundLaunch>) -> Result<()> {
    make(device, launches.into_iter().map(|launch| &launch.pipeline))
}
