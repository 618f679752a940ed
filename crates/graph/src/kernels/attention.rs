//! Attention of any rows to the keys and values of their slots, page by page.
//!
//! The query heads that share keys, of as many rows as there is room for, lie side by side in sixteen lanes: a page's scores are one
//! small matrix product, its values another. The softmax runs along: what was summed up is scaled when a larger score comes.

// Several arrays go side by side: an index says so, and compilers unroll it.
#![allow(clippy::needless_range_loop)]

use rayon::prelude::*;

use super::exp::{exp, softcap};
use super::lanes::{Instructions, Kernel, LANES, Lanes};
use super::tile::{Matrix, tiles};
use crate::graph::Row;
use crate::memory::{Kv, PAGE};
use crate::ops::{AttentionShape, CacheRows};

/// `q` and `out` are `[rows][heads · head dim]`, `sinks` one score for each head, or none. Every row attends to the positions of its slot up to
/// its own.
#[allow(clippy::too_many_arguments)]
pub(super) fn attention(
    instructions: Instructions,
    shape: &AttentionShape,
    sinks: &[f32],
    rows: &[Row],
    q: &[f32],
    keys: CacheRows<'_>,
    values: CacheRows<'_>,
    out: &mut [f32],
) {
    let (d, shared) = (shape.head_dim, shape.heads / shape.kv_heads);
    let width = shape.heads * d;
    assert!(q.len() == rows.len() * width && out.len() == q.len(), "attention: {} numbers of q", q.len());
    let all = Inputs { shape, sinks, q, keys, values };
    // With few rows each head of keys is a task of its own; else each task takes the rows that fill the lanes, and all heads.
    if rows.len() < 4 * rayon::current_num_threads() {
        out.par_chunks_mut(shared * d).enumerate().for_each(|(at, out)| {
            let (r, g) = (at / shape.kv_heads, at % shape.kv_heads);
            instructions.run(Task { all, rows: &rows[r..=r], first: r, heads: g..g + 1, out });
        });
        return;
    }
    let most = (LANES / shared).max(1);
    let mut tasks = Vec::new();
    let (mut first, mut rest) = (0, out);
    for of_slot in rows.chunk_by(|a, b| a.slot == b.slot) {
        for rows in of_slot.chunks(most) {
            let (out, behind) = rest.split_at_mut(rows.len() * width);
            tasks.push((first, rows, out));
            (first, rest) = (first + rows.len(), behind);
        }
    }
    tasks.into_par_iter().for_each(|(first, rows, out)| {
        instructions.run(Task { all, rows, first, heads: 0..shape.kv_heads, out });
    });
}

#[derive(Clone, Copy)]
struct Inputs<'a> {
    shape: &'a AttentionShape,
    sinks: &'a [f32],
    q: &'a [f32],
    keys: CacheRows<'a>,
    values: CacheRows<'a>,
}

/// Rows of one slot, and the heads of keys whose query heads are in `out`: `[rows][those query heads][head dim]`.
struct Task<'a> {
    all: Inputs<'a>,
    rows: &'a [Row],
    first: usize,
    heads: std::ops::Range<usize>,
    out: &'a mut [f32],
}

impl Kernel for Task<'_> {
    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let Task { all, rows, first, heads, out } = self;
        let AttentionShape { heads: all_heads, kv_heads, head_dim: d, .. } = *all.shape;
        let shared = all_heads / kv_heads;
        let out_heads = heads.len() * shared;
        let mut work = Work { q: vec![[0.0; LANES]; d], sums: vec![[0.0; LANES]; d], ..Work::default() };
        for g in heads.clone() {
            // More query heads than lanes share a head of keys in turns.
            let mut head = 0;
            while head < shared {
                let count = (shared - head).min(LANES);
                work.lanes = 0;
                for (r, row) in rows.iter().enumerate() {
                    let scale = all.shape.scale_at(row.position) as f32;
                    for h in head..head + count {
                        let l = work.lanes;
                        let q = &all.q[((first + r) * all_heads + g * shared + h) * d..][..d];
                        for (lanes, &q) in work.q.iter_mut().zip(q) {
                            lanes[l] = q * scale;
                        }
                        work.seen[l] = (all.shape.first_seen(row.position), row.position);
                        // What has a score and no value is as if it had been seen first.
                        let sink = all.sinks.get(g * shared + h).copied();
                        (work.largest[l], work.weights[l]) =
                            sink.map_or((f32::NEG_INFINITY, 0.0), |sink| (sink, 1.0));
                        work.lanes += 1;
                    }
                }
                // SAFETY: the caller's.
                unsafe { work.attend::<V>(&all, rows[0].slot, g) };
                let mut l = 0;
                for r in 0..rows.len() {
                    for h in head..head + count {
                        let at = (r * out_heads + (g - heads.start) * shared + h) * d;
                        for (y, sums) in out[at..at + d].iter_mut().zip(&work.sums) {
                            *y = sums[l] / work.weights[l];
                        }
                        l += 1;
                    }
                }
                head += count;
            }
        }
    }
}

