//! How large subgroups are where an adapter names a range: what it runs, by a dispatch when the device is opened.

use crate::error::Result;
use crate::gpu::device::Device;
use crate::gpu::link::Slots;
use crate::gpu::pipelines::{Key, made};
use crate::gpu::plan::dispatch::Extent;
use crate::gpu::run::launch::BoundLaunch;
use crate::gpu::run::readback;
use crate::graph::{Row, Rows, Step};

/// Workgroups that are asked.
const WORKGROUPS: u32 = 16;

/// The largest subgroup that any of some workgroups ran with.
pub async fn measure(device: &Device) -> Result<u32> {
    let slots = Slots { subgroups: true, ..Slots::NONE };
    let key = Key::new("subgroup_size", slots, &[("WORKGROUP", 64.0), ("SUBGROUP_SIZE", 0.0)])?;
    let pipeline = made(device, key).await?;
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
    let sizes = device.buffer("subgroup sizes", WORKGROUPS as u64 * 4, usage)?;
    let extent = Extent::PerRow { rows: Rows::Step, each: WORKGROUPS };
    let bound = vec![vec![(0, &sizes)]];
    let launch = BoundLaunch::bind(device, pipeline, &bound, extent);
    let mut encoder = device.device.create_command_encoder(&Default::default());
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        let one = Step { rows: vec![Row { token: 0, slot: 0, position: 0 }], outputs: Vec::new() };
        launch.encode(&mut pass, &one);
    }
    let bytes = readback::copy(device, encoder, &sizes, WORKGROUPS as u64 * 4).await?;
    let sizes: Vec<u32> = bytemuck::pod_collect_to_vec(&bytes);
    Ok(sizes.into_iter().max().unwrap_or(0).clamp(1, device.caps.subgroup_size))
}
