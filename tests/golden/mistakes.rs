//! What the fixtures say of single mistakes (`sensitivity`): a graph with that one mistake in it has logits that are as far from the golden ones as
//! that. So each feature is one that the golden logits notice.

use std::path::Path;

use libtest_mimic::Trial;
use wgllm::graph::{Entry, Graph, Node};
use wgllm::ops::{Activation, Gate, Op, Pairing, RopeShape, Unary};

use crate::fixtures::{entries, fixtures, json, unknown};
use crate::rebuilt::{Golden, NOTICED, Of, name};
use crate::{Outcome, altered};

/// How far from the fixture's number one may be, relative to it or to a tenth of a logit: it has four digits, and computed in float32.
const NEAR: f64 = 5e-3;

/// What moves the logits by another number here: without norms, the 64 layers of this model make another result of each rounding. It is to be
/// noticed.
const OTHERWISE: &[(&str, &str)] = &[("exaone4-swa", "no qk norm")];

/// Mistakes that were made in a configuration, of which a converter makes more than their name says: a model, its name for one, and ours.
const OF_MODELS: &[(&str, &str, &str)] = &[
    ("exaone4", "rope base x1.5", "rope base x1.5, and factors as of that"),
    ("gemma3", "no sliding window", "no sliding window, and the base of layers without one"),
    ("gemma3", "rope base x1.5", "rope base x1.5 in layers without a window"),
    ("llama3-rope", "rope base x1.5", "rope base x1.5, and factors as of that"),
];

/// The base of layers without a window in the fixtures' Gemma 3 and 4.
const GLOBAL: f32 = 1e6;

/// How steep a SiLU is that stands for max(x, 0): it is that within 0.28 / `STEEP`.
const STEEP: f32 = (1 << 20) as f32;

