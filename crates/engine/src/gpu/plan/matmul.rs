//! Matmuls of many rows on matrix units, or else by integer dot products: how they are cut into tiles, and what becomes of their sums.
//!
//! The numbers are what an H200 did best with; benches/README.md has the measurements.

use crate::backend::Precision;
use crate::formats::Format;
use crate::gpu::caps::{Caps, Matrix};
use crate::gpu::link::Slots;
use crate::gpu::memory::weights::weight;
use crate::gpu::plan::copies::{Copy, CopyKind};
use crate::gpu::plan::dispatch::{Dispatch, Extent, RowRange};
use crate::gpu::plan::groups::{Matmul, Then, eps, inputs, op, runs};
use crate::gpu::plan::kernels::{activation, matvec_constants};
use crate::gpu::plan::lanes;
use crate::gpu::plan::lower::{biases, bundle, kind_of, read_copy};
use crate::gpu::plan::matmul_few;
use crate::gpu::plan::{Arithmetic, Launch, Operand, Planner, RowClass, WeightRead};
use crate::graph::Rows;
use crate::ops::Op;

/// Rows that tiles are chosen for: those of a step of a long prompt.
const TYPICAL_ROWS: u32 = 512;

/// Rows and columns of w from which on two tiles are asked for ahead, of weights in floats: those take longer to come than a tile to be multiplied.
const FAR: [usize; 2] = [6144, 4096];

/// Rows of x and of w that a workgroup multiplies by integer dot products (`wgsl/matmul_int8.wgsl`).
pub const INTEGER_ROWS: u32 = 32;
pub const INTEGER_COLUMNS: u32 = 128;

/// That no clamp acts on a gate and its factor.
const UNCLAMPED: [(&str, f64); 3] = [("CLAMPED", 0.0), ("LIMIT", 0.0), ("SHIFT", 0.0)];

/// Steps of many rows that the tiles of `matmul_few` multiply, and those that the ones here do.
fn shorter_and_longer(caps: &Caps) -> [RowRange; 2] {
    // Steps of tests are small, and both kinds of tiles are met there.
    let short = if caps.matrix == Some(Matrix::Emulated) { 256 } else { caps.policy.short };
    [RowRange { from: 0, to: short }, RowRange { from: short + 1, to: u32::MAX }]
}

/// A tile of a workgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Rows of x.
    pub rows: u32,
    /// Rows of w.
    pub columns: u32,
    /// Columns of both.
    pub depth: u32,
    /// Matrices of w's rows that a subgroup multiplies; of x's it has two.
    pub parts: u32,
    /// Weights that an invocation decodes at a time, if a unit has as many.
    pub held: u32,
}

/// The best first, where they all have enough workgroups. The last one is for 16 KiB of workgroup memory.
pub const TILES: [Tile; 4] = [
    Tile { rows: 128, columns: 128, depth: 64, parts: 4, held: 64 },
    Tile { rows: 64, columns: 128, depth: 64, parts: 2, held: 64 },
    Tile { rows: 64, columns: 64, depth: 64, parts: 2, held: 32 },
    Tile { rows: 32, columns: 64, depth: 32, parts: 2, held: 32 },
];

impl Tile {
    /// Invocations of a workgroup.
    pub fn invocations(&self, caps: &Caps, matrix: Matrix) -> u32 {
        let size = matrix.size();
        self.rows / (2 * size) * (self.columns / (self.parts * size)) * matrix.subgroup(caps)
    }

    /// Bytes of workgroup memory.
    fn bytes(&self, caps: &Caps, matrix: Matrix) -> u32 {
        let stage = self.invocations(caps, matrix) / 32 * matrix.size() * matrix.size() * 4;
        (self.rows + self.columns) * (self.depth + 8) * 2 + stage
    }

    /// Whether an adapter can run it; an invocation has room for 32 numbers of x and 64 weights.
    pub fn fits(&self, caps: &Caps, matrix: Matrix) -> bool {
        let invocations = self.invocations(caps, matrix);
        invocations <= caps.invocations
            && self.rows * self.depth <= 32 * invocations
            && self.columns * self.depth <= 64 * invocations
            && self.bytes(caps, matrix) <= caps.workgroup_bytes
    }

