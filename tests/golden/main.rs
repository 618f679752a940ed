//! Whole models against independent references: logits, greedy tokens, and the top token and the distribution under forced decoding.
//! Runs whatever the fixtures hold, on the CPU and on every adapter of this machine; what the engine does not know is ignored in its
//! own words.

#[path = "../common/adapters.rs"]
mod adapters;
mod altered;
mod asserts;
mod checkpoint;
#[path = "../common/fixtures.rs"]
mod fixtures;
mod forced;
#[path = "../common/gguf_file.rs"]
mod gguf_file;
mod kv;
mod left_out;
mod mistakes;
mod models;
mod q4_k_m;
mod quant;
mod real;
mod rebuilt;
mod stories;

use std::path::Path;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use wgllm::backend::Precision;

use adapters::{Target, adapters, none_here};

type Outcome = Result<(), Failed>;

/// The kind of the trials of trained models: they are larger, so that a software adapter computes longer than it compiles.
const TRAINED: &str = "trained";

fn main() -> ExitCode {
    let targets = adapters();
    let mut trials = Vec::new();
    for (folder, variable) in [(fixtures::fixtures(), "WGLLM_FIXTURES"), (fixtures::demo(), "WGLLM_DEMO")] {
        if !folder.is_dir() {
            let name = format!("golden data (none in {}; {variable} names their folder)", folder.display());
            trials.push(Trial::test(name, || Ok(())).with_ignored_flag(true));
        }
    }
    if targets.is_empty() {
        trials.push(none_here("golden data on an adapter"));
    }
    let all = [
        models::trials,
        kv::trials,
        quant::trials,
        stories::trials,
        forced::trials,
        real::trials,
        checkpoint::trials,
    ];
    for found in all {
        trials.extend(found(&targets));
    }
    trials.extend(mistakes::trials());
    trials.extend(left_out::trials());
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// A precision, and whether each run has it on adapters; otherwise `--include-ignored` has.
type Way = (Precision, bool);

const F32: Way = (Precision::F32, true);
const FAST: Way = (Precision::Fast, true);

/// A trial for a file on the CPU in f32, and one on each adapter in each of `ways`; one that is ignored where the engine does
/// not know the file.
fn on_all(
    path: &Path,
    targets: &[Target],
    ways: &[Way],
    test: impl Fn(&Path, &Target, Precision) -> Outcome + Clone + Send + 'static,
) -> Vec<Trial> {
    let name = short(path);
    if let Some(reason) = fixtures::unknown(path) {
        return vec![Trial::test(format!("{name} ({reason})"), || Ok(())).with_ignored_flag(true)];
    }
    let cpu = Target::cpu();
    let adapters = targets.iter().flat_map(|t| ways.iter().map(move |&way| (t, way)));
    let all = std::iter::once((&cpu, F32)).chain(adapters);
    let trial = |(target, (precision, met)): (&Target, Way)| {
        let name = format!("{name} in {} on {}", adapters::name(precision), target.label);
        let (path, target, test) = (path.to_owned(), target.clone(), test.clone());
        Trial::test(name, move || test(&path, &target, precision)).with_ignored_flag(!met)
    };
    all.map(trial).collect()
}

/// The last folder and the name of a file.
fn short(path: &Path) -> String {
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
    format!("{}/{}", folder.to_string_lossy(), path.file_name().unwrap_or_default().to_string_lossy())
}
