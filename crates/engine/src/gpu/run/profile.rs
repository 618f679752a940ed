//! Where the time of a step goes, from timestamps that the device takes itself.
//!
//! Timestamps stand at the ends of passes: within a pass they cost several µs each, and not every device has them there. So every
//! group of like dispatches is run in a pass of its own, all layers of it one after the other, and the whole step in another. Dispatches
//! of a group wait for each other as those of a step do: what one layer writes shares its buffer with what the next one does. Where a step's
//! values are apart, those of the groups share buffers nevertheless.

use std::time::{Duration, Instant};

use crate::backend::{DispatchGroup, Profile, no_profile};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::gpu::plan::{Launch, Operand};
use crate::gpu::run::launch::BoundLaunch;
use crate::gpu::run::readback;
use crate::graph::{Node, Row, Step};
use crate::ops::{AttentionShape, Op};

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// How long a device is kept busy before the first measurement: clocks rise slowly.
    pub warm: Duration,
    /// How long measuring should take.
    pub long: Duration,
}

/// What somebody waits for who wants to know.
const FULL: Effort = Effort { warm: Duration::from_millis(100), long: Duration::from_secs(1) };
/// Measurements of each group; the median of them is told.
const REPEATS: (usize, usize) = (5, 50);

/// Dispatches of one kind, ready to be encoded.
struct Group<'a> {
    told: DispatchGroup,
    stages: Vec<&'a BoundLaunch>,
}

/// Fails where passes have no timestamps.
pub fn check(gpu: &Gpu) -> Result<()> {
    match gpu.device.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
        true => Ok(()),
        false => Err(no_profile(&gpu.device.info)),
    }
}

/// Measures a step of `rows` rows from `position` on, of which the last one is asked for. What is in the caches there is overwritten.
pub async fn profile(gpu: &Gpu, position: u32, rows: usize) -> Result<Profile> {
    measure(gpu, position, rows, 1, FULL).await
}

/// The same, for as long as `effort` says, of which the last `outputs` rows are asked for.
pub async fn measure(
    gpu: &Gpu,
    position: u32,
    rows: usize,
    outputs: usize,
    effort: Effort,
) -> Result<Profile> {
    check(gpu)?;
    let last = position as usize + rows.max(1) - 1;
    if last >= gpu.config.context || rows > gpu.config.rows {
        let (context, most) = (gpu.config.context, gpu.config.rows);
        let what =
            format!("position {last} is not in a context of {context}, or {rows} rows are more than {most}");
        return Err(Error::Usage(what));
    }
    let row = |i: usize| Row { token: 0, slot: 0, position: position + i as u32 };
    let rows = rows.max(1);
    let step = Step { rows: (0..rows).map(row).collect(), outputs: last_rows(rows, outputs) };
    let class = gpu.class_of(&step);
    let shared = gpu.shared(class)?;
    let bound = shared.as_ref().unwrap_or(&gpu.bound[class as usize]);
    let groups = groups(gpu, bound, &step);
    let whole: Vec<&BoundLaunch> =
        gpu.bound[class as usize].iter().chain(gpu.sampler.greedy(class).map(|(_, stage)| stage)).collect();
    gpu.make_ready(whole.iter().copied().chain(shared.iter().flatten()), &step)?;
    // The whole step, nothing, and the groups. The sampler is the last of them: it moves the position on.
    let mut passes: Vec<&[&BoundLaunch]> = vec![&whole, &[]];
    passes.extend(groups.iter().map(|g| g.stages.as_slice()));

    let repeats = warm_up(gpu, &step, &passes, effort).await?;
    let most = wgpu::QUERY_SET_MAX_QUERIES as usize / (2 * passes.len());
    let times = times(gpu, &step, &passes, repeats.min(most)).await?;
    let pass_us = times[1];
    // What a pass takes by itself is not the dispatches': a step has one pass, whatever the number of groups.
    let own = |us: f64| (us - pass_us).max(0.0);
    let told = groups.into_iter().zip(&times[2..]).map(|(g, &us)| DispatchGroup { us: own(us), ..g.told });
    Ok(Profile { position, rows, groups: told.collect(), step_us: own(times[0]), pass_us })
}

