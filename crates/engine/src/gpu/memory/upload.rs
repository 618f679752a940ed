//! Copies bytes to the device through a ring of staging buffers: while one is filled, others are on their way.

use crate::error::{Error, Result};
use crate::gpu::device::Device;

/// Bytes of one staging buffer.
pub const PIECE: usize = 16 << 20;
const RING: usize = 3;

/// A ring of staging buffers.
pub struct Uploader<'a> {
    device: &'a Device,
    ring: Vec<(wgpu::Buffer, Option<wgpu::SubmissionIndex>)>,
    next: usize,
}

impl<'a> Uploader<'a> {
    /// A ring for uploads to `device`.
    pub fn new(device: &'a Device) -> Uploader<'a> {
        Uploader { device, ring: Vec::new(), next: 0 }
    }

    /// Copies `data`, a multiple of four bytes, to `buffer` at `offset`.
    pub async fn write(&mut self, buffer: &wgpu::Buffer, offset: u64, data: &[u8]) -> Result<()> {
        for (i, piece) in data.chunks(PIECE).enumerate() {
            self.write_piece(buffer, offset + (i * PIECE) as u64, piece).await?;
        }
        Ok(())
    }

    async fn write_piece(&mut self, buffer: &wgpu::Buffer, offset: u64, piece: &[u8]) -> Result<()> {
        if self.ring.len() < RING {
            let usage = wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC;
            self.ring.push((self.device.buffer("staging", PIECE as u64, usage)?, None));
            self.next = self.ring.len() - 1;
        }
        let slot = self.next;
        self.next = (slot + 1) % RING;
        let (staging, last) = &mut self.ring[slot];
        let length = piece.len() as u64;
        let mapped = self.device.map(staging, wgpu::MapMode::Write, length);
        self.device.wait(last.take(), mapped).await?;
        {
            let unmapped = |e| {
                Error::Other(format!("{}: a staging buffer cannot be written: {e}", self.device.info.name))
            };
            let mut view = staging.get_mapped_range_mut(..length).map_err(unmapped)?;
            view.copy_from_slice(piece);
        }
        staging.unmap();
        let mut encoder = self.device.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(staging, 0, buffer, offset, length);
        *last = Some(self.device.queue.submit([encoder.finish()]));
        Ok(())
    }

    /// Waits until everything has arrived.
    pub async fn finish(self) -> Result<()> {
        self.device.finished().await
    }
}
