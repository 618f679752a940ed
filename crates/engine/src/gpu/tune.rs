//! Finds the [`Policy`] of an adapter: candidates are planned, bound and timed as any model's steps are, and what is fastest is taken.
//!
//! The first layers of a model stand for all of them. Candidates of few rows are told apart matrix by matrix where passes have timestamps; else all
//! classes of matrices take what the whole step is fastest with. What another model has and this one has not stays as it was.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backend::{Backend, Precision, RuntimeConfig};
use crate::batch::Batch;
use crate::blocking::block_on;
use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::gguf::Gguf;
use crate::gpu::Gpu;
use crate::gpu::caps::Matrix;
use crate::gpu::device::Device;
use crate::gpu::memory::weights::Layout;
use crate::gpu::plan::matvec::Tile;
use crate::gpu::plan::policy::{ByMatvec, FewTile, FormatClass, InFloats, Policy, Steps};
use crate::gpu::plan::{Launch, SEVERAL, average, groups};
use crate::gpu::run::profile::{self, Effort};
use crate::gpu::weight_nodes;
use crate::graph::{Head, Row, Step};
use crate::models::Model;

/// Layers that stand for all.
const LAYERS: usize = 4;
/// Rows of a prompt's step.
const MANY: usize = 512;
/// What a candidate must take of the time of what is there to be better, and not just luckier.
const BETTER: f64 = 0.98;
/// How long a measurement takes.
const EFFORT: Effort = Effort { warm: Duration::from_millis(5), long: Duration::from_millis(40) };
/// Steps of a measurement without timestamps, of which the median counts.
const REPEATS: usize = 15;

/// Numbers of few rows that are measured, and those to which tiles on matrix units are compared.
const FEW: [usize; 10] = [2, 3, 4, 6, 8, 12, 16, 24, 32, 64];
const CROSSING: [usize; 12] = [2, 4, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64];
/// The same of many.
const PROMPTS: [usize; 6] = [96, 128, 192, 256, 384, 512];
/// Steps that are told in the end.
const TOLD: [usize; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 512];

/// The same of a program, which takes long for each; and how many tiles are tried there.
const TILES_SOFTWARE: usize = 3;
const FEW_SOFTWARE: [usize; 2] = [2, 6];
const TOLD_SOFTWARE: [usize; 3] = [1, 2, 6];

/// Candidates.
const INVOCATIONS: [u32; 5] = [32 << 10, 64 << 10, 128 << 10, 256 << 10, 512 << 10];
const LANE_BYTES: [[usize; 2]; 3] = [[32, 64], [64, 128], [128, 256]];
const TILES: [Tile; 8] = {
    const ALL: [u32; 2] = [0, u32::MAX];
    [
        Tile::whole(ALL),
        Tile::new(2, false, 1, ALL),
        Tile::new(4, true, 2, ALL),
        Tile::new(2, false, 2, ALL),
        Tile::new(2, true, 4, ALL),
        Tile::new(4, false, 2, ALL),
        Tile::new(4, true, 4, ALL),
        Tile::across(ALL),
    ]
};
const WORKGROUPS: [u32; 3] = [60, 120, 240];
const SHARES: [[(u32, u32); 3]; 3] =
    [[(2, 264), (4, 70), (8, 0)], [(2, 528), (4, 140), (8, 0)], [(2, 1056), (4, 280), (8, 0)]];

/// What was found.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// The table.
    pub policy: Policy,
    /// How long steps take.
    pub steps: Vec<StepTimes>,
}

/// A step of the model's first layers, by what was there and by what was found.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct StepTimes {
    /// Its rows.
    pub rows: usize,
    /// Microseconds before.
    pub before_us: f64,
    /// Microseconds now.
    pub after_us: f64,
}

/// Matrices that are alike: their formats, and whether they are large.
type Class = (FormatClass, bool);

/// How long a step took, in µs: all of it, and the matvecs of each class where that is known.
struct Times {
    whole: f64,
    classes: Vec<(Class, f64)>,
}

