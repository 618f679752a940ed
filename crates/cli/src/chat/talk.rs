//! A chat with one model: asks for a line, does what it says, and hands over when another model is to go on.

use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;

use wgllm_engine::cancel::Cancel;
use wgllm_engine::chat::{Asked, Content, Conversation, Dialog, Message};
use wgllm_engine::engine::Choice;
use wgllm_engine::hub::Name;
use wgllm_engine::lookup;
use wgllm_engine::models::Model;
use wgllm_engine::session::{Finish, Session};
use wgllm_engine::{Error, Result};

use super::commands::{COMMANDS, Command, Kind, RELOADING, SETTABLE, find, typed};
use super::editor::Line;
use super::files::typed_path;
use super::flags::{check, set_system, usage};
use super::{HOW_TO_LEAVE, Loaded, State, open};
use crate::form::Made;
use crate::report::{self, Bandwidth};
use crate::run::Run;
use crate::sampling::SamplingFlags;
use crate::settings::Settings;
use crate::text::{count, plural, table};
use crate::{Quit, interrupt, plain};

/// What happens after a line.
pub enum Next {
    /// The chat is over.
    Leave,
    /// It goes on with another model, and with these settings.
    Become(Box<(Loaded, Settings, Run)>),
    /// The same, but this one must make room first.
    MakeRoom(Box<(Settings, Run)>),
}

/// Whether a flag can be set in a chat.
pub fn is_settable(name: &str) -> bool {
    SETTABLE.contains(&name) && !RELOADING.contains(&name)
}

/// A chat with one model.
pub struct Talk<'l> {
    pub(super) dialog: Dialog<'l>,
    session: Session<'l>,
    pub(super) loaded: Static<'l>,
    pub(super) state: &'l mut State,
}

/// What of a model does not change while it runs.
pub(super) struct Static<'l> {
    pub(super) file_name: String,
    model: &'l Model,
    pub(super) template: &'l wgllm_engine::chat::ChatTemplate,
    tokenizer: &'l wgllm_engine::tokenizer::Tokenizer,
    recommended: &'l wgllm_engine::recommended::Recommended,
    context: usize,
    /// What runs where.
    placed: String,
    made: Made,
}

