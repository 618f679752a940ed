//! The kinds of checkpoints that are known: names of their tensors, and what their configurations leave out.

use super::Sizes;
use super::keys::{
    all_of_experts, experts, gemma3, gpt_oss, lfm2, lfm2_feed_forward, lfm2_moe, no_window, normalises,
    qwen35, shared_expert, window,
};
use super::tensors::{How, Rule};
use crate::checkpoint::Config;
use crate::error::Result;
use crate::gguf::Assembly;

/// A kind of checkpoint.
pub(super) struct Family {
    /// `model_type` of `config.json`.
    pub model_type: &'static str,
    /// `general.architecture` of the graph that computes it.
    pub architecture: &'static str,
    /// Activations that its feed-forward may name.
    pub activations: &'static [&'static str],
    /// What its configuration leaves out, as its published code has it.
    pub defaults: Defaults,
    /// The field with what is added to squares in norms.
    pub eps: &'static str,
    /// The width of its feed-forward, if it has one.
    pub feed_forward: fn(&Config) -> Result<Option<u32>>,
    /// Names of a block's tensors.
    pub block: &'static [&'static [Rule]],
    /// The name of the last norm, and GGUF's.
    pub last_norm: [&'static str; 2],
    /// The keys that its relatives lack.
    pub keys: fn(&Config, &mut Assembly, &Sizes) -> Result<()>,
    /// Whether 1 is added to the weights of norms, but for those of heads of delta nets.
    pub norms_lack_one: bool,
    /// Whether only some layers have keys and values.
    pub kinds_of_layers: bool,
    /// Whether the output is the embedding where nothing is said.
    pub tied: bool,
    /// How its weights may be quantised.
    pub quantised: Option<&'static str>,
}

impl Family {
    /// Of a tensor whose rows GGUF has in pairs next to each other, as many heads as it has: queries and keys of Llama's.
    pub(super) fn turned_heads(&self, gguf: &str, sizes: &Sizes) -> Option<u32> {
        let is = |name: &str| gguf.starts_with("blk.") && gguf.contains(name);
        match self.architecture == "llama" {
            true if is(".attn_q.") => Some(sizes.heads),
            true if is(".attn_k.") => Some(sizes.kv_heads),
            _ => None,
        }
    }
}

/// Numbers that a configuration may leave out.
#[derive(Clone, Copy)]
pub(super) struct Defaults {
    pub heads: Option<u32>,
    pub kv_heads: Option<u32>,
    pub head_dim: Option<u32>,
    /// The part of a head that is turned.
    pub rotary: f64,
    pub base: f64,
    pub eps: f64,
    pub context: Option<u32>,
}

/// A tensor that stays as it is; `.weight` and `.bias` follow both names.
const fn same(theirs: &'static str, ours: &'static str) -> Rule {
    Rule { theirs, ours, how: How::Same }
}

/// A tensor with its whole name, and what becomes of it.
const fn made(theirs: &'static str, ours: &'static str, how: How) -> Rule {
    Rule { theirs, ours, how }
}

/// Names that most share.
const ATTENTION: &[Rule] = &[
    same("input_layernorm", "attn_norm"),
    same("self_attn.q_proj", "attn_q"),
    same("self_attn.k_proj", "attn_k"),
    same("self_attn.v_proj", "attn_v"),
    same("self_attn.o_proj", "attn_output"),
    same("self_attn.q_norm", "attn_q_norm"),
    same("self_attn.k_norm", "attn_k_norm"),
];
const FFN_NORM: &[Rule] = &[same("post_attention_layernorm", "ffn_norm")];
const FEED_FORWARD: &[Rule] =
    &[same("mlp.gate_proj", "ffn_gate"), same("mlp.up_proj", "ffn_up"), same("mlp.down_proj", "ffn_down")];
