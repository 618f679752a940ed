//! Groups of cases: a graph each, with the steps that it runs.

use wgllm::backend::{Precision, RuntimeConfig};
use wgllm::formats::FORMATS;
use wgllm::gpu::Masks;
use wgllm::graph::{Node, Step};
use wgllm::ops::{Activation, AttentionShape, Clamp, Gate, Index, Pairing, RopeShape, Yarn};

use crate::adapters::HARDWARE;
use crate::cases;
use crate::experts;
use crate::linears;
use crate::recurrent;
use crate::small_graph::{SmallGraph, format};
use crate::steps::{self, TABLE, activations};

/// Nodes that run together.
pub struct Group {
    /// What they have in common.
    pub name: &'static str,
    /// Adds them.
    pub build: fn(&mut SmallGraph),
    /// What they run.
    pub steps: fn() -> Vec<(String, Step)>,
    /// For what they are prepared: with more rows than any step has, so that there is room behind every result.
    pub plan: RuntimeConfig,
    /// What they run with, one by one.
    pub variants: &'static [Variant],
    /// Whether nodes are computed as in a model, many rows of them by kernels that a node alone does not come to.
    pub grouped: bool,
}

/// How to compute, and what of an adapter is not used; and that in words.
pub type Variant = (&'static str, Precision, Masks);

const ALL: Masks = HARDWARE;
const NO_SUBGROUPS: Masks = Masks { no_subgroups: true, ..ALL };
const CHECKED: Masks = Masks { checked: true, ..ALL };
const PARTS: Masks = Masks { max_binding: Some(1 << 20), ..ALL };
const PROGRAM: Masks = Masks { as_hardware: false, ..ALL };
const IN_TWO: Masks = Masks { max_binding: Some(2 << 20), ..CHECKED };

/// Where neither precision nor subgroups make a difference.
const PLAIN: &[Variant] = &[("f32", Precision::F32, ALL), ("f32, bounds checked", Precision::F32, CHECKED)];
/// Where subgroups do.
const SUBGROUPS: &[Variant] = &[
    ("f32", Precision::F32, ALL),
    ("f32, no subgroups", Precision::F32, NO_SUBGROUPS),
    ("f32, bounds checked", Precision::F32, CHECKED),
];
/// Where there are kernels for programs, too.
const PROGRAMS: &[Variant] = &[
    ("f32", Precision::F32, ALL),
    ("f32, plans for a program", Precision::F32, PROGRAM),
    ("f32, no subgroups", Precision::F32, NO_SUBGROUPS),
    ("f32, bounds checked", Precision::F32, CHECKED),
];
/// Where both do.
const EVERY: &[Variant] = &[
    ("f32", Precision::F32, ALL),
    ("fast", Precision::Fast, ALL),
    ("fast, plans for a program, bounds checked", Precision::Fast, Masks { checked: true, ..PROGRAM }),
    ("f32, no subgroups", Precision::F32, NO_SUBGROUPS),
    ("fast, no subgroups", Precision::Fast, NO_SUBGROUPS),
    ("fast, bounds checked", Precision::Fast, CHECKED),
];

/// How rows are computed on matrix units.
const ON_MATRIX_UNITS: Variant =
    ("fast, matrix units emulated", Precision::Fast, Masks { emulated_matrices: true, ..ALL });
/// How many rows are computed.
const MANY: &[Variant] = &[
    ON_MATRIX_UNITS,
    ("fast, no matrix units", Precision::Fast, Masks { no_coop: true, ..ALL }),
    ("fast, no subgroups", Precision::Fast, NO_SUBGROUPS),
];

const PLAN: RuntimeConfig = RuntimeConfig::new(300, 1, 270, Precision::F32);

/// Products with every format. Alone they are multiplied in f32 whatever the precision.
const LINEAR: Group = Group {
    name: "linear",
    build: linears::linear,
    steps: steps::by_rows,
    plan: PLAN,
    variants: PROGRAMS,
    grouped: false,
};

/// Many rows of them, without matrix units.
const LINEAR_OF_MANY: Group = Group {
    name: "linear of many rows",
    steps: steps::many_rows,
    variants: &[
        ("fast, no matrix units", Precision::Fast, Masks { no_coop: true, ..ALL }),
        ("fast, no subgroups", Precision::Fast, NO_SUBGROUPS),
    ],
    grouped: true,
    ..LINEAR
};

/// And on them: a format of each kind of unit.
const LINEAR_ON_UNITS: Group = Group {
    name: "linear on matrix units",
    build: linears::linear_of_units,
    steps: steps::on_matrix_units,
    plan: RuntimeConfig { slots: 64, ..PLAN },
    variants: &[ON_MATRIX_UNITS],
    grouped: true,
};

/// Routes, and experts in every format.
const EXPERTS: Group = Group {
    name: "experts",
    build: experts::nodes,
    steps: steps::few_rows,
    plan: RuntimeConfig { rows: 80, ..PLAN },
    variants: &[
        ("f32", Precision::F32, ALL),
        ("f32, no subgroups", Precision::F32, NO_SUBGROUPS),
        ("f32, bindings of 1 MiB, bounds checked", Precision::F32, Masks { checked: true, ..PARTS }),
    ],
    grouped: false,
};

/// All groups but those that meet each pair of formats of keys and values.
pub const GROUPS: &[Group] = &[
    LINEAR,
    // What masks change does not depend on the format's own decoder.
    Group { name: "linear of each kind of unit", build: linears::linear_of_units, ..LINEAR },
    Group {
        name: "linear and embed, 70,001 rows",
        build: linears::vocabulary,
        steps: steps::far_tokens,
        plan: RuntimeConfig { rows: 3, ..PLAN },
        variants: &[
            ("f32", Precision::F32, ALL),
            ("f32, bindings of 1 MiB", Precision::F32, PARTS),
            ("fast, bindings of 1 MiB", Precision::Fast, PARTS),
        ],
        grouped: false,
    },
    Group {
        name: "more workgroups than one dimension takes",
        build: linears::folded,
        steps: || vec![steps::all_outputs(31)],
        plan: RuntimeConfig { rows: 60, ..PLAN },
        variants: &[("f32", Precision::F32, ALL)],
        grouped: false,
    },
    Group {
        name: "norms",
        build: norms,
        steps: steps::by_kind,
        plan: PLAN,
        variants: SUBGROUPS,
        grouped: false,
    },
    Group {
        name: "norms of heads",
        build: head_norms,
        steps: steps::by_kind,
        plan: PLAN,
        variants: SUBGROUPS,
        grouped: false,
    },
    EXPERTS,
    Group { name: "experts of each kind of unit", build: experts::nodes_of_units, ..EXPERTS },
    Group { name: "experts of 512 rows", build: experts::large_nodes, ..EXPERTS },
    Group {
        name: "experts as in a model",
        build: experts::layers,
        steps: steps::expert_rows,
        plan: RuntimeConfig { rows: 210, ..PLAN },
        variants: &[
            ("f32", Precision::F32, ALL),
            ("fast, matrix units emulated", Precision::Fast, Masks { emulated_matrices: true, ..ALL }),
            ("fast, no matrix units", Precision::Fast, Masks { no_coop: true, ..ALL }),
            ("fast, no subgroups", Precision::Fast, NO_SUBGROUPS),
            // What 210 rows are given has to lie in one.
            ("fast, bindings of 2 MiB, bounds checked", Precision::Fast, IN_TWO),
        ],
        grouped: true,
    },
    Group {
        name: "elements",
        build: elements,
        steps: steps::by_kind,
        plan: PLAN,
        variants: PLAIN,
        grouped: false,
    },
    Group {
        name: "embed and select",
        build: embed,
        steps: steps::by_rows,
        plan: PLAN,
        variants: PLAIN,
        grouped: false,
    },
    Group { name: "rope", build: rope, steps: steps::by_rows, plan: PLAN, variants: PLAIN, grouped: false },
    Group {
        name: "rope far out",
        build: rope_far,
        steps: steps::by_position,
        plan: RuntimeConfig::new(100_001, 1, 16, Precision::F32),
        variants: PLAIN,
        grouped: false,
    },
    Group {
        name: "attention",
        build: attention,
        steps: steps::sequences,
        plan: RuntimeConfig::new(300, 2, 270, Precision::F32),
        variants: EVERY,
        grouped: false,
    },
    LINEAR_OF_MANY,
    Group {
        name: "linear of many rows of each kind of unit",
        build: linears::linear_of_units,
        ..LINEAR_OF_MANY
    },
    LINEAR_ON_UNITS,
    Group { name: "linear on matrix units, further counts", steps: steps::further_counts, ..LINEAR_ON_UNITS },
    Group {
        name: "attention of many rows",
        build: attention,
        steps: steps::sequences,
        plan: RuntimeConfig::new(300, 2, 270, Precision::F32),
        variants: MANY,
        grouped: true,
    },
    Group {
        name: "states",
        build: recurrent::states,
        steps: || [steps::sequences(), steps::chunks(500)].concat(),
        plan: RuntimeConfig::new(900, 4, 540, Precision::F32),
        variants: PLAIN,
        grouped: false,
    },
    Group {
        name: "states of 2,000 rows",
        build: recurrent::states,
        steps: || steps::chunks(2_000),
        plan: RuntimeConfig::new(2_400, 4, 2_040, Precision::F32),
        variants: PLAIN,
        grouped: false,
    },
    Group {
        name: "gated norms",
        build: recurrent::gated_norms,
        steps: steps::by_kind,
        plan: PLAN,
        variants: SUBGROUPS,
        grouped: false,
    },
];

/// What runs with every pair of formats of keys and values.
pub const KEPT: Group = Group {
    name: "attention to heads of whole blocks",
    build: attention_of_blocks,
    steps: steps::sequences,
    plan: RuntimeConfig::new(300, 2, 270, Precision::F32),
    variants: PROGRAMS,
    grouped: false,
};

/// And many rows of it.
pub const KEPT_MANY: Group = Group {
    name: "attention of many rows to heads of whole blocks",
    variants: &[("fast, matrix units emulated", Precision::Fast, Masks { emulated_matrices: true, ..ALL })],
    grouped: true,
    ..KEPT
};

pub fn input(s: &mut SmallGraph, cols: usize) -> Node {
    let table = s.table(TABLE, cols, activations);
    let x = s.graph.embed(table, Index::Token);
    s.graph.name(x, &format!("embed F32 of {cols}"))
}

fn norms(s: &mut SmallGraph) {
    for &cols in cases::NORM_COLS {
        let x = input(s, cols);
        let (w, b) = (s.weight(format("F32"), 1, cols), s.weight(format("F16"), 1, cols));
        let y = s.graph.rms_norm(x, w, 1e-6);
        s.graph.name(y, &format!("rms_norm of {cols}"));
        let y = s.graph.layer_norm(x, w, Some(b), 1e-5);
        s.graph.name(y, &format!("layer_norm of {cols}"));
        let y = s.graph.layer_norm(x, w, None, 1e-5);
        s.graph.name(y, &format!("layer_norm of {cols} without bias"));
        // Behind the choice of output rows there may be more rows than the step has.
        let chosen = s.graph.output_rows(x);
        let y = s.graph.rms_norm(chosen, w, 1e-6);
        s.graph.name(y, &format!("rms_norm of {cols} of output rows"));
    }
}

fn head_norms(s: &mut SmallGraph) {
    for (heads, head_dim) in [(1, 16), (3, 32), (4, 80), (5, 256), (7, 4)] {
        let x = input(s, heads * head_dim);
        let w = s.weight(format("F32"), 1, head_dim);
        for (weight, which) in [(Some(w), ""), (None, " without weight")] {
            let y = s.graph.group_norm(x, weight, heads, 1e-6);
            s.graph.name(y, &format!("rms_norm of {heads} heads of {head_dim}{which}"));
        }
        let y = s.graph.front_norm(x, w, 1e-6);
        s.graph.name(y, &format!("rms_norm of the first {head_dim} of {}", heads * head_dim));
    }
}

fn elements(s: &mut SmallGraph) {
    for &cols in cases::ELEMENT_COLS {
        let (a, b) = (input(s, cols), input(s, cols));
        let y = s.graph.add(a, b);
        s.graph.name(y, &format!("add of {cols}"));
        let y = s.graph.scale(a, -1.5);
        s.graph.name(y, &format!("scale of {cols}"));
        let y = s.graph.softcap(a, 3.0);
        s.graph.name(y, &format!("softcap of {cols}"));
        let one = input(s, 1);
        let y = s.graph.gate(Activation::Sigmoid, one, a);
        s.graph.name(y, &format!("gate of one number a row and {cols}"));
        // A sigmoid may be too small for an adapter, and in short rows nothing else stands beside it.
        for act in Activation::ALL.into_iter().filter(|&act| cols > 3 || act != Activation::Sigmoid) {
            let y = s.graph.gate(act, a, b);
            s.graph.name(y, &format!("gate {act:?} of {cols}"));
            let y = s.graph.unary(act, a);
            s.graph.name(y, &format!("unary {act:?} of {cols}"));
        }
    }
    // In short rows all numbers may be too small for an adapter.
    for &cols in cases::ELEMENT_COLS.iter().filter(|&&cols| cols > 3) {
        let (a, b, both) = (input(s, cols), input(s, cols), input(s, 6 * cols));
        let w = s.weight(format("F32"), 1, 1);
        let y = s.graph.scale_by(a, w);
        s.graph.name(y, &format!("scale of {cols} by a weight"));
        let clamped = Gate { clamp: Some(Clamp { limit: 0.7, shift: 1.0 }), ..Activation::QuickGelu.into() };
        let y = s.graph.gate(clamped, a, b);
        s.graph.name(y, &format!("clamped gate of {cols}"));
        let y = s.graph.gate_halves(clamped, both, 3);
        s.graph.name(y, &format!("clamped gate of 3 stretches of twice {cols}"));
        for act in Activation::ALL {
            let y = s.graph.gate_halves(act, both, 3);
            s.graph.name(y, &format!("gate {act:?} of 3 stretches of twice {cols}"));
        }
    }
}

fn embed(s: &mut SmallGraph) {
    for format in FORMATS {
        for &cols in cases::cols_of(format).iter().chain(cases::cols_of(format).first()) {
            let table = s.weight(format, TABLE, cols);
            for by in [Index::Token, Index::Position] {
                let y = s.graph.embed(table, by);
                s.graph.name(y, &format!("embed {} of {cols} by {by:?}", format.name));
                let y = s.graph.output_rows(y);
                s.graph.name(y, &format!("select of {cols}"));
            }
        }
    }
}

fn turn(s: &mut SmallGraph, shape: RopeShape, factors: bool) {
    let x = input(s, 3 * shape.head_dim);
    let factors =
        factors.then(|| s.table(1, shape.rotary / 2, |_, random, f| f.fill_with(|| 1.0 + random.unit())));
    let y = s.graph.rope(x, factors, shape);
    let RopeShape { head_dim, rotary, pairing, .. } = shape;
    s.graph.name(y, &format!("rope of {rotary} of {head_dim}, {pairing:?}"));
}

fn rope(s: &mut SmallGraph) {
    for (shape, factors) in cases::rope() {
        turn(s, shape, factors);
    }
    let shape = RopeShape { scale: 0.1, ..RopeShape::new(64, 1e4, Pairing::Halves) };
    turn(
        s,
        RopeShape { magnitude: 1.3, yarn: Some(Yarn { original: 32, fast: 32.0, slow: 1.0 }), ..shape },
        false,
    );
    turn(s, RopeShape { first: 24, rotary: 40, ..shape }, true);
    let pairing = Pairing::Neighbours;
    turn(s, RopeShape { first: 16, rotary: 8, pairing, ..shape }, false);
}

/// Two shapes: the tables of 100,001 positions are long.
fn rope_far(s: &mut SmallGraph) {
    let near = cases::rope();
    for (shape, factors) in near.into_iter().filter(|(shape, _)| shape.head_dim == 32) {
        turn(s, RopeShape { base: 5e5, ..shape }, factors);
    }
}

fn attention(s: &mut SmallGraph) {
    attend(s, cases::attention());
}

fn attention_of_blocks(s: &mut SmallGraph) {
    let mut shapes = cases::attention();
    shapes.retain(|shape| shape.head_dim.is_multiple_of(32));
    attend(s, shapes);
}

fn attend(s: &mut SmallGraph, shapes: Vec<AttentionShape>) {
    for shape in shapes {
        let (q_cols, kv_cols) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
        let (q, k, v) = (input(s, q_cols), input(s, kv_cols), input(s, kv_cols));
        let caches = s.graph.store(k, v, shape);
        let sinks = s.table(1, shape.heads, |_, random, sinks| sinks.fill_with(|| 4.0 * random.unit() - 1.0));
        for (sinks, which) in [(None, ""), (Some(sinks), " with sinks")] {
            let y = s.graph.attend(q, caches, sinks, shape);
            s.graph.name(y, &format!("{shape:?}{which}"));
        }
    }
}
