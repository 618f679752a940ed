//! The variants of every kernel: all that its slots may stand for, on adapters with and without subgroups.

use wgllm::formats::FORMATS;
use wgllm::gpu::{Slots, imports, kernels, stems};

/// All variants of all kernels.
pub fn variants() -> impl Iterator<Item = (&'static str, Slots)> {
    kernels().flat_map(of)
}

/// A variant's name: the kernel, what is in its slots, and whether it uses subgroups.
pub fn name(kernel: &str, slots: Slots) -> String {
    let cache = has(kernel, slots.output, "cache").then_some(slots.cache);
    let subgroups = slots.subgroups.then_some("with subgroups");
    let parts = [Some(kernel), slots.weight, slots.input, slots.output, slots.copy, cache, subgroups];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// All that a kernel's slots may stand for.
fn of(kernel: &'static str) -> Vec<(&'static str, Slots)> {
    let mut variants = Vec::new();
    for weight in choices(kernel, None, "weight", "formats") {
        for input in choices(kernel, None, "input", "input") {
            // Activations are int8 where weights are integers.
            if input == Some("i8") && !FORMATS.iter().any(|f| Some(f.wgsl) == weight && f.integer) {
                continue;
            }
            for output in choices(kernel, None, "output", "output") {
                for copy in choices(kernel, output, "copy", "copy") {
                    for cache in choices(kernel, output, "cache", "cache") {
                        for subgroups in [false, true] {
                            let cache = cache.unwrap_or("f32");
                            variants.push((kernel, Slots { weight, input, output, copy, cache, subgroups }));
                        }
                    }
                }
            }
        }
    }
    variants
}

/// What is in a slot's folder, if the kernel or its output has that slot.
fn choices(kernel: &str, output: Option<&str>, slot: &str, folder: &str) -> Vec<Option<&'static str>> {
    if has(kernel, output, slot) { stems(folder).map(Some).collect() } else { vec![None] }
}

fn has(kernel: &str, output: Option<&str>, slot: &str) -> bool {
    imports(kernel, slot) || output.is_some_and(|output| imports(&format!("output/{output}"), slot))
}
