//! `decode` against gguf-py's values of random blocks: equal bit for bit.

use std::{env, fs, path::Path, path::PathBuf};

use libtest_mimic::{Failed, Trial};
use wgllm::formats::{FORMATS, Format};

/// One trial for each `TYPE.bin` that the fixtures have.
pub fn trials() -> Vec<Trial> {
    let folder = env::var_os("WGLLM_FIXTURES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures"), PathBuf::from)
        .join("dequant");
    let Ok(files) = fs::read_dir(&folder) else {
        let name = "decode_equals_gguf_py (no fixtures here: WGLLM_FIXTURES names their folder)";
        return vec![Trial::test(name, || Ok(())).with_ignored_flag(true)];
    };
    let mut files: Vec<_> = files.filter_map(|file| Some(file.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "bin"));
    files.sort();
    assert!(!files.is_empty(), "{} holds no TYPE.bin", folder.display());
    files.into_iter().map(trial).collect()
}

fn trial(path: PathBuf) -> Trial {
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    match FORMATS.iter().find(|format| format.name == name) {
        Some(format) => {
            Trial::test(format!("{name}_decodes_as_in_gguf_py"), move || decodes_as_in_gguf_py(format, &path))
        }
        None => Trial::test(format!("{name}_decodes_as_in_gguf_py (not a format of this engine)"), || Ok(()))
            .with_ignored_flag(true),
    }
}

fn decodes_as_in_gguf_py(format: &Format, path: &Path) -> Result<(), Failed> {
    let index: serde_json::Value = serde_json::from_slice(&fs::read(path.with_file_name("index.json"))?)?;
    let index = &index[format.name];
    for (field, ours) in
        [("ggml_type", format.id as usize), ("block_elements", format.weights), ("block_bytes", format.bytes)]
    {
        if index[field].as_u64() != Some(ours as u64) {
            return Err(format!("{field} is {}, ours {ours}", index[field]).into());
        }
    }

    let blocks = fs::read(path)?;
    let expected = npy(&path.with_extension("npy"))?;
    let mut weights = vec![f32::NAN; blocks.len() / format.bytes * format.weights];
    (format.decode)(&blocks, &mut weights);
    if weights.len() != expected.len() {
        return Err(format!("{} weights, expected {}", weights.len(), expected.len()).into());
    }
    match (0..weights.len()).find(|&i| weights[i].to_bits() != expected[i].to_bits()) {
        Some(i) => Err(format!("weight {i} is {:e}, expected {:e}", weights[i], expected[i]).into()),
        None => Ok(()),
    }
}

/// The values of a NumPy file of version 1.0 that holds little-endian float32.
fn npy(path: &Path) -> Result<Vec<f32>, Failed> {
    let bytes = fs::read(path)?;
    let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    if !bytes.starts_with(b"\x93NUMPY\x01\x00") || !bytes[..header].windows(5).any(|w| w == b"'<f4'") {
        return Err(format!("{} is not float32 in NumPy's format 1.0", path.display()).into());
    }
    Ok(bytes[header..].as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect())
}