impl<'l> Talk<'l> {
    /// A chat that goes on with this model.
    pub fn with(loaded: &'l mut Loaded, state: &'l mut State) -> Talk<'l> {
        let placed = format!(
            "{}\n{}",
            report::device_line(&loaded.engine.backend.device()),
            report::load_line(&loaded.engine)
        );
        let Loaded { engine, tokenizer, template, recommended } = loaded;
        let mut dialog = Dialog::new(template, tokenizer, state.conversation.clone());
        dialog.options = state.run.chat.rendering();
        let file_name = engine.file.name().to_string();
        let fixed = Static {
            file_name,
            model: &engine.model,
            template,
            tokenizer,
            recommended,
            context: engine.plan.context,
            placed,
            made: Made::default(),
        };
        let session = Session::new(engine.backend.as_mut(), engine.plan, engine.model.vocab_size);
        Talk { dialog, session, loaded: fixed, state }
    }

    /// Goes on until somebody leaves or another model is wanted.
    pub fn run(mut self) -> Result<Next, Quit> {
        loop {
            let line = match self.state.editor.read("> ")? {
                Line::Text(line) => line,
                Line::Interrupt { was_empty } => {
                    if was_empty {
                        self.state.say(HOW_TO_LEAVE);
                    }
                    continue;
                }
                Line::End => return Ok(self.leave(Next::Leave)),
            };
            let next = match find(&line) {
                None if line.trim().is_empty() => Ok(None),
                None => self.message(line).map(|()| None),
                Some(Ok((command, argument))) => self.command(command, argument),
                Some(Err(what)) => Err(usage(what).into()),
            };
            match next {
                Ok(None) => {}
                Ok(Some(next)) => return Ok(self.leave(next)),
                Err(Quit::Error(error)) if !super::ends(&error) => self.state.complain(&error),
                Err(quit) => {
                    self.state.conversation = self.dialog.conversation;
                    return Err(quit);
                }
            }
        }
    }

    /// Hands the conversation back.
    fn leave(self, next: Next) -> Next {
        self.state.conversation = self.dialog.conversation;
        next
    }

    /// Says something, and lets the model answer.
    fn message(&mut self, line: String) -> Result<(), Quit> {
        let mut texts = std::mem::take(&mut self.state.read);
        texts.push(line);
        let before = self.dialog.conversation.clone();
        self.dialog.conversation.messages.push(Message::user(texts.join("\n\n")));
        let answered = self.answer();
        if !matches!(answered, Ok(true)) {
            self.dialog.conversation = before;
            texts.pop();
            self.state.read = texts;
        }
        answered.map(drop)
    }

    /// Lets the model answer; says whether anything came.
    fn answer(&mut self) -> Result<bool, Quit> {
        let run = &self.state.run;
        let mut sampling = run.choice.sampling(
            self.loaded.recommended,
            run.model.temperature(),
            self.loaded.context,
            self.state.seed,
        );
        sampling.seed = sampling.seed.wrapping_add(self.state.again);
        let Static { template, tokenizer, made, .. } = &self.loaded;
        sampling.banned = run.ends.banned(Some(tokenizer));
        sampling.constraint = run.form.of_dialog(&self.dialog, template, tokenizer, made)?;
        let asked = Asked {
            sampling,
            limit: run.limit(),
            stops: run.ends.stop.clone(),
            overflow: run.chat.overflow(),
        };
        let cancel = Cancel::new();
        self.session.watch(cancel.clone());
        self.session.look_up(run.drafts.lookup)?;
        let left_out = self.dialog.left_out();
        let (screen, mut failed) = (&mut self.state.screen, None);
        let answer = {
            let _regime = interrupt::ends(&cancel);
            self.dialog.answer(&mut self.session, &asked, &mut |piece| match screen.show(&piece) {
                Ok(()) => ControlFlow::Continue(()),
                Err(quit) => {
                    failed = Some(quit);
                    ControlFlow::Break(())
                }
            })
        };
        if let Some(quit) = failed {
            return Err(quit);
        }
        let answer = answer?;
        self.state.screen.end()?;
        self.state.totals.add(&answer.timings);
        if cancel.is_cancelled() {
            let what = if answer.ids.is_empty() { "stopped; the message is taken back" } else { "stopped" };
            self.state.say(format_args!("({what})"));
        } else if answer.finish == Finish::Context {
            self.state.say(format_args!(
                "(the context of {} positions is full: /clear begins anew, /set overflow shift leaves the oldest turns out, \
                 /set ctx-size N makes it larger)",
                count(self.loaded.context as u64)
            ));
        } else if answer.finish == Finish::Length {
            self.state.say("(stopped at the limit of --predict)");
        }
        let more = self.dialog.left_out() - left_out.min(self.dialog.left_out());
        if more > 0 {
            self.state
                .say(format_args!("(the oldest {} left out: the context is full)", plural(more, "turn")));
        }
        let found = Bandwidth { device: None, share: None };
        let line = report::timing_line(&answer.timings, &found, 0.0, asked.sampling.seed);
        self.state.run.reporter.detail(line);
        Ok(!answer.ids.is_empty())
    }

    /// Does what a command says.
    fn command(&mut self, command: &Command, argument: &str) -> Result<Option<Next>, Quit> {
        match command.kind {
            Kind::Help => self.print(&help())?,
            Kind::Exit => return Ok(Some(Next::Leave)),
            Kind::Clear => self.clear(),
            Kind::Regen => self.regen()?,
            Kind::Undo => self.undo()?,
            Kind::System => self.system(argument)?,
            Kind::Set => return self.set(argument),
            Kind::Stats => self.stats()?,
            Kind::Model if argument.is_empty() => {
                self.print(&format!("{}\n{}", self.loaded.file_name, self.loaded.placed))?
            }
            Kind::Model => {
                let path = typed_path(argument);
                // What is no file may be a name on the hub.
                let is_name = !path.exists() && argument.parse::<Name>().is_ok();
                let (flag, value) =
                    if is_name { ("hf-repo", argument.into()) } else { ("model", path.to_string_lossy()) };
                return self.go_on_with(flag, &value);
            }
            Kind::Backend | Kind::Device if argument.is_empty() => {
                let what =
                    format!("{} what? it runs on {}", command.names[0], self.session.backend().device().name);
                return Err(usage(what).into());
            }
            Kind::Backend => return self.go_on_with("backend", argument),
            Kind::Device => return self.go_on_with("device", argument),
            Kind::Save => self.save(argument)?,
            Kind::Load => self.load(argument)?,
            Kind::Read => self.read(argument)?,
            Kind::Template => self.print(self.loaded.template.text())?,
            Kind::Tokens => self.tokens()?,
            Kind::Config => self.config(argument)?,
        }
        Ok(None)
    }

    /// Prints what was asked for.
    fn print(&self, text: &str) -> Result<(), Quit> {
        let mut out = io::stdout().lock();
        let shown = if io::stdout().is_terminal() { plain::lines(text) } else { text.into() };
        out.write_all(shown.as_bytes())?;
        if !shown.ends_with('\n') {
            out.write_all(b"\n")?;
        }
        Ok(out.flush()?)
    }

    fn clear(&mut self) {
        let system = self.dialog.conversation.messages.iter().take_while(|message| message.role == "system");
        let system: Conversation = system.cloned().collect::<Vec<_>>().into();
        self.dialog.restart(system);
        self.state.read.clear();
        self.state.say("(a new conversation)");
    }

    /// Where the last message of the person is.
    fn last_turn(&self) -> Result<usize> {
        let messages = &self.dialog.conversation.messages;
        messages
            .iter()
            .rposition(|message| message.role == "user")
            .ok_or_else(|| usage("nothing was said yet"))
    }

    fn regen(&mut self) -> Result<(), Quit> {
        let last = self.last_turn()?;
        let before = self.dialog.conversation.clone();
        self.dialog.conversation.messages.truncate(last + 1);
        self.state.again += 1;
        let answered = self.answer();
        if !matches!(answered, Ok(true)) {
            self.dialog.conversation = before;
        }
        answered.map(drop)
    }

    fn undo(&mut self) -> Result<()> {
        let last = self.last_turn()?;
        let said = self.dialog.conversation.messages[last].content.as_ref().and_then(Content::plain);
        self.dialog.conversation.messages.truncate(last);
        let said = said.unwrap_or_default();
        let begin: String = said.chars().take(60).map(|c| if c == '\n' { ' ' } else { c }).collect();
        let more = if said.chars().count() > 60 { "…" } else { "" };
        self.state.say(format_args!("(taken back: {begin}{more})"));
        Ok(())
    }

    fn system(&mut self, argument: &str) -> Result<(), Quit> {
        let mut conversation = self.dialog.conversation.clone();
        match argument {
            "" => {
                let system = conversation.messages.first().filter(|message| message.role == "system");
                let text = system.and_then(|message| message.content.as_ref()?.plain());
                return self.print(text.as_deref().unwrap_or("there is no system prompt"));
            }
            "-" => set_system(&mut conversation, None),
            text => set_system(&mut conversation, Some(text)),
        }
        check(self.loaded.template, &conversation, &self.dialog.options)?;
        self.dialog.conversation = conversation;
        self.state.say(if argument == "-" { "(no system prompt)" } else { "(the system prompt is set)" });
        Ok(())
    }

    fn set(&mut self, argument: &str) -> Result<Option<Next>, Quit> {
        let (name, value) = argument.split_once(char::is_whitespace).unwrap_or((argument, ""));
        if name.is_empty() {
            let mut rows = self.rows();
            rows.retain(|row| SETTABLE.contains(&&*row[0]));
            let stops = self.state.run.ends.stop.join(", ");
            rows.push(vec!["stop".into(), stops]);
            self.print(&table(&rows))?;
            return Ok(None);
        }
        let name = match name.trim_start_matches('-') {
            "temperature" => "temp",
            "max-tokens" | "max_tokens" | "n" => "predict",
            name => name,
        };
        let name = name.replace('_', "-");
        if !SETTABLE.contains(&&*name) {
            let nearest = crate::config::nearest(&name, SETTABLE.iter().copied());
            let nearest = nearest.map(|known| format!("the nearest is {known}; ")).unwrap_or_default();
            return Err(
                usage(format!("{name} cannot be set: {nearest}there are {}", SETTABLE.join(", "))).into()
            );
        }
        if value.trim().is_empty() {
            return Err(usage(format!("set {name} to what? /set alone lists all values")).into());
        }
        if RELOADING.contains(&&*name) {
            return self.go_on_with(&name, value.trim());
        }
        let (settings, run) = self.state.settings.with(&name, value.trim())?;
        lookup::check(self.loaded.model, run.drafts.lookup)?;
        (self.state.settings, self.state.run) = (settings, run);
        self.dialog.options = self.state.run.chat.rendering();
        self.state.say(format_args!("({name} is {})", value.trim()));
        Ok(None)
    }

    /// Loads what a flag asks for beside what is there, and goes on with it if that succeeds.
    fn go_on_with(&mut self, name: &str, value: &str) -> Result<Option<Next>, Quit> {
        let mut settings = self.state.settings.clone();
        if name == "device" && self.state.run.backend.backend == Choice::Cpu {
            (settings, _) = settings.with("backend", "auto")?;
        }
        let (settings, run) = settings.with(name, value)?;
        match open(&run) {
            Ok(loaded) => {
                check(&loaded.template, &self.dialog.conversation, &run.chat.rendering())?;
                Ok(Some(Next::Become(Box::new((loaded, settings, run)))))
            }
            Err(Error::OutOfMemory(_)) => Ok(Some(Next::MakeRoom(Box::new((settings, run))))),
            Err(Error::Interrupted) => {
                self.state.say("(given up: what was there goes on)");
                Ok(None)
            }
            Err(error) => {
                self.state.complain(&error);
                self.state.say(format_args!("({} goes on)", self.loaded.file_name));
                Ok(None)
            }
        }
    }

    fn stats(&mut self) -> Result<(), Quit> {
        let (held, tps) = (self.session.computed(), self.state.totals.tps());
        let found = Bandwidth::of(self.session.backend(), self.loaded.model, tps);
        let found = found.of_drafts(self.state.totals.drafts());
        let mut text = self.state.totals.table(&found, held, self.loaded.context);
        if self.dialog.left_out() > 0 {
            text.push_str(&format!("{} left out of the prompt\n", plural(self.dialog.left_out(), "turn")));
        }
        self.print(&format!("{text}{}\n{}", self.loaded.file_name, self.loaded.placed))
    }

    fn tokens(&mut self) -> Result<(), Quit> {
        let mut options = self.dialog.options.clone();
        options.add_generation_prompt = false;
        let given = std::mem::replace(&mut self.dialog.options, options);
        let rendered = self.dialog.prompt();
        self.dialog.options = given;
        let rendered = rendered?;
        let ids = rendered.encode(self.loaded.tokenizer)?;
        let same = ids.iter().zip(self.session.tokens()).take_while(|(a, b)| a == b).count();
        let (tokens, context) = (plural(ids.len(), "token"), count(self.loaded.context as u64));
        let cached = count(same.min(self.session.computed()) as u64);
        self.print(&format!(
            "{}\n{tokens} of {context}, {cached} of them computed",
            rendered.text().trim_end()
        ))
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let (recommended, temperature) = (self.loaded.recommended, self.state.run.model.temperature());
        let rows = self.state.settings.rows(&|name| match name {
            "ctx-size" => Some((self.loaded.context.to_string(), "default")),
            name => SamplingFlags::otherwise(recommended, temperature, name),
        });
        rows.into_iter().map(Vec::from).collect()
    }

    fn config(&mut self, argument: &str) -> Result<(), Quit> {
        match argument.split_once(char::is_whitespace).unwrap_or((argument, "")) {
            ("", _) => self.print(&table(&self.rows())),
            ("save", path) => {
                let path = Some(path.trim()).filter(|path| !path.is_empty()).map(typed_path);
                let path = self.state.settings.save(path.as_deref())?;
                self.state.say(format_args!("(what is set is in {})", path.display()));
                Ok(())
            }
            _ => Err(usage("/config shows the settings, /config save [FILE] writes them").into()),
        }
    }
}

/// The table of commands.
fn help() -> String {
    let row = |command: &Command| vec![typed(command), command.does.into()];
    let rows: Vec<_> = COMMANDS.iter().map(row).collect();
    format!(
        "{}A \\ at the end of a line goes on to the next one; pasted text may have many. Tab completes commands and paths.\n\
         Ctrl-C stops an answer, Ctrl-L clears the screen, Ctrl-D leaves.\n",
        table(&rows)
    )
}
