//! Ctrl-C: every command ends within half a second, whatever it is doing, with exit code 130.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};

use crate::program::*;

/// Half a second, and more for a machine that has other things to do; what does not look takes far longer.
const SOON: Duration = Duration::from_millis(4000);

type Test = (&'static str, fn() -> Outcome);

pub fn trials() -> Vec<Trial> {
    let tests: [Test; 4] = [
        ("ctrl_c_ends_a_generation_with_its_timings", generation),
        ("ctrl_c_ends_any_command", commands),
        ("ctrl_c_ends_the_wait_for_a_prompt", waiting),
        ("ctrl_c_leaves_no_half_of_a_file", half),
    ];
    let trial = |(name, test): Test| Trial::test(name, test).with_ignored_flag(cfg!(not(unix)));
    tests.into_iter().map(trial).collect()
}

fn start(args: &[&str]) -> std::io::Result<Child> {
    command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
}

/// Presses Ctrl-C, and demands that the program ends soon and as it should; returns what it said.
fn press(mut child: Child) -> Result<(String, String), Failed> {
    must(child.try_wait()?.is_none(), || "it ended before anybody asked it to".into())?;
    Command::new("kill").args(["-INT", &child.id().to_string()]).status()?;
    let pressed = Instant::now();
    let (stdin, mut texts) = (child.stdin.take(), [String::new(), String::new()]);
    let status = child.wait()?;
    let took = pressed.elapsed();
    drop(stdin);
    if let (Some(out), Some(err)) = (&mut child.stdout, &mut child.stderr) {
        out.read_to_string(&mut texts[0])?;
        err.read_to_string(&mut texts[1])?;
    }
    equal((status.code(), &texts[1]), (Some(130), &texts[1]))?;
    must(took < SOON, || format!("it took {took:?}: {}", texts[1]))?;
    let [out, err] = texts;
    Ok((out, err))
}

fn generation() -> Outcome {
    let args = ["-m", MODEL, "-b", "cpu", "-p", PROMPT, "-c", "20000", "--ignore-eos", "--temp", "0"];
    let mut child = start(&args)?;
    let mut first = [0];
    if let Some(out) = &mut child.stdout {
        out.read_exact(&mut first)?;
    }
    contains(&press(child)?.1, "prompt 5 tokens in ")
}

/// Every command that may take long, in the middle of what takes it long: prompts that would take minutes.
fn commands() -> Outcome {
    let ids = vec!["419"; 12_000].join(",");
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("x.npy");
    let out = out.to_str().expect("the folder's name is UTF-8");
    let cases: [&[&str]; 4] = [
        &["-m", MODEL, "-b", "cpu", "--ids", &ids, "-c", "12288"],
        &["logits", "-m", MODEL, "-b", "cpu", "--ids", &ids, "--out", out],
        &["bench", "-m", MODEL, "-b", "cpu", "-p", "12000", "-n", "0", "-d", "4000"],
        &["bench", "-m", MODEL, "-b", "cpu", "-p", "1", "-n", "0", "-r", "100000000", "-o", "jsonl"],
    ];
    for args in cases {
        let child = start(args)?;
        std::thread::sleep(Duration::from_millis(700));
        press(child)
            .map_err(|e| Failed::from(format!("{}: {}", args[0], e.message().unwrap_or_default())))?;
    }
    Ok(())
}

/// While kernels are made, and while tokens come.
pub fn on_gpu(device: &str) -> Outcome {
    let folder = tempfile::tempdir()?;
    let args = ["-m", MODEL, "--device", device, "-p", PROMPT, "-c", "200000", "--ignore-eos"];
    for milliseconds in [60, 400, 2500] {
        let mut command = command(&args);
        command.env("XDG_CACHE_HOME", folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn()?;
        std::thread::sleep(Duration::from_millis(milliseconds));
        press(child)?;
    }
    Ok(())
}

/// Standard input stays open, and nothing comes.
fn waiting() -> Outcome {
    let child = start(&["-m", MODEL, "-b", "cpu", "-f", "-"])?;
    std::thread::sleep(Duration::from_millis(300));
    equal(press(child)?.0, String::new())
}

fn half() -> Outcome {
    let ids = vec!["419"; 12_000].join(",");
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("x.npy");
    std::fs::write(&path, "yesterday's result")?;
    let out = path.to_str().expect("the folder's name is UTF-8");
    let child = start(&["logits", "-m", MODEL, "-b", "cpu", "--ids", &ids, "--out", out])?;
    std::thread::sleep(Duration::from_millis(700));
    press(child)?;
    equal(std::fs::read(&path)?.as_slice(), b"yesterday's result")?;
    equal(std::fs::read_dir(folder.path())?.count(), 1)
}
