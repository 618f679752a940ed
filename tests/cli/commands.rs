//! The other commands: what they print and write.

use std::io::Write;
use std::path::Path;

use libtest_mimic::Failed;
use serde_json::Value;

use crate::program::*;

pub fn tokenize() -> Outcome {
    let cases: [(&[&str], &str); 8] = [
        (&["-p", PROMPT], "1 419 428 260 396\n"),
        (&["-p", PROMPT, "--no-bos"], "419 428 260 396\n"),
        (&["-p", "<|endoftext|>", "--special", "--no-bos"], "0\n"),
        (&["--decode", "419,428,260,396"], "Once upon a time\n"),
        (&["--decode", "419 428 260 396"], "Once upon a time\n"),
        (&["--decode", " 419, 428 ,260 396,"], "Once upon a time\n"),
        (&["--decode", "1,0"], "\n"),
        (&["-p", "", "--no-bos"], "\n"),
    ];
    for (args, expected) in cases {
        let run = succeed(&mut command(&[&["tokenize", "-m", MODEL], args].concat()))?;
        equal((args, run.out.as_str()), (args, expected))?;
    }
    // Unlike a prompt that is to be continued, a text is taken with its last line end.
    let file = tempfile::NamedTempFile::new()?;
    writeln!(&file, "a")?;
    let run = succeed(command(&["tokenize", "-m", MODEL, "--no-bos", "-f"]).arg(file.path()))?;
    equal(run.out.split_whitespace().count(), 2)?;
    // A byte order mark is no part of a text in UTF-8.
    let file = tempfile::NamedTempFile::new()?;
    write!(&file, "\u{feff}{PROMPT}")?;
    let run = succeed(command(&["tokenize", "-m", MODEL, "-f"]).arg(file.path()))?;
    equal(run.out.as_str(), "1 419 428 260 396\n")?;
    // What a user writes is never a control token.
    let run = succeed(&mut command(&["tokenize", "-m", MODEL, "--no-bos", "-p", "<|endoftext|>"]))?;
    must(run.out.split_whitespace().count() > 1, || format!("ids {:?}", run.out))
}

pub fn template() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = |name: &str, text: &str| -> Result<String, Failed> {
        let path = folder.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path.to_string_lossy().into_owned())
    };
    let messages = path("messages.json", r#"[{"role": "user", "content": "Hi <|endoftext|>"}]"#)?;
    let tools = path("tools.json", r#"[{"name": "f"}]"#)?;
    let text = "{{ bos_token }}{{ messages[0].content }}{{ tools|tojson }}{{ strftime_now('%H:%M') }}{{ x }}{{ eos_token }}";
    let file = path("t.jinja", text)?;
    let on = ["template", "--messages", &messages];
    let cases: [(&[&str], &str); 3] = [
        (
            &[
                "--chat-template",
                &file,
                "--bos",
                "<s>",
                "--eos",
                "</s>",
                "--tools",
                &tools,
                "--now",
                "2026-01-31 12:30:45",
            ],
            "<s>Hi <|endoftext|>[{\"name\": \"f\"}]12:30</s>",
        ),
        (
            &[
                "--chat-template",
                &file,
                "--chat-template-kwargs",
                r#"{"x": false}"#,
                "--now",
                "2026-01-31 12:30:45",
            ],
            "Hi <|endoftext|>null12:30False",
        ),
        (
            &["--chat-template", "chatml", "--add-generation-prompt"],
            "<|im_start|>user\nHi <|endoftext|><|im_end|>\n<|im_start|>assistant\n",
        ),
    ];
    for (args, expected) in cases {
        let run = succeed(&mut command(&[&on[..], args].concat()))?;
        equal((args, run.out.as_str()), (args, expected))?;
    }
    // The end token in the message is text; the model's own end token is the template's.
    let run = succeed(&mut command(&[&on[..], &["-m", MODEL, "--chat-template", &file, "--ids"]].concat()))?;
    let ids: Vec<&str> = run.out.split_whitespace().collect();
    equal((ids.first(), ids.last()), (Some(&"1"), Some(&"0")))?;
    equal(ids.iter().filter(|&&id| id == "0").count(), 1)?;
    // The carried model tells stories: it has no template, and the error says how to give one.
    let run = wgllm(&[&on[..], &["-m", MODEL]].concat());
    equal(run.code, Some(3))?;
    contains(&run.err, "no chat template (tokenizer.chat_template)")?;
    contains(&run.err, "--chat-template")?;
    let run = wgllm(&[&on[..], &["--chat-template", "gemma-17"]].concat());
    equal(run.code, Some(2))?;
    contains(&run.err, "chatml, gemma,")
}

pub fn inspect() -> Outcome {
    let text = succeed(&mut command(&["inspect", MODEL]))?.out;
    for part in ["GGUF v3", "general.architecture", "\"llama\"", "token_embd.weight", "Q8_0", "[256, 2048]"] {
        contains(&text, part)?;
    }
    // Four layers of keys and values, each of four heads of 32.
    contains(&text, "keys and values of a position: 4,096 bytes in f32, 2,048 in f16, 1,152 in q8_0")?;
    let json = parse(&succeed(&mut command(&["inspect", MODEL, "--json"]))?.out)?;
    equal(&json["kv_bytes_per_position"], &serde_json::json!({ "f32": 4096, "f16": 2048, "q8_0": 1152 }))?;
    equal(json["version"].as_u64(), Some(3))?;
    equal(json["file_bytes"].as_u64(), Some(std::fs::metadata(MODEL)?.len()))?;
    equal(&json["metadata"]["llama.attention.layer_norm_rms_epsilon"], &1e-5.into())?;
    equal(json["metadata"]["tokenizer.ggml.tokens"].as_array().map(Vec::len), Some(2048))?;
    let tensors = json["tensors"].as_array().map(Vec::as_slice).unwrap_or_default();
    let embedding = tensors.iter().find(|t| t["name"] == "token_embd.weight");
    let expected = serde_json::json!({ "name": "token_embd.weight", "type": "Q8_0", "dims": [256, 2048], "bytes": 557_056 });
    equal(embedding, Some(&expected))
}

pub fn logits() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("x.npy");
    let out = path.to_str().expect("the folder's name is UTF-8");
    on_cpu(&["logits", "--ids", "1,419,428,260,396", "--out", out])?;
    let (header, values) = npy(&path)?;
    contains(&header, "'shape': (5, 2048)")?;
    equal(values.len(), 5 * 2048)?;
    // The likeliest token behind the prompt is the story's first: the comma.
    let last = &values[4 * 2048..];
    let best = (0..last.len()).max_by(|&a, &b| last[a].total_cmp(&last[b]));
    equal(best, Some(13))?;
    // A text is the same prompt.
    on_cpu(&["logits", "-p", PROMPT, "--out", out])?;
    must(npy(&path)?.1 == values, || "the logits of a text differ from those of its ids".into())
}