/// The numbers of the last `count` of so many rows.
pub fn last_rows(rows: usize, count: usize) -> Vec<u32> {
    (rows - count..rows).map(|row| row as u32).collect()
}

/// The dispatches of a step, like with like: of one kernel, over weights of one form, for the same node of each layer.
fn groups<'a>(gpu: &'a Gpu, bound: &'a [BoundLaunch], step: &Step) -> Vec<Group<'a>> {
    let class = gpu.class_of(step);
    let launches = gpu.launches[class as usize].iter().map(|p| tell(gpu, p, step));
    let sampler = gpu.sampler.greedy(class).map(|(kernel, stage)| {
        let node = "sampler".into();
        (DispatchGroup { kernel: kernel.into(), node, count: 1, ..DispatchGroup::default() }, stage)
    });
    let mut groups: Vec<Group<'a>> = Vec::new();
    for (told, stage) in launches.zip(bound).chain(sampler) {
        if !stage.runs(step) {
            continue;
        }
        let key = |t: &DispatchGroup| (t.kernel.clone(), t.node.clone(), t.format, t.shape);
        match groups.iter_mut().find(|g| key(&g.told) == key(&told)) {
            Some(group) => {
                group.told.count += 1;
                group.told.weight_bytes += told.weight_bytes;
                group.told.cache_bytes += told.cache_bytes;
                group.told.operations += told.operations;
                group.stages.push(stage);
            }
            None => groups.push(Group { told, stages: vec![stage] }),
        }
    }
    groups
}

/// What a planned dispatch is, and what it reads.
fn tell(gpu: &Gpu, p: &Launch, step: &Step) -> DispatchGroup {
    let mut told =
        DispatchGroup { kernel: p.label(), node: node(gpu, p), count: 1, ..DispatchGroup::default() };
    if let Some(w) = p.weight {
        let matrix = &gpu.layout.matrices[w.matrix];
        let (format, cols) = (matrix.format, matrix.cols);
        let row: usize = format.planes.iter().map(|plane| format.plane_row_bytes(plane, cols)).sum();
        told.format = format.name;
        told.shape = [w.rows, cols];
        told.weight_bytes = (w.rows * row) as u64;
        let of = |n: &Node| gpu.model.graph.shape(*n).rows_in(step);
        let rows = p.nodes.last().map_or(step.rows.len(), of);
        told.operations = if p.dispatch.kernel == "embed" { 0 } else { (2 * w.rows * cols * rows) as u64 };
    }
    if let Some(shape) = attends(gpu, p)
        && let Some(row) = step.rows.last()
    {
        let positions = (row.position + 1 - shape.first_seen(row.position)) as usize;
        // Each key and each value once, however many heads share it.
        let kv = gpu.config.kv;
        let head = kv.keys.bytes(shape.head_dim) + kv.values.bytes(shape.head_dim);
        told.cache_bytes = (shape.kv_heads * positions * head) as u64;
    }
    told
}

/// How a dispatch attends, if it reads a cache.
fn attends<'a>(gpu: &'a Gpu, p: &Launch) -> Option<&'a AttentionShape> {
    let graph = &gpu.model.graph;
    let op = |n: Node| graph.entry(n).op().map(|(op, _)| op);
    let computes = |wanted: fn(&Op) -> bool| p.nodes.iter().any(|&n| op(n).is_some_and(wanted));
    if computes(|op| matches!(op, Op::Store(_))) && !computes(|op| matches!(op, Op::Attend(_))) {
        return None;
    }
    let cache = p.operands.iter().find_map(|(_, o)| match o {
        Operand::Cache(node) => Some(*node),
        _ => None,
    })?;
    graph.users(cache).iter().find_map(|&user| match op(user) {
        Some(Op::Attend(attend)) => Some(&attend.0),
        _ => None,
    })
}

