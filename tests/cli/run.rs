//! `run`, and the program without a command: text, JSON, prompts, ends.

use std::io::{Read, Write};
use std::process::Stdio;

use libtest_mimic::Failed;
use serde_json::Value;

use crate::program::*;

pub fn story() -> Outcome {
    let run = on_cpu(&["-p", PROMPT, "--temp", "0"])?;
    equal(run.out.as_str(), &format!("{PROMPT}{STORY}\n"))?;
    contains(&run.err, "llama, 4 of 4 layers on the CPU")?;
    contains(&run.err, "prompt 5 tokens in ")
}

/// Where the margins of the model's tokens are larger than what f16 and q8_0 cost, the story stays what it is.
pub fn kept() -> Outcome {
    let run = on_cpu(&[
        "-p", PROMPT, "--temp", "0", "-n", "20", "-c", "64", "-ctk", "q8_0", "-ctv", "f16", "--json",
    ])?;
    let json = parse(&run.out)?;
    must(json["text"].as_str().is_some_and(|text| STORY.starts_with(text)), || {
        format!("got {}", json["text"])
    })?;
    contains(&run.err, "KV q8_0 and f16 × 64 = 0.1 MiB")?;
    // Four layers of four heads of 32: 36 bytes of each key and 64 of each value.
    equal(json["memory"]["kv"].as_u64(), Some(64 * 4 * 4 * (36 + 64)))?;
    let types = (json["memory"]["type_k"].as_str(), json["memory"]["type_v"].as_str());
    equal(types, (Some("q8_0"), Some("f16")))
}

pub fn gpu_story(device: &str) -> Outcome {
    let args = ["-m", MODEL, "--device", device, "--precision", "f32", "-p", PROMPT, "--temp", "0", "--json"];
    let json = parse(&succeed(&mut command(&args))?.out)?;
    equal(json["text"].as_str(), Some(STORY))?;
    equal(&json["placement"]["cpu_nodes"], &0.into())?;
    equal(&json["placement"]["layers_run"], &4.into())?;
    equal(&json["fallback"], &false.into())
}

pub fn json() -> Outcome {
    let run = on_cpu(&["run", "-p", PROMPT, "--temp", "0", "-s", "7", "--json"])?;
    let json = parse(&run.out)?;
    equal(json["text"].as_str(), Some(STORY))?;
    equal(json["tokens"].as_array().map(Vec::len), Some(STORY_TOKENS))?;
    equal(json["prompt_tokens"].as_u64(), Some(5))?;
    equal(json["finish_reason"].as_str(), Some("stop"))?;
    equal(json["seed"].as_u64(), Some(7))?;
    let members: [(&str, &[&str]); 5] = [
        (
            "",
            &[
                "text",
                "reasoning",
                "tokens",
                "prompt_tokens",
                "cached_tokens",
                "finish_reason",
                "seed",
                "fallback",
                "device",
                "placement",
                "memory",
                "timings",
            ],
        ),
        ("/device", &["name", "api", "driver", "features"]),
        ("/placement", &["layers_run", "block_count", "cpu_nodes", "dispatches_per_token"]),
        ("/memory", &["weights", "kv", "type_k", "type_v", "scratch", "peak_rss"]),
        (
            "/timings",
            &[
                "load_ms",
                "pipelines_ms",
                "ttft_ms",
                "prefill_tps",
                "decode_tps",
                "bandwidth_share",
                "draft_n",
                "draft_n_accepted",
            ],
        ),
    ];
    for (at, expected) in members {
        let object = json.pointer(at).and_then(Value::as_object);
        let keys = object.map(|o| o.keys().map(String::as_str).collect::<Vec<_>>());
        equal(keys.as_deref(), Some(expected))?;
    }
    Ok(())
}

