//! Writes every variant of every kernel for the compilers of other platforms, which .ci/platforms hands them to:
//!
//! `cargo run --release --example kernels -- FOLDER [--pairs | FILE.wgsl ...]`
//!
//! With `--pairs` formats, inputs, outputs, copies, keys and values meet in pairs, not each with all others. `FOLDER/wgsl` is what browsers read, `FOLDER/cs_5_1` and `FOLDER/cs_6_4` the HLSL for Microsoft's FXC and DXC. Texts that are equal are
//! written once, under the first variant's name. With files, those are written in place of the kernels.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use naga::back::{PipelineConstants, hlsl::ShaderModel};
use translate::Kernel;
use wgllm::gpu::{Slots, link};

#[path = "../tests/wgsl/translate.rs"]
mod translate;
#[path = "../tests/wgsl/variants.rs"]
mod variants;

fn main() -> Result<(), String> {
    let mut args = std::env::args().skip(1).peekable();
    let folder = args.next().ok_or("usage: kernels FOLDER [--pairs | FILE.wgsl ...]")?;
    let pairs = args.next_if(|arg| arg == "--pairs").is_some();
    let files: Vec<String> = args.collect();
    let mut texts = Texts::new(Path::new(&folder))?;
    for file in &files {
        let text = fs::read_to_string(file).map_err(|e| format!("{file}: {e}"))?;
        let name = Path::new(file).file_stem().unwrap_or_default().to_string_lossy();
        texts.kernel(&name, &text, text.contains("subgroup"))?;
    }
    if files.is_empty() {
        // What stands in for matrix units is for software adapters, in tests alone; and keys and values in two formats bring a matvec
        // nothing that each of them in both does not.
        let meant = |(kernel, slots): &(&str, Slots)| {
            slots.matrix != Some("emulated") && (*kernel != "matvec" || slots.keys == slots.values)
        };
        let asked = |(kernel, slots): &(&str, Slots)| !pairs || variants::in_pairs(kernel, *slots);
        for (kernel, slots) in variants::variants().filter(meant).filter(asked) {
            let text = link(kernel, slots)?;
            texts.kernel(&variants::name(kernel, slots).replace(' ', "-"), &text, slots.subgroups)?;
        }
    }
    println!("{} variants: {} different texts in {folder}", texts.variants, texts.written.len());
    Ok(())
}

/// What has been written.
struct Texts<'a> {
    folder: &'a Path,
    written: HashSet<(&'static str, String)>,
    variants: usize,
}

impl<'a> Texts<'a> {
    fn new(folder: &'a Path) -> Result<Texts<'a>, String> {
        for part in ["wgsl", "cs_5_1", "cs_6_4"] {
            let part = folder.join(part);
            fs::create_dir_all(&part).map_err(|e| format!("{}: {e}", part.display()))?;
        }
        Ok(Texts { folder, written: HashSet::new(), variants: 0 })
    }

    /// Writes a kernel in all languages that it has.
    fn kernel(&mut self, name: &str, text: &str, subgroups: bool) -> Result<(), String> {
        let translated = Kernel::new(text, subgroups, &PipelineConstants::default());
        let kernel = translated.map_err(|e| format!("{name}: {e}"))?;
        self.variants += 1;
        for model in kernel.shader_models() {
            let target = if *model == ShaderModel::V5_1 { "cs_5_1" } else { "cs_6_4" };
            let text = kernel.hlsl(*model).map_err(|e| format!("{name}: {e}"))?;
            self.write(target, &format!("{name}.hlsl"), text)?;
        }
        // What has no HLSL has no WGSL that a browser knows.
        if kernel.shader_models().is_empty() {
            return Ok(());
        }
        // Browsers ask for what naga takes for granted.
        let uses = subgroups && text.contains("subgroup");
        let asked = if uses { "enable subgroups; diagnostic(off, subgroup_uniformity); " } else { "" };
        self.write("wgsl", &format!("{name}.wgsl"), format!("{asked}{text}"))
    }

    fn write(&mut self, part: &'static str, name: &str, text: String) -> Result<(), String> {
        if self.written.insert((part, text.clone())) {
            let path = self.folder.join(part).join(name);
            fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        Ok(())
    }
}
