//! Conversations that go on: no turn is computed twice, and the model gives what it gives to one prompt of the whole conversation.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};
use wgllm::backend::Precision;
use wgllm::cancel::Cancel;
use wgllm::chat::{
    Answer, Asked, ChatTemplate, Content, Conversation, Dialog, End, Message, Options, Overflow, Piece,
    Reply, builtin,
};
use wgllm::engine::{Choice, Engine, Options as How};
use wgllm::gguf::Gguf;
use wgllm::recommended::Recommended;
use wgllm::sampler::Sampling;
use wgllm::session::{Finish, Session};
use wgllm::tokenizer::Tokenizer;

use crate::fixtures::{demo, ids, json, numbers, real};
use crate::gguf_file::{GgufFile, Meta};
use crate::{Outcome, must, same};

const TALKS: &str = "smollm2-135m-q4_1";

pub fn trials() -> Vec<Trial> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/models/SmolLM2-135M-Instruct.Q4_1.gguf");
    let expected = real().join(TALKS).join("expected.json");
    let real = |name: &str, missing: bool, test: fn(&Path) -> Outcome| {
        let what =
            if missing { " (the model or what is known of it is not here: get.sh fetches it)" } else { "" };
        let file = file.clone();
        Trial::test(format!("dialog: {name}{what}"), move || test(&file)).with_ignored_flag(missing)
    };
    vec![
        real("no turn is computed twice, and three are what one prompt gives", !file.is_file(), turns),
        real("conversations give their golden tokens", !file.is_file() || !expected.is_file(), golden),
        Trial::test("dialog: at the end of the context it stops, and says what to do", stops),
        Trial::test(
            "dialog: white space in front of an answer is the template's or the answer's",
            white_space,
        ),
        Trial::test("dialog: the oldest turns are left out, the system prompt stays", shifts),
        Trial::test("dialog: what is given up leaves a sequence that goes on", cancels),
        Trial::test("dialog: thoughts are shown and kept out of the next prompt", thoughts),
        Trial::test("dialog: stop strings end an answer", stop_strings),
        Trial::test(
            "dialog: what a file recommends is read, and refused where it makes no sense",
            recommended,
        ),
    ]
}

fn open(path: &Path, context: usize) -> Result<Engine, Failed> {
    let how =
        How { backend: Choice::Cpu, precision: Precision::F32, context: Some(context), ..How::default() };
    Ok(Engine::open(path, &how, &mut |_, _| {})?)
}

/// The tokenizer of an engine, which has one.
fn tokenizer(engine: &mut Engine) -> Result<Tokenizer, Failed> {
    engine.tokenizer.take().ok_or_else(|| "no tokenizer".into())
}

fn greedy(limit: usize) -> Asked {
    Asked { sampling: Sampling::greedy(), limit: Some(limit), ..Asked::default() }
}

fn say(
    dialog: &mut Dialog<'_>,
    session: &mut Session<'_>,
    text: &str,
    asked: &Asked,
) -> Result<Answer, Failed> {
    dialog.conversation.messages.push(Message::user(text));
    Ok(dialog.answer(session, asked, &mut |_| ControlFlow::Continue(()))?)
}

fn turns(path: &Path) -> Outcome {
    let mut engine = open(path, 1024)?;
    let tokenizer = tokenizer(&mut engine)?;
    let template = ChatTemplate::from_gguf(&engine.file, &tokenizer)?;
    let vocab = engine.model.vocab_size;
    let questions =
        ["What is the capital of France?", "And of Italy?", "Which of the two is larger? <|im_end|>"];
    let mut dialog = Dialog::new(&template, &tokenizer, Conversation::default());
    let mut answers = Vec::new();
    {
        let mut session = Session::new(engine.backend.as_mut(), engine.plan, vocab);
        for question in questions {
            let held = session.tokens().to_vec();
            let answer = say(&mut dialog, &mut session, question, &greedy(40))?;
            let timings = &answer.timings;
            same("the sequence", session.tokens().len(), timings.prompt_tokens + timings.tokens)?;
            must(session.tokens().starts_with(&held), || "what was there is not the beginning".into())?;
            // The last token that was handed out may not have been computed by then.
            let (computed, new) =
                (timings.prompt_tokens - timings.cached_tokens, timings.prompt_tokens - held.len());
            must((new..=new + 1).contains(&computed), || format!("{computed} computed, {new} are new"))?;
            answers.push(answer);
        }
    }
    // The whole conversation as one prompt, on nothing.
    let last = answers.pop().ok_or("no answer")?;
    dialog.conversation.messages.pop();
    let mut session = Session::new(engine.backend.as_mut(), engine.plan, vocab);
    let whole = dialog.answer(&mut session, &greedy(40), &mut |_| ControlFlow::Continue(()))?;
    same("cached", whole.timings.cached_tokens, 0)?;
    same("the last answer", (whole.ids, whole.message), (last.ids, last.message))
}

