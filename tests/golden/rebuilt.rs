//! A model's graph built anew with a change in it, and how far that takes its logits from the golden ones.

use std::path::Path;
use std::sync::Arc;

use libtest_mimic::Failed;
use wgllm::backend::{Backend, Precision, RuntimeConfig};
use wgllm::cpu::Cpu;
use wgllm::gguf::Gguf;
use wgllm::graph::{Graph, Kind, Node, Row, Step};
use wgllm::models::Model;
use wgllm::ops::{AttentionShape, Op};

use crate::fixtures::{ids, json, npy};

/// What is noticed: ten times the tolerance of logits.
pub const NOTICED: f64 = 1e-2;

/// A node as it is about to be added: its label, its op, its inputs.
pub struct Of<'a> {
    /// The graph without a change.
    pub graph: &'a Graph,
    /// The node there.
    pub node: Node,
    /// Its label.
    pub label: &'a str,
    /// What computes it.
    pub op: Op,
    /// From what, in the graph that is being made.
    pub inputs: Vec<Node>,
}

impl Of<'_> {
    /// What the node is called, whichever layer it is of.
    pub fn name(&self) -> &str {
        name(self.label)
    }

    /// Whether this is the node of a layer, or of none, that is called `name`.
    pub fn is(&self, name: &str) -> bool {
        self.label == name || (self.label.starts_with("blk.") && self.name() == name)
    }

    /// Adds the node as it is now.
    pub fn add(self, g: &mut Graph) -> Node {
        let node = g.op(self.op, &self.inputs);
        g.name(node, self.label)
    }

    /// What the node of the same layer that is called `name` has become.
    pub fn made(&self, g: &Graph, name: &str) -> Node {
        let label = self.beside(name);
        let made = g.nodes().find(|(_, entry)| entry.label == label);
        made.unwrap_or_else(|| panic!("{label} is not in front of {}", self.label)).0
    }

    /// What the op of the same layer that is called `name`, wherever that stands, makes of `x`.
    pub fn under(&self, g: &mut Graph, name: &str, x: Node) -> Node {
        let label = self.beside(name);
        let found = self.graph.nodes().find(|(_, entry)| entry.label == label);
        let (op, inputs) = found.and_then(|(_, entry)| entry.op()).unwrap_or_else(|| panic!("no {label}"));
        let weights = inputs[1..].iter().map(|&weight| self.weight(g, &self.graph.entry(weight).label));
        let inputs: Vec<Node> = std::iter::once(x).chain(weights).collect();
        g.op(op.clone(), &inputs)
    }

    /// The weight that is called after this tensor, wherever it is used.
    pub fn weight(&self, g: &mut Graph, tensor: &str) -> Node {
        let weight = self.graph.nodes().find_map(|(_, entry)| match &entry.kind {
            Kind::Weight(weight) if weight.tensor == tensor => Some(weight.clone()),
            _ => None,
        });
        g.weight(weight.unwrap_or_else(|| panic!("no weight {tensor}")))
    }

    fn beside(&self, name: &str) -> String {
        let layer = self.label.rsplit_once('.').map_or("", |(layer, _)| layer);
        format!("{layer}.{name}")
    }
}

/// The last part of a label.
pub fn name(label: &str) -> &str {
    label.rsplit('.').next().unwrap_or(label)
}

/// The same graph, of whose nodes each is what `change` adds for it.
pub fn rebuilt(graph: &Graph, mut change: impl FnMut(&mut Graph, Of<'_>) -> Node) -> Graph {
    let mut g = Graph::new();
    let mut made: Vec<Node> = Vec::new();
    for (node, entry) in graph.nodes() {
        made.push(match &entry.kind {
            Kind::Weight(weight) => g.weight(weight.clone()),
            Kind::Cache(cache) => {
                let heads = entry.shape.cols / cache.head_dim;
                g.cache(&entry.label, cache.holds, AttentionShape::new(heads, heads, cache.head_dim))
            }
            Kind::State(state) => g.state(&entry.label, state.kind),
            Kind::Op { op, inputs } => {
                let inputs = inputs.iter().map(|input| made[input.0]).collect();
                change(&mut g, Of { graph, node, label: &entry.label, op: op.clone(), inputs })
            }
        });
    }
    g
}

/// A model's prompt and the logits that are right.
pub struct Golden {
    prompt: Vec<u32>,
    logits: Vec<f32>,
}

impl Golden {
    /// Of the model in F32 at `path`.
    pub fn read(path: &Path) -> Result<Golden, Failed> {
        let expected = json(&path.with_file_name("expected.json"))?;
        let (logits, _) = npy(&path.with_file_name("logits.npy"))?;
        Ok(Golden { prompt: ids(&expected["prompt"]["ids"])?, logits })
    }

    /// The largest distance from them where the graph is changed.
    pub fn apart(
        &self,
        file: &Arc<Gguf>,
        change: impl FnMut(&mut Graph, Of<'_>) -> Node,
    ) -> Result<f64, Failed> {
        let model = Model::from_gguf(file, None)?;
        let model = Arc::new(Model { graph: rebuilt(&model.graph, change), ..model });
        let count = self.prompt.len();
        let plan = RuntimeConfig::new(count, 1, count, Precision::F32);
        let row = |(position, &token): (usize, &u32)| Row { token, slot: 0, position: position as u32 };
        let rows: Vec<Row> = self.prompt.iter().enumerate().map(row).collect();
        let outputs = (0..rows.len() as u32).collect();
        let found = Cpu::new(file.clone(), model, plan)?.step(&Step { rows, outputs })?;
        if found.len() != self.logits.len() {
            return Err(format!("{} logits, expected {}", found.len(), self.logits.len()).into());
        }
        let apart = found.iter().zip(&self.logits).map(|(a, b)| f64::from((a - b).abs()));
        // What is no number any more is far away, and a maximum would leave it out.
        Ok(apart.fold(0.0, |far: f64, a| if a.is_nan() { f64::INFINITY } else { far.max(a) }))
    }
}
