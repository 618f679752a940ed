//! The WGSL decoders run on every adapter of this machine: their weights are those of `decode`, and their dot
//! products those of the decoded weights.

use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use wgllm::formats::{FORMATS, Format};
use wgpu::util::{BufferInitDescriptor, DeviceExt};
use wgpu::{Adapter, Backends, BufferUsages, Instance, InstanceDescriptor};

use crate::blocks::{Random, random_blocks};
use crate::{planes, wgsl};

/// An odd number of rows, and rows of an odd and of an even number of blocks: f16 scales then end in the middle of a u32, rows of blocks
/// of 32 in the middle of a unit.
const ROWS: usize = 5;
const BLOCKS: &[usize] = &[1, 3, 18];
/// A row of F32, F16 or BF16; no whole number of units of the latter two.
const FLOATS: &[usize] = &[172];
/// How far a weight may be off, relative to the largest one: a compiler may contract what `decode` rounds twice.
const ROUNDING: f32 = 1e-6;

/// One trial for each format on each adapter.
pub fn trials() -> Vec<Trial> {
    let instance = Instance::new(InstanceDescriptor::new_without_display_handle());
    let adapters = pollster::block_on(instance.enumerate_adapters(Backends::PRIMARY));
    if adapters.is_empty() {
        let name = "decoders_agree_on_the_gpu (no adapter here)";
        return vec![Trial::test(name, || Ok(())).with_ignored_flag(true)];
    }
    let trial = |adapter: Adapter, format: &'static Format| {
        let info = adapter.get_info();
        let name = format!("{}_decoder_agrees_on {} ({})", format.name, info.name, info.backend);
        Trial::test(name, move || agrees(&adapter, format))
    };
    adapters
        .iter()
        .flat_map(|adapter| FORMATS.iter().map(move |&format| trial(adapter.clone(), format)))
        .collect()
}

fn agrees(adapter: &Adapter, format: &Format) -> Result<(), Failed> {
    let counts = if format.weights == 1 { FLOATS } else { BLOCKS };
    counts.iter().try_for_each(|count| rows_agree(adapter, format, count * format.weights))
}

/// Of rows of `cols` weights.
fn rows_agree(adapter: &Adapter, format: &Format, cols: usize) -> Result<(), Failed> {
    let tensor = random_blocks(format, ROWS * cols / format.weights, 1);
    let mut planes = planes::repack(format, &tensor, cols, 0xff);
    for plane in &mut planes {
        plane.resize(plane.len().next_multiple_of(4), 0xff);
    }
    planes.extend(format.grid.map(|grid| grid().to_vec()));
    let mut expected = vec![0.0; ROWS * cols];
    (format.decode)(&tensor, &mut expected);
    let padding = vec![0.0; format.padded_cols(cols) - cols];
    let expected: Vec<f32> = expected.chunks(cols).flat_map(|row| [row, &padding].concat()).collect();

    let gpu = Gpu::new(adapter, &wgsl::shader(format, cols)?)?;
    let found = gpu.run("decode", None, &planes, expected.len(), format.unit)?;
    let largest = expected.iter().fold(0.0, |largest, w| w.abs().max(largest));
    let off = |i: usize| (found[i] - expected[i]).abs();
    if let Some(i) = (0..found.len()).find(|&i| off(i).is_nan() || off(i) > ROUNDING * largest) {
        return Err(
            format!("weight {i} of rows of {cols} is {:e}, expected {:e}", found[i], expected[i]).into()
        );
    }
    if !format.integer {
        return Ok(());
    }

    let mut random = Random(2);
    let units = expected.len() / 64;
    let activations: Vec<Quants> = (0..units).map(|_| Quants::random(&mut random)).collect();
    let found = gpu.run("dot_i8", Some(bytemuck::cast_slice(&activations)), &planes, units, 1)?;
    for (unit, (weights, x)) in expected.chunks(64).zip(&activations).enumerate() {
        let activation = |i: usize| f64::from(x.scale[i / 16]) * f64::from(x.q[i]);
        let expected: f64 = weights.iter().enumerate().map(|(i, w)| f64::from(*w) * activation(i)).sum();
        let sum: f64 = (0..64).map(|i| activation(i).abs()).sum();
        // A handful of roundings to 24 bits, of products and offsets that the largest weight times Σ |x| bounds.
        let tolerance = f64::from(largest) * sum * 2f64.powi(-20);
        let error = (f64::from(found[unit]) - expected).abs();
        if error.is_nan() || error > tolerance {
            let what = format!("dot of unit {unit} of rows of {cols}");
            return Err(format!("{what}: {:e}, expected {expected:e}", found[unit]).into());
        }
    }
    Ok(())
}

