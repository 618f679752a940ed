//! Which tensors of a checkpoint become which of GGUF's, and how.

use std::collections::BTreeMap;

use super::families::Family;
use super::keys::DeltaHeads;
use crate::checkpoint::{Config, Stored};
use crate::error::{Error, Result};
use crate::formats::{self, TensorType, tensor_type};
use crate::gguf::{Assembly, shown};

/// Two names of a block's tensor; `{}` stands for the number of an expert.
pub(super) struct Rule {
    pub theirs: &'static str,
    pub ours: &'static str,
    pub how: How,
}

/// What becomes of a tensor.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum How {
    /// It stays as it is; `.weight` and `.bias` follow both names.
    Same,
    /// It stays as it is.
    Stored,
    /// It is behind that of the expert before.
    Expert,
    /// A row of taps for each channel.
    Convolution,
    /// Rows or taps of queries, keys and values; heads of values take turns in GGUF, one for each head of keys.
    ValueRows,
    /// Rows or numbers of heads of values.
    ValueHeads,
    /// Columns of heads of values.
    ValueColumns,
    /// Numbers of heads of values, of which −eˣ is needed.
    MinusExp,
    /// Of experts, some rows or numbers of each.
    Rows { first: usize, every: usize },
    /// Of experts, some columns of each as rows.
    Turned { first: usize, every: usize },
    /// Of experts, some rows of each, whose scales are in a tensor of their own.
    Mxfp4 { first: usize, every: usize },
    /// It is read with the blocks of the same name.
    WithBlocks,
}

/// One tensor of a checkpoint on its way.
pub(super) struct Source {
    name: String,
    number: usize,
    how: How,
}

/// GGUF's tensors, each with those that it is made of. What belongs to eyes, ears and guessed tokens stays unused; what else is not known is
/// refused.
pub(super) fn named(
    tensors: &BTreeMap<String, Stored>,
    family: &Family,
) -> Result<BTreeMap<String, Vec<Source>>> {
    const UNUSED: [&str; 6] = [
        "vision_tower.",
        "multi_modal_projector.",
        "model.vision_tower.",
        "model.multi_modal_projector.",
        "model.visual.",
        "mtp.",
    ];
    const PREFIXES: [&str; 4] =
        ["model.language_model.", "language_model.model.", "language_model.", "model."];
    let mut named: BTreeMap<String, Vec<Source>> = BTreeMap::new();
    for name in tensors.keys().filter(|name| !UNUSED.iter().any(|unused| name.starts_with(unused))) {
        let inner = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
        let found = ours(inner, family);
        // Old files carry what follows from the configuration.
        if found.is_empty() && !inner.ends_with("rotary_emb.inv_freq") {
            return Err(Error::Model(format!(
                "tensor {} is not part of the {} models that are known here",
                shown(name),
                family.model_type
            )));
        }
        for (gguf, number, how) in found.into_iter().filter(|(.., how)| *how != How::WithBlocks) {
            named.entry(gguf).or_default().push(Source { name: name.clone(), number, how });
        }
    }
    Ok(named)
}

fn ours(name: &str, family: &Family) -> Vec<(String, usize, How)> {
    let [last, ours] = family.last_norm;
    let top = match name {
        "embed_tokens.weight" => Some("token_embd.weight"),
        "lm_head.weight" => Some("output.weight"),
        name if name == last => Some(ours),
        _ => None,
    };
    if let Some(top) = top {
        return vec![(top.into(), 0, How::Stored)];
    }
    let block = || {
        let (layer, rest) = name.strip_prefix("layers.")?.split_once('.')?;
        Some((layer.parse::<u32>().ok()?, rest))
    };
    let Some((layer, rest)) = block() else { return Vec::new() };
    let follows = |rule: &Rule| {
        let (number, end) = match (rule.how, rule.theirs.split_once("{}")) {
            (How::Same, _) => {
                let end = rest.strip_prefix(rule.theirs)?;
                (0, Some(end).filter(|end| [".weight", ".bias"].contains(end))?)
            }
            (_, Some((before, behind))) => {
                (rest.strip_prefix(before)?.strip_suffix(behind)?.parse().ok()?, "")
            }
            (_, None) => (0, Some("").filter(|_| rest == rule.theirs)?),
        };
        Some((format!("blk.{layer}.{}{end}", rule.ours), number, rule.how))
    };
    family.block.iter().copied().flatten().filter_map(follows).collect()
}

