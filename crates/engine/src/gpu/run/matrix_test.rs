//! Whether an adapter's matrix units compute what they should, since drivers are known that do not: a small product, held to the
//! host's at an adapter's first use. What was found is kept beside the pipelines.

use std::fs;
use std::io::Write;

use crate::error::{Error, Result};
use crate::gpu::caps::Matrix;
use crate::gpu::device::Device;
use crate::gpu::link::{Slots, link};
use crate::gpu::pipelines::{Key, beside_cache, hash, made};
use crate::gpu::plan::dispatch::Extent;
use crate::gpu::run::launch::BoundLaunch;
use crate::gpu::run::readback;
use crate::graph::{Row, Rows, Step};
use crate::replace::Replacement;

/// Columns of a and b, rows of c, and subgroups: as in the kernel.
const DEPTH: usize = 32;
const TEAMS: usize = 4;

/// Fails, with the reason, where the matrix units of `device` are not to be used.
pub async fn trust(device: &Device, matrix: Matrix) -> Result<()> {
    let slots = Slots {
        matrix: Some(matrix.stem()),
        subgroups: device.caps.subgroups && matrix != Matrix::Emulated,
        ..Slots::NONE
    };
    // What is kept holds for this text alone, and for nothing that a test makes up.
    let text = link("matrix_test", slots).map_err(Error::Other)?;
    let passed = format!("passed {:016x}\n", hash(&[text.as_bytes()]));
    let file =
        beside_cache(device, "matrix").filter(|_| device.mutation.is_none() && matrix != Matrix::Emulated);
    let kept =
        file.as_deref().filter(|f| fs::metadata(f).is_ok_and(|about| about.is_file() && about.len() < 64));
    if kept.and_then(|f| fs::read_to_string(f).ok()).is_some_and(|text| text == passed) {
        return Ok(());
    }
    test(device, matrix, slots).await?;
    // A failure is not kept: another driver may come, and the test is short.
    if let Some(file) = file {
        let keep = || -> std::io::Result<()> {
            file.parent().map_or(Ok(()), fs::create_dir_all)?;
            let mut out = Replacement::create(&file)?;
            out.write_all(passed.as_bytes())?;
            out.finish()
        };
        let _ = keep();
    }
    Ok(())
}

/// Runs the product and compares. All numbers are eighths that f16 holds exactly, and all sums such that f32 does and f16 does not.
async fn test(device: &Device, matrix: Matrix, slots: Slots) -> Result<()> {
    let size = matrix.size() as usize;
    let rows = TEAMS * size;
    let eighths = |count: usize, seed: usize| -> Vec<f32> {
        (0..count).map(|i| (((i * 7919 + seed) * 2654435761) >> 16 & 127) as f32 / 8.0 - 8.0).collect()
    };
    let (a, b, c) = (eighths(rows * DEPTH, 1), eighths(size * DEPTH, 2), eighths(DEPTH * size, 3));
    let d: Vec<f32> = eighths(rows * size, 4).iter().map(|d| 4096.0 + d).collect();
    let expected: Vec<f32> = (0..rows * size)
        .map(|i| {
            let (r, n) = (i / size, i % size);
            let product = |k: usize| a[r * DEPTH + k] * (b[n * DEPTH + k] + c[k * size + n]);
            d[i] + (0..DEPTH).map(product).sum::<f32>()
        })
        .collect();

    let width = TEAMS as u32 * matrix.subgroup(&device.caps);
    let mut constants = vec![("WORKGROUP", width as f64)];
    if matrix != Matrix::Emulated {
        constants.extend(device.caps.subgroup_constant());
    }
    let key = Key::new("matrix_test", slots, &constants)?;
    let pipeline = made(device, key).await?;
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let input = |numbers: &[f32]| -> Result<wgpu::Buffer> {
        let buffer = device.buffer("matrix test", numbers.len() as u64 * 4, usage)?;
        device.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(numbers));
        Ok(buffer)
    };
    let buffers = [input(&a)?, input(&b)?, input(&c)?, input(&d)?, input(&vec![f32::NAN; rows * size])?];
    let bound = vec![(0..).zip(&buffers).collect()];
    let extent = Extent::PerRow { rows: Rows::Step, each: 1 };
    let launch = BoundLaunch::bind(device, pipeline, &bound, extent);
    let mut encoder = device.device.create_command_encoder(&Default::default());
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        let one = Step { rows: vec![Row { token: 0, slot: 0, position: 0 }], outputs: Vec::new() };
        launch.encode(&mut pass, &one);
    }
    let bytes = readback::copy(device, encoder, &buffers[4], (rows * size * 4) as u64).await?;
    let found: Vec<f32> = bytemuck::pod_collect_to_vec(&bytes);
    match (0..found.len()).find(|&i| found[i] != expected[i]) {
        None => Ok(()),
        Some(i) => Err(Error::Device(format!(
            "row {}, column {} of a product is {} instead of {}",
            i / size,
            i % size,
            found[i],
            expected[i]
        ))),
    }
}
