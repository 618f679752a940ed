//! Logits of tokens that are given, in place of more tokens: what perplexity, embeddings and `logits` are made of.

use std::collections::VecDeque;

use super::Scheduler;
use crate::batch::{Batch, BatchRow, Input, Then};
use crate::blocking::block_on;
use crate::error::Result;

impl Scheduler<'_> {
    /// [`Scheduler::logits_async`], on a thread that may wait.
    pub fn logits(&mut self, slot: u32, tokens: &[u32], on_rows: &mut dyn FnMut(&[f32])) -> Result<()> {
        block_on(self.logits_async(slot, tokens, on_rows))
    }

    /// Appends `tokens` to an idle slot and hands out the logits of each, row by row, as `[rows][vocabulary]`.
    pub async fn logits_async(
        &mut self,
        slot: u32,
        tokens: &[u32],
        on_rows: &mut dyn FnMut(&[f32]),
    ) -> Result<()> {
        self.logits_of_async(&[(slot, tokens)], &mut |_, rows| on_rows(rows)).await
    }

    /// [`Scheduler::logits_of_async`], on a thread that may wait.
    pub fn logits_of(
        &mut self,
        asked: &[(u32, &[u32])],
        on_rows: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<()> {
        block_on(self.logits_of_async(asked, on_rows))
    }

    /// The same for several slots, each with its tokens, in the same batches. Rows come with the number of what was asked for, in their order.
    pub async fn logits_of_async(
        &mut self,
        asked: &[(u32, &[u32])],
        on_rows: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<()> {
        let mut held = Vec::new();
        for &(slot, tokens) in asked {
            held.push(self.slots[slot as usize].tokens.len());
            self.fits(self.slots[slot as usize].tokens.len(), tokens)?;
        }
        // Rows that are still to be computed: what was asked for, and the position.
        let mut left = VecDeque::new();
        for (n, &(slot, tokens)) in asked.iter().enumerate() {
            self.slots[slot as usize].tokens.extend(tokens);
            self.rewind(slot)?;
            let s = &self.slots[slot as usize];
            left.extend((s.submitted..s.tokens.len()).map(|position| (n, position)));
        }
        let most = self.limits.rows.min(self.limits.outputs).max(1);
        while !left.is_empty() {
            let rows: Vec<(usize, usize)> = left.drain(..most.min(left.len())).collect();
            let stretches: Vec<_> = rows.chunk_by(|a, b| a.0 == b.0).collect();
            for stretch in &stretches {
                let (n, start) = stretch[0];
                self.room(asked[n].0, start..start + stretch.len())?;
            }
            let row = |&(n, position): &(usize, usize)| {
                let slot = asked[n].0;
                let token = self.slots[slot as usize].tokens[position];
                BatchRow { input: Input::Token(token), slot, position: position as u32 }
            };
            let wanted = |&(_, &(n, position)): &(usize, &(usize, usize))| position >= held[n];
            let batch = Batch {
                rows: rows.iter().map(row).collect(),
                outputs: rows.iter().enumerate().filter(wanted).map(|(i, _)| i as u32).collect(),
                then: Then::Logits,
                steps: 1,
            };
            let ticket = self.backend.submit(&batch)?;
            let logits = self.backend.collect_async(ticket).await?.logits;
            let width = logits.len() / batch.outputs.len().max(1);
            let mut rest = &logits[..];
            for stretch in &stretches {
                let (n, start) = stretch[0];
                let end = start + stretch.len();
                let (of, behind) = rest.split_at(width * (end - held[n].clamp(start, end)));
                on_rows(n, of);
                rest = behind;
                let s = &mut self.slots[asked[n].0 as usize];
                (s.submitted, s.computed, s.states) = (end, end, Some(end));
            }
        }
        Ok(())
    }
}
