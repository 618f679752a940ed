//! Links WGSL: `import package::lib::grid::flat;` brings the text of `wgsl/lib/grid.wgsl`, once, after the kernel's own, whose
//! line numbers stay as they are. Some names are slots, filled for each dispatch: `package::weight` (a tensor's format),
//! `package::keys` and `package::values` (the KV cache's), `package::input`, `package::output` and `package::copy` (what a matvec reads, what
//! becomes of its sums, and what the next one reads), `package::queries` (whether attention makes them itself), `package::tiles` (which rows a matmul's
//! tiles are of), and `package::matrix` (the adapter's matrix units; `package::matrix::folder` is what `folder` has for them). Where there are two files
//! `x_subgroup` and `x_plain`, the adapter decides which `x` is.
//!
//! Keys and values may be kept in one format or in two, so that a file of `wgsl/cache/` or `wgsl/cache_pair/` is brought once for each of them:
//! what is called `cache_load` there is `key_load` for keys and `value_load` for values ([`ROLES`]).

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

include!(concat!(env!("OUT_DIR"), "/wgsl.rs"));

/// All of `wgsl/`, as the build script put it together: of each file `PLACES` says where it stands.
static TEXT: LazyLock<String> = LazyLock::new(|| {
    let deflated = include_bytes!(concat!(env!("OUT_DIR"), "/wgsl.zlib"));
    let text =
        miniz_oxide::inflate::decompress_to_vec_zlib(deflated).expect("what the build script deflated");
    String::from_utf8(text).expect("what the build script read as text")
});

/// What the slots stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slots {
    /// The stem in `wgsl/formats/` of the weights that the kernel reads.
    pub weight: Option<&'static str>,
    /// The stem in `wgsl/input/` of how a matvec reads what it multiplies.
    pub input: Option<&'static str>,
    /// The stem in `wgsl/output/` of what becomes of its sums.
    pub output: Option<&'static str>,
    /// The stem in `wgsl/copy/` of what the next matvec reads.
    pub copy: Option<&'static str>,
    /// The stem in `wgsl/cache/` of the format of keys.
    pub keys: Option<&'static str>,
    /// And of values.
    pub values: Option<&'static str>,
    /// The stem in `wgsl/tiles/` of which rows a matmul's tiles are of.
    pub tiles: Option<&'static str>,
    /// The stem in `wgsl/queries/` of where attention finds its queries.
    pub queries: Option<&'static str>,
    /// The stem in `wgsl/matrix/` of matrix units.
    pub matrix: Option<&'static str>,
    /// Whether subgroup operations may be used.
    pub subgroups: bool,
}

/// What a slot is for, and what names of a format of caches become there.
const ROLES: [(&str, [(&str, &str); 4]); 2] = [
    ("keys", [("cache_", "key_"), ("Cache", "Key"), ("CACHE_", "KEY_"), ("caches", "keys")]),
    ("values", [("cache_", "value_"), ("Cache", "Value"), ("CACHE_", "VALUE_"), ("caches", "values")]),
];

impl Slots {
    /// Nothing in any slot, and no subgroups.
    pub const NONE: Slots = Slots {
        weight: None,
        input: None,
        output: None,
        copy: None,
        keys: None,
        values: None,
        tiles: None,
        queries: None,
        matrix: None,
        subgroups: false,
    };
}

/// The source of a file in `wgsl/`, by its path without the ending.
pub fn source(stem: &str) -> Option<&'static str> {
    PLACES.iter().find(|(name, _)| *name == stem).map(|(_, place)| &TEXT[place.clone()])
}

/// The stems of all kernels: files of `wgsl/` itself.
pub fn kernels() -> impl Iterator<Item = &'static str> {
    PLACES.iter().map(|(name, _)| *name).filter(|name| !name.contains('/'))
}

/// The stems of a folder of `wgsl/`: all that a slot may stand for.
pub fn stems(folder: &str) -> impl Iterator<Item = &'static str> {
    PLACES.iter().filter_map(move |(name, _)| name.strip_prefix(folder)?.strip_prefix('/'))
}

