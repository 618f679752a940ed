//! What a slot holds: turns, what is shortened, shared, gone back to or broken off, and a pool that is too small.

use wgllm::scheduler::{Event, Request, Scheduler};

use crate::{Outcome, Target, alone, greedy, open, same};

pub fn turns(target: &Target) -> Outcome {
    let (first, second) = ([5, 9, 31, 77], [3, 18, 90]);
    let mut engine = open(target, 1)?;
    let (config, vocab) = (engine.plan, engine.model.vocab_size);
    let mut scheduler = Scheduler::new(engine.backend.as_mut(), config, vocab);
    let slot = scheduler.open().ok_or("no slot")?;
    let said = alone(&mut scheduler, slot, greedy(&first, 6))?;
    let answer = alone(&mut scheduler, slot, greedy(&second, 12))?;
    let prompt = [&first[..], &said, &second].concat();
    scheduler.truncate(slot, 0);
    same(&answer, &alone(&mut scheduler, slot, greedy(&prompt, 12))?)
}

pub fn shortened(target: &Target) -> Outcome {
    let mut engine = open(target, 2)?;
    let (config, vocab) = (engine.plan, engine.model.vocab_size);
    let mut scheduler = Scheduler::new(engine.backend.as_mut(), config, vocab);
    let slot = scheduler.open().ok_or("no slot")?;
    let prompt: Vec<u32> = (0..40).map(|i| i * 3 % 150).collect();
    let first = alone(&mut scheduler, slot, greedy(&prompt, 20))?;
    for len in [prompt.len() + 7, prompt.len(), prompt.len() - 1, 33, 32, 31] {
        let reached = scheduler.truncate(slot, len);
        // States go back to a snapshot, of which one was taken in front of the last token of each prompt.
        let kept = if target.has_states() && len != prompt.len() - 1 { 0..len } else { len..len + 1 };
        if !kept.contains(&reached) {
            return Err(format!("truncate({len}) says {reached}, expected one of {kept:?}").into());
        }
        let held = scheduler.tokens(slot).to_vec();
        let rest: Vec<u32> = [&prompt[..], &first].concat()[len..prompt.len().max(len)].to_vec();
        let on = alone(&mut scheduler, slot, greedy(&rest, 10))?;
        let whole = [&prompt[..], &first].concat();
        if held != whole[..len] {
            return Err(format!("after truncate({len}) it holds {held:?}").into());
        }
        let from = prompt.len().max(len);
        same(&on, &whole[from..from + 10])?;
    }
    Ok(())
}

pub fn forked(target: &Target) -> Outcome {
    let mut engine = open(target, 3)?;
    let (config, vocab) = (engine.plan, engine.model.vocab_size);
    let mut scheduler = Scheduler::new(engine.backend.as_mut(), config, vocab);
    let [a, b] = [scheduler.open().ok_or("no slot")?, scheduler.open().ok_or("no slot")?];
    let prompt: Vec<u32> = (0..45).map(|i| (i * 7 + 1) % 150).collect();
    scheduler.request(a, Request { limit: Some(0), ..greedy(&prompt, 0) })?;
    while scheduler.busy() {
        scheduler.advance(&mut |_, _| true)?;
    }
    for len in [45, 32, 40] {
        scheduler.fork(a, b, len)?;
        let (one, other) = ([8, 8, 8], [101, 2]);
        scheduler.request(a, greedy(&one, 9))?;
        scheduler.request(b, greedy(&other, 9))?;
        let mut found = [Vec::new(), Vec::new()];
        while scheduler.busy() {
            scheduler.advance(&mut |slot, event| {
                if let Event::Token(token) = event {
                    found[(slot == b) as usize].push(token);
                }
                true
            })?;
        }
        scheduler.truncate(a, 45);
        let c = scheduler.open().ok_or("no slot")?;
        same(&found[0], &alone(&mut scheduler, c, greedy(&[&prompt[..], &one].concat(), 9))?)?;
        scheduler.truncate(c, 0);
        same(&found[1], &alone(&mut scheduler, c, greedy(&[&prompt[..len], &other].concat(), 9))?)?;
        scheduler.close(c);
    }
    Ok(())
}

/// Prefills tokens and asks for nothing.
fn prefill(scheduler: &mut Scheduler<'_>, slot: u32, tokens: &[u32]) -> Outcome {
    alone(scheduler, slot, greedy(tokens, 0)).map(drop)
}