/// Experts, each a tensor of its own or, in newer files, all of them one.
const EXPERTS: &[Rule] = &[
    same("mlp.gate", "ffn_gate_inp"),
    made("mlp.experts.{}.gate_proj.weight", "ffn_gate_exps.weight", How::Expert),
    made("mlp.experts.{}.up_proj.weight", "ffn_up_exps.weight", How::Expert),
    made("mlp.experts.{}.down_proj.weight", "ffn_down_exps.weight", How::Expert),
    made("mlp.experts.gate_up_proj", "ffn_gate_up_exps.weight", How::Stored),
    made("mlp.experts.down_proj", "ffn_down_exps.weight", How::Stored),
];
const SHARED_EXPERT: &[Rule] = &[
    same("mlp.shared_expert_gate", "ffn_gate_inp_shexp"),
    same("mlp.shared_expert.gate_proj", "ffn_gate_shexp"),
    same("mlp.shared_expert.up_proj", "ffn_up_shexp"),
    same("mlp.shared_expert.down_proj", "ffn_down_shexp"),
];
/// The delta nets of Qwen 3.5.
const DELTA_NET: &[Rule] = &[
    same("post_attention_layernorm", "post_attention_norm"),
    made("linear_attn.in_proj_qkv.weight", "attn_qkv.weight", How::ValueRows),
    made("linear_attn.in_proj_z.weight", "attn_gate.weight", How::ValueHeads),
    made("linear_attn.in_proj_b.weight", "ssm_beta.weight", How::ValueHeads),
    made("linear_attn.in_proj_a.weight", "ssm_alpha.weight", How::ValueHeads),
    made("linear_attn.conv1d.weight", "ssm_conv1d.weight", How::ValueRows),
    made("linear_attn.dt_bias", "ssm_dt.bias", How::ValueHeads),
    made("linear_attn.A_log", "ssm_a", How::MinusExp),
    made("linear_attn.out_proj.weight", "ssm_out.weight", How::ValueColumns),
    same("linear_attn.norm", "ssm_norm"),
];
const LFM2_LAYER: &[Rule] = &[
    same("operator_norm", "attn_norm"),
    same("self_attn.q_proj", "attn_q"),
    same("self_attn.k_proj", "attn_k"),
    same("self_attn.v_proj", "attn_v"),
    same("self_attn.out_proj", "attn_output"),
    same("self_attn.q_layernorm", "attn_q_norm"),
    same("self_attn.k_layernorm", "attn_k_norm"),
    same("conv.in_proj", "shortconv.in_proj"),
    made("conv.conv.weight", "shortconv.conv.weight", How::Convolution),
    made("conv.conv.bias", "shortconv.conv.bias", How::Stored),
    same("conv.out_proj", "shortconv.out_proj"),
    same("ffn_norm", "ffn_norm"),
    same("feed_forward.w1", "ffn_gate"),
    same("feed_forward.w3", "ffn_up"),
    same("feed_forward.w2", "ffn_down"),
];
const LFM2_EXPERTS: &[Rule] = &[
    same("feed_forward.gate", "ffn_gate_inp"),
    made("feed_forward.expert_bias", "exp_probs_b.bias", How::Stored),
    made("feed_forward.experts.{}.w1.weight", "ffn_gate_exps.weight", How::Expert),
    made("feed_forward.experts.{}.w3.weight", "ffn_up_exps.weight", How::Expert),
    made("feed_forward.experts.{}.w2.weight", "ffn_down_exps.weight", How::Expert),
    made("feed_forward.experts.gate_up_proj", "ffn_gate_up_exps.weight", How::Stored),
    made("feed_forward.experts.down_proj", "ffn_down_exps.weight", How::Stored),
];
/// Rows of gate and up take turns; matrices that are not quantised have inputs as rows.
const GPT_OSS_EXPERTS: &[Rule] = &[
    made("self_attn.sinks", "attn_sinks.weight", How::Stored),
    same("post_attention_layernorm", "post_attention_norm"),
    same("mlp.router", "ffn_gate_inp"),
    made("mlp.experts.gate_up_proj", "ffn_gate_exps.weight", How::Turned { first: 0, every: 2 }),
    made("mlp.experts.gate_up_proj", "ffn_up_exps.weight", How::Turned { first: 1, every: 2 }),
    made("mlp.experts.down_proj", "ffn_down_exps.weight", How::Turned { first: 0, every: 1 }),
    made("mlp.experts.gate_up_proj_blocks", "ffn_gate_exps.weight", How::Mxfp4 { first: 0, every: 2 }),
    made("mlp.experts.gate_up_proj_blocks", "ffn_up_exps.weight", How::Mxfp4 { first: 1, every: 2 }),
    made("mlp.experts.down_proj_blocks", "ffn_down_exps.weight", How::Mxfp4 { first: 0, every: 1 }),
    made("mlp.experts.gate_up_proj_scales", "", How::WithBlocks),
    made("mlp.experts.down_proj_scales", "", How::WithBlocks),
    made("mlp.experts.gate_up_proj_bias", "ffn_gate_exps.bias", How::Rows { first: 0, every: 2 }),
    made("mlp.experts.gate_up_proj_bias", "ffn_up_exps.bias", How::Rows { first: 1, every: 2 }),
    made("mlp.experts.down_proj_bias", "ffn_down_exps.bias", How::Stored),
];

