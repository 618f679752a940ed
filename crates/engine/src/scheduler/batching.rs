//! What goes into the next batch: a row of each sequence that generates, drafts behind it, and as much of prompts as there is room for.

use rayon::iter::{ParallelBridge, ParallelIterator};

use super::{Active, Flight, Output, Scheduler, Slot};
use crate::batch::{Batch, BatchRow, Input, Then, Ticket};
use crate::constraint::TokenMask;
use crate::error::Result;
use crate::lookup;

/// Steps at most of a batch without drafts where drafts are looked for: who computes ahead does not see what could be drafted. Two such batches
/// are in flight, so that the device does not wait.
const UNSEEN: usize = 4;
/// How many times the steps of the batch in front a batch has at most: encoded while that one runs, it is there when the device would have nothing to do. What
/// has none in front begins with one step.
const GROWTH: usize = 2;

impl Scheduler<'_> {
    /// Submits the next batch, if there is anything to compute.
    pub(super) fn submit(&mut self) -> Result<Option<Flight>> {
        let context = self.config.context;
        let decoding = |s: &&Slot| {
            let goes_on = |a: &Active| a.drawn > 0 && a.drawn < a.limit;
            s.active.as_ref().is_some_and(goes_on) && s.submitted < context
        };
        let count = self.slots.iter().filter(decoding).count();
        let waiting =
            |s: &Slot| s.active.as_ref().is_some_and(|a| a.drawn == 0) && s.submitted < s.tokens.len();
        let prompts = self.slots.iter().any(waiting);
        if count == 0 && !prompts {
            return Ok(None);
        }
        // Nothing goes behind a batch that waits for masks.
        if self.flights.back().is_some_and(|flight| flight.held) {
            return Ok(None);
        }
        // What is sampled here, and what drafts go on from, must be known before anything behind it is computed.
        let sampled_here = |s: &Slot| s.active.as_ref().is_some_and(|a| a.sampling.is_for_host());
        let on_host = self.slots.iter().any(sampled_here);
        // What a mask depends on must be known before it is sampled. A mask is for one row: nothing is drafted beside it.
        let masked = |s: &Slot| s.active.as_ref().is_some_and(|a| a.matcher.is_some());
        let any_masked = self.slots.iter().any(masked);
        let looks_up = self.lookup > 0 && count > 0 && !any_masked;
        if !self.flights.is_empty()
            && (on_host || looks_up && (self.flights.len() > 1 || self.expects_drafts()))
        {
            return Ok(None);
        }
        let drafts = match looks_up && self.flights.is_empty() {
            true => self.drafts_beside(count, &decoding),
            false => vec![Vec::new(); self.slots.len()],
        };
        let drafted = drafts.iter().any(|draft| !draft.is_empty());
        let steps = match prompts || on_host || any_masked || drafted || count > self.limits.repeated {
            true => 1,
            false => {
                let most = if looks_up { self.steps.min(UNSEEN) } else { self.steps };
                let most = most.min(self.flights.back().map_or(1, |front| GROWTH * front.steps));
                self.slots.iter().filter(decoding).map(|s| self.left(s)).min().unwrap_or(1).min(most)
            }
        };
        let then = if on_host { Then::Logits } else { Then::Sample };
        let mut batch = Batch { rows: Vec::new(), outputs: Vec::new(), then, steps: steps as u32 };
        let mut flight = Flight {
            ticket: Ticket(0),
            outputs: Vec::new(),
            reached: Vec::new(),
            steps,
            on_host,
            decode: !prompts,
            held: false,
        };
        let slots: Vec<usize> = (0..self.slots.len()).map(|i| (self.turn + i) % self.slots.len()).collect();
        for &slot in &slots {
            if decoding(&&self.slots[slot])
                && batch.rows.len() < self.limits.rows
                && batch.outputs.len() < self.limits.outputs
            {
                self.add_decode(slot as u32, steps, &drafts[slot], &mut batch, &mut flight)?;
            }
        }
        let beside = if count > 0 { batch.rows.len() + self.limits.beside } else { self.limits.rows };
        let most = beside.min(self.limits.rows);
        for &slot in &slots {
            if waiting(&self.slots[slot])
                && batch.rows.len() < most
                && batch.outputs.len() < self.limits.outputs
            {
                self.add_prompt(slot as u32, most, &mut batch, &mut flight)?;
            }
        }
        self.turn = (self.turn + 1) % self.slots.len();
        let masked = |output: &Output| masked(&self.slots[output.slot as usize]);
        if then == Then::Sample && flight.outputs.iter().any(masked) {
            batch.then = Then::SampleMasked;
        }
        flight.ticket = self.backend.submit(&batch)?;
        flight.held = batch.then == Then::SampleMasked;
        Ok(Some(flight))
    }

    /// Has the batch that waits for masks sampled, once every token that they depend on was handed out. It may be computed before that: a row
    /// reads its token where it was sampled.
    pub(super) fn sample_held(&mut self) -> Result<()> {
        let Some((last, earlier)) = self.flights.make_contiguous().split_last_mut() else { return Ok(()) };
        let masked = |output: &Output| {
            let s = &self.slots[output.slot as usize];
            s.request == output.request && s.active.as_ref().is_some_and(|a| a.matcher.is_some())
        };
        let under_way = |output: &Output| {
            let same = |other: &Output| (other.slot, other.request) == (output.slot, output.request);
            earlier.iter().any(|flight| flight.outputs.iter().any(same))
        };
        if !last.held || last.outputs.iter().any(|output| masked(output) && under_way(output)) {
            return Ok(());
        }
        let masks = masks(&mut self.slots, &last.outputs);
        last.held = false;
        self.backend.sample(&last.ticket, &masks)
    }

    /// Steps that a slot may still take.
    fn left(&self, s: &Slot) -> usize {
        let wanted = s.active.as_ref().map_or(0, |a| a.limit - a.drawn);
        wanted.min(self.config.context - s.submitted)
    }

    /// Whether something would be drafted behind the tokens that are known: then what is in flight is waited for.
    fn expects_drafts(&mut self) -> bool {
        let generates = |s: &&mut Slot| s.active.as_ref().is_some_and(|a| a.drawn > 0);
        self.slots.iter_mut().filter(generates).any(|s| s.lookup.expects(&s.tokens))
    }

    /// A draft for each slot that generates, of `count` that do.
    fn drafts_beside(&mut self, count: usize, decoding: &dyn Fn(&&Slot) -> bool) -> Vec<Vec<u32>> {
        // More rows than are few cost as much as a prompt.
        let rows = self.limits.rows.min(self.limits.outputs).min(1 + lookup::MOST);
        let share = (rows / count.max(1)).saturating_sub(1).min(self.lookup);
        let mut drafts = Vec::new();
        for slot in 0..self.slots.len() {
            // One token comes in any case.
            let most = share.min(self.left(&self.slots[slot]).saturating_sub(1));
            let s = &mut self.slots[slot];
            let draft = if decoding(&&*s) { s.lookup.draft(&s.tokens, most) } else { Vec::new() };
            drafts.push(draft);
        }
        drafts
    }

    fn add_decode(
        &mut self,
        slot: u32,
        steps: usize,
        draft: &[u32],
        batch: &mut Batch,
        flight: &mut Flight,
    ) -> Result<()> {
        let from = self.slots[slot as usize].submitted;
        self.room(slot, from..from + steps + draft.len())?;
        let s = &mut self.slots[slot as usize];
        let Some(active) = &mut s.active else { return Ok(()) };
        if !active.told && !flight.on_host {
            self.backend.set_slot(slot, &active.sampling, &s.tokens)?;
            active.told = true;
        }
        let input = s.tokens.get(from).map_or(Input::LastSampled, |&token| Input::Token(token));
        batch.outputs.push(batch.rows.len() as u32);
        batch.rows.push(BatchRow { input, slot, position: from as u32 });
        active.drawn += steps;
        s.submitted += steps;
        s.states = Some(s.submitted);
        flight.outputs.push(Output { slot, request: s.request, draft: None });
        flight.reached.push((slot, s.request, s.submitted));
        // Rows of a draft are no part of the sequence until they are found to be right.
        for (&token, position) in draft.iter().zip(from + 1..) {
            batch.outputs.push(batch.rows.len() as u32);
            batch.rows.push(BatchRow { input: Input::Token(token), slot, position: position as u32 });
            flight.outputs.push(Output { slot, request: s.request, draft: Some((position, token)) });
            active.told = false;
            self.drafts.drafted += 1;
        }
        Ok(())
    }

    /// As much of a slot's prompt as makes `most` rows of the batch.
    fn add_prompt(&mut self, slot: u32, most: usize, batch: &mut Batch, flight: &mut Flight) -> Result<()> {
        self.rewind(slot)?;
        let s = &self.slots[slot as usize];
        let from = s.submitted;
        let mut to = s.tokens.len().min(from + most - batch.rows.len());
        // States are kept in front of a prompt's last token, which is computed again where it is asked once more.
        let last = s.tokens.len() - 1;
        if self.limits.snapshots > 0 && s.active.as_ref().is_some_and(|a| a.limit > 0) {
            if from == last {
                self.save(slot, last)?;
            } else if to > last {
                to = last;
            }
        }
        self.room(slot, from..to)?;
        let s = &mut self.slots[slot as usize];
        let Some(active) = &mut s.active else { return Ok(()) };
        for (i, &token) in s.tokens[from..to].iter().enumerate() {
            batch.rows.push(BatchRow { input: Input::Token(token), slot, position: (from + i) as u32 });
        }
        (s.submitted, s.states) = (to, Some(to));
        flight.reached.push((slot, s.request, to));
        if to == s.tokens.len() && active.limit > 0 {
            if !active.told && !flight.on_host {
                self.backend.set_slot(slot, &active.sampling, &s.tokens)?;
                active.told = true;
            }
            active.drawn = 1;
            batch.outputs.push(batch.rows.len() as u32 - 1);
            flight.outputs.push(Output { slot, request: s.request, draft: None });
        }
        Ok(())
    }
}

