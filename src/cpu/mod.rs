//! Runs a graph on the host, node by node, with each op's reference: f32, in the plainest order. What the GPU is held to.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::backend::{Backend, DeviceInfo, Limits, Memory, Placement, RuntimeConfig};
use crate::error::{Error, Result};
use crate::gguf::Gguf;
use crate::graph::{Kind, Node, Row, Step};
use crate::models::Model;
use crate::ops::{CacheRows, Op, Value, WeightRows};
use crate::sampler::{self, Sampling};

/// The values that nodes have in a step.
pub type Values = HashMap<Node, Vec<f32>>;

/// The reference backend.
pub struct Cpu {
    file: Arc<Gguf>,
    model: Arc<Model>,
    plan: RuntimeConfig,
    caches: Vec<Vec<f32>>,
}

impl Cpu {
    /// Prepares a model; its weights stay in the file's mapping.
    pub fn new(file: Arc<Gguf>, model: Arc<Model>, plan: RuntimeConfig) -> Result<Cpu> {
        let mut caches = Vec::new();
        let cols: usize = model
            .graph
            .nodes()
            .filter(|(_, e)| matches!(e.kind, Kind::Cache(_)))
            .map(|(_, e)| e.shape.cols)
            .sum();
        let wanted = plan.slots as u64 * plan.context as u64 * cols as u64 * 4;
        if let Some(free) = free_memory().filter(|&free| wanted > free) {
            let context = plan.context;
            let what = format!("a KV cache of {context} positions is {wanted} bytes, {free} are free");
            return Err(Error::OutOfMemory(format!("{what}; try a smaller -c")));
        }
        for (_, entry) in model.graph.nodes() {
            if let Kind::Cache(_) = entry.kind {
                let numbers =
                    plan.slots.checked_mul(plan.context).and_then(|n| n.checked_mul(entry.shape.cols));
                let mut cache: Vec<f32> = Vec::new();
                match numbers {
                    Some(n) if cache.try_reserve_exact(n).is_ok() => cache.resize(n, 0.0),
                    _ => {
                        let context = plan.context;
                        return Err(Error::OutOfMemory(format!(
                            "a KV cache of {context} positions does not fit; try a smaller -c"
                        )));
                    }
                }
                caches.push(cache);
            }
        }
        Ok(Cpu { file, model, plan, caches })
    }

    /// The value of `node`, from the values of its inputs.
    pub fn compute(&self, node: Node, step: &Step, values: &Values) -> Vec<f32> {
        let graph = &self.model.graph;
        let entry = graph.entry(node);
        let Some((op, inputs)) = entry.op() else { panic!("{} is not computed", entry.label) };
        let inputs: Vec<Value<'_>> = inputs.iter().map(|&input| self.value(input, values)).collect();
        let mut out = vec![0.0; entry.shape.rows_in(step) * entry.shape.cols];
        if !out.is_empty() {
            op.reference(step, &inputs, &mut out);
        }
        out
    }

    fn value<'a>(&'a self, node: Node, values: &'a Values) -> Value<'a> {
        let entry = self.model.graph.entry(node);
        let cols = entry.shape.cols;
        match &entry.kind {
            Kind::Weight(w) => Value::Weight(WeightRows::of(&self.file, w)),
            Kind::Cache(cache) => {
                Value::Cache(CacheRows { data: &self.caches[cache.id], context: self.plan.context, cols })
            }
            Kind::Op { .. } => Value::Rows { data: &values[&node], cols },
        }
    }

    /// Keeps what a `store` node wrote in its cache.
    pub fn keep(&mut self, node: Node, step: &Step, rows: &[f32]) {
        let graph = &self.model.graph;
        let Some((op, inputs)) = graph.entry(node).op() else { return };
        if !matches!(op, Op::Store(_)) {
            return;
        }
        let Kind::Cache(cache) = &graph.entry(inputs[1]).kind else { return };
        let cols = graph.shape(inputs[1]).cols;
        for (row, data) in step.rows.iter().zip(rows.chunks_exact(cols)) {
            let at = (row.slot as usize * self.plan.context + row.position as usize) * cols;
            self.caches[cache.id][at..at + cols].copy_from_slice(data);
        }
    }

    /// Computes a step and returns the value of every node still needed at its end: the logits.
    fn run(&mut self, step: &Step) -> Vec<f32> {
        // On one of the threads that compute: it goes from node to node without waking any other.
        rayon::scope(|_| self.run_nodes(step))
    }

    fn run_nodes(&mut self, step: &Step) -> Vec<f32> {
        let model = self.model.clone();
        let graph = &model.graph;
        let mut uses = vec![0usize; graph.len()];
        for (_, entry) in graph.nodes() {
            for input in entry.op().into_iter().flat_map(|(_, inputs)| inputs) {
                uses[input.0] += 1;
            }
        }
        let mut values = Values::new();
        for (node, entry) in graph.nodes() {
            let Some((_, inputs)) = entry.op() else { continue };
            let value = self.compute(node, step, &values);
            self.keep(node, step, &value);
            values.insert(node, value);
            for input in inputs {
                uses[input.0] -= 1;
                if uses[input.0] == 0 {
                    values.remove(input);
                }
            }
        }
        values.remove(&graph.output()).unwrap_or_default()
    }
}

/// Bytes of memory that are free, where the system tells. Elsewhere an allocation that fails is an error, too.
fn free_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}

impl Backend for Cpu {
    fn device(&self) -> DeviceInfo {
        let threads = rayon::current_num_threads();
        DeviceInfo {
            name: "CPU".into(),
            api: "cpu".into(),
            driver: format!("{threads} threads"),
            features: vec!["f32".into()],
            software: true,
        }
    }

    fn placement(&self) -> Placement {
        Placement {
            layers_run: self.model.layers,
            block_count: self.model.block_count,
            cpu_nodes: self.model.graph.nodes().filter(|(_, e)| e.op().is_some()).count(),
            dispatches_per_token: 0,
        }
    }

    fn memory(&self) -> Memory {
        let weights = self.model.graph.nodes().filter_map(|(_, e)| match &e.kind {
            Kind::Weight(w) => Some(w.bytes().len() as u64),
            _ => None,
        });
        Memory {
            weights: weights.sum(),
            kv: self.caches.iter().map(|c| c.len() as u64 * 4).sum(),
            scratch: 0,
            buffers: 0,
        }
    }

    fn limits(&self) -> Limits {
        Limits { rows: self.plan.rows, outputs: self.plan.rows }
    }

    fn step(&mut self, step: &Step) -> Result<Vec<f32>> {
        Ok(self.run(step))
    }

    fn generate(
        &mut self,
        step: &Step,
        recent: &[u32],
        sampling: &Sampling,
        limit: usize,
        on_token: &mut dyn FnMut(u32) -> ControlFlow<()>,
    ) -> Result<()> {
        let Some(&last) = step.rows.last() else { return Ok(()) };
        let mut recent = recent.to_vec();
        let mut logits = self.run(step);
        for draw in 0..limit as u32 {
            let token = sampler::sample(&logits, &recent, sampling, draw)?;
            if on_token(token).is_break() || draw as usize + 1 == limit {
                break;
            }
            recent.push(token);
            let row = Row { token, position: last.position + 1 + draw, ..last };
            logits = self.run(&Step { rows: vec![row], outputs: vec![0] });
        }
        Ok(())
    }
}
