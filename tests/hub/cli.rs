//! The commands.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::server::{Entry, Fault, Server, sha256};
use crate::{Outcome, contains, equal, must, noise, repository};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo-q8_0.gguf");

fn command(server: &Server, cache: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wgllm"));
    command.args(args).stdin(Stdio::null());
    for (name, _) in
        std::env::vars().filter(|(name, _)| name.starts_with("WGLLM_") || name.starts_with("HF_"))
    {
        command.env_remove(name);
    }
    command.env("HF_ENDPOINT", server.address()).env("HF_HUB_CACHE", cache);
    command
}

/// Standard output and standard error of a run that ends with `code`.
fn run(command: &mut Command, code: i32) -> Result<[String; 2], libtest_mimic::Failed> {
    let output = command.output()?;
    let texts = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    must(output.status.code() == Some(code), || {
        format!("{command:?} ended with {}: {}", output.status, texts[1])
    })?;
    Ok(texts)
}

pub fn commands() -> Outcome {
    let server = Server::new(vec![Entry::new("Demo-Q8_0.gguf", fs::read(MODEL)?)]);
    let folder = tempfile::tempdir()?;
    let cache = folder.path();
    let story = ["-b", "cpu", "-p", "Once upon a time", "-n", "4", "--temp", "0", "-hf", "org/Tiny-GGUF"];
    let [out, err] = run(&mut command(&server, cache, &story), 0)?;
    equal(out.as_str(), "Once upon a time, there was a\n")?;
    contains(&err, "org/Tiny-GGUF: Demo-Q8_0.gguf (4.")?;
    // What is there is used without a byte of traffic, and any command finds it.
    server.heads();
    equal(run(&mut command(&server, cache, &story), 0)?[0].as_str(), "Once upon a time, there was a\n")?;
    let tokenize = ["tokenize", "-hf", "org/Tiny-GGUF:Q8_0", "-p", "Once upon a time"];
    let mut offline = command(&server, cache, &tokenize);
    equal(run(offline.env("HF_HUB_OFFLINE", "1"), 0)?[0].as_str(), "1 419 428 260 396\n")?;
    equal(server.heads().len(), 0)?;

    let [out, err] = run(&mut command(&server, cache, &["pull", "org/Tiny-GGUF:q8_0"]), 0)?;
    must(Path::new(out.trim_end()).is_file() && out.starts_with(&*cache.to_string_lossy()), || out.clone())?;
    contains(&err, "nothing to fetch")?;
    let [_, err] = run(&mut command(&server, cache, &["pull", "-q", "org/Tiny-GGUF:q8_0"]), 0)?;
    equal(err.as_str(), "")?;
    let [out, _] = run(&mut command(&server, cache, &["list"]), 0)?;
    contains(&out, "org/Tiny-GGUF:Q8_0  ")?;
    let [out, _] = run(&mut command(&server, cache, &["list", "--json"]), 0)?;
    let json: Value = serde_json::from_str(&out)?;
    equal(json["models"][0]["bytes"].as_u64(), Some(fs::metadata(MODEL)?.len()))?;
    let [out, _] = run(&mut command(&server, cache, &["rm", "org/Tiny-GGUF:Q8_0"]), 0)?;
    contains(&out, "are free again")?;
    must(!repository(cache).exists(), || "the model is still there".into())?;

    let [_, err] = run(&mut command(&server, cache, &["rm", "org/Tiny-GGUF:Q8_0"]), 2)?;
    contains(&err, "is not in")?;
    let [_, err] = run(command(&server, cache, &story).env("HF_HUB_OFFLINE", "1"), 2)?;
    contains(&err, "HF_HUB_OFFLINE is set")?;
    let [_, err] = run(&mut command(&server, cache, &["pull", "Tiny"]), 2)?;
    contains(&err, "expected ORG/REPO, ORG/REPO:QUANT")?;
    let both = ["inspect", "-hf", "org/Tiny-GGUF"];
    run(&mut command(&server, cache, &both), 2)?;
    let both = ["tokenize", "-m", MODEL, "-hf", "org/Tiny-GGUF", "-p", "x"];
    contains(&run(&mut command(&server, cache, &both), 2)?[1], "give one of them")?;
    // A flag goes before a variable.
    let mut flag = command(&server, cache, &tokenize);
    run(flag.env("WGLLM_MODEL", "/nowhere.gguf"), 0).map(drop)
}

/// The program ends at once, and what it had fetched by then is not fetched again.
pub fn ctrl_c() -> Outcome {
    let entry = Entry::new("Tiny-Q8_0.gguf", noise(4 << 20, 1));
    let server = Server::new(vec![entry.clone()]);
    let folder = tempfile::tempdir()?;
    let cache = folder.path();
    for fault in [Fault::Slow(20), Fault::Stall(300_000)] {
        server.fail_files([fault]);
        let mut pull = command(&server, cache, &["pull", "org/Tiny-GGUF"]);
        let mut child = pull.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        std::thread::sleep(Duration::from_millis(700));
        must(child.try_wait()?.is_none(), || "it ended before anybody asked it to".into())?;
        Command::new("kill").args(["-INT", &child.id().to_string()]).status()?;
        let pressed = Instant::now();
        equal(child.wait()?.code(), Some(130))?;
        must(pressed.elapsed() < Duration::from_secs(2), || format!("it took {:?}", pressed.elapsed()))?;
    }
    let part = repository(cache).join("blobs").join(format!("{}.incomplete", sha256(&entry.bytes)));
    let there = fs::metadata(part)?.len();
    must(there > 300_000, || format!("{there} bytes are there"))?;
    server.heads();
    let [out, _] = run(&mut command(&server, cache, &["pull", "org/Tiny-GGUF"]), 0)?;
    must(fs::read(out.trim_end())? == entry.bytes, || "other bytes than the hub's".into())?;
    let last = server.heads().last().ok_or("no request")?.to_lowercase();
    contains(&last, &format!("range: bytes={there}-"))
}
