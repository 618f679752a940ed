//! The variants of every kernel: all that its slots may stand for, on adapters with and without subgroups.

use std::collections::BTreeSet;

use wgllm::formats::FORMATS;
use wgllm::gpu::{Slots, imports, kernels};

/// All variants of all kernels.
pub fn variants() -> impl Iterator<Item = (&'static str, Slots)> {
    kernels().flat_map(of)
}

/// A variant's name: the kernel, what is in its slots, and whether it uses subgroups.
pub fn name(kernel: &str, slots: Slots) -> String {
    let cache = (imports(kernel, "cache") || slots.output == Some("store")).then_some(slots.cache);
    let subgroups = slots.subgroups.then_some("with subgroups");
    let parts = [Some(kernel), slots.weight, slots.input, slots.output, slots.copy, cache, subgroups];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// All that a kernel's slots may stand for.
fn of(kernel: &'static str) -> Vec<(&'static str, Slots)> {
    // What a slot may stand for, if the kernel has it; what an output imports itself, every output of it has.
    let choices = |slot: &str, all: &[&'static str]| -> Vec<Option<&'static str>> {
        let has = imports(kernel, slot) || (kernel == "matvec" && slot == "copy");
        if has { all.iter().copied().map(Some).collect() } else { vec![None] }
    };
    // Formats may share a decoder.
    let formats: BTreeSet<&str> = FORMATS.iter().map(|f| f.wgsl).collect();
    let formats: Vec<&str> = formats.into_iter().collect();
    let caches: &[&'static str] =
        if imports(kernel, "cache") || kernel == "matvec" { &["f16", "f32"] } else { &["f32"] };
    let mut variants = Vec::new();
    for weight in choices("weight", &formats) {
        for input in choices("input", &["f32", "i8"]) {
            let integer = FORMATS.iter().any(|f| Some(f.wgsl) == weight && f.integer);
            if input == Some("i8") && !integer {
                continue;
            }
            for output in choices("output", &["plain", "add", "gate", "store"]) {
                for copy in choices("copy", &["none", "f32", "i8"]) {
                    for &cache in caches {
                        // Only the output that writes a cache, or a copy, differs by it.
                        let first = cache == caches[0] || output.is_none_or(|o| o == "store");
                        let alike = matches!(output, Some("plain" | "store")) && copy != Some("none");
                        if first && !alike {
                            for subgroups in [false, true] {
                                variants
                                    .push((kernel, Slots { weight, input, output, copy, cache, subgroups }));
                            }
                        }
                    }
                }
            }
        }
    }
    variants
}
