//! Whatever a model's graph can be without is noticed: each norm, bias, gate, scale, window and factor that is left out, and each that is computed
//! as a relative does it, moves the logits away from the golden ones. What is in the weights of a recurrence alone is left out in `altered`.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use libtest_mimic::Trial;
use wgllm::gguf::Gguf;
use wgllm::graph::{Graph, Node, Shape};
use wgllm::models::Model;
use wgllm::ops::{
    Activation, Attend, AttentionShape, Clamp, Combine, ExpertLinear, Gate, GatedNorm, Op, Pairing, Part,
    RmsNorm, Rope, RopeShape, Route, Scoring, ShortConv, Unary,
};

use crate::Outcome;
use crate::fixtures::{entries, fixtures, unknown};
use crate::mistakes::RELATIVES;
use crate::rebuilt::{Golden, NOTICED, Of, name, rebuilt};

/// How near the graph as it is must be, so that it is the change that is noticed.
const SAME: f64 = 1e-3;

/// What the logits cannot notice: the model, the node, the change.
const UNNOTICED: &[(&str, &str, &str)] = &[
    // An RMS norm follows, which takes every factor out again.
    ("gemma4-e", "per_layer_inputs", "left out"),
    ("gemma4-e", "per_layer_projection", "left out"),
    ("gemma4-moe", "route", "the other normalisation"),
    // Where keys do not turn, it adds the same to all scores of a row.
    ("gpt2", "attn_k", "no bias"),
    // These begin beyond position 8190.
    ("llama4", "attend", "no chunks"),
    ("llama4", "attend", "no temperature"),
    // A rotation of whole heads leaves their size, and the norm has no weight.
    ("llama4", "the graph", "heads normalised on the other side of their rotation"),
];

/// What stands for a node.
enum Instead {
    /// One of its inputs.
    Input(usize),
    /// An op of some of its inputs.
    Op(Op, Vec<Node>),
}

/// What a node can be without, and what it may be mistaken for.
struct Changes<'a> {
    inputs: &'a [Node],
    found: Vec<(&'static str, Instead)>,
}

impl Changes<'_> {
    /// Another op of the same inputs.
    fn op(&mut self, what: &'static str, op: impl Into<Op>) {
        self.found.push((what, Instead::Op(op.into(), self.inputs.to_vec())));
    }

    /// The same op without an input.
    fn less(&mut self, what: &'static str, op: impl Into<Op>, input: usize) {
        let mut inputs = self.inputs.to_vec();
        inputs.remove(input);
        self.found.push((what, Instead::Op(op.into(), inputs)));
    }

    /// Two inputs have changed places.
    fn swapped(&mut self, what: &'static str, op: &Op, a: usize, b: usize) {
        let mut inputs = self.inputs.to_vec();
        inputs.swap(a, b);
        self.found.push((what, Instead::Op(op.clone(), inputs)));
    }

    fn input(&mut self, what: &'static str, input: usize) {
        self.found.push((what, Instead::Input(input)));
    }
}

