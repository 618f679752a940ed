//! `bench --tune`: what it finds is kept and used, changes no result, and a file that is not that is named and left alone.

use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::Failed;
use serde_json::Value;

use crate::program::*;

pub fn tuned(device: &str) -> Outcome {
    let folder = tempfile::tempdir()?;
    let with = |args: &[&str]| -> Command {
        let mut command = command(&[args, &["-m", MODEL, "--device", device]].concat());
        command.env("XDG_CACHE_HOME", folder.path());
        command
    };
    let is_tuned = |args: &[&str]| -> Result<bool, Failed> {
        let run = succeed(&mut with(&[args, &["-p", PROMPT, "-n", "1", "--json"]].concat()))?;
        let json = parse(&run.out)?;
        let features = json["device"]["features"].as_array().cloned().unwrap_or_default();
        equal(run.err.contains("tuned\n"), features.contains(&"tuned".into()))?;
        Ok(features.contains(&"tuned".into()))
    };
    equal(is_tuned(&[])?, false)?;
    let json = parse(&succeed(&mut with(&["bench", "--tune", "-o", "json"]))?.out)?;
    let file = file(&json, folder.path())?;
    let steps = json[0]["steps"].as_array().cloned().unwrap_or_default();
    let timed = |step: &Value| {
        ["before_us", "after_us"].iter().all(|key| step[key].as_f64().is_some_and(|us| us > 0.0))
    };
    must(steps.len() > 2 && steps.iter().all(timed), || json.to_string())?;
    // It is in use, says so, and can be left out.
    equal((is_tuned(&[])?, is_tuned(&["--no-tune"])?), (true, false))?;
    let bench = ["bench", "-p", "8", "-n", "2", "-r", "1", "-o", "json"];
    equal(&parse(&succeed(&mut with(&bench))?.out)?[0]["tuned"], &true.into())?;
    // Whatever it says, each node is what it was.
    others(&file)?;
    succeed(&mut with(&["check"]))?;
    equal(is_tuned(&[])?, true)?;
    // What is none of ours is named, and neither used nor replaced.
    let good = std::fs::read_to_string(&file)?;
    let cases = [
        ("damaged", good[..good.len() / 2].to_owned(), "EOF"),
        ("of another driver", good.replace("\"driver\": \"", "\"driver\": \"other "), "it is for driver"),
        ("of another version", good.replace("\"wgllm\": \"", "\"wgllm\": \"9"), "it is for wgllm"),
        ("with tiles of three rows", good.replace("\"rows\": 4,", "\"rows\": 3,"), "a tile has 3 rows"),
        (
            "with more in it",
            good.replace("\"short\"", "\"shortest\": 3, \"short\""),
            "unknown field `shortest`",
        ),
    ];
    for (name, text, what) in cases {
        must(text != good, || format!("{name}: nothing is changed"))?;
        std::fs::write(&file, &text)?;
        let run = succeed(&mut with(&["-p", PROMPT, "-n", "1"]))?;
        for part in [what, &file.to_string_lossy(), "is not used", "bench --tune"] {
            contains(&run.err, part).map_err(|e| format!("{name}: {e:?}"))?;
        }
        must(!run.err.contains("tuned\n"), || run.err.clone())?;
        equal(std::fs::read_to_string(&file)?, text)?;
    }
    if cfg!(unix) {
        std::fs::remove_file(&file)?;
        must(Command::new("mkfifo").arg(&file).status()?.success(), || "no pipe was made".into())?;
        contains(&succeed(&mut with(&["-p", PROMPT, "-n", "1"]))?.err, "it is no file of ours")?;
    }
    Ok(())
}

/// The file that was written, which lies beside the pipelines.
fn file(json: &Value, folder: &Path) -> Result<PathBuf, Failed> {
    let file = PathBuf::from(json[0]["tuned_file"].as_str().unwrap_or_default());
    equal(file.parent(), Some(folder.join("wgllm").as_path()))?;
    must(file.is_file(), || format!("{} is not there", file.display()))?;
    Ok(file)
}

/// Puts tiles into a table that no adapter begins with.
fn others(file: &Path) -> Outcome {
    let mut kept = parse(&std::fs::read_to_string(file)?)?;
    let few = kept["policy"]["few"].as_array_mut().ok_or("the table has tiles")?;
    let (mut seen, mut all) = (Vec::new(), Vec::new());
    for tile in few.iter_mut() {
        let class = (tile["formats"].clone(), tile["large"].clone());
        if !seen.contains(&class) {
            seen.push(class);
            tile["tile"] = serde_json::json!({
                "rows": 4, "double": false, "tiles": 2, "teams": 1, "parts": 1, "within": { "from": 0, "to": u32::MAX },
            });
            all.push(tile.clone());
        }
    }
    *few = all;
    kept["policy"]["invocations"] = 4096.into();
    std::fs::write(file, serde_json::to_string_pretty(&kept)?)?;
    Ok(())
}

/// What cannot be tuned says why.
pub fn refused() -> Outcome {
    for (args, code, what) in [
        (&["bench", "--tune"][..], 2, "give one with -m FILE"),
        (&["bench", "--tune", "-m", MODEL, "-b", "cpu"], 2, "-b cpu is none"),
        (&["bench", "--tune", "-m", MODEL, "--precision", "f32"], 2, "--precision fast"),
        (&["bench", "--tune", "-m", MODEL, "-p", "8"], 2, "--n-prompt"),
    ] {
        let run = wgllm(args);
        equal(run.code, Some(code))?;
        contains(&run.err, what)?;
    }
    Ok(())
}
