//! How fast the device reads its memory, measured: what decode is compared with.

use std::time::{Duration, Instant};

use crate::error::Result;
use crate::gpu::device::Device;
use crate::gpu::link::Slots;
use crate::gpu::pipelines::{Key, made};
use crate::gpu::plan::dispatch::Extent;
use crate::gpu::run::launch::BoundLaunch;
use crate::graph::{Row, Rows, Step};

/// Bytes of the buffer: several times what a large cache holds.
const BYTES: u64 = 256 << 20;
const GROUPS: u32 = 4096;
/// How long to measure at least: a submission's own time is then lost in it.
const LONG: Duration = Duration::from_millis(10);

/// Bytes per second: the best of a few measurements.
pub async fn measure(device: &Device) -> Result<f64> {
    let bytes = BYTES.min(device.caps.binding).min(device.caps.buffer) / 16 * 16;
    let storage = wgpu::BufferUsages::STORAGE;
    let x = device.buffer("read", bytes, storage)?;
    let width = device.caps.invocations.min(256);
    let y = device.buffer("not written", (GROUPS * width) as u64 * 4, storage)?;
    let slots = Slots::NONE;
    let constants =
        [("VECTORS", (bytes / 16) as f64), ("GROUPS", GROUPS as f64), ("WORKGROUP", width as f64)];
    let key = Key::new("read", slots, &constants)?;
    let pipeline = made(device, key).await?;
    let extent = Extent::PerRow { rows: Rows::Step, each: GROUPS };
    let stage = BoundLaunch::bind(device, pipeline, &[vec![(0, &x), (1, &y)]], extent);
    let step = Step { rows: vec![Row { token: 0, slot: 0, position: 0 }], outputs: Vec::new() };

    let run = async |times: u32| -> Result<Duration> {
        let mut encoder = device.device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            (0..times).for_each(|_| stage.encode(&mut pass, &step));
        }
        let start = Instant::now();
        device.queue.submit([encoder.finish()]);
        device.finished().await?;
        Ok(start.elapsed())
    };
    // The first run also fills the buffer with zeros.
    run(1).await?;
    let once = run(1).await?;
    let times = (LONG.as_nanos() / once.as_nanos().max(1)).clamp(1, 1000) as u32;
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        best = best.min(run(times).await?.as_secs_f64() / times as f64);
    }
    Ok(bytes as f64 / best)
}
