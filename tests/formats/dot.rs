//! `dot`, which decodes in registers, against the weights of `decode`.

use libtest_mimic::{Failed, Trial};
use wgllm::formats::{ByteGroup, ByteProducts, ByteRow, FORMATS, Format, GROUP, Group, Groups};

use crate::blocks::{Random, random_blocks};

/// Blocks of a row; of F32, F16 and BF16, weights: around the edges of 16 sums and of two of them.
const BLOCKS: &[usize] = &[1, 2, 3, 5, 15, 16, 17, 31, 32, 33, 64, 172];

/// Two trials for each format, and two more for those with integers.
pub fn trials() -> Vec<Trial> {
    let trials = |format: &'static Format| {
        let name = format.name;
        [
            Trial::test(format!("{name}_row_times_a_unit_vector_is_one_weight"), || one_weight(format)),
            Trial::test(format!("{name}_row_times_x_is_the_sum_of_weights_times_x"), || sum(format)),
        ]
    };
    let mut all: Vec<Trial> = FORMATS.iter().flat_map(|&format| trials(format)).collect();
    for &format in FORMATS {
        let Some(groups) = format.groups else { continue };
        for with in [ByteProducts::Pairs, ByteProducts::Fours] {
            let name =
                format!("{}_rows_times_x_in_int8_by_{with:?}_are_the_sums_of_weights_times_x", format.name);
            let trial = Trial::test(name, move || sums_in_int8(format, groups, with));
            all.push(trial.with_ignored_flag(!with.are_here()));
        }
    }
    all
}

/// Of numbers that are whole multiples of their scale, so that nothing is rounded but sums; of numbers of rows around those that go side by side.
fn sums_in_int8(format: &Format, groups: Groups, with: ByteProducts) -> Result<(), Failed> {
    let mut random = Random(5);
    for (i, &blocks) in BLOCKS.iter().enumerate() {
        let rows = 1 + i % 9;
        let (matrix, weights) = row(format, rows * blocks);
        let (mut x, mut numbers) = (Vec::new(), Vec::new());
        for _ in 0..weights.len() / rows / GROUP {
            let scale = random.unit() + 0.1;
            let mut q = [0; GROUP];
            q.iter_mut().for_each(|q| *q = ((random.unit() - 0.5) * 254.0) as i8);
            q[0] = [127, -127][blocks % 2];
            // Products of neighbours with the same sign, which some instructions add in i16.
            q[4..8].fill([127, -127][i / 2 % 2]);
            let of: Vec<f32> = q.iter().map(|&q| f32::from(q) * scale).collect();
            x.push(ByteGroup { q, scale, sums: [of[..16].iter().sum(), of[16..].iter().sum()] });
            numbers.extend(of);
        }
        let each = x.len();
        // What was there before does not show.
        let mut bytes = ByteRow::default();
        bytes.fill([x[0]; 40].into_iter());
        bytes.fill(x.into_iter());
        let mut found = vec![f32::NAN; rows];
        (groups.byte_dot)(with, &matrix, &bytes, &mut found);
        let empty = Group { q: [0; GROUP], scale: [0.0; 2], minimum: [0.0; 2] };
        let mut read = vec![empty; weights.len() / GROUP];
        (groups.read)(&matrix, &mut read);
        for (r, found) in found.into_iter().enumerate() {
            let (weights, read) = (&weights[r * numbers.len()..], &read[r * each..]);
            let (mut expected, mut size) = (0.0, 0.0);
            for (i, (&w, &x)) in weights.iter().zip(&numbers).enumerate() {
                let Group { q, scale, minimum } = &read[i / GROUP];
                let half = i % GROUP / 16;
                expected += f64::from(w) * f64::from(x);
                size += f64::from((scale[half] * f32::from(q[i % GROUP])).abs() + minimum[half].abs())
                    * f64::from(x.abs());
            }
            // A product is part of a sum of a group, of one in two groups and of the end, and is rounded less than sixteen times besides.
            let tolerance = size * (each + 32) as f64 * 2f64.powi(-24);
            let error = (f64::from(found) - expected).abs();
            if error.is_nan() || error > tolerance {
                return Err(format!(
                    "row {r} of {rows}, {} weights: {error:e} off, at most {tolerance:e}",
                    numbers.len()
                )
                .into());
            }
        }
    }
    Ok(())
}

/// Nothing is rounded where all but one product are zero: each weight is that of `decode`, and in its place.
fn one_weight(format: &Format) -> Result<(), Failed> {
    for &blocks in &BLOCKS[..7] {
        let (row, weights) = row(format, blocks);
        for (i, &expected) in weights.iter().enumerate() {
            let mut x = vec![0.0; weights.len()];
            x[i] = 1.0;
            let found = (format.dot)(&row, &x);
            if found != expected {
                return Err(format!("{i} of {}: {found:e}, expected {expected:e}", weights.len()).into());
            }
        }
    }
    Ok(())
}

fn sum(format: &Format) -> Result<(), Failed> {
    let mut random = Random(2);
    for &blocks in BLOCKS {
        let (row, weights) = row(format, blocks);
        let x: Vec<f32> = weights.iter().map(|_| random.unit() - 0.5).collect();
        let products = || weights.iter().zip(&x).map(|(&w, &x)| f64::from(w) * f64::from(x));
        let (expected, size): (f64, f64) = (products().sum(), products().map(f64::abs).sum());
        // A product is part of one in sixteen additions, and is rounded itself: less than eight times in any format, its
        // scale and the end included. Each rounds by 2⁻²⁴ at most.
        let tolerance = size * (weights.len() / 16 + 8) as f64 * 2f64.powi(-24);
        let error = (f64::from((format.dot)(&row, &x)) - expected).abs();
        if error.is_nan() || error > tolerance {
            return Err(format!("{} weights: {error:e} off, at most {tolerance:e}", weights.len()).into());
        }
    }
    Ok(())
}

/// A row of random blocks and its weights.
fn row(format: &Format, blocks: usize) -> (Vec<u8>, Vec<f32>) {
    let row = random_blocks(format, blocks, blocks as u64);
    let mut weights = vec![0.0; blocks * format.weights];
    (format.decode)(&row, &mut weights);
    (row, weights)
}