impl Times {
    fn of(&self, class: Class) -> f64 {
        self.classes.iter().find(|(of, _)| *of == class).map_or(self.whole, |(_, us)| *us)
    }
}

/// [`tune_async`], on a thread that may wait.
pub fn tune(
    device: Device,
    file: &Arc<Gguf>,
    cancel: &Cancel,
    say: &mut dyn FnMut(&'static str),
) -> Result<(Device, Tuning)> {
    block_on(tune_async(device, file, cancel, say))
}

/// Finds what `device` does best with over the matrices of `file`, beginning with what its caps say. `say` is told what is measured next.
pub async fn tune_async(
    device: Device,
    file: &Arc<Gguf>,
    cancel: &Cancel,
    say: &mut dyn FnMut(&'static str),
) -> Result<(Device, Tuning)> {
    let whole = Model::for_context(file, None, 0, Head::Logits)?;
    let model = Model::for_context(file, Some(LAYERS.min(whole.layers)), 0, Head::Logits)?;
    let before = device.caps.policy.clone();
    let mut tuner = Tuner {
        best: before.clone(),
        matrix: device.caps.matrix.is_some_and(|matrix| matrix != Matrix::Emulated),
        software: device.caps.software,
        rows: MANY.min(model.context_length),
        device: Some(device),
        file: file.clone(),
        model: Arc::new(model),
        cancel: cancel.clone(),
    };
    say("one row");
    tuner.one_row().await?;
    say("a few rows");
    tuner.few_rows().await?;
    if tuner.matrix {
        say("a few rows on matrix units");
        tuner.crossing(&whole).await?;
        say("prompts on matrix units");
        tuner.prompts().await?;
    } else if !tuner.software {
        say("prompts");
        tuner.in_floats(Steps::Many, &[128]).await?;
    }
    say("before and after");
    let steps = tuner.compare(&before).await?;
    match tuner.device {
        Some(device) => Ok((device, Tuning { policy: tuner.best, steps })),
        None => Err(Error::Other("the device is gone".into())),
    }
}

struct Tuner {
    /// The best table so far.
    best: Policy,
    /// Whether there are matrix units.
    matrix: bool,
    /// Whether it is a program: there work counts, and nothing but tiles changes that.
    software: bool,
    /// Rows of a step at most.
    rows: usize,
    /// None while it is in use.
    device: Option<Device>,
    file: Arc<Gguf>,
    model: Arc<Model>,
    cancel: Cancel,
}

impl Tuner {
    /// How long steps of so many rows take by a table, and which classes of matrices matvecs multiply as integers there.
    async fn times(&mut self, policy: &Policy, rows: &[usize]) -> Result<(Vec<Times>, Vec<Class>)> {
        let Some(mut device) = self.device.take() else {
            return Err(Error::Other("the device is in use".into()));
        };
        device.caps.policy = policy.clone();
        let most = rows.iter().copied().max().unwrap_or(1).min(self.rows);
        let config = RuntimeConfig::new(self.model.context_length.min(2 * MANY), 1, most, Precision::Fast);
        let (file, model) = (self.file.clone(), self.model.clone());
        let mut gpu = Gpu::new_async(device, file, model, config, false, &mut |_, _| {}).await?;
        let mut all = Vec::new();
        for &rows in rows.iter().filter(|&&rows| rows <= most) {
            self.cancel.check()?;
            all.push(time(&mut gpu, rows).await?);
        }
        let classes = classes(&gpu);
        self.device = Some(gpu.into_device());
        Ok((all, classes))
    }

    /// The sum of all steps' times.
    async fn sum(&mut self, policy: &Policy, rows: &[usize]) -> Result<f64> {
        Ok(self.times(policy, rows).await?.0.iter().map(|times| times.whole).sum())
    }

    /// Takes the best of some tables if it is better than what is there.
    async fn choose(&mut self, candidates: Vec<Policy>, rows: &[usize]) -> Result<()> {
        let best = self.best.clone();
        let candidates: Vec<Policy> = candidates.into_iter().filter(|policy| *policy != best).collect();
        let first = self.sum(&best, rows).await?;
        let mut found = (f64::INFINITY, None);
        for policy in candidates {
            let us = self.sum(&policy, rows).await?;
            if us < found.0 {
                found = (us, Some(policy));
            }
        }
        if let (us, Some(policy)) = found
            && us < BETTER * first
            // Clocks move: what is there is measured before and behind the others.
            && us < BETTER * self.sum(&best, rows).await?
        {
            self.best = policy;
        }
        Ok(())
    }

    async fn one_row(&mut self) -> Result<()> {
        if self.software {
            return Ok(());
        }
        let of = |best: &Policy, invocations| Policy { invocations, ..best.clone() };
        let all = INVOCATIONS.map(|invocations| of(&self.best, invocations));
        self.choose(all.into(), &[1]).await?;
        let all = LANE_BYTES.map(|lane_bytes| Policy { lane_bytes, ..self.best.clone() });
        self.choose(all.into(), &[1]).await?;
        self.in_floats(Steps::One, &[1]).await
    }

    /// Whether formats of integers are faster in f32.
    async fn in_floats(&mut self, steps: Steps, rows: &[usize]) -> Result<()> {
        let present = self.formats();
        let best = self.best.in_floats.to_vec();
        for formats in FormatClass::INTEGERS.into_iter().filter(|class| present.contains(class)) {
            let this = InFloats { formats, steps };
            let others: Vec<InFloats> = best.iter().copied().filter(|other| *other != this).collect();
            let with: Vec<InFloats> = others.iter().copied().chain([this]).collect();
            let all = [others, with].map(|all| Policy { in_floats: Cow::Owned(all), ..self.best.clone() });
            self.choose(all.into(), rows).await?;
        }
        Ok(())
    }

    /// Which classes of formats the model has.
    fn formats(&self) -> Vec<FormatClass> {
        let graph = &self.model.graph;
        let weights = weight_nodes(&self.model).0.into_iter();
        weights.map(|node| FormatClass::of(crate::gpu::memory::weights::weight(graph, node).format)).collect()
    }

    /// Which tile of matvecs multiplies how many rows.
    async fn few_rows(&mut self) -> Result<()> {
        // Beyond that matrix units multiply.
        let most = if self.matrix { 24 } else { SEVERAL };
        let all = if self.software { &FEW_SOFTWARE[..] } else { &FEW };
        let rows: Vec<usize> = all.iter().copied().filter(|&rows| rows <= most.min(self.rows)).collect();
        let by_matvecs = Policy { lanes: None, ..always(&self.best, SEVERAL) };
        let (base, classes) = self.times(&by_matvecs, &rows).await?;
        let mut measured = Vec::new();
        let tiles = if self.software { &TILES[..TILES_SOFTWARE] } else { &TILES };
        for &tile in tiles {
            let all =
                FormatClass::INTEGERS.into_iter().flat_map(|formats| [(formats, false), (formats, true)]);
            let few = all.map(|(formats, large)| FewTile { formats, large, tile }).collect();
            let policy = Policy { few: Cow::Owned(few), ..by_matvecs.clone() };
            measured.push((tile, self.times(&policy, &rows).await?.0));
        }
        let mut few = self.best.few.to_vec();
        for class @ (formats, large) in classes {
            let tiles: Vec<Tile> = rows
                .iter()
                .enumerate()
                .map(|(i, &rows)| {
                    let there = few
                        .iter()
                        .find(|few| (few.formats, few.large) == class && holds(few.tile, rows))
                        .map(|few| (few.tile, BETTER * base[i].of(class)));
                    let all = measured.iter().map(|(tile, times)| (*tile, times[i].of(class)));
                    let best = all.chain(there).min_by(|a, b| a.1.total_cmp(&b.1));
                    best.map_or(TILES[0], |(tile, _)| tile)
                })
                .collect();
            few.retain(|few| (few.formats, few.large) != class);
            few.extend(ranges(&rows, &tiles).into_iter().map(|tile| FewTile { formats, large, tile }));
        }
        let policy = Policy { few: Cow::Owned(few), ..self.best.clone() };
        self.choose(vec![policy], &rows).await?;
        if self.software {
            return Ok(());
        }
        self.in_floats(Steps::Few, &[2, 8]).await
    }

    /// From how many rows on matrix units are faster than matvecs.
    async fn crossing(&mut self, whole: &Model) -> Result<()> {
        let Some(device) = &self.device else { return Ok(()) };
        let (graph, groups) = (&whole.graph, groups::groups(&whole.graph));
        let (matrices, bundles) = (weight_nodes(whole).0, groups::weight_groups(graph, &groups));
        let layout = Layout::new(graph, &matrices, &bundles, device.caps.binding)?;
        let Some((format, bytes)) = average(graph, &layout) else { return Ok(()) };
        let (matvecs, _) = self.times(&always(&self.best, SEVERAL), &CROSSING).await?;
        let (tiles, _) = self.times(&always(&self.best, 1), &CROSSING).await?;
        let pairs = CROSSING.iter().zip(matvecs.iter().zip(&tiles));
        let rows = pairs.take_while(|(_, (matvecs, tiles))| matvecs.whole <= tiles.whole).last();
        let rows = rows.map_or(1, |(&rows, _)| rows);
        let mut table = self.best.by_matvec.to_vec();
        let holds = |row: &&mut ByMatvec| row.formats == FormatClass::of(format) && bytes >= row.bytes;
        match table.iter_mut().find(holds) {
            Some(row) => row.rows = rows,
            None => table.push(ByMatvec { formats: FormatClass::of(format), bytes: 0, rows }),
        }
        self.best.by_matvec = Cow::Owned(table);
        let shares = SHARES.map(|shares| Policy { shares, ..self.best.clone() });
        self.choose(shares.into(), &[32, 64]).await
    }

    /// Up to how many rows the tiles of `matmul_few` are faster than those of `matmul_matrix`, and which of the latter are.
    async fn prompts(&mut self) -> Result<()> {
        if self.rows < MANY {
            return Ok(());
        }
        let workgroups = WORKGROUPS.map(|workgroups| Policy { workgroups, ..self.best.clone() });
        self.choose(workgroups.into(), &[MANY]).await?;
        let [short, long] = [MANY as u32, 0].map(|short| Policy { short, ..self.best.clone() });
        let (short, long) = (self.times(&short, &PROMPTS).await?.0, self.times(&long, &PROMPTS).await?.0);
        let shares: Vec<f64> =
            short.iter().zip(&long).map(|(short, long)| short.whole / long.whole).collect();
        // One number of rows that is slower by itself, as by luck, does not end it.
        let all = |&count: &usize| shares[..count].iter().map(|share| share - 1.0).sum::<f64>();
        let count = (0..=shares.len()).rev().min_by(|a, b| all(a).total_cmp(&all(b))).unwrap_or(0);
        self.best.short = if count == 0 { SEVERAL } else { PROMPTS[count - 1] } as u32;
        Ok(())
    }

    /// Steps by what was there and by what was found.
    async fn compare(&mut self, before: &Policy) -> Result<Vec<StepTimes>> {
        let all = if self.software { &TOLD_SOFTWARE[..] } else { &TOLD };
        let rows: Vec<usize> = all.iter().copied().filter(|&rows| rows <= self.rows).collect();
        let after = self.best.clone();
        let (first, _) = self.times(before, &rows).await?;
        let (now, _) = self.times(&after, &rows).await?;
        let of = |((&rows, before), after): ((&usize, &Times), &Times)| StepTimes {
            rows,
            before_us: before.whole,
            after_us: after.whole,
        };
        Ok(rows.iter().zip(&first).zip(&now).map(of).collect())
    }
}

/// The table with matvecs up to so many rows, whatever the matrices.
fn always(policy: &Policy, rows: usize) -> Policy {
    let of = |formats| ByMatvec { formats, bytes: 0, rows };
    let all = [FormatClass::Floats].into_iter().chain(FormatClass::INTEGERS).map(of);
    Policy { by_matvec: Cow::Owned(all.collect()), ..policy.clone() }
}

fn holds(tile: Tile, rows: usize) -> bool {
    (tile.within.from..=tile.within.to).contains(&(rows as u32))
}

/// Tiles of all numbers of rows: each of those up to the one that was measured, the last one of all others, neighbours that are alike together.
fn ranges(rows: &[usize], tiles: &[Tile]) -> Vec<Tile> {
    let mut all: Vec<Tile> = Vec::new();
    for (&rows, &tile) in rows.iter().zip(tiles) {
        let from = all.last().map_or(0, |last| last.within.to + 1);
        match all.last_mut() {
            Some(last) if (Tile { within: tile.within, ..*last }) == tile => last.within.to = rows as u32,
            _ => all.push(tile.of_rows([from, rows as u32])),
        }
    }
    if let Some(last) = all.last_mut() {
        last.within.to = u32::MAX;
    }
    all
}

/// How long a step of `rows` rows takes.
async fn time(gpu: &mut Gpu, rows: usize) -> Result<Times> {
    // Few rows are those of sequences, each of which goes on; many are a prompt.
    let outputs = if rows > SEVERAL { 1 } else { rows.min(gpu.outputs) };
    if gpu.can_profile().is_ok() {
        let found = profile::measure(gpu, 0, rows, outputs, EFFORT).await?;
        let mut classes: Vec<(Class, f64)> = Vec::new();
        for group in &found.groups {
            let format = crate::formats::FORMATS.iter().find(|format| format.name == group.format);
            let Some(format) = format.filter(|_| is_matvec(&group.kernel)) else { continue };
            let class = class(gpu, format, group.shape);
            match classes.iter_mut().find(|(of, _)| *of == class) {
                Some((_, us)) => *us += group.us,
                None => classes.push((class, group.us)),
            }
        }
        return Ok(Times { whole: found.step_us, classes });
    }
    let row = |i: usize| Row { token: 0, slot: 0, position: i as u32 };
    let step = Step { rows: (0..rows).map(row).collect(), outputs: profile::last_rows(rows, outputs) };
    let mut times = Vec::new();
    for _ in 0..REPEATS {
        let start = Instant::now();
        let ticket = gpu.submit(&Batch::logits(&step))?;
        gpu.collect_async(ticket).await?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    Ok(Times { whole: times[REPEATS / 2], classes: Vec::new() })
}

/// Whether a dispatch is a matvec that the table has tiles for: those of experts have their own.
fn is_matvec(label: &str) -> bool {
    label.starts_with("matvec i8") && !label.contains("expert")
}

fn class(gpu: &Gpu, format: &crate::formats::Format, [rows, cols]: [usize; 2]) -> Class {
    gpu.device.caps.policy.class_of_few(format, [cols, rows])
}

/// The classes of matrices that matvecs of few rows multiply as integers.
fn classes(gpu: &Gpu) -> Vec<Class> {
    let of = |launch: &Launch| {
        let read = launch.weight.filter(|_| is_matvec(&launch.label()))?;
        let matrix = &gpu.layout.matrices[read.matrix];
        Some(class(gpu, matrix.format, [read.rows, matrix.cols]))
    };
    let mut all: Vec<Class> = Vec::new();
    for class in gpu.launches[crate::gpu::plan::RowClass::Few as usize].iter().filter_map(of) {
        if !all.contains(&class) {
            all.push(class);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_measured_rows_leave_none_out() {
        let (a, b) = (TILES[0], TILES[1]);
        let all = ranges(&[2, 3, 4, 8], &[a, b, b, a]);
        let expected = [a.of_rows([0, 2]), b.of_rows([3, 4]), a.of_rows([5, u32::MAX])];
        assert_eq!(all, expected);
    }
}
