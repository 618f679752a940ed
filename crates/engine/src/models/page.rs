//! What a model's page is written with: nodes that are named as the file's tensors, whose weights, biases and errors take care of
//! themselves. A page says which tensor, a [`Page`] or a [`Block`] of it knows the rest.

use std::ops::Range;

use crate::error::Result;
use crate::graph::{Graph, Node};
use crate::models::Weights;
use crate::ops::Index;

/// How a model normalises.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Norm {
    /// By the root mean square.
    Rms {
        /// Added to the mean square.
        eps: f32,
    },
    /// To mean 0 and variance 1, with a bias where the file has one.
    Layer {
        /// Added to the variance.
        eps: f32,
    },
}

/// A graph in the making, and the file that it is made from.
pub struct Page<'a> {
    /// The graph.
    pub g: &'a mut Graph,
    /// The file's tensors and keys.
    pub w: &'a Weights<'a>,
    /// How many of the file's blocks are wanted.
    pub layers: usize,
    /// Numbers of the residual stream: `embedding_length`.
    pub width: usize,
    /// Tokens of the vocabulary.
    pub vocab: usize,
    /// Whether every matrix and norm of a block has a bias; otherwise those have that the file has one for.
    pub biased: bool,
    /// Positions that the model is for.
    pub context: usize,
    /// Positions beyond which another page would be written for a longer context.
    pub original_context: Option<usize>,
    /// The normalised rows that logits are made of, once these are.
    pub hidden: Option<Node>,
}

impl<'a> Page<'a> {
    /// A page without a node.
    pub fn new(g: &'a mut Graph, w: &'a Weights<'a>, layers: usize, context: usize) -> Result<Page<'a>> {
        let width = w.keys.count("embedding_length")?;
        let vocab = w.vocab_size()?;
        Ok(Page { g, w, layers, width, vocab, biased: false, context, original_context: None, hidden: None })
    }

    /// RMS norms with the file's epsilon.
    pub fn rms(&self) -> Result<Norm> {
        Ok(Norm::Rms { eps: self.w.keys.positive("attention.layer_norm_rms_epsilon")? })
    }

    /// Layer norms with the file's epsilon.
    pub fn layer_norm(&self) -> Result<Norm> {
        Ok(Norm::Layer { eps: self.w.keys.positive("attention.layer_norm_epsilon")? })
    }

    /// The embedding of the step's tokens.
    pub fn embed(&mut self) -> Result<Node> {
        let table = self.w.matrix(self.g, "token_embd.weight", self.vocab, self.width)?;
        let x = self.g.embed(table, Index::Token);
        Ok(self.g.name(x, "token_embd"))
    }

    /// Learned positions, of which there are as many as `context_length` says.
    pub fn embed_positions(&mut self) -> Result<Node> {
        let context = self.w.keys.count("context_length")?;
        let table = self.w.matrix(self.g, "position_embd.weight", context, self.width)?;
        let x = self.g.embed(table, Index::Position);
        Ok(self.g.name(x, "position_embd"))
    }

    /// Block `i`, whose tensors and nodes begin with `blk.i.`.
    pub fn block(&mut self, i: usize, norm: Norm) -> Block<'_> {
        let at = format!("blk.{i}");
        self.g.scope(&at);
        Block { g: &mut *self.g, w: self.w, at: at + ".", norm, biased: self.biased }
    }

    /// What belongs to no block.
    pub fn top(&mut self, norm: Norm) -> Block<'_> {
        self.g.scope("");
        Block { g: &mut *self.g, w: self.w, at: String::new(), norm, biased: self.biased }
    }

    /// The last norm and the logits, of the output rows alone.
    pub fn output(&mut self, x: Node, norm: Norm) -> Result<Node> {
        let mut top = self.top(norm);
        let x = top.g.output_rows(x);
        let h = top.norm("output_norm", x)?;
        self.logits(h)
    }

    /// The logits of normalised rows. A model whose output is tied to its embedding has no output tensor.
    pub fn logits(&mut self, h: Node) -> Result<Node> {
        self.hidden = Some(h);
        let tied = !self.w.holds("output.weight");
        let tensor = if tied { "token_embd.weight" } else { "output.weight" };
        let weight = self.w.matrix(self.g, tensor, self.vocab, self.width)?;
        let bias = self.w.vector_or_none(self.g, "output.bias", self.vocab)?;
        let logits = self.g.linear(h, weight, bias);
        Ok(self.g.name(logits, "output"))
    }
}

/// A block of a model: what it adds is named after the tensors below its prefix.
pub struct Block<'a> {
    /// The graph.
    pub g: &'a mut Graph,
    /// The file's tensors and keys.
    pub w: &'a Weights<'a>,
    pub(super) at: String,
    norm: Norm,
    biased: bool,
}

