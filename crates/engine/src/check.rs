//! One graph on two backends, node by node: the only module that knows both.
//!
//! Every dispatch of the device is held to the plain nodes that it stands for, computed by the reference from the very values that
//! the device had as its inputs. An error therefore shows where it arises, at any depth of a model, and bounds stay those of a
//! single op. The logits at the end are also compared with those of the reference running alone.

mod rounding;

use std::collections::HashMap;
use std::sync::Arc;

use crate::backend::{Backend, DeviceInfo, Precision, RuntimeConfig};
use crate::blocking::block_on;
use crate::cpu::{Cpu, Values};
use crate::engine::{Choice, Options};
use crate::error::{Error, Result};
use crate::gguf::Gguf;
use crate::gpu::{self, Arithmetic, Gpu, Traced};
use crate::graph::{Graph, Node, Row, Step};
use crate::memory::Kv;
use crate::models::Model;
use crate::ops::Op;

/// What a product with activations in int8 may differ by from the reference's with the very same rounding: where one number of 64 is
/// near a tie, one side may round it up and the other down, a step of 1/127 of its block's largest.
const INTEGER_BOUND: f64 = 2e-5;
/// What a product of activations and weights rounded to f16 may differ by: a relative 2⁻¹² each, and twice that where an adapter cuts
/// off instead of rounding, less what the sum of positive and negative products cancels.
const HALF_BOUND: f64 = 1e-6;
/// What the CPU's own int8 products of many rows may differ by from f32: llama.cpp's bound for its products.
const CPU_INTEGER_BOUND: f64 = 5e-4;
/// Rows of a prefill beyond which its last ones are steps of their own, and how many those are.
const MANY: usize = 79;
const SEVERAL: usize = 13;
const FEW: usize = 2;
/// What the logits of a whole model may differ by where only the order of sums differs, some hundred nodes one behind the other.
const WHOLE_F32: f64 = 1e-7;
/// And where activations are rounded, times what the rounding alone costs the reference: twice as far, in the mean square, as its furthest row. What a model makes of a
/// rounding is its own, from 1e-5 of the logits to 1e-2 (Gemma 3 270M on random tokens), and a tie on the way makes another rounding of all that follows.
const WHOLE_ROUNDED: f64 = 4.0;
/// Rows of a prompt that say what that is.
const ROUNDED_ROWS: usize = 64;

/// What `check` found of one node.
#[derive(Clone, Debug, serde::Serialize)]
pub struct NodeReport {
    /// The node's label.
    pub node: String,
    /// Rows and columns of its value.
    pub shape: [usize; 2],
    /// The kernel that computed it.
    pub kernel: String,
    /// Which step it was in: `prefill` or `decode N`.
    pub step: String,
    /// Σ(a−b)²/Σa² against the reference; none for values that a fused kernel does not keep.
    pub nmse: Option<f64>,
    /// What is allowed.
    pub bound: f64,
    /// Whether it agrees.
    pub pass: bool,
    /// Row and column of the largest difference, the reference's value there and the other's.
    pub worst: Option<([usize; 2], f32, f32)>,
    /// Whether the kernel also wrote where none of this value is, which no result excuses.
    pub out_of_bounds: bool,
}

impl NodeReport {
    /// Demands another bound besides what was demanded.
    fn hold_to(&mut self, bound: f64) {
        self.bound = bound;
        self.pass &= self.nmse.is_none_or(|nmse| nmse <= bound);
    }
}

/// What `check` found.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Report {
    /// What was held to the reference.
    pub device: DeviceInfo,
    /// What the reference was.
    pub reference: &'static str,
    /// All nodes of all steps, in order.
    pub nodes: Vec<NodeReport>,
}

impl Report {
    /// How many nodes do not agree.
    pub fn failed(&self) -> usize {
        self.nodes.iter().filter(|n| !n.pass).count()
    }
}

/// [`check_async`], on a thread that may wait.
pub fn check(file: Gguf, options: &Options, ids: &[u32], decode: usize) -> Result<Report> {
    block_on(check_async(file, options, ids, decode))
}

