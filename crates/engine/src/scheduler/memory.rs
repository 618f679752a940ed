//! What a slot's memory holds of its sequence, and how it is taken back: pages of positions, and snapshots of states.

use std::ops::Range;

use super::{Scheduler, Slot};
use crate::error::Result;
use crate::memory::{PAGE, Pages};

impl Scheduler<'_> {
    /// Shortens a sequence to its first `len` tokens, and ends the request that is under way there. The result is how many of them the
    /// slot's memory holds: all that were computed, or, where layers have states, those up to the last snapshot. Tokens behind that stay in
    /// the sequence and are computed again in front of what is asked for next.
    pub fn truncate(&mut self, slot: u32, len: usize) -> usize {
        let s = &mut self.slots[slot as usize];
        s.lookup.truncate(&s.tokens, len);
        s.tokens.truncate(len);
        self.stop(slot);
        self.snapshots.forget(slot, len);
        let held = self.slots[slot as usize].submitted;
        self.pages.shrink(slot, held);
        held
    }

    /// How many of the first `position` positions the slot's memory can go back to.
    fn held(&self, slot: u32, position: usize) -> usize {
        let stands = self.slots[slot as usize].states == Some(position);
        match self.limits.snapshots > 0 && !stands {
            true => self.snapshots.latest(slot, position).map_or(0, |(position, _)| position),
            false => position,
        }
    }

    /// Takes the states of a slot back to where it goes on. A snapshot may have made room since: then to the one before it.
    pub(super) fn rewind(&mut self, slot: u32) -> Result<()> {
        let position = self.slots[slot as usize].submitted;
        if self.limits.snapshots == 0 || self.slots[slot as usize].states == Some(position) {
            return Ok(());
        }
        // A row at position 0 asks for no state.
        let (held, place) = self.snapshots.latest(slot, position).map_or((0, None), |(at, p)| (at, Some(p)));
        if let Some(place) = place {
            self.backend.restore_states(place, slot)?;
            self.snapshots.touch(place);
        }
        let s = &mut self.slots[slot as usize];
        (s.submitted, s.computed, s.states) = (held, s.computed.min(held), Some(held));
        Ok(())
    }

    /// Takes a snapshot of the states of a slot that has no request under way, where they stand now. The result is how many tokens it
    /// holds, to which [`Scheduler::truncate`] can go back; without states, all that are computed: there any number can be gone back to.
    pub fn snapshot(&mut self, slot: u32) -> Result<usize> {
        self.rewind(slot)?;
        let position = self.slots[slot as usize].submitted;
        self.save(slot, position)?;
        Ok(position)
    }

    /// Keeps the states of a slot, which stand at `position`.
    pub(super) fn save(&mut self, slot: u32, position: usize) -> Result<()> {
        if position == 0 || self.snapshots.latest(slot, position).is_some_and(|(at, _)| at == position) {
            return Ok(());
        }
        match self.snapshots.take(slot, position) {
            Some(place) => self.backend.save_states(slot, place),
            None => Ok(()),
        }
    }

    /// Makes `to` a copy of the first `len` tokens of `from`, which must be computed: they share their memory. The result is how many of
    /// them `to` holds: all, or, where layers have states, those up to where `from` stands or has a snapshot; the others are computed
    /// again there.
    pub fn fork(&mut self, from: u32, to: u32, len: usize) -> Result<usize> {
        self.truncate(to, 0);
        let source = &self.slots[from as usize];
        let len = len.min(source.submitted).min(source.tokens.len());
        let tokens = source.tokens[..len].to_vec();
        let held = self.held(from, len);
        if let Some((page, copy)) = self.pages.share(from, to, held)? {
            self.backend.copy_page(page, copy)?;
        }
        self.backend.map_pages(to, 0, self.pages.table(to))?;
        if self.limits.snapshots > 0 && held > 0 {
            // By way of a snapshot of the source's, which becomes one of both.
            if self.slots[from as usize].states == Some(held) {
                self.save(from, held)?;
            }
            if let Some((_, place)) = self.snapshots.latest(from, held) {
                self.backend.restore_states(place, to)?;
                self.snapshots.touch(place);
            }
            self.save(to, held)?;
        }
        let target = &mut self.slots[to as usize];
        (target.tokens, target.submitted, target.computed, target.states) = (tokens, held, held, Some(held));
        Ok(held)
    }

    /// What a slot computes next is the token at `position`, or one in front of it that its memory can go back to.
    pub(super) fn go_back(&mut self, slot: u32, position: usize) {
        let held = self.held(slot, position);
        let s = &mut self.slots[slot as usize];
        (s.submitted, s.computed) = (held, s.computed.min(held));
    }

    /// Shortens a sequence to what it has in common with `prompt`, and to less than all of that, so that something is left to compute. The
    /// result is how many tokens of `prompt` are there: a request is to append the others.
    pub fn keep_common(&mut self, slot: u32, prompt: &[u32]) -> usize {
        let held = &self.slots[slot as usize].tokens;
        let common = held.iter().zip(prompt).take_while(|(a, b)| a == b).count();
        self.truncate(slot, common.min(prompt.len().saturating_sub(1)));
        self.slots[slot as usize].tokens.len()
    }

    /// How many tokens of a sequence are computed, or on their way to it: no request computes them again.
    pub fn computed(&self, slot: u32) -> usize {
        let s = &self.slots[slot as usize];
        s.submitted.min(s.tokens.len())
    }

    /// How many of the first of `tokens` a sequence has computed.
    pub fn common(&self, slot: u32, tokens: &[u32]) -> usize {
        let s = &self.slots[slot as usize];
        let known = &s.tokens[..s.submitted.min(s.tokens.len())];
        known.iter().zip(tokens).take_while(|(a, b)| a == b).count()
    }

    /// Pages of the pool.
    pub fn pages(&self) -> usize {
        self.config.pages
    }

    /// Pages that no sequence has.
    pub fn free_pages(&self) -> usize {
        self.pages.free()
    }

    /// Pages that some of these slots have.
    pub fn pages_of(&self, slots: impl Iterator<Item = u32>) -> usize {
        self.pages.of_slots(slots)
    }

    /// Pages that [`Scheduler::advance`] may take, at most. Where fewer are free it may fail with [`OutOfMemory`](crate::Error::OutOfMemory).
    pub fn wanted_pages(&self) -> usize {
        let wanted = |(slot, s): (usize, &Slot)| {
            let Some(active) = &s.active else { return 0 };
            let steps = ((self.limits.ahead - self.flights.len()) * self.steps).max(1 + self.lookup);
            let to = match active.drawn {
                0 => s.tokens.len() + steps.min(active.limit),
                _ => s.submitted + steps.min(active.limit - active.drawn),
            };
            let table = self.pages.table(slot as u32);
            let grown = Pages::of(to.min(self.config.context)).saturating_sub(table.len());
            // Where states went back, more than the page that is begun is written once more.
            let written = s.submitted / PAGE..table.len();
            grown + written.filter(|&n| self.pages.is_shared(slot as u32, n)).count()
        };
        self.slots.iter().enumerate().map(wanted).sum()
    }

    /// Gives a slot pages of its own for `positions`, which will be written.
    pub(super) fn room(&mut self, slot: u32, positions: Range<usize>) -> Result<()> {
        for n in positions.start / PAGE..Pages::of(positions.end) {
            if let Some((page, copy)) = self.pages.own(slot, n)? {
                self.backend.copy_page(page, copy)?;
                self.backend.map_pages(slot, n, &[copy])?;
            }
        }
        let first = self.pages.grow(slot, positions.end)?;
        let table = self.pages.table(slot);
        if first < table.len() {
            self.backend.map_pages(slot, first, &table[first..])?;
        }
        Ok(())
    }
}
