//! Which tensor gets which type: llama.cpp's rules (`llama-quant.cpp`), so that a file of ours is the file that people expect by its name. They differ in
//! rows that are no whole blocks; see [`fitting`].

use crate::gguf::{Gguf, Tensor};

/// What a model can be quantised to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The name as people say it, which is that of most of its tensors' type, or of a mixture.
    pub name: &'static str,
    /// ggml's number of the type that most tensors get.
    kind: u32,
    /// llama.cpp's number of it, for `general.file_type`.
    pub file_type: u32,
    /// Whether some tensors get more bits.
    is_mixture: bool,
}

const F16: u32 = 1;
const Q4_0: u32 = 2;
const Q5_0: u32 = 6;
const Q5_1: u32 = 7;
const Q8_0: u32 = 8;
const Q4_K: u32 = 12;
const Q5_K: u32 = 13;
const Q6_K: u32 = 14;
const BF16: u32 = 30;

/// All of them.
pub const TARGETS: [Target; 8] = [
    Target { name: "F16", kind: F16, file_type: 1, is_mixture: false },
    Target { name: "BF16", kind: BF16, file_type: 32, is_mixture: false },
    Target { name: "Q8_0", kind: Q8_0, file_type: 7, is_mixture: false },
    Target { name: "Q6_K", kind: Q6_K, file_type: 18, is_mixture: false },
    Target { name: "Q5_K_M", kind: Q5_K, file_type: 17, is_mixture: true },
    Target { name: "Q5_0", kind: Q5_0, file_type: 8, is_mixture: false },
    Target { name: "Q4_K_M", kind: Q4_K, file_type: 15, is_mixture: true },
    Target { name: "Q4_0", kind: Q4_0, file_type: 2, is_mixture: false },
];

/// Parts of names of tensors that are small and matter much: they stay as they are.
const KEPT: [&str; 15] = [
    "_norm.weight",
    "ffn_gate_inp.weight",
    "position_embd",
    "token_types",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "attn_rel_b.weight",
    "time_mix_",
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",
    "rel_pos",
    "patch_embd",
];

impl Target {
    /// The target of this name, in any case.
    pub fn by_name(name: &str) -> Option<&'static Target> {
        TARGETS.iter().find(|target| target.name.eq_ignore_ascii_case(name))
    }

    /// ggml's number of the type for each tensor of a file, in the file's order.
    pub(super) fn types(&self, file: &Gguf) -> Vec<u32> {
        let mixture = Mixture::new(self, file);
        file.tensors().iter().map(|tensor| mixture.kind(tensor)).collect()
    }
}

impl Target {
    /// Tensors whose rows are no whole blocks of the type that they should have.
    pub(super) fn unfit(&self, file: &Gguf) -> usize {
        let mixture = Mixture::new(self, file);
        let is_unfit = |tensor: &&Tensor| {
            let is_float = [F16, BF16].contains(&self.kind);
            !is_float && may_change(tensor) && mixture.kind(tensor) != mixture.wanted(tensor)
        };
        file.tensors().iter().filter(is_unfit).count()
    }
}

/// What the rules look at of a model as a whole.
struct Mixture<'a> {
    target: &'a Target,
    blocks: usize,
    experts: usize,
    /// Names of tensors that are values of attention, by rising block.
    values: Vec<&'a str>,
    /// Whether embeddings are also the output.
    is_tied: bool,
    /// Eight heads share their keys and values in 80 blocks: values are few there.
    is_70b: bool,
}