/// All changes of an op that leave the shape of its value.
fn changes(op: &Op, inputs: &[Node], shape: impl Fn(Node) -> Shape) -> Vec<(&'static str, Instead)> {
    let mut c = Changes { inputs, found: Vec::new() };
    match op {
        Op::RmsNorm(_) => {
            c.input("left out", 0);
            if inputs.len() == 2 {
                c.less("no weight", op.clone(), 1);
            }
        }
        Op::LayerNorm(norm) => {
            c.input("left out", 0);
            match inputs.len() {
                3 => c.less("no bias", op.clone(), 2),
                _ => c.op("the mean stays", RmsNorm { eps: norm.eps, groups: 1, rest: 0 }),
            }
        }
        Op::Linear(_) if inputs.len() == 3 => c.less("no bias", op.clone(), 2),
        Op::Rope(Rope(rope)) => turns(&mut c, rope),
        Op::Attend(Attend(shape)) => attends(&mut c, shape),
        Op::Add(_) => {
            c.input("no second summand", 0);
            c.input("no first summand", 1);
        }
        Op::Gate(gate) => {
            if let Some(clamp) = gate.clamp {
                c.op("no bounds", Gate { clamp: Some(Clamp { limit: f32::INFINITY, ..clamp }), ..*gate });
                c.op("no shift", Gate { clamp: Some(Clamp { shift: 0.0, ..clamp }), ..*gate });
            }
            if inputs.len() == 2 {
                c.input("no gate", 1);
            }
            if inputs.len() == 2 && shape(inputs[0]) == shape(inputs[1]) {
                c.swapped("gate and up swapped", op, 0, 1);
            }
            c.op("another activation", Gate { act: another(gate.act), ..*gate });
        }
        Op::Unary(unary) => {
            c.input("left out", 0);
            c.op("another activation", Unary { act: another(unary.act) });
        }
        Op::Scale(_) | Op::Softcap(_) => c.input("left out", 0),
        Op::Route(route) => routes(&mut c, route),
        Op::ExpertLinear(experts) => {
            if inputs.len() == 4 {
                c.less("no bias", op.clone(), 3);
            }
            if experts.weighted {
                c.op("not weighted", ExpertLinear { weighted: false, ..experts.clone() });
            }
        }
        Op::Combine(combine) if combine.weighted => {
            c.op("not weighted", Combine { weighted: false, ..combine.clone() });
        }
        Op::Part(part) => {
            let first = if part.first == 0 { part.len } else { 0 };
            if first + part.len <= shape(inputs[0]).cols / part.groups {
                c.op("another part", Part { first, ..part.clone() });
            }
        }
        Op::ShortConv(conv) => {
            if inputs.len() == 4 {
                c.less("no bias", op.clone(), 2);
            }
            match conv.act {
                Some(_) => c.op("no activation", ShortConv { act: None, ..conv.clone() }),
                None => c.op("an activation", ShortConv { act: Some(Activation::Silu), ..conv.clone() }),
            }
        }
        Op::DeltaRule(_) => {
            c.swapped("decay and share swapped", op, 1, 2);
            c.swapped("weights of decay swapped", op, 3, 4);
        }
        Op::Ssd(_) => {
            c.swapped("weights of decay swapped", op, 2, 3);
            c.swapped("what goes through and a bias swapped", op, 3, 4);
        }
        Op::GatedNorm(norm) => {
            c.input("left out", 0);
            let gate_first = !norm.gate_first;
            c.op("the gate on the other side", GatedNorm { gate_first, ..norm.clone() });
        }
        Op::Embed(_) | Op::Linear(_) | Op::Store(_) | Op::Combine(_) | Op::GroupLinear(_) | Op::Select(_) => {
        }
    }
    c.found
}

fn turns(c: &mut Changes<'_>, rope: &RopeShape) {
    c.input("left out", 0);
    c.op("another base", Rope(RopeShape { base: 1.5 * rope.base, ..*rope }));
    c.op(
        "other pairs",
        Rope(RopeShape {
            pairing: match rope.pairing {
                Pairing::Neighbours => Pairing::Halves,
                Pairing::Halves => Pairing::Neighbours,
            },
            ..*rope
        }),
    );
    if c.inputs.len() == 2 {
        c.less("no factors", Rope(*rope), 1);
    }
    if rope.scale != 1.0 {
        c.op("positions not scaled", Rope(RopeShape { scale: 1.0, yarn: None, ..*rope }));
    }
    if rope.yarn.is_some() {
        c.op("all frequencies scaled", Rope(RopeShape { yarn: None, ..*rope }));
    }
    if rope.magnitude != 1.0 {
        c.op("no magnitude", Rope(RopeShape { magnitude: 1.0, ..*rope }));
    }
    if rope.rotary < rope.head_dim && rope.first == 0 && c.inputs.len() == 1 {
        c.op("whole heads", Rope(RopeShape { rotary: rope.head_dim, ..*rope }));
    }
}

fn attends(c: &mut Changes<'_>, shape: &AttentionShape) {
    c.op("scores halved", Attend(AttentionShape { scale: 0.5 * shape.scale, ..*shape }));
    if shape.window > 0 {
        c.op("no window", Attend(AttentionShape { window: 0, ..*shape }));
        c.op("a window one larger", Attend(AttentionShape { window: shape.window + 1, ..*shape }));
    } else {
        c.op("a window", Attend(AttentionShape { window: 8, ..*shape }));
    }
    if shape.chunk > 0 {
        c.op("no chunks", Attend(AttentionShape { chunk: 0, ..*shape }));
    }
    if shape.softcap > 0.0 {
        c.op("no soft cap", Attend(AttentionShape { softcap: 0.0, ..*shape }));
    }
    if shape.temperature.is_some() {
        c.op("no temperature", Attend(AttentionShape { temperature: None, ..*shape }));
    }
    if c.inputs.len() == 4 {
        c.less("no sinks", Attend(*shape), 3);
    }
}

