//! The steps that groups run: how many rows, at which positions of which slots, with which kind of numbers.

use std::ops::Range;

use wgllm::graph::{Row, Step};

use crate::blocks::Random;
use crate::cases::ROWS;

/// The rows of a table of activations: which hold what kind of numbers.
pub const ORDINARY: Range<u32> = 0..271;
/// Where exp is about to overflow or to vanish.
pub const EDGES: Range<u32> = 271..275;
/// ±10,000.
pub const LARGE: Range<u32> = 275..279;
/// Zeros of both signs.
pub const ZERO: Range<u32> = 279..281;
/// Subnormal and tiny numbers between ordinary ones: an adapter may take the former for zeros.
pub const TINY: Range<u32> = 281..285;
/// Far beyond f16, and far below it.
pub const HUGE: Range<u32> = 285..287;
pub const FAINT: Range<u32> = 287..289;
/// Rows of a table.
pub const TABLE: usize = 289;

/// The kinds, by name.
pub const KINDS: &[(&str, Range<u32>)] =
    &[("ordinary", ORDINARY), ("±88", EDGES), ("±10,000", LARGE), ("zeros", ZERO), ("tiny", TINY)];

/// Fills row `r` of a table of activations.
pub fn activations(r: usize, random: &mut Random, row: &mut [f32]) {
    let r = r as u32;
    for (c, x) in row.iter_mut().enumerate() {
        let sign = if random.bits() & 1 == 0 { 1.0 } else { -1.0 };
        let near = 1.0 + 0.01 * random.unit();
        *x = match () {
            () if EDGES.contains(&r) => sign * [88.0, 87.3, 104.0, 20.0][random.bits() as usize % 4] * near,
            () if LARGE.contains(&r) => sign * 1e4 * near,
            () if HUGE.contains(&r) => sign * 1e20 * near,
            () if FAINT.contains(&r) => sign * 1e-20 * near,
            () if ZERO.contains(&r) => sign * 0.0,
            // With a first 1, so that there is something to measure an error by.
            () if TINY.contains(&r) && c == 0 => sign,
            () if TINY.contains(&r) => sign * [1e-40, 1e-30, 1.0, 0.0][random.bits() as usize % 4],
            // Four uniform numbers: deviation 1, about.
            () => 1.7 * (0..4).map(|_| random.unit() - 0.5).sum::<f32>(),
        };
    }
}

/// `count` rows of slot 0 from position `first` on, with tokens from `kind`.
pub fn rows(kind: &Range<u32>, count: usize, slot: u32, first: usize) -> Vec<Row> {
    let token = |r: usize| kind.start + (r * 7 + first * 3) as u32 % (kind.end - kind.start);
    (0..count).map(|r| Row { token: token(r), slot, position: (first + r) as u32 }).collect()
}

/// All numbers of rows; asked for are all of them, backwards, and of many a few.
pub fn by_rows() -> Vec<(String, Step)> {
    let mut steps = Vec::new();
    for &count in ROWS {
        let last = count as u32 - 1;
        let all: Vec<u32> = (0..count as u32).rev().collect();
        let outputs = if count <= 9 || count == 33 { all } else { vec![last, 0, last / 2, last] };
        steps.push((format!("{count} rows"), Step { rows: rows(&ORDINARY, count, 0, 0), outputs }));
    }
    steps.push(("nothing asked".into(), Step { rows: rows(&ORDINARY, 3, 0, 5), outputs: Vec::new() }));
    steps
}

/// One row, some, and more than a workgroup has invocations.
pub fn few_rows() -> Vec<(String, Step)> {
    let step = |count: usize| Step { rows: rows(&ORDINARY, count, 0, 0), outputs: vec![0] };
    [1, 2, 7, 65].map(|count| (format!("{count} rows"), step(count))).into()
}

/// One row, some, and many, more than one tile's.
pub fn expert_rows() -> Vec<(String, Step)> {
    let step = |count: usize| Step { rows: rows(&ORDINARY, count, 0, 0), outputs: vec![0] };
    [1, 7, 66, 130].map(|count| (format!("{count} rows"), step(count))).into()
}

/// Many rows, of every kind of numbers, among them such as f16 has no room for; a few of them are asked for.
pub fn many_rows() -> Vec<(String, Step)> {
    let kinds = KINDS.iter().chain(&[("±1e20", HUGE), ("±1e-20", FAINT)]);
    let step = |count, kind: &Range<u32>| Step { rows: rows(kind, count, 0, 0), outputs: vec![0, 64] };
    let of_kind = kinds.map(|(name, kind)| (format!("65 rows, {name}"), step(65, kind)));
    let of_size = [66, 128, 129, 257].map(|count| (format!("{count} rows"), step(count, &ORDINARY)));
    of_kind.chain(of_size).collect()
}

/// The same, and rows around the edges of narrower tiles.
pub fn on_matrix_units() -> Vec<(String, Step)> {
    [many_rows(), around_edges(&[2, 7, 8, 9, 16, 17, 33, 64, 127])].concat()
}

/// The counts that those leave out.
pub fn further_counts() -> Vec<(String, Step)> {
    around_edges(&[3, 15, 31, 32, 63, 65])
}