/// The masks of those outputs whose sequences have any, found on all cores while the backend computes.
fn masks(slots: &mut [Slot], outputs: &[Output]) -> Vec<(u32, TokenMask)> {
    let sampled = |(slot, s): &(u32, &mut Slot)| {
        outputs.iter().any(|output| (output.slot, output.request) == (*slot, s.request))
    };
    let slots = (0..).zip(slots).filter(sampled);
    slots.par_bridge().filter_map(|(slot, s)| Some((slot, s.active.as_mut()?.mask()?))).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::backend::{Backend, DeviceInfo, Limits, Memory, Placement, Precision, RuntimeConfig};
    use crate::batch::Collected;
    use crate::blocking::Waiting;
    use crate::sampler::Sampling;
    use crate::scheduler::Request;

    /// Computes nothing, at once, and keeps how many steps each batch had.
    struct Nothing {
        steps: Arc<Mutex<Vec<u32>>>,
    }

    impl Backend for Nothing {
        fn device(&self) -> DeviceInfo {
            DeviceInfo::default()
        }

        fn placement(&self) -> Placement {
            Placement::default()
        }

        fn memory(&self) -> Memory {
            Memory::default()
        }

        fn limits(&self) -> Limits {
            Limits { rows: 8, beside: 8, outputs: 8, repeated: 8, steps: 32, ahead: 3, snapshots: 0 }
        }

        fn set_slot(&mut self, _: u32, _: &Sampling, _: &[u32]) -> Result<()> {
            Ok(())
        }

        fn map_pages(&mut self, _: u32, _: usize, _: &[u32]) -> Result<()> {
            Ok(())
        }

        fn copy_page(&mut self, _: u32, _: u32) -> Result<()> {
            Ok(())
        }

        fn save_states(&mut self, _: u32, _: u32) -> Result<()> {
            Ok(())
        }

        fn restore_states(&mut self, _: u32, _: u32) -> Result<()> {
            Ok(())
        }

        fn submit(&mut self, batch: &Batch) -> Result<Ticket> {
            let mut steps = self.steps.lock().unwrap();
            steps.push(batch.steps);
            Ok(Ticket(steps.len() as u64 - 1))
        }

        fn sample(&mut self, _: &Ticket, _: &[(u32, TokenMask)]) -> Result<()> {
            Ok(())
        }

        fn collect_async(&mut self, ticket: Ticket) -> Waiting<'_, Result<Collected>> {
            let steps = self.steps.lock().unwrap()[ticket.0 as usize];
            Box::pin(async move { Ok(Collected { tokens: vec![0; steps as usize], logits: Vec::new() }) })
        }
    }

    #[test]
    fn batches_grow_behind_a_prompt_so_that_none_is_waited_for_while_it_is_encoded() {
        let steps = Arc::new(Mutex::new(Vec::new()));
        let mut backend = Nothing { steps: steps.clone() };
        let config = RuntimeConfig::new(1024, 1, 8, Precision::F32);
        let mut scheduler = Scheduler::new(&mut backend, config, 1);
        let slot = scheduler.open().unwrap();
        // The first request finds out how many steps take how long; the second knows.
        for _ in 0..2 {
            steps.lock().unwrap().clear();
            scheduler.truncate(slot, 0);
            let request = Request { tokens: vec![0], sampling: Sampling::greedy(), limit: Some(100) };
            scheduler.request(slot, request).unwrap();
            while scheduler.busy() {
                scheduler.advance(&mut |_, _| true).unwrap();
            }
        }
        assert_eq!(*steps.lock().unwrap(), [1, 2, 4, 8, 16, 32, 32, 5]);
    }
}
