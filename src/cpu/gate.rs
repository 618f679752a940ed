//! Activation functions of many numbers, in vectors and on all threads.

// Several arrays go side by side: an index says so, and compilers unroll it.
#![allow(clippy::needless_range_loop)]

use rayon::prelude::*;

use super::exp::activate;
use super::lanes::{Instructions, Kernel, LANES, Lanes};
use crate::ops::Activation;

/// Numbers of a task.
const TASK: usize = 64 * LANES;

/// out = act(x) · up, or act(x) where there is no up.
pub(super) fn gate(
    instructions: Instructions,
    act: Activation,
    x: &[f32],
    up: Option<&[f32]>,
    out: &mut [f32],
) {
    let same = x.len() == out.len() && up.is_none_or(|up| up.len() == out.len());
    assert!(same, "gate: {} numbers for {} results", x.len(), out.len());
    out.par_chunks_mut(TASK).enumerate().for_each(|(at, y)| {
        let part = at * TASK..at * TASK + y.len();
        instructions.run(Gate { act, x: &x[part.clone()], up: up.map(|up| &up[part]), y });
    });
}

struct Gate<'a> {
    act: Activation,
    x: &'a [f32],
    up: Option<&'a [f32]>,
    y: &'a mut [f32],
}

impl Kernel for Gate<'_> {
    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let Gate { act, x, up, y } = self;
        let mut at = 0;
        while at < y.len() {
            let count = LANES.min(y.len() - at);
            let mut lanes = [0.0; LANES];
            lanes[..count].copy_from_slice(&x[at..at + count]);
            let values = if V::FUSED { activate::<true>(act, lanes) } else { activate::<false>(act, lanes) };
            match up {
                Some(up) => {
                    let mut factors = [0.0; LANES];
                    factors[..count].copy_from_slice(&up[at..at + count]);
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