pub fn logits_overwrites_nothing() -> Outcome {
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name).to_str().expect("the folder's name is UTF-8").to_string();
    let [old, model, link, prompt] = ["old.npy", "model.gguf", "link.gguf", "prompt.txt"].map(at);
    let whole = std::fs::read(MODEL)?;
    std::fs::write(&old, "yesterday's result")?;
    std::fs::write(&model, &whole)?;
    std::fs::hard_link(&model, &link)?;
    std::fs::write(&prompt, PROMPT)?;
    let dotted = format!("{}/./model.gguf", folder.path().display());
    let cases: [(&[&str], &str); 5] = [
        (&["--ids", "1,99999", "--out", &old], "token 99999 is not in the vocabulary of 2048"),
        (&["--ids", "1,2", "--out", &model], "would be overwritten; give another file"),
        (&["--ids", "1,2", "--out", &dotted], "would be overwritten; give another file"),
        (&["-f", &prompt, "--out", &prompt], "would be overwritten; give another file"),
        (&["--ids", "1,2", "--batch-size", "0", "--out", &old], "above 0"),
    ];
    for (args, what) in cases {
        let run = wgllm(&[&["logits", "-m", &model, "-b", "cpu"], args].concat());
        equal((args, run.code), (args, Some(2)))?;
        contains(&run.err, what)?;
    }
    equal(std::fs::read(&old)?.as_slice(), b"yesterday's result")?;
    must(std::fs::read(&model)? == whole, || "the model has changed".into())?;
    equal(std::fs::read(&prompt)?.as_slice(), PROMPT.as_bytes())?;
    // Another name of the model is a file of its own once it is replaced.
    succeed(&mut command(&["logits", "-m", &model, "-b", "cpu", "--ids", "1,2", "--out", &link]))?;
    must(std::fs::read(&model)? == whole, || "the model has changed".into())?;
    npy(Path::new(&link))?;
    let mut names: Vec<_> = std::fs::read_dir(folder.path())?.flatten().map(|e| e.file_name()).collect();
    names.sort();
    equal(names, ["link.gguf", "model.gguf", "old.npy", "prompt.txt"].map(Into::into).to_vec())
}

/// The header and the values of an NPY file.
fn npy(path: &Path) -> Result<(String, Vec<f32>), Failed> {
    let bytes = std::fs::read(path)?;
    must(bytes.len() >= 128 && bytes.starts_with(b"\x93NUMPY\x01\x00"), || "no NPY file".into())?;
    let float = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    let values = bytes[128..].chunks_exact(4).map(float).collect();
    Ok((String::from_utf8_lossy(&bytes[10..128]).into_owned(), values))
}

