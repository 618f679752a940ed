//! `wgllm chat`: a conversation in the terminal. `commands` says what can be asked for, `talk` does it with a model that is loaded, `editor` reads lines,
//! `saved` are conversations as files, `totals` what it took.

mod commands;
mod editor;
mod files;
mod flags;
mod saved;
mod talk;
mod totals;

use std::process::ExitCode;

use wgllm_engine::cancel::Cancel;
use wgllm_engine::chat::{ChatTemplate, Conversation};
use wgllm_engine::engine::{Engine, Options};
use wgllm_engine::lookup;
use wgllm_engine::recommended::Recommended;
use wgllm_engine::tokenizer::Tokenizer;
use wgllm_engine::{Error, Result};

use super::run::Run;
use super::sampling::random_seed;
use super::screen::Screen;
use super::settings::Settings;
use super::{Outcome, Quit, args, interrupt, model};
use editor::Editor;
pub use flags::ChatFlags;
use talk::{Next, Talk};
use totals::Totals;

/// What Ctrl-C is answered with where nothing is under way.
const HOW_TO_LEAVE: &str = "(Ctrl-D or /exit leaves)";

/// A model that is ready to talk.
struct Loaded {
    engine: Engine,
    tokenizer: Tokenizer,
    template: ChatTemplate,
    recommended: Recommended,
}

impl Loaded {
    fn new(mut engine: Engine, template: ChatTemplate) -> Result<Loaded> {
        let tokenizer = engine.tokenizer.take();
        let recommended = Recommended::from_metadata(engine.file.metadata());
        match tokenizer {
            Some(tokenizer) => Ok(Loaded { engine, tokenizer, template, recommended }),
            None => args::need_tokenizer(None).and(Err(Error::Other("no tokenizer".into()))),
        }
    }

    /// Loads what `run` asks for; gives up when `cancel` is raised.
    fn open(run: &Run, cancel: Cancel) -> Result<Loaded> {
        let file = run.model.open(&run.reporter)?;
        let options = Options { cancel: cancel.clone(), ..run.options(&file)? };
        let engine = model::load(file, &options, &run.hardware, &run.reporter)?;
        cancel.check()?;
        lookup::check(&engine.model, run.drafts.lookup)?;
        let tokenizer = args::need_tokenizer(engine.tokenizer.as_ref())?;
        let template = run.chat.template(&engine.file, tokenizer);
        let template = template.map_err(|e| e.in_file(engine.file.name().as_ref()))?;
        Loaded::new(engine, template)
    }
}

/// What a chat has besides a model.
struct State {
    settings: Settings,
    run: Run,
    conversation: Conversation,
    editor: Editor,
    screen: Screen,
    totals: Totals,
    /// Texts that go in front of the next message.
    read: Vec<String>,
    /// The seed where none is given.
    seed: u64,
    /// How often an answer was asked for again: each has a seed of its own.
    again: u64,
}

impl State {
    /// A line about the chat, on standard error.
    fn say(&self, line: impl std::fmt::Display) {
        self.run.reporter.say(line);
    }

    /// What went wrong, which ends nothing.
    fn complain(&self, error: &Error) {
        self.run.reporter.always(format_args!("error: {error}"));
    }
}

/// Talks until somebody leaves.
pub fn talk(run: Run, settings: Settings, engine: Engine, template: ChatTemplate) -> Outcome {
    let _calm = interrupt::says(HOW_TO_LEAVE);
    let conversation = run.chat.conversation()?;
    let loaded = Loaded::new(engine, template)?;
    for warning in &loaded.recommended.warnings {
        run.reporter.say(format_args!("note: {warning}"));
    }
    let (mut settings, mut run) = (settings, run);
    if let Some(saved) = run.chat.loaded()? {
        // What was typed now wins over what was set then.
        let typed = settings.explicit();
        for (name, value) in saved.settings() {
            if talk::is_settable(name) && typed.iter().all(|(known, _)| known != name) {
                (settings, run) = settings.with(name, &value)?;
            }
        }
    }
    let mut state = State {
        settings,
        run,
        conversation,
        editor: Editor::new()?,
        screen: Screen::new(),
        totals: Totals::default(),
        read: Vec::new(),
        seed: random_seed(),
        again: 0,
    };
    state.say("/help lists the commands, Ctrl-D leaves; a \\ at the end of a line goes on to the next");
    let mut model = loaded.engine.file.name().to_string();
    let ended = go_on(loaded, &mut state, &mut model);
    // Whatever ended it.
    state.run.chat.save(&state.conversation, &model, &state.settings.explicit())?;
    ended.map(|()| ExitCode::SUCCESS)
}

/// Talks with one model after the other; `name` is the last one's.
fn go_on(mut loaded: Loaded, state: &mut State, name: &mut String) -> Result<(), Quit> {
    loop {
        let next = Talk::with(&mut loaded, state).run()?;
        match next {
            Next::Leave => return Ok(()),
            Next::Become(became) => (loaded, state.settings, state.run) = *became,
            Next::MakeRoom(wanted) => {
                let (settings, run) = *wanted;
                state.say("there is no room for both: the model that was there goes first");
                drop(loaded);
                loaded = match open(&run) {
                    Ok(model) => {
                        (state.settings, state.run) = (settings, run);
                        model
                    }
                    Err(error) => {
                        state.complain(&error);
                        state.say("what was there is loaded again");
                        open(&state.run)?
                    }
                };
            }
        }
        *name = loaded.engine.file.name().to_string();
    }
}

/// Loads a model; Ctrl-C gives that up.
fn open(run: &Run) -> Result<Loaded> {
    let cancel = Cancel::new();
    let _regime = interrupt::ends(&cancel);
    Loaded::open(run, cancel)
}

/// Whatever ends a chat in the middle.
fn ends(error: &Error) -> bool {
    matches!(error, Error::Lost(_))
}