/// Runs `ids` as a prefill and `decode` single-row steps, dealt to the slots of `options`, on the CPU and on the device that these choose. `auto` takes a software
/// adapter too: for this, it is as good as any. The CPU itself is held to the plain references of the ops.
pub async fn check_async(file: Gguf, options: &Options, ids: &[u32], decode: usize) -> Result<Report> {
    let file = Arc::new(file);
    let model = Arc::new(Model::from_gguf(&file, options.layers)?);
    let steps = steps(ids, decode, options.slots);
    let positions = steps.iter().flat_map(|(_, step)| &step.rows).map(|row| row.position as usize + 1);
    let context = positions.max().unwrap_or(1);
    if let Some(most) = model.position_limit.filter(|&most| context > most) {
        return Err(Error::Usage(format!("{context} positions: this model knows {most} and no more")));
    }
    let kv = options.kv(options.backend != Choice::Cpu);
    let plan = RuntimeConfig {
        kv,
        ..RuntimeConfig::new(context, options.slots, ids.len().max(1), options.precision)
    };
    if let Some(id) = ids.iter().find(|&&id| id as usize >= model.vocab_size) {
        return Err(Error::Usage(format!("token {id} is not in the vocabulary of {}", model.vocab_size)));
    }
    if options.backend == Choice::Cpu {
        return check_cpu(file, model, plan, steps);
    }
    let device = match options.backend {
        Choice::Gpu(api) => gpu::choose_async(Some(api), options.device.as_deref(), options.masks).await?,
        _ => gpu::choose_async(None, options.device.as_deref(), options.masks).await?,
    };
    let mut gpu =
        Gpu::new_async(device, file.clone(), model.clone(), plan, options.unfused, &mut |_, _| {}).await?;
    let exact = RuntimeConfig { precision: Precision::F32, ..plan };
    let mut beside = Cpu::new(file.clone(), model.clone(), exact)?;
    let mut alone = Cpu::new(file.clone(), model.clone(), exact)?;
    let mut rounded = Cpu::new(file, model.clone(), exact)?;

    let (mut nodes, mut whole, mut furthest) = (Vec::new(), Vec::new(), 0.0f64);
    for (label, step) in steps {
        let Compared { found, logits, arithmetic, routes } =
            compare_async(&mut gpu, &mut beside, &model.graph, &step, &label).await?;
        nodes.extend(found);
        // Of more rows than the device is asked for: what a rounding comes to differs from row to row.
        let (cols, rows) = (model.vocab_size, step.rows.len());
        let outputs = rows.saturating_sub(ROUNDED_ROWS)..rows;
        let step = Step { outputs: outputs.map(|row| row as u32).collect(), ..step };
        let reference = rounding::run(&mut alone, &model.graph, &step, &HashMap::new(), &routes);
        if options.precision == Precision::Fast {
            let found = rounding::run(&mut rounded, &model.graph, &step, &arithmetic, &reference.routes);
            furthest = furthest.max(rounding::furthest(&reference.logits, &found.logits, cols));
        }
        let reference = reference.logits;
        let reference = &reference[reference.len().saturating_sub(logits.len())..];
        whole.push(nodes.len());
        let (node, any) = ("logits, whole model".into(), f64::INFINITY);
        nodes.push(report(node, cols, "all", &label, any, reference, &logits));
    }
    if let Some((kernel, from, _)) = options.masks.mutation.filter(|_| !gpu.is_mutated()) {
        return Err(Error::Usage(format!("no text of kernel {kernel} has {from:?}: nothing was changed")));
    }
    let exact = kv.keys.bound(WHOLE_F32).max(kv.values.bound(WHOLE_F32));
    for at in whole {
        nodes[at].hold_to(exact.max(WHOLE_ROUNDED * furthest));
    }
    Ok(Report { device: gpu.device(), reference: "the CPU", nodes })
}

