//! How ops make an architecture: a page for each family and a row for each architecture in [`ARCHITECTURES`]. Names no backend.

mod checkpoint;
mod deepseek2;
mod experts;
mod gemma;
mod gemma4;
mod glm4;
mod gpt2;
mod granite_hybrid;
mod keys;
mod layers;
mod lfm2;
mod llama;
mod llama4;
mod neox;
mod page;
mod phi3;
mod post_norm;
mod qwen35;
mod recurrent;
mod rotary;
mod weights;

use std::collections::HashSet;

use crate::error::{Error, Result};
use crate::gguf::{Gguf, shown};
use crate::graph::{Entry, Graph, Head, Kind, Rows};
use crate::ops::{Embed, Index, Op};

pub use checkpoint::{checkpoint_types, open, open_as_gguf};
use page::Page;
pub use weights::Weights;

/// An architecture: the name that GGUF gives it, and what writes its graph.
pub struct Architecture {
    /// `general.architecture`.
    pub name: &'static str,
    /// Models that people know it by.
    pub models: &'static str,
    /// Writes the forward pass; the last node is the logits.
    forward: fn(&mut Page<'_>) -> Result<()>,
}

/// Every architecture that is known.
pub const ARCHITECTURES: &[Architecture] = &[
    Architecture {
        name: "cohere2",
        models: "Command R7B, Command A",
        forward: |p| neox::forward(p, &neox::COHERE2),
    },
    Architecture {
        name: "deepseek2",
        models: "DeepSeek V2, V3 and R1, Kimi K2",
        forward: deepseek2::forward,
    },
    Architecture { name: "ernie4_5", models: "ERNIE 4.5", forward: |p| llama::forward(p, &llama::LLAMA) },
    Architecture {
        name: "ernie4_5-moe",
        models: "ERNIE 4.5 with experts",
        forward: |p| llama::forward(p, &llama::LLAMA),
    },
    Architecture { name: "exaone4", models: "EXAONE 4", forward: post_norm::exaone4 },
    Architecture { name: "gemma", models: "Gemma 1", forward: gemma::gemma },
    Architecture { name: "gemma2", models: "Gemma 2", forward: gemma::gemma2 },
    Architecture { name: "gemma3", models: "Gemma 3", forward: gemma::gemma3 },
    Architecture { name: "gemma4", models: "Gemma 4", forward: gemma4::forward },
    Architecture { name: "glm4", models: "GLM 4", forward: glm4::forward },
    Architecture { name: "glm4moe", models: "GLM 4.5", forward: |p| llama::forward(p, &llama::GLM4_MOE) },
    Architecture { name: "gpt-oss", models: "gpt-oss", forward: |p| llama::forward(p, &llama::GPT_OSS) },
    Architecture { name: "gpt2", models: "GPT-2", forward: gpt2::forward },
    Architecture { name: "gptneox", models: "GPT-NeoX, Pythia", forward: |p| neox::forward(p, &neox::NEOX) },
    Architecture { name: "granite", models: "Granite 3", forward: llama::granite },
    Architecture { name: "granitehybrid", models: "Granite 4", forward: granite_hybrid::forward },
    Architecture {
        name: "hunyuan-dense",
        models: "Hunyuan dense",
        forward: |p| llama::forward(p, &llama::HUNYUAN),
    },
    Architecture { name: "lfm2", models: "LFM 2", forward: lfm2::forward },
    Architecture { name: "lfm2moe", models: "LFM 2 with experts", forward: lfm2::forward },
    Architecture {
        name: "llama",
        models: "Llama 2 and 3, Mistral, Mixtral, TinyLlama, SmolLM2",
        forward: |p| llama::forward(p, &llama::LLAMA),
    },
    Architecture { name: "llama4", models: "Llama 4", forward: llama4::forward },
    Architecture { name: "mistral3", models: "Ministral 3", forward: llama::mistral3 },
    Architecture {
        name: "nemotron",
        models: "Nemotron, Minitron",
        forward: |p| neox::forward(p, &neox::NEMOTRON),
    },
    Architecture { name: "olmo2", models: "OLMo 2 and 3", forward: post_norm::olmo2 },
    Architecture { name: "phi2", models: "Phi 2", forward: |p| neox::forward(p, &neox::PHI2) },
    Architecture { name: "phi3", models: "Phi 3 and 4", forward: phi3::forward },
    Architecture { name: "qwen2", models: "Qwen 2 and 2.5", forward: |p| llama::forward(p, &llama::QWEN2) },
    Architecture {
        name: "qwen2moe",
        models: "Qwen 1.5 and 2 with experts",
        forward: |p| llama::forward(p, &llama::QWEN2_MOE),
    },
    Architecture { name: "qwen3", models: "Qwen 3", forward: |p| llama::forward(p, &llama::QWEN3) },
    Architecture {
        name: "qwen3moe",
        models: "Qwen 3 with experts",
        forward: |p| llama::forward(p, &llama::QWEN3),
    },
    Architecture { name: "qwen35", models: "Qwen 3.5", forward: qwen35::forward },
    Architecture { name: "qwen35moe", models: "Qwen 3.5 with experts", forward: qwen35::forward },
    Architecture { name: "seed_oss", models: "Seed-OSS", forward: |p| llama::forward(p, &llama::SEED_OSS) },
    Architecture { name: "smollm3", models: "SmolLM3", forward: |p| llama::forward(p, &llama::SMOLLM3) },
    Architecture { name: "stablelm", models: "StableLM", forward: |p| neox::forward(p, &neox::STABLELM) },
    Architecture {
        name: "starcoder2",
        models: "StarCoder 2",
        forward: |p| neox::forward(p, &neox::STARCODER2),
    },
];

/// A model: its graph, and the few numbers about it that others need.
#[derive(Debug)]
pub struct Model {
    /// `general.architecture`.
    pub architecture: &'static str,
    /// The forward pass.
    pub graph: Graph,
    /// Layers in the file.
    pub block_count: usize,
    /// Layers in the graph.
    pub layers: usize,
    /// Positions that the model was made for.
    pub context_length: usize,
    /// The most positions that there are, for models with a table of them.
    pub position_limit: Option<usize>,
    /// Positions up to which the graph is the right one, where a longer context asks for another: [`Model::for_context`].
    pub original_context: Option<usize>,
    /// Tokens of the vocabulary: the width of the logits.
    pub vocab_size: usize,
}

impl Model {
    /// Writes the graph of a file's model: of all its layers, or of the first `layers`.
    pub fn from_gguf(file: &Gguf, layers: Option<usize>) -> Result<Model> {
        Model::for_context(file, layers, 0, Head::Logits)
    }

