//! The WGSL decoders are valid and have a translation for every backend. Needs no GPU.

use std::{fs, path::Path};

use libtest_mimic::{Failed, Trial};
use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use wgllm::formats::{FORMATS, Format};

/// Decodes every unit.
const DECODE: &str = "
@group(0) @binding(0) var<storage, read_write> results: array<f32>;

@compute @workgroup_size(32)
fn decode(@builtin(global_invocation_id) id: vec3<u32>) {
    let unit = id.x;
    if unit * UNIT >= arrayLength(&results) {
        return;
    }
    let u = load_unit(unit / row_units(), unit % row_units());
    for (var four = 0u; four < UNIT / 4u; four++) {
        let w = unit_weights(u, four);
        for (var i = 0u; i < 4u; i++) {
            results[unit * UNIT + 4u * four + i] = w[i];
        }
    }
}
";

/// Multiplies every unit by its own activations.
const DOT: &str = "
@group(0) @binding(1) var<storage, read> activations: array<Quants>;

@compute @workgroup_size(32)
fn dot_i8(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x < arrayLength(&results) {
        let u = load_unit(id.x / row_units(), id.x % row_units());
        results[id.x] = unit_dot_i8(u, activations[id.x]);
    }
}
";

/// One trial for each format.
pub fn trials() -> Vec<Trial> {
    let trial = |format: &'static Format| {
        Trial::test(format!("{}_wgsl_translates_for_every_backend", format.name), || translates(format))
    };
    FORMATS.iter().map(|&format| trial(format)).collect()
}

/// The format's decoder of rows of `cols` weights with all that it imports, and the entry points `decode` and, for integer
/// formats, `dot_i8`.
pub fn shader(format: &Format, cols: usize) -> Result<String, Failed> {
    let mut names = vec![format!("formats/{}", format.wgsl)];
    let mut text = format!("const COLS: u32 = {cols}u;\n{DECODE}{}", if format.integer { DOT } else { "" });
    let mut next = 0;
    while let Some(name) = names.get(next).cloned() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("wgsl").join(&name).with_extension("wgsl");
        for line in fs::read_to_string(path)?.lines() {
            // `import package::lib::row::row_units;` is all of lib/row.wgsl; what it calls `weight` is the format itself.
            let module = line.strip_prefix("import package::lib::").and_then(|rest| rest.split("::").next());
            let module = module.map(|module| format!("lib/{module}"));
            match module {
                Some(module) if !names.contains(&module) => names.push(module),
                Some(_) => (),
                None if line.starts_with("import package::weight::") => (),
                None => text.extend([line, "\n"]),
            }
        }
        next += 1;
    }
    Ok(text)
}

fn translates(format: &Format) -> Result<(), Failed> {
    let source = shader(format, 256)?;
    let module = naga::front::wgsl::parse_str(&source).map_err(|e| e.emit_to_string(&source))?;
    // unpack2x16float, which all of WebGPU has.
    let capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .map_err(|e| e.emit_to_string(&source))?;

    spv::write_vec(&module, &info, &spv::Options::default(), None)?;
    // The Metal of Apple M1, and the shader model before and after dot4add_i8packed.
    let metal = msl::Options { lang_version: (2, 4), ..Default::default() };
    msl::write_string(&module, &info, &metal, &msl::PipelineOptions::default())?;
    for shader_model in [hlsl::ShaderModel::V5_1, hlsl::ShaderModel::V6_4] {
        let options = hlsl::Options { shader_model, ..Default::default() };
        let (mut text, pipeline) = (String::new(), hlsl::PipelineOptions::default());
        hlsl::Writer::new(&mut text, &options, &pipeline).write(&module, &info, None)?;
    }
    Ok(())
}