fn golden(path: &Path) -> Outcome {
    let expected = json(&real().join(TALKS).join("expected.json"))?;
    let mut engine = open(path, 512)?;
    let tokenizer = tokenizer(&mut engine)?;
    let template = ChatTemplate::from_gguf(&engine.file, &tokenizer)?;
    let mut session = Session::new(engine.backend.as_mut(), engine.plan, engine.model.vocab_size);
    let prompts = expected["prompts"].as_array().ok_or("there are no prompts")?;
    let mut run = 0;
    for prompt in prompts.iter().filter(|prompt| prompt["messages"].is_array()) {
        let messages: Vec<Message> = serde_json::from_value(prompt["messages"].clone())?;
        let mut dialog = Dialog::new(&template, &tokenizer, messages.into());
        same("prompt", dialog.prompt()?.encode(&tokenizer)?, ids(&prompt["ids"])?)?;
        let mut golden = ids(&prompt["greedy"]["ids"])?;
        // Both references agree on every token of these, by margins that bind.
        let margins = numbers(&prompt["greedy"]["margins"])?;
        must(margins.iter().all(|&margin| margin > 0.05), || format!("margins {margins:?}"))?;
        let answer = dialog.answer(&mut session, &greedy(64), &mut |_| ControlFlow::Continue(()))?;
        golden.pop_if(|id| tokenizer.is_end(*id));
        same("answer", answer.ids, golden)?;
        same(
            "text",
            answer.message,
            Message::assistant(prompt["greedy"]["text"].as_str().unwrap_or_default()),
        )?;
        same("end", answer.end, Some(End::Token))?;
        run += 1;
    }
    same("conversations", run, 2)
}

/// The carried model, which tells stories whatever it is told, behind a template that its vocabulary can write.
struct Teller {
    engine: Engine,
    tokenizer: Tokenizer,
    template: ChatTemplate,
}

impl Teller {
    fn open(context: usize, template: &str) -> Result<Teller, Failed> {
        let mut engine = open(&demo_file(), context)?;
        let tokenizer = tokenizer(&mut engine)?;
        let template = ChatTemplate::for_model(template, &engine.file, &tokenizer)?;
        Ok(Teller { engine, tokenizer, template })
    }

    fn parts(&mut self) -> (Dialog<'_>, Session<'_>) {
        let Teller { engine, tokenizer, template } = self;
        let dialog = Dialog::new(template, tokenizer, Conversation::default());
        (dialog, Session::new(engine.backend.as_mut(), engine.plan, engine.model.vocab_size))
    }
}

fn demo_file() -> PathBuf {
    let carried = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo-q8_0.gguf");
    if carried.is_file() { carried } else { demo().join("demo-q8_0.gguf") }
}

fn vicuna() -> &'static str {
    builtin::find("vicuna").map_or("", |named| named.text)
}

fn stops() -> Outcome {
    let mut teller = Teller::open(96, vicuna())?;
    let (mut dialog, mut session) = teller.parts();
    let asked = Asked { limit: None, ..greedy(0) };
    // The answer ends where the context does.
    let sampling = Sampling { banned: vec![0], ..Sampling::greedy() };
    let answer = say(&mut dialog, &mut session, "Tell a story.", &Asked { sampling, ..asked.clone() })?;
    same("finish", answer.finish, Finish::Context)?;
    let before = dialog.conversation.clone();
    dialog.conversation.messages.push(Message::user("And another."));
    let error = dialog.answer(&mut session, &asked, &mut |_| ControlFlow::Continue(())).err();
    let error = error.ok_or("a prompt that does not fit was taken")?.to_string();
    must(error.contains("96 positions") && error.contains("--overflow shift"), || error.clone())?;
    dialog.conversation.messages.pop();
    same("conversation", &dialog.conversation, &before)
}

