//! A trained model in Q4_K_M, made of one in F16: the fixtures have none, since rows of 64 cannot hold blocks of 256. Which tensor has
//! which type is `llama-quantize`'s choice; the blocks are rounded in the plainest way, which is no worse a test: the reference
//! computes with the same weights.

use libtest_mimic::Failed;
use wgllm::check::nmse;
use wgllm::formats::by_id;
use wgllm::gguf::{Gguf, Value};

use crate::gguf_file::{GgufFile, Meta};

const Q4_K: u32 = 12;
const Q6_K: u32 = 14;
/// How far a matrix may be from what it was, relative to its power: a block that is packed wrongly is far above that.
const ROUNDING: f64 = 1e-2;

/// The file, without its tokenizer.
pub fn made_of(file: &Gguf) -> Result<Vec<u8>, Failed> {
    let mut made = GgufFile::new();
    for (key, value) in file.metadata().iter() {
        match value {
            Value::U32(n) if !key.starts_with("tokenizer.") => made.set(key, n),
            Value::F32(n) if !key.starts_with("tokenizer.") => made.set(key, n),
            Value::Str(text) if key == "general.architecture" => made.set(key, Meta::Str(text.to_vec())),
            _ => (),
        }
    }
    let layers = file.metadata().need_u32("llama.block_count")?;
    for tensor in file.tensors() {
        let (name, data) = (tensor.name.as_str(), file.data(tensor));
        if tensor.dims.len() < 2 {
            made.put(name, &tensor.dims, tensor.kind.id, data.to_vec());
            continue;
        }
        let read = by_id(tensor.kind.id).ok_or_else(|| format!("{name} is {}", tensor.kind.name))?;
        let mut weights = vec![0.0; tensor.elements() as usize];
        (read.decode)(data, &mut weights);
        let (blocks, odd) = weights.as_chunks::<256>();
        if !odd.is_empty() || !tensor.dims[0].is_multiple_of(256) {
            return Err(format!("{name}: a row of {} is no whole blocks", tensor.dims[0]).into());
        }
        let kind = kind(name, layers);
        let data: Vec<u8> = match kind {
            Q4_K => blocks.iter().flat_map(q4_k).collect(),
            _ => blocks.iter().flat_map(q6_k).collect(),
        };
        let mut decoded = vec![0.0; weights.len()];
        let format = by_id(kind).ok_or("a type of blocks is not known")?;
        (format.decode)(&data, &mut decoded);
        let error = nmse(&weights, &decoded);
        if error.is_nan() || error > ROUNDING {
            return Err(format!("{name} in {}: {error} from what it was", format.name).into());
        }
        made.put(name, &tensor.dims, kind, data);
    }
    Ok(made.bytes())
}

/// What `llama_tensor_get_type` of llama-quant.cpp chooses for Q4_K_M: the embedding, where it is the output, too, and half of the
/// values and of the down projections have more bits.
fn kind(name: &str, layers: u32) -> u32 {
    let layer = name.strip_prefix("blk.").and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
    let more = |i| i < layers / 8 || i >= 7 * layers / 8 || (i - layers / 8) % 3 == 2;
    let rich = name.ends_with("attn_v.weight") || name.ends_with("ffn_down.weight");
    match layer {
        Some(i) if rich && more(i) => Q6_K,
        Some(_) => Q4_K,
        None => Q6_K,
    }
}

/// `block_q4_K` of ggml-common.h: d, dmin, 8 scales and 8 minimums of 6 bits, 256 quants of 4 bits.
fn q4_k(weights: &[f32; 256]) -> [u8; 144] {
    let subs = weights.as_chunks::<32>().0;
    let least: Vec<f32> = subs.iter().map(|sub| sub.iter().copied().fold(0.0, f32::min)).collect();
    let most: Vec<f32> = subs.iter().map(|sub| sub.iter().copied().fold(0.0, f32::max)).collect();
    let widest = (0..8).map(|s| most[s] - least[s]).fold(0.0, f32::max) / 15.0;
    let deepest = least.iter().map(|l| -l).fold(0.0, f32::max);
    let (d, dmin) = (half::f16::from_f32(widest / 63.0), half::f16::from_f32(deepest / 63.0));
    let mut block = [0; 144];
    block[..2].copy_from_slice(&d.to_le_bytes());
    block[2..4].copy_from_slice(&dmin.to_le_bytes());
    for (s, sub) in subs.iter().enumerate() {
        let scale = round((most[s] - least[s]) / 15.0, d.to_f32(), 63.0);
        let minimum = round(-least[s], dmin.to_f32(), 63.0);
        if s < 4 {
            block[4 + s] |= scale as u8;
            block[8 + s] |= minimum as u8;
        } else {
            block[8 + s] |= scale as u8 & 15 | (minimum as u8 & 15) << 4;
            block[s] |= (scale as u8 >> 4) << 6;
            block[4 + s] |= (minimum as u8 >> 4) << 6;
        }
        for (i, w) in sub.iter().enumerate() {
            let q = round(w + dmin.to_f32() * minimum, d.to_f32() * scale, 15.0);
            block[16 + s / 2 * 32 + i] |= (q as u8) << (s % 2 * 4);
        }
    }
    block
}

/// `block_q6_K`: 256 quants of 6 bits in two halves of four runs, the low 4 bits apart from the high 2; 16 scales, d.
fn q6_k(weights: &[f32; 256]) -> [u8; 210] {
    let groups = weights.as_chunks::<16>().0;
    let largest: Vec<f32> = groups.iter().map(|g| g.iter().fold(0.0, |l: f32, w| l.max(w.abs()))).collect();
    let d = half::f16::from_f32(largest.iter().copied().fold(0.0, f32::max) / 31.0 / 127.0);
    let mut block = [0; 210];
    block[208..].copy_from_slice(&d.to_le_bytes());
    for (i, w) in weights.iter().enumerate() {
        let scale = round(largest[i / 16] / 31.0, d.to_f32(), 127.0);
        block[192 + i / 16] = scale as u8;
        let q = round(w + 32.0 * d.to_f32() * scale, d.to_f32() * scale, 63.0) as u8;
        let (half, run, at) = (i / 128, i % 128 / 32, i % 32);
        block[64 * half + run % 2 * 32 + at] |= (q & 15) << (run / 2 * 4);
        block[128 + 32 * half + at] |= (q >> 4) << (run * 2);
    }
    block
}

/// `x` in units of `unit`, from 0 to `most`.
fn round(x: f32, unit: f32, most: f32) -> f32 {
    if unit > 0.0 { (x / unit).round().clamp(0.0, most) } else { 0.0 }
}