/// Adds GGUF's tensor `gguf`, made of `sources`.
pub(super) fn add(
    config: &Config,
    family: &Family,
    tensors: &BTreeMap<String, Stored>,
    gguf: String,
    sources: &[Source],
    out: &mut Assembly,
) -> Result<()> {
    let first = &sources[0];
    let stored = &tensors[&first.name];
    let error = |what: String| config.error(format!("tensor {}: {what}", shown(&first.name)));
    if let How::Mxfp4 { first: from, every } = first.how {
        let scales = first.name.replace("_blocks", "_scales");
        let scales = tensors.get(&scales).ok_or_else(|| error(format!("{} is missing", shown(&scales))))?;
        return mxfp4(&error, gguf, [stored, scales], from, every, out);
    }
    let Some(kind) = stored.kind else {
        return Err(config.error(format!(
            "tensor {} is {}; known are F32, F16 and BF16; convert the model to GGUF",
            shown(&first.name),
            stored.type_name
        )));
    };
    let (dims, bytes) = (stored.dims.clone(), kind.bytes);
    let shape = || error(format!("has the shape {:?}, which is another than expected", stored.dims));
    let lacks_one =
        family.norms_lack_one && gguf.ends_with("norm.weight") && !gguf.ends_with("ssm_norm.weight");
    if lacks_one {
        let numbers = numbers(stored, out).into_iter().map(|number| number + 1.0);
        out.make(gguf, &numbers.collect::<Vec<f32>>());
        return Ok(());
    }
    if sources.len() > 1 && first.how != How::Expert {
        return Err(error(format!("becomes {gguf}, and so does {}", shown(&sources[1].name))));
    }
    let of_heads = || DeltaHeads::read(config);
    match first.how {
        How::Same | How::Stored | How::Mxfp4 { .. } | How::WithBlocks => {
            out.stored(gguf, dims, kind, stored.file, stored.range.clone());
        }
        How::Convolution => out.stored(gguf, channels(dims), kind, stored.file, stored.range.clone()),
        How::Expert => return stacked(&error, tensors, gguf, sources, kind, out),
        How::ValueRows => {
            let heads = of_heads()?;
            let dims = channels(dims);
            let row = dims[0] as usize * bytes;
            let sizes = [2 * heads.keys, heads.values].map(|n| (n * heads.width) as usize * row);
            if sizes[0] + sizes[1] != stored.range.len() {
                return Err(shape());
            }
            reordered(stored, gguf, dims, kind, &heads, sizes, out);
        }
        How::ValueHeads => {
            let heads = of_heads()?;
            if !stored.range.len().is_multiple_of(heads.values as usize) {
                return Err(shape());
            }
            reordered(stored, gguf, dims, kind, &heads, [0, stored.range.len()], out);
        }
        How::ValueColumns => {
            let heads = of_heads()?;
            let row = (heads.values * heads.width) as usize * bytes;
            if dims.first().map(|&cols| cols as usize * bytes) != Some(row) {
                return Err(shape());
            }
            reordered(stored, gguf, dims, kind, &heads, [0, row], out);
        }
        How::MinusExp => {
            let (heads, numbers) = (of_heads()?, numbers(stored, out));
            if numbers.len() != heads.values as usize {
                return Err(shape());
            }
            let numbers: Vec<f32> = in_turns(&heads).map(|head| -numbers[head].exp()).collect();
            out.make(gguf, &numbers);
        }
        How::Rows { first, every } => {
            let [rows, experts] = dims[..] else { return Err(shape()) };
            if !rows.is_multiple_of(every as u64) {
                return Err(shape());
            }
            let make = move |source: &[&[u8]]| {
                let numbers = source[0].chunks_exact(bytes).skip(first).step_by(every);
                numbers.flatten().copied().collect()
            };
            let dims = vec![rows / every as u64, experts];
            out.gathered(gguf, dims, kind, &[(stored.file, stored.range.clone())], make);
        }
        How::Turned { first, every } => {
            let [cols, rows, experts] = dims[..] else { return Err(shape()) };
            if !cols.is_multiple_of(every as u64) {
                return Err(shape());
            }
            let [from, of_each] = [cols as usize, rows as usize];
            let make = move |source: &[&[u8]]| {
                let mut turned = Vec::with_capacity(source[0].len() / every);
                for expert in source[0].chunks_exact(from * of_each * bytes) {
                    for col in (first..from).step_by(every) {
                        for row in 0..of_each {
                            turned.extend_from_slice(&expert[(row * from + col) * bytes..][..bytes]);
                        }
                    }
                }
                turned
            };
            let dims = vec![rows, cols / every as u64, experts];
            out.gathered(gguf, dims, kind, &[(stored.file, stored.range.clone())], make);
        }
    }
    Ok(())
}

