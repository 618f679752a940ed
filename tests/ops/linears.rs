//! Cases of linears.

use wgllm::graph::Node;
use wgllm::ops::Index;

use crate::cases::{self, Linear};
use crate::groups::input;
use crate::small_graph::{SmallGraph, format};
use crate::steps::activations;

/// Products with every format, of all rows and of those asked for.
pub fn linear(s: &mut SmallGraph) {
    let all = linear_of(s, cases::linear());
    // Weights that are parts of one tensor, and one that spans several bindings of 1 MiB.
    let q8 = format("Q8_0");
    let tensor = s.tensor(q8, 45, 64);
    for (first, n) in [(0, 5), (5, 33), (38, 7)] {
        let w = s.rows_of(&tensor, q8, first, n, 64);
        let y = s.graph.linear(of(&all, 64), w, None);
        s.graph.name(y, &format!("linear of rows {first} to {} of Q8_0 [45, 64]", first + n - 1));
    }
}

/// Of each kind of unit one: on matrix units each is multiplied by several kernels, which software takes a second each to make.
pub fn linear_of_units(s: &mut SmallGraph) {
    let kinds = cases::UNITS.into_iter().zip([33, 65, 33, 65]);
    let cases =
        cases::linear().into_iter().filter(|c| kinds.clone().any(|kind| kind == (c.format.name, c.n)));
    linear_of(s, cases.collect());
}

/// The cases and what they are given.
fn linear_of(s: &mut SmallGraph, cases: Vec<Linear>) -> Vec<(usize, Node)> {
    let all = inputs(s, cases.iter().map(|c| c.cols));
    let outputs: Vec<(usize, Node)> = all.iter().map(|&(c, x)| (c, s.graph.output_rows(x))).collect();
    let f32 = format("F32");
    for Linear { format, n, cols, bias } in cases {
        let w = s.weight(format, n, cols);
        let b = bias.then(|| s.weight(f32, 1, n));
        for (inputs, which) in [(&all, ""), (&outputs, " of the rows asked for")] {
            let y = s.graph.linear(of(inputs, cols), w, b);
            let with = if bias { " + b" } else { "" };
            s.graph.name(y, &format!("linear {} [{n}, {cols}]{with}{which}", format.name));
        }
    }
    all
}

/// Products with and rows of tables that are longer than a dimension of workgroups.
pub fn vocabulary(s: &mut SmallGraph) {
    const N: usize = 70_001;
    let f32 = format("F32");
    let table = s.weight(format("F16"), N, 12);
    let y = s.graph.embed(table, Index::Token);
    s.graph.name(y, "embed F16 of 12");
    let wide = s.weight(f32, 1501, 288); // two bindings of 1 MiB
    let bias = s.weight(f32, 1, 1501);
    let long = s.table(N, 288 / 32, |_, random, row| row.fill(random.unit() - 0.5));
    let y = s.graph.embed(long, Index::Token);
    s.graph.name(y, "embed F32 of 9");
    let x = {
        let table = s.table(3, 288, activations);
        s.graph.embed(table, Index::Position)
    };
    let y = s.graph.linear(x, wide, Some(bias));
    s.graph.name(y, "linear F32 [1501, 288] + b");
    let table = s.weight(format("Q8_0"), N, 32);
    let x = s.graph.embed(table, Index::Token);
    s.graph.name(x, "embed Q8_0 of 32");
    let last = s.graph.output_rows(x);
    let q4 = s.weight(format("Q4_0"), N, 32);
    let y = s.graph.linear(last, q4, None);
    s.graph.name(y, "linear Q4_0 [70001, 32]");
    let y = s.graph.linear(last, table, None);
    s.graph.name(y, "linear Q8_0 [70001, 32], tied");
}

/// 31 rows of 70,001 results by a kernel that takes some of them to a workgroup.
pub fn folded(s: &mut SmallGraph) {
    let x = input(s, 4);
    let x = s.graph.output_rows(x);
    let w = s.weight(format("F32"), 70_001, 4);
    s.graph.linear(x, w, None);
}

/// A node for each number of columns that rows of activations are needed in.
fn inputs(s: &mut SmallGraph, cols: impl Iterator<Item = usize>) -> Vec<(usize, Node)> {
    let mut made: Vec<(usize, Node)> = Vec::new();
    for cols in cols {
        if made.iter().all(|(c, _)| *c != cols) {
            made.push((cols, input(s, cols)));
        }
    }
    made
}

fn of(inputs: &[(usize, Node)], cols: usize) -> Node {
    inputs.iter().find(|(c, _)| *c == cols).map(|(_, node)| *node).unwrap_or_else(|| panic!("no x of {cols}"))
}
