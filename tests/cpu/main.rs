//! The CPU's kernels against the references of their ops: every format, numbers of rows around the edges of panels, odd columns, and
//! each set of instructions that this machine has.
//!
//! A sum of k products in f32 is off by √k roundings of 2⁻²⁴, and is itself √k products large: in relation, an NMSE of 2⁻⁴⁸
//! times a small number that grows with k. Sums here have fewer than 4,000 parts, and [`F32`] is far below 1e-7, which `check` uses.

#[path = "../common/blocks.rs"]
mod blocks;

use libtest_mimic::{Arguments, Failed, Trial};
use wgllm::backend::Precision;
use wgllm::check::nmse;
use wgllm::cpu::{Instructions, Kernels};
use wgllm::formats::{FORMATS, Format};
use wgllm::graph::{Row, Step};
use wgllm::memory::{KV_FORMATS, KvFormat};
use wgllm::ops::{
    Activation, Add, Attend, AttentionShape, CacheRows, Clamp, DeltaRule, Gate, GatedNorm, LayerNorm, Linear,
    Op, Pairing, RmsNorm, Rope, RopeShape, Ssd, States, Temperature, Unary, Value, WeightRows,
};

use blocks::{Random, random_blocks};

/// The NMSE that f32 sums may have.
const F32: f64 = 1e-11;
/// And where scores are capped at 20, which moves each by 20 · 2⁻²³ at most, and weights by that share.
const CAPPED: f64 = 1e-10;
/// Rows around the edges of few rows, of a panel and of pairs of panels.
const ROWS: &[usize] = &[1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65];
/// Positions of a page.
const PAGE: usize = 32;

