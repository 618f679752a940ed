//! A norm and the residual that it is added to, made by the matvec that reads their sum first: of one row each of its workgroups makes the sum for itself, and
//! there are few and large ones, which takes less time than a dispatch that all of them wait for.

use crate::gpu::memory::weights::weight;
use crate::gpu::plan::copies::{Copies, Copy, CopyKind};
use crate::gpu::plan::dispatch::{Dispatch, Extent};
use crate::gpu::plan::groups::{Matmul, Norm, Then};
use crate::gpu::plan::groups::{inputs, is_of_file, is_of_rows, only_user, op, residual, runs};
use crate::gpu::plan::lower::{WORKGROUP, is_whole, kind, pairs, writes_copy};
use crate::gpu::plan::matvec;
use crate::gpu::plan::{Arithmetic, Launch, Operand, Planner, RowClass};
use crate::graph::{Graph, Node};
use crate::ops::Op;

/// Storage buffers of such a matvec at most: not every adapter has more than ten.
const BUFFERS: u32 = 15;

/// Bytes of workgroup memory of 16 numbers, in integers and in f32; of what a team sums up; of an invocation that writes a copy; and of everything else in a
/// matvec.
const BLOCK_BYTES: [usize; 2] = [28, 68];
const TEAM_BYTES: u32 = 16;
const COPY_BYTES: u32 = 8;
const OTHER_BYTES: usize = 256;

/// Numbers of a block.
const BLOCK: usize = 16;

/// The sum that `linears` read, through `norm` or as it is, where it is one of a norm and a residual, maybe times a number of the file, and nobody reads it
/// before they do.
pub fn find(g: &Graph, linears: &[Node], norm: Option<Node>) -> Option<Norm> {
    let x = *inputs(g, *linears.first()?).first()?;
    let value = norm.map_or(x, |norm| inputs(g, norm)[0]);
    let scale = Some(value).filter(|&value| is_of_file(g, value));
    let sum = scale.map_or(value, |scale| inputs(g, scale)[0]);
    let Some(Op::Add(_)) = op(g, sum) else { return None };
    if scale.is_some() && only_user(g, sum) != scale {
        return None;
    }
    let of = |&norm: &Node| {
        let alone = is_of_rows(g, norm) && only_user(g, norm) == Some(sum);
        let residual = residual(g, sum, norm).filter(|_| alone)?;
        Some(Norm { norm, add: Some([sum, residual]), scale })
    };
    let found = inputs(g, sum).iter().find_map(of)?;
    let last = *linears.iter().max()?;
    let reads = |&user: &Node| linears.contains(&user);
    let first = |&user: &Node| Some(user) == norm || reads(&user) || user > last;
    let fits = norm.is_none_or(|norm| g.users(norm).iter().all(reads))
        && g.users(value).iter().all(first)
        && value != g.output();
    fits.then_some(found)
}

/// The sum that a matmul makes for itself, if it does.
pub fn joined<'a>(s: &Planner<'_>, m: &'a Matmul) -> Option<&'a Norm> {
    let sum = m.sum.as_ref()?;
    let cols = s.graph.shape(sum.value()).cols;
    // Whether activations are integers is whether weights are: there are no more kernels than that.
    let integer = |run: &[usize]| {
        let format = weight(s.graph, inputs(s.graph, m.linears[run[0]])[1]).format;
        (kind(s, m, run) == CopyKind::I8) == format.integer
    };
    let fits_memory = |run: &[usize]| {
        let of = |i: usize| weight(s.graph, inputs(s.graph, m.linears[i])[1]);
        let rows = run.iter().map(|&i| of(i).rows).sum();
        let made = matvec::made(s.caps, of(run[0]).format, cols, rows, pairs(s.graph, m));
        let others = (TEAM_BYTES * made.pairs * made.split + COPY_BYTES * made.width) as usize + OTHER_BYTES;
        let block = BLOCK_BYTES[(kind(s, m, run) != CopyKind::I8) as usize];
        cols.div_ceil(BLOCK) * block + others <= s.caps.workgroup_bytes as usize
    };
    let bytes = |&linear: &Node| weight(s.graph, inputs(s.graph, linear)[1]).bytes().len();
    let fits = s.class == RowClass::One
        && matches!(m.then, Then::Heads(_) | Then::Activate { .. } | Then::Glu(_))
        && s.caps.subgroups
        && s.caps.subgroup_size_fixed
        && !s.caps.software
        && s.caps.storage_buffers >= BUFFERS
        && cols.is_multiple_of(BLOCK)
        && is_whole(s, m)
        && runs(s.graph, m).iter().all(|run| integer(run) && fits_memory(run))
        && !s.caps.policy.is_large(m.linears.iter().map(bytes).sum());
    fits.then_some(sum)
}