    /// The numbers of a kernel that multiplies such tiles.
    pub fn constants(&self, caps: &Caps, matrix: Matrix) -> Vec<(&'static str, f64)> {
        let mut constants = vec![
            ("ROWS", self.rows as f64),
            ("COLUMNS", self.columns as f64),
            ("DEPTH", self.depth as f64),
            ("PARTS", self.parts as f64),
            ("HELD", self.held as f64),
            ("WORKGROUP", self.invocations(caps, matrix) as f64),
        ];
        if matrix != Matrix::Emulated {
            constants.extend(caps.subgroup_constant());
        }
        constants
    }

    /// The tile for `columns` rows of w.
    fn choose(caps: &Caps, matrix: Matrix, columns: u32) -> Option<Tile> {
        let mut fitting = TILES.into_iter().filter(|tile| tile.fits(caps, matrix)).peekable();
        let groups = |t: &Tile| columns.div_ceil(t.columns) * TYPICAL_ROWS.div_ceil(t.rows);
        while let Some(tile) = fitting.next() {
            if groups(&tile) >= caps.policy.workgroups
                || fitting.peek().is_none_or(|next| next.depth < tile.depth)
            {
                return Some(tile);
            }
        }
        None
    }
}

/// Tiles that are asked for ahead, over `rows` rows of `cols` weights.
fn ahead(matrix: Matrix, format: &Format, [cols, rows]: [usize; 2]) -> u32 {
    // Those of tests are small.
    let far = matrix == Matrix::Emulated || rows >= FAR[0] && cols >= FAR[1];
    1 + (far && !format.integer) as u32
}

/// Whether a group's matmul is computed here.
pub fn fits(s: &Planner<'_>, m: &Matmul) -> bool {
    let runs = runs(s.graph, m);
    let copied = |run: &Vec<usize>| {
        let w = weight(s.graph, inputs(s.graph, m.linears[run[0]])[1]);
        let kept = match s.caps.matrix {
            // Weights in f32 are not to be rounded.
            Some(_) => w.format.name != "F32",
            None => !lanes::fits(s) && kind_of(s, w, true) == CopyKind::I8,
        };
        kept && bundle(s, m, run).is_some()
    };
    let tile = match s.class {
        RowClass::One | RowClass::Few => false,
        RowClass::Several => matmul_few::fits(s.caps),
        RowClass::Many => s.caps.matrix.is_none_or(|matrix| Tile::choose(s.caps, matrix, 1).is_some()),
    };
    // Where several runs fill a row, each begins at a whole vector.
    let aligned = m.linears.iter().all(|&l| s.graph.shape(l).cols.is_multiple_of(4));
    s.precision == Precision::Fast
        && tile
        && (runs.len() == 1 || matches!(m.then, Then::Heads(_)) && aligned)
        && runs.iter().all(copied)
}

