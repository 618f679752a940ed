//! Files whose container is whole, but whose numbers and tensors are no model.

use libtest_mimic::Trial;
use wgllm::error::Error;

use crate::gguf_file::{GgufFile, Meta};
use crate::tiny_model::{Gpt2, Hybrid, Llama};
use crate::{Outcome, heap, load};

/// What is odd, and what makes it so.
type Change = (&'static str, fn(&mut GgufFile));
/// What is wrong, what makes it so, and what the refusal has to say.
type Case = (&'static str, fn(&mut GgufFile), &'static [&'static str]);

/// One trial for each case.
pub fn trials() -> Vec<Trial> {
    let llama: fn() -> GgufFile = || Llama::default().file();
    let gpt2: fn() -> GgufFile = || Gpt2::default().file();
    let mut trials = Vec::new();
    trials.extend(HARMLESS.iter().map(|&(what, change)| {
        Trial::test(format!("refused::llama with {what} is not"), move || {
            let mut file = llama();
            change(&mut file);
            load(file.leak()).map(drop).map_err(|e| e.to_string().into())
        })
    }));
    let hybrids: [fn() -> GgufFile; 3] = [
        || Hybrid { architecture: "lfm2", format: "F32" }.file(),
        || Hybrid { architecture: "qwen35", format: "F32" }.file(),
        || Hybrid { architecture: "granitehybrid", format: "F32" }.file(),
    ];
    for (name, fresh, cases) in [
        ("llama", llama, LLAMA),
        ("gpt2", gpt2, GPT2),
        ("lfm2", hybrids[0], LFM2),
        ("qwen35", hybrids[1], QWEN35),
        ("granitehybrid", hybrids[2], GRANITE_HYBRID),
    ] {
        trials.push(Trial::test(format!("refused::{name} as it stands is accepted"), move || {
            load(fresh().leak()).map(drop).map_err(|e| e.to_string().into())
        }));
        trials.extend(cases.iter().map(|&(what, damage, says)| {
            Trial::test(format!("refused::{name} with {what}"), move || {
                let mut file = fresh();
                damage(&mut file);
                refused(file.leak(), says)
            })
        }));
    }
    trials
}

/// Demands that a file is refused as a bad model, with its name and all of `says` in the text, and without much memory.
fn refused(bytes: &'static [u8], says: &[&str]) -> Outcome {
    let (loaded, peak) = heap::peak(|| load(bytes).map(drop));
    if peak > bytes.len() as u64 + heap::ALLOWED {
        return Err(format!("{peak} bytes were held for a file of {}", bytes.len()).into());
    }
    match loaded {
        Ok(()) => Err("it was accepted".into()),
        Err(Error::Model(text)) => match ["tiny.gguf: "].iter().chain(says).find(|s| !text.contains(**s)) {
            Some(missing) => Err(format!("{text:?} does not say {missing:?}").into()),
            None => Ok(()),
        },
        Err(other) => Err(format!("{other:?} is not about the model").into()),
    }
}

fn set(f: &mut GgufFile, key: &str, value: u32) {
    f.set(key, value);
}

/// Another shape, with as much data as it needs in F32.
fn reshape(f: &mut GgufFile, name: &str, dims: &[u64]) {
    let t = f.find(name);
    t.dims = dims.to_vec();
    t.data.resize(dims.iter().product::<u64>() as usize * 4, 0);
}

/// What cannot change the result, however odd.
const HARMLESS: &[Change] = &[
    ("a name that is a number", |f| set(f, "general.name", 7)),
    ("a list of heads of keys that is empty", |f| {
        f.set("llama.attention.head_count_kv", [].as_slice() as &[u32]);
        // As many as heads: what a missing key says.
        reshape(f, "blk.0.attn_k.weight", &[64, 64]);
        reshape(f, "blk.0.attn_v.weight", &[64, 64]);
        reshape(f, "blk.1.attn_k.weight", &[64, 64]);
        reshape(f, "blk.1.attn_v.weight", &[64, 64]);
    }),
    ("a size of the vocabulary that is a word", |f| f.set("llama.vocab_size", "many")),
    ("no scaling", |f| f.set("llama.rope.scaling.type", "none")),
    ("attention to what came before", |f| f.set("llama.attention.causal", true)),
    ("no experts", |f| set(f, "llama.expert_count", 0)),
    ("no window", |f| set(f, "llama.attention.sliding_window", 0)),
    ("a scale of logits that is none", |f| f.set("llama.logit_scale", 1.0f32)),
    ("a key of another architecture", |f| f.set("gemma2.final_logit_softcapping", 30.0f32)),
    ("an odd key that nobody asks for", |f| f.set("llama.rope.dimension_sections", "odd")),
];

const LLAMA: &[Case] = &[
    ("no architecture", |f| f.unset("general.architecture"), &["key general.architecture is missing"]),
    (
        "architecture of another type",
        |f| set(f, "general.architecture", 1),
        &["key general.architecture is u32"],
    ),
    (
        "escapes in the architecture",
        |f| f.set("general.architecture", "\u{1b}[31mllama\u{7}\n"),
        &["architecture \"\\u{1b}[31mllama\\u{7}\\n\" is not known"],
    ),
    (
        "unknown architecture",
        |f| f.set("general.architecture", "mamba"),
        &["architecture \"mamba\" is not known; known are", "gpt2", "llama"],
    ),
    ("an adapter", |f| f.set("general.type", "adapter"), &["general.type is \"adapter\""]),
    ("no layers", |f| set(f, "llama.block_count", 0), &["key llama.block_count is 0"]),
    ("no number of layers", |f| f.unset("llama.block_count"), &["key llama.block_count is missing"]),
    (
        "more layers than tensors",
        |f| set(f, "llama.block_count", 3),
        &["tensor blk.2.attn_norm.weight is missing"],
    ),
    (
        "many more layers than tensors",
        |f| set(f, "llama.block_count", 1 << 24),
        &["tensor blk.2.attn_norm.weight is missing"],
    ),
    ("fewer layers than tensors", |f| set(f, "llama.block_count", 1), &["tensor blk.1."]),
    (
        "number of layers as a string",
        |f| f.set("llama.block_count", "2"),
        &["key llama.block_count is string"],
    ),
    (
        "negative number of layers",
        |f| f.set("llama.block_count", Meta::I32(-2)),
        &["key llama.block_count is i32 (-2)"],
    ),
    ("no heads", |f| set(f, "llama.attention.head_count", 0), &["key llama.attention.head_count is 0"]),
    (
        "no heads of keys",
        |f| set(f, "llama.attention.head_count_kv", 0),
        &["key llama.attention.head_count_kv is 0"],
    ),
    (
        "heads of keys that do not divide",
        |f| set(f, "llama.attention.head_count_kv", 3),
        &["llama.attention.head_count is 4", "head_count_kv 3"],
    ),
    ("more heads of keys than heads", |f| set(f, "llama.attention.head_count_kv", 8), &["head_count_kv 8"]),
    (
        "heads that differ between layers",
        |f| f.set("llama.attention.head_count_kv", [2u32, 4].as_slice()),
        &["key llama.attention.head_count_kv differs"],
    ),
    (
        "keys of no width",
        |f| set(f, "llama.attention.key_length", 0),
        &["key llama.attention.key_length is 0"],
    ),
    (
        "keys and values of different width",
        |f| set(f, "llama.attention.value_length", 8),
        &["16 keys and 8 values"],
    ),
    (
        "keys of odd width",
        |f| {
            set(f, "llama.attention.key_length", 15);
            set(f, "llama.attention.value_length", 15);
        },
        &["heads of 15 keys"],
    ),
    (
        "more rotary than width",
        |f| set(f, "llama.rope.dimension_count", 32),
        &["llama.rope.dimension_count is 32"],
    ),
    ("odd rotary", |f| set(f, "llama.rope.dimension_count", 7), &["llama.rope.dimension_count is 7"]),
    (
        "another width",
        |f| set(f, "llama.embedding_length", 128),
        &["tensor token_embd.weight has shape [64, 160], expected [128, 160]"],
    ),
    (
        "width of all ones",
        |f| set(f, "llama.embedding_length", u32::MAX),
        &["key llama.embedding_length is 4294967295"],
    ),
    ("no width", |f| f.unset("llama.embedding_length"), &["key llama.embedding_length is missing"]),
    ("no context", |f| set(f, "llama.context_length", 0), &["key llama.context_length is 0"]),
    (
        "no width of the feed-forward",
        |f| set(f, "llama.feed_forward_length", 0),
        &["key llama.feed_forward_length is 0"],
    ),
    (
        "another width of the feed-forward",
        |f| set(f, "llama.feed_forward_length", 128),
        &["tensor blk.0.ffn_gate.weight has shape [64, 96], expected [64, 128]"],
    ),
    (
        "epsilon 0",
        |f| f.set("llama.attention.layer_norm_rms_epsilon", 0.0f32),
        &["key llama.attention.layer_norm_rms_epsilon is 0"],
    ),
    (
        "negative epsilon",
        |f| f.set("llama.attention.layer_norm_rms_epsilon", -1e-5f32),
        &["key llama.attention.layer_norm_rms_epsilon is -0.00001"],
    ),
    (
        "epsilon that is no number",
        |f| f.set("llama.attention.layer_norm_rms_epsilon", f32::NAN),
        &["key llama.attention.layer_norm_rms_epsilon is NaN"],
    ),
    (
        "no epsilon",
        |f| f.unset("llama.attention.layer_norm_rms_epsilon"),
        &["key llama.attention.layer_norm_rms_epsilon is missing"],
    ),
    ("base 0", |f| f.set("llama.rope.freq_base", 0.0f32), &["llama.rope.freq_base is 0"]),
    ("infinite base", |f| f.set("llama.rope.freq_base", f32::INFINITY), &["key llama.rope.freq_base is inf"]),
    (
        "scaling that is not known",
        |f| f.set("llama.rope.scaling.type", "su\u{1b}[2J"),
        &["llama.rope.scaling.type is \"su\\u{1b}[2J\""],
    ),
    (
        "YaRN without its first context",
        |f| f.set("llama.rope.scaling.type", "yarn"),
        &["key llama.rope.scaling.original_context_length is missing"],
    ),
    (
        "attention to what follows",
        |f| f.set("llama.attention.causal", false),
        &["key llama.attention.causal is false, which changes what is computed"],
    ),
    (
        "a soft cap",
        |f| f.set("llama.final_logit_softcapping", 30.0f32),
        &["key llama.final_logit_softcapping is 30.0, which changes what is computed"],
    ),
    ("a window as a string", |f| f.set("llama.attention.sliding_window", "9"), &["sliding_window is string"]),
    (
        "negative scaling",
        |f| f.set("llama.rope.scaling.factor", -2.0f32),
        &["llama.rope.scaling.factor is -2"],
    ),
    ("experts", |f| set(f, "llama.expert_count", 8), &["key llama.expert_used_count is missing"]),
    (
        "more experts used than there are",
        |f| {
            set(f, "llama.expert_count", 4);
            set(f, "llama.expert_used_count", 5);
        },
        &["key llama.expert_used_count is 5", "4 experts"],
    ),
    (
        "experts without a router",
        |f| {
            set(f, "llama.expert_count", 4);
            set(f, "llama.expert_used_count", 2);
        },
        &["tensor blk.0.ffn_gate_inp.weight is missing"],
    ),
    (
        "a matrix of another shape",
        |f| reshape(f, "blk.1.attn_q.weight", &[64, 32]),
        &["tensor blk.1.attn_q.weight has shape [64, 32], expected [64, 64]"],
    ),
    (
        "a matrix turned round",
        |f| reshape(f, "blk.0.ffn_down.weight", &[64, 96]),
        &["tensor blk.0.ffn_down.weight has shape [64, 96], expected [96, 64]"],
    ),
    (
        "a vector as a matrix",
        |f| reshape(f, "blk.0.attn_norm.weight", &[8, 8]),
        &["tensor blk.0.attn_norm.weight has shape [8, 8]"],
    ),
    (
        "a third dimension",
        |f| reshape(f, "blk.0.attn_k.weight", &[64, 32, 2]),
        &["tensor blk.0.attn_k.weight has shape [64, 32, 2]"],
    ),
    (
        "an output of another vocabulary",
        |f| reshape(f, "output.weight", &[64, 159]),
        &["tensor output.weight has shape [64, 159]"],
    ),
    (
        "no vocabulary",
        |f| reshape(f, "token_embd.weight", &[64, 0]),
        &["tensor token_embd.weight has shape [64, 0]"],
    ),
    (
        "rotary factors of another length",
        |f| f.put("rope_freqs.weight", &[3], 0, vec![0; 12]),
        &["tensor rope_freqs.weight has shape [3], expected [8]"],
    ),
    (
        "more tokens than rows of the embedding",
        |f| f.set("tokenizer.ggml.tokens", ["t"; 161].as_slice()),
        &["key tokenizer.ggml.tokens has 161 tokens, tensor token_embd.weight 160"],
    ),
    ("no embedding", |f| f.remove("token_embd.weight"), &["tensor token_embd.weight is missing"]),
    (
        "a layer without a matrix",
        |f| f.remove("blk.1.ffn_up.weight"),
        &["tensor blk.1.ffn_up.weight is missing"],
    ),
    ("no norm at the end", |f| f.remove("output_norm.weight"), &["tensor output_norm.weight is missing"]),
    (
        "a tensor that is not understood",
        |f| f.put("blk.0.attn_sinks.weight", &[4], 0, vec![0; 16]),
        &["tensor blk.0.attn_sinks.weight is not part of"],
    ),
    (
        "a type that is not computed with",
        |f| {
            let t = f.find("blk.0.attn_v.weight");
            (t.kind, t.data) = (24, vec![0; 64 * 32]);
        },
        &["tensor blk.0.attn_v.weight is I8, which is not known; known are F32, F16"],
    ),
    ("a norm of integers", |f| f.find("output_norm.weight").kind = 26, &["tensor output_norm.weight is I32"]),
];

const GPT2: &[Case] = &[
    ("no heads", |f| set(f, "gpt2.attention.head_count", 0), &["key gpt2.attention.head_count is 0"]),
    (
        "heads that do not divide the width",
        |f| set(f, "gpt2.attention.head_count", 3),
        &["gpt2.embedding_length 64 is not 3 heads"],
    ),
    (
        "epsilon 0",
        |f| f.set("gpt2.attention.layer_norm_epsilon", 0.0f32),
        &["key gpt2.attention.layer_norm_epsilon is 0"],
    ),
    (
        "more positions than are learned",
        |f| set(f, "gpt2.context_length", 128),
        &["tensor position_embd.weight has shape [64, 64], expected [64, 128]"],
    ),
    ("no bias", |f| f.remove("blk.0.attn_qkv.bias"), &["tensor blk.0.attn_qkv.bias is missing"]),
    (
        "a third of the fused matrix",
        |f| reshape(f, "blk.1.attn_qkv.weight", &[64, 64]),
        &["tensor blk.1.attn_qkv.weight has shape [64, 64], expected [64, 192]"],
    ),
];

const LFM2: &[Case] = &[
    (
        "a convolution of one position",
        |f| set(f, "lfm2.shortconv.l_cache", 1),
        &["lfm2.shortconv.l_cache", "1", "2"],
    ),
    (
        "no convolution's length",
        |f| f.unset("lfm2.shortconv.l_cache"),
        &["lfm2.shortconv.l_cache", "missing"],
    ),
    (
        "heads of two layers",
        |f| f.set("lfm2.attention.head_count_kv", &[0u32, 2][..]),
        &["lfm2.attention.head_count_kv", "2 entries", "3"],
    ),
    (
        "heads that do not share keys evenly",
        |f| f.set("lfm2.attention.head_count_kv", &[0u32, 3, 0][..]),
        &["lfm2.attention.head_count", "4", "3"],
    ),
    (
        "attention where there is a convolution",
        |f| f.set("lfm2.attention.head_count_kv", &[2u32, 2, 0][..]),
        &["blk.0.attn_q.weight", "missing"],
    ),
    (
        "other weights of a convolution",
        |f| f.find("blk.0.shortconv.conv.weight").dims = vec![64, 3],
        &["blk.0.shortconv.conv.weight", "[64, 3]", "[3, 64]"],
    ),
];

const QWEN35: &[Case] = &[
    (
        "heads that do not share keys evenly",
        |f| set(f, "qwen35.ssm.group_count", 3),
        &["qwen35.ssm.", "4 heads", "3"],
    ),
    ("odd heads", |f| set(f, "qwen35.ssm.state_size", 15), &["qwen35.ssm.", "15 wide"]),
    ("another inner size", |f| set(f, "qwen35.ssm.inner_size", 60), &["qwen35.ssm.", "60 in all"]),
    ("a convolution of one position", |f| set(f, "qwen35.ssm.conv_kernel", 1), &["qwen35.ssm.", "1 taps"]),
    (
        "kinds of two layers",
        |f| f.set("qwen35.attention.recurrent_layers", &[true, false][..]),
        &["qwen35.attention.recurrent_layers", "2 entries", "3"],
    ),
    (
        "no kinds of layers",
        |f| f.unset("qwen35.attention.recurrent_layers"),
        &["qwen35.full_attention_interval", "missing"],
    ),
    (
        "queries without gates",
        |f| f.find("blk.1.attn_q.weight").dims = vec![128, 64],
        &["blk.1.attn_q.weight", "[128, 64]", "[64, 128]"],
    ),
];

const GRANITE_HYBRID: &[Case] = &[
    (
        "heads that are not whole groups",
        |f| set(f, "granitehybrid.ssm.group_count", 3),
        &["granitehybrid.ssm.", "3 groups"],
    ),
    ("odd states", |f| set(f, "granitehybrid.ssm.state_size", 15), &["granitehybrid.ssm.", "states of 15"]),
    ("part of a head", |f| set(f, "granitehybrid.ssm.inner_size", 62), &["granitehybrid.ssm.", "62 numbers"]),
    ("no skip", |f| f.remove("blk.0.ssm_d"), &["blk.0.ssm_d", "missing"]),
];