/// Sixteen query heads side by side.
#[derive(Default)]
struct Work {
    /// How many there are; the lanes behind are as good as the first one and nobody reads them.
    lanes: usize,
    /// `[head dim]`
    q: Vec<[f32; LANES]>,
    /// The first and the last position that each sees.
    seen: [(u32, u32); LANES],
    /// Σ weight · value, `[head dim]`
    sums: Vec<[f32; LANES]>,
    /// Σ weight
    weights: [f32; LANES],
    /// The largest score so far, which weights are relative to.
    largest: [f32; LANES],
    /// Keys and values of a page, where they are not kept in f32.
    keys: Vec<f32>,
    values: Vec<f32>,
}

/// The numbers of `count` positions of a head from `first` on, all in one page, and the distance between positions: where they are, or
/// brought into `own`.
fn positions<'a>(
    cache: &CacheRows<'a>,
    own: &'a mut Vec<f32>,
    (slot, first, count): (u32, u32, usize),
    head: usize,
) -> (&'a [f32], usize) {
    let d = cache.head_dim;
    if cache.format == Kv::F32.keys {
        let numbers: &'a [f32] = bytemuck::cast_slice(cache.words);
        return (&numbers[cache.index(slot, first) + head * d..], cache.heads * d);
    }
    own.resize(count * d, 0.0);
    for (position, own) in (first..).zip(own.chunks_exact_mut(d)) {
        cache.load(slot, position, head, own);
    }
    (own, d)
}

impl Work {
    #[inline(always)]
    unsafe fn attend<V: Lanes>(&mut self, all: &Inputs<'_>, slot: u32, g: usize) {
        let AttentionShape { head_dim: d, softcap: cap, .. } = *all.shape;
        for l in self.lanes..LANES {
            (self.seen[l], self.largest[l], self.weights[l]) =
                (self.seen[0], self.largest[0], self.weights[0]);
            for q in &mut self.q {
                q[l] = q[0];
            }
        }
        let (mut from, mut last) = self.seen[0];
        for &(first, end) in &self.seen {
            from = from.min(first);
            last = last.max(end);
        }
        self.sums.fill([0.0; LANES]);
        let (mut own_keys, mut own_values) =
            (std::mem::take(&mut self.keys), std::mem::take(&mut self.values));
        while from <= last {
            let count = (PAGE - from as usize % PAGE).min((last - from) as usize + 1);
            let at = (slot, from, count);
            let (data, row) = positions(&all.keys, &mut own_keys, at, g);
            let keys = Matrix { data, row, step: 1, rows: count };
            let (data, step) = positions(&all.values, &mut own_values, at, g);
            let values = Matrix { data, row: 1, step, rows: d };
            let mut scores = [[0.0; LANES]; PAGE];
            // SAFETY: the caller's.
            unsafe { tiles::<V>(keys, d, &[&self.q], &mut scores, 1, false) };
            let scores = &mut scores[..count];
            for (i, scores) in scores.iter_mut().enumerate() {
                let position = from + i as u32;
                if cap > 0.0 {
                    *scores =
                        if V::FUSED { softcap::<true>(cap, *scores) } else { softcap::<false>(cap, *scores) };
                }
                for l in 0..LANES {
                    let (first, end) = self.seen[l];
                    scores[l] =
                        if position < first || position > end { f32::NEG_INFINITY } else { scores[l] };
                }
            }
            self.weigh::<V>(scores);
            // SAFETY: the caller's.
            unsafe { tiles::<V>(values, count, &[scores], &mut self.sums, 1, true) };
            from += count as u32;
        }
        (self.keys, self.values) = (own_keys, own_values);
    }

    /// Makes scores weights relative to the largest score so far, and what was summed up relative to the same.
    #[inline(always)]
    fn weigh<V: Lanes>(&mut self, scores: &mut [[f32; LANES]]) {
        let mut most = self.largest;
        for scores in scores.iter() {
            for l in 0..LANES {
                most[l] = if scores[l] > most[l] { scores[l] } else { most[l] };
            }
        }
        // A lane that has seen nothing yet has no largest score.
        let mut base = most;
        let mut shift = self.largest;
        for l in 0..LANES {
            base[l] = if most[l] == f32::NEG_INFINITY { 0.0 } else { most[l] };
            shift[l] -= base[l];
        }
        if self.largest != most {
            let factor = exponents::<V>(shift);
            for l in 0..LANES {
                self.weights[l] *= factor[l];
            }
            for sums in &mut self.sums {
                for l in 0..LANES {
                    sums[l] *= factor[l];
                }
            }
        }
        for scores in scores.iter_mut() {
            let mut shifted = *scores;
            for l in 0..LANES {
                shifted[l] -= base[l];
            }
            let weights = exponents::<V>(shifted);
            for l in 0..LANES {
                // What a lane does not see has no weight at all.
                scores[l] = if scores[l] == f32::NEG_INFINITY { 0.0 } else { weights[l] };
                self.weights[l] += scores[l];
            }
        }
        self.largest = most;
    }
}

#[inline(always)]
fn exponents<V: Lanes>(x: [f32; LANES]) -> [f32; LANES] {
    if V::FUSED { exp::<true>(x) } else { exp::<false>(x) }
}