const LLAMA: Family = Family {
    model_type: "llama",
    architecture: "llama",
    activations: &["silu", "swish"],
    defaults: Defaults {
        heads: None,
        kv_heads: None,
        head_dim: None,
        rotary: 1.0,
        base: 1e4,
        eps: 1e-6,
        context: None,
    },
    eps: "rms_norm_eps",
    feed_forward: |config| config.need_count("intermediate_size").map(Some),
    block: &[ATTENTION, FFN_NORM, FEED_FORWARD],
    last_norm: ["norm.weight", "output_norm.weight"],
    keys: |_, _, _| Ok(()),
    norms_lack_one: false,
    kinds_of_layers: false,
    tied: false,
    quantised: None,
};

const QWEN3: Family = Family {
    model_type: "qwen3",
    architecture: "qwen3",
    defaults: Defaults { head_dim: Some(128), ..LLAMA.defaults },
    keys: |config, _, _| no_window(config),
    ..LLAMA
};

const QWEN35: Family = Family {
    model_type: "qwen3_5",
    architecture: "qwen35",
    defaults: Defaults { head_dim: Some(256), rotary: 0.25, ..LLAMA.defaults },
    block: &[ATTENTION, DELTA_NET, FEED_FORWARD],
    keys: qwen35,
    norms_lack_one: true,
    ..LLAMA
};

const QWEN35_MOE: Family = Family {
    model_type: "qwen3_5_moe",
    architecture: "qwen35moe",
    feed_forward: |_| Ok(None),
    block: &[ATTENTION, DELTA_NET, EXPERTS, SHARED_EXPERT],
    keys: |config, out, sizes| {
        qwen35(config, out, sizes)?;
        experts(config, out, sizes)?;
        shared_expert(config, out, sizes)
    },
    ..QWEN35
};

const LFM2: Family = Family {
    model_type: "lfm2",
    architecture: "lfm2",
    defaults: Defaults { base: 1e6, eps: 1e-5, context: Some(128_000), ..LLAMA.defaults },
    eps: "norm_eps",
    feed_forward: lfm2_feed_forward,
    block: &[LFM2_LAYER],
    last_norm: ["embedding_norm.weight", "token_embd_norm.weight"],
    keys: lfm2,
    kinds_of_layers: true,
    tied: true,
    ..LLAMA
};

const PHI3: Family = Family {
    model_type: "phi3",
    architecture: "phi3",
    defaults: Defaults { eps: 1e-5, ..LLAMA.defaults },
    block: &[&[
        same("input_layernorm", "attn_norm"),
        same("self_attn.qkv_proj", "attn_qkv"),
        same("self_attn.o_proj", "attn_output"),
        same("post_attention_layernorm", "ffn_norm"),
        same("mlp.gate_up_proj", "ffn_up"),
        same("mlp.down_proj", "ffn_down"),
    ]],
    keys: window,
    ..LLAMA
};

