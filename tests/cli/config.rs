//! Configuration files, and the command line of the program that this one replaces.

use std::path::Path;

use libtest_mimic::{Failed, Trial};

use crate::program::*;

pub fn trials() -> Vec<Trial> {
    let tests: [Test; 2] = [
        ("what_the_replaced_program_took_is_taken", replaced),
        ("a_configuration_file_sets_defaults_and_nothing_unknown", configured),
    ];
    tests.into_iter().map(|(name, test)| Trial::test(name, test)).collect()
}

fn replaced() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (history, config) = (path("history.json"), path("config.toml"));
    std::fs::write(&config, "seed = 7\n")?;
    let args = |saved: &[&str]| -> Vec<String> {
        let all = [
            "-m",
            MODEL,
            "-b",
            "cpu",
            "--max-tokens",
            "5",
            "--temperature",
            "0.7",
            "--top-p",
            "0.9",
            "--top-k",
            "40",
            "--system-prompt",
            "- be brief",
            "--save-history",
            &history,
            "--config",
            &config,
            "--log-level",
            "info",
            "--no-progress",
            "--chat-template",
            "vicuna",
            "-p",
            "Hello.",
            "--json",
        ];
        all.into_iter().chain(saved.iter().copied()).map(str::to_owned).collect()
    };
    let run = |args: &[String]| succeed(&mut command(&args.iter().map(String::as_str).collect::<Vec<_>>()));
    let first = parse(&run(&args(&[]))?.out)?;
    equal((&first["seed"], first["tokens"].as_array().map(Vec::len)), (&7.into(), Some(5)))?;
    let kept = parse(&std::fs::read_to_string(&history)?)?;
    equal(kept["messages"].as_array().map(Vec::len), Some(3))?;
    equal(&kept["messages"][0]["content"], &"- be brief".into())?;
    let second = parse(&run(&args(&["--load-history", &history]))?.out)?;
    must(second["prompt_tokens"].as_u64() > first["prompt_tokens"].as_u64(), || second.to_string())?;
    let kept = parse(&std::fs::read_to_string(&history)?)?;
    equal(kept["messages"].as_array().map(Vec::len), Some(5))?;
    // What is called something else here is answered with that.
    let cases: [(&[&str], &str); 5] = [
        (&["-b", "cuda"], "every GPU runs by vulkan, dx12 or metal"),
        (&["-b", "hybrid-f32"], "every GPU runs by vulkan, dx12 or metal"),
        (&["-c", "config.toml"], "a configuration file is given with --config"),
        (&["--log-level", "loud"], "possible values: error, warn, info, debug, trace"),
        (&["--load-history", "nowhere.json", "--chat-template", "vicuna", "-p", "x"], "nowhere.json"),
    ];
    for (args, what) in cases {
        let run = wgllm(&[&["-m", MODEL], args].concat());
        equal((args, run.code), (args, Some(2)))?;
        contains(&run.err, what)?;
    }
    let quiet = on_cpu(&["-p", "x", "-n", "1", "--log-level", "error"])?;
    equal(quiet.err.as_str(), "")
}

fn configured() -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("c.toml");
    let path = file.to_str().ok_or("the folder's name is UTF-8")?;
    let run = |text: &str, args: &[&str], environment: &[(&str, &str)]| -> Result<Run, Failed> {
        std::fs::write(&file, text)?;
        let all = [&["--config", path, "-m", MODEL, "-b", "cpu", "-p", PROMPT, "--json"], args].concat();
        Ok(finish(command(&all).envs(environment.iter().copied())))
    };
    // Flag, environment, file.
    let count = |run: Run| -> Result<Option<usize>, Failed> {
        equal((run.code, &run.err), (Some(0), &run.err))?;
        Ok(parse(&run.out)?["tokens"].as_array().map(Vec::len))
    };
    let text = "n_predict = 4\n";
    contains(&run(text, &[], &[])?.err, "line 1: n_predict is not known; the nearest is predict")?;
    let text =
        "# comment\npredict = 4\ntemp = 0\nno-progress = true\nsystem_prompt = \"\"\"\nBe\nbrief.\"\"\"\n";
    equal(count(run(text, &[], &[])?)?, Some(4))?;
    equal(count(run(text, &[], &[("WGLLM_N_PREDICT", "3")])?)?, Some(3))?;
    equal(count(run(text, &["-n", "2"], &[("WGLLM_N_PREDICT", "3")])?)?, Some(2))?;
    equal(count(run("max-tokens = 6\ntemperature = 0.0\n", &[], &[])?)?, Some(6))?;
    for (text, what) in [
        ("\ntemperatur = 1\n", "line 2: temperatur is not known; the nearest is temperature"),
        ("top-k = 1\ntop_k = 2\n", "line 2: top_k is top-k of line 1"),
        ("temp = \"hot\"\n", "line 1: invalid value 'hot' for '--temp <T>': expected a number"),
        ("\n\n[generation]\ntemp = 1\n", "line 3: there are no sections such as [generation]"),
        ("no-progress = 1\n", "line 1: no-progress is true or false"),
        ("temp = [1]\n", "line 1: temp is a text or a number"),
        ("temp = \n", "line 1: "),
        ("config = \"x\"\n", "config is not known"),
        ("zzzzzzzzzzzzz = 1\n", "zzzzzzzzzzzzz is not known; `wgllm --help`"),
    ] {
        let run = run(text, &[], &[])?;
        equal((text, run.code, run.out.as_str()), (text, Some(2), ""))?;
        contains(&run.err, &format!("error: {path}, "))?;
        contains(&run.err, what)?;
    }
    let run = wgllm(&["--config", "nowhere.toml", "-p", "x"]);
    equal(run.code, Some(2))?;
    contains(&run.err, "nowhere.toml")?;
    // Other commands take what they have of it.
    std::fs::write(&file, format!("model = '{MODEL}'\ntemp = 0.5\n"))?;
    let run = succeed(&mut command(&["tokenize", "--config", path, "-p", PROMPT]))?;
    equal(run.out.as_str(), "1 419 428 260 396\n")?;
    must(Path::new(path).is_file(), || "the file is gone".into())
}
