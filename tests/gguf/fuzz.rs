//! Files damaged at random, the same way every time: whatever is in them, reading ends with a model or with an error.

use std::panic::{AssertUnwindSafe, catch_unwind};

use wgllm::gguf::Gguf;

use crate::blocks::Random;
use crate::gguf_file::{GgufFile, Meta};
use crate::tiny_model::{Gpt2, Llama};
use crate::{memory, understand};

/// Values that have broken readers.
const TELLING: [u64; 8] = [0, 1, 0x7fff_ffff, 0xffff_ffff, 1 << 32, i64::MAX as u64, u64::MAX - 31, u64::MAX];

/// A file with tokens and keys of several types, so that there is much to damage.
fn seeds() -> Vec<GgufFile> {
    let (heads, head_dim, vocab) = (2, 8, 24);
    let llama = Llama { layers: 1, heads, kv_heads: 1, head_dim, ffn: 16, vocab, ..Llama::default() };
    let mut llama = llama.file();
    let words = (0..vocab).map(|i| format!("w{i}")).collect::<Vec<_>>();
    llama.set("tokenizer.ggml.model", Meta::Str("llama".into()));
    llama.set("tokenizer.ggml.token_type", Meta::I32s(vec![1; words.len()]));
    llama.set("tokenizer.ggml.scores", Meta::F32s(vec![0.0; words.len()]));
    llama.set("tokenizer.ggml.tokens", Meta::Strs(words));
    llama.set("tokenizer.ggml.add_bos_token", Meta::Bool(true));
    llama.set("split.count", Meta::U16(1));
    vec![llama, Gpt2 { layers: 1, heads, head_dim, vocab, context: 16, ..Gpt2::default() }.file()]
}

#[test]
fn no_damage_makes_the_reader_panic_or_allocate() {
    let mut accepted = 0;
    for (number, file) in seeds().iter().enumerate() {
        let (whole, head) = (file.bytes(), file.head().len());
        for seed in 0..3000 {
            let mut bytes = whole.clone();
            let mut random = Random(seed + 10_000 * number as u64);
            damage(&mut bytes, head, &mut random);
            // Kept until the end, which is 50 MiB in all: writing so many files would take longer than reading them.
            let bytes = Vec::leak(bytes);
            let (outcome, peak) = memory::peak(|| catch_unwind(AssertUnwindSafe(|| look_at(bytes))));
            assert!(outcome.is_ok(), "file {number}, seed {seed}: it panicked");
            assert!(peak < bytes.len() as u64 + (64 << 20), "file {number}, seed {seed}: {peak} bytes held");
            accepted += usize::from(outcome.is_ok_and(|accepted| accepted));
        }
    }
    // Damage to a name that nothing reads, or to a number that may be another, is no damage.
    assert!((60..3000).contains(&accepted), "{accepted} of 6000 damaged files were accepted");
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
    let Ok((file, model)) = Gguf::from_static("fuzz.gguf", bytes).and_then(understand) else { return false };
    let shown: usize = file.metadata().iter().map(|(_, value)| value.to_string().len()).sum();
    let data: usize = file.tensors().iter().map(|t| file.data(t).len()).sum();
    shown + data > 0 && !model.graph.is_empty()
}
