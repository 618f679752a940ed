//! A model file made smaller: the same keys and tensors, weights in another type.

mod mixture;

use std::io::{self, BufWriter};
use std::path::Path;

use rayon::prelude::*;

use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::formats::{self, Format, tensor_type};
use crate::gguf::{Gguf, NewTensor, Tensor, Value, Writer};
use crate::replace::Replacement;

pub use mixture::{TARGETS, Target};

/// The largest number of f16, in which most formats have their scales.
const MOST_OF_F16: f32 = 65504.0;
/// Weights that a core takes at once, about.
const PIECE: usize = 1 << 16;

/// What became of a file.
#[derive(Clone, Debug, Default)]
pub struct Quantized {
    /// Bytes before and after.
    pub bytes: (u64, u64),
    /// Tensors whose rows do not fit the type that they should have had.
    pub unfit: usize,
    /// Tensors that were quantised before: what was lost then stays lost.
    pub requantized: usize,
}

/// Writes `file` to `out` with its weights as `target` says. `begun` hears where the file is until it is finished, `progress` how many bytes of
/// weights are done, of how many.
///
/// # Errors
/// Where `out` is one of the files that are read, where a weight is not finite or beyond what the type holds, where a type cannot be read, and where
/// the file cannot be written. What was at `out` stays until the new file is whole.
pub fn quantize(
    file: &Gguf,
    out: &Path,
    target: &Target,
    cancel: &Cancel,
    begun: &mut dyn FnMut(Option<&Path>),
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Quantized> {
    refuse_input(file, out)?;
    let kinds = target.types(file);
    let mut quantized = Quantized::default();
    let mut tensors = Vec::new();
    for (tensor, &kind) in file.tensors().iter().zip(&kinds) {
        let bytes = bytes_of(tensor, kind)?;
        tensors.push(NewTensor { name: &tensor.name, dims: &tensor.dims, kind, bytes });
        quantized.bytes.0 += tensor.bytes;
        quantized.bytes.1 += bytes;
        let was_whole = ["F32", "F16", "BF16"].contains(&tensor.kind.name);
        quantized.requantized += usize::from(kind != tensor.kind.id && !was_whole);
    }
    quantized.unfit = target.unfit(file);

    let failed = |e: io::Error| Error::Other(format!("{}: {e}", out.display()));
    let replacement = Replacement::create(out).map_err(failed)?;
    begun(replacement.unfinished());
    let keys = keys(file, target);
    let mut writer =
        Writer::begin(BufWriter::new(replacement), &keys, &tensors, file.alignment()).map_err(failed)?;
    let (mut done, total) = (0, quantized.bytes.0);
    progress(0, total);
    for (tensor, new) in file.tensors().iter().zip(&tensors) {
        cancel.check()?;
        match new.kind == tensor.kind.id {
            true => writer.tensor(&file.data_once(tensor)),
            false => writer.tensor(&convert(file, tensor, new, cancel)?),
        }
        .map_err(failed)?;
        done += tensor.bytes;
        progress(done, total);
    }
    let buffer = writer.finish().map_err(failed)?;
    buffer.into_inner().map_err(|e| failed(e.into_error()))?.finish().map_err(failed)?;
    begun(None);
    Ok(quantized)
}

/// An output that is one of the inputs would pull the map from under what reads it; of a checkpoint all files of the folder are inputs.
fn refuse_input(file: &Gguf, out: &Path) -> Result<()> {
    let Ok(target) = out.canonicalize() else { return Ok(()) };
    let name = Path::new(file.name());
    let of_folder =
        name.canonicalize().is_ok_and(|folder| folder.is_dir() && target.parent() == Some(&*folder));
    let mut inputs = file.files().chain(Some(name).filter(|_| of_folder));
    match inputs.find(|input| of_folder || input.canonicalize().is_ok_and(|input| input == target)) {
        Some(input) => Err(Error::Usage(format!(
            "{} is {}, which is read for this; give another file",
            out.display(),
            input.display()
        ))),
        None => Ok(()),
    }
}

/// The keys of the new file: those of the old one, but for what they say of types and of parts.
fn keys<'a>(file: &'a Gguf, target: &Target) -> Vec<(&'a str, Value<'a>)> {
    let changed = |key: &str| {
        key.starts_with("split.") || key == "general.file_type" || key == "general.quantization_version"
    };
    let mut keys: Vec<_> = file.metadata().iter().filter(|(key, _)| !changed(key)).collect();
    keys.push(("general.file_type", Value::U32(target.file_type)));
    // Of ggml's quantised formats, whatever they are.
    keys.push(("general.quantization_version", Value::U32(2)));
    keys
}

fn bytes_of(tensor: &Tensor, kind: u32) -> Result<u64> {
    let unknown = || {
        Error::Model(format!("tensor {} has type {}, which is not read here", tensor.name, tensor.kind.name))
    };
    if kind != tensor.kind.id && formats::by_id(tensor.kind.id).is_none() {
        return Err(unknown());
    }
    let kind = tensor_type(kind).ok_or_else(unknown)?;
    Ok(tensor.elements() / kind.weights as u64 * kind.bytes as u64)
}

/// The data of a tensor in its new type, on all cores.
fn convert(file: &Gguf, tensor: &Tensor, new: &NewTensor<'_>, cancel: &Cancel) -> Result<Vec<u8>> {
    let formats = (formats::by_id(tensor.kind.id), formats::by_id(new.kind));
    let (Some(from), Some(to)) = formats else {
        return Err(Error::Model(format!("tensor {} has type {}", tensor.name, tensor.kind.name)));
    };
    let Some(encode) = to.encode else {
        return Err(Error::Model(format!("tensor {}: nothing is encoded as {}", tensor.name, to.name)));
    };
    if new.bytes == 0 {
        return Ok(Vec::new());
    }
    let row = tensor.dims[0] as usize;
    let rows = (PIECE / row).max(1);
    let mut data = vec![0; new.bytes as usize];
    let old = file.data_once(tensor);
    let pieces =
        data.par_chunks_mut(rows * to.row_bytes(row)).zip(old.par_chunks(rows * from.row_bytes(row)));
    pieces.try_for_each_init(Vec::new, |weights: &mut Vec<f32>, (new, old)| {
        cancel.check()?;
        weights.resize(old.len() / from.bytes * from.weights, 0.0);
        (from.decode)(old, weights);
        check(weights, to).map_err(|what| Error::Model(format!("tensor {} {what}", tensor.name)))?;
        encode(weights, new);
        Ok(())
    })?;
    Ok(data)
}

/// Refuses weights that a format cannot hold.
fn check(weights: &[f32], format: &Format) -> std::result::Result<(), String> {
    let most = if ["F32", "BF16"].contains(&format.name) { f32::MAX } else { MOST_OF_F16 };
    match weights.iter().find(|weight| weight.is_nan() || weight.abs() > most) {
        Some(weight) if weight.is_finite() => {
            Err(format!("holds {weight:e}, and {} holds {most} at most; BF16 holds it", format.name))
        }
        Some(weight) => Err(format!("holds {weight}, which is no number to compute with")),
        None => Ok(()),
    }
}
