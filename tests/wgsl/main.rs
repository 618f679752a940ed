//! Every kernel with every weight format, cache and variant: it links, it is valid, and it has a translation for Vulkan, Metal
//! and DX12. Needs no GPU. That other compilers take the translations is shown by .ci/platforms, that they are right where there is an
//! adapter by tests/ops.

use libtest_mimic::{Arguments, Failed, Trial};
use naga::back::{PipelineConstants, msl, spv};
use naga::valid::ModuleInfo;
use naga::{AddressSpace, Module};
use translate::Kernel;
use wgllm::gpu::{Slots, link};

mod translate;
mod variants;

/// Values of overrides whose defaults are nothing that the engine would give them: kernel, name, value.
const OVERRIDES: &[(&str, &str, f64)] = &[];

/// What every adapter has: invocations of a workgroup and bytes of workgroup memory (WebGPU promises them), storage buffers of a
/// stage (SwiftShader).
const INVOCATIONS: u32 = 256;
const WORKGROUP_BYTES: u32 = 16 << 10;
/// Bytes of workgroup memory of what has matrix units.
const MATRIX_WORKGROUP_BYTES: u32 = 32 << 10;
const STORAGE_BUFFERS: u32 = 10;
/// Storage buffers of what also does what is in front of it, by words of its text: plans have it where an adapter has as many.
const MORE_STORAGE_BUFFERS: &[(&str, u32)] =
    &[("fn squares_added(", 15), ("fn take_best(", 12), ("fn squares_from(", 12), ("override DELTA_EPS", 12)];

fn main() -> std::process::ExitCode {
    let mut trials: Vec<Trial> = variants::variants().map(|(k, s)| trial(k, s)).collect();
    trials.push(Trial::test("matrices_of_16_are_refused_for_metal", matrices_of_16_are_refused_for_metal));
    trials.push(Trial::test(
        "subgroups_in_a_plain_variant_are_refused",
        subgroups_in_a_plain_variant_are_refused,
    ));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trial(kernel: &'static str, slots: Slots) -> Trial {
    let name = format!("{} translates", variants::name(kernel, slots));
    Trial::test(name, move || {
        let text = link(kernel, slots)?;
        let overrides = OVERRIDES.iter().filter(|(k, ..)| *k == kernel);
        let overrides = overrides.map(|&(_, name, value)| (name.into(), value)).collect();
        translate(&text, slots.subgroups, slots.matrix != Some("sixteen"), &overrides)
    })
}

/// Validates a kernel with no more than its variant may use, and translates it; for Metal where Metal may be given it.
fn translate(text: &str, subgroups: bool, metal: bool, overrides: &PipelineConstants) -> Result<(), Failed> {
    let kernel = Kernel::new(text, subgroups, overrides)?;
    let more = MORE_STORAGE_BUFFERS.iter().find(|(words, _)| text.contains(words));
    within_limits(
        &kernel,
        text.contains("fn matrix_begin("),
        more.map_or(STORAGE_BUFFERS, |&(_, most)| most),
    )?;
    let options = spv::Options { lang_version: (1, 3), ..Default::default() };
    spv::write_vec(&kernel.module, &kernel.info, &options, None)?;
    if metal {
        to_metal(&kernel.module, &kernel.info)?;
    }
    for model in kernel.shader_models() {
        kernel.hlsl(*model)?;
    }
    Ok(())
}

/// Holds a kernel with its default sizes to what every adapter has.
fn within_limits(kernel: &Kernel, matrices: bool, buffers: u32) -> Result<(), Failed> {
    let module = &kernel.module;
    let mut layouter = naga::proc::Layouter::default();
    layouter.update(module.to_ctx())?;
    let of = |wanted: AddressSpace| {
        let same = move |space| std::mem::discriminant(&space) == std::mem::discriminant(&wanted);
        module.global_variables.iter().map(|(_, v)| v).filter(move |v| same(v.space))
    };
    // What an entry point does not use is bound nowhere.
    let used = kernel.info.get_entry_point(0);
    let is_storage = |space| matches!(space, AddressSpace::Storage { .. });
    let storage = module.global_variables.iter();
    let storage = storage.filter(|(handle, v)| is_storage(v.space) && !used[*handle].is_empty()).count();
    let bytes: u32 = of(AddressSpace::WorkGroup).map(|v| layouter[v.ty].size).sum();
    let invocations: u32 = module.entry_points[0].workgroup_size.iter().product();
    for (what, found, most) in [
        ("storage buffers", storage as u32, buffers),
        ("bytes of workgroup memory", bytes, if matrices { MATRIX_WORKGROUP_BYTES } else { WORKGROUP_BYTES }),
        ("invocations", invocations, INVOCATIONS),
    ] {
        if found > most {
            return Err(format!("{found} {what}, and not every adapter has more than {most}").into());
        }
    }
    Ok(())
}

fn to_metal(module: &Module, info: &ModuleInfo) -> Result<(), Failed> {
    // What an M1 with macOS 12 takes.
    let options = msl::Options { lang_version: (2, 4), ..Default::default() };
    let (text, found) = msl::write_string(module, info, &options, &msl::PipelineOptions::default())?;
    for name in found.entry_point_names {
        name?;
    }
    // naga writes matrices of any size; Metal's are 8 × 8.
    let matrices = text.split("simdgroup_").skip(1).filter_map(|rest| {
        let name = rest.split(|c: char| !c.is_ascii_alphanumeric()).next()?;
        ["half", "float", "bfloat"].iter().find_map(|t| name.strip_prefix(t)).filter(|size| !size.is_empty())
    });
    for size in matrices {
        if size != "8x8" {
            return Err(format!("Metal has no simdgroup matrix of {size}").into());
        }
    }
    Ok(())
}

/// A product of two matrices of `SIZE` × `SIZE`.
const MATRICES: &str = "
enable wgpu_cooperative_matrix;

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main() {
    let m = coopLoadT<coop_matSIZE<f32, A>>(&a[0], 16u);
    let n = coopLoad<coop_matSIZE<f32, B>>(&a[0], 16u);
    coopStoreT(coopMultiplyAdd(m, n, coop_matSIZE<f32, C>()), &y[0], 16u);
}
";

fn matrices_of_16_are_refused_for_metal() -> Result<(), Failed> {
    translate(&MATRICES.replace("SIZE", "8x8"), true, true, &PipelineConstants::default())?;
    match translate(&MATRICES.replace("SIZE", "16x16"), true, true, &PipelineConstants::default()) {
        Err(e) if e.message().is_some_and(|m| m.contains("16x16")) => Ok(()),
        other => Err(format!("a matrix of 16 × 16 gave {other:?}").into()),
    }
}

fn subgroups_in_a_plain_variant_are_refused() -> Result<(), Failed> {
    let text = "@compute @workgroup_size(64) fn main() { let sum = subgroupAdd(1u); }";
    translate(text, true, true, &PipelineConstants::default())?;
    match translate(text, false, true, &PipelineConstants::default()) {
        Err(_) => Ok(()),
        Ok(()) => Err("subgroupAdd was accepted where there are no subgroups".into()),
    }
}