/// Holds the CPU's own kernels to the plain references, node by node, each from the values that the kernels had as inputs.
fn check_cpu(
    file: Arc<Gguf>,
    model: Arc<Model>,
    config: RuntimeConfig,
    steps: Vec<(String, Step)>,
) -> Result<Report> {
    let mut cpu = Cpu::new(file.clone(), model.clone(), config)?;
    let mut plain = Cpu::new(file, model.clone(), config)?.by_references();
    let graph = &model.graph;
    let mut nodes = Vec::new();
    for (label, step) in steps {
        let mut values = Values::new();
        for (node, entry) in graph.nodes() {
            let Some((op, _)) = entry.op() else { continue };
            let (reference, found) = (plain.compute(node, &step, &values), cpu.compute(node, &step, &values));
            let integer = config.precision == Precision::Fast && matches!(op, Op::Linear(_));
            let bound = if integer { CPU_INTEGER_BOUND } else { op.bound() };
            let cols = entry.shape.cols;
            nodes.push(report(entry.label.clone(), cols, op.name(), &label, bound, &reference, &found));
            let states = cpu.states(node, &step);
            nodes.extend(state_report(graph, node, op.name(), &label, &plain.states(node, &step), &states));
            plain.keep_states(node, &step, &states);
            for backend in [&mut cpu, &mut plain] {
                backend.keep(node, &step, &found);
            }
            values.insert(node, found);
            forget(graph, Some(node), &mut values);
        }
    }
    Ok(Report { device: cpu.device(), reference: "the plain references", nodes })
}

/// A prefill step that asks for its last rows, and single-row steps behind it with the ids from the start. Of many rows the last few are a
/// step of their own, so that every class of rows is looked at. The rows of a step are dealt to all `slots` alike, beginning with another one each time.
fn steps(ids: &[u32], decode: usize, slots: usize) -> Vec<(String, Step)> {
    let (several, few) = if ids.len() > MANY { (SEVERAL, FEW) } else { (0, 0) };
    let decode = if ids.is_empty() { 0 } else { decode };
    let counts = [("prefill", ids.len() - several - few), ("several rows", several), ("few rows", few)];
    let counts = counts.into_iter().map(|(label, count)| (label.to_string(), count));
    let decoded = (1..=decode).map(|i| (format!("decode {i}"), 1));
    let mut tokens = ids.iter().copied().cycle();
    let mut positions = vec![0u32; slots];
    let mut steps = Vec::new();
    for (label, count) in counts.chain(decoded).filter(|(_, count)| *count > 0) {
        let mut row = |i: usize| {
            let slot = (steps.len() + i * slots / count) % slots;
            let position = positions[slot];
            positions[slot] += 1;
            Row { token: tokens.next().unwrap_or(0), slot: slot as u32, position }
        };
        let rows: Vec<Row> = (0..count).map(&mut row).collect();
        let outputs = (count.saturating_sub(2)..count).map(|i| i as u32).collect();
        steps.push((label, Step { rows, outputs }));
    }
    steps
}

/// [`compare_async`], on a thread that may wait.
pub fn compare(
    gpu: &mut Gpu,
    cpu: &mut Cpu,
    graph: &Graph,
    step: &Step,
    label: &str,
) -> Result<Vec<NodeReport>> {
    Ok(block_on(compare_async(gpu, cpu, graph, step, label))?.found)
}

/// What [`compare_async`] found of a step, and what the device made of it.
pub struct Compared {
    /// All of its nodes.
    pub found: Vec<NodeReport>,
    /// The device's last value.
    pub logits: Vec<f32>,
    /// In what it multiplied.
    pub arithmetic: HashMap<Node, Arithmetic>,
    /// Which experts it chose.
    pub routes: HashMap<Node, Vec<f32>>,
}

/// Runs one step on the device and holds every dispatch to the reference; `cpu` keeps the caches as the device wrote them.
pub async fn compare_async(
    gpu: &mut Gpu,
    cpu: &mut Cpu,
    graph: &Graph,
    step: &Step,
    label: &str,
) -> Result<Compared> {
    let mut known = Values::new();
    let (mut found, mut arithmetic, mut routes) = (Vec::new(), HashMap::new(), HashMap::new());
    gpu.trace(step, &mut |traced| {
        arithmetic.extend(traced.nodes.iter().map(|&node| (node, traced.arithmetic)));
        let chosen = traced
            .values
            .iter()
            .filter(|(node, _)| graph.entry(*node).op().is_some_and(|(op, _)| matches!(op, Op::Route(_))));
        routes.extend(chosen.cloned());
        found.extend(hold(cpu, graph, step, label, &traced, &mut known));
        Ok(())
    })
    .await?;
    let logits = known.remove(&graph.output()).unwrap_or_default();
    Ok(Compared { found, logits, arithmetic, routes })
}