fn white_space() -> Outcome {
    // This template writes the space in front of an answer, that one does not.
    let plain = "{% for m in messages %}{{ m.role }}:{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";
    for (template, spaced) in [(vicuna(), false), (plain, true)] {
        let mut teller = Teller::open(256, template)?;
        let (mut dialog, mut session) = teller.parts();
        let answer = say(&mut dialog, &mut session, "Tell a story.", &greedy(12))?;
        let text = answer.message.content.as_ref().and_then(Content::plain).unwrap_or_default();
        same("space", text.starts_with(' '), spaced)?;
        let held = session.tokens().len();
        let next = say(&mut dialog, &mut session, "And another.", &greedy(4))?;
        must(next.timings.cached_tokens + 1 >= held, || format!("{:?} of {held}", next.timings))?;
    }
    Ok(())
}

fn shifts() -> Outcome {
    let mut teller = Teller::open(128, vicuna())?;
    let (mut dialog, mut session) = teller.parts();
    dialog.conversation.messages.push(Message::system("You tell stories."));
    let asked = Asked { overflow: Overflow::Shift, ..greedy(24) };
    for turn in 0..8 {
        let answer = say(&mut dialog, &mut session, &format!("Tell story number {turn}."), &asked)?;
        same("tokens", answer.ids.len(), 24)?;
        let prompt = dialog.prompt()?.text();
        must(prompt.starts_with("You tell stories.\n\nUSER: Tell story"), || prompt.clone())?;
        must(prompt.contains(&format!("number {turn}.")), || prompt.clone())?;
    }
    must(dialog.left_out() > 2, || format!("{} turns left out", dialog.left_out()))?;
    same("messages", dialog.conversation.messages.len(), 17)?;
    // In the middle of an answer, too: it goes on to its limit behind fewer turns.
    let left_out = dialog.left_out();
    let sampling = Sampling { banned: vec![0], ..Sampling::greedy() };
    let answer =
        say(&mut dialog, &mut session, "A long one.", &Asked { sampling, limit: Some(100), ..asked })?;
    same("tokens", (answer.ids.len(), answer.finish), (100, Finish::Length))?;
    must(dialog.left_out() > left_out, || "nothing was left out".into())?;
    let told: usize = dialog.conversation.messages.len();
    same("messages", told, 19)
}

