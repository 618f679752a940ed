//! Mistakes that are the same as other weights: what is left out is zero or one, what is mixed up has changed places.

use std::path::Path;
use std::sync::Arc;

use libtest_mimic::Failed;
use wgllm::gguf::{Gguf, Tensor};

/// Changes numbers of a tensor of f32.
pub type Change = fn(&mut [f32], &Tensor);

/// What the fixtures call a mistake, the ends of the names of the tensors, and how they are changed.
pub const ALTERED: &[(&str, &[&str], Change)] = &[
    ("no D skip", &["ssm_d"], |w, _| w.fill(0.0)),
    ("no dt bias", &["ssm_dt.bias"], |w, _| w.fill(0.0)),
    ("no decay", &["ssm_a"], |w, _| w.fill(0.0)),
    // Half is the sigmoid of nothing.
    ("beta always 1/2", &["ssm_beta.weight"], |w, _| w.fill(0.0)),
    ("no convolution bias", &["ssm_conv1d.bias"], |w, _| w.fill(0.0)),
    ("gated norm without weight", &["ssm_norm.weight"], |w, _| w.fill(1.0)),
    ("no shared MLP", &["ffn_down_shexp.weight"], |w, _| w.fill(0.0)),
    ("convolution reads the present token only", &["conv.weight", "ssm_conv1d.weight"], |w, tensor| {
        for taps in w.chunks_exact_mut(tensor.dims[0] as usize) {
            let past = taps.len() - 1;
            taps[..past].fill(0.0);
        }
    }),
    ("convolution reversed in time", &["conv.weight"], |w, tensor| {
        w.chunks_exact_mut(tensor.dims[0] as usize).for_each(<[f32]>::reverse);
    }),
    // Rows of B, of C, of x.
    ("B and C swapped", &["shortconv.in_proj.weight"], |w, _| {
        let third = w.len() / 3;
        let (b, rest) = w.split_at_mut(third);
        b.swap_with_slice(&mut rest[..third]);
    }),
    // A head's query, and behind it its gate.
    ("query and gate swapped", &["attn_q.weight"], |w, tensor| {
        let half = w.len() / (2 * HEADS);
        assert_eq!(tensor.dims[1] as usize, 2 * HEADS * HEAD_DIM, "the fixtures have other heads");
        for head in w.chunks_exact_mut(2 * half) {
            let (query, gate) = head.split_at_mut(half);
            query.swap_with_slice(gate);
        }
    }),
];

/// Of the fixtures' Qwen 3.5.
const HEADS: usize = 4;
const HEAD_DIM: usize = 32;

/// The file with such a mistake in it.
pub fn altered(path: &Path, ends: &[&str], change: Change) -> Result<Arc<Gguf>, Failed> {
    let bytes: &'static [u8] = std::fs::read(path)?.leak();
    let file = Gguf::from_static("fixture", bytes)?;
    let mut changed = bytes.to_vec();
    let mut count = 0;
    for tensor in file.tensors().iter().filter(|t| ends.iter().any(|end| t.name.ends_with(end))) {
        let data = file.data(tensor);
        let at = data.as_ptr() as usize - bytes.as_ptr() as usize;
        let mut numbers: Vec<f32> = bytemuck::pod_collect_to_vec(data);
        change(&mut numbers, tensor);
        changed[at..at + data.len()].copy_from_slice(bytemuck::cast_slice(&numbers));
        count += 1;
    }
    if count == 0 {
        return Err(format!("no tensor is called {ends:?}").into());
    }
    Ok(Arc::new(Gguf::from_static("fixture", changed.leak())?))
}
