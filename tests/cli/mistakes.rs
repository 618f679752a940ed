//! What goes wrong: the exit code, and an error that names the thing.

use crate::program::*;

pub fn mistakes() -> Outcome {
    let long = "word ".repeat(600);
    // What is typed, the exit code, and what the error says.
    let mut cases: Vec<(Vec<&str>, i32, &str)> = vec![
        (vec!["--no-such-flag"], 2, "unexpected argument '--no-such-flag'"),
        (vec!["-b", "512"], 2, "-b is the backend; did you mean --batch-size 512?"),
        (vec!["-b", "opencl"], 2, "known are auto, metal, vulkan, dx12, cpu"),
        (vec!["-p", "a", "-f", "b"], 2, "cannot be used with"),
        (vec!["-m", MODEL], 2, "give a prompt with -p TEXT, -f FILE, or -f -"),
        (vec!["-m", MODEL, "-p", "x", "--temp", "warm"], 2, "expected a number; 0 takes"),
        (vec!["-m", MODEL, "-p", "x", "--top-p", "-1"], 2, "expected a number from 0 to 1"),
        (vec!["-m", MODEL, "-p", "x", "--repeat-penalty", "-1"], 2, "expected a number above 0"),
        (vec!["-m", MODEL, "-p", "x", "-c", "-1"], 2, "invalid value '-1' for '--ctx-size <N>'"),
        (vec!["-m", MODEL, "-p", "x", "--device", " "], 2, "the device's name is empty"),
        (vec!["-m", MODEL, "-p", "x", "-1"], 2, "unexpected argument '-1'"),
        (vec!["-m", MODEL, "-p", "x", "--top-p", "1.5"], 2, "expected a number from 0 to 1"),
        (vec!["-m", MODEL, "-p", "x", "-n", "-2"], 2, "-2"),
        (
            vec!["-m", MODEL, "-p", &long, "-b", "cpu"],
            2,
            "do not fit into a context of 512; give a larger one with -c",
        ),
        (
            vec!["-m", MODEL, "--prompt-ids", "1,9999", "-b", "cpu"],
            2,
            "token 9999 is not in the vocabulary of 2048",
        ),
        (vec!["-m", MODEL, "-p", "x", "-ngl", "2"], 2, "give -ngl all or -ngl 0"),
        (vec!["-m", MODEL, "-p", "x", "-ngl", "0", "-b", "vulkan"], 2, "-ngl 0 is the CPU"),
        (vec!["-m", MODEL, "-p", "x", "-ngl", "99", "-b", "cpu"], 2, "-b cpu was given"),
        (vec!["-m", MODEL, "-p", "x", "-b", "cpu", "--device", "0"], 2, "--device chooses a GPU"),
        (vec!["-m", MODEL, "-p", "x", "-b", "cpu", "-ctk", "q9_0"], 2, "known are f32, f16, q8_0"),
        (vec!["-m", "nowhere.gguf", "-p", "x"], 3, "nowhere.gguf"),
        (vec!["-m", MODEL, "-f", "nowhere.txt"], 1, "nowhere.txt"),
        (vec!["-m", MODEL, "-p", "x", "--device", "no such thing"], 4, "no device \"no such thing\" here"),
        (vec!["inspect", "nowhere.gguf"], 3, "nowhere.gguf"),
        (vec!["tokenize", "-m", MODEL], 2, "nothing to tokenize"),
        (
            vec!["tokenize", "-m", MODEL, "--decode", "1,9999"],
            2,
            "token 9999 is not in the vocabulary of 2048",
        ),
        (vec!["check", "-m", MODEL, "-b", "cpu"], 2, "the CPU is the reference"),
        (vec!["check", "-m", MODEL, "-b", "vulkan,cpu"], 2, "give -b cpu,BACKEND"),
        (vec!["logits", "-m", MODEL, "--out", "x.npy"], 2, "--ids"),
        (
            vec!["logits", "-m", MODEL, "-b", "cpu", "--ids", "1", "--out", "no/such/folder.npy"],
            1,
            "no/such/folder.npy",
        ),
        (vec!["-m", MODEL, "-p", "x", "-b", "cpu", "--profile"], 4, "CPU has no timestamps"),
        (vec!["bench", "-m", MODEL, "-b", "cpu", "--profile", "-o", "jsonl"], 4, "CPU has no timestamps"),
        (vec!["bench", "-m", MODEL, "-b", "cpu", "--profile", "-o", "json"], 4, "CPU has no timestamps"),
        (vec!["bench", "-m", MODEL, "-b", "cpu", "--profile"], 4, "CPU has no timestamps"),
        (vec!["bench", "-m", MODEL, "--profile", "-o", "csv"], 2, "give -o md, json or jsonl"),
        (vec!["bench", "-m", MODEL, "-o", "xml"], 2, "known are md, csv, json, jsonl"),
    ];
    let foreign = if cfg!(target_os = "macos") { "dx12" } else { "metal" };
    cases.push((vec!["-m", MODEL, "-p", "x", "-b", foreign], 4, "choose"));
    for (args, code, what) in cases {
        let run = wgllm(&args);
        equal((&args, run.code), (&args, Some(code)))?;
        contains(&run.err, what)?;
        contains(&run.err, "error: ")?;
        equal((&args, run.out.as_str()), (&args, ""))?;
    }
    Ok(())
}