fn cancels() -> Outcome {
    let mut teller = Teller::open(512, vicuna())?;
    let (mut dialog, mut session) = teller.parts();
    let cancel = Cancel::new();
    session.watch(cancel.clone());
    dialog.conversation.messages.push(Message::user("Tell a story about a dog. ".repeat(20)));
    cancel.cancel();
    let answer = dialog.answer(&mut session, &greedy(20), &mut |_| ControlFlow::Continue(()))?;
    same("given up", (answer.finish, answer.ids.len()), (Finish::Stopped, 0))?;
    dialog.conversation.messages.pop();
    session.watch(Cancel::new());
    // In the middle, too.
    let mut left = 7;
    let broken = dialog.answer(&mut session, &greedy(20), &mut |_| {
        left -= 1;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    same("given up", broken.finish, Finish::Stopped)?;
    dialog.conversation.messages.pop();
    let after = dialog.answer(&mut session, &greedy(20), &mut |_| ControlFlow::Continue(()))?;
    must(after.timings.cached_tokens + 2 > after.timings.prompt_tokens, || format!("{:?}", after.timings))?;
    dialog.conversation.messages.pop();
    session.clear();
    let anew = dialog.answer(&mut session, &greedy(20), &mut |_| ControlFlow::Continue(()))?;
    same("what came", (after.ids, after.message), (anew.ids, anew.message))
}

/// A template that opens a thought and, as Qwen's does, leaves the thoughts of earlier turns out.
const THINKS: &str = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: <think>\n{% endif %}";

fn thoughts() -> Outcome {
    let mut teller = Teller::open(256, THINKS)?;
    let tokenizer = &teller.tokenizer;
    let prompt = teller.template.render(
        &vec![Message::user("Hi")].into(),
        &Options { add_generation_prompt: true, ..Options::default() },
    )?;
    let mut reply = Reply::new(tokenizer, &prompt, &[]);
    let how = wgllm::tokenizer::Encode::default();
    let mut pieces = Vec::new();
    for id in tokenizer.encode("She is sad.\n</think>\n\nHello there.", how)? {
        pieces.extend(reply.push(id));
    }
    pieces.extend(reply.finish());
    let (mut thought, mut text) = (String::new(), String::new());
    for piece in pieces {
        match piece {
            Piece::Thought(piece) => thought += &piece,
            Piece::Text(piece) => text += &piece,
        }
    }
    same("shown", (thought.trim(), text.as_str()), ("She is sad.", "Hello there."))?;
    let message = reply.message();
    same("thought", message.reasoning_content.as_deref(), Some("She is sad."))?;
    let (mut dialog, mut session) = teller.parts();
    dialog.conversation.messages = vec![Message::user("Hi"), message, Message::user("Bye")];
    let next = dialog.prompt()?.text();
    same("next", next.as_str(), "user: Hi\nassistant: Hello there.\nuser: Bye\nassistant: <think>\n")?;
    // The story that the model tells is all thought: it never ends it.
    let answer = dialog.answer(&mut session, &greedy(5), &mut |_| ControlFlow::Continue(()))?;
    must(answer.message.reasoning_content.is_some(), || format!("{:?}", answer.message))?;
    same("text", answer.message.content, Some(Content::Text(String::new())))
}

fn stop_strings() -> Outcome {
    let mut teller = Teller::open(256, "{{ messages[0].content }}")?;
    let (mut dialog, mut session) = teller.parts();
    let asked = Asked { stops: vec![" girl".into()], ..greedy(40) };
    let answer = say(&mut dialog, &mut session, "Once upon a time", &asked)?;
    same("end", (answer.end, answer.finish), (Some(End::Text), Finish::Stopped))?;
    same("message", answer.message, Message::assistant(", there was a little"))
}

fn recommended() -> Outcome {
    let read = |keys: &[(&str, Meta)]| -> Result<Recommended, Failed> {
        let metadata = keys.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.clone())).collect();
        let bytes = GgufFile { metadata, ..GgufFile::default() }.bytes();
        let bytes: &'static [u8] = Box::leak(bytes.into_boxed_slice());
        Ok(Recommended::from_metadata(Gguf::from_static("x.gguf", bytes)?.metadata()))
    };
    let found = read(&[
        ("general.sampling.temp", Meta::F32(0.6)),
        ("general.sampling.top_k", Meta::I32(20)),
        ("general.sampling.top_p", Meta::F32(0.9)),
        ("general.sampling.min_p", Meta::F32(0.0)),
        ("general.sampling.penalty_repeat", Meta::F32(1.1)),
        ("general.sampling.penalty_last_n", Meta::I32(-1)),
    ])?;
    let expected = Recommended {
        temperature: Some(0.6),
        top_k: Some(20),
        top_p: Some(0.9),
        min_p: Some(0.0),
        repeat_penalty: Some(1.1),
        repeat_last_n: Some(-1),
        warnings: Vec::new(),
    };
    same("recommended", found, expected)?;
    same("nothing", read(&[])?, Recommended::default())?;
    let odd = read(&[
        ("general.sampling.temp", Meta::F32(-1.0)),
        ("general.sampling.top_k", Meta::F32(1.5)),
        ("general.sampling.top_p", Meta::Str(b"\x1b[2J".to_vec())),
        ("general.sampling.min_p", Meta::F32(f32::NAN)),
    ])?;
    same("odd", &Recommended { warnings: Vec::new(), ..odd.clone() }, &Recommended::default())?;
    same("warnings", odd.warnings.len(), 4)?;
    must(odd.warnings[0].contains("general.sampling.temp is -1"), || odd.warnings[0].clone())
}