/// The node that a dispatch computes last, or works on, without its layer.
fn node(gpu: &Gpu, p: &Launch) -> String {
    let value = |o: &Operand| match *o {
        Operand::Value(node) | Operand::Partials(node) => Some(node),
        _ => None,
    };
    let node = p.nodes.last().copied().or_else(|| p.operands.iter().rev().find_map(|(_, o)| value(o)));
    let label = node.map_or("", |n| gpu.model.graph.entry(n).label.as_str());
    label.rsplit('.').next().unwrap_or(label).into()
}

/// Keeps the device busy until its clocks are up; the number of repeats that a measurement has time for.
async fn warm_up(gpu: &Gpu, step: &Step, passes: &[&[&BoundLaunch]], effort: Effort) -> Result<usize> {
    let start = Instant::now();
    loop {
        let once = Instant::now();
        let mut encoder = gpu.device.device.create_command_encoder(&Default::default());
        gpu.write_step(gpu.class_of(step), step);
        for stages in passes {
            encode(&mut encoder, step, stages, None);
        }
        gpu.device.queue.submit([encoder.finish()]);
        gpu.device.finished().await?;
        if start.elapsed() >= effort.warm && once > start {
            let repeats = (effort.long.as_nanos() / once.elapsed().as_nanos().max(1)) as usize;
            return Ok(repeats.clamp(REPEATS.0, REPEATS.1));
        }
    }
}

/// The median time of each pass, in µs.
async fn times(gpu: &Gpu, step: &Step, passes: &[&[&BoundLaunch]], repeats: usize) -> Result<Vec<f64>> {
    let count = (2 * passes.len() * repeats) as u32;
    let queries = gpu.device.device.create_query_set(&wgpu::QuerySetDescriptor {
        label: Some("profile"),
        ty: wgpu::QueryType::Timestamp,
        count,
    });
    let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
    let bytes = count as u64 * 8;
    let resolved = gpu.device.buffer("timestamps", bytes, usage)?;
    let mut next = 0;
    for _ in 0..repeats {
        // The sampler moved the position on: the whole step and the groups both begin where they are told to.
        for part in [&passes[..1], &passes[1..]] {
            gpu.write_step(gpu.class_of(step), step);
            let mut encoder = gpu.device.device.create_command_encoder(&Default::default());
            for stages in part {
                encode(&mut encoder, step, stages, Some((&queries, next)));
                next += 2;
            }
            gpu.device.queue.submit([encoder.finish()]);
        }
    }
    let mut encoder = gpu.device.device.create_command_encoder(&Default::default());
    encoder.resolve_query_set(&queries, 0..count, &resolved, 0);
    let stamps: Vec<u64> =
        bytemuck::pod_collect_to_vec(&readback::copy(&gpu.device, encoder, &resolved, bytes).await?);
    let tick = gpu.device.queue.get_timestamp_period() as f64 / 1e3;
    let of_pass = |pass: usize| {
        let pairs = stamps.chunks_exact(2).skip(pass).step_by(passes.len());
        median(pairs.map(|pair| pair[1].saturating_sub(pair[0]) as f64 * tick).collect())
    };
    Ok((0..passes.len()).map(of_pass).collect())
}

/// Encodes a pass, between two timestamps if there are any.
fn encode(
    encoder: &mut wgpu::CommandEncoder,
    step: &Step,
    stages: &[&BoundLaunch],
    stamps: Option<(&wgpu::QuerySet, u32)>,
) {
    let timestamp_writes = stamps.map(|(query_set, first)| wgpu::ComputePassTimestampWrites {
        query_set,
        beginning_of_pass_write_index: Some(first),
        end_of_pass_write_index: Some(first + 1),
    });
    let desc = wgpu::ComputePassDescriptor { label: Some("profile"), timestamp_writes };
    let mut pass = encoder.begin_compute_pass(&desc);
    for stage in stages {
        stage.encode(&mut pass, step);
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
