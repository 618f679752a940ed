//! What holds for any text: it comes back from its ids, and the ids do not depend on the way it came.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use libtest_mimic::{Failed, Trial};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use wgllm::tokenizer::Tokenizer;

use super::{Outcome, PROMPT, TEMPLATE, USER};

/// Any characters, and often those by which texts are cut.
fn texts() -> impl Strategy<Value = String> {
    let letters = prop_oneof![
        4 => any::<char>(),
        4 => proptest::sample::select(" \n\r\t'’sSłéÉßſ想か가नि1½²٣.!<|>_/\u{301}\u{200d}\u{feff}\u{3000}\u{a0}▁Ġ😀".chars().collect::<Vec<_>>()),
        2 => proptest::char::range('a', 'z'),
    ];
    let words = proptest::sample::select(vec![
        "<|im_end|>",
        "</s>",
        "<0x0A>",
        "<h1>",
        "  \n\n",
        "I'LL",
        "12345678",
        "<start_of_turn>",
        "\t\t\t",
        "fooBar",
    ]);
    let part = prop_oneof![3 => letters.prop_map(String::from), 1 => words.prop_map(str::to_owned)];
    proptest::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
}

/// Texts come back, whole and one token at a time, whether or not BOS stands in front.
pub fn round_trips(_: &Path, tokenizer: &Tokenizer) -> Outcome {
    let mut runner = TestRunner::new(Config { cases: 400, failure_persistence: None, ..Config::default() });
    let result = runner.run(&texts(), |text| {
        let fail = |error: wgllm::Error| TestCaseError::fail(error.to_string());
        let ids = match tokenizer.encode(&text, USER) {
            // Some vocabularies lack the first bytes of planes where no character is.
            Err(error) if text.contains(|letter| letter >= '\u{40000}') => {
                prop_assert!(error.to_string().contains("no token for byte 0xF"), "{}", error);
                return Ok(());
            }
            ids => ids.map_err(fail)?,
        };
        // What stands for a space in a vocabulary's texts cannot be told from one.
        let text = if tokenizer.model() == "gpt2" { text } else { text.replace('▁', " ") };
        prop_assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
        prop_assert!(!ids.iter().any(|&id| tokenizer.is_end(id)), "a user's text ends a generation");
        prop_assert_eq!(tokenizer.decode(&ids), &*text);
        prop_assert_eq!(tokenizer.decode(&tokenizer.encode(&text, PROMPT).map_err(fail)?), &*text);
        let mut stream = tokenizer.stream();
        let parts: String = ids.iter().map(|&id| stream.push(id)).collect();
        let padded = parts + &stream.finish();
        let text = if padded.len() > text.len() { format!(" {text}") } else { text };
        prop_assert_eq!(padded, &*text);
        tokenizer.encode(&text, TEMPLATE).map_err(fail)?;
        Ok(())
    });
    result.map_err(|error| error.to_string().into())
}

/// The properties of the program.
pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("the same ids for a text from the line, a file and a pipe", the_way_does_not_matter)
            .with_ignored_flag(
                option_env!("CARGO_BIN_EXE_wgllm").is_none() || cfg!(not(feature = "embedded-model")),
            ),
    ]
}

fn the_way_does_not_matter() -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("text");
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    let result = runner.run(&texts(), |text| {
        // No argument of a program holds a NUL, and `-` alone means standard input.
        let text = text.replace('\0', "0") + ".";
        std::fs::write(&file, &text).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let ids = |arguments: &[&str], input: &str| {
            tokenize(arguments, input).map_err(|error| TestCaseError::fail(format!("{error:?}")))
        };
        let line = ids(&[&format!("--prompt={text}")], "")?;
        prop_assert!(!line.is_empty());
        // A byte order mark is part of a text on the line, but not of a file.
        if !text.starts_with('\u{feff}') {
            prop_assert_eq!(&line, &ids(&["-f", file.to_str().unwrap_or_default()], "")?);
            prop_assert_eq!(&line, &ids(&["-f", "-"], &text)?);
        }
        Ok(())
    });
    result.map_err(|error| error.to_string().into())
}

/// What `wgllm tokenize` prints.
fn tokenize(arguments: &[&str], input: &str) -> Result<String, Failed> {
    let program = option_env!("CARGO_BIN_EXE_wgllm").ok_or("no program")?;
    let mut command = Command::new(program);
    command.arg("tokenize").args(arguments).env_remove("WGLLM_MODEL");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    // A program that does not read its input may be gone already.
    let written = child.stdin.take().ok_or("no input")?.write_all(input.as_bytes());
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(format!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    if !input.is_empty() {
        written?;
    }
    Ok(String::from_utf8(output.stdout)?)
}
