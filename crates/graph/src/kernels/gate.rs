//! Activation functions of many numbers, in vectors and on all threads.

// Several arrays go side by side: an index says so, and compilers unroll it.
#![allow(clippy::needless_range_loop)]

use rayon::prelude::*;

use super::exp::activate;
use super::lanes::{Instructions, Kernel, LANES, Lanes};
use crate::ops::{Clamp, Gate};

/// Numbers of a task.
const NUMBERS: usize = 64 * LANES;

/// out = act(x) · up, both clamped before where `of` says so, or act(x) where there is no up.
pub(super) fn gate(instructions: Instructions, of: Gate, x: &[f32], up: Option<&[f32]>, out: &mut [f32]) {
    let same = x.len() == out.len() && up.is_none_or(|up| up.len() == out.len());
    assert!(same, "gate: {} numbers for {} results", x.len(), out.len());
    out.par_chunks_mut(NUMBERS).enumerate().for_each(|(at, y)| {
        let part = at * NUMBERS..at * NUMBERS + y.len();
        instructions.run(Task { of, x: &x[part.clone()], up: up.map(|up| &up[part]), y });
    });
}

struct Task<'a> {
    of: Gate,
    x: &'a [f32],
    up: Option<&'a [f32]>,
    y: &'a mut [f32],
}

impl Kernel for Task<'_> {
    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let Task { of: Gate { act, clamp, .. }, x, up, y } = self;
        let mut at = 0;
        while at < y.len() {
            let count = LANES.min(y.len() - at);
            let mut lanes = [0.0; LANES];
            lanes[..count].copy_from_slice(&x[at..at + count]);
            if let Some(Clamp { limit, .. }) = clamp {
                lanes = lanes.map(|gate| if gate > limit { limit } else { gate });
            }
            let values = if V::FUSED { activate::<true>(act, lanes) } else { activate::<false>(act, lanes) };
            match up {
                Some(up) => {
                    let mut factors = [0.0; LANES];
                    factors[..count].copy_from_slice(&up[at..at + count]);
                    if let Some(Clamp { limit, shift }) = clamp {
                        factors = factors.map(|up| up.clamp(-limit, limit) + shift);
                    }
                    for i in 0..LANES {
                        lanes[i] = values[i] * factors[i];
                    }
                }
                None => lanes = values,
            }
            y[at..at + count].copy_from_slice(&lanes[..count]);
            at += count;
        }
    }
}
