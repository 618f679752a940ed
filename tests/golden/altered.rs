//! Mistakes that are the same as other weights: what is left out is zero or one, what is mixed up has changed places, and what is computed
//! otherwise has factors that the file does not have.

use std::f64::consts::TAU;
use std::path::Path;
use std::sync::Arc;

use libtest_mimic::Failed;
use wgllm::error::Result;
use wgllm::gguf::{Gguf, NewTensor, Tensor, Writer};

/// ggml's number of the type.
const F32: u32 = 0;

/// Changes numbers of a tensor of f32.
type Change = fn(&mut [f32], &Tensor);

/// Makes numbers of what a file says.
type Make = fn(&Gguf) -> Result<Vec<f32>>;

/// What the fixtures call a mistake, the ends of the names of the tensors, and how they are changed.
const ALTERED: &[(&str, &[&str], Change)] = &[
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
    // Heads of values in the order of a checkpoint, where those of a head of keys are neighbours, with all that is theirs.
    (
        "value heads paired with the wrong key heads",
        &[
            "attn_qkv.weight",
            "ssm_conv1d.weight",
            "attn_gate.weight",
            "ssm_alpha.weight",
            "ssm_beta.weight",
            "ssm_a",
            "ssm_dt.bias",
            "ssm_out.weight",
        ],
        |w, tensor| match tensor.name.as_str() {
            // Queries and keys are the first half of the rows.
            name if name.ends_with("attn_qkv.weight") || name.ends_with("ssm_conv1d.weight") => {
                assert_eq!(tensor.dims[1] as usize, 2 * VALUES, "the fixtures have other heads");
                let half = w.len() / 2;
                in_other_order(&mut w[half..]);
            }
            name if name.ends_with("ssm_out.weight") => w.chunks_exact_mut(VALUES).for_each(in_other_order),
            _ => in_other_order(w),
        },
    ),
];

/// Of the fixtures' Qwen 3.5.
const HEADS: usize = 4;
const HEAD_DIM: usize = 32;
/// The numbers of its four heads of values.
const VALUES: usize = 64;

/// Of four equal parts, two for each head of keys, the two in the middle change places: 0 1 0 1 becomes 0 0 1 1.
fn in_other_order(heads: &mut [f32]) {
    let quarter = heads.len() / 4;
    let (a, b) = heads[quarter..3 * quarter].split_at_mut(quarter);
    a.swap_with_slice(b);
}

/// What the fixtures call a mistake, a tensor that it needs, and what is in it.
const MADE: &[(&str, &str, Make)] = &[
    ("yarn not truncated", "rope_freqs.weight", yarn_factors),
    ("rope base x1.5, and factors as of that", "rope_freqs.weight", llama3_factors),
];

/// What Llama 3.1 divides the frequencies of such a base by, with the bounds that both fixtures have: those that turn more than four times in
/// 128 positions by 1, those that turn less than once by 8.      Llama's `apply_scaling`
fn llama3_factors(file: &Gguf) -> Result<Vec<f32>> {
    let architecture = file.metadata().need_str("general.architecture")?;
    let base = 1.5 * f64::from(file.metadata().need_f32(&format!("{architecture}.rope.freq_base"))?);
    let pairs = file.tensor("rope_freqs.weight").map_or(0, |tensor| tensor.dims[0]);
    let of_pair = |pair: u64| {
        let turns = 128.0 / (TAU * base.powf(pair as f64 / pairs as f64));
        let kept = ((turns - 1.0) / 3.0).clamp(0.0, 1.0);
        (1.0 / ((1.0 - kept) / 8.0 + kept)) as f32
    };
    Ok((0..pairs).map(of_pair).collect())
}

/// What YaRN divides gpt-oss' frequencies by where its range is not of whole frequencies.      Peng et al. 2023, arXiv 2309.00071
fn yarn_factors(file: &Gguf) -> Result<Vec<f32>> {
    let keys = file.metadata();
    let number = |name: &str| keys.need_f32(&format!("gpt-oss.rope.{name}")).map(f64::from);
    let rotary = f64::from(keys.need_u32("gpt-oss.attention.key_length")?);
    let original = f64::from(keys.need_u32("gpt-oss.rope.scaling.original_context_length")?);
    let (base, factor) = (number("freq_base")?, number("scaling.factor")?);
    let (fast, slow) = (number("scaling.yarn_beta_fast")?, number("scaling.yarn_beta_slow")?);
    let pair_of = |turns: f64| rotary * (original / (turns * TAU)).ln() / (2.0 * base.ln());
    let (low, high) = (pair_of(fast).max(0.0), pair_of(slow).min(rotary - 1.0));
    let of_pair = |pair: u32| {
        let scaled = ((f64::from(pair) - low) / (high - low)).clamp(0.0, 1.0);
        (1.0 / (scaled / factor + 1.0 - scaled)) as f32
    };
    Ok((0..rotary as u32 / 2).map(of_pair).collect())
}

/// Whether a mistake is among these.
pub fn knows(mistake: &str) -> bool {
    ALTERED.iter().any(|(known, ..)| *known == mistake) || MADE.iter().any(|(known, ..)| *known == mistake)
}

/// The file with such a mistake in it; as it is where the mistake is none of weights.
pub fn file(path: &Path, mistake: &str) -> std::result::Result<Arc<Gguf>, Failed> {
    let file = Gguf::open(path)?;
    if !knows(mistake) {
        return Ok(Arc::new(file));
    }
    let mut data: Vec<Vec<u8>> = file.tensors().iter().map(|tensor| file.data(tensor).to_vec()).collect();
    for (_, ends, change) in ALTERED.iter().filter(|(known, ..)| *known == mistake) {
        let altered = |tensor: &Tensor| ends.iter().any(|end| tensor.name.ends_with(end));
        let mut count = 0;
        for (tensor, data) in file.tensors().iter().zip(&mut data).filter(|(tensor, _)| altered(tensor)) {
            let mut numbers: Vec<f32> = bytemuck::pod_collect_to_vec(data);
            change(&mut numbers, tensor);
            *data = bytemuck::cast_slice(&numbers).to_vec();
            count += 1;
        }
        if count == 0 {
            return Err(format!("no tensor is called {ends:?}").into());
        }
    }
    let mut tensors: Vec<(&str, Vec<u64>, u32)> =
        file.tensors().iter().map(|t| (t.name.as_str(), t.dims.clone(), t.kind.id)).collect();
    for (_, name, numbers) in MADE.iter().filter(|(known, ..)| *known == mistake) {
        let numbers = numbers(&file)?;
        let made = bytemuck::cast_slice(&numbers).to_vec();
        match tensors.iter().position(|(known, ..)| known == name) {
            Some(at) => data[at] = made,
            None => {
                tensors.push((name, vec![numbers.len() as u64], F32));
                data.push(made);
            }
        }
    }
    let table: Vec<NewTensor> = tensors
        .iter()
        .zip(&data)
        .map(|((name, dims, kind), data)| NewTensor { name, dims, kind: *kind, bytes: data.len() as u64 })
        .collect();
    let keys: Vec<_> = file.metadata().iter().collect();
    let mut writer = Writer::begin(Vec::new(), &keys, &table, file.alignment())?;
    for data in &data {
        writer.tensor(data)?;
    }
    Ok(Arc::new(Gguf::from_static("fixture", writer.finish()?.leak())?))
}
