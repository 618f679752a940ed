//! The command line: which commands there are, and how their arguments are found. The only code that prints.
//!
//! Text, tables and JSON go to standard output; everything else goes to standard error, through `reporter::Reporter`.

mod args;
mod bench;
mod chat;
mod check;
mod config;
mod devices;
mod form;
mod ids;
mod inspect;
mod interrupt;
mod list;
mod logits;
mod model;
mod perplexity;
mod plain;
mod profile;
mod pull;
mod quantize;
mod report;
mod reporter;
mod rm;
mod run;
mod sampling;
mod screen;
#[cfg(feature = "serve")]
mod serve;
mod settings;
mod stdout;

mod template;
mod text;
mod tokenize;

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::Resettable;
use clap::{Arg, Parser, Subcommand};
use settings::Settings;
use wgllm_engine::Error;

/// Runs language models from GGUF files on any GPU, and checks every step of them against the CPU.
///
/// Without a command, `wgllm` is `wgllm run`: a chat on a terminal, one answer where there is a prompt; without a model and a prompt it
/// writes a story with the small model that it carries.
#[derive(Parser)]
#[command(name = "wgllm", version, args_conflicts_with_subcommands = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: run::Run,
    /// File with defaults of flags (TOML) [default: config.toml in wgllm's folder among the user's settings]
    #[arg(long, global = true, env = "WGLLM_CONFIG", hide_env = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Cli {
    /// What there is to run, if it is not another command.
    fn into_run(self) -> Option<run::Run> {
        match self.command {
            None => Some(self.run),
            Some(Command::Run(run) | Command::Chat(run)) => Some(*run),
            Some(_) => None,
        }
    }
}

const EXIT_CODES: &str = "Exit codes: 0 done · 1 other failure, or `check` found one · 2 usage · 3 bad model file · \
     4 no such device or backend · 5 does not fit · 6 device lost · 130 interrupted";

#[derive(Subcommand)]
enum Command {
    /// Answer a prompt, or continue it with --raw (what happens without a command)
    Run(Box<run::Run>),
    /// Talk with a model in the terminal
    Chat(Box<run::Run>),
    /// List the GPUs that can be used
    Devices(devices::Devices),
    /// Print the metadata and the tensors of a GGUF file
    Inspect(inspect::Inspect),
    /// Print the token ids of a text, or the text of token ids
    Tokenize(tokenize::Tokenize),
    /// Make a model available to programs that speak OpenAI's protocol
    #[cfg(feature = "serve")]
    Serve(Box<serve::Serve>),
    /// Print what the model is given of a conversation
    Template(template::Template),
    /// Write the logits of every position of a prompt to an NPY file
    Logits(logits::Logits),
    /// Compare a GPU with the CPU, node by node
    Check(check::Check),
    /// Fetch a model by its name on Hugging Face's hub, and print where it is
    #[cfg(feature = "pull")]
    Pull(pull::Pull),
    /// List the models that were fetched by name, by whichever program
    List(list::List),
    /// Remove a model that was fetched by name
    Rm(rm::Rm),
    /// Write a model file with its weights in another type
    Quantize(quantize::Quantize),
    /// Measure how well a model foretells a text, and how far two are from each other
    Perplexity(Box<perplexity::Perplexity>),
    /// Measure the speed of prompts and of generation, with llama-bench's flags and output
    Bench(bench::Bench),
}

/// Why a command ended before its end.
enum Quit {
    /// It failed.
    Error(Error),
    /// Nobody reads standard output any more.
    Closed,
}

impl From<Error> for Quit {
    fn from(error: Error) -> Quit {
        Quit::Error(error)
    }
}

/// For writing to standard output, which is all the I/O that commands do with `?`.
impl From<io::Error> for Quit {
    fn from(error: io::Error) -> Quit {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Quit::Closed,
            _ => Quit::Error(Error::Other(format!("standard output: {error}"))),
        }
    }
}

/// What a command returns.
type Outcome = Result<ExitCode, Quit>;

/// Runs the command that `args` ask for, prints the error if there is one, and says what the process is to return. Help and usage errors end it
/// here, as clap does. To be called before there are other threads.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    keep_wayland_quiet();
    match run(args) {
        Ok(code) => code,
        // Whoever read our output has seen enough, as in `wgllm | head -1`.
        Err(Quit::Closed) => ExitCode::SUCCESS,
        Err(Quit::Error(error)) => {
            let prefix = if matches!(error, Error::Interrupted) { "" } else { "error: " };
            // If standard error is closed as well, the exit code still tells.
            let _ = writeln!(io::stderr(), "{prefix}{}", plain::lines(&error.to_string()));
            ExitCode::from(error.exit_code())
        }
    }
}