/// Drafts change nothing but the time that it takes: wherever the text ends, and however its tokens are chosen.
pub fn lookup() -> Outcome {
    let told = format!("{PROMPT}{STORY} {PROMPT}{}", &STORY[..60]);
    let cases: [&[&str]; 6] = [
        &["--temp", "0", "-n", "60"],
        &["--temp", "0", "-n", "60", "--stop", " yummy food"],
        &["--temp", "0", "-n", "60", "--repeat-penalty", "1.1"],
        &["--temp", "0.6", "-n", "60", "-s", "3"],
        &["--temp", "0.6", "-n", "60", "-s", "4", "--stop", "mom"],
        &["--temp", "0", "-n", "11"],
    ];
    let mut accepted = 0;
    for prompt in [PROMPT, &told] {
        for args in cases {
            let run = |lookup: &str| {
                let with = ["-p", prompt, "--precision", "f32", "--json", "--lookup", lookup];
                on_cpu(&[&with, args].concat()).and_then(|run| Ok((parse(&run.out)?, run.err)))
            };
            let (without, _) = run("0")?;
            let (with, said) = run("8")?;
            for key in ["text", "tokens", "finish_reason"] {
                must(with[key] == without[key], || {
                    format!("{args:?}, {key}: {} with drafts, {} without", with[key], without[key])
                })?;
            }
            equal(without["timings"]["draft_n"].as_u64(), Some(0))?;
            let [drafted, right] =
                ["draft_n", "draft_n_accepted"].map(|key| with["timings"][key].as_u64().unwrap_or(0));
            must(right <= drafted, || format!("{right} of {drafted} accepted"))?;
            if drafted > 0 {
                contains(&said, &format!(" % of {drafted} drafted token"))?;
            }
            accepted += right;
        }
    }
    must(accepted > 10, || format!("{accepted} drafted tokens were accepted in all"))?;
    let run = wgllm(&["-m", MODEL, "-p", "a", "--lookup", "64"]);
    equal(run.code, Some(2))?;
    contains(&run.err, "63 at most")
}

pub fn reasons() -> Outcome {
    // Arguments, the reason, the number of tokens and the text where it says something.
    let cases: [(&[&str], &str, usize, Option<&str>); 7] = [
        (&["-n", "3"], "length", 3, Some(", there was")),
        (&["-n", "0"], "length", 0, Some("")),
        // The prompt has 5 of the 8 positions; a fourth token comes from the last of them.
        (&["-c", "8"], "context", 4, None),
        (&["--ignore-eos", "-n", "210"], "length", 210, None),
        (&["--stop", " girl"], "stop", 7, Some(", there was a little")),
        (&["-r", "nowhere", "-r", " Lily. She"], "stop", 11, None),
        (&["--prompt-ids", "1, 419,428 260,396", "-n", "3"], "length", 3, Some(", there was")),
    ];
    for (args, reason, tokens, text) in cases {
        let prompt: &[&str] = if args[0] == "--prompt-ids" { &[] } else { &["-p", PROMPT] };
        let json = parse(&on_cpu(&[prompt, args, &["--temp", "0", "--json"]].concat())?.out)?;
        let told = |e: Failed| Failed::from(format!("{args:?}: {}", e.message().unwrap_or_default()));
        equal(json["finish_reason"].as_str(), Some(reason)).map_err(told)?;
        if reason != "stop" {
            equal(json["tokens"].as_array().map(Vec::len), Some(tokens)).map_err(told)?;
        }
        if text.is_some() {
            equal(json["text"].as_str(), text).map_err(told)?;
        }
    }
    Ok(())
}

pub fn ignore_eos() -> Outcome {
    never_ends(&["-b", "cpu"])
}