/// Adds GGUF's tensor `gguf` of `heads` heads, whose pairs of rows lie as halves in a checkpoint and as neighbours in GGUF.
pub(super) fn add_neighbours(
    config: &Config,
    tensors: &BTreeMap<String, Stored>,
    gguf: String,
    sources: &[Source],
    heads: u32,
    out: &mut Assembly,
) -> Result<()> {
    let stored = &tensors[&sources[0].name];
    let rows = stored.dims.last().copied().unwrap_or(0) as usize;
    let heads = heads as usize;
    let Some(kind) = stored.kind.filter(|_| heads > 0 && rows > 0 && rows.is_multiple_of(2 * heads)) else {
        let what = format!("is {} of the shape {:?}", stored.type_name, stored.dims);
        return Err(config.error(format!("tensor {} {what} for {heads} heads", shown(&sources[0].name))));
    };
    let (row, half) = (stored.range.len() / rows, rows / heads / 2);
    let make = move |source: &[&[u8]]| {
        let mut made = Vec::with_capacity(source[0].len());
        for head in source[0].chunks_exact(2 * half * row) {
            for pair in 0..half {
                made.extend_from_slice(&head[pair * row..][..row]);
                made.extend_from_slice(&head[(half + pair) * row..][..row]);
            }
        }
        made
    };
    out.gathered(gguf, stored.dims.clone(), kind, &[(stored.file, stored.range.clone())], make);
    Ok(())
}

/// A convolution's weights as `[taps, channels]`: between them files have the inputs of a channel, of which there is one.
fn channels(dims: Vec<u64>) -> Vec<u64> {
    match dims[..] {
        [taps, 1, channels] => vec![taps, channels],
        _ => dims,
    }
}

fn numbers(stored: &Stored, out: &Assembly) -> Vec<f32> {
    let Some(format) = stored.kind.and_then(|kind| formats::by_id(kind.id)) else { return Vec::new() };
    let bytes = &out.bytes(stored.file)[stored.range.clone()];
    let mut numbers = vec![0.0; bytes.len() / format.bytes * format.weights];
    (format.decode)(bytes, &mut numbers);
    numbers
}

/// Which head of values of a checkpoint is at each place in GGUF: there they take turns, one for each head of keys.
fn in_turns(heads: &DeltaHeads) -> impl Iterator<Item = usize> + use<> {
    let (keys, ratio) = (heads.keys as usize, (heads.values / heads.keys) as usize);
    (0..keys * ratio).map(move |at| at % keys * ratio + at / keys)
}