/// Whether a file of `wgsl/`, by its path without the ending, itself imports from the given slot.
pub fn imports(kernel: &str, slot: &str) -> bool {
    let prefix = format!("import package::{slot}::");
    source(kernel).is_some_and(|text| text.lines().any(|l| l.starts_with(&prefix)))
}

/// The numbers that a linked kernel takes: overrides, but for those that follow from others.
pub fn required(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|l| l.strip_prefix("override ")).filter_map(|l| {
        let (name, rest) = l.split_once(':')?;
        let (_, value) = rest.split_once('=')?;
        let value = value.split(';').next()?.trim();
        // A literal is for tests without a plan; what is computed from other numbers is set by those.
        (!value.contains([' ', '('])).then_some(name)
    })
}

/// The storage buffers that a linked kernel declares, as (group, binding, whether it is only read).
pub fn bindings(text: &str) -> Vec<(u32, u32, bool)> {
    let binding = |line: &str| {
        let (group, rest) = line.strip_prefix("@group(")?.split_once(") @binding(")?;
        let (binding, rest) = rest.split_once(')')?;
        Some((group.parse().ok()?, binding.parse().ok()?, !rest.contains("read_write")))
    };
    text.lines().filter_map(binding).collect()
}

/// A kernel with all that it imports, and what its text says of it.
pub struct Linked {
    /// What [`link`] makes.
    pub text: String,
    /// What [`required`] finds in it.
    pub numbers: Vec<String>,
    /// What [`bindings`] finds in it, in order.
    pub bindings: Vec<(u32, u32, bool)>,
}

/// All that was linked, by kernels and slots.
type Made = HashMap<(&'static str, Slots), Arc<Linked>>;

/// [`Linked`], made once for each kernel and what its slots stand for: a plan has a thousand launches of a hundred of them.
pub fn linked(kernel: &'static str, slots: Slots) -> Result<Arc<Linked>, String> {
    static MADE: LazyLock<Mutex<Made>> = LazyLock::new(Mutex::default);
    let mut made = MADE.lock().unwrap_or_else(|e| e.into_inner());
    if let Some(linked) = made.get(&(kernel, slots)) {
        return Ok(linked.clone());
    }
    let text = link(kernel, slots)?;
    let (numbers, mut bindings) = (required(&text).map(String::from).collect(), bindings(&text));
    bindings.sort_unstable();
    let linked = Arc::new(Linked { text, numbers, bindings });
    made.insert((kernel, slots), linked.clone());
    Ok(linked)
}

/// One WGSL text of a kernel and all that it imports. An unknown name is a mistake in this crate, told as text.
pub fn link(kernel: &str, slots: Slots) -> Result<String, String> {
    let mut enables: Vec<String> = Vec::new();
    let mut text = String::new();
    let mut modules = vec![kernel.to_string()];
    let mut next = 0;
    while next < modules.len() {
        let name = modules[next].clone();
        let body = body(&name).ok_or_else(|| format!("{kernel}: no file wgsl/{name}.wgsl"))?;
        for line in body.lines() {
            if let Some(path) = line.strip_prefix("import ") {
                let module = resolve(path, slots).map_err(|e| format!("{name}: {e}"))?;
                if !modules.contains(&module) {
                    modules.push(module);
                }
                text.push('\n');
            } else if line.starts_with("enable ") {
                if !enables.iter().any(|e| e == line) {
                    enables.push(line.into());
                }
                text.push('\n');
            } else {
                text.push_str(line);
                text.push('\n');
            }
        }
        next += 1;
    }
    // In front of the first line, not above it: the kernel's line numbers stay.
    Ok(enables.join(" ") + &text)
}

/// The text of a module: a file, or for `keys cache/f16` what that file is for keys.
fn body(module: &str) -> Option<Cow<'static, str>> {
    let Some((role, stem)) = module.split_once(' ') else { return source(module).map(Cow::Borrowed) };
    let (_, names) = ROLES.iter().find(|(name, _)| *name == role)?;
    let text = source(stem)?.to_string();
    Some(Cow::Owned(names.iter().fold(text, |text, (from, to)| text.replace(from, to))))
}