/// The story's end token is the likeliest behind its last word; with the flag, others come.
fn never_ends(on: &[&str]) -> Outcome {
    let args = ["-m", MODEL, "-p", PROMPT, "--temp", "0", "--ignore-eos", "-n", "210", "--json"];
    let json = parse(&succeed(&mut command(&[&args, on].concat()))?.out)?;
    let tokens = json["tokens"].as_array().map(Vec::as_slice).unwrap_or_default();
    equal(tokens.len(), 210)?;
    for end in ["<|endoftext|>", "</s>"] {
        let id = succeed(&mut command(&["tokenize", "-m", MODEL, "--special", "--no-bos", "-p", end]))?.out;
        if let Ok(id) = id.trim().parse::<u64>() {
            must(tokens.iter().all(|t| t.as_u64() != Some(id)), || format!("{end} in {tokens:?}"))?;
        }
    }
    Ok(())
}

/// A device looks back on as many recent tokens as the CPU, up to the whole context.
pub fn gpu_windows(device: &str) -> Outcome {
    let ids = (0..400).map(|i| (300 + 7 * i % 1000).to_string()).collect::<Vec<_>>().join(",");
    let text = |on: &[&str], n: &str| {
        let args = ["-m", MODEL, "--ids", &ids, "-n", "12", "--temp", "0", "--precision", "f32", "-q"];
        let window = ["--repeat-penalty", "1.5", "--repeat-last-n", n];
        succeed(&mut command(&[&args[..], &window, on].concat())).map(|run| run.out)
    };
    for n in ["0", "256", "257", "400", "-1"] {
        equal((n, text(&["--device", device], n)?), (n, text(&["-b", "cpu"], n)?))?;
    }
    Ok(())
}

pub fn seed() -> Outcome {
    same_seed_same_text(&["-b", "cpu"])
}

pub fn gpu_seed(device: &str) -> Outcome {
    same_seed_same_text(&["--device", device])
}

fn same_seed_same_text(on: &[&str]) -> Outcome {
    let text = |seed| {
        let args = ["-m", MODEL, "-p", PROMPT, "-n", "40", "-s", seed, "--temp", "1"];
        succeed(&mut command(&[&args, on].concat())).map(|run| run.out)
    };
    let first = text("11")?;
    equal(&text("11")?, &first)?;
    must(text("12")? != first, || "two seeds give the same text".into())
}

pub fn prompts() -> Outcome {
    let expected = format!("{PROMPT}, there was\n");
    let args = ["-n", "3", "--temp", "0", "-q"];
    let file = tempfile::NamedTempFile::new()?;
    // Editors and `echo` end a file with a line end that is no part of the prompt.
    write!(&file, "{PROMPT}\r\n")?;
    let path = file.path().to_str().expect("the folder's name is UTF-8");
    for source in [&["-p", PROMPT][..], &["-f", path], &["-f", "-"], &["-p", "-"]] {
        let all = [source, &args, &["-m", MODEL, "-b", "cpu"]].concat();
        let mut command = command(&all);
        if source[1] == "-" {
            command.stdin(std::fs::File::open(path)?);
        }
        let run = succeed(&mut command)?;
        equal((source, run.out.as_str()), (source, expected.as_str()))?;
        equal(run.err.as_str(), "")?;
    }
    Ok(())
}

pub fn fallback() -> Outcome {
    let run = succeed(&mut command(&["-m", MODEL, "-p", "x", "-n", "1", "--json"]))?;
    let (json, said) = (parse(&run.out)?, run.err.contains("running on the CPU"));
    equal(said, json["fallback"] == true)?;
    equal(json["device"]["api"] == "cpu", said)
}

pub fn environment() -> Outcome {
    let mut run = command(&["-p", PROMPT, "--json"]);
    run.env("WGLLM_MODEL", MODEL)
        .env("WGLLM_BACKEND", "cpu")
        .env("WGLLM_N_PREDICT", "2")
        .env("WGLLM_TEMP", "0");
    let json = parse(&succeed(&mut run)?.out)?;
    equal(json["text"].as_str(), Some(", there"))?;
    // What is typed wins.
    let json = parse(&succeed(run.args(["-n", "1"]))?.out)?;
    equal(json["text"].as_str(), Some(","))
}

