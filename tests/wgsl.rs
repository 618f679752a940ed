//! Every kernel with every weight format, cache and variant: it links, it is valid, and it has a translation for Vulkan, Metal
//! and DX12. Needs no GPU. That a translation is also right is shown where there is an adapter: tests/ops.rs.

use std::collections::BTreeSet;

use libtest_mimic::{Arguments, Failed, Trial};
use naga::back::{PipelineConstants, hlsl, msl, pipeline_constants::process_overrides, spv};
use naga::valid::{Capabilities, ModuleInfo, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ShaderStage};
use wgllm::formats::FORMATS;
use wgllm::gpu::{Slots, imports, kernels, link};

/// Values of overrides whose defaults are nothing that the engine would give them: kernel, name, value.
const OVERRIDES: &[(&str, &str, f64)] = &[];

/// What every adapter has: invocations of a workgroup, bytes of workgroup memory (Metal, DX12; Vulkan promises half, all known
/// adapters have this), storage buffers of a stage (SwiftShader).
const INVOCATIONS: u32 = 256;
const WORKGROUP_BYTES: u32 = 32 << 10;
const STORAGE_BUFFERS: u32 = 10;

fn main() -> std::process::ExitCode {
    let mut trials: Vec<Trial> = kernels().flat_map(variants).map(|(k, s)| trial(k, s)).collect();
    trials.push(Trial::test("matrices_of_16_are_refused_for_metal", matrices_of_16_are_refused_for_metal));
    trials.push(Trial::test(
        "subgroups_in_a_plain_variant_are_refused",
        subgroups_in_a_plain_variant_are_refused,
    ));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// All that a kernel's slots may stand for.
fn variants(kernel: &'static str) -> Vec<(&'static str, Slots)> {
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

fn trial(kernel: &'static str, slots: Slots) -> Trial {
    let mut name = kernel.to_string();
    let cache = (imports(kernel, "cache") || slots.output == Some("store")).then_some(slots.cache);
    for part in [slots.weight, slots.input, slots.output, slots.copy, cache].into_iter().flatten() {
        name = format!("{name} {part}");
    }
    let name = format!("{name} {}translates", if slots.subgroups { "with subgroups " } else { "" });
    Trial::test(name, move || {
        let text = link(kernel, slots)?;
        let overrides = OVERRIDES.iter().filter(|(k, ..)| *k == kernel);
        let overrides = overrides.map(|&(_, name, value)| (name.into(), value)).collect();
        translate(&text, slots.subgroups, &overrides)
    })
}

/// Validates a kernel with no more than its variant may use, and translates it.
fn translate(text: &str, subgroups: bool, overrides: &PipelineConstants) -> Result<(), Failed> {
    let module = naga::front::wgsl::parse_str(text).map_err(|e| e.emit_to_string(text))?;
    let coop = text.contains("enable wgpu_cooperative_matrix;");
    // unpack2x16float, which all of WebGPU has.
    let mut capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    capabilities.set(Capabilities::SHADER_FLOAT16, text.contains("enable f16;"));
    capabilities.set(Capabilities::COOPERATIVE_MATRIX, coop);
    let mut validator = Validator::new(ValidationFlags::all(), capabilities);
    if subgroups || coop {
        validator = Validator::new(ValidationFlags::all(), capabilities | Capabilities::SUBGROUP);
        validator.subgroup_stages(ShaderStages::COMPUTE).subgroup_operations(SubgroupOperationSet::all());
    }
    let info = validator.validate(&module).map_err(|e| e.emit_to_string(text))?;
    let entry = Some((ShaderStage::Compute, "main"));
    let (module, info) = process_overrides(&module, &info, entry, overrides)?;
    within_limits(&module)?;
    spv::write_vec(&module, &info, &spv::Options { lang_version: (1, 3), ..Default::default() }, None)?;
    to_metal(&module, &info)?;
    // Cooperative matrices are for Vulkan and Metal: HLSL has none.
    if coop {
        return Ok(());
    }
    if !subgroups {
        to_hlsl(&module, &info, hlsl::ShaderModel::V5_1)?; // FXC, where there is no dxcompiler.dll
    }
    to_hlsl(&module, &info, hlsl::ShaderModel::V6_4)
}

/// Holds a kernel with its default sizes to what every adapter has.
fn within_limits(module: &Module) -> Result<(), Failed> {
    let mut layouter = naga::proc::Layouter::default();
    layouter.update(module.to_ctx())?;
    let of = |wanted: AddressSpace| {
        let same = move |space| std::mem::discriminant(&space) == std::mem::discriminant(&wanted);
        module.global_variables.iter().map(|(_, v)| v).filter(move |v| same(v.space))
    };
    let storage = of(AddressSpace::Storage { access: naga::StorageAccess::LOAD }).count();
    let bytes: u32 = of(AddressSpace::WorkGroup).map(|v| layouter[v.ty].size).sum();
    let invocations: u32 = module.entry_points[0].workgroup_size.iter().product();
    for (what, found, most) in [
        ("storage buffers", storage as u32, STORAGE_BUFFERS),
        ("bytes of workgroup memory", bytes, WORKGROUP_BYTES),
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

fn to_hlsl(module: &Module, info: &ModuleInfo, shader_model: hlsl::ShaderModel) -> Result<(), Failed> {
    let options = hlsl::Options { shader_model, ..Default::default() };
    let (mut text, pipeline) = (String::new(), hlsl::PipelineOptions::default());
    let found = hlsl::Writer::new(&mut text, &options, &pipeline).write(module, info, None)?;
    for name in found.entry_point_names {
        name?;
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
    translate(&MATRICES.replace("SIZE", "8x8"), true, &PipelineConstants::default())?;
    match translate(&MATRICES.replace("SIZE", "16x16"), true, &PipelineConstants::default()) {
        Err(e) if e.message().is_some_and(|m| m.contains("16x16")) => Ok(()),
        other => Err(format!("a matrix of 16 × 16 gave {other:?}").into()),
    }
}

fn subgroups_in_a_plain_variant_are_refused() -> Result<(), Failed> {
    let text = "@compute @workgroup_size(64) fn main() { let sum = subgroupAdd(1u); }";
    translate(text, true, &PipelineConstants::default())?;
    match translate(text, false, &PipelineConstants::default()) {
        Err(_) => Ok(()),
        Ok(()) => Err("subgroupAdd was accepted where there are no subgroups".into()),
    }
}
