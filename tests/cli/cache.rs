//! The pipeline cache on disk: what a driver does not take is replaced, and nothing in its place makes a start hang.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;

use crate::program::*;

/// Where the header of wgpu's data has the driver's own key, behind our checksum.
const DRIVER_KEY: std::ops::Range<usize> = 8 + 32..8 + 48;

pub fn replaced(device: &str) -> Outcome {
    let folder = tempfile::tempdir()?;
    run(device, folder.path())?;
    let file = cache_file(folder.path())?;
    let good = std::fs::read(&file)?;
    let mut damaged = good.clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    let mut other_driver = good.clone();
    other_driver[DRIVER_KEY].fill(0x77);
    let cases = [
        ("damaged", damaged),
        ("another driver's", other_driver),
        ("cut", good[..good.len() - 1].to_vec()),
        ("longer", [good.as_slice(), &[0; 4096]].concat()),
        ("noise", (0..100_000u32).flat_map(|i| i.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect()),
        ("empty", Vec::new()),
    ];
    for (name, bytes) in cases {
        std::fs::write(&file, &bytes)?;
        run(device, folder.path())?;
        must(std::fs::read(&file)? != bytes, || format!("{name}: not replaced"))?;
    }
    if cfg!(unix) {
        std::fs::remove_file(&file)?;
        must(Command::new("mkfifo").arg(&file).status()?.success(), || "no pipe was made".into())?;
        run(device, folder.path())?;
        must(std::fs::metadata(&file)?.is_file(), || "the pipe is still there".into())?;
    }
    // What cannot be replaced is left, and nobody is bothered.
    std::fs::remove_file(&file)?;
    std::fs::create_dir(&file)?;
    run(device, folder.path())?;
    must(cache_file(folder.path())?.is_dir(), || "the folder is gone".into())
}

/// A start on the device, which must end soon.
fn run(device: &str, folder: &Path) -> Outcome {
    let mut command =
        command(&["-m", MODEL, "--device", device, "-p", PROMPT, "-n", "2", "--temp", "0", "-q"]);
    command.env("XDG_CACHE_HOME", folder).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (mut child, start) = (command.spawn()?, Instant::now());
    while child.try_wait()?.is_none() {
        if start.elapsed() > Duration::from_secs(120) {
            child.kill()?;
            return Err("the program hangs".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output()?;
    equal(output.status.code(), Some(0))?;
    equal(String::from_utf8_lossy(&output.stdout).as_ref(), &format!("{PROMPT}, there\n"))
}

/// The one file of the cache.
fn cache_file(folder: &Path) -> Result<PathBuf, Failed> {
    let entries: Vec<_> = std::fs::read_dir(folder.join("wgllm"))?.flatten().map(|e| e.path()).collect();
    match &entries[..] {
        [file] => Ok(file.clone()),
        other => Err(format!("the cache has {other:?}, expected one file").into()),
    }
}