impl<'a> Mixture<'a> {
    fn new(target: &'a Target, file: &'a Gguf) -> Mixture<'a> {
        let metadata = file.metadata();
        let architecture =
            metadata.get("general.architecture").and_then(|value| value.str()).unwrap_or_default();
        let number = |key: &str| {
            let value = metadata.get(&format!("{architecture}.{key}"))?.integer()?;
            usize::try_from(value).ok()
        };
        let blocks = number("block_count").unwrap_or(0);
        let mut values: Vec<&str> =
            file.tensors().iter().map(|tensor| tensor.name.as_str()).filter(|name| is_value(name)).collect();
        values.sort_by_key(|name| block(name));
        let heads = (number("attention.head_count"), number("attention.head_count_kv"));
        let is_grouped = matches!(heads, (Some(q), Some(kv)) if q != kv);
        Mixture {
            target,
            blocks,
            experts: number("expert_count").unwrap_or(0),
            values,
            is_tied: file.tensor("output.weight").is_none(),
            is_70b: blocks == 80 && is_grouped && ["llama", "qwen2"].contains(&architecture),
        }
    }

    fn kind(&self, tensor: &Tensor) -> u32 {
        if !may_change(tensor) {
            return tensor.kind.id;
        }
        if [F16, BF16].contains(&self.target.kind) {
            return self.target.kind;
        }
        fitting(self.wanted(tensor), tensor.dims[0])
    }

    /// The type for a tensor, whatever its rows.
    fn wanted(&self, tensor: &Tensor) -> u32 {
        let (name, kind) = (tensor.name.as_str(), self.target.kind);
        if name == "output.weight" || self.is_tied && name == "token_embd.weight" {
            let fits = tensor.dims[0].is_multiple_of(if kind >= Q4_K { 256 } else { 32 });
            return if kind == Q8_0 || !fits { Q8_0 } else { Q6_K };
        }
        if is_value(name) {
            let at = self.values.iter().position(|value| *value == name).unwrap_or(0);
            return match self.experts {
                8 => Q8_0,
                _ if self.target.is_mixture && needs_more(at, self.values.len()) => Q6_K,
                _ if self.is_70b && kind == Q4_K => Q5_K,
                _ => kind,
            };
        }
        if name.contains("attn_k.weight") && self.experts == 8 {
            return Q8_0;
        }
        if name.contains("ffn_down") && self.target.is_mixture && needs_more(block(name), self.blocks) {
            return Q6_K;
        }
        if name.contains("attn_output.weight") && self.experts == 8 && self.target.is_mixture && kind == Q4_K
        {
            return Q5_K;
        }
        kind
    }
}

/// Whether a tensor's type may change: matrices of weights.
fn may_change(tensor: &Tensor) -> bool {
    let dims = tensor.dims.iter().rposition(|&dim| dim > 1).map_or(0, |last| last + 1);
    dims >= 2 && tensor.name.ends_with("weight") && !KEPT.iter().any(|kept| tensor.name.contains(kept))
}

/// Values of attention suffer most from few bits; so do matrices that hold them beside others.
fn is_value(name: &str) -> bool {
    ["attn_v.weight", "attn_qkv.weight", "attn_kv_b.weight"].iter().any(|value| name.contains(value))
}

/// The first and the last eighth of the layers, and each third between.
fn needs_more(layer: usize, layers: usize) -> bool {
    layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2
}

/// The number in `blk.N.`.
fn block(name: &str) -> usize {
    let number = name.strip_prefix("blk.").and_then(|rest| rest.split('.').next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The type itself, or where a row is not whole blocks of it, one that has a little more bits and smaller blocks. llama.cpp takes Q5_0 for
/// Q4_K, whose mean square error on weights like a bell is 1.6 times that of our Q5_1 (1.8e-3 of the weights' own against 1.1e-3).
fn fitting(kind: u32, row: u64) -> u32 {
    let small = match kind {
        Q4_K | Q5_K => Q5_1,
        Q6_K => Q8_0,
        small => small,
    };
    match (row.is_multiple_of(256), row.is_multiple_of(32)) {
        (true, _) => kind,
        (_, true) => small,
        _ => F16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_and_each_third_between_get_more_bits() {
        let layers: Vec<usize> = (0..30).filter(|&layer| needs_more(layer, 30)).collect();
        assert_eq!(layers, [0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 26, 27, 28, 29]);
        assert!((0..3).all(|layer| !needs_more(layer, 4) || layer > 1));
    }

    #[test]
    fn rows_that_are_no_whole_blocks_get_smaller_blocks() {
        assert_eq!([Q4_K, Q5_K, Q6_K, Q8_0].map(|kind| fitting(kind, 512)), [Q4_K, Q5_K, Q6_K, Q8_0]);
        assert_eq!([Q4_K, Q5_K, Q6_K, Q4_0].map(|kind| fitting(kind, 576)), [Q5_1, Q5_1, Q8_0, Q4_0]);
        assert_eq!([Q4_K, Q8_0].map(|kind| fitting(kind, 172)), [F16, F16]);
    }

    #[test]
    fn every_target_can_be_encoded() {
        for target in TARGETS {
            for row in [256, 32, 1] {
                let format = crate::formats::by_id(fitting(target.kind, row));
                assert!(
                    format.is_some_and(|format| format.encode.is_some()),
                    "{} in rows of {row}",
                    target.name
                );
            }
            assert_eq!(Target::by_name(&target.name.to_lowercase()).map(|t| t.name), Some(target.name));
        }
    }
}
