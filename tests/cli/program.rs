//! The program, started as a user starts it, and what its output is held to.

use std::process::{Command, Stdio};

use libtest_mimic::Failed;
use serde_json::Value;

pub use crate::demands::{contains, equal, must};

pub const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo-q8_0.gguf");

/// What the model's own reference continues this prompt with, token by token the most likely: Hugging Face transformers in
/// float32 on the decoded weights.
pub const PROMPT: &str = "Once upon a time";
pub const STORY: &str = r#", there was a little girl named Lily. She loved to play with her toys and eat yummy food. One day, she found a big, red apple on the ground. She picked it up and took it to her mom.
Lily's mom said, "Lily, you need to eat the apple. It's very yummy." Lily was happy and said, "Thank you, Mommy!" She took the apple and went to the store with her mom.
At the store, Lily saw a big, red apple. She wanted to eat it, but her mom said, "No, Lily. You can't eat the apple." Lily was sad, but she knew she had to be careful. She went home and told her mom about the apple. Her mom said, "If you eat the apple, you can have it." Lily was happy and ate the apple. She learned that it's important to be careful and not eat things that are not good for you."#;
/// Its tokens; the end token comes behind them.
pub const STORY_TOKENS: usize = 197;

pub type Outcome = Result<(), Failed>;
/// A test and its name.
pub type Test = (&'static str, fn() -> Outcome);

/// What a run of the program left behind.
pub struct Run {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// The program with none of the flags that the environment may set, and nothing to read.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wgllm"));
    // Nor with the configuration of whoever runs this.
    command.args(args).stdin(Stdio::null()).env("XDG_CONFIG_HOME", "/no/such/folder");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("WGLLM_")) {
        command.env_remove(name);
    }
    command
}

pub fn finish(command: &mut Command) -> Run {
    let output = command.output().expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    Run { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

pub fn wgllm(args: &[&str]) -> Run {
    finish(&mut command(args))
}

/// The same for a run that must succeed on the carried model and the CPU.
pub fn on_cpu(args: &[&str]) -> Result<Run, Failed> {
    succeed(&mut command(&[args, &["-m", MODEL, "-b", "cpu"]].concat()))
}

pub fn succeed(command: &mut Command) -> Result<Run, Failed> {
    let run = finish(command);
    must(run.code == Some(0), || format!("{command:?} ended with {:?}: {}", run.code, run.err))?;
    Ok(run)
}

pub fn parse(text: &str) -> Result<Value, Failed> {
    serde_json::from_str(text).map_err(|e| format!("{e} in {text:?}").into())
}
