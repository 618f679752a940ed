//! A graph with random weights behind it: what ops are tested and measured in, without a model around them.

use std::sync::Arc;

use wgllm::Result;
use wgllm::formats::{FORMATS, Format};
use wgllm::gguf::Gguf;
use wgllm::graph::{Graph, Node, Weight};
use wgllm::models::Model;

use crate::blocks::{Random, random_blocks};
use crate::weights_file::{self, Tensor};

/// The format of this name.
pub fn format(name: &str) -> &'static Format {
    FORMATS.iter().find(|f| f.name == name).unwrap_or_else(|| panic!("no format is called {name}"))
}

/// A graph, and the tensors that it reads.
#[derive(Default)]
pub struct SmallGraph {
    /// The nodes.
    pub graph: Graph,
    tensors: Vec<Tensor>,
}

/// The graph as backends take it.
pub struct Opened {
    /// Its weights.
    pub file: Arc<Gguf>,
    /// The graph.
    pub model: Arc<Model>,
    _path: tempfile::TempPath,
}

impl SmallGraph {
    /// A weight of `rows` × `cols` random numbers of about ±0.05.
    pub fn weight(&mut self, format: &'static Format, rows: usize, cols: usize) -> Node {
        let tensor = self.tensor(format, rows, cols);
        self.rows_of(&tensor, format, 0, rows, cols)
    }

    /// Weights of experts: `[experts, rows, cols]`.
    #[allow(dead_code)] // Not every test has experts.
    pub fn experts(&mut self, format: &'static Format, [experts, rows, cols]: [usize; 3]) -> Node {
        let tensor = self.tensor(format, experts * rows, cols);
        self.graph.weight(Weight { tensor, first: 0, experts, rows, cols, format })
    }

    /// A tensor of random numbers, for weights that are parts of one: its name.
    pub fn tensor(&mut self, format: &'static Format, rows: usize, cols: usize) -> String {
        let blocks = random_blocks(format, rows * cols / format.weights, self.tensors.len() as u64);
        self.push(format, rows, cols, blocks)
    }

    /// The same of blocks that repeat: large ones are then made quickly.
    #[allow(dead_code)] // Only benches need large ones.
    pub fn repeating_tensor(&mut self, format: &'static Format, rows: usize, cols: usize) -> String {
        let count = rows * cols / format.weights;
        // A prime number of blocks: rows differ.
        let some = random_blocks(format, count.min(99_991), self.tensors.len() as u64);
        let blocks = some.iter().copied().cycle().take(count * format.bytes).collect();
        self.push(format, rows, cols, blocks)
    }

    /// `rows` rows of a tensor from row `first` on.
    pub fn rows_of(
        &mut self,
        tensor: &str,
        format: &'static Format,
        first: usize,
        rows: usize,
        cols: usize,
    ) -> Node {
        self.graph.weight(Weight {
            tensor: tensor.into(),
            first: first * cols,
            experts: 1,
            rows,
            cols,
            format,
        })
    }

    /// A table in F32, row by row as `row` fills it from random numbers.
    pub fn table(&mut self, rows: usize, cols: usize, row: impl Fn(usize, &mut Random, &mut [f32])) -> Node {
        let mut random = Random(1000 + self.tensors.len() as u64);
        let mut numbers = vec![0.0; rows * cols];
        for (r, numbers) in numbers.chunks_exact_mut(cols).enumerate() {
            row(r, &mut random, numbers);
        }
        let format = format("F32");
        let tensor = self.push(format, rows, cols, bytemuck::cast_slice(&numbers).to_vec());
        self.rows_of(&tensor, format, 0, rows, cols)
    }

    fn push(&mut self, format: &'static Format, rows: usize, cols: usize, blocks: Vec<u8>) -> String {
        let name = format!("t{}", self.tensors.len());
        self.tensors.push(Tensor { name: name.clone(), format, dims: [cols, rows], blocks });
        name
    }

    /// Writes the weights to a file and makes a model of the graph.
    pub fn open(self) -> Result<Opened> {
        let (file, path) = weights_file::open(&self.tensors)?;
        let vocab_size = self.graph.shape(self.graph.output()).cols;
        let model = Model {
            architecture: "test",
            graph: self.graph,
            block_count: 1,
            layers: 1,
            context_length: 1,
            position_limit: None,
            original_context: None,
            vocab_size,
        };
        Ok(Opened { file: Arc::new(file), model: Arc::new(model), _path: path })
    }
}
