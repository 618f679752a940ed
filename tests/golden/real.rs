//! `shared/real`: trained models as people download them, whose files are fetched into `target/models`, against the exact arithmetic on
//! their dequantised weights.

use std::path::Path;

use libtest_mimic::{Failed, Trial};
use serde_json::Value;
use wgllm::backend::Precision;

use crate::adapters::Target;
use crate::asserts::{Subject, tops};
use crate::fixtures::{ids, json, not_fetched, numbers, trained, unknown};
use crate::{F32, Outcome, TRAINED, on_all};

/// Of any logit, in f32: what the README asks for.
const LARGEST: f64 = 2e-3;
/// The margin above which a greedy token binds, in f32.
const SURE: f64 = 0.05;
/// Positions of a prompt whose logits are known.
const LAST: usize = 4;
/// What a software adapter is given of the prompts and of their continuations: it takes a second for a few tokens.
const SHORT_PROMPT: usize = 30;
const SHORT_TEXT: usize = 8;

/// A trial for each file on each backend, in f32; one that is ignored where the file was not fetched.
pub fn trials(targets: &[Target]) -> Vec<Trial> {
    let mut trials = Vec::new();
    for (folder, name, path) in trained() {
        let Some(path) = path else {
            trials.push(Trial::test(not_fetched(&name), || Ok(())).with_ignored_flag(true));
            continue;
        };
        if unknown(&path).is_none() {
            trials.push(Trial::test(format!("{name} is run, not ignored"), || Ok(())));
        }
        for target in targets.iter().filter(|target| !target.is_cpu()) {
            let (folder, path, of) = (folder.clone(), path.clone(), target.clone());
            let whole =
                Trial::test(format!("{name}, all prompts and texts, on {}", target.label), move || {
                    agrees(&folder, &path, &of, F32.0, false)
                });
            trials.push(whole.with_kind(TRAINED).with_ignored_flag(true));
        }
        let agrees =
            move |path: &Path, target: &Target, precision| agrees(&folder, path, target, precision, true);
        trials
            .extend(on_all(&path, targets, &[F32], agrees).into_iter().map(|trial| trial.with_kind(TRAINED)));
    }
    trials
}

/// `brief`: a software adapter is given less.
fn agrees(folder: &Path, path: &Path, target: &Target, precision: Precision, brief: bool) -> Outcome {
    let expected = json(&folder.join("expected.json"))?;
    let probes = ids(&expected["probe_ids"])?;
    let mut subject = Subject::open(path, target, precision)?;
    let brief = brief && !target.is_cpu() && subject.is_software();
    let prompts = expected["prompts"].as_array().ok_or("there are no prompts")?;
    let mut run = 0;
    for prompt in prompts {
        let name = prompt["name"].as_str().unwrap_or_default();
        let fed = ids(&prompt["ids"])?;
        if brief && fed.len() > SHORT_PROMPT {
            continue;
        }
        let last = logits_of(name, &mut subject, &fed, prompt, &probes)?;
        let golden = ids(&prompt["greedy"]["ids"])?;
        let margins = numbers(&prompt["greedy"]["margins"])?;
        let count = if brief { golden.len().min(SHORT_TEXT) } else { golden.len() };
        continues(name, &mut subject, &fed, last, &golden[..count], &margins)?;
        run += 1;
    }
    if run == 0 { Err("no prompt is short enough".into()) } else { Ok(()) }
}

/// Holds the logits of the last positions of a prompt to the golden ones; the most likely token behind it.
fn logits_of(
    name: &str,
    subject: &mut Subject,
    prompt: &[u32],
    expected: &Value,
    probes: &[u32],
) -> Result<u32, Failed> {
    let found = subject.last_logits(prompt, LAST)?;
    let vocab = subject.vocab();
    let golden = expected["logits"].as_array().ok_or("no logits are known")?;
    for at in golden {
        let position = at["pos"].as_u64().ok_or("a position is no number")? as usize;
        let row = (position + LAST).checked_sub(prompt.len()).ok_or("a position is not one of the last")?;
        let row = &found[row * vocab..][..vocab];
        let near = |what: &str, found: f64, golden: f64| -> Outcome {
            match (found - golden).abs() {
                d if d <= LARGEST => Ok(()),
                d => Err(format!(
                    "{name}, position {position}: {what} is {found}, golden {golden}, {d:e} apart"
                )
                .into()),
            }
        };
        let tops = ids(&at["top_ids"])?.into_iter().zip(numbers(&at["top_logits"])?);
        let probes = probes.iter().copied().zip(numbers(&at["probe_logits"])?);
        for (token, golden) in tops.chain(probes) {
            near(&format!("the logit of {token}"), f64::from(row[token as usize]), golden)?;
        }
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = row.iter().map(|&l| f64::from(l - largest).exp()).sum();
        let golden = at["logsumexp"].as_f64().ok_or("logsumexp is no number")?;
        near("logsumexp", f64::from(largest) + sum.ln(), golden)?;
    }
    Ok(tops(&found[(LAST - 1) * vocab..], vocab)[0].0 as u32)
}

/// Feeds the golden tokens one by one, and demands each where the golden margin is sure.
fn continues(
    name: &str,
    subject: &mut Subject,
    prompt: &[u32],
    first: u32,
    golden: &[u32],
    margins: &[f64],
) -> Outcome {
    let vocab = subject.vocab();
    let mut session = subject.session();
    session.prefill(prompt)?;
    let mut found = first;
    for (at, &token) in golden.iter().enumerate() {
        if found != token && margins[at] > SURE {
            let margin = margins[at];
            return Err(
                format!("{name}: token {at} is {found}, golden {token}, by a margin of {margin}").into()
            );
        }
        session.logits(&[token], &mut |row| found = tops(row, vocab)[0].0 as u32)?;
    }
    Ok(())
}
