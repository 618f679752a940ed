//! A chat, as somebody has it who sits in front of a terminal.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use serde_json::Value;

use crate::program::*;
use crate::terminal::Terminal;

type Test = (&'static str, fn() -> Outcome);

/// The carried model behind a template: what it says makes no sense, and is always the same.
const MODEL_ONLY: [&str; 9] = ["chat", "-m", MODEL, "-b", "cpu", "--chat-template", "vicuna", "--temp", "0"];
const CHAT: [&str; 11] =
    ["chat", "-m", MODEL, "-b", "cpu", "--chat-template", "vicuna", "--temp", "0", "-n", "12"];

const READY: &str = "/help lists the commands";

/// A message longer than one batch of a prompt.
const LONG: &str = "The little girl went to the park with her dog and they played all day long in the sun. ";

pub fn trials() -> Vec<Trial> {
    let tests: [Test; 15] = [
        ("a_chat_answers_and_computes_no_turn_twice", answers),
        ("every_command_of_a_chat_does_what_it_says", commands),
        ("a_chat_is_saved_and_loaded_and_refuses_what_is_none", saved),
        ("settings_of_a_chat_say_where_they_come_from", settings),
        ("another_model_or_backend_is_loaded_or_what_was_there_stays", reloads),
        ("a_chat_remembers_what_was_typed", history),
        ("lines_go_on_behind_a_backslash_and_tab_completes", editing),
        ("ten_kilobytes_are_pasted_as_one_message", paste),
        ("ctrl_c_stops_an_answer_a_prompt_and_nothing_else", ctrl_c),
        ("ctrl_d_leaves_a_chat", ctrl_d),
        ("thoughts_are_dim_or_named", thoughts),
        ("a_narrow_terminal_and_one_that_knows_nothing_will_do", terminals),
        ("without_a_terminal_one_message_is_answered", no_terminal),
        ("what_the_replaced_program_took_is_taken", replaced),
        ("a_configuration_file_sets_defaults_and_nothing_unknown", configured),
    ];
    let trial = |(name, test): Test| Trial::test(name, test);
    tests.into_iter().map(trial).collect()
}

fn chat(more: &[&str]) -> Result<Terminal, Failed> {
    let args = if more.contains(&"-n") { &MODEL_ONLY[..] } else { &CHAT };
    let mut terminal = Terminal::start(&[args, more].concat())?;
    terminal.expect("llama, 4 of 4 layers on the CPU")?;
    terminal.expect(READY)?;
    terminal.expect("> ")?;
    Ok(terminal)
}

/// A number of `/stats`: of the last answer.
fn stat(terminal: &mut Terminal, row: &str) -> Result<usize, Failed> {
    terminal.ask("/stats", "last answer")?;
    terminal.expect(row)?;
    let rest = terminal.expect("\n")?;
    terminal.expect("scratch")?;
    let number = rest.split_whitespace().next().unwrap_or_default().replace(',', "");
    number.parse().map_err(|e| format!("{row}: {rest:?}: {e}").into())
}

/// A file of the terminal's folder as JSON.
fn json(terminal: &Terminal, name: &str) -> Result<Value, Failed> {
    parse(&std::fs::read_to_string(terminal.folder.path().join(name))?)
}

fn answers() -> Outcome {
    let mut terminal = chat(&[])?;
    // What is typed ahead waits for its turn.
    terminal.line("Tell me a story.")?;
    let prompt = stat(&mut terminal, "prompt tokens")?;
    equal(stat(&mut terminal, "from the cache")?, 0)?;
    equal(stat(&mut terminal, "tokens answered")?, 12)?;
    terminal.line("And another.")?;
    terminal.expect("predict")?;
    // All of the first turn but its last token, which was not needed before.
    let cached = stat(&mut terminal, "from the cache")?;
    must((prompt + 11..=prompt + 12).contains(&cached), || format!("{cached} of {prompt} + 12"))?;
    terminal.line("/exit")?;
    terminal.ends(0).map(drop)
}

fn commands() -> Outcome {
    let mut terminal = chat(&[])?;
    for (line, text) in [
        ("/regen", "nothing was said yet"),
        ("/undo", "nothing was said yet"),
        ("/help", "begin anew; the system prompt stays"),
        ("", "Ctrl-L clears the screen, Ctrl-D leaves."),
        ("/?", "Ctrl-L clears the screen, Ctrl-D leaves."),
        ("/system", "there is no system prompt"),
        ("/sys You are brief.", "(the system prompt is set)"),
        ("/system", "You are brief."),
        ("Tell me a story.", "(stopped at the limit of --predict)"),
        ("/regen", "(stopped at the limit of --predict)"),
        ("/tokens", "You are brief.\n\nUSER: Tell me a story."),
        ("", "tokens of 512"),
        ("/template", "'ASSISTANT: ' + message.content"),
        ("/stats", "all 2"),
        ("/status", "cache in use"),
        ("/undo", "(taken back: Tell me a story.)"),
        ("/sys -", "(no system prompt)"),
        ("/set temp 0.5", "(temp is 0.5)"),
        ("/set", "set in this chat"),
        ("/set tmep 1", "error: tmep cannot be set: the nearest is temp"),
        ("/set temp warm", "expected a number; 0 takes"),
        ("/set temp", "set temp to what?"),
        ("/set max_tokens 3", "(predict is 3)"),
        ("/set stop girl", "(stop is girl)"),
        ("/set overflow shift", "(overflow is shift)"),
        ("/set thinking off", "(thinking is off)"),
        ("/clear", "(a new conversation)"),
        ("/cls", "(a new conversation)"),
        ("/read nowhere.txt", "error: nowhere.txt"),
        ("/read", "takes the name of a text file"),
        ("/foo", "error: there is no /foo"),
        ("/hepl", "the nearest is /help"),
    ] {
        terminal.ask(line, text)?;
    }
    std::fs::write(terminal.folder.path().join("notes.txt"), "A dog.\nA cat.\n")?;
    terminal.ask("/read notes.txt", "(notes.txt, 2 lines: goes with your next message)")?;
    terminal.ask("What is there?", "--predict")?;
    terminal.ask("/tokens", "USER: A dog.\nA cat.\n\n\nWhat is there?")?;
    // A path is a message.
    terminal.ask("/etc/passwd has what in it?", "--predict")?;
    terminal.ask("/undo", "(taken back: /etc/passwd has what in it?)")?;
    terminal.line("/q")?;
    terminal.ends(0).map(drop)
}

fn saved() -> Outcome {
    let mut terminal = chat(&["--system-prompt", "You tell stories."])?;
    terminal.ask("Tell me a story.", "--predict")?;
    terminal.ask("/set top-k 7", "(top-k is 7)")?;
    terminal.ask("/save one.json", "(3 messages in one.json)")?;
    let one = json(&terminal, "one.json")?;
    equal(&one["format"], &"wgllm chat 1".into())?;
    equal(&one["messages"][0]["content"], &"You tell stories.".into())?;
    equal(&one["messages"][2]["role"], &"assistant".into())?;
    equal((&one["settings"]["top-k"], &one["settings"]["temp"]), (&7.into(), &0.into()))?;
    terminal.ask("/clear", "(a new conversation)")?;
    terminal.ask("/save", "(1 message in wgllm-chat.json)")?;
    terminal.ask("/set top-k 9", "(top-k is 9)")?;
    terminal.ask("/load one.json", "(3 messages of one.json)")?;
    terminal.ask("/tokens", "USER: Tell me a story.")?;
    terminal.ask("/set", "top-k           7")?;
    // What is none is refused, and nothing of it is taken.
    let write = |name: &str, text: &str| std::fs::write(terminal.folder.path().join(name), text);
    write("text.txt", "hello")?;
    write("list.json", r#"[{"role": "user", "content": "x"}]"#)?;
    write("role.json", r#"{"format": "wgllm chat 1", "messages": [{"role": "king", "content": "x"}]}"#)?;
    write("old.json", r#"{"format": "wgllm chat 0", "messages": []}"#)?;
    write("set.json", r#"{"format": "wgllm chat 1", "settings": {"temp": "hot"}, "messages": []}"#)?;
    write("evil.json", r#"{"format": "wgllm chat 1", "settings": {"model": "/dev/zero"}, "messages": []}"#)?;
    for (name, what) in [
        ("text.txt", "is no conversation that /save wrote"),
        ("list.json", "is no conversation that /save wrote"),
        ("role.json", "there is no role \"king\""),
        ("old.json", "expected \"wgllm chat 1\""),
        ("set.json", "expected a number; 0 takes"),
        ("evil.json", "model is nothing that /set sets"),
        ("nowhere.json", "nowhere.json"),
    ] {
        terminal.ask(&format!("/load {name}"), "error: ")?;
        terminal.expect(what)?;
    }
    terminal.ask("/save text.txt", "is there and is no conversation; give another file")?;
    equal(std::fs::read_to_string(terminal.folder.path().join("text.txt"))?.as_str(), "hello")?;
    terminal.ask("/tokens", "USER: Tell me a story.")?;
    terminal.line("/bye")?;
    terminal.ends(0).map(drop)
}

fn settings() -> Outcome {
    let folder = Arc::new(tempfile::tempdir()?);
    let config = folder.path().join("wgllm/config.toml");
    std::fs::create_dir_all(folder.path().join("wgllm"))?;
    std::fs::write(&config, "# mine\ntop_k = 5 # few\nmin-p = 0.125\n")?;
    let environment = [("WGLLM_TOP_P", "0.5"), ("WGLLM_MIN_P", "0.25")];
    let mut terminal = Terminal::with(&CHAT, &environment, folder.clone(), 160)?;
    terminal.expect(READY)?;
    terminal.ask("/set repeat-penalty 1.5", "(repeat-penalty is 1.5)")?;
    terminal.line("/config")?;
    let shown = terminal.expect("no-progress")?;
    let rows: Vec<String> =
        shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for row in [
        "predict 12 command line".to_owned(),
        "ctx-size 512 default".into(),
        "temp 0 command line".into(),
        format!("top-k 5 {}, line 2", config.display()),
        "top-p 0.5 environment, WGLLM_TOP_P".into(),
        "min-p 0.25 environment, WGLLM_MIN_P".into(),
        "repeat-penalty 1.5 set in this chat".into(),
        "repeat-last-n 64 default".into(),
    ] {
        must(rows.contains(&row), || format!("no {row:?} in {rows:?}"))?;
    }
    terminal.ask("/config load", "error: /config shows")?;
    terminal.ask("/config save", "(what is set is in ")?;
    let saved = std::fs::read_to_string(&config)?;
    for line in
        ["# mine", "top_k = 5 # few", "min-p = 0.25", "top-p = 0.5", "repeat-penalty = 1.5", "predict = 12"]
    {
        contains(&saved, line)?;
    }
    terminal.ask("/cfg save other.toml", "other.toml)")?;
    contains(&std::fs::read_to_string(folder.path().join("other.toml"))?, "backend = \"cpu\"")?;
    terminal.line("/exit")?;
    terminal.ends(0)?;
    // What was saved is what a start without flags has.
    let mut again = Terminal::with(&["chat"], &[], folder, 160)?;
    again.expect(READY)?;
    again.ask("/config", "repeat-penalty ")?;
    contains(&again.expect("\n")?, "config.toml, line ")?;
    again.line("/exit")?;
    again.ends(0).map(drop)
}

fn reloads() -> Outcome {
    let mut terminal = chat(&[])?;
    terminal.ask("Tell me a story.", "--predict")?;
    terminal.ask("/model", "demo-q8_0.gguf")?;
    terminal.ask("/model nowhere.gguf", "error: nowhere.gguf")?;
    terminal.expect("demo-q8_0.gguf goes on)")?;
    terminal.ask("/device 999", "error: ")?;
    terminal.expect("goes on)")?;
    let foreign = if cfg!(target_os = "macos") { "dx12" } else { "metal" };
    terminal.ask(&format!("/backend {foreign}"), "error: ")?;
    terminal.expect("goes on)")?;
    terminal.ask("/backend opencl", "known are auto, metal, vulkan, dx12, cpu")?;
    terminal.ask("/backend", "it runs on CPU")?;
    // What was there answers, without computing again.
    terminal.ask("And another.", "--predict")?;
    must(stat(&mut terminal, "from the cache")? > 12, || "the cache is gone".into())?;
    terminal.ask(&format!("/model {MODEL}"), "llama, 4 of 4 layers")?;
    terminal.ask("/backend cpu", "llama, 4 of 4 layers")?;
    terminal.ask("/set ctx-size 256", "KV f32 × 256")?;
    terminal.ask("/tokens", "tokens of 256, 0 of them computed")?;
    terminal.ask("/undo", "(taken back: And another.)")?;
    for adapter in wgllm::gpu::adapters().iter().take(1) {
        terminal.ask(&format!("/device {}", adapter.index), "4 of 4 layers on the GPU")?;
        terminal.ask("And another.", "--predict")?;
        terminal.ask("/backend cpu", "4 of 4 layers on the CPU")?;
    }
    terminal.line("/exit")?;
    terminal.ends(0).map(drop)
}

fn history() -> Outcome {
    let folder = Arc::new(tempfile::tempdir()?);
    let mut first = Terminal::with(&CHAT, &[], folder.clone(), 100)?;
    first.expect(READY)?;
    first.ask("Remember this number: 4711.", "--predict")?;
    first.line("/exit")?;
    first.ends(0)?;
    let mut second = Terminal::with(&CHAT, &[], folder, 100)?;
    second.expect(READY)?;
    second.expect("> ")?;
    second.send("\x1b[A")?;
    second.expect("/exit")?;
    second.send("\x1b[A")?;
    second.expect("Remember this number: 4711.")?;
    second.send("\r")?;
    second.expect("--predict")?;
    second.ask("/tokens", "USER: Remember this number: 4711.")?;
    second.line("/exit")?;
    second.ends(0).map(drop)
}

fn editing() -> Outcome {
    let mut terminal = chat(&[])?;
    terminal.line("The first line\\")?;
    terminal.line("and the second.")?;
    terminal.expect("--predict")?;
    terminal.ask("/tokens", "USER: The first line\nand the second.")?;
    terminal.send("/syst\t")?;
    terminal.line("Be kind.")?;
    terminal.expect("(the system prompt is set)")?;
    std::fs::write(terminal.folder.path().join("a-long-name.txt"), "One.\nTwo.\nThree.\n")?;
    terminal.send("/read a-lo\t")?;
    terminal.send("\r")?;
    terminal.expect("(a-long-name.txt, 3 lines")?;
    terminal.send("/set overf\t")?;
    terminal.line("shift")?;
    terminal.expect("(overflow is shift)")?;
    terminal.line("/exit")?;
    terminal.ends(0).map(drop)
}

fn paste() -> Outcome {
    let mut terminal = chat(&["-c", "8192", "-n", "3"])?;
    let text: String =
        (0..200).map(|i| format!("{i}: a line of a pasted text, no more than that\n")).collect();
    must(text.len() > 9_000, || format!("{} bytes", text.len()))?;
    terminal.send(&format!("\x1b[200~{}\x1b[201~\r", text.trim_end()))?;
    terminal.expect("--predict")?;
    terminal.ask("/save pasted.json", "(2 messages in pasted.json)")?;
    equal(json(&terminal, "pasted.json")?["messages"][0]["content"].as_str(), Some(text.trim_end()))?;
    terminal.line("/exit")?;
    terminal.ends(0).map(drop)
}

fn ctrl_c() -> Outcome {
    let mut terminal = chat(&["-c", "16384", "-n", "-1", "--ignore-eos"])?;
    terminal.send("\x03")?;
    terminal.expect("(Ctrl-D or /exit leaves)")?;
    // A line that is given up.
    terminal.send("half a line")?;
    terminal.expect("half a line")?;
    terminal.send("\x03")?;
    terminal.expect("> ")?;
    terminal.ask("/undo", "nothing was said yet")?;
    // An answer.
    terminal.line("Tell me a story.")?;
    terminal.expect(".\n")?;
    std::thread::sleep(Duration::from_millis(400));
    terminal.send("\x03")?;
    terminal.expect("(stopped)")?;
    // What came of it is part of the conversation, and is not computed again.
    terminal.ask("/set predict 4", "(predict is 4)")?;
    terminal.ask("Go on.", "--predict")?;
    must(stat(&mut terminal, "from the cache")? > 12, || "the cache is gone".into())?;
    // A prompt that would take a while.
    terminal.ask("/clear", "(a new conversation)")?;
    std::fs::write(terminal.folder.path().join("long.txt"), LONG.repeat(600))?;
    terminal.ask("/read long.txt", "goes with your next message")?;
    terminal.line("What happens?")?;
    std::thread::sleep(Duration::from_millis(150));
    terminal.send("\x03")?;
    terminal.expect("(stopped; the message is taken back)")?;
    terminal.ask("/undo", "nothing was said yet")?;
    terminal.line("/exit")?;
    terminal.ends(0).map(drop)
}

/// While kernels are made, at the start and later.
pub fn ctrl_c_while_loading(device: &str) -> Outcome {
    let start = ["chat", "-m", MODEL, "--device", device, "--chat-template", "vicuna"];
    let mut terminal = Terminal::start(&start)?;
    std::thread::sleep(Duration::from_millis(250));
    terminal.send("\x03")?;
    terminal.ends(130)?;
    let mut terminal = chat(&[])?;
    terminal.ask("Tell me a story.", "--predict")?;
    terminal.line(&format!("/device {device}"))?;
    std::thread::sleep(Duration::from_millis(100));
    terminal.send("\x03")?;
    // It is given up, unless it was there already.
    terminal.ask("/backend cpu", "4 of 4 layers on the CPU")?;
    terminal.ask("And another.", "--predict")?;
    terminal.line("/exit")?;
    terminal.ends(0).map(drop)
}

fn ctrl_d() -> Outcome {
    let mut terminal = chat(&["--save-history", "kept.json"])?;
    terminal.ask("Tell me a story.", "--predict")?;
    terminal.expect("> ")?;
    let folder = terminal.folder.clone();
    terminal.send("\x04")?;
    terminal.ends(0)?;
    contains(&std::fs::read_to_string(folder.path().join("kept.json"))?, "Tell me a story.")?;
    let mut again =
        Terminal::with(&[&CHAT[..], &["--load-history", "kept.json"]].concat(), &[], folder, 100)?;
    again.expect(READY)?;
    again.ask("/tokens", "USER: Tell me a story.")?;
    again.line("/exit")?;
    again.ends(0).map(drop)
}

fn thoughts() -> Outcome {
    let folder = Arc::new(tempfile::tempdir()?);
    std::fs::write(folder.path().join("thinks.jinja"), "{{ messages[0].content }} <think>\n")?;
    let args =
        ["chat", "-m", MODEL, "-b", "cpu", "--chat-template", "thinks.jinja", "--temp", "0", "-n", "8"];
    for (environment, marks, absent) in [
        (&[][..], "\x1b[2m", "(thinking)"),
        (&[("NO_COLOR", "1")], "(thinking) ", "\x1b[2m"),
        (&[("TERM", "dumb")], "(thinking) ", "\x1b["),
    ] {
        let mut terminal = Terminal::with(&args, environment, folder.clone(), 100)?;
        terminal.expect(READY)?;
        terminal.ask("Once upon a time", "--predict")?;
        must(terminal.raw().contains(marks), || format!("{environment:?}: {:?}", terminal.raw()))?;
        must(!terminal.raw().contains(absent), || format!("{environment:?}: {:?}", terminal.raw()))?;
        terminal.line("/exit")?;
        terminal.ends(0)?;
    }
    // Nothing of it is on a standard output that is no terminal; JSON has it apart.
    let path = folder.path().join("thinks.jinja");
    let path = path.to_str().ok_or("the folder's name is UTF-8")?;
    let one = ["--chat-template", path, "-p", "Once upon a time", "--temp", "0", "-n", "8"];
    equal(on_cpu(&one)?.out.as_str(), "\n")?;
    let json = parse(&on_cpu(&[&one[..], &["--json"]].concat())?.out)?;
    must(json["reasoning"].as_str().is_some_and(|text| text.len() > 5), || json.to_string())?;
    equal((&json["text"], &json["cached_tokens"]), (&"".into(), &0.into()))
}

fn terminals() -> Outcome {
    for (environment, columns) in [
        (&[("TERM", "xterm")][..], 20),
        (&[("TERM", "dumb")], 80),
        (&[("TERM", "dumb")], 20),
        (&[("NO_COLOR", "1")], 3),
    ] {
        let folder = Arc::new(tempfile::tempdir()?);
        let mut terminal = Terminal::with(&CHAT, environment, folder, columns)?;
        terminal.expect(READY)?;
        terminal.ask("Tell me a story.", "--predict")?;
        if environment[0].1 == "dumb" {
            terminal.expect("> ")?;
            terminal.send("\x03")?;
            terminal.expect("(Ctrl-D or /exit leaves)")?;
        }
        terminal.ask("/help", "Ctrl-D leaves.")?;
        terminal.ask("/stats", "cache in use")?;
        terminal.line("/exit")?;
        terminal.ends(0)?;
    }
    // A chat needs no name, and neither a template that cannot be had.
    let mut terminal = Terminal::start(&CHAT[1..])?;
    terminal.expect(READY)?;
    terminal.line("/exit")?;
    terminal.ends(0)?;
    contains(&Terminal::start(&["-m", MODEL, "-b", "cpu"])?.ends(2)?, "this model has no chat template")?;
    contains(
        &Terminal::start(&["chat", "-m", MODEL, "-b", "cpu"])?.ends(3)?,
        "give one with --chat-template",
    )?;
    contains(&Terminal::start(&[&CHAT[..], &["--json"]].concat())?.ends(2)?, "--json is for one prompt")
}

fn no_terminal() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("message.txt");
    std::fs::write(&path, "Tell me a story.\n")?;
    let from =
        |args: &[&str]| -> Result<Run, Failed> { succeed(command(args).stdin(std::fs::File::open(&path)?)) };
    // However the message comes, the answer alone is on standard output.
    let rest = &CHAT[1..];
    let answer = succeed(&mut command(&[rest, &["-p", "Tell me a story."]].concat()))?.out;
    must(!answer.contains("Tell me") && answer.len() > 10, || answer.clone())?;
    equal(&from(&CHAT)?.out, &answer)?;
    equal(&from(rest)?.out, &answer)?;
    equal(&from(&[rest, &["-f", "-"]].concat())?.out, &answer)?;
    equal(&from(&[&["run"], rest].concat())?.out, &answer)?;
    // Raw, it is continued.
    let raw = ["-m", MODEL, "-b", "cpu", "--raw", "-p", PROMPT, "--temp", "0", "-n", "3"];
    equal(succeed(&mut command(&raw))?.out.as_str(), "Once upon a time, there was\n")?;
    // What cannot be talked with says so.
    let run = finish(command(&["chat", "-m", MODEL, "-b", "cpu"]).stdin(std::fs::File::open(&path)?));
    equal(run.code, Some(3))?;
    contains(&run.err, "no chat template (tokenizer.chat_template)")?;
    let run = wgllm(&["chat", "-m", MODEL, "-b", "cpu", "--chat-template", "vicuna"]);
    equal(run.code, Some(2))?;
    contains(&run.err, "give a prompt with -p TEXT")?;
    let run = wgllm(&["-m", MODEL, "-p", "x", "--raw", "--chat-template", "vicuna"]);
    equal(run.code, Some(2))
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