/// Adds a node with a mistake to a graph, or the node as it is; what stands for it from then on.
pub type Mistake = fn(&mut Graph, Of<'_>) -> Node;

/// The mistakes that are known here, by the names that the fixtures give them.
const MISTAKES: &[(&str, Mistake)] = &[
    ("rope base x1.5", |g, of| ropes(g, of, |op| op.0.base *= 1.5)),
    // The factors are in the file, see `altered`.
    ("rope base x1.5, and factors as of that", |g, of| ropes(g, of, |op| op.0.base *= 1.5)),
    ("rope base x1.5 in layers without a window", |g, of| {
        ropes(g, of, |op| op.0.base *= if op.0.base == GLOBAL { 1.5 } else { 1.0 })
    }),
    ("rope scaling ignored", |g, mut of| {
        if let Op::Rope(_) = of.op {
            of.inputs.truncate(1);
        }
        ropes(g, of, unscaled)
    }),
    ("rope scaling ignored (and mscale)", |g, mut of| {
        if let Op::Attend(op) = &mut of.op {
            // Nope and rope of the fixtures, 16 and 8.
            op.0.scale = 1.0 / 24f32.sqrt();
        }
        ropes(g, of, unscaled)
    }),
    ("yarn attention factor 1", |g, of| ropes(g, of, |op| op.0.magnitude = 1.0)),
    ("rotary pairs as halves", |g, of| ropes(g, of, |op| op.0.pairing = Pairing::Halves)),
    ("rotary pairs as halves instead of neighbours", |g, of| {
        ropes(g, of, |op| op.0.pairing = Pairing::Halves)
    }),
    ("full rotary", |g, of| ropes(g, of, |op| op.0.rotary = op.0.head_dim)),
    ("global rope over the whole head", |g, mut of| {
        if let Op::Rope(_) = of.op {
            of.inputs.truncate(1);
        }
        of.add(g)
    }),
    ("local rope base = global", |g, of| ropes(g, of, |op| op.0.base = GLOBAL)),
    ("attention scale halved", |g, of| attends(g, of, |op| op.0.scale *= 0.5)),
    ("attention scale 1/sqrt(head_dim)", |g, of| {
        attends(g, of, |op| op.0.scale = 1.0 / (op.0.head_dim as f32).sqrt())
    }),
    ("softmax scale without mscale^2", |g, of| attends(g, of, |op| op.0.scale = 1.0 / 24f32.sqrt())),
    ("scale by the nope width only", |g, of| attends(g, of, |op| op.0.scale *= (24f32 / 16.0).sqrt())),
    ("no sliding window, and the base of layers without one", |g, of| match of.op {
        Op::Rope(_) => ropes(g, of, |op| op.0.base = GLOBAL),
        _ => attends(g, of, |op| op.0.window = 0),
    }),
    ("no sliding window", |g, of| attends(g, of, |op| op.0.window = 0)),
    ("window one larger", |g, of| attends(g, of, |op| op.0.window += (op.0.window > 0) as u32)),
    ("window on the other layers", |g, of| attends(g, of, |op| op.0.window = 8 - op.0.window)),
    ("no attention softcap", |g, of| attends(g, of, |op| op.0.softcap = 0.0)),
    ("no Q temperature", |g, of| attends(g, of, |op| op.0.temperature = None)),
    ("no sinks", |g, mut of| {
        if let Op::Attend(_) = of.op {
            of.inputs.truncate(3);
        }
        of.add(g)
    }),
    ("no clamp of the gate and up", |g, of| {
        gates(g, of, |op| op.clamp.iter_mut().for_each(|clamp| clamp.limit = f32::INFINITY))
    }),
    ("alpha 1 instead of 1.702", |g, of| gates(g, of, |op| op.act = Activation::Silu)),
    ("gelu instead of silu", |g, of| acts(g, of, Activation::Silu, Activation::Gelu)),
    ("silu gate instead of gelu", |g, of| match of.is("gate") {
        true => acts(g, of, Activation::Gelu, Activation::Silu),
        false => of.add(g),
    }),
    ("gelu erf instead of tanh", |g, of| acts(g, of, Activation::Gelu, Activation::GeluErf)),
    ("unit qk-norm weights", |g, mut of| {
        if of.is("attn_q_norm") || of.is("attn_k_norm") {
            of.inputs.truncate(1);
        }
        of.add(g)
    }),
    ("no qk norm", |g, of| without(g, of, &["attn_q_norm", "attn_k_norm"])),
    ("no shared expert", |g, of| without(g, of, &["shared_residual"])),
    ("no softcap", |g, of| if let Op::Softcap(_) = of.op { of.inputs[0] } else { of.add(g) }),
    ("no final softcap", |g, of| if let Op::Softcap(_) = of.op { of.inputs[0] } else { of.add(g) }),
    ("no embedding scale", |g, of| without(g, of, &["embedding"])),
    ("no embedding multiplier", |g, of| without(g, of, &["embedding"])),
    ("no residual multiplier", |g, of| match of.op {
        // What experts give is multiplied along with their weights.
        Op::Route(_) => routes(g, of, |op, _| op.scale = 1.0),
        _ => without(g, of, &["attn_scaled", "shared_scaled", "ffn_scaled"]),
    }),
    ("no logits scaling", |g, of| without(g, of, &["logits"])),
    ("no logit scale", |g, of| without(g, of, &["logits"])),
    ("no QKV biases", |g, of| without_bias(g, of, &["attn_q", "attn_k", "attn_v"])),
    ("no qkv bias", |g, of| without_bias(g, of, &["attn_q", "attn_k", "attn_v"])),
    ("no attention biases", |g, of| without_bias(g, of, &["attn_q", "attn_k", "attn_v", "attn_output"])),
    ("no output bias", |g, of| without_bias(g, of, &["output"])),
    ("no routed scaling", |g, of| routes(g, of, |op, _| op.scale = 1.0)),
    ("no selection bias", |g, of| routes(g, of, |_, inputs| inputs.truncate(1))),
    ("no renormalisation of the top-k", |g, of| routes(g, of, |op, _| op.normalise = None)),
    ("top-k renormalised", |g, of| routes(g, of, |op, _| op.normalise = Some(0.0))),
    ("no norm of the compressed kv", |g, of| without(g, of, &["attn_kv_a_norm"])),
    ("no norm of the compressed q", |g, of| without(g, of, &["attn_q_a_norm"])),
    ("no post norms", |g, of| without(g, of, &["post_attention_norm", "post_ffw_norm"])),
    ("no v norm", |g, of| without(g, of, &["attn_v_norm"])),
    ("layer scalars 1", |g, of| without(g, of, &["layer_output_scale"])),
    ("no per-layer inputs", |g, of| without(g, of, &["input_residual"])),
    ("per-layer embeddings unscaled", |g, of| without(g, of, &["per_layer_embedding"])),
    ("per-layer projection unscaled", |g, of| without(g, of, &["per_layer_projection"])),
    ("per-layer inputs added without 1/sqrt(2)", |g, of| without(g, of, &["per_layer_inputs"])),
    ("router without 1/sqrt(hidden)", |g, of| routes(g, of, |op, _| op.factor = 1.0)),
    ("router scale 1", |g, mut of| {
        if of.is("ffn_gate_inp_norm") {
            of.inputs.truncate(1);
        }
        of.add(g)
    }),
    ("expert scales 1", |g, of| {
        routes(g, of, |op, inputs| {
            op.factors = false;
            inputs.truncate(1);
        })
    }),
    ("dense MLP missing", |g, of| if of.is("all_experts") { of.inputs[1] } else { of.add(g) }),
    ("no norm biases", |g, mut of| {
        if let Op::LayerNorm(_) = of.op {
            of.inputs.truncate(2);
        }
        of.add(g)
    }),
    ("no biases", |g, mut of| {
        if let Op::Linear(_) | Op::LayerNorm(_) = of.op {
            of.inputs.truncate(2);
        }
        of.add(g)
    }),
    ("no yarn", |g, of| ropes(g, of, unscaled)),
    ("yarn as plain linear", |g, of| ropes(g, of, |op| (op.0.yarn, op.0.magnitude) = (None, 1.0))),
    ("yarn on the sliding layers too", |g, mut of| {
        let mut all = of.graph.nodes().filter_map(|(_, entry)| entry.op());
        let scaled = |(op, _): (&Op, _)| match op {
            Op::Rope(rope) => rope.0.yarn.map(|_| rope.0),
            _ => None,
        };
        if let (Op::Rope(op), Some(rope)) = (&mut of.op, all.find_map(scaled)) {
            op.0 = rope;
        }
        of.add(g)
    }),
    ("beta_fast 16", |g, of| ropes(g, of, |op| op.0.yarn.iter_mut().for_each(|yarn| yarn.fast = 16.0))),
    ("yarn attention factor 1 + 0.1 ln(factor)", |g, of| {
        ropes(g, of, |op| op.0.magnitude = 1.0 - 0.1 * op.0.scale.ln())
    }),
    ("attention factor 1", |g, of| ropes(g, of, |op| op.0.magnitude = 1.0)),
    ("window 16", |g, of| attends(g, of, |op| op.0.window = 16)),
    ("shared expert ungated (1/2)", |g, of| match of.is("shared_expert") {
        true => g.scale(of.inputs[1], 0.5),
        false => of.add(g),
    }),
    ("rope on every layer", |g, of| {
        let mut ropes = of.graph.nodes().filter_map(|(_, entry)| entry.op());
        let rope = ropes.find_map(|(op, _)| if let Op::Rope(rope) = op { Some(rope.0) } else { None });
        turned(g, of, rope)
    }),
    ("rope in the attention layers", |g, of| {
        let mut ops = of.graph.nodes().filter_map(|(_, entry)| entry.op());
        let heads = ops.find_map(|(op, _)| if let Op::Attend(op) = op { Some(op.0.head_dim) } else { None });
        turned(g, of, heads.map(|head_dim| RopeShape::new(head_dim, 1e4, Pairing::Neighbours)))
    }),
    ("long factors instead of short", |g, mut of| {
        if let Op::Rope(_) = of.op {
            of.inputs[1] = of.weight(g, "rope_factors_long.weight");
        }
        of.add(g)
    }),
    // Its factors are in the file, see `altered`.
    ("yarn not truncated", |g, of| ropes(g, of, |op| (op.0.yarn, op.0.scale) = (None, 1.0))),
    ("relu instead of relu squared", |g, of| match of.op {
        Op::Unary(Unary { act: Activation::SquaredRelu }) => {
            let x = g.scale(of.inputs[0], STEEP);
            let y = g.unary(Activation::Silu, x);
            g.scale(y, 1.0 / STEEP)
        }
        _ => of.add(g),
    }),
    ("sequential instead of parallel block", behind),
    ("parallel residual flipped", |g, mut of| {
        if of.is("ffn_norm") {
            of.inputs[0] = of.made(g, "attn_residual");
        }
        of.add(g)
    }),
    ("pre-norms instead of post-norms", in_front),
    // A gate that says nothing lets half through.
    ("no output gate in attention", |g, of| match of.is("gated_attend") {
        true => g.scale(of.inputs[1], 0.5),
        false => of.add(g),
    }),
    ("no SiLU after the convolution", |g, mut of| {
        if let Op::ShortConv(op) = &mut of.op {
            op.act = None;
        }
        of.add(g)
    }),
    ("groups ignored", |g, of| routes(g, of, |op, _| (op.groups, op.groups_used) = (1, 1))),
];

/// What one relative does and another does not, whatever a model's fixture says of it. Most change only some models' graphs.
pub const RELATIVES: &[(&str, Mistake)] = &[
    ("heads normalised on the other side of their rotation", other_side),
    ("a feed-forward beside attention", |g, mut of| {
        if let Op::RmsNorm(_) | Op::LayerNorm(_) | Op::Linear(_) = of.op {
            let read = g.entry(of.inputs[0]);
            if let (Some((Op::Add(_), inputs)), "attn_residual") = (read.op(), name(&read.label)) {
                of.inputs[0] = inputs[0];
            }
        }
        of.add(g)
    }),
    ("a feed-forward behind attention", behind),
    ("norms in front", in_front),
    ("one expert fewer", |g, mut of| {
        match &mut of.op {
            Op::Route(op) if op.used > 1 => op.used -= 1,
            Op::ExpertLinear(op) if op.used > 1 => op.used -= 1,
            Op::Combine(op) if op.used > 1 => op.used -= 1,
            Op::Gate(op) if op.stretches > 1 => op.stretches -= 1,
            _ => (),
        }
        of.add(g)
    }),
    ("keys and values of another layer", |g, mut of| {
        if let Op::Attend(_) = of.op {
            for input in &mut of.inputs[1..3] {
                *input = another_cache(g, *input, of.label);
            }
        }
        of.add(g)
    }),
];

/// What attention and the feed-forward beside it read: the one norm again, now of what attention has been added to.
fn behind(g: &mut Graph, mut of: Of<'_>) -> Node {
    if matches!(of.name(), "ffn_gate" | "ffn_up") && name(&g.entry(of.inputs[0]).label) == "attn_norm" {
        let x = of.made(g, "attn_residual");
        of.inputs[0] = of.under(g, "attn_norm", x);
    }
    of.add(g)
}

/// Norms that are behind attention and feed-forward, and nowhere else, in front of them.
fn in_front(g: &mut Graph, mut of: Of<'_>) -> Node {
    if of.graph.nodes().any(|(_, entry)| name(&entry.label) == "attn_norm") {
        return of.add(g);
    }
    let norm = match of.name() {
        "attn_q" | "attn_k" | "attn_v" => "post_attention_norm",
        "ffn_gate" | "ffn_up" => "post_ffw_norm",
        _ => return without(g, of, &["post_attention_norm", "post_ffw_norm"]),
    };
    of.inputs[0] = of.under(g, norm, of.inputs[0]);
    of.add(g)
}

/// Of a norm and a rotation of the same heads, the first one second.
fn other_side(g: &mut Graph, of: Of<'_>) -> Node {
    let other = match of.name() {
        "rope_q" => "attn_q_norm",
        "rope_k" => "attn_k_norm",
        "attn_q_norm" => "rope_q",
        "attn_k_norm" => "rope_k",
        _ => return of.add(g),
    };
    let called = |node: &Node| name(&of.graph.entry(*node).label) == other;
    let (_, inputs) = of.graph.entry(of.node).op().expect("what is added is computed");
    if of.graph.users(of.node).iter().any(called) {
        return of.inputs[0];
    }
    match called(&inputs[0]) {
        true => {
            let y = g.op(of.op.clone(), &of.inputs);
            of.under(g, other, y)
        }
        false => of.add(g),
    }
}

/// Another cache like one that is not of the layer of `label`.
fn another_cache(g: &Graph, node: Node, label: &str) -> Node {
    let (entry, layer) = (g.entry(node), label.trim_end_matches("attend"));
    let holds = g.cache_of(node).map(|cache| cache.holds);
    let like = |(other, found): &(Node, &Entry)| {
        let same = found.shape == entry.shape && g.cache_of(*other).map(|cache| cache.holds) == holds;
        *other != node && same
    };
    match entry.label.starts_with(layer) {
        true => node,
        false => g.nodes().find(like).map_or(node, |(other, _)| other),
    }
}

fn unscaled(op: &mut wgllm::ops::Rope) {
    (op.0.yarn, op.0.scale, op.0.magnitude) = (None, 1.0, 1.0);
}

fn ropes(g: &mut Graph, mut of: Of<'_>, change: fn(&mut wgllm::ops::Rope)) -> Node {
    if let Op::Rope(op) = &mut of.op {
        change(op);
    }
    of.add(g)
}

fn attends(g: &mut Graph, mut of: Of<'_>, change: fn(&mut wgllm::ops::Attend)) -> Node {
    if let Op::Attend(op) = &mut of.op {
        change(op);
    }
    of.add(g)
}

fn gates(g: &mut Graph, mut of: Of<'_>, change: fn(&mut Gate)) -> Node {
    if let Op::Gate(op) = &mut of.op {
        change(op);
    }
    of.add(g)
}

fn routes(g: &mut Graph, mut of: Of<'_>, change: fn(&mut wgllm::ops::Route, &mut Vec<Node>)) -> Node {
    if let Op::Route(op) = &mut of.op {
        change(op, &mut of.inputs);
    }
    of.add(g)
}

/// Another activation function.
fn acts(g: &mut Graph, mut of: Of<'_>, from: Activation, to: Activation) -> Node {
    match &mut of.op {
        Op::Gate(Gate { act, .. }) | Op::Unary(Unary { act }) if *act == from => *act = to,
        _ => {}
    }
    of.add(g)
}

/// Queries and keys that are not turned by their positions are; where others are normalised behind that, these are, too.
fn turned(g: &mut Graph, of: Of<'_>, rope: Option<RopeShape>) -> Node {
    let (original, node) = (of.graph, of.node);
    let read = |node: &Node| original.entry(*node).op().map_or(&[][..], |(_, inputs)| inputs);
    let turns = |node: &Node| matches!(original.entry(*node).op(), Some((Op::Rope(_), _)));
    let attends = |node: &Node| matches!(original.entry(*node).op(), Some((Op::Attend(_), _)));
    let queries = |user: &Node| attends(user) && read(user)[0] == node;
    let keys = |user: &Node| original.entry(*user).label.ends_with("store_k");
    let placed = original.users(node).iter().any(|user| queries(user) || keys(user));
    let turned = turns(&node) || read(&node).iter().any(turns);
    let behind = original.nodes().find_map(|(other, entry)| match entry.op()? {
        (norm @ Op::RmsNorm(_), [x]) if turns(x) && original.shape(other) == original.shape(node) => {
            Some(norm)
        }
        _ => None,
    });
    let y = of.add(g);
    match rope {
        Some(rope) if placed && !turned => {
            let y = g.rope(y, None, rope);
            behind.map_or(y, |norm| g.op(norm.clone(), &[y]))
        }
        _ => y,
    }
}

/// What a node is made from stands for it.
fn without(g: &mut Graph, of: Of<'_>, names: &[&str]) -> Node {
    if names.iter().any(|name| of.is(name)) { of.inputs[0] } else { of.add(g) }
}

fn without_bias(g: &mut Graph, mut of: Of<'_>, names: &[&str]) -> Node {
    if matches!(of.op, Op::Linear(_)) && names.iter().any(|name| of.is(name)) {
        of.inputs.truncate(2);
    }
    of.add(g)
}

/// A trial for each mistake of each model; one that is ignored where the mistake is neither among these nor one of weights.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for folder in entries(&fixtures().join("models")) {
        let path = folder.join("model-f32.gguf");
        let Ok(expected) = json(&folder.join("expected.json")) else { continue };
        if unknown(&path).is_some() {
            continue;
        }
        let model = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for (name, moves) in expected["sensitivity"].as_object().into_iter().flatten() {
            let Some(moves) = moves[0].as_f64() else { continue };
            let (what, path) = (format!("{model} notices: {name}"), path.clone());
            let moves = if OTHERWISE.contains(&(&model, name)) { None } else { Some(moves) };
            let ours = OF_MODELS.iter().find(|(of, known, _)| *of == model && known == name);
            let ours = ours.map_or(name.as_str(), |of| of.2).to_string();
            let mistake = MISTAKES.iter().find(|(known, _)| *known == ours).map(|(_, mistake)| *mistake);
            trials.push(match mistake.is_some() || altered::knows(&ours) {
                true => {
                    let as_is: Mistake = |g, of| of.add(g);
                    Trial::test(what, move || notices(&path, &ours, mistake.unwrap_or(as_is), moves))
                }
                false => Trial::test(format!("{what} (no such mistake is written down)"), || Ok(()))
                    .with_ignored_flag(true),
            });
        }
    }
    trials
}

/// `moves`: by how much logits are apart, where that is known.
fn notices(path: &Path, name: &str, mistake: Mistake, moves: Option<f64>) -> Outcome {
    let apart = Golden::read(path)?.apart(&altered::file(path, name)?, mistake)?;
    match moves {
        Some(moves) if (apart - moves).abs() > NEAR * moves.max(0.1) => {
            Err(format!("logits are {apart} apart, expected {moves}").into())
        }
        None if apart < NOTICED => {
            Err(format!("logits are {apart} apart, expected {NOTICED} at least").into())
        }
        _ => Ok(()),
    }
}
