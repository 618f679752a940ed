//! What architectures other than Llama's and GPT-2's refuse: keys that change what they compute, and tensors that they are nothing without. The files are
//! tiny Llamas under another name.

use libtest_mimic::Trial;
use wgllm::error::Error;

use crate::gguf_file::GgufFile;
use crate::tiny_model::{Llama, called, gpt_oss, matrix};
use crate::{Outcome, load};

/// An architecture, what is wrong, what makes it so, and what the refusal has to say.
type Case = (&'static str, &'static str, fn(&mut GgufFile), &'static [&'static str]);

const CASES: &[Case] = &[
    ("gpt-oss", "no sinks", |_| {}, &["tensor blk.0.attn_sinks.weight is missing"]),
    (
        "gpt-oss",
        "a soft cap",
        |f| {
            *f = gpt_oss(&Llama::default());
            f.set("gpt-oss.attn_logit_softcapping", 30.0f32);
        },
        &["key gpt-oss.attn_logit_softcapping is 30.0, which changes what is computed"],
    ),
    (
        "gpt-oss",
        "sinks of another number of heads",
        |f| f.put("blk.0.attn_sinks.weight", &[3], 0, vec![0; 12]),
        &["tensor blk.0.attn_sinks.weight has shape [3], expected [4]"],
    ),
    (
        "gemma4",
        "no pattern of windows",
        |f| f.set("gemma4.attention.sliding_window", 8u32),
        &["key gemma4.attention.sliding_window_pattern is missing"],
    ),
    ("gemma4", "no window", |_| {}, &["key gemma4.attention.sliding_window is missing"]),
    (
        "gemma4",
        "a pattern that is too short",
        |f| {
            gemma4(f);
            f.set("gemma4.attention.sliding_window_pattern", [true].as_slice());
        },
        &["key gemma4.attention.sliding_window_pattern has 1 entries, expected one for each of 2"],
    ),
    (
        "gemma4",
        "values of another length",
        |f| {
            gemma4(f);
            f.set("gemma4.attention.value_length_swa", 8u32);
        },
        &["heads of 16 keys and 8 values"],
    ),
    (
        "gemma4",
        "more layers that share than there are",
        |f| {
            gemma4(f);
            f.set("gemma4.attention.shared_kv_layers", 3u32);
        },
        &["key gemma4.attention.shared_kv_layers is 3, and there are 2 layers"],
    ),
    (
        "gemma4",
        "layers that share what no layer has",
        |f| {
            gemma4(f);
            f.set("gemma4.attention.shared_kv_layers", 2u32);
        },
        &["key gemma4.attention.shared_kv_layers", "layer 0"],
    ),
    (
        "gemma4",
        "widths of feed-forwards for one layer of two",
        |f| {
            gemma4(f);
            f.set("gemma4.feed_forward_length", [96u32].as_slice());
        },
        &["key gemma4.feed_forward_length has 1 entries"],
    ),
    (
        "gemma4",
        "inputs of layers without a table",
        |f| {
            gemma4(f);
            f.set("gemma4.embedding_length_per_layer_input", 16u32);
        },
        &["tensor per_layer_token_embd.weight is missing"],
    ),
    (
        "llama",
        "inputs of layers",
        |f| f.set("llama.embedding_length_per_layer_input", 16u32),
        &["key llama.embedding_length_per_layer_input is 16, which changes what is computed"],
    ),
    (
        "deepseek2",
        "no length of latent vectors",
        |_| {},
        &["key deepseek2.attention.kv_lora_rank is missing"],
    ),
    (
        "deepseek2",
        "keys of uncompressed form alone",
        |f| f.set("deepseek2.attention.kv_lora_rank", 16u32),
        &["key deepseek2.attention.key_length_mla is missing"],
    ),
    (
        "deepseek2",
        "more than one head of latent vectors",
        deepseek2,
        &["key deepseek2.attention.head_count_kv is 2, expected 1"],
    ),
    (
        "deepseek2",
        "short vectors of another length than their parts",
        |f| {
            deepseek2(f);
            f.set("deepseek2.attention.head_count_kv", 1u32);
        },
        &["key deepseek2.attention.key_length is 16, expected 24"],
    ),
    (
        "deepseek2",
        "heads that turn as a whole",
        |f| {
            deepseek2(f);
            f.set("deepseek2.attention.head_count_kv", 1u32);
            f.set("deepseek2.attention.key_length_mla", 8u32);
            f.set("deepseek2.attention.key_length", 24u32);
        },
        &["heads of 8 of which 8 turn"],
    ),
    ("llama4", "no step of experts", |_| {}, &["key llama4.interleave_moe_layer_step is missing"]),
    (
        "llama4",
        "a window",
        |f| {
            f.set("llama4.interleave_moe_layer_step", 1u32);
            f.set("llama4.attention.sliding_window", 9u32);
        },
        &["key llama4.attention.sliding_window is 9, which changes what is computed"],
    ),
];