/// So many rows of one slot, and as many of a slot each.
fn around_edges(counts: &[usize]) -> Vec<(String, Step)> {
    let mut steps = Vec::new();
    for &count in counts {
        let outputs: Vec<u32> = (0..count as u32).rev().take(33).collect();
        steps.push((
            format!("{count} rows"),
            Step { rows: rows(&ORDINARY, count, 0, 0), outputs: outputs.clone() },
        ));
        if count <= 64 {
            let of_slots = (0..count).flat_map(|slot| rows(&ORDINARY, 1, slot as u32, slot)).collect();
            steps.push((format!("{count} rows of as many slots"), Step { rows: of_slots, outputs }));
        }
    }
    steps
}

/// Some numbers of rows of every kind of numbers.
pub fn by_kind() -> Vec<(String, Step)> {
    let mut steps = Vec::new();
    for (name, kind) in KINDS {
        for count in [1, 2, 7, 33, 65] {
            let rows = rows(kind, count, 0, 0);
            steps.push((format!("{count} rows, {name}"), Step { rows, outputs: vec![0] }));
        }
    }
    steps
}

/// Positions near and far, alone and together.
pub fn by_position() -> Vec<(String, Step)> {
    let at = |p: &u32| Row { token: p % ORDINARY.end, slot: 0, position: *p };
    let positions: [u32; 12] = [0, 1, 2, 31, 32, 33, 255, 1_000, 32_768, 65_535, 65_536, 100_000];
    let mut steps: Vec<(String, Step)> = positions
        .iter()
        .map(|p| (format!("position {p}"), Step { rows: vec![at(p)], outputs: vec![0] }))
        .collect();
    let step = Step { rows: positions.iter().map(at).collect(), outputs: vec![0] };
    steps.push(("all positions".into(), step));
    steps
}

/// Two sequences: chunks and single rows across the edges of tiles, alone and mixed.
pub fn sequences() -> Vec<(String, Step)> {
    let mut steps = Vec::new();
    let mut push = |rows: Vec<Row>| {
        let ends: Vec<String> = rows.iter().map(|r| format!("{}/{}", r.slot, r.position)).collect();
        let label = format!("{} rows to slot/position {}", rows.len(), ends.last().map_or("", |e| e));
        steps.push((label, Step { rows, outputs: vec![0] }));
    };
    let mut at = 0;
    for count in [1, 1, 28, 1, 1, 1, 1, 28, 1, 1, 1, 1, 65, 126, 1, 1] {
        push(rows(&ORDINARY, count, 0, at));
        at += count;
    }
    // The other slot begins in between: a chunk of it beside a row that goes on, in both orders.
    push([rows(&ORDINARY, 1, 0, at), rows(&ORDINARY, 3, 1, 0)].concat());
    push([rows(&ORDINARY, 30, 1, 3), rows(&ORDINARY, 1, 0, at + 1)].concat());
    push([rows(&ORDINARY, 1, 1, 33), rows(&ORDINARY, 1, 0, at + 2)].concat());
    push(rows(&ORDINARY, 1, 1, 34));
    push(rows(&ORDINARY, 1, 0, at + 3));
    steps
}

/// Steps of many rows whose runs end around the edges of chunks of 32: of one slot and of several, which begin, go on and begin again; the longest of `most`.
pub fn chunks(most: usize) -> Vec<(String, Step)> {
    let mut steps = Vec::new();
    let mut at = [0usize; 4];
    for runs in [
        &[(0, 65)][..],
        &[(0, 1)],
        &[(0, 96), (1, 1)],
        &[(1, 31), (0, 33), (2, 5)],
        &[(2, 1), (0, 1), (1, 1), (3, 64)],
        &[(3, 127)],
        &[(0, 32), (2, 32), (1, 32)],
        &[(3, 7), (1, 90), (0, 2), (2, 160)],
        &[(2, most)],
        &[(2, 65)],
        &[(1, 3)],
    ] {
        let mut all = Vec::new();
        for &(slot, count) in runs {
            all.extend(rows(&ORDINARY, count, slot, at[slot as usize]));
            at[slot as usize] += count;
        }
        steps.push((format!("runs of {runs:?}"), Step { rows: all, outputs: vec![0] }));
    }
    // Two slots begin again, one of them in the middle of a chunk.
    let again = [rows(&ORDINARY, 41, 1, at[1]), rows(&ORDINARY, 70, 0, 0), rows(&ORDINARY, 3, 3, 0)].concat();
    steps.push(("two slots begin again".into(), Step { rows: again, outputs: vec![0] }));
    steps
}

/// Entries on both sides of 65,536, where 16 bits do not reach.
pub fn far_tokens() -> Vec<(String, Step)> {
    let tokens = [[65_535, 65_536, 0], [70_000, 32_767, 32_768]];
    let row = |(i, &token): (usize, &u32)| Row { token, slot: 0, position: i as u32 };
    let mut steps = Vec::new();
    for tokens in &tokens {
        let rows: Vec<Row> = tokens.iter().enumerate().map(row).collect();
        steps.push(("1 row".into(), Step { rows: rows[..1].to_vec(), outputs: vec![0] }));
        steps.push(("3 rows".into(), Step { rows, outputs: vec![2, 0] }));
    }
    steps
}

/// As many rows, all of them asked for.
pub fn all_outputs(count: usize) -> (String, Step) {
    let outputs = (0..count as u32).collect();
    (format!("{count} rows"), Step { rows: rows(&ORDINARY, count, 0, 0), outputs })
}