/// Where an item of a format is: its own decoder for tiles in f16 is in its file, and one for all others in `lib/`.
fn decoder(format: String, item: &str) -> String {
    let own = || source(&format).is_some_and(|text| text.contains("fn f16_weights("));
    if item == "f16_weights" && !own() { "lib/f16_weights".into() } else { format }
}

/// The file that an import names: its last part is the item, the one before the file.
fn resolve(path: &str, slots: Slots) -> Result<String, String> {
    let path = path.trim_end_matches(';').trim();
    let parts: Vec<&str> = path.split("::").collect();
    let ["package", folders @ .., _] = parts.as_slice() else {
        return Err(format!("import {path}: expected package::folder::file::item"));
    };
    let slot = |folder: &str, stem: Option<&str>| match stem {
        Some(stem) => Ok(format!("{folder}/{stem}")),
        None => Err(format!("import {path}: nothing is in that slot")),
    };
    match folders {
        ["weight"] => slot("formats", slots.weight).map(|file| decoder(file, parts[parts.len() - 1])),
        ["input"] => slot("input", slots.input),
        ["output"] => slot("output", slots.output),
        ["copy"] => slot("copy", slots.copy),
        ["tiles"] => slot("tiles", slots.tiles),
        ["queries"] => slot("queries", slots.queries),
        ["matrix"] => slot("matrix", slots.matrix),
        ["matrix", folder] => slot(folder, slots.matrix),
        [role @ ("keys" | "values"), rest @ ..] if rest.len() < 2 => {
            let format = if *role == "keys" { slots.keys } else { slots.values };
            let folder = rest.first().copied().unwrap_or("cache");
            slot(folder, format).map(|file| format!("{role} {file}"))
        }
        folders => {
            let stem = folders.join("/");
            let variant = format!("{stem}_{}", if slots.subgroups { "subgroup" } else { "plain" });
            Ok(if source(&variant).is_some() { variant } else { stem })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOTS: Slots = Slots {
        weight: Some("q8_0"),
        input: Some("i8"),
        output: Some("add"),
        copy: Some("i8"),
        keys: Some("q8_0"),
        values: Some("f16"),
        tiles: None,
        queries: None,
        matrix: None,
        subgroups: true,
    };

    #[test]
    fn a_module_is_brought_once_and_line_numbers_stay() {
        let text = link("matvec", SLOTS).unwrap();
        assert_eq!(text.matches("fn load_unit(").count(), 1);
        assert_eq!(text.matches("fn flat(").count(), 1);
        let line = |t: &str| t.lines().position(|l| l.contains("fn run(")).unwrap();
        assert_eq!(line(&text), line(source("matvec").unwrap()));
        assert!(!text.contains("import "));
    }

    #[test]
    fn the_adapter_decides_between_variants() {
        assert!(link("rms_norm", SLOTS).unwrap().contains("subgroupAdd"));
        assert!(!link("rms_norm", Slots { subgroups: false, ..SLOTS }).unwrap().contains("subgroupAdd"));
    }

    #[test]
    fn keys_and_values_have_formats_of_their_own() {
        let text = link("attend", SLOTS).unwrap();
        assert!(text.contains("alias KeyElement = u32;") && text.contains("alias ValueElement = vec2<u32>;"));
        let same = link("attend", Slots { keys: Some("f16"), ..SLOTS }).unwrap();
        assert_eq!(same.matches("fn key_load(").count() + same.matches("fn value_load(").count(), 2);
    }

    #[test]
    fn a_missing_slot_is_named() {
        let e = link("matvec", Slots { weight: None, ..SLOTS }).unwrap_err();
        assert!(e.contains("matvec") && e.contains("weight"), "{e}");
    }
}
