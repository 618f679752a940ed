//! Tiny models as GGUF files in memory: seeded random weights, by the tensor's name, so that a change in one tensor changes
//! no other. Large enough in their numbers that a mistake in any op shows.
#![allow(dead_code)] // Each test binary uses its own share of this.

use wgllm::formats::{FORMATS, Format};

use crate::blocks::{Random, random_blocks};
use crate::gguf_file::GgufFile;

/// The format of this name.
pub fn format(name: &str) -> &'static Format {
    FORMATS.iter().find(|f| f.name == name).unwrap_or_else(|| panic!("{name} is no format of this engine"))
}

/// A model of the `llama` architecture.
#[derive(Clone, Debug)]
pub struct Llama {
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    /// `heads · head_dim`, unless it is something else.
    pub width: Option<usize>,
    pub ffn: usize,
    pub vocab: usize,
    pub context: usize,
    /// Of every matrix whose rows are whole blocks of it; F16 for the others.
    pub format: &'static str,
    /// Of keys' and values' matrices, if another.
    pub kv_formats: [Option<&'static str>; 2],
    /// No output tensor.
    pub tied: bool,
    /// On all seven matrices of a layer.
    pub biases: bool,
    /// Divisors of the rotary frequencies.
    pub rope_freqs: bool,
    /// Of the positions.
    pub linear_factor: Option<f32>,
    /// Rotated numbers of a head, if not all.
    pub rotary: Option<usize>,
}

impl Default for Llama {
    fn default() -> Llama {
        Llama {
            layers: 2,
            heads: 4,
            kv_heads: 2,
            head_dim: 16,
            width: None,
            ffn: 96,
            vocab: 160,
            context: 128,
            format: "F32",
            kv_formats: [None; 2],
            tied: false,
            biases: false,
            rope_freqs: false,
            linear_factor: None,
            rotary: None,
        }
    }
}

impl Llama {
    /// The file.
    pub fn file(&self) -> GgufFile {
        let width = self.width.unwrap_or(self.heads * self.head_dim);
        let (q, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let mut file = GgufFile::default();
        let mut number = |key: &str, value: usize| {
            file.set(key, value as u32);
        };
        number("llama.block_count", self.layers);
        number("llama.context_length", self.context);
        number("llama.embedding_length", width);
        number("llama.feed_forward_length", self.ffn);
        number("llama.attention.head_count", self.heads);
        number("llama.attention.head_count_kv", self.kv_heads);
        number("llama.attention.key_length", self.head_dim);
        number("llama.attention.value_length", self.head_dim);
        number("llama.rope.dimension_count", self.rotary.unwrap_or(self.head_dim));
        file.set("general.architecture", "llama");
        file.set("llama.attention.layer_norm_rms_epsilon", 1e-5f32);
        if let Some(factor) = self.linear_factor {
            file.set("llama.rope.scaling.type", "linear");
            file.set("llama.rope.scaling.factor", factor);
        }
        matrix(&mut file, "token_embd.weight", self.vocab, width, self.format);
        if self.rope_freqs {
            let factors: Vec<f32> =
                (0..self.rotary.unwrap_or(self.head_dim) / 2).map(|i| 1.0 + i as f32).collect();
            vector_of(&mut file, "rope_freqs.weight", &factors);
        }
        for block in 0..self.layers {
            for (name, rows, cols) in [
                ("attn_q", q, width),
                ("attn_k", kv, width),
                ("attn_v", kv, width),
                ("attn_output", width, q),
                ("ffn_gate", self.ffn, width),
                ("ffn_up", self.ffn, width),
                ("ffn_down", width, self.ffn),
            ] {
                let other = match name {
                    "attn_k" => self.kv_formats[0],
                    "attn_v" => self.kv_formats[1],
                    _ => None,
                };
                let format = other.unwrap_or(self.format);
                matrix(&mut file, &format!("blk.{block}.{name}.weight"), rows, cols, format);
                if self.biases {
                    vector(&mut file, &format!("blk.{block}.{name}.bias"), rows, 0.0);
                }
            }
            vector(&mut file, &format!("blk.{block}.attn_norm.weight"), width, 2.0);
            vector(&mut file, &format!("blk.{block}.ffn_norm.weight"), width, 2.0);
        }
        vector(&mut file, "output_norm.weight", width, 2.0);
        if !self.tied {
            matrix(&mut file, "output.weight", self.vocab, width, self.format);
        }
        file
    }
}

/// The same file as one of another architecture.
pub fn called(mut file: GgufFile, architecture: &str) -> GgufFile {
    for (key, _) in &mut file.metadata {
        if let Some(rest) = key.strip_prefix(b"llama.") {
            *key = [architecture.as_bytes(), b".", rest].concat();
        }
    }
    file.set("general.architecture", architecture);
    file
}

/// A Llama as Gemma 3: norms behind attention and feed-forward, too, norms of heads, and windows but in every sixth layer.
pub fn gemma3(llama: &Llama) -> GgufFile {
    let mut file = called(llama.file(), "gemma3");
    file.set("gemma3.attention.sliding_window", 6u32);
    let width = llama.width.unwrap_or(llama.heads * llama.head_dim);
    for block in 0..llama.layers {
        for name in ["attn_q_norm", "attn_k_norm"] {
            vector(&mut file, &format!("blk.{block}.{name}.weight"), llama.head_dim, 2.0);
        }
        for name in ["post_attention_norm", "post_ffw_norm"] {
            vector(&mut file, &format!("blk.{block}.{name}.weight"), width, 2.0);
        }
    }
    file
}

/// A Llama as gpt-oss without experts: sinks, windows in every second layer, clamped gates.
pub fn gpt_oss(llama: &Llama) -> GgufFile {
    let mut file = called(llama.file(), "gpt-oss");
    file.set("gpt-oss.attention.sliding_window", 5u32);
    for block in 0..llama.layers {
        vector(&mut file, &format!("blk.{block}.attn_sinks.weight"), llama.heads, 1.0);
        let norm = format!("blk.{block}.ffn_norm.weight");
        file.find(&norm).name = format!("blk.{block}.post_attention_norm.weight").into();
    }
    file
}

/// A Llama as Llama 4 without experts, in chunks of so many positions.
pub fn llama4(llama: &Llama, chunk: u32) -> GgufFile {
    let mut file = called(llama.file(), "llama4");
    file.set("llama4.interleave_moe_layer_step", 1u32);
    file.set("llama4.attention.chunk_size", chunk);
    file
}

/// A Llama as Ministral 3, whose scores grow every so many positions.
pub fn mistral3(llama: &Llama, length: u32) -> GgufFile {
    let mut file = called(llama.file(), "mistral3");
    file.set("mistral3.attention.temperature_scale", 0.4f32);
    file.set("mistral3.rope.scaling.original_context_length", length);
    file
}

/// A model of the `gpt2` architecture.
#[derive(Clone, Debug)]
pub struct Gpt2 {
    pub layers: usize,
    pub heads: usize,
    pub head_dim: usize,
    pub vocab: usize,
    pub context: usize,
    /// Of every matrix but the positions, whose rows are whole blocks of it; F16 for the others.
    pub format: &'static str,
}

impl Default for Gpt2 {
    fn default() -> Gpt2 {
        Gpt2 { layers: 2, heads: 4, head_dim: 16, vocab: 160, context: 64, format: "F32" }
    }
}

impl Gpt2 {
    /// The file.
    pub fn file(&self) -> GgufFile {
        let width = self.heads * self.head_dim;
        let mut file = GgufFile::default();
        for (key, value) in [
            ("gpt2.block_count", self.layers),
            ("gpt2.context_length", self.context),
            ("gpt2.embedding_length", width),
            ("gpt2.feed_forward_length", 4 * width),
            ("gpt2.attention.head_count", self.heads),
        ] {
            file.set(key, value as u32);
        }
        file.set("general.architecture", "gpt2");
        file.set("gpt2.attention.layer_norm_epsilon", 1e-5f32);
        matrix(&mut file, "token_embd.weight", self.vocab, width, self.format);
        matrix(&mut file, "position_embd.weight", self.context, width, "F32");
        for block in 0..self.layers {
            for (name, rows, cols) in [
                ("attn_qkv", 3 * width, width),
                ("attn_output", width, width),
                ("ffn_up", 4 * width, width),
                ("ffn_down", width, 4 * width),
            ] {
                matrix(&mut file, &format!("blk.{block}.{name}.weight"), rows, cols, self.format);
                vector(&mut file, &format!("blk.{block}.{name}.bias"), rows, 0.0);
            }
            for name in ["attn_norm", "ffn_norm"] {
                vector(&mut file, &format!("blk.{block}.{name}.weight"), width, 2.0);
                vector(&mut file, &format!("blk.{block}.{name}.bias"), width, 0.0);
            }
        }
        vector(&mut file, "output_norm.weight", width, 2.0);
        vector(&mut file, "output_norm.bias", width, 0.0);
        file
    }
}

/// A model whose first and last layers have states and whose middle one has keys and values.
#[derive(Clone, Copy, Debug)]
pub struct Hybrid {
    /// `lfm2`, `qwen35` or `granitehybrid`.
    pub architecture: &'static str,
    /// Of every matrix whose rows are whole blocks of it; F16 for the others.
    pub format: &'static str,
}

/// All kinds of them.
pub const HYBRIDS: [&str; 3] = ["lfm2", "qwen35", "granitehybrid"];

impl Hybrid {
    /// The file.
    pub fn file(&self) -> GgufFile {
        let (width, ffn, head_dim) = (64, 96, 16);
        let mut file = GgufFile::default();
        file.set("general.architecture", self.architecture);
        let key = |key: &str| format!("{}.{key}", self.architecture);
        for (name, value) in [
            ("block_count", 3),
            ("context_length", 128),
            ("embedding_length", width as u32),
            ("feed_forward_length", ffn as u32),
            ("attention.head_count", 4),
            ("attention.key_length", head_dim as u32),
            ("attention.value_length", head_dim as u32),
            ("rope.dimension_count", if self.architecture == "qwen35" { 8 } else { 16 }),
            ("shortconv.l_cache", 3),
            ("ssm.conv_kernel", 4),
            ("ssm.state_size", 16),
            ("ssm.group_count", 2),
            ("ssm.time_step_rank", 4),
            ("ssm.inner_size", 64),
        ] {
            file.set(&key(name), value);
        }
        file.set(&key("attention.layer_norm_rms_epsilon"), 1e-5f32);
        match self.architecture {
            "qwen35" => {
                file.set(&key("attention.head_count_kv"), 2u32);
                file.set(&key("attention.recurrent_layers"), &[true, false, true][..]);
            }
            _ => file.set(&key("attention.head_count_kv"), &[0u32, 2, 0][..]),
        }
        if self.architecture == "granitehybrid" {
            file.set(&key("rope.scaling.finetuned"), false);
            file.set(&key("residual_scale"), 0.6f32);
        }
        matrix(&mut file, "token_embd.weight", 160, width, self.format);
        let last = if self.architecture == "lfm2" { "token_embd_norm" } else { "output_norm" };
        vector(&mut file, &format!("{last}.weight"), width, 2.0);
        for block in 0..3 {
            self.layer(&mut file, &format!("blk.{block}"), block == 1, [width, ffn, head_dim]);
        }
        file
    }