/// Holds what one dispatch computed to the reference, then takes over its values as inputs of what follows.
fn hold(
    cpu: &mut Cpu,
    graph: &Graph,
    step: &Step,
    label: &str,
    traced: &Traced,
    known: &mut Values,
) -> Vec<NodeReport> {
    // Values between the nodes of one dispatch are the reference's own: the device does not keep them.
    let mut values: Values = Values::new();
    let mut reports = Vec::new();
    for &node in &traced.nodes {
        for input in graph.entry(node).op().into_iter().flat_map(|(_, inputs)| inputs) {
            if let Some(value) = known.get(input)
                && !values.contains_key(input)
            {
                values.insert(*input, value.clone());
            }
        }
        // Of f16 weights are rounded as well, and both are in the bound.
        let rounds = match traced.arithmetic {
            Arithmetic::Int8 => Arithmetic::Int8,
            Arithmetic::F16 | Arithmetic::F32 => Arithmetic::F32,
        };
        let reference = rounding::compute(cpu, graph, node, step, &mut values, rounds);
        let device = traced.values.iter().find(|(n, _)| *n == node).map(|(_, v)| v);
        let entry = graph.entry(node);
        // What an op only hands on differs by as much as what it is given, where that is computed in the same dispatch.
        let own = |node: Node| graph.entry(node).op().map_or(0.0, |(op, _)| op.bound());
        let given = entry.op().into_iter().flat_map(|(_, inputs)| inputs);
        let given = given.filter(|input| traced.nodes.contains(input)).map(|&input| own(input));
        let bound = if own(node) == 0.0 { given.fold(0.0, f64::max) } else { own(node) };
        let bound = match traced.arithmetic {
            Arithmetic::F32 => bound,
            // Keys and values of other formats are rounded to f16 there, besides queries and weights: twice as many roundings.
            Arithmetic::F16 => match entry.op() {
                Some((Op::Attend(_), _)) if cpu.kv() != Kv::of(Precision::Fast) => {
                    bound.max(2.0 * HALF_BOUND)
                }
                _ => bound.max(HALF_BOUND),
            },
            Arithmetic::Int8 => bound.max(INTEGER_BOUND),
        };
        // What is stored is rounded behind that.
        let bound = cpu.stores_in(node).map_or(bound, |format| format.bound(bound));
        let (name, cols) = (entry.label.clone(), entry.shape.cols);
        match device {
            Some(device) => {
                let report = report(name, cols, &traced.kernel, label, bound, &reference, device);
                let out_of_bounds = traced.out_of_bounds.contains(&node);
                reports.push(NodeReport { pass: report.pass && !out_of_bounds, out_of_bounds, ..report });
            }
            None => reports.push(NodeReport {
                node: name,
                shape: [reference.len() / cols.max(1), cols],
                kernel: format!("in {}", traced.kernel),
                step: label.into(),
                nmse: None,
                bound,
                pass: true,
                worst: None,
                out_of_bounds: false,
            }),
        }
        if let Some(device) = device {
            cpu.keep(node, step, device);
        }
        if let Some((_, device)) = traced.states.iter().find(|(n, _)| *n == node) {
            let reference = cpu.states(node, step);
            reports.extend(state_report(graph, node, &traced.kernel, label, &reference, device));
            cpu.keep_states(node, step, device);
        }
        values.insert(node, reference);
    }
    for (node, value) in &traced.values {
        known.insert(*node, value.clone());
    }
    forget(graph, traced.nodes.last().copied(), known);
    reports
}

/// What became of the states that a node moves on, if it has any.
fn state_report(
    graph: &Graph,
    node: Node,
    kernel: &str,
    step: &str,
    reference: &[f32],
    device: &[f32],
) -> Option<NodeReport> {
    let state = graph.state_of(node)?;
    let bound = graph.entry(node).op().map_or(0.0, |(op, _)| op.bound());
    let entry = graph.entry(state);
    Some(report(entry.label.clone(), entry.shape.cols, kernel, step, bound, reference, device))
}

