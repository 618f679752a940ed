//! All that is set, and where: the words of the command line, the environment, the configuration file, and what is set in a chat.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::Resettable;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, CommandFactory, FromArgMatches};
use wgllm_engine::{Error, Result};

use super::config::{self, File};
use super::run::Run;
use super::{Cli, as_typed, long_names};

/// What was typed, and what is added to it.
#[derive(Clone, Debug)]
pub struct Settings {
    args: Vec<OsString>,
    file: Option<File>,
    /// What was set in a chat: flags' long names and values.
    set: Vec<(String, String)>,
    /// Whether the device that was asked for was one of another backend.
    no_device: bool,
    /// Whether the model was set by its name or as a file, whatever was typed before.
    by_name: Option<bool>,
}

/// The flag of a model's name.
const HF_REPO: &str = "hf-repo";

/// A flag, its value and where that comes from.
pub type Row = [String; 3];

impl Settings {
    /// Of these words, and of the file that they or the environment name or that is in its place. Help and mistakes end the process here,
    /// as clap does.
    pub fn new(args: impl IntoIterator<Item = OsString>) -> Result<Settings> {
        let args: Vec<OsString> = long_names(args).collect();
        let mut settings = Settings { args, file: None, set: Vec::new(), no_device: false, by_name: None };
        let matches = settings.matches().unwrap_or_else(|e| e.exit());
        if let Some(path) =
            config_path(&matches).or_else(|| config::place::config().filter(|path| path.exists()))
        {
            settings.file = Some(settings.read(&path)?);
        }
        Ok(settings)
    }

    fn read(&self, path: &Path) -> Result<File> {
        let command = Cli::command();
        let file = File::read(path, &config::keys(&command))?;
        file.check(&command, &as_typed(without_environment(command.clone())))?;
        Ok(file)
    }

    /// The arguments of the command, by all that is set.
    pub fn matches(&self) -> Result<ArgMatches, clap::Error> {
        let mut command = Cli::command();
        if let Some(file) = &self.file {
            // A name that is typed wins over a file's model.
            let flag = format!("--{HF_REPO}");
            let is_typed = self.args.iter().any(|arg| arg.to_string_lossy().starts_with(&flag));
            command = file.apply(command, &|name| is_typed && name == "model");
        }
        let set = self.set.iter().map(|(name, value)| format!("--{name}={value}").into());
        let args = self.args.iter().cloned().chain(set);
        let replaced = |arg: Arg| match self.set.iter().any(|(name, _)| arg.get_long() == Some(name)) {
            true => {
                let id = arg.get_id().clone();
                arg.overrides_with(id)
            }
            false => arg,
        };
        let command = command.mut_args(replaced).mut_subcommands(|command| command.mut_args(replaced));
        as_typed(command).try_get_matches_from(args)
    }

    /// The command line as it stands.
    pub(super) fn cli(&self) -> Result<Cli, clap::Error> {
        let matches = self.matches()?;
        Cli::from_arg_matches(&matches).map_err(|e| e.format(&mut Cli::command()))
    }

    /// The same with a flag of `run` set, by its long name, and what `run` is then.
    ///
    /// # Errors
    /// [`Error::Usage`] with what is wrong with the value.
    pub fn with(&self, name: &str, value: &str) -> Result<(Settings, Run)> {
        let mut settings = self.clone();
        let forget = |settings: &mut Settings, name: &str| settings.set.retain(|(known, _)| known != name);
        forget(&mut settings, name);
        settings.set.push((name.into(), value.into()));
        match name {
            "device" => settings.no_device = false,
            "model" => settings.by_name = Some(false),
            HF_REPO => settings.by_name = Some(true),
            "backend" => {
                settings.no_device = true;
                forget(&mut settings, "device");
            }
            _ => {}
        }
        let cli = settings.cli().map_err(|e| Error::Usage(config::first_line(&e)))?;
        let mut run = cli.into_run().ok_or_else(|| Error::Usage(format!("{name} cannot be set here")))?;
        if settings.no_device {
            run.hardware.device = None;
        }
        if let Some(by_name) = settings.by_name {
            match by_name {
                true => run.model.model = None,
                false => run.model.hf_repo = None,
            }
            run.prompt.tokenizer.forget();
        }
        Ok((settings, run))
    }

    /// Every key of `run` with its value and where it comes from; `otherwise` knows the values that nobody gave.
    pub fn rows(&self, otherwise: &dyn Fn(&str) -> Option<(String, &'static str)>) -> Vec<Row> {
        let Ok(matches) = self.matches() else { return Vec::new() };
        let matches = deepest(&matches);
        let command = Cli::command();
        let row = |key: config::Key| {
            let id =
                command.get_arguments().find(|arg| arg.get_long() == Some(&*key.name))?.get_id().as_str();
            let value = match matches.try_get_raw(id) {
                Ok(Some(values)) => {
                    values.map(|value| value.to_string_lossy()).collect::<Vec<_>>().join(", ")
                }
                _ => String::new(),
            };
            let source = match matches.value_source(id) {
                _ if self.set.iter().any(|(name, _)| *name == key.name) => "set in this chat".into(),
                Some(ValueSource::CommandLine) => "command line".into(),
                Some(ValueSource::EnvVariable) => format!("environment, {}", key.environment),
                _ => match self.file.as_ref().and_then(|file| Some((file, file.line(&key.name)?))) {
                    Some((file, line)) => format!("{}, line {line}", file.path().display()),
                    None => {
                        let (value, source) = otherwise(&key.name).unwrap_or((value, "default"));
                        return Some([key.name, value, source.into()]);
                    }
                },
            };
            Some([key.name, value, source])
        };
        let mut keys = config::own_keys(&command);
        keys.retain(|key| key.name != "device" || !self.no_device);
        keys.into_iter().filter_map(row).collect()
    }

    /// What is set anywhere but in the model file and in the program.
    pub fn explicit(&self) -> Vec<(String, String)> {
        let rows = self.rows(&|_| None).into_iter();
        rows.filter(|row| row[2] != "default").map(|[name, value, _]| (name, value)).collect()
    }

    /// Writes what is set into a configuration file: this one, the one that was read, or the one in its place. The result is its path.
    pub fn save(&self, path: Option<&Path>) -> Result<PathBuf> {
        let read = self.file.as_ref().map(|file| file.path().to_owned());
        let path =
            path.map(Path::to_owned).or(read).or_else(config::place::config).ok_or_else(|| {
                Error::Usage("there is no folder for it: HOME is not set; give a file".into())
            })?;
        File::write(&path, &self.explicit(), &config::keys(&Cli::command()))?;
        Ok(path)
    }
}

/// The file that the command line or the environment names: an argument of the command or of the one below it.
fn config_path(matches: &ArgMatches) -> Option<PathBuf> {
    deepest(matches).get_one::<PathBuf>(config::CONFIG).cloned()
}

fn deepest(matches: &ArgMatches) -> &ArgMatches {
    matches.subcommand().map_or(matches, |(_, below)| below)
}

/// The command as if no environment variable were set.
fn without_environment(command: clap::Command) -> clap::Command {
    let without = |arg: Arg| match arg.get_env().is_some() {
        true => arg.env(Resettable::<clap::builder::OsStr>::Reset),
        false => arg,
    };
    command.mut_args(without).mut_subcommands(without_environment)
}
