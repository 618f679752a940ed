//! Files damaged at random, the same way every time: whatever is in them, reading ends with a model or with an error.

use std::panic::{AssertUnwindSafe, catch_unwind};

use libtest_mimic::Trial;

use crate::blocks::Random;
use crate::gguf_file::{GgufFile, Meta};
use crate::tiny_model::{Gpt2, HYBRIDS, Hybrid, Llama};
use crate::{Outcome, heap, load};

/// Damaged files of each kind.
const ROUNDS: u64 = 3000;

/// The fuzz is one trial.
pub fn trials() -> Vec<Trial> {
    vec![Trial::test("fuzz::no damage makes a model's file panic or allocate", no_damage_hurts)]
}

/// Values that have broken readers.
const TELLING: [u64; 8] = [0, 1, 0x7fff_ffff, 0xffff_ffff, 1 << 32, i64::MAX as u64, u64::MAX - 31, u64::MAX];

/// A file with tokens and keys of several types, so that there is much to damage.
fn seeds() -> Vec<GgufFile> {
    let (heads, head_dim, vocab) = (2, 8, 24);
    let llama = Llama { layers: 1, heads, kv_heads: 1, head_dim, ffn: 16, vocab, ..Llama::default() };
    let mut llama = llama.file();
    let words = (0..vocab).map(|i| Meta::Str(format!("w{i}").into())).collect::<Vec<_>>();
    llama.set("tokenizer.ggml.model", "llama");
    llama.set("tokenizer.ggml.token_type", vec![1i32; words.len()].as_slice());
    llama.set("tokenizer.ggml.scores", vec![0f32; words.len()].as_slice());
    llama.set("tokenizer.ggml.tokens", Meta::Array(8, words));
    llama.set("tokenizer.ggml.add_bos_token", true);
    llama.set("split.count", Meta::U16(1));
    let gpt2 = Gpt2 { layers: 1, heads, head_dim, vocab, context: 16, ..Gpt2::default() }.file();
    let hybrids = HYBRIDS.map(|architecture| Hybrid { architecture, format: "F16" }.file());
    [llama, gpt2].into_iter().chain(hybrids).collect()
}

fn no_damage_hurts() -> Outcome {
    let mut accepted = 0;
    for (number, file) in seeds().iter().enumerate() {
        let whole = file.bytes();
        let data: usize = file.tensors.iter().map(|t| t.data.len().next_multiple_of(32)).sum();
        for seed in 0..ROUNDS {
            let mut bytes = whole.clone();
            damage(&mut bytes, whole.len() - data, &mut Random(seed + 10_000 * number as u64));
            let size = bytes.len() as u64;
            let look = AssertUnwindSafe(|| look_at(bytes.leak()));
            let (looked, peak) = heap::peak(|| catch_unwind(look));
            if peak > size + heap::ALLOWED {
                return Err(format!("file {number}, seed {seed}: {peak} bytes held for {size}").into());
            }
            accepted += u64::from(looked.map_err(|_| format!("file {number}, seed {seed}: it panicked"))?);
        }
    }
    // Otherwise the damage would be to the first check only, or to nothing that is checked.
    match accepted {
        150..7500 => Ok(()),
        _ => Err(format!("{accepted} of {} damaged files were accepted", 5 * ROUNDS).into()),
    }
}

/// Flips bits, sets words, moves and cuts; almost always in front of the data.
fn damage(bytes: &mut Vec<u8>, head: usize, random: &mut Random) {
    for _ in 0..1 + random.bits() % 3 {
        let at = random.bits() as usize % head.min(bytes.len());
        match random.bits() % 5 {
            0 => bytes[at] ^= 1 << (random.bits() % 8),
            1 => bytes[at] = random.bits() as u8,
            2 if at + 8 <= bytes.len() => {
                let value = TELLING[random.bits() as usize % TELLING.len()];
                bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
            }
            3 => drop(bytes.splice(at..at, [random.bits() as u8; 4])),
            _ => {
                let end = (at + 1 + random.bits() as usize % 8).min(bytes.len());
                drop(bytes.drain(at..end));
            }
        }
        if bytes.is_empty() {
            return;
        }
    }
    if random.bits().is_multiple_of(8) {
        bytes.truncate(random.bits() as usize % bytes.len());
    }
}

/// Loads a file and touches everything in it; whether it was accepted.
fn look_at(bytes: &'static [u8]) -> bool {
    let Ok((file, model)) = load(bytes) else { return false };
    let shown: usize = file.metadata().iter().map(|(_, value)| value.to_string().len()).sum();
    let data: usize = file.tensors().iter().map(|t| file.data(t).len()).sum();
    shown + data > 0 && !model.graph.is_empty()
}