    fn layer(&self, file: &mut GgufFile, at: &str, attention: bool, [width, ffn, head_dim]: [usize; 3]) {
        let gates = if self.architecture == "qwen35" { 2 } else { 1 };
        let mut matrices = vec![("ffn_gate", ffn, width), ("ffn_up", ffn, width), ("ffn_down", width, ffn)];
        let ffn_norm = if self.architecture == "qwen35" { "post_attention_norm" } else { "ffn_norm" };
        let mut vectors = vec![("attn_norm.weight", width, 2.0), (ffn_norm, width, 2.0)];
        match (attention, self.architecture) {
            (true, _) => {
                matrices.extend([
                    ("attn_q", 4 * gates * head_dim, width),
                    ("attn_k", 2 * head_dim, width),
                    ("attn_v", 2 * head_dim, width),
                    ("attn_output", width, 4 * head_dim),
                ]);
                if self.architecture != "granitehybrid" {
                    vectors.extend([("attn_q_norm", head_dim, 1.0), ("attn_k_norm", head_dim, 1.0)]);
                }
            }
            (false, "lfm2") => {
                matrices
                    .extend([("shortconv.in_proj", 3 * width, width), ("shortconv.out_proj", width, width)]);
                stacked(file, &format!("{at}.shortconv.conv.weight"), [width, 3], 0.5);
            }
            (false, "qwen35") => {
                matrices.extend([("attn_qkv", 128, width), ("attn_gate", 64, width)]);
                matrices.extend([("ssm_alpha", 4, width), ("ssm_beta", 4, width), ("ssm_out", width, 64)]);
                vectors.extend([("ssm_a", 4, -0.7), ("ssm_dt.bias", 4, 0.0), ("ssm_norm", 16, 1.0)]);
                stacked(file, &format!("{at}.ssm_conv1d.weight"), [128, 4], 0.5);
            }
            (false, _) => {
                matrices.extend([("ssm_in", 64 + 128 + 4, width), ("ssm_out", width, 64)]);
                vectors.extend([("ssm_dt.bias", 4, 0.0), ("ssm_conv1d.bias", 128, 0.0)]);
                for (name, size, mean) in [("ssm_conv1d", [128, 4], 0.5), ("ssm_norm", [2, 32], 1.0)] {
                    stacked(file, &format!("{at}.{name}.weight"), size, mean);
                }
                stacked(file, &format!("{at}.ssm_a"), [4, 1], -0.7);
                stacked(file, &format!("{at}.ssm_d"), [4, 1], 1.0);
            }
        }
        for (name, rows, cols) in matrices {
            matrix(file, &format!("{at}.{name}.weight"), rows, cols, self.format);
        }
        for (name, len, mean) in vectors {
            let dot = if name.contains('.') || name == "ssm_a" { "" } else { ".weight" };
            vector(file, &format!("{at}.{name}{dot}"), len, mean);
        }
    }
}

/// Rows of random numbers around `mean`.
fn stacked(file: &mut GgufFile, name: &str, [rows, cols]: [usize; 2], mean: f32) {
    let mut random = Random(seed(name));
    let numbers: Vec<f32> = (0..rows * cols).map(|_| mean + random.unit() - 0.5).collect();
    let data = bytemuck::cast_slice(&numbers).to_vec();
    file.put(name, &[cols as u64, rows as u64], format("F32").id, data);
}

/// A matrix of random blocks.
pub fn matrix(file: &mut GgufFile, name: &str, rows: usize, cols: usize, kind: &str) {
    let wanted = format(kind);
    let kind = if cols.is_multiple_of(wanted.weights) { wanted } else { format("F16") };
    let data = random_blocks(kind, rows * cols / kind.weights, seed(name));
    file.put(name, &[cols as u64, rows as u64], kind.id, data);
}

/// A vector of random numbers around `mean`.
fn vector(file: &mut GgufFile, name: &str, len: usize, mean: f32) {
    let mut random = Random(seed(name));
    let numbers: Vec<f32> = (0..len).map(|_| mean + random.unit() - 0.5).collect();
    vector_of(file, name, &numbers);
}

fn vector_of(file: &mut GgufFile, name: &str, numbers: &[f32]) {
    file.put(name, &[numbers.len() as u64], format("F32").id, bytemuck::cast_slice(numbers).to_vec());
}

/// FNV-1a of a name.
pub fn seed(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ b as u64).wrapping_mul(0x0100_0000_01b3))
}