    /// The same for sequences of up to `context` positions, for some models compute long ones otherwise; the graph ends with `head`.
    pub fn for_context(file: &Gguf, layers: Option<usize>, context: usize, head: Head) -> Result<Model> {
        Model::build(file, layers, context, head).map_err(|e| e.in_file(file.name().as_ref()))
    }

    fn build(file: &Gguf, layers: Option<usize>, context: usize, head: Head) -> Result<Model> {
        let name = file.metadata().need_str("general.architecture")?;
        let Some(architecture) = ARCHITECTURES.iter().find(|a| a.name == name) else {
            let known: Vec<&str> = ARCHITECTURES.iter().map(|a| a.name).collect();
            return Err(Error::Model(format!(
                "architecture \"{}\" is not known; known are {}",
                shown(name),
                known.join(", ")
            )));
        };
        let weights = Weights::new(file, architecture.name);
        let block_count = weights.keys.blocks()?;
        let layers = layers.unwrap_or(block_count);
        if layers == 0 || layers > block_count {
            return Err(Error::Usage(format!("{layers} layers were asked for; the model has {block_count}")));
        }
        let mut graph = Graph::new();
        let mut page = Page::new(&mut graph, &weights, layers, context)?;
        (architecture.forward)(&mut page)?;
        let (original_context, hidden) = (page.original_context, page.hidden);
        let rotary = graph.nodes().any(|(_, e)| matches!(e.op(), Some((Op::Rope(_), _))));
        weights.keys.all_honoured(rotary)?;
        if layers == block_count {
            weights.all_used()?;
        }
        let vocab_size = graph.shape(graph.output()).cols;
        if let (Head::Hidden, Some(hidden)) = (head, hidden) {
            graph.end_at(hidden);
        }
        // What else may be wrong with a vocabulary is for whoever reads it.
        let tokens = file.metadata().strings("tokenizer.ggml.tokens").ok().flatten().map_or(0, |t| t.len());
        if tokens > vocab_size {
            return Err(Error::Model(format!(
                "key tokenizer.ggml.tokens has {tokens} tokens, tensor token_embd.weight {vocab_size}"
            )));
        }
        let context_length = weights.keys.count("context_length")?;
        let position_limit = graph.nodes().filter_map(|(_, e)| position_table(&graph, e)).min();
        Ok(Model {
            architecture: architecture.name,
            graph,
            block_count,
            layers,
            context_length,
            position_limit,
            original_context,
            vocab_size,
        })
    }
}

impl Model {
    /// Bytes of weights that one token needs, each once: of experts those that it goes to, of tables of which it reads one row none.
    pub fn bytes_per_token(&self) -> u64 {
        let mut seen = HashSet::new();
        let mut bytes = 0;
        for (_, entry) in self.graph.nodes() {
            let Some((op, inputs)) = entry.op() else { continue };
            if matches!(op, Op::Embed(_)) {
                continue;
            }
            for &input in inputs {
                if let Kind::Weight(weight) = &self.graph.entry(input).kind
                    && seen.insert((&weight.tensor, weight.first))
                {
                    let all = weight.bytes().len() as u64;
                    bytes += match op {
                        Op::ExpertLinear(op) if weight.experts > 1 => {
                            all * op.used as u64 / op.experts as u64
                        }
                        _ => all,
                    };
                }
            }
        }
        bytes
    }
}

/// The number of positions, if `entry` looks up learned ones.
fn position_table(graph: &Graph, entry: &Entry) -> Option<usize> {
    let (Op::Embed(Embed { by: Index::Position }), inputs) = entry.op()? else { return None };
    match graph.shape(inputs[0]).rows {
        Rows::Of(rows) => Some(rows),
        _ => None,
    }
}
