//! The tensors of a file, each checked as a model takes it.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::formats::{self, Format};
use crate::gguf::{Gguf, shown};
use crate::graph::{Graph, Node, Weight};
use crate::models::keys::{Keys, LARGEST};

/// What a page takes its tensors and numbers from.
pub struct Weights<'a> {
    /// The hyper-parameters.
    pub keys: Keys<'a>,
    file: &'a Gguf,
    architecture: &'static str,
    used: RefCell<HashSet<String>>,
}

impl<'a> Weights<'a> {
    /// The tensors of `file`; hyper-parameters are keys below `architecture`.
    pub fn new(file: &'a Gguf, architecture: &'static str) -> Weights<'a> {
        Weights { keys: Keys::new(file, architecture), file, architecture, used: RefCell::default() }
    }

    /// The model's vocabulary: the rows of its embedding.
    pub fn vocab_size(&self) -> Result<usize> {
        let dims = &self.tensor("token_embd.weight")?.dims;
        let rows = dims.get(1).copied().unwrap_or(0);
        if rows == 0 || rows > LARGEST as u64 {
            return Err(Error::Model(format!(
                "tensor token_embd.weight has shape {dims:?}, expected [columns, tokens]"
            )));
        }
        Ok(rows as usize)
    }

    fn tensor(&self, name: &str) -> Result<&'a crate::gguf::Tensor> {
        self.file.tensor(name).ok_or_else(|| Error::Model(format!("tensor {name} is missing")))
    }

    /// Whether rotary pairs of every architecture lie as halves, as in checkpoints; GGUF files of some have them as neighbours.
    pub fn pairs_lie_as_halves(&self) -> bool {
        self.file.checkpoint().is_some()
    }

    /// Whether the file has this tensor.
    pub fn holds(&self, name: &str) -> bool {
        self.file.tensor(name).is_some()
    }

    /// A tensor of `rows` × `cols`.
    pub fn matrix(&self, g: &mut Graph, name: &str, rows: usize, cols: usize) -> Result<Node> {
        self.matrix_part(g, name, rows, cols, 0..rows)
    }

    /// Some rows of a tensor of `rows` × `cols`: one of several projections that are stored together.
    pub fn matrix_part(
        &self,
        g: &mut Graph,
        name: &str,
        rows: usize,
        cols: usize,
        part: Range<usize>,
    ) -> Result<Node> {
        let format = self.take(name, &[cols, rows])?;
        let weight = Weight {
            tensor: name.to_string(),
            first: part.start * cols,
            experts: 1,
            rows: part.len(),
            cols,
            format,
        };
        Ok(g.weight(weight))
    }

    /// A tensor of `rows` × `cols` for each of `experts` experts.
    pub fn experts(&self, g: &mut Graph, name: &str, [experts, rows, cols]: [usize; 3]) -> Result<Node> {
        let format = self.take(name, &[cols, rows, experts])?;
        Ok(g.weight(Weight { tensor: name.to_string(), first: 0, experts, rows, cols, format }))
    }

    /// A tensor of `rows` rows as one row of all: of each expert, channel or group a few numbers.
    pub fn stacked_vectors(&self, g: &mut Graph, name: &str, rows: usize, len: usize) -> Result<Node> {
        let format = self.take(name, &[len, rows])?;
        let cols = rows * len;
        Ok(g.weight(Weight { tensor: name.to_string(), first: 0, experts: 1, rows: 1, cols, format }))
    }

    /// A tensor of one row: a norm's weight, a bias.
    pub fn vector(&self, g: &mut Graph, name: &str, len: usize) -> Result<Node> {
        self.vector_part(g, name, len, 0..len)
    }

    /// A stretch of a tensor of one row of `len`: the bias of one of several projections that are stored together.
    pub fn vector_part(&self, g: &mut Graph, name: &str, len: usize, part: Range<usize>) -> Result<Node> {
        let format = self.take(name, &[len])?;
        if !part.start.is_multiple_of(format.weights) || !part.len().is_multiple_of(format.weights) {
            return Err(Error::Model(format!(
                "tensor {name} is {}, expected F32 for a vector in parts",
                format.name
            )));
        }
        let weight = Weight {
            tensor: name.to_string(),
            first: part.start,
            experts: 1,
            rows: 1,
            cols: part.len(),
            format,
        };
        Ok(g.weight(weight))
    }

    /// A tensor of one row that may be missing.
    pub fn vector_or_none(&self, g: &mut Graph, name: &str, len: usize) -> Result<Option<Node>> {
        if self.holds(name) { self.vector(g, name, len).map(Some) } else { Ok(None) }
    }

    /// Checks a tensor's shape, in ggml's order with the row's length first, and its type.
    fn take(&self, name: &str, expected: &[usize]) -> Result<&'static Format> {
        let tensor = self.tensor(name)?;
        let found = &tensor.dims;
        // ggml pads shapes with dimensions of 1.
        let same = (0..found.len().max(expected.len()))
            .all(|i| found.get(i).copied().unwrap_or(1) == expected.get(i).map_or(1, |&e| e as u64));
        if !same {
            return Err(Error::Model(format!("tensor {name} has shape {found:?}, expected {expected:?}")));
        }
        self.used.borrow_mut().insert(name.to_string());
        formats::by_id(tensor.kind.id).ok_or_else(|| {
            let known: Vec<&str> = formats::FORMATS.iter().map(|f| f.name).collect();
            let (found, known) = (tensor.kind.name, known.join(", "));
            Error::Model(format!("tensor {name} is {found}, which is not known; known are {known}"))
        })
    }

    /// Fails, naming it, if a tensor was not used: a model with more in it than its graph is not understood. Blocks that guess further tokens, which
    /// the file's keys announce, are.
    pub fn all_used(&self) -> Result<()> {
        let used = self.used.borrow();
        let (blocks, behind) = (self.keys.blocks()?, self.keys.blocks_behind()?);
        let guesses = |name: &str| {
            let block = name.strip_prefix("blk.").and_then(|rest| rest.split('.').next()?.parse().ok());
            let of_block = block.is_some_and(|block: usize| (blocks..blocks + behind).contains(&block));
            behind > 0 && (of_block || name.starts_with("nextn."))
        };
        match self
            .file
            .tensors()
            .iter()
            .find(|t| !used.contains(&t.name) && !t.name.ends_with("attn_rot_embd") && !guesses(&t.name))
        {
            Some(t) => {
                let (name, architecture) = (shown(&t.name), self.architecture);
                Err(Error::Model(format!(
                    "tensor {name} is not part of the {architecture} models that are known here"
                )))
            }
            None => Ok(()),
        }
    }
}