pub fn empty_environment() -> Outcome {
    const NAMES: &[&str] = &[
        "WGLLM_DEVICE",
        "WGLLM_N_GPU_LAYERS",
        "WGLLM_PRECISION",
        "WGLLM_BATCH_SIZE",
        "WGLLM_THREADS",
        "WGLLM_NO_F16",
        "WGLLM_NO_SUBGROUPS",
        "WGLLM_NO_COOP",
        "WGLLM_NO_TUNE",
        "WGLLM_MAX_BINDING",
        "WGLLM_N_PREDICT",
        "WGLLM_CTX_SIZE",
        "WGLLM_TEMP",
        "WGLLM_TOP_K",
        "WGLLM_TOP_P",
        "WGLLM_MIN_P",
        "WGLLM_REPEAT_PENALTY",
        "WGLLM_REPEAT_LAST_N",
        "WGLLM_SEED",
        "WGLLM_NO_PROGRESS",
    ];
    let mut run = command(&["-m", MODEL, "-b", "cpu", "-p", PROMPT, "-n", "2", "--temp", "0", "-q"]);
    run.envs(NAMES.iter().map(|name| (name, "")));
    equal(succeed(&mut run)?.out.as_str(), "Once upon a time, there\n")?;
    // Those that are given above, and what `auto` makes of an empty name: never a software adapter.
    let mut run = command(&["-m", MODEL, "-p", PROMPT, "-n", "1", "--json"]);
    run.envs(["WGLLM_BACKEND", "WGLLM_DEVICE"].map(|name| (name, "")));
    let expected = succeed(&mut command(&["-m", MODEL, "-p", PROMPT, "-n", "1", "--json"]))?;
    equal(&parse(&succeed(&mut run)?.out)?["device"], &parse(&expected.out)?["device"])?;
    if cfg!(feature = "embedded-model") {
        succeed(command(&["-b", "cpu", "-n", "1"]).env("WGLLM_MODEL", ""))?;
    }
    Ok(())
}

pub fn dashes() -> Outcome {
    let run = |args: &[&str]| on_cpu(&[args, &["-n", "2", "-q"]].concat());
    for text in ["- first item", "--- title ---", "-5 degrees", "-ub", "-1", "-q"] {
        equal(run(&["-p", text])?.out.starts_with(text), true)?;
        run(&["-p", "x", "--stop", text])?;
        run(&["-p", "x", "-r", text])?;
    }
    let greedy = run(&["-p", PROMPT, "--temp", "0"])?.out;
    equal(&run(&["-p", PROMPT, "--temp", "-1"])?.out, &greedy)?;
    equal(&run(&["-p", PROMPT, "--temp", "0", "--top-k", "-1"])?.out, &greedy)?;
    let layers = command(&["-m", MODEL, "-p", "x", "-n", "1", "-ngl", "-1", "-b", "cpu"]).output()?;
    equal(layers.status.code(), Some(0))?;
    let ids = succeed(&mut command(&["tokenize", "-m", MODEL, "-p", "-x"]))?.out;
    equal(ids, succeed(&mut command(&["tokenize", "-m", MODEL, "-p=-x"]))?.out)
}

pub fn closed_pipe() -> Outcome {
    let cases: [&[&str]; 3] =
        [&["-m", MODEL, "-b", "cpu", "-p", PROMPT, "-q"], &["inspect", "--json", MODEL], &["inspect", MODEL]];
    for args in cases {
        let mut child = command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut first = [0];
        if let Some(out) = &mut child.stdout {
            out.read_exact(&mut first)?;
        }
        drop(child.stdout.take());
        let end = child.wait_with_output()?;
        equal((args, end.status.code(), end.stderr), (args, Some(0), Vec::new()))?;
    }
    Ok(())
}