/// `Quants` of wgsl/lib/quants.wgsl, laid out as WGSL does.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
struct Quants {
    q: [i8; 64],
    scale: [f32; 4],
    sum: [f32; 4],
}

impl Quants {
    fn random(random: &mut Random) -> Quants {
        let q: [i8; 64] = std::array::from_fn(|_| (random.bits() % 255) as i8);
        let scale = [0; 4].map(|_| (0.5 + random.unit()) / 64.0);
        let sum =
            [0, 1, 2, 3].map(|h| scale[h] * q[16 * h..][..16].iter().map(|q| f32::from(*q)).sum::<f32>());
        Quants { q, scale, sum }
    }
}

struct Gpu {
    device: wgpu::Device,
    queue: wgpu::Queue,
    module: wgpu::ShaderModule,
}

impl Gpu {
    fn new(adapter: &Adapter, source: &str) -> Result<Gpu, Failed> {
        let (device, queue) = pollster::block_on(adapter.request_device(&Default::default()))?;
        let source = wgpu::ShaderSource::Wgsl(source.into());
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source });
        Ok(Gpu { device, queue, module })
    }

    /// Runs an entry point whose lanes write `per_lane` results each.
    fn run(
        &self,
        entry: &str,
        activations: Option<&[u8]>,
        planes: &[Vec<u8>],
        results: usize,
        per_lane: usize,
    ) -> Result<Vec<f32>, Failed> {
        let device = &self.device;
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(entry),
            layout: None,
            module: &self.module,
            entry_point: Some(entry),
            compilation_options: Default::default(),
            cache: None,
        });
        let buffer = |contents: &[u8]| {
            let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC;
            device.create_buffer_init(&BufferInitDescriptor { label: None, contents, usage })
        };
        let group = |group: u32, buffers: &[wgpu::Buffer]| {
            let entries = buffers.iter().enumerate();
            let entries: Vec<_> = entries
                .map(|(i, buffer)| wgpu::BindGroupEntry {
                    binding: i as u32,
                    resource: buffer.as_entire_binding(),
                })
                .collect();
            let layout = &pipeline.get_bind_group_layout(group);
            device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries })
        };
        // NaN wherever nothing is written.
        let written = buffer(&[0xff].repeat(4 * results));
        let inputs: Vec<_> = [written.clone()].into_iter().chain(activations.map(buffer)).collect();
        let planes: Vec<_> = planes.iter().map(|plane| buffer(plane)).collect();

        let mut encoder = device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &group(0, &inputs), &[]);
        pass.set_bind_group(1, &group(1, &planes), &[]);
        pass.dispatch_workgroups((results / per_lane).div_ceil(32) as u32, 1, 1);
        drop(pass);
        let read = device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: written.size(),
            usage: BufferUsages::COPY_DST | BufferUsages::MAP_READ,
            mapped_at_creation: false,
        });
        encoder.copy_buffer_to_buffer(&written, 0, &read, 0, written.size());
        let submission_index = Some(self.queue.submit([encoder.finish()]));
        read.map_async(wgpu::MapMode::Read, .., |_| ());
        device.poll(wgpu::PollType::Wait { submission_index, timeout: Some(Duration::from_secs(60)) })?;
        Ok(bytemuck::cast_slice(&read.get_mapped_range(..)?).to_vec())
    }
}