/// Mesa asks Wayland which GPU to list first. Where there is no folder for its socket, Wayland's library says so on standard error, which
/// is for our lines alone; pointed at what is no socket, it finds none in silence.
fn keep_wayland_quiet() {
    let is_absolute = |name| std::env::var_os(name).is_some_and(|path| Path::new(&path).is_absolute());
    let told = is_absolute("WAYLAND_DISPLAY") || std::env::var_os("WAYLAND_SOCKET").is_some();
    if cfg!(target_os = "linux") && !told && !is_absolute("XDG_RUNTIME_DIR") {
        // SAFETY: nothing has run before this: no other thread reads the environment.
        unsafe { std::env::set_var("WAYLAND_DISPLAY", "/dev/null") }
    }
}

fn run(args: impl IntoIterator<Item = OsString>) -> Outcome {
    let settings = Settings::new(args)?;
    let cli = settings.cli().unwrap_or_else(|e| e.exit());
    // Logits go to a file.
    if !matches!(cli.command, Some(Command::Logits(_))) {
        stdout::check()?;
    }
    interrupt::watch()?;
    match cli.command {
        None => cli.run.run(settings, false),
        Some(Command::Run(run)) => run.run(settings, false),
        Some(Command::Chat(run)) => run.run(settings, true),
        Some(Command::Devices(devices)) => devices.run(),
        Some(Command::Inspect(inspect)) => inspect.run(),
        Some(Command::Tokenize(tokenize)) => tokenize.run(),
        #[cfg(feature = "serve")]
        Some(Command::Serve(serve)) => serve.run(),
        Some(Command::Template(template)) => template.run(),
        Some(Command::Logits(logits)) => logits.run(),
        Some(Command::Check(check)) => check.run(),
        Some(Command::Bench(bench)) => bench.run(),
        Some(Command::Perplexity(perplexity)) => perplexity.run(),
        Some(Command::Quantize(quantize)) => quantize.run(),
        #[cfg(feature = "pull")]
        Some(Command::Pull(pull)) => pull.run(),
        Some(Command::List(list)) => list.run(),
        Some(Command::Rm(rm)) => rm.run(),
    }
}

/// llama.cpp's flags of one dash and several letters, which clap would read as several flags.
const LONG_NAMES: &[(&str, &str)] = &[
    ("-ngl", "--n-gpu-layers"),
    ("-ub", "--batch-size"),
    ("-ctk", "--cache-type-k"),
    ("-ctv", "--cache-type-v"),
    ("-dev", "--device"),
    ("-pg", "--prompt-gen"),
    ("-npl", "--parallel"),
    ("-sys", "--system-prompt"),
    ("-np", "--parallel"),
    ("-hf", "--hf-repo"),
    ("-hfr", "--hf-repo"),
];

/// Flags whose value is a text: what follows them is never a flag.
const TEXTS: &[&str] = &["-p", "--prompt", "-r", "--stop", "--reverse-prompt", "-sys", "--system-prompt"];

fn long_names(args: impl IntoIterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    let mut text_follows = false;
    args.into_iter().map(move |arg| {
        let is_text = std::mem::replace(&mut text_follows, TEXTS.iter().any(|flag| *flag == arg));
        match LONG_NAMES.iter().find(|(short, _)| !is_text && OsStr::new(short) == arg) {
            Some((_, long)) => long.into(),
            None => arg,
        }
    })
}

/// A number below 0 is a value, not a flag, and an environment variable that is set to nothing is not set: in every command.
fn as_typed(command: clap::Command) -> clap::Command {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    let without_empty = |arg: Arg| match arg.get_env().is_some_and(is_empty) {
        true => arg.env(Resettable::<clap::builder::OsStr>::Reset),
        false => arg,
    };
    command.allow_negative_numbers(true).mut_args(without_empty).mut_subcommands(as_typed)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_of_all_commands_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_of_several_letters_are_those_of_llama_cpp() {
        let args = ["wgllm", "-ngl", "all", "-ub", "64", "-ctk", "f16"].map(OsString::from);
        let cli = Cli::try_parse_from(long_names(args));
        assert!(cli.is_ok(), "{:?}", cli.err().map(|e| e.to_string()));
    }

    #[test]
    fn what_follows_a_flag_of_text_is_text() {
        let args = ["wgllm", "-p", "-ub", "--stop", "-ngl", "-ub", "64"].map(OsString::from);
        let names: Vec<OsString> = long_names(args).collect();
        assert_eq!(names, ["wgllm", "-p", "-ub", "--stop", "-ngl", "--batch-size", "64"]);
    }
}
