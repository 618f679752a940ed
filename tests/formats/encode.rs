//! `encode` against ggml 0.13.1 (`ggml_quantize_chunk` without an importance matrix): the very same bytes, for all formats that models are made in
//! but Q5_1, where ours is to be nearer to the weights.
//! `encoded.json` holds what ggml made of the weights of [`weights`].

use half::{bf16, f16};
use libtest_mimic::{Failed, Trial};
use wgllm::formats::{FORMATS, Format};

/// Weights of a block of the largest format.
const BLOCK: usize = 256;

pub fn trials() -> Vec<Trial> {
    let made = FORMATS.iter().filter(|format| format.encode.is_some());
    let trial = |format: &&'static Format| {
        let format = *format;
        Trial::test(format!("{}_is_encoded_as_by_ggml", format.name), move || encodes_as_ggml(format))
    };
    made.map(trial).collect()
}

fn encodes_as_ggml(format: &Format) -> Result<(), Failed> {
    let weights = weights();
    let mut found = vec![0xaa; weights.len() / format.weights * format.bytes];
    format.encode.ok_or("it has no encoder")?(&weights, &mut found);
    let expected: Vec<u8> = match format.name {
        "F32" => weights.iter().flat_map(|w| w.to_le_bytes()).collect(),
        "F16" => weights.iter().flat_map(|&w| f16::from_f32(w).to_le_bytes()).collect(),
        "BF16" => weights.iter().flat_map(|&w| bf16::from_f32(w).to_le_bytes()).collect(),
        name => golden(name)?,
    };
    if found.len() != expected.len() {
        return Err(format!("{} bytes, expected {}", found.len(), expected.len()).into());
    }
    if format.name == "Q5_1" {
        return is_nearer(format, &weights, &found, &expected);
    }
    match (0..found.len()).find(|&at| found[at] != expected[at]) {
        Some(at) => {
            let (block, byte) = (at / format.bytes, at % format.bytes);
            Err(format!("block {block}, byte {byte} is {:#x}, ggml's is {:#x}", found[at], expected[at])
                .into())
        }
        None => Ok(()),
    }
}

/// The error of each block but the tiny one, whose scales f16 hardly holds, is not above ggml's by more than f16 rounds a scale; where
/// weights are like a model's it is a tenth below.
fn is_nearer(format: &Format, weights: &[f32], found: &[u8], golden: &[u8]) -> Result<(), Failed> {
    let decode = |blocks: &[u8]| {
        let mut decoded = vec![0.0; weights.len()];
        (format.decode)(blocks, &mut decoded);
        decoded
    };
    let (found, golden) = (decode(found), decode(golden));
    for block in (0..weights.len() / BLOCK).filter(|&block| block != 5) {
        let error = |decoded: &[f32]| -> f64 {
            let both = weights.iter().zip(decoded).skip(block * BLOCK).take(BLOCK);
            both.map(|(w, d)| f64::from(w - d).powi(2)).sum()
        };
        let (found, golden) = (error(&found), error(&golden));
        let most = if block == 0 { 0.9 * golden } else { golden * 1.001 };
        if found > most {
            return Err(format!("block {block}: an error of {found:e}, ggml's is {golden:e}").into());
        }
    }
    Ok(())
}

fn golden(name: &str) -> Result<Vec<u8>, Failed> {
    let all: serde_json::Value = serde_json::from_str(include_str!("encoded.json"))?;
    let digits = all[name].as_str().ok_or("encoded.json does not have it")?;
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16);
    Ok((0..digits.len()).step_by(2).map(byte).collect::<Result<_, _>>()?)
}

/// Eight blocks: like a model's weights; zeros; one weight far from all others; above 0; half zeros; tiny; all the same; below 0.
fn weights() -> Vec<f32> {
    let mut state = 12345u32;
    let mut draw = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as i32 - 32768
    };
    let mut weights = Vec::new();
    for i in 0..8 * BLOCK {
        // The sum of four is like a bell.
        let bell = (draw() + draw() + draw() + draw()) as f32 / 131_072.0;
        weights.push(match (i / BLOCK, i % BLOCK) {
            (0, _) => bell * 0.05,
            (1, _) => 0.0,
            (2, 77) => bell * 40.0,
            (2, _) => bell * 0.3,
            (3, _) => bell.abs() + 0.01,
            (4, 0..128) => 0.0,
            (4, _) => bell,
            (5, _) => bell * 1e-6,
            (6, _) => 0.3,
            _ => -bell.abs() - 0.5,
        });
    }
    weights
}
