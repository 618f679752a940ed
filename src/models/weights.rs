//! The tensors and hyper-parameters of a file, each checked as a model takes it.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::formats::{self, Format};
use crate::gguf::{Gguf, Value};
use crate::graph::{Graph, Node, Weight};

/// No dimension of a known model comes near this; what does is a damaged file.
const LARGEST: u32 = 1 << 24;

/// What a model's file takes its tensors and numbers from.
pub struct Weights<'a> {
    file: &'a Gguf,
    architecture: &'static str,
    used: RefCell<HashSet<String>>,
}

impl<'a> Weights<'a> {
    /// The tensors of `file`; hyper-parameters are keys below `architecture`.
    pub fn new(file: &'a Gguf, architecture: &'static str) -> Weights<'a> {
        Weights { file, architecture, used: RefCell::default() }
    }

    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    /// A size or a number of things that must be there and at least 1.
    pub fn count(&self, key: &str) -> Result<usize> {
        self.count_or_none(key)?.ok_or_else(|| Error::Model(format!("key {} is missing", self.key(key))))
    }

    /// The same, which may be missing. A list of numbers, one for each layer, is accepted where all are the same.
    pub fn count_or_none(&self, key: &str) -> Result<Option<usize>> {
        let key = self.key(key);
        let value = match self.file.metadata().get(&key) {
            Some(Value::Array(_)) => match self.file.metadata().u32s(&key)?.as_deref() {
                Some([first, rest @ ..]) if rest.iter().all(|v| v == first) => Some(*first),
                _ => {
                    return Err(Error::Model(format!(
                        "key {key} differs between layers, which is not known here"
                    )));
                }
            },
            _ => self.file.metadata().u32(&key)?,
        };
        match value {
            Some(v) if v == 0 || v > LARGEST => {
                Err(Error::Model(format!("key {key} is {v}, expected 1 to {LARGEST}")))
            }
            v => Ok(v.map(|v| v as usize)),
        }
    }

    /// Whether a count is present and above zero.
    pub fn has(&self, key: &str) -> Result<bool> {
        Ok(self.file.metadata().u32(&self.key(key))?.is_some_and(|v| v > 0))
    }

    /// A number that may be missing; finite if it is there.
    pub fn number(&self, key: &str) -> Result<Option<f32>> {
        let key = self.key(key);
        match self.file.metadata().f32(&key)? {
            Some(v) if !v.is_finite() => Err(Error::Model(format!("key {key} is {v}"))),
            v => Ok(v),
        }
    }

    /// A number above zero that must be there.
    pub fn positive(&self, key: &str) -> Result<f32> {
        match self.number(key)? {
            Some(v) if v > 0.0 => Ok(v),
            Some(v) => Err(Error::Model(format!("key {} is {v}, expected more than 0", self.key(key)))),
            None => Err(Error::Model(format!("key {} is missing", self.key(key)))),
        }
    }

    /// A word that may be missing.
    pub fn word(&self, key: &str) -> Result<Option<&'a str>> {
        self.file.metadata().str(&self.key(key))
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
        let weight =
            Weight { tensor: name.to_string(), first: part.start * cols, rows: part.len(), cols, format };
        Ok(g.weight(weight))
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
        let weight =
            Weight { tensor: name.to_string(), first: part.start, rows: 1, cols: part.len(), format };
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

    /// Fails, naming it, if a tensor was not used: a model with more in it than its graph is not understood.
    pub fn all_used(&self) -> Result<()> {
        let used = self.used.borrow();
        match self
            .file
            .tensors()
            .iter()
            .find(|t| !used.contains(&t.name) && !t.name.ends_with("attn_rot_embd"))
        {
            Some(t) => {
                let (name, architecture) = (&t.name, self.architecture);
                Err(Error::Model(format!(
                    "tensor {name} is not part of the {architecture} models that are known here"
                )))
            }
            None => Ok(()),
        }
    }
}