/// The copy of what is added, which the matvec reads.
pub fn copy(g: &Graph, sum: &Norm) -> Copy {
    Copy::new(sum.norm, inputs(g, sum.norm)[0], CopyKind::F32)
}

/// Lets the matvec of a run make the sum, and the one of the first run keep it.
pub fn read(s: &Planner<'_>, m: &Matmul, run: &[usize], sum: &Norm, launch: &mut Launch) {
    let g = s.graph;
    let (Some(Op::RmsNorm(rms)), Some([add, residual])) = (op(g, sum.norm), sum.add) else {
        panic!("RMS norms are added to a residual")
    };
    let kept = run[0] == 0;
    launch.dispatch.constants.extend([
        ("SUM_EPS", rms.eps as f64),
        ("SUM_SCALED", sum.scale.is_some() as u32 as f64),
        ("KEPT", kept as u32 as f64),
    ]);
    let weight = m.norm.map_or(Operand::Nothing, |norm| Operand::Vector(inputs(g, norm)[1]));
    let factor = sum.scale.map_or(Operand::Nothing, |scale| Operand::Vector(inputs(g, scale)[1]));
    let value = if kept { Operand::Value(sum.value()) } else { Operand::Unwritten(m.linears[run[0]]) };
    launch.operands.extend([
        (1, Operand::ActivationCopy(copy(g, sum))),
        (9, Operand::Value(residual)),
        (10, weight),
        (11, value),
        (12, factor),
    ]);
    launch.slots.input = Some(if kind(s, m, run) == CopyKind::I8 { "summed_i8" } else { "summed_f32" });
    if kept {
        launch.nodes.extend([sum.norm, add].into_iter().chain(sum.scale));
    }
}

/// A norm and the residual that it is added to, as a dispatch.
pub fn norm_add(s: &Planner<'_>, copies: &Copies, group: &Norm, [add, residual]: [Node; 2]) -> Launch {
    let g = s.graph;
    let (norm, value) = (group.norm, group.value());
    let Some(Op::RmsNorm(rms)) = op(g, norm) else { panic!("only RMS norms are added to a residual") };
    let shape = g.shape(add);
    let factor = group.scale.map_or(Operand::Nothing, |scale| Operand::Vector(inputs(g, scale)[1]));
    let copy = Copy::new(norm, inputs(g, norm)[0], CopyKind::F32);
    let constants = vec![
        ("COLS", shape.cols as f64),
        ("X_STRIDE", copy.kind.stride(shape.cols) as f64),
        ("STRIDE", shape.stride() as f64),
        ("EPS", rms.eps as f64),
        ("SCALED", group.scale.is_some() as u32 as f64),
        ("WORKGROUP", WORKGROUP as f64),
    ];
    let each = (shape.cols as u32).div_ceil(WORKGROUP);
    let mut launch = Launch {
        nodes: [Some(norm), Some(add), group.scale].into_iter().flatten().collect(),
        dispatch: Dispatch {
            kernel: "norm_add",
            constants,
            extent: Extent::PerRow { rows: shape.rows, each },
        },
        operands: vec![
            (0, Operand::Step),
            (1, Operand::ActivationCopy(copy)),
            (2, Operand::Value(value)),
            (3, Operand::Value(residual)),
            (4, factor),
        ],
        weight: None,
        slots: s.slots(None),
        arithmetic: Arithmetic::F32,
    };
    writes_copy(g, copies, value, &mut launch);
    launch
}