/// A tensor with its heads of values in turns. `sizes`: bytes that stay in front, and those of all heads behind them, again and again.
fn reordered(
    stored: &Stored,
    gguf: String,
    dims: Vec<u64>,
    kind: &'static TensorType,
    heads: &DeltaHeads,
    [before, all]: [usize; 2],
    out: &mut Assembly,
) {
    let range = stored.range.clone();
    if heads.keys == heads.values {
        return out.stored(gguf, dims, kind, stored.file, range);
    }
    let order: Vec<usize> = in_turns(heads).collect();
    let each = all / order.len();
    let make = move |source: &[&[u8]]| {
        let mut made = Vec::with_capacity(source[0].len());
        for line in source[0].chunks_exact(before + all) {
            made.extend_from_slice(&line[..before]);
            for &head in &order {
                made.extend_from_slice(&line[before + head * each..][..each]);
            }
        }
        made
    };
    out.gathered(gguf, dims, kind, &[(stored.file, range)], make);
}

/// Experts one behind the other.
fn stacked(
    error: &dyn Fn(String) -> Error,
    tensors: &BTreeMap<String, Stored>,
    gguf: String,
    sources: &[Source],
    kind: &'static TensorType,
    out: &mut Assembly,
) -> Result<()> {
    let mut sources: Vec<&Source> = sources.iter().collect();
    sources.sort_by_key(|source| source.number);
    let dims = &tensors[&sources[0].name].dims;
    let mut ranges = Vec::new();
    for (number, source) in sources.iter().enumerate() {
        let stored = &tensors[&source.name];
        let same = stored.dims == *dims && stored.kind.is_some_and(|other| other.id == kind.id);
        if source.number != number || source.how != How::Expert || !same {
            let what = format!("{} is no expert {number} of the same shape and type", shown(&source.name));
            return Err(error(what));
        }
        ranges.push((stored.file, stored.range.clone()));
    }
    let dims = dims.iter().copied().chain([sources.len() as u64]).collect();
    out.gathered(gguf, dims, kind, &ranges, |source| source.concat());
    Ok(())
}

/// Blocks of 16 bytes, each of two neighbouring weights, and a scale for each, as ggml's blocks: the scale in front, and bytes of weights that are
/// 16 apart.
fn mxfp4(
    error: &dyn Fn(String) -> Error,
    gguf: String,
    [blocks, scales]: [&Stored; 2],
    first: usize,
    every: usize,
    out: &mut Assembly,
) -> Result<()> {
    let kind = tensor_type(39).ok_or_else(|| error("is in MXFP4".into()))?;
    let shape = || {
        error(format!(
            "is {} of {:?} with scales in {} of {:?}, expected U8 in blocks of 16 with a scale for each",
            blocks.type_name, blocks.dims, scales.type_name, scales.dims
        ))
    };
    let [16, per_row, rows, experts] = blocks.dims[..] else { return Err(shape()) };
    let bytes = blocks.type_name == "U8" && scales.type_name == "U8";
    if !bytes || scales.dims != [per_row, rows, experts] || !rows.is_multiple_of(every as u64) {
        return Err(shape());
    }
    let per_row = per_row as usize;
    let make = move |source: &[&[u8]]| {
        let mut made = Vec::with_capacity((source[0].len() + source[1].len()) / every);
        let rows = source[0].chunks_exact(16 * per_row).zip(source[1].chunks_exact(per_row));
        for (blocks, scales) in rows.skip(first).step_by(every) {
            for (block, &scale) in blocks.chunks_exact(16).zip(scales) {
                let code = |n: usize| block[n / 2] >> (n % 2 * 4) & 15;
                made.push(scale);
                made.extend((0..16).map(|n| code(n) | code(n + 16) << 4));
            }
        }
        made
    };
    let dims = vec![32 * per_row as u64, rows / every as u64, experts];
    let ranges = [blocks, scales].map(|stored| (stored.file, stored.range.clone()));
    out.gathered(gguf, dims, kind, &ranges, make);
    Ok(())
}
