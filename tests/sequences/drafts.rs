//! Drafts of what was said before: the text is that of the same request without them, wherever it ends, and however tokens are chosen.

use wgllm::lookup::{self, Drafts};

use super::*;

/// A prompt that repeats itself, ended after some tokens of it.
fn prompt(n: usize) -> Vec<u32> {
    let period = [5, 9, 14, 3][n % 4];
    (0..22 + n * 5 % 13).map(|i| (n * 37 + i % period * 11) as u32 % 150).collect()
}

/// How tokens are chosen: by the device with and without what is recent, and by the host. Penalties forbid
/// what is recent, so that one token more or less of it shows.
fn samplings() -> Vec<Sampling> {
    let calm = Sampling { temperature: 0.05, seed: 11, ..Sampling::default() };
    vec![
        Sampling::greedy(),
        Sampling { seed: 5, top_k: 0, ..calm.clone() },
        Sampling { repeat_penalty: 1e3, repeat_last_n: 1, ..Sampling::greedy() },
        Sampling { repeat_penalty: 1e3, repeat_last_n: 2, ..calm.clone() },
        Sampling { presence_penalty: 0.02, frequency_penalty: 0.01, bias: vec![(7, 1.0)], ..calm },
    ]
}

/// Tokens of a request that is broken off after `most` of them, if it gets so far, and of one behind it.
fn broken_off(
    scheduler: &mut Scheduler<'_>,
    slot: u32,
    request: &Request,
    most: usize,
) -> Result<[Vec<u32>; 2], Failed> {
    scheduler.truncate(slot, 0);
    scheduler.request(slot, request.clone())?;
    let mut tokens = Vec::new();
    while scheduler.busy() {
        scheduler.advance(&mut |_, event| {
            if let Event::Token(token) = event {
                tokens.push(token);
            }
            tokens.len() < most
        })?;
    }
    let held = [&request.tokens[..], &tokens].concat();
    if scheduler.tokens(slot) != held {
        return Err(format!("behind {} tokens it holds {:?}", tokens.len(), scheduler.tokens(slot)).into());
    }
    // What is behind a full context goes on from its middle.
    scheduler.truncate(slot, 80);
    let next = Request { tokens: prompt(3)[..4].to_vec(), limit: Some(6), ..request.clone() };
    Ok([tokens, alone(scheduler, slot, next)?])
}

/// The same with and without, for each way of choosing and each length of drafts.
pub fn alone_with_drafts(target: &Target) -> Outcome {
    let mut engine = open(target, 1)?;
    let (config, vocab) = (engine.plan, engine.model.vocab_size);
    let mut scheduler = Scheduler::new(engine.backend.as_mut(), config, vocab);
    let slot = scheduler.open().ok_or("no slot")?;
    for (n, sampling) in samplings().into_iter().enumerate() {
        let before = scheduler.drafts();
        let request = Request { tokens: prompt(n), sampling, limit: [Some(40), None][n % 2] };
        scheduler.look_up(0)?;
        let all = broken_off(&mut scheduler, slot, &request, usize::MAX)?;
        for most in [1, 3, 8] {
            scheduler.look_up(most)?;
            let found = broken_off(&mut scheduler, slot, &request, usize::MAX)?;
            same(&found[0], &all[0])
                .map_err(|e| format!("drafts of {most}, {:?}: {e:?}", request.sampling))?;
            same(&found[1], &all[1])?;
        }
        let Drafts { drafted, accepted } = scheduler.drafts() - before;
        if drafted == 0 || accepted == 0 || accepted > drafted {
            return Err(format!("{accepted} of {drafted} accepted: {:?}", request.sampling).into());
        }
    }
    Ok(())
}

/// A stop wherever in a draft: the sequence ends there, and what follows is what follows without drafts.
pub fn stopped(target: &Target) -> Outcome {
    let mut engine = open(target, 1)?;
    let (config, vocab) = (engine.plan, engine.model.vocab_size);
    let mut scheduler = Scheduler::new(engine.backend.as_mut(), config, vocab);
    let slot = scheduler.open().ok_or("no slot")?;
    for (n, sampling) in samplings().into_iter().take(2).enumerate() {
        let request = Request { tokens: prompt(n), sampling, limit: Some(30) };
        for most in 1..16 {
            scheduler.look_up(0)?;
            let expected = broken_off(&mut scheduler, slot, &request, most)?;
            scheduler.look_up(8)?;
            let found = broken_off(&mut scheduler, slot, &request, most)?;
            same(&found[0], &expected[0])?;
            same(&found[1], &expected[1]).map_err(|e| format!("behind a stop after {most}: {e:?}"))?;
        }
    }
    Ok(())
}

/// Drafts of several sequences in the same steps, beside prompts and sequences that have none.
pub fn together(target: &Target) -> Outcome {
    let requests: Vec<Request> = (0..12)
        .map(|n| match n % 2 {
            0 => Request { tokens: prompt(n), ..request(n) },
            _ => request(n),
        })
        .collect();
    let expected = expected(target, &requests)?;
    for most in [2, 8] {
        let mut engine = open(target, 5)?;
        for (n, (found, expected)) in
            side_by_side(&mut engine, &requests, most)?.iter().zip(&expected).enumerate()
        {
            if found != expected {
                return Err(format!("request {n} got {found:?}, alone {expected:?}").into());
            }
        }
    }
    Ok(())
}

/// Layers with states cannot take a draft back.
pub fn refused(target: &Target) -> Outcome {
    let mut engine = open(target, 1)?;
    let mut scheduler = Scheduler::new(engine.backend.as_mut(), engine.plan, engine.model.vocab_size);
    scheduler.look_up(0)?;
    lookup::check(&engine.model, 0)?;
    for refused in [scheduler.look_up(4), lookup::check(&engine.model, 4)] {
        match refused {
            Err(error) if error.to_string().contains("states") => {}
            other => return Err(format!("drafts with states are {other:?}").into()),
        }
    }
    Ok(())
}