impl Block<'_> {
    /// Whether the file has a tensor of this name here.
    pub fn holds(&self, name: &str) -> bool {
        self.w.holds(&format!("{}{name}", self.at))
    }

    /// Names a node.
    pub fn name(&mut self, node: Node, name: &str) -> Node {
        self.g.name(node, name)
    }

    /// `x` times `name.weight` of `rows` rows, plus `name.bias` where there is one.
    pub fn linear(&mut self, name: &str, x: Node, rows: usize) -> Result<Node> {
        self.linear_part(name, name, x, rows, 0..rows)
    }

    /// `x` times some rows of a tensor that holds several projections, `rows` in all; the node is called `name`.
    pub fn linear_part(
        &mut self,
        name: &str,
        tensor: &str,
        x: Node,
        rows: usize,
        part: Range<usize>,
    ) -> Result<Node> {
        let cols = self.g.shape(x).cols;
        let tensor = format!("{}{tensor}", self.at);
        let weight = self.w.matrix_part(self.g, &format!("{tensor}.weight"), rows, cols, part.clone())?;
        let bias = format!("{tensor}.bias");
        let bias = match self.biased || self.w.holds(&bias) {
            true => Some(self.w.vector_part(self.g, &bias, rows, part)?),
            false => None,
        };
        let y = self.g.linear(x, weight, bias);
        Ok(self.name(y, name))
    }

    /// The block's kind of norm with `name.weight`.
    pub fn norm(&mut self, name: &str, x: Node) -> Result<Node> {
        let cols = self.g.shape(x).cols;
        let weight = self.vector(&format!("{name}.weight"), cols)?;
        let y = match self.norm {
            Norm::Rms { eps } => self.g.rms_norm(x, weight, eps),
            Norm::Layer { eps } => {
                let bias = match self.biased || self.holds(&format!("{name}.bias")) {
                    true => Some(self.vector(&format!("{name}.bias"), cols)?),
                    false => None,
                };
                self.g.layer_norm(x, weight, bias, eps)
            }
        };
        Ok(self.name(y, name))
    }

    /// An RMS norm of each of the `groups` stretches of a row with one weight, as of heads.
    pub fn group_norm(&mut self, name: &str, x: Node, groups: usize) -> Result<Node> {
        let (Norm::Rms { eps } | Norm::Layer { eps }) = self.norm;
        let weight = self.vector(&format!("{name}.weight"), self.g.shape(x).cols / groups)?;
        let y = self.g.group_norm(x, Some(weight), groups, eps);
        Ok(self.name(y, name))
    }

    /// An RMS norm of whole rows whose weight is called otherwise.
    pub fn norm_with(&mut self, name: &str, tensor: &str, x: Node) -> Result<Node> {
        let (Norm::Rms { eps } | Norm::Layer { eps }) = self.norm;
        let weight = self.vector(tensor, self.g.shape(x).cols)?;
        let y = self.g.rms_norm(x, weight, eps);
        Ok(self.name(y, name))
    }

    /// An RMS norm of the first `cols` numbers of each row; what follows stays.
    pub fn front_norm(&mut self, name: &str, x: Node, cols: usize) -> Result<Node> {
        let (Norm::Rms { eps } | Norm::Layer { eps }) = self.norm;
        let weight = self.vector(&format!("{name}.weight"), cols)?;
        let y = self.g.front_norm(x, weight, eps);
        Ok(self.name(y, name))
    }

    /// Each stretch of a row times its matrix of `name.weight`, of `[stretches, rows, cols]`; `keep_rest`: what of a stretch is not multiplied
    /// follows.
    pub fn group_linear(&mut self, name: &str, x: Node, size: [usize; 3], keep_rest: bool) -> Result<Node> {
        let weight = self.w.experts(self.g, &format!("{}{name}.weight", self.at), size)?;
        let y = self.g.group_linear(x, weight, keep_rest);
        Ok(self.name(y, name))
    }

    /// An RMS norm of each of the `groups` stretches of a row, without a weight.
    pub fn unit_norm(&mut self, name: &str, x: Node, groups: usize) -> Node {
        let (Norm::Rms { eps } | Norm::Layer { eps }) = self.norm;
        let y = self.g.group_norm(x, None, groups, eps);
        self.name(y, name)
    }

    /// A tensor of one row.
    pub fn vector(&mut self, name: &str, len: usize) -> Result<Node> {
        self.w.vector(self.g, &format!("{}{name}", self.at), len)
    }

    /// `a + b`.
    pub fn add(&mut self, name: &str, a: Node, b: Node) -> Node {
        let y = self.g.add(a, b);
        self.name(y, name)
    }

    /// `factor · x`, or `x` where that is the same.
    pub fn scale(&mut self, name: &str, x: Node, factor: f32) -> Node {
        if factor == 1.0 {
            return x;
        }
        let y = self.g.scale(x, factor);
        self.name(y, name)
    }
}
