//! Collects `wgsl/**/*.wgsl`, so that a kernel is added by adding its file: one text without comments and indentation, deflated to a fifth, and a
//! table of what stands where in it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=../../wgsl");
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("../../wgsl");
    let mut files = Vec::new();
    collect(&root, &mut files)?;
    files.sort();
    let (mut table, mut all) =
        (String::from("const PLACES: &[(&str, std::ops::Range<usize>)] = &[\n"), String::new());
    for file in files {
        let stem = file.strip_prefix(&root).unwrap_or(&file).with_extension("");
        let stem = stem.to_string_lossy().replace('\\', "/");
        let start = all.len();
        all.push_str(&bare(&fs::read_to_string(&file)?));
        let _ = writeln!(table, "    ({stem:?}, {start}..{}),", all.len());
    }
    table.push_str("];\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join("wgsl.rs"), table)?;
    fs::write(out.join("wgsl.zlib"), miniz_oxide::deflate::compress_to_vec_zlib(all.as_bytes(), 10))
}

/// What a compiler reads of a text: a third of a kernel is for people. Line numbers stay, and WGSL has no strings that could hold slashes.
fn bare(text: &str) -> String {
    let mut bare = String::with_capacity(text.len());
    for line in text.lines() {
        let (code, _) = line.split_once("//").unwrap_or((line, ""));
        bare.push_str(code.trim());
        bare.push('\n');
    }
    bare
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "wgsl") {
            files.push(path);
        }
    }
    Ok(())
}