/// Snapshot, go on, go back, go on again: here and in front of a prompt's last token.
pub fn snapshot(target: &Target) -> Outcome {
    let mut engine = open(target, 2)?;
    let (config, vocab) = (engine.plan, engine.model.vocab_size);
    let mut scheduler = Scheduler::new(engine.backend.as_mut(), config, vocab);
    let slot = scheduler.open().ok_or("no slot")?;
    let prompt: Vec<u32> = (0..37).map(|i| (i * 11 + 5) % 150).collect();
    let (one, other) = ([4, 4, 8], [90, 2, 3, 6]);
    prefill(&mut scheduler, slot, &prompt)?;
    if scheduler.snapshot(slot)? != prompt.len() {
        return Err("the snapshot does not hold the prompt".into());
    }
    let mut found: Vec<Vec<u32>> = Vec::new();
    for rest in [&one[..], &other, &one, &other] {
        found.push(alone(&mut scheduler, slot, greedy(rest, 12))?);
        let reached = scheduler.truncate(slot, prompt.len());
        if reached != prompt.len() {
            return Err(
                format!("of {} tokens with a snapshot behind them {reached} are held", prompt.len()).into()
            );
        }
    }
    same(&found[2], &found[0])?;
    same(&found[3], &found[1])?;
    // What one prompt of all of it gives.
    for (rest, found) in [(&one[..], &found[0]), (&other, &found[1])] {
        scheduler.truncate(slot, 0);
        same(&alone(&mut scheduler, slot, greedy(&[&prompt, rest].concat(), 12))?, found)?;
    }
    // The same question again: its last token is computed once more, and nothing in front of it.
    let len = prompt.len() + other.len();
    let reached = scheduler.truncate(slot, len);
    if target.has_states() && reached != len - 1 {
        return Err(format!("of {len} tokens of a prompt {reached} are held").into());
    }
    same(&alone(&mut scheduler, slot, greedy(&[], 12))?, &found[1])
}

/// A backend computes ahead of what is handed out; what is broken off must not show.
pub fn broken_off(target: &Target) -> Outcome {
    let mut engine = open(target, 1)?;
    let (config, vocab) = (engine.plan, engine.model.vocab_size);
    let mut scheduler = Scheduler::new(engine.backend.as_mut(), config, vocab);
    let slot = scheduler.open().ok_or("no slot")?;
    let prompt: Vec<u32> = (0..30).map(|i| (i * 13 + 2) % 150).collect();
    let rest = [7, 100, 21];
    scheduler.request(slot, greedy(&prompt, 40))?;
    let mut said = Vec::new();
    while scheduler.busy() {
        scheduler.advance(&mut |_, event| {
            if let Event::Token(token) = event {
                said.push(token);
            }
            said.len() < 9
        })?;
    }
    let on = alone(&mut scheduler, slot, greedy(&rest, 12))?;
    scheduler.truncate(slot, 0);
    let whole = [&prompt[..], &said, &rest].concat();
    same(&on, &alone(&mut scheduler, slot, greedy(&whole, 12))?)
}

pub fn too_small(target: &Target) -> Outcome {
    let mut engine = open(target, 2)?;
    // Three pages for both: one sequence of 64 positions leaves the other 32.
    let config = wgllm::backend::RuntimeConfig { pages: 3, ..engine.plan };
    let vocab = engine.model.vocab_size;
    let mut scheduler = Scheduler::new(engine.backend.as_mut(), config, vocab);
    let [a, b] = [scheduler.open().ok_or("no slot")?, scheduler.open().ok_or("no slot")?];
    let expected = alone(&mut scheduler, a, greedy(&[7; 40], 8))?;
    scheduler.request(b, greedy(&[9; 40], 8))?;
    let refused = (0..8).find_map(|_| scheduler.advance(&mut |_, _| true).err());
    match refused {
        Some(wgllm::Error::OutOfMemory(_)) => {}
        other => return Err(format!("expected that the pool is too small, got {other:?}").into()),
    }
    scheduler.close(b);
    scheduler.truncate(a, 40);
    let b = scheduler.open().ok_or("no slot")?;
    let again = alone(&mut scheduler, b, greedy(&[7; 20], 3))?;
    if again.len() != 3 {
        return Err(format!("a slot goes on with {again:?}").into());
    }
    scheduler.truncate(a, 0);
    same(&expected, &alone(&mut scheduler, a, greedy(&[7; 40], 8))?)
}
