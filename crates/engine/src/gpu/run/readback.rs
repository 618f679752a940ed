//! Brings values back from the device.

use crate::error::{Error, Result};
use crate::gpu::device::Device;
use crate::graph::Shape;

/// Submits `encoder` with a copy of the first `bytes` of `buffer` behind it, waits, and returns them.
pub async fn copy(
    device: &Device,
    mut encoder: wgpu::CommandEncoder,
    buffer: &wgpu::Buffer,
    bytes: u64,
) -> Result<Vec<u8>> {
    let staging = staging(device, bytes)?;
    encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, bytes);
    let submitted = device.queue.submit([encoder.finish()]);
    let mapped = device.map(&staging, wgpu::MapMode::Read, bytes);
    device.wait(Some(submitted), mapped).await?;
    read(device, &staging, bytes)
}

/// A buffer for `bytes` that the host will read.
pub fn staging(device: &Device, bytes: u64) -> Result<wgpu::Buffer> {
    device.buffer("read back", bytes, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST)
}

/// The first `bytes` of a staging buffer whose mapping has been waited for; it is unmapped again.
pub fn read(device: &Device, staging: &wgpu::Buffer, bytes: u64) -> Result<Vec<u8>> {
    let unmapped = |e| Error::Other(format!("{}: a result cannot be read: {e}", device.info.name));
    let data = staging.get_mapped_range(..bytes).map_err(unmapped)?.to_vec();
    staging.unmap();
    Ok(data)
}

/// Rows of f32 without what pads them.
pub fn rows(bytes: &[u8], rows: usize, shape: Shape) -> Vec<f32> {
    let numbers: Vec<f32> = bytemuck::pod_collect_to_vec(bytes);
    numbers.chunks(shape.stride()).take(rows).flat_map(|row| &row[..shape.cols]).copied().collect()
}
