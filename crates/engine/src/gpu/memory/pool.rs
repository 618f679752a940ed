//! Buffers for activations, planned from how long each value lives: two values whose lives do not meet share one. A buffer for
//! each, not stretches of one: wgpu orders dispatches by whole buffers, and forbids one buffer both read and written in one.

use std::collections::HashMap;

use crate::gpu::plan::{Launch, Operand};

/// Which buffer each value is in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pool {
    /// The buffer of a value.
    pub place: HashMap<Operand, usize>,
    /// Bytes of each buffer.
    pub sizes: Vec<u64>,
}

impl Pool {
    /// Plans buffers for the values of `launches`; `bytes` tells a value's size, `kept` lives on after the last dispatch. `apart`: no two values share one,
    /// but for what attention finds in its spans; what writes a buffer that others used waits for all that was before it, even if it depends on none of that.
    pub fn plan(launches: &[Launch], bytes: impl Fn(Operand) -> u64, kept: Operand, apart: bool) -> Pool {
        let mut last = HashMap::new();
        for (at, p) in launches.iter().enumerate() {
            for node in values(p) {
                last.insert(node, at);
            }
        }
        last.insert(kept, launches.len());
        let mut pool = Pool::default();
        let mut free: Vec<usize> = Vec::new();
        let shares = |value: &Operand| !apart || matches!(value, Operand::Partials(_));
        for (at, p) in launches.iter().enumerate() {
            for node in values(p) {
                if !pool.place.contains_key(&node) {
                    let slot = match shares(&node) {
                        true => pool.take(&mut free, bytes(node)),
                        false => pool.add(bytes(node)),
                    };
                    pool.place.insert(node, slot);
                }
            }
            // Only now: what a dispatch reads must not be what it writes.
            let ended = values(p).filter(|n| last[n] == at && shares(n));
            let mut slots: Vec<usize> = ended.map(|n| pool.place[&n]).collect();
            slots.sort_unstable();
            slots.dedup();
            free.extend(slots);
        }
        pool
    }

    /// The free buffer whose size is nearest, or a new one.
    fn take(&mut self, free: &mut Vec<usize>, bytes: u64) -> usize {
        let nearest = (0..free.len()).min_by_key(|&i| self.sizes[free[i]].abs_diff(bytes));
        match nearest {
            Some(i) => {
                let slot = free.swap_remove(i);
                self.sizes[slot] = self.sizes[slot].max(bytes);
                slot
            }
            None => self.add(bytes),
        }
    }

    /// A new buffer.
    fn add(&mut self, bytes: u64) -> usize {
        self.sizes.push(bytes);
        self.sizes.len() - 1
    }
}

fn values(p: &Launch) -> impl Iterator<Item = Operand> {
    p.operands.iter().map(|(_, o)| *o).filter(|o| {
        matches!(
            o,
            Operand::Value(_)
                | Operand::ActivationCopy(_)
                | Operand::Partials(_)
                | Operand::Chunks(_)
                | Operand::Tiles(_)
                | Operand::Heads(_)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Node;

    #[test]
    fn values_share_a_buffer_unless_they_are_apart() {
        let of = |node: usize| {
            let mut launch = Launch::addition([node, node, node + 1]);
            launch.operands.push((4, Operand::Partials(Node(node))));
            launch
        };
        let chain: Vec<Launch> = (0..9).map(of).collect();
        let count = |apart| Pool::plan(&chain, |_| 1, Operand::Value(Node(9)), apart).sizes.len();
        // A value, the next one, and spans.
        assert_eq!(count(false), 3);
        assert_eq!(count(true), 10 + 1);
    }
}
