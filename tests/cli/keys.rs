//! What is typed into a chat: history, several lines, completion, pasted text, Ctrl-C and Ctrl-D.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;

use crate::chat::{CHAT, READY, chat, json, stat};
use crate::program::*;
use crate::terminal::Terminal;

/// A message longer than one batch of a prompt.
const LONG: &str = "The little girl went to the park with her dog and they played all day long in the sun. ";

pub fn trials() -> Vec<Trial> {
    let tests: [Test; 5] = [
        ("a_chat_remembers_what_was_typed", history),
        ("lines_go_on_behind_a_backslash_and_tab_completes", editing),
        ("ten_kilobytes_are_pasted_as_one_message", paste),
        ("ctrl_c_stops_an_answer_a_prompt_and_nothing_else", ctrl_c),
        ("ctrl_d_leaves_a_chat", ctrl_d),
    ];
    tests.into_iter().map(|(name, test)| Trial::test(name, test)).collect()
}

fn history() -> Outcome {
    let folder = Arc::new(tempfile::tempdir()?);
    let mut first = Terminal::with(&CHAT, &[], folder.clone(), 100)?;
    first.expect(READY)?;
    first.ask("Remember this number: 4711.", "--predict")?;
    first.leave()?;
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
    second.leave()
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
    terminal.leave()
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
    terminal.leave()
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
    terminal.leave()
}

/// While a model is loaded, at the start, as soon as any command is asked to end (`interrupt`), and later.
pub fn ctrl_c_while_loading(device: &str) -> Outcome {
    let start = ["chat", "-m", MODEL, "--device", device, "--chat-template", "vicuna"];
    let mut terminal = Terminal::start(&start)?;
    std::thread::sleep(Duration::from_millis(60));
    terminal.send("\x03")?;
    terminal.ends(130)?;
    let mut terminal = chat(&[])?;
    terminal.ask("Tell me a story.", "--predict")?;
    terminal.line(&format!("/device {device}"))?;
    std::thread::sleep(Duration::from_millis(30));
    terminal.send("\x03")?;
    // It is given up, unless it was there already; what is typed before the next line is read would be lost.
    std::thread::sleep(Duration::from_millis(700));
    terminal.ask("/backend cpu", "4 of 4 layers on the CPU")?;
    terminal.ask("And another.", "--predict")?;
    terminal.leave()
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
    again.leave()
}