pub fn bench() -> Outcome {
    let small = ["bench", "-p", "8", "-n", "4", "-r", "2"];
    let table = on_cpu(&[&small[..], &["-d", "0,16"]].concat())?.out;
    for part in ["| model ", " t/s |", " pp8 |", " tg4 |", " pp8 @ d16 |", " tg4 @ d16 |", "| CPU "] {
        contains(&table, part)?;
    }
    let json = parse(&on_cpu(&[&small[..], &["-pg", "8,4", "-o", "json"]].concat())?.out)?;
    let shape = |row: &Value| (row["n_prompt"].as_u64(), row["n_gen"].as_u64());
    let shapes: Vec<_> = json.as_array().into_iter().flatten().map(shape).collect();
    equal(shapes, vec![(Some(8), Some(0)), (Some(0), Some(4)), (Some(8), Some(4))])?;
    const KEYS: &[&str] = &[
        "build_commit",
        "cpu_info",
        "gpu_info",
        "backends",
        "model_filename",
        "model_type",
        "model_size",
        "model_n_params",
        "n_batch",
        "n_ubatch",
        "n_threads",
        "type_k",
        "type_v",
        "n_gpu_layers",
        "n_prompt",
        "n_gen",
        "n_depth",
        "n_parallel",
        "test_time",
        "avg_ns",
        "stddev_ns",
        "avg_ts",
        "stddev_ts",
        "samples_ns",
        "samples_ts",
        "adapter",
        "api",
        "driver",
        "features",
        "tuned",
        "cold_ms",
        "bytes_weights",
        "pct_bandwidth",
        "read_bandwidth",
        "cpu_ops",
        "n_lookup",
        "draft_n",
        "draft_n_accepted",
    ];
    let keys: Option<Vec<&str>> = json[0].as_object().map(|o| o.keys().map(String::as_str).collect());
    equal(keys.as_deref(), Some(KEYS))?;
    equal(json[0]["samples_ns"].as_array().map(Vec::len), Some(2))?;
    let kept = on_cpu(&[&small[..], &["-ctk", "q8_0", "-ctv", "f16", "-o", "jsonl"]].concat())?.out;
    let row = parse(kept.lines().next().unwrap_or_default())?;
    equal((row["type_k"].as_str(), row["type_v"].as_str()), (Some("q8_0"), Some("f16")))?;
    contains(&on_cpu(&[&small[..], &["-ctk", "q8_0", "-ctv", "f16"]].concat())?.out, "KV in q8_0 and f16")?;
    let lines = on_cpu(&[&small[..], &["-o", "jsonl"]].concat())?.out;
    equal(lines.lines().map(parse).filter(|v| v.is_ok()).count(), 2)?;
    let csv = on_cpu(&[&small[..], &["-o", "csv"]].concat())?.out;
    equal(csv.lines().count(), 3)
}

pub fn profile(device: &str) -> Outcome {
    let bench = ["bench", "-m", MODEL, "--device", device, "-p", "0", "-n", "4", "-r", "1", "--profile"];
    let table = succeed(&mut command(&bench))?.out;
    for part in [
        "tg4: a decode step at position 3:",
        "| matvec ",
        "| attend",
        " of the step in one pass",
        "GPU is busy",
    ] {
        contains(&table, part)?;
    }
    let json = parse(&succeed(command(&bench).args(["-o", "json"]))?.out)?;
    let groups = json[0]["profile"].as_array().map(Vec::as_slice).unwrap_or_default();
    must(groups.iter().any(|g| g["node"] == "ffn_residual" && g["count"] == 4), || format!("{groups:?}"))?;
    for key in ["profile_sum_us", "profile_step_us", "gpu_busy"] {
        must(json[0][key].as_f64().is_some_and(|n| n > 0.0), || format!("{key}: {}", json[0][key]))?;
    }
    // Asked for by name, it is not what -q means; the text stays alone on standard output.
    let run =
        succeed(&mut command(&["-m", MODEL, "--device", device, "-p", "x", "-n", "4", "-q", "--profile"]))?;
    contains(&run.err, " of the step in one pass")?;
    must(!run.out.contains("µs"), || run.out.clone())
}

pub fn check(device: &str) -> Outcome {
    let args = ["check", "-m", MODEL, "--device", device, "--layers", "2", "--ids", "1,419,428,260,396"];
    let run = succeed(&mut command(&args))?;
    contains(&run.out, "blk.1.ffn_down")?;
    let verdict = run.out.lines().last().unwrap_or_default();
    contains(verdict, "against the CPU")?;
    contains(verdict, ", 0 fail")?;
    let json = parse(&succeed(command(&args).arg("--json"))?.out)?;
    equal(&json["fail"], &0.into())?;
    must(json["nodes"].as_array().is_some_and(|n| n.len() > 30), || "too few nodes".into())
}