/// One trial for each case, and for what blocks behind the model's are.
pub fn trials() -> Vec<Trial> {
    let case = |&(architecture, what, change, says): &Case| {
        Trial::test(format!("others::{architecture} with {what} is refused"), move || {
            let mut file = called(Llama::default().file(), architecture);
            change(&mut file);
            refused(file, says)
        })
    };
    let mut trials: Vec<Trial> = CASES.iter().map(case).collect();
    trials.push(Trial::test("others::blocks that guess further tokens are left out by name", left_out));
    trials.push(Trial::test("others::such blocks that no key announces are refused", || {
        let mut file = guessing();
        file.unset("llama.nextn_predict_layers");
        refused(file, &["tensor blk.2.nextn.eh_proj.weight is not part of"])
    }));
    trials.push(Trial::test("others::a model of nothing but such blocks is refused", || {
        let mut file = guessing();
        file.set("llama.nextn_predict_layers", 3u32);
        refused(file, &["key llama.nextn_predict_layers is 3, and llama.block_count 3"])
    }));
    trials
}

fn refused(file: GgufFile, says: &[&str]) -> Outcome {
    match load(file.leak()).map(drop) {
        Err(Error::Model(text)) => match says.iter().find(|says| !text.contains(**says)) {
            Some(missing) => Err(format!("{text:?} does not say {missing:?}").into()),
            None => Ok(()),
        },
        Err(other) => Err(format!("{other:?} is not about the model").into()),
        Ok(()) => Err("it was accepted".into()),
    }
}

fn gemma4(f: &mut GgufFile) {
    f.set("gemma4.attention.sliding_window", 8u32);
    f.set("gemma4.attention.sliding_window_pattern", [true, false].as_slice());
    f.set("gemma4.attention.key_length_swa", 16u32);
}

fn deepseek2(f: &mut GgufFile) {
    f.set("deepseek2.attention.kv_lora_rank", 16u32);
    f.set("deepseek2.attention.key_length_mla", 24u32);
    f.set("deepseek2.attention.value_length_mla", 16u32);
    f.set("deepseek2.rope.dimension_count", 8u32);
}

/// A model of two blocks, behind which a third one guesses further tokens.
fn guessing() -> GgufFile {
    let mut file = Llama { layers: 3, ..Llama::default() }.file();
    file.set("llama.nextn_predict_layers", 1u32);
    matrix(&mut file, "blk.2.nextn.eh_proj.weight", 64, 128, "F32");
    file
}

/// The graph is that of the blocks before.
fn left_out() -> Outcome {
    let (_, model) = load(guessing().leak())?;
    let (_, two) = load(Llama::default().file().leak())?;
    let labels = |model: &wgllm::models::Model| -> Vec<String> {
        model.graph.nodes().map(|(_, entry)| entry.label.clone()).collect()
    };
    match (model.block_count, labels(&model) == labels(&two)) {
        (2, true) => Ok(()),
        found => Err(format!("{found:?} blocks and nodes, expected those of two blocks").into()),
    }
}