/// The launches that make the f16 copy of a value, or of what a norm makes of it: one for each layout, of which a step runs one.
pub fn halves(s: &Planner<'_>, copy: Copy) -> Vec<Launch> {
    let shape = s.graph.shape(copy.source);
    let norm = copy.norm();
    // Output rows are chosen here.
    let chosen_from = match op(s.graph, copy.source) {
        Some(Op::Select(_)) => Some(inputs(s.graph, copy.source)[0]),
        _ => None,
    };
    let output_rows = match (chosen_from, shape.rows) {
        (Some(_), _) => 2.0,
        (None, Rows::Outputs) => 1.0,
        _ => 0.0,
    };
    let x = chosen_from.unwrap_or(copy.source);
    let constants = vec![
        ("COLS", copy.cols(s.graph) as f64),
        ("STRIDE", s.graph.shape(x).stride() as f64),
        ("SHARES", copy.shares as f64),
        ("OUTPUT_ROWS", output_rows),
        ("OUT_STRIDE", copy.stride(s.graph) as f64),
        ("NORM", norm.is_some() as u32 as f64),
        ("EPS", eps(s.graph, copy.norm()).unwrap_or(0.0)),
        ("WORKGROUP", s.caps.invocations.min(256) as f64),
    ];
    let weight = norm.map_or(Operand::Nothing, |n| Operand::Vector(inputs(s.graph, n)[1]));
    let launch = |(matrices, within): (bool, RowRange)| {
        let mut constants = constants.clone();
        constants.push(("MATRICES", matrices as u32 as f64));
        Launch {
            nodes: Vec::new(),
            dispatch: Dispatch {
                kernel: "halves",
                constants,
                extent: Extent::RowTiles { rows: shape.rows, tile: 1, each: copy.shares as u32, within },
            },
            operands: vec![
                (0, Operand::Step),
                (1, Operand::Value(x)),
                (6, weight),
                (7, Operand::ActivationCopy(copy)),
            ],
            weight: None,
            slots: s.slots(None),
            arithmetic: Arithmetic::F32,
        }
    };
    let layouts = match (copy.kind, s.class) {
        (CopyKind::F16Matrices, RowClass::Many) => {
            let [shorter, longer] = shorter_and_longer(s.caps);
            vec![(true, shorter), (false, longer)]
        }
        (kind, _) => vec![(kind == CopyKind::F16Matrices, RowRange::ALL)],
    };
    layouts.into_iter().map(launch).collect()
}

/// The launches of a group of one run that leaves one value behind: one for each kind of tile, of which a step runs one.
pub fn launches(s: &Planner<'_>, m: &Matmul) -> Vec<Launch> {
    let g = s.graph;
    let Some(value) = m.value() else { panic!("a group of one run has one value") };
    let (mut then, mut act, mut residual) = (0.0, 0.0, Operand::Nothing);
    match &m.then {
        Then::Keep | Then::Convolve(_) | Then::Heads(_) => {}
        Then::Add { residual: to, .. } => (then, residual) = (1.0, Operand::Value(*to)),
        Then::Activate { node, .. } | Then::Glu(node) => {
            (then, act) = match op(g, *node) {
                Some(Op::Gate(gate)) => (3.0, activation(gate.act)),
                Some(Op::Unary(unary)) => (2.0, activation(unary.act)),
                _ => panic!("an activation is a gate or a function"),
            };
        }
    }
    let all: Vec<usize> = (0..m.linears.len()).collect();
    let places = [0.0, g.shape(value).stride() as f64];
    let mut launches = products(s, m, &all, Operand::Value(value), places);
    for launch in &mut launches {
        launch.dispatch.constants.extend([("THEN", then), ("ACT", act)]);
        launch.dispatch.constants.extend(UNCLAMPED);
        launch.operands.push((4, residual));
        launch.nodes = m.nodes();
    }
    launches
}

/// The launches of a run whose sums are kept in `scratch`: where the first of them goes in a row, and words from a row to the next.
pub fn projections(
    s: &Planner<'_>,
    m: &Matmul,
    run: &[usize],
    scratch: Operand,
    places: [f64; 2],
) -> Vec<Launch> {
    let mut launches = products(s, m, run, scratch, places);
    for launch in &mut launches {
        launch.dispatch.constants.extend([("THEN", 0.0), ("ACT", 0.0)]);
        launch.dispatch.constants.extend(UNCLAMPED);
        launch.operands.push((4, Operand::Nothing));
    }
    launches
}

