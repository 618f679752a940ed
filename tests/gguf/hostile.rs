//! Files made to hurt: whatever they say, opening them neither panics nor allocates more than their size and 64 MiB.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use libtest_mimic::Trial;
use wgllm::gguf::Gguf;

use super::gguf_file::{GgufFile, Meta};
use super::{Outcome, Test, ensure, read_all};

const ALLOWED: usize = 64 << 20;

pub fn trials() -> Vec<Trial> {
    let tests: [Test; 5] = [
        ("flipped_bits_do_no_harm", flipped),
        ("numbers_at_their_edges_do_no_harm", edges),
        ("as_many_keys_as_are_allowed_fit_the_memory", many_keys),
        ("as_many_tensors_as_are_allowed_fit_the_memory", many_tensors),
        ("long_keys_and_arrays_are_not_copied_over_and_over", long),
    ];
    tests.into_iter().map(|(name, test)| Trial::test(format!("hostile::{name}"), test)).collect()
}

/// Opens a file and, if that succeeds, reads all of it. Gives whether it did.
fn survives(bytes: &'static [u8]) -> Result<bool, String> {
    let (opened, peak) = peak(|| Gguf::from_static("hostile.gguf", bytes));
    if peak > bytes.len() + ALLOWED {
        return Err(format!("a file of {} bytes took {peak} bytes", bytes.len()));
    }
    match opened {
        Ok(file) => {
            read_all(&file);
            Ok(true)
        }
        Err(error) if error.to_string().starts_with("hostile.gguf: ") && error.exit_code() == 3 => Ok(false),
        Err(error) => Err(format!("exit code {}: {error}", error.exit_code())),
    }
}

/// A small file with something of everything.
fn sample() -> Vec<u8> {
    GgufFile::new()
        .with_alignment(16)
        .with("general.type", "model")
        .with("u8", Meta::U8(1))
        .with("i16", Meta::I16(-1))
        .with("u64", Meta::U64(1 << 40))
        .with("f64", Meta::F64(0.1))
        .with("flag", true)
        .with("flags", Meta::Array(7, vec![Meta::Bool(true), Meta::Bool(false)]))
        .with("texts", ["a", "bc", ""].as_slice())
        .with("scores", [0.5f32, -1.0].as_slice())
        .with("split.count", Meta::U16(1))
        .f32s("norm", &[3], &[1.0; 3])
        .tensor("q8", &[32, 2], 8, vec![1; 68])
        .tensor("q4_k", &[256], 12, vec![2; 144])
        .f32s("none", &[4, 0], &[])
        .bytes()
}

fn flipped() -> Outcome {
    let (sample, mut random) = (sample(), Random(0x9e37_79b9_7f4a_7c15));
    let mut accepted = 0;
    for round in 0..8_000 {
        let mut bytes = sample.clone();
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len());
            bytes[at] ^= 1 << random.below(8);
        }
        if random.below(4) == 0 {
            bytes.truncate(random.below(bytes.len()));
        }
        accepted += usize::from(survives(bytes.leak()).map_err(|e| format!("round {round}: {e}"))?);
    }
    // Otherwise the flips would hit the first check only, or nothing that is checked.
    ensure((200..7_800).contains(&accepted), || format!("{accepted} of 8000 were accepted"))
}

fn edges() -> Outcome {
    let sample = sample();
    for at in 0..sample.len() {
        for edge in [0, 1, u64::MAX, i64::MAX as u64, 1 << 63, u32::MAX.into(), 1 << 31, 1 << 30, 1 << 20] {
            for width in [4, 8] {
                let mut bytes = sample.clone();
                let end = bytes.len().min(at + width);
                bytes[at..end].copy_from_slice(&edge.to_le_bytes()[..end - at]);
                survives(bytes.leak()).map_err(|e| format!("{edge:#x} in {width} bytes at {at}: {e}"))?;
            }
        }
    }
    Ok(())
}

fn many_keys() -> Outcome {
    for (count, fits) in [(1 << 16, true), ((1 << 16) + 1, false)] {
        let mut file = GgufFile::new();
        file.metadata = (0..count).map(|i| (format!("{i}").into(), Meta::U8(1))).collect();
        ensure(survives(file.leak())? == fits, || format!("{count} keys"))?;
    }
    Ok(())
}

fn many_tensors() -> Outcome {
    for (count, fits) in [(1 << 16, true), ((1 << 16) + 1, false)] {
        let mut file = GgufFile { alignment: 1, ..GgufFile::new() }.with_alignment(1);
        for i in 0..count {
            file = file.tensor(&format!("{i:063}"), &[1; 4], 24, vec![1]);
        }
        ensure(survives(file.leak())? == fits, || format!("{count} tensors"))?;
    }
    Ok(())
}

fn long() -> Outcome {
    let tokens = Meta::Array(8, (0..1_000_000).map(|_| Meta::Str(vec![])).collect());
    let mut file = GgufFile::new().with("tokens", tokens).with("text", Meta::Str(vec![0xff; 100 << 20]));
    file.metadata.extend((0..3_000).map(|i| (format!("{i:065535}").into(), Meta::U8(1))));
    ensure(survives(file.leak())?, || "was refused".into())?;
    let kind = GgufFile::new().with("general.type", "x".repeat(100 << 20).as_str());
    ensure(!survives(kind.leak())?, || "a type of 100 MiB was accepted".into())
}

/// xorshift64: the same files in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

/// What `f` gives, and the most bytes that this thread had allocated beyond those before it.
fn peak<T>(f: impl FnOnce() -> T) -> (T, usize) {
    HELD.set(0);
    PEAK.set(0);
    let result = f();
    (result, PEAK.get() as usize)
}

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn count(bytes: isize) {
    // A thread that ends frees after its counters are gone.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
}
