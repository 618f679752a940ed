//! Which sequence a new one begins with: one that is under way, or one that was kept when its job ended.

use crate::memory::{PAGE, Pages};
use crate::scheduler::Scheduler;

/// Fewer tokens in common are not worth the page that is copied.
const LEAST: usize = 8;

/// Slots of ended jobs, whose sequences stay until their memory is wanted; the least recently used first.
#[derive(Debug, Default)]
pub struct Kept(Vec<u32>);

/// Where a job finds its place.
pub enum Place {
    /// An idle slot, which holds the beginning of the job's tokens already.
    Slot(u32),
    /// Nowhere before others end or have computed more.
    NotYet,
}

impl Kept {
    /// Keeps the sequence of a slot.
    pub fn keep(&mut self, slot: u32) {
        self.0.push(slot);
    }

    /// Gives the slot and the pages of the least recently used sequence back, unless it is `but`; false where there is none.
    pub fn release(&mut self, scheduler: &mut Scheduler<'_>, but: Option<u32>) -> bool {
        let Some(at) = self.0.iter().position(|&slot| Some(slot) != but) else { return false };
        scheduler.close(self.0.remove(at));
        true
    }

    /// Finds a slot for a job that begins with `tokens`, beside those of `running`.
    pub fn place(
        &mut self,
        scheduler: &mut Scheduler<'_>,
        running: impl Iterator<Item = u32> + Clone,
        tokens: &[u32],
    ) -> Place {
        // The last token is computed in any case: what follows it is wanted.
        let most = tokens.len().saturating_sub(1);
        let common = |scheduler: &Scheduler<'_>, slot| scheduler.common(slot, tokens).min(most);
        let all = self.0.iter().copied().chain(running.clone());
        let best = all.map(|slot| (common(scheduler, slot), slot)).max_by_key(|&(common, _)| common);
        let best = best.filter(|&(common, _)| common >= LEAST);
        let computed = best.map_or(0, |(common, _)| common);

        // What a neighbour is about to compute need not be computed twice.
        let will_be = |slot| {
            let given = scheduler.tokens(slot);
            given.iter().zip(tokens).take_while(|(a, b)| a == b).count().min(most)
        };
        if running
            .clone()
            .any(|slot| will_be(slot) >= computed + PAGE && will_be(slot) > common(scheduler, slot))
        {
            return Place::NotYet;
        }

        // A page more than the prompt for each, so that none is sent back at its first step.
        let others = running.clone().count();
        let needed = (Pages::of(tokens.len() + 1) + others).min(scheduler.pages());
        let shared =
            best.filter(|&(_, slot)| running.clone().any(|r| r == slot)).map_or(0, |(n, _)| n / PAGE);
        if needed.saturating_sub(shared) > scheduler.pages() - scheduler.pages_of(running.clone()) {
            return Place::NotYet;
        }

        let slot = match best.filter(|&(_, slot)| self.0.contains(&slot)) {
            // What would be lost is little, or there is no other slot.
            Some((common, slot))
                if 4 * scheduler.tokens(slot).len() <= 5 * common || !self.can_fork(scheduler, slot) =>
            {
                self.0.retain(|&kept| kept != slot);
                scheduler.truncate(slot, common);
                slot
            }
            _ => {
                let source = best.map(|(_, slot)| slot);
                let Some(slot) = self.open(scheduler, source) else { return Place::NotYet };
                if let Some((common, source)) = best {
                    self.fork(scheduler, source, slot, common);
                }
                slot
            }
        };
        while scheduler.free_pages() + Pages::of(scheduler.tokens(slot).len()) < needed {
            if !self.release(scheduler, None) {
                break;
            }
        }
        Place::Slot(slot)
    }

    /// Whether a slot other than `source` can be had.
    fn can_fork(&self, scheduler: &Scheduler<'_>, source: u32) -> bool {
        scheduler.has_closed() || self.0.iter().any(|&slot| slot != source)
    }

    fn open(&mut self, scheduler: &mut Scheduler<'_>, source: Option<u32>) -> Option<u32> {
        loop {
            if let Some(slot) = scheduler.open() {
                return Some(slot);
            }
            if !self.release(scheduler, source) {
                return None;
            }
        }
    }

    /// Begins `slot` with what `source` has computed; with as much of it as there is memory for.
    fn fork(&mut self, scheduler: &mut Scheduler<'_>, source: u32, slot: u32, common: usize) {
        while scheduler.free_pages() == 0 && self.release(scheduler, Some(source)) {}
        if scheduler.fork(source, slot, common).is_err() {
            // Whole pages need no memory. Without them the prompt is computed anew.
            let _ = scheduler.fork(source, slot, common / PAGE * PAGE);
        }
        if let Some(at) = self.0.iter().position(|&kept| kept == source) {
            let used = self.0.remove(at);
            self.0.push(used);
        }
    }
}