fn routes(c: &mut Changes<'_>, route: &Route) {
    if route.bias(c.inputs).is_some() {
        c.less("no bias", *route, 1);
    }
    if route.factors {
        c.less("no factors", Route { factors: false, ..*route }, c.inputs.len() - 1);
    }
    let normalise = if route.normalise.is_some() { None } else { Some(0.0) };
    c.op("the other normalisation", Route { normalise, ..*route });
    if route.scale != 1.0 {
        c.op("no scale", Route { scale: 1.0, ..*route });
    }
    if route.factor != 1.0 {
        c.op("no factor of logits", Route { factor: 1.0, ..*route });
    }
    if route.groups > 1 {
        c.op("no groups", Route { groups: 1, groups_used: 1, ..*route });
        c.op("groups by another number", Route { group_best: 3 - route.group_best, ..*route });
    }
    let scoring = match route.scoring {
        Scoring::Softmax => Scoring::Sigmoid,
        Scoring::Sigmoid => Scoring::Softmax,
    };
    c.op("the other scoring", Route { scoring, ..*route });
}

/// One that is far from `act`.
fn another(act: Activation) -> Activation {
    match act {
        Activation::Silu | Activation::SquaredRelu => Activation::Gelu,
        _ => Activation::Silu,
    }
}

/// A trial for each model.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for folder in entries(&fixtures().join("models")) {
        let path = folder.join("model-f32.gguf");
        if !path.is_file() || unknown(&path).is_some() {
            continue;
        }
        let model = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let what = format!("{model} notices whatever is left out");
        trials.push(Trial::test(what, move || notices_all(&path, &model)));
    }
    trials
}

/// Changes all nodes of a name that compute the same, in all layers at once.
fn notices_all(path: &Path, model: &str) -> Outcome {
    let (golden, file) = (Golden::read(path)?, Arc::new(Gguf::open(path)?));
    let as_is = golden.apart(&file, |g, of| of.add(g))?;
    if as_is > SAME {
        return Err(format!("logits of the graph as it is are {as_is} apart").into());
    }
    let graph = Model::from_gguf(&file, None)?.graph;
    let mut all: Vec<(String, Op, &'static str)> = Vec::new();
    for (_, entry) in graph.nodes() {
        let Some((op, inputs)) = entry.op() else { continue };
        for (what, _) in changes(op, inputs, |node| graph.shape(node)) {
            let change = (name(&entry.label).to_string(), op.clone(), what);
            if !all.contains(&change) {
                all.push(change);
            }
        }
    }
    let (mut wrong, mut excused) = (Vec::new(), BTreeSet::new());
    let mut held = |node: &str, what: &'static str, apart: f64, op: &dyn Debug| {
        let excuse = UNNOTICED.iter().position(|&of| of == (model, node, what));
        excused.extend(excuse);
        match (apart >= NOTICED, excuse) {
            (false, None) => wrong.push(format!("{node}, {what}: logits are {apart} apart ({op:?})")),
            (true, Some(_)) => wrong.push(format!("{node}, {what}: is noticed, by {apart} ({op:?})")),
            _ => (),
        }
    };
    for (node, op, what) in &all {
        held(node, what, golden.apart(&file, |g, of| changed(g, of, node, op, what))?, op);
    }
    let plain = rebuilt(&graph, |g, of| of.add(g));
    for (what, relative) in RELATIVES {
        if !same(&plain, &rebuilt(&graph, relative)) {
            held("the graph", what, golden.apart(&file, relative)?, &"");
        }
    }
    let gone = (0..UNNOTICED.len()).filter(|at| UNNOTICED[*at].0 == model && !excused.contains(at));
    wrong.extend(gone.map(|at| format!("{:?} is no change of this model", UNNOTICED[at])));
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

fn same(a: &Graph, b: &Graph) -> bool {
    a.len() == b.len() && a.nodes().zip(b.nodes()).all(|((_, a), (_, b))| a.op() == b.op())
}

fn changed(g: &mut Graph, of: Of<'_>, node: &str, op: &Op, what: &str) -> Node {
    if of.name() != node || of.op != *op {
        return of.add(g);
    }
    let found = changes(&of.op, &of.inputs, |node| g.shape(node));
    match found.into_iter().find(|(known, _)| *known == what) {
        Some((_, Instead::Input(at))) => of.inputs[at],
        Some((_, Instead::Op(op, inputs))) => Of { op, inputs, ..of }.add(g),
        None => of.add(g),
    }
}