const GEMMA3: Family = Family {
    model_type: "gemma3",
    architecture: "gemma3",
    activations: &["gelu_pytorch_tanh"],
    defaults: Defaults {
        heads: Some(8),
        kv_heads: Some(4),
        head_dim: Some(256),
        rotary: 1.0,
        base: 1e6,
        eps: 1e-6,
        context: Some(131_072),
    },
    block: &[
        ATTENTION,
        &[
            same("post_attention_layernorm", "post_attention_norm"),
            same("pre_feedforward_layernorm", "ffn_norm"),
            same("post_feedforward_layernorm", "post_ffw_norm"),
        ],
        FEED_FORWARD,
    ],
    keys: gemma3,
    norms_lack_one: true,
    ..LLAMA
};

/// Every kind that is known.
pub(super) const FAMILIES: &[Family] = &[
    LLAMA,
    Family { model_type: "mistral", keys: window, ..LLAMA },
    Family {
        model_type: "mixtral",
        defaults: Defaults { base: 1e6, eps: 1e-5, ..LLAMA.defaults },
        block: &[
            ATTENTION,
            FFN_NORM,
            &[
                same("block_sparse_moe.gate", "ffn_gate_inp"),
                made("block_sparse_moe.experts.{}.w1.weight", "ffn_gate_exps.weight", How::Expert),
                made("block_sparse_moe.experts.{}.w3.weight", "ffn_up_exps.weight", How::Expert),
                made("block_sparse_moe.experts.{}.w2.weight", "ffn_down_exps.weight", How::Expert),
            ],
            EXPERTS,
        ],
        keys: |config, out, sizes| {
            window(config, out, sizes)?;
            experts(config, out, sizes)
        },
        ..LLAMA
    },
    Family { model_type: "qwen2", architecture: "qwen2", keys: |config, _, _| no_window(config), ..LLAMA },
    Family {
        model_type: "qwen2_moe",
        architecture: "qwen2moe",
        block: &[ATTENTION, FFN_NORM, EXPERTS, SHARED_EXPERT],
        keys: |config, out, sizes| {
            no_window(config)?;
            all_of_experts(config)?;
            normalises(config, out, sizes, [false, false])?;
            experts(config, out, sizes)?;
            shared_expert(config, out, sizes)
        },
        ..LLAMA
    },
    QWEN3,
    Family {
        model_type: "qwen3_moe",
        architecture: "qwen3moe",
        block: &[ATTENTION, FFN_NORM, EXPERTS],
        keys: |config, out, sizes| {
            no_window(config)?;
            all_of_experts(config)?;
            normalises(config, out, sizes, [false, true])?;
            experts(config, out, sizes)
        },
        ..QWEN3
    },
    Family { model_type: "qwen3_5_text", ..QWEN35 },
    QWEN35,
    Family { model_type: "qwen3_5_moe_text", ..QWEN35_MOE },
    QWEN35_MOE,
    LFM2,
    Family {
        model_type: "lfm2_moe",
        architecture: "lfm2moe",
        feed_forward: LLAMA.feed_forward,
        block: &[LFM2_LAYER, LFM2_EXPERTS],
        keys: lfm2_moe,
        ..LFM2
    },
    Family {
        model_type: "gpt_oss",
        architecture: "gpt-oss",
        defaults: Defaults { head_dim: Some(64), base: 150_000.0, eps: 1e-5, ..LLAMA.defaults },
        block: &[ATTENTION, GPT_OSS_EXPERTS],
        keys: gpt_oss,
        quantised: Some("mxfp4"),
        ..LLAMA
    },
    PHI3,
    Family { model_type: "gemma3_text", ..GEMMA3 },
    GEMMA3,
];