/// Drops the values that no later node reads, nor a norm that vanishes in front of one.
fn forget(graph: &Graph, last: Option<Node>, known: &mut Values) {
    let Some(last) = last else { return };
    let read = |node: Node| graph.users(node).iter().any(|user| *user > last);
    let later = |node: Node| read(node) || graph.users(node).iter().any(|&user| read(user));
    known.retain(|node, _| *node == graph.output() || later(*node));
}

fn report(
    node: String,
    cols: usize,
    kernel: &str,
    step: &str,
    bound: f64,
    reference: &[f32],
    device: &[f32],
) -> NodeReport {
    let same_length = reference.len() == device.len();
    let nmse = nmse(reference, device);
    let difference = |i: &usize| {
        let d = (reference[*i] - device[*i]).abs();
        match d.is_nan() {
            true if reference[*i] == device[*i] => 0.0, // infinities
            true => f32::INFINITY,
            false => d,
        }
    };
    let at = (0..reference.len().min(device.len())).max_by(|a, b| difference(a).total_cmp(&difference(b)));
    NodeReport {
        node,
        shape: [reference.len() / cols.max(1), cols],
        kernel: kernel.into(),
        step: step.into(),
        nmse: Some(nmse),
        bound,
        pass: same_length && nmse <= bound,
        worst: at.map(|i| ([i / cols, i % cols], reference[i], device[i])),
        out_of_bounds: false,
    }
}

/// Σ(a−b)²/Σa², and Σ(a−b)² where a is all zeros. Infinities of one sign agree; with a NaN or an infinity on one side alone the
/// result is infinite or not a number, below no bound.
pub fn nmse(a: &[f32], b: &[f32]) -> f64 {
    let (mut error, mut power) = (0.0f64, 0.0f64);
    for (&a, &b) in a.iter().zip(b) {
        if a == b && a.is_infinite() {
            continue;
        }
        error += (a as f64 - b as f64).powi(2);
        power += (a as f64).powi(2);
    }
    if power > 0.0 { error / power } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_not_a_number_fails() {
        let r = report("n".into(), 2, "k", "s", 1.0, &[1.0, 2.0], &[1.0, f32::NAN]);
        assert!(!r.pass);
        assert_eq!(r.worst.map(|w| w.0), Some([0, 1]));
    }

    #[test]
    fn rows_are_dealt_to_all_slots_and_follow_each_other_in_each() {
        for slots in [1, 3, 40] {
            let ids: Vec<u32> = (0..100).collect();
            let mut next = vec![0; slots];
            for (label, step) in steps(&ids, 3, slots) {
                let of: Vec<u32> = step.rows.iter().map(|row| row.slot).collect();
                let runs = of.chunk_by(|a, b| a == b).count();
                assert_eq!(runs, slots.min(of.len()), "{label}: {of:?}");
                for row in &step.rows {
                    assert_eq!(row.position, next[row.slot as usize], "{label}");
                    next[row.slot as usize] += 1;
                }
            }
            assert_eq!(next.iter().sum::<u32>(), 103);
        }
    }

    #[test]
    fn infinities_agree_in_their_sign() {
        let of = |a, b| report("n".into(), 2, "k", "s", 1.0, &[1.0, a], &[1.0, b]).pass;
        let most = f32::INFINITY;
        assert!(of(most, most) && of(-most, -most));
        assert!(!of(most, -most) && !of(most, 3e38) && !of(3e38, most) && !of(f32::NAN, f32::NAN));
    }

    #[test]
    fn a_shorter_value_fails() {
        assert!(!report("n".into(), 2, "k", "s", 1.0, &[1.0, 2.0], &[1.0]).pass);
    }

    #[test]
    fn nmse_is_relative() {
        assert_eq!(nmse(&[2.0, 0.0], &[1.0, 0.0]), 0.25);
        assert_eq!(nmse(&[0.0], &[0.5]), 0.25);
    }
}
