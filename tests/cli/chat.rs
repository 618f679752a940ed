//! A chat, as somebody has it who sits in front of a terminal.

use std::sync::Arc;

use libtest_mimic::{Failed, Trial};
use serde_json::Value;

use crate::program::*;
use crate::terminal::Terminal;

/// The carried model behind a template: what it says makes no sense, and is always the same.
const MODEL_ONLY: [&str; 9] = ["chat", "-m", MODEL, "-b", "cpu", "--chat-template", "vicuna", "--temp", "0"];
pub const CHAT: [&str; 11] =
    ["chat", "-m", MODEL, "-b", "cpu", "--chat-template", "vicuna", "--temp", "0", "-n", "12"];

pub const READY: &str = "/help lists the commands";

pub fn trials() -> Vec<Trial> {
    let tests: [Test; 8] = [
        ("a_chat_answers_and_computes_no_turn_twice", answers),
        ("every_command_of_a_chat_does_what_it_says", commands),
        ("a_chat_is_saved_and_loaded_and_refuses_what_is_none", saved),
        ("settings_of_a_chat_say_where_they_come_from", settings),
        ("another_model_or_backend_is_loaded_or_what_was_there_stays", reloads),
        ("thoughts_are_dim_or_named", thoughts),
        ("a_narrow_terminal_and_one_that_knows_nothing_will_do", terminals),
        ("without_a_terminal_one_message_is_answered", no_terminal),
    ];
    let trial = |(name, test): Test| Trial::test(name, test);
    tests.into_iter().map(trial).collect()
}

pub fn chat(more: &[&str]) -> Result<Terminal, Failed> {
    let args = if more.contains(&"-n") { &MODEL_ONLY[..] } else { &CHAT };
    let mut terminal = Terminal::start(&[args, more].concat())?;
    terminal.expect("llama, 4 of 4 layers on the CPU")?;
    terminal.expect(READY)?;
    terminal.expect("> ")?;
    Ok(terminal)
}

/// A number of `/stats`: of the last answer.
pub fn stat(terminal: &mut Terminal, row: &str) -> Result<usize, Failed> {
    terminal.ask("/stats", "last answer")?;
    terminal.expect(row)?;
    let rest = terminal.expect("\n")?;
    terminal.expect("scratch")?;
    let number = rest.split_whitespace().next().unwrap_or_default().replace(',', "");
    number.parse().map_err(|e| format!("{row}: {rest:?}: {e}").into())
}

/// A file of the terminal's folder as JSON.
pub fn json(terminal: &Terminal, name: &str) -> Result<Value, Failed> {
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
    terminal.leave()
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
    terminal.leave()?;
    // What was saved is what a start without flags has.
    let mut again = Terminal::with(&["chat"], &[], folder, 160)?;
    again.expect(READY)?;
    again.ask("/config", "repeat-penalty ")?;
    contains(&again.expect("\n")?, "config.toml, line ")?;
    again.leave()
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
    terminal.leave()
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
        terminal.leave()?;
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
        terminal.leave()?;
    }
    // A chat needs no name, and neither a template that cannot be had.
    let mut terminal = Terminal::start(&CHAT[1..])?;
    terminal.expect(READY)?;
    terminal.leave()?;
    contains(&Terminal::start(&["-m", MODEL, "-b", "cpu"])?.ends(2)?, "this model has no chat template")?;
    contains(
        &Terminal::start(&["chat", "-m", MODEL, "-b", "cpu"])?.ends(3)?,
        "give one with --chat-template",
    )?;
    let json = Terminal::start(&[&CHAT[..], &["--json"]].concat())?.ends(2)?;
    contains(&json, "--json is for one prompt")?;
    contains(&json, "--load-history FILE --save-history FILE")
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
    // As JSON it is what `run` prints: the same answer, and how much of it came from the cache, which is nothing in a first turn.
    let of = |run: Run| -> Result<Value, Failed> { parse(&run.out) };
    let (chat, run) =
        (of(from(&[&CHAT[..], &["--json"]].concat())?)?, of(from(&[&["run"], rest, &["--json"]].concat())?)?);
    equal(chat["text"].as_str().map(str::trim), Some(answer.trim()))?;
    equal(&chat["cached_tokens"], &0.into())?;
    must(chat["prompt_tokens"].as_u64().is_some_and(|tokens| tokens > 4), || chat.to_string())?;
    for key in ["text", "tokens", "prompt_tokens", "cached_tokens", "finish_reason", "device", "placement"] {
        equal(&chat[key], &run[key])?;
    }
    let keys = |value: &Value| value.as_object().map(|o| o.keys().cloned().collect::<Vec<_>>());
    equal(keys(&chat), keys(&run))?;
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