fn main() -> std::process::ExitCode {
    let mut trials = Vec::new();
    for with in Instructions::available() {
        for &format in FORMATS {
            let name = format!("linear {} by {with:?} is the reference's", format.name);
            trials.push(Trial::test(name, move || linear(with, format)));
        }
        let name = |what: &str| format!("{what} by {with:?} is the reference's");
        trials.push(Trial::test(name("attention"), move || attention(with)));
        trials.push(Trial::test(name("what goes number by number"), move || elements(with)));
        trials.push(Trial::test(name("what goes row by row"), move || by_rows(with)));
        trials.push(Trial::test(name("what has a state"), move || recurrent(with)));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Computes `op` both ways and compares; what a kernel leaves unwritten stays no number.
fn hold(
    with: Instructions,
    bound: f64,
    op: &Op,
    step: &Step,
    inputs: &[Value<'_>],
    size: usize,
) -> Result<(), Failed> {
    let (mut expected, mut found) = (vec![0.0; size], vec![f32::NAN; size]);
    op.reference(step, inputs, &mut expected);
    for (precision, bound) in [(Precision::F32, bound), (Precision::Fast, bound.max(int8_bound(op)))] {
        Kernels::new(with, precision).compute(op, step, inputs, &mut found);
        let error = nmse(&expected, &found);
        if error.is_nan() || error > bound {
            let sizes = (step.rows.len(), size, inputs.get(1));
            let what = format!("{op:?} of rows, numbers, weight {sizes:?} in {precision:?}");
            return Err(format!("{what}: {error:.1e}, bound {bound:.0e}").into());
        }
        found.fill(f32::NAN);
    }
    Ok(())
}

/// What `check` allows where activations are int8.
fn int8_bound(op: &Op) -> f64 {
    if matches!(op, Op::Linear(_)) { 5e-4 } else { 0.0 }
}

fn linear(with: Instructions, format: &'static Format) -> Result<(), Failed> {
    let mut random = Random(3);
    let depths: &[usize] = if format.weights == 1 { &[1, 33, 511, 513, 1100] } else { &[1, 2, 3, 5, 9] };
    for (i, &rows) in ROWS.iter().enumerate() {
        // Each number of rows with other matrices, some of them deeper than what is decoded at a time.
        let cols = format.weights * depths[i % depths.len()] * if format.weights == 32 { 4 } else { 1 };
        // One number by itself may be far off in int8: it is few parts of a large sum.
        let n = [33, 65, 8, 1, 3, 100, 7][i % 7];
        let matrix = random_blocks(format, n * cols / format.weights, i as u64);
        let bias = numbers(&mut random, n);
        let x = numbers(&mut random, rows * cols);
        let bias = Value::Weight(WeightRows { blocks: bytes(&bias), cols: n, format: FORMATS[0] });
        let inputs = [
            Value::Rows { data: &x, cols },
            Value::Weight(WeightRows { blocks: &matrix, cols, format }),
            bias,
        ];
        hold(with, F32, &Op::Linear(Linear), &step(rows), &inputs[..2 + i % 2], rows * n)?;
    }
    Ok(())
}

/// Rows of two slots, whose pages lie anywhere.
fn attention(with: Instructions) -> Result<(), Failed> {
    let mut random = Random(4);
    let tables = vec![vec![3, 0, 5, 7, 1], vec![2, 8, 4, 6, 9]];
    for (heads, kv_heads, head_dim, window) in
        [(3, 3, 16, 0), (4, 2, 32, 0), (8, 2, 64, 5), (7, 1, 80, 0), (40, 2, 20, 33), (2, 1, 288, 64)]
    {
        let cols = kv_heads * head_dim;
        let [keys, values] = [(); 2].map(|()| numbers(&mut random, 10 * PAGE * cols));
        let scale = if window == 0 { 1.0 } else { 1.0 / (head_dim as f32).sqrt() };
        for (i, &rows) in ROWS.iter().enumerate() {
            let (softcap, bound) = if i % 2 == 0 { (0.0, F32) } else { (20.0, CAPPED) };
            let chunk = if i % 3 == 2 { 7 } else { 0 };
            let temperature = (i % 4 == 3).then_some(Temperature { scale: 0.3, length: 9, ahead: 1 });
            let shape =
                AttentionShape { heads, kv_heads, head_dim, scale, temperature, window, chunk, softcap };
            let op = Op::Attend(Attend(shape));
            let sinks: Vec<f32> = numbers(&mut random, heads).iter().map(|sink| 3.0 * sink).collect();
            let sinks = Value::Weight(WeightRows { blocks: bytes(&sinks), cols: heads, format: FORMATS[0] });
            let q = numbers(&mut random, rows * heads * head_dim);
            let row = |i: usize| Row { token: 0, slot: (i * 2 / rows) as u32, position: (i * 2) as u32 };
            let step = Step { rows: (0..rows).map(row).collect(), outputs: vec![] };
            let formats = KV_FORMATS.iter().filter(|format| head_dim.is_multiple_of(format.block));
            for &format in formats {
                // As they are stored: what is compared is how they are read.
                let [keys, values] = [&keys, &values].map(|numbers| stored(format, numbers, head_dim));
                let cache = |words| {
                    let tables = &tables;
                    Value::Cache(CacheRows { words, format, tables, heads: kv_heads, head_dim })
                };
                let q_rows = Value::Rows { data: &q, cols: heads * head_dim };
                let inputs = [q_rows, cache(&keys), cache(&values), sinks];
                hold(with, bound, &op, &step, &inputs[..3 + i % 2], q.len())?;
            }
        }
    }
    Ok(())
}

/// Heads as a cache holds them.
fn stored(format: &KvFormat, numbers: &[f32], head_dim: usize) -> Vec<u32> {
    let mut words = vec![0; numbers.len() / head_dim * format.bytes(head_dim) / 4];
    for (head, words) in numbers.chunks(head_dim).zip(words.chunks_mut(format.bytes(head_dim) / 4)) {
        (format.store)(head, bytemuck::cast_slice_mut(words));
    }
    words
}

fn elements(with: Instructions) -> Result<(), Failed> {
    let mut random = Random(5);
    for cols in [1, 3, 15, 16, 17, 1000, 2500] {
        for rows in [1, 3, 16] {
            let mut x = numbers(&mut random, rows * cols);
            x.iter_mut().for_each(|x| *x *= 30.0);
            x[0] = -120.0;
            let up = numbers(&mut random, rows * cols);
            let inputs = [Value::Rows { data: &x, cols }, Value::Rows { data: &up, cols }];
            for act in Activation::ALL {
                hold(with, F32, &Op::Gate(Gate::of(act)), &step(rows), &inputs, x.len())?;
                let clamp = Some(Clamp { limit: 0.5, shift: 1.0 });
                hold(with, F32, &Op::Gate(Gate { clamp, ..act.into() }), &step(rows), &inputs, x.len())?;
                hold(with, F32, &Op::Unary(Unary { act }), &step(rows), &inputs[..1], x.len())?;
            }
        }
    }
    Ok(())
}

/// The very numbers of the reference, for all rows and for output rows, of which there are fewer than the step has.
fn by_rows(with: Instructions) -> Result<(), Failed> {
    let mut random = Random(6);
    let cols = 36;
    let (w, b) = (numbers(&mut random, cols), numbers(&mut random, cols));
    let weight = |w| Value::Weight(WeightRows { blocks: bytes(w), cols, format: FORMATS[0] });
    let rope = RopeShape { first: 4, rotary: 8, scale: 0.5, ..RopeShape::new(12, 1e4, Pairing::Halves) };
    for &rows in ROWS {
        let (x, y) = (numbers(&mut random, rows * cols), numbers(&mut random, rows * cols));
        let [x, y] = [&x, &y].map(|data| Value::Rows { data, cols });
        let size = rows * cols;
        for step in [step(rows), step(rows + 3)] {
            hold(with, 0.0, &Op::Add(Add), &step, &[x, y], size)?;
            hold(
                with,
                0.0,
                &Op::RmsNorm(RmsNorm { eps: 1e-5, groups: 1, rest: 0 }),
                &step,
                &[x, weight(&w)],
                size,
            )?;
            let inputs = [x, weight(&w), weight(&b)];
            hold(with, 0.0, &Op::LayerNorm(LayerNorm { eps: 1e-5 }), &step, &inputs, size)?;
            let norm = GatedNorm { eps: 1e-5, groups: 1, gate_first: rows % 2 == 0 };
            hold(with, 0.0, &Op::GatedNorm(norm), &step, &[x, y, weight(&w)], size)?;
        }
        hold(with, 0.0, &Op::Rope(Rope(rope)), &step(rows), &[x], size)?;
    }
    Ok(())
}

/// Results and states of two slots, which begin and go on in turns: heads of whole lanes and of less.
fn recurrent(with: Instructions) -> Result<(), Failed> {
    let mut random = Random(7);
    let kernels = Kernels::new(with, Precision::F32);
    let delta = |k_heads, v_heads, width| {
        let op = DeltaRule { k_heads, v_heads, width, eps: 1e-6 };
        let sizes = [op.memory().numbers(0), (2 * k_heads + v_heads) * width, v_heads, v_heads * width];
        (sizes, Op::DeltaRule(op))
    };
    let ssd = |heads, width, groups, state| {
        let op = Ssd { heads, width, groups, state };
        let sizes = [op.memory().numbers(0), heads * width + 2 * groups * state, heads, heads * width];
        (sizes, Op::Ssd(op))
    };
    let ops = [delta(2, 4, 16), delta(1, 3, 20), delta(2, 2, 128), ssd(4, 8, 2, 16), ssd(3, 5, 1, 36)];
    for ([numbers_of_slot, cols, heads, width], op) in ops {
        let weights: Vec<Vec<f32>> = (0..3).map(|_| numbers(&mut random, heads)).collect();
        let decay: Vec<f32> = weights[0].iter().map(|w| w - 1.01).collect();
        let weight = |w| Value::Weight(WeightRows { blocks: bytes(w), cols: heads, format: FORMATS[0] });
        let states = [(); 2].map(|()| States::new(numbers_of_slot, vec![0.0; 2 * numbers_of_slot]));
        let mut positions = [0, 0];
        for counts in [[1, 0], [3, 2], [1, 1], [0, 7], [20, 1]] {
            let mut rows = Vec::new();
            for slot in 0..2 {
                for _ in 0..counts[slot] {
                    rows.push(Row { token: 0, slot: slot as u32, position: positions[slot] });
                    positions[slot] += 1;
                }
            }
            let step = Step { rows, outputs: vec![] };
            let count = step.rows.len();
            let [x, a, b] = [cols, heads, heads].map(|cols| (numbers(&mut random, count * cols), cols));
            let [x, a, b] = [&x, &a, &b].map(|(data, cols)| Value::Rows { data, cols: *cols });
            let out = count * width;
            let inputs = |states| match op {
                Op::DeltaRule(_) => [x, a, b, weight(&decay), weight(&weights[1]), Value::States(states)],
                _ => [x, a, weight(&decay), weight(&weights[1]), weight(&weights[2]), Value::States(states)],
            };
            let (mut expected, mut found) = (vec![0.0; out], vec![f32::NAN; out]);
            op.reference(&step, &inputs(&states[0]), &mut expected);
            kernels.compute(&op, &step, &inputs(&states[1]), &mut found);
            let [of_reference, of_kernel] = [&states[0], &states[1]].map(|s| s.lock().clone());
            for (what, error) in
                [("results", nmse(&expected, &found)), ("states", nmse(&of_reference, &of_kernel))]
            {
                if error.is_nan() || error > F32 {
                    return Err(
                        format!("{what} of {op:?}, rows {counts:?}: {error:.1e}, bound {F32:.0e}").into()
                    );
                }
            }
        }
    }
    Ok(())
}

/// Rows of one slot.
fn step(rows: usize) -> Step {
    let row = |i: usize| Row { token: 0, slot: 0, position: i as u32 + 5 };
    Step { rows: (0..rows).map(row).collect(), outputs: vec![] }
}

/// Numbers from −1 to 1.
fn numbers(random: &mut Random, count: usize) -> Vec<f32> {
    (0..count).map(|_| 2.0 * random.unit() - 1.0).collect()
}

fn bytes(numbers: &[f32]) -> &[u8] {
    bytemuck::cast_slice(numbers)
}
