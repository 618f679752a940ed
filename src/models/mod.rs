//! How ops make an architecture: one file per architecture and one row in [`ARCHITECTURES`]. Names no backend.

mod gpt2;
mod llama;
mod weights;

use crate::error::{Error, Result};
use crate::gguf::Gguf;
use crate::graph::{Entry, Graph, Rows};
use crate::ops::{Embed, Index, Op};

pub use weights::Weights;

/// An architecture: the name that GGUF gives it, and what writes its graph.
pub struct Architecture {
    /// `general.architecture`.
    pub name: &'static str,
    /// Writes the forward pass of the first `layers` blocks and returns what the rest of the engine needs to know.
    forward: fn(&mut Graph, &Weights<'_>, layers: usize) -> Result<()>,
}

/// Every architecture that is known.
pub const ARCHITECTURES: &[Architecture] = &[
    Architecture { name: "gpt2", forward: gpt2::forward },
    Architecture { name: "llama", forward: llama::forward },
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
    /// Tokens of the vocabulary: the width of the logits.
    pub vocab_size: usize,
}

impl Model {
    /// Writes the graph of a file's model: of all its layers, or of the first `layers`.
    pub fn from_gguf(file: &Gguf, layers: Option<usize>) -> Result<Model> {
        Model::build(file, layers).map_err(|e| e.in_file(file.name().as_ref()))
    }

    fn build(file: &Gguf, layers: Option<usize>) -> Result<Model> {
        let name = file.metadata().need_str("general.architecture")?;
        let Some(architecture) = ARCHITECTURES.iter().find(|a| a.name == name) else {
            let known: Vec<&str> = ARCHITECTURES.iter().map(|a| a.name).collect();
            return Err(Error::Model(format!(
                "architecture \"{name}\" is not known; known are {}",
                known.join(", ")
            )));
        };
        let weights = Weights::new(file, architecture.name);
        let block_count = weights.count("block_count")?;
        let layers = layers.unwrap_or(block_count);
        if layers == 0 || layers > block_count {
            return Err(Error::Usage(format!("{layers} layers were asked for; the model has {block_count}")));
        }
        let mut graph = Graph::new();
        (architecture.forward)(&mut graph, &weights, layers)?;
        if layers == block_count {
            weights.all_used()?;
        }
        let vocab_size = graph.shape(graph.output()).cols;
        let tokens = file.metadata().strings("tokenizer.ggml.tokens")?.map_or(0, |tokens| tokens.len());
        if tokens > vocab_size {
            return Err(Error::Model(format!(
                "key tokenizer.ggml.tokens has {tokens} tokens, tensor token_embd.weight {vocab_size}"
            )));
        }
        let context_length = weights.count("context_length")?;
        let position_limit = graph.nodes().filter_map(|(_, e)| position_table(&graph, e)).min();
        Ok(Model {
            architecture: architecture.name,
            graph,
            block_count,
            layers,
            context_length,
            position_limit,
            vocab_size,
        })
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