fn products(
    s: &Planner<'_>,
    m: &Matmul,
    run: &[usize],
    y: Operand,
    [first, stride]: [f64; 2],
) -> Vec<Launch> {
    let (Some((first_row, read)), Some(copy)) = (bundle(s, m, run), read_copy(s, m, run)) else {
        panic!("a group that fits reads a copy, and its weights lie together")
    };
    let matrix = &s.layout.matrices[read.matrix];
    if copy.kind == CopyKind::I8 {
        return vec![integer_product(s, m, (first_row, read), copy, y, [first, stride])];
    }
    let rows = s.graph.shape(m.linears[0]).rows;
    let dispatches = match s.class {
        RowClass::Several => matmul_few::shapes(s.caps, [matrix.cols, read.rows, first_row], rows),
        _ => shapes(s.caps, matrix.format, [matrix.cols, read.rows, first_row]),
    };
    let (bias, has_bias) = biases(s.graph, m);
    let units = s.caps.matrix;
    let slots = Slots {
        tiles: Some("own"),
        matrix: units.map(Matrix::stem),
        subgroups: s.caps.subgroups && units != Some(Matrix::Emulated),
        ..s.slots(Some(matrix.format.wgsl))
    };
    let x = Operand::ActivationCopy(copy);
    let launch = |mut dispatch: Dispatch| {
        dispatch.constants.extend([("FIRST_OUT", first), ("OUT_STRIDE", stride), ("BIAS", has_bias)]);
        Launch {
            nodes: Vec::new(),
            dispatch,
            operands: vec![(0, Operand::Step), (1, x), (2, y), (3, bias), (5, x)],
            weight: Some(read),
            slots,
            arithmetic: Arithmetic::F16,
        }
    };
    dispatches.into_iter().map(launch).collect()
}

/// The same by integer dot products.
fn integer_product(
    s: &Planner<'_>,
    m: &Matmul,
    (first_row, read): (usize, WeightRead),
    copy: Copy,
    y: Operand,
    [first, stride]: [f64; 2],
) -> Launch {
    let matrix = &s.layout.matrices[read.matrix];
    let (bias, has_bias) = biases(s.graph, m);
    let mut constants = matvec_constants(matrix.cols, read.rows, first_row);
    constants.extend([
        ("X_STRIDE", copy.kind.stride(matrix.cols) as f64),
        ("FIRST_OUT", first),
        ("OUT_STRIDE", stride),
        ("BIAS", has_bias),
        ("NORM", copy.norm().is_some() as u32 as f64),
        ("EPS", eps(s.graph, copy.norm()).unwrap_or(0.0)),
    ]);
    constants.extend(s.caps.subgroup_constant());
    let each = (read.rows as u32).div_ceil(INTEGER_COLUMNS);
    let extent = Extent::RowTiles { rows: Rows::Step, tile: INTEGER_ROWS, each, within: RowRange::ALL };
    Launch {
        nodes: Vec::new(),
        dispatch: Dispatch { kernel: "matmul_int8", constants, extent },
        operands: vec![(0, Operand::Step), (1, Operand::ActivationCopy(copy)), (2, y), (3, bias)],
        weight: Some(read),
        slots: Slots { input: Some("i8"), tiles: Some("own"), ..s.slots(Some(matrix.format.wgsl)) },
        arithmetic: Arithmetic::Int8,
    }
}

/// The dispatches for any number of rows, of which one runs, over `rows` rows of `cols` weights from row `first` of what is bound on.
fn shapes(caps: &Caps, format: &Format, [cols, rows, first]: [usize; 3]) -> Vec<Dispatch> {
    let [shorter, longer] = shorter_and_longer(caps);
    let short = matmul_few::short(caps, [cols, rows, first], shorter);
    let chosen = caps.matrix.and_then(|m| Some((m, Tile::choose(caps, m, rows as u32)?)));
    let Some((matrix, tile)) = chosen else { panic!("what fits has a tile") };
    let mut constants = matvec_constants(cols, rows, first);
    constants.push(("X_STRIDE", CopyKind::F16.stride(cols) as f64));
    constants.push(("AHEAD", ahead(matrix, format, [cols, rows]) as f64));
    constants.extend(tile.constants(caps, matrix));
    let each = (rows as u32).div_ceil(tile.columns);
    let within = if short.is_empty() { RowRange::ALL } else { longer };
    let extent = Extent::RowTiles { rows: Rows::Step, tile: tile.rows, each, within };
    short.into_iter().chain([Dispatch { kernel: "matmul_matrix", constants, extent }]).collect()
}
