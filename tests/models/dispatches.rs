//! How many dispatches of a token wait for each other in each block of each golden model: the table under "Decode" in ARCHITECTURE.md.

use std::path::PathBuf;

use libtest_mimic::{Failed, Trial};
use wgllm::backend::Precision;
use wgllm::gguf::Gguf;
use wgllm::gpu::dispatches_in_a_row;
use wgllm::models::Model;

use crate::Outcome;
use crate::fixtures::{entries, fixtures, stem, unknown};

/// What the table's first line says.
const TABLE: &str = "| in a row, at most | models |";

/// A trial for each golden model.
pub fn trials() -> Vec<Trial> {
    let folders = entries(&fixtures().join("models"));
    let trial = |folder: &PathBuf| {
        let (name, path) = (stem(folder), folder.join("model-f32.gguf"));
        let title = format!("the longest block of {name} has as many dispatches in a row as are told");
        if let Some(reason) = unknown(&path) {
            return Trial::test(format!("{title} ({reason})"), || Ok(())).with_ignored_flag(true);
        }
        Trial::test(title, move || in_a_row(&name, &Model::from_gguf(&Gguf::open(&path)?, None)?))
    };
    folders.iter().map(trial).collect()
}

/// The longest block in either precision is as long as the table says.
fn in_a_row(name: &str, model: &Model) -> Outcome {
    let [exact, fast] = [Precision::F32, Precision::Fast].map(|p| dispatches_in_a_row(model, p));
    let (exact, fast) = (exact?, fast?);
    let (most, told) = (exact.iter().chain(&fast).max().copied(), told(name)?);
    match most == Some(told) {
        true => Ok(()),
        false => Err(format!("{exact:?} in f32, {fast:?} in fast, {told} are told").into()),
    }
}

/// What the table says of a model.
fn told(name: &str) -> Result<usize, Failed> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/ARCHITECTURE.md");
    let text = std::fs::read_to_string(path)?;
    let table = text.lines().skip_while(|line| *line != TABLE).skip(2).take_while(|l| l.starts_with('|'));
    let rows = table.filter_map(|line| line.trim_matches(['|', ' ']).split_once(" | "));
    let row = rows.into_iter().find(|(_, models)| models.split([',', ';', ' ']).any(|model| model == name));
    let (count, _) = row.ok_or_else(|| format!("no row of the table in {path} has {name}"))?;
    Ok(count.parse()?)
}
