//! The variants of every kernel: all that its slots may stand for, on adapters with and without subgroups.

use wgllm::formats::FORMATS;
use wgllm::gpu::{Slots, imports, kernels, stems};

/// All variants of all kernels.
pub fn variants() -> impl Iterator<Item = (&'static str, Slots)> {
    kernels().flat_map(of)
}

/// A variant's name: the kernel, what is in its slots, and whether it uses subgroups.
pub fn name(kernel: &str, slots: Slots) -> String {
    let keys = slots.keys.filter(|_| has(kernel, slots.output, "keys"));
    let values = slots.values.filter(|_| has(kernel, slots.output, "values"));
    let subgroups = slots.subgroups.then_some("with subgroups");
    let parts = [
        Some(kernel),
        slots.weight,
        slots.input,
        slots.output,
        slots.copy,
        keys,
        values,
        slots.tiles,
        slots.queries,
        slots.matrix,
        subgroups,
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// Whether a variant is one of those in which each two choices for a kernel's slots meet: a format meets each output with one kind of copy, keys meet values with
/// one, and of matvecs with subgroups or without.
#[allow(dead_code)]
pub fn in_pairs(kernel: &str, slots: Slots) -> bool {
    let place = |folder, slot: Option<&str>| stems(folder).position(|stem| Some(stem) == slot);
    let of_matrices = [("formats", slots.weight), ("output", slots.output)];
    let of_attention = [("cache", slots.keys), ("cache", slots.values), ("queries", slots.queries)];
    let matvec = kernel == "matvec";
    let others = of_attention.into_iter().filter(|_| !matvec);
    let turn: usize =
        of_matrices.into_iter().chain(others).filter_map(|(folder, slot)| place(folder, slot)).sum();
    let (copies, copy) = (stems("copy").count(), place("copy", slots.copy));
    // What only subgroups do has no other half.
    copy.is_none_or(|copy| turn % copies == copy)
        && (!matvec || takes_over(&slots) || slots.subgroups == (turn / copies).is_multiple_of(2))
}

/// All that a kernel's slots may stand for.
fn of(kernel: &'static str) -> Vec<(&'static str, Slots)> {
    let mut variants = Vec::new();
    for weight in choices(kernel, None, "weight", "formats") {
        for input in choices(kernel, None, "input", "input") {
            // Activations are int8 where weights are integers.
            if kernel == "matmul_int8" && input != Some("i8") {
                continue;
            }
            if input == Some("i8") && !FORMATS.iter().any(|f| Some(f.wgsl) == weight && f.integer) {
                continue;
            }
            for output in choices(kernel, None, "output", "output") {
                if !meet(weight, input, output) {
                    continue;
                }
                // Where numbers are written in pairs, only formats that can be.
                let cache = if has(kernel, output, "keys::cache_pair") { "cache_pair" } else { "cache" };
                for copy in choices(kernel, output, "copy", "copy") {
                    for keys in choices(kernel, output, "keys", cache) {
                        for values in choices(kernel, output, "values", cache) {
                            for queries in choices(kernel, None, "queries", "queries") {
                                for tiles in choices(kernel, None, "tiles", "tiles") {
                                    // Some dozens of rows of experts are left to matvecs.
                                    if kernel == "matmul_few" && tiles != Some("own") {
                                        continue;
                                    }
                                    variants.extend(units(kernel).into_iter().map(|(matrix, subgroups)| {
                                        let slots = Slots {
                                            weight,
                                            input,
                                            output,
                                            copy,
                                            keys,
                                            values,
                                            queries,
                                            tiles,
                                            matrix,
                                            subgroups,
                                        };
                                        (kernel, slots)
                                    }));
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    variants.retain(|(_, slots)| taken_over(slots));
    variants
}

/// Whether a matvec also does what is in front of it.
fn takes_over(slots: &Slots) -> bool {
    slots.input.is_some_and(|i| i.starts_with("summed")) || slots.output == Some("expert_gate_routed")
}

/// Whether a matvec that also does what is in front of it is ever like this: with subgroups, activations in integers where weights are, and nothing behind it but what
/// models have there.
fn taken_over(slots: &Slots) -> bool {
    let integer = FORMATS.iter().any(|f| Some(f.wgsl) == slots.weight && f.integer);
    let input = slots.input.is_some_and(|i| i.ends_with("i8")) == integer;
    let copy = match slots.output {
        Some("expert_gate_routed" | "activation") => slots.copy == Some(if integer { "i8" } else { "none" }),
        Some("plain") => slots.copy == Some("none"),
        Some("store") => slots.keys == slots.values,
        _ => false,
    };
    !takes_over(slots) || (slots.subgroups && input && copy)
}

/// Whether a matvec's slots are ever filled like this: what normalises by itself keeps its sums, and biases of experts take the buffer that a third plane of
/// weights would.
fn meet(weight: Option<&str>, input: Option<&str>, output: Option<&str>) -> bool {
    let planes = FORMATS.iter().find(|f| Some(f.wgsl) == weight);
    let planes = planes.map_or(0, |f| f.planes.len() + f.grid.is_some() as usize);
    let sums = input.is_some_and(|input| input.starts_with("summed"));
    (input != Some("normed") || output == Some("plain"))
        && (!sums || matches!(output, Some("plain" | "store" | "activation")))
        && (output != Some("expert_sum_bias") || planes < 3)
}

/// Which matrix units a kernel may use, and whether subgroups: matrix units are those of subgroups, unless they are emulated.
fn units(kernel: &str) -> Vec<(Option<&'static str>, bool)> {
    match imports(kernel, "matrix") {
        true => stems("matrix").map(|stem| (Some(stem), stem != "emulated")).collect(),
        false => vec![(None, false), (None, true)],
    }
}

/// What is in a slot's folder, if the kernel or its output has that slot.
fn choices(kernel: &str, output: Option<&str>, slot: &str, folder: &str) -> Vec<Option<&'static str>> {
    if has(kernel, output, slot) { stems(folder).map(Some).collect() } else { vec![None] }
}

fn has(kernel: &str, output: Option<&str>, slot: &str) -> bool {
    imports(kernel, slot) || output.is_some_and(|output| imports(&format!("output/{output}"), slot))
}