/// Numbers beyond all bounds are found before anything is made of that size, on whatever backend: in milliseconds where the bound
/// of some seconds is for machines that have other things to do, and in no more memory than the program takes to start.
pub fn beyond_all_bounds() -> Outcome {
    let model: &[&str] = &["-m", MODEL, "-p", "x", "-n", "1"];
    let vulkan: &[&str] = &["-m", MODEL, "-p", "x", "-n", "1", "-b", "vulkan"];
    let bench: &[&str] = &["bench", "-m", MODEL, "-b", "cpu", "-r", "1"];
    let check: &[&str] = &["check", "-m", MODEL];
    const HUGE: &str = "18446744073709551615";
    const LARGE: &str = "2147483647";
    let pair = format!("{HUGE},1");
    let cases: &[(&[&str], &[&str], &str)] = &[
        (model, &["-c", HUGE], "a whole number, 2147483647 at most"),
        (vulkan, &["-c", "1000000000000"], "a whole number, 2147483647 at most"),
        (vulkan, &["-c", LARGE], "a context of 2147483647 positions: the model was made for 512"),
        (model, &["-c", LARGE, "-b", "cpu"], "1048576 is the most"),
        (model, &["-ub", HUGE], "2147483647 at most"),
        (model, &["-t", HUGE], "512 at most"),
        (model, &["-t", "5000"], "512 at most"),
        (model, &["--top-k", HUGE], "below 2^32"),
        (model, &["--repeat-last-n", HUGE], "invalid value"),
        (model, &["-s", "18446744073709551616"], "invalid value"),
        (&["-m", MODEL], &["--ids", HUGE], "invalid value"),
        (model, &["--temp", "1e999"], "expected a number"),
        (bench, &["-d", HUGE], "2147483647 at most"),
        (bench, &["-p", HUGE], "2147483647 at most"),
        (bench, &["-n", HUGE], "2147483647 at most"),
        (bench, &["-pg", &pair], "2147483647 at most"),
        (bench, &["-d", LARGE, "-p", LARGE, "-n", LARGE], "a context of 4294967295 positions"),
        (check, &["--decode", HUGE], "invalid value"),
        (check, &["--decode", "65537"], "65536"),
        (check, &["--layers", HUGE], "2147483647 at most"),
    ];
    for (command, args, what) in cases {
        let all = [*command, *args].concat();
        let start = std::time::Instant::now();
        let run = wgllm(&all);
        equal((&all, run.code, run.out.as_str()), (&all, Some(2), ""))?;
        contains(&run.err, what)?;
        must(start.elapsed().as_secs() < 5, || format!("{all:?}: {:?}", start.elapsed()))?;
    }
    // What merely asks for more than is needed is no mistake.
    succeed(&mut command(
        &[model, &["-b", "cpu", "-t", "3", "-ub", LARGE, "--top-k", "4294967295"]].concat(),
    ))?;
    succeed(&mut command(&[model, &["-b", "cpu", "-s", "9223372036854775807"]].concat())).map(drop)
}

/// What was measured before an error is still JSON.
pub fn json_before_an_error() -> Outcome {
    let foreign = if cfg!(target_os = "macos") { "cpu,dx12" } else { "cpu,metal" };
    let args = ["bench", "-m", MODEL, "-b", foreign, "-p", "4", "-n", "0", "-r", "1", "-o", "json"];
    let run = wgllm(&args);
    equal(run.code, Some(4))?;
    equal(parse(&run.out)?.as_array().map(Vec::len), Some(1))
}

/// A GGUF file of version 3 without tensors, with one key.
fn tiny_gguf(key: &str, value: &str) -> Vec<u8> {
    let string = |s: &str| [&(s.len() as u64).to_le_bytes(), s.as_bytes()].concat();
    let head = [&b"GGUF"[..], &3u32.to_le_bytes(), &0u64.to_le_bytes(), &1u64.to_le_bytes()].concat();
    [head, string(key), 8u32.to_le_bytes().to_vec(), string(value)].concat()
}

/// Nothing that a file says steers the terminal: not in an error, not in a table.
pub fn steering() -> Outcome {
    let folder = tempfile::tempdir()?;
    let name = folder.path().join("model.gguf");
    let path = name.to_str().expect("the folder's name is UTF-8");
    const STEERING: &str = "\u{1b}[31mllama\u{7}\u{9b}2J\u{1b}]0;title\u{7}\u{202e}";
    let shows_none = |text: &str| {
        let steers = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        must(!text.contains(steers), || format!("{text:?} steers a terminal"))
    };
    for (key, value) in [("general.architecture", STEERING), ("general.type", STEERING), (STEERING, "x")] {
        std::fs::write(&name, tiny_gguf(key, value))?;
        let run = wgllm(&["-m", path, "-p", "x", "-b", "cpu", "-ngl", "0"]);
        equal((key, run.code, run.out.as_str()), (key, Some(3), ""))?;
        shows_none(&run.err)?;
        let inspected = wgllm(&["inspect", path]);
        shows_none(&format!("{}{}", inspected.out, inspected.err))?;
    }
    Ok(())
}

pub fn bad_files() -> Outcome {
    let model = std::fs::read(MODEL)?;
    let cases: [(&str, Vec<u8>, &str); 4] = [
        ("empty", Vec::new(), "empty.gguf"),
        ("text", b"This is a text.".to_vec(), "GGUF"),
        ("cut", model[..model.len() / 2].to_vec(), "blk."),
        (
            "unknown",
            tiny_gguf("general.architecture", "mamba"),
            "architecture \"mamba\" is not known; known are cohere2, deepseek2, ernie4_5",
        ),
    ];
    let folder = tempfile::tempdir()?;
    for (name, bytes, what) in cases {
        let path = folder.path().join(format!("{name}.gguf"));
        std::fs::write(&path, bytes)?;
        let run = wgllm(&["-m", path.to_str().expect("the folder's name is UTF-8"), "-p", "x", "-b", "cpu"]);
        equal((name, run.code, run.out.as_str()), (name, Some(3), ""))?;
        contains(&run.err, what)?;
        contains(&run.err, &format!("{name}.gguf"))?;
    }
    Ok(())
}
