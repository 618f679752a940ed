//! The program on a terminal: a real pseudo-terminal, whose other end types and reads.

use std::io::{Read, Write};
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use pty_process::Size;
use pty_process::blocking::{Command, Pty, open};

use crate::program::*;

/// Far more than anything here takes on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// A terminal with the program in it.
pub struct Terminal {
    pty: Arc<Pty>,
    child: Child,
    /// Everything that came, byte for byte.
    seen: Arc<Mutex<Vec<u8>>>,
    /// How much of the text was looked at.
    at: usize,
    /// Where the program keeps what it keeps.
    pub folder: Arc<tempfile::TempDir>,
}

impl Terminal {
    /// The program with these arguments, in a window of 100 columns.
    pub fn start(args: &[&str]) -> Result<Terminal, Failed> {
        Terminal::with(args, &[], Arc::new(tempfile::tempdir()?), 100)
    }

    /// The same with variables of the environment, a folder for what is kept, and a number of columns.
    pub fn with(
        args: &[&str],
        environment: &[(&str, &str)],
        folder: Arc<tempfile::TempDir>,
        columns: u16,
    ) -> Result<Terminal, Failed> {
        let (pty, end) = open()?;
        pty.resize(Size::new(40, columns))?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_wgllm")).args(args).env("TERM", "xterm");
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("WGLLM_") || name == "NO_COLOR")
        {
            command = command.env_remove(name);
        }
        for name in ["XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"] {
            command = command.env(name, folder.path());
        }
        let child = command.current_dir(folder.path()).envs(environment.iter().copied()).spawn(end)?;
        let (pty, seen) = (Arc::new(pty), Arc::new(Mutex::new(Vec::new())));
        let (from, into) = (pty.clone(), seen.clone());
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = (&*from).read(&mut bytes) {
                if let Ok(mut seen) = into.lock() {
                    seen.extend_from_slice(&bytes[..count]);
                }
            }
        });
        Ok(Terminal { pty, child, seen, at: 0, folder })
    }

    /// Types.
    pub fn send(&mut self, keys: &str) -> Outcome {
        (&*self.pty).write_all(keys.as_bytes())?;
        Ok(())
    }

    /// Types a line.
    pub fn line(&mut self, text: &str) -> Outcome {
        self.send(&format!("{text}\r"))
    }

    /// Everything that came, byte for byte.
    pub fn raw(&self) -> String {
        self.seen.lock().map(|seen| String::from_utf8_lossy(&seen).into_owned()).unwrap_or_default()
    }

    /// Waits for a text behind what was waited for before; returns what came before it.
    pub fn expect(&mut self, text: &str) -> Result<String, Failed> {
        let start = Instant::now();
        loop {
            let shown = plain(&self.raw());
            let new = &shown[self.at.min(shown.len())..];
            if let Some(at) = new.find(text) {
                self.at += at + text.len();
                return Ok(new[..at].to_owned());
            }
            if start.elapsed() > PATIENCE {
                return Err(format!("no {text:?} in {new:?}").into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Types a line and waits for a text behind it.
    pub fn ask(&mut self, line: &str, text: &str) -> Result<String, Failed> {
        self.line(line)?;
        self.expect(text)
    }

    /// Leaves a chat.
    pub fn leave(mut self) -> Outcome {
        self.line("/exit")?;
        self.ends(0).map(drop)
    }

    /// Waits for the end, and demands this exit code.
    pub fn ends(mut self, code: i32) -> Result<String, Failed> {
        let start = Instant::now();
        while self.child.try_wait()?.is_none() {
            if start.elapsed() > PATIENCE {
                return Err(format!("it does not end: {:?}", plain(&self.raw())).into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let status = self.child.wait()?;
        std::thread::sleep(Duration::from_millis(50));
        let shown = plain(&self.raw());
        equal((status.code(), &shown), (Some(code), &shown))?;
        Ok(shown)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a person sees, roughly: without what steers the terminal, and the last of what is written over.
fn plain(raw: &str) -> String {
    let mut text = String::new();
    let mut chars = raw.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\x1b', Some('[')) => {
                chars.next();
                chars.by_ref().find(|c| ('@'..='~').contains(c));
            }
            ('\x1b', _) => drop(chars.next()),
            ('\r', _) => {}
            _ => text.push(c),
        }
    }
    text
}