/// What cannot be printed is an error, however standard output fails.
pub fn lost_output() -> Outcome {
    let cases: [&[&str]; 6] = [
        &["-m", MODEL, "-b", "cpu", "-p", PROMPT, "-n", "2", "-q"],
        &["-m", MODEL, "-b", "cpu", "-p", PROMPT, "-n", "2", "-q", "--json"],
        &["inspect", MODEL],
        &["tokenize", "-m", MODEL, "-p", "x"],
        &["devices"],
        &["bench", "-m", MODEL, "-b", "cpu", "-p", "2", "-n", "0", "-r", "1", "-q"],
    ];
    for args in cases {
        let shell = |redirected: &str| {
            let script = format!("exec \"$0\" \"$@\" {redirected}");
            let mut shell = std::process::Command::new("sh");
            shell.args(["-c", &script, env!("CARGO_BIN_EXE_wgllm")]).args(args).stdin(Stdio::null());
            finish(&mut shell)
        };
        let closed = shell(">&-");
        equal((args, closed.code), (args, Some(1)))?;
        contains(&closed.err, "error: standard output is closed")?;
        if cfg!(target_os = "linux") {
            let full = shell("> /dev/full");
            equal((args, full.code), (args, Some(1)))?;
            contains(&full.err, "error: standard output: ")?;
        }
        // Nobody minds text that is thrown away on purpose.
        equal(command(args).stdout(Stdio::null()).stderr(Stdio::null()).status()?.code(), Some(0))?;
    }
    Ok(())
}

/// Without the folder that desktops have, in containers and cron jobs, drivers have something to say: standard error is ours.
pub fn silent_drivers() -> Outcome {
    for folder in [None, Some("not/absolute")] {
        let mut devices = command(&["devices"]);
        devices.env_remove("XDG_RUNTIME_DIR").envs(folder.map(|f| ("XDG_RUNTIME_DIR", f)));
        equal(succeed(&mut devices)?.err.as_str(), "")?;
    }
    Ok(())
}

pub fn no_arguments() -> Outcome {
    let run = succeed(&mut command(&[]))?;
    must(run.out.starts_with(PROMPT) && run.out.len() > 100, || format!("no story: {:?}", run.out))?;
    contains(&run.err, "no prompt: a story begins")?;
    contains(&run.err, " · seed ")
}

pub fn form() -> Outcome {
    let folder = tempfile::tempdir()?;
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).map(|()| path.display().to_string())
    };
    let schema = r#"{"type":"object","properties":{"n":{"type":"integer","minimum":1,"maximum":9}},"required":["n"],"additionalProperties":false}"#;
    for given in [schema, &write("schema.json", schema)?] {
        let json = parse(&on_cpu(&["-p", PROMPT, "--temp", "1", "-s", "3", "-j", given, "--json"])?.out)?;
        let answer = parse(json["text"].as_str().unwrap_or_default())?;
        must(answer["n"].as_u64().is_some_and(|n| (1..10).contains(&n)), || answer.to_string())?;
        equal(json["finish_reason"].as_str(), Some("stop"))?;
    }
    let run = on_cpu(&["-p", PROMPT, "--grammar", &write("so.lark", "start: \", so\"~3")?])?;
    equal(run.out.as_str(), &format!("{PROMPT}, so, so, so\n"))?;
    for (flag, value, told) in [
        ("-j", r#"{"properties":{"a":{"type":"odd"}}}"#, "--json-schema: "),
        ("-j", "no-such-file.json", "no-such-file.json"),
        ("-j", "{", "--json-schema is no JSON"),
        ("--grammar", &write("wrong.lark", "begin: \"a\"")?, "--grammar: "),
    ] {
        let run = wgllm(&["-m", MODEL, "-b", "cpu", "-p", PROMPT, flag, value]);
        equal(run.code, Some(2))?;
        contains(&run.err, told)?;
    }
    Ok(())
}
