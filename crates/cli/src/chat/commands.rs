//! The commands of a chat: one table, which `/help` prints and README.md shows.

use crate::config::nearest;

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Help,
    Exit,
    Clear,
    Regen,
    Undo,
    System,
    Set,
    Stats,
    Model,
    Backend,
    Device,
    Save,
    Load,
    Read,
    Template,
    Tokens,
    Config,
}

/// What may follow a command, for completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Nothing, or what nobody can know.
    Text,
    /// A path.
    Path,
    /// One of these words.
    Words(&'static [&'static str]),
}

/// A command and how it is told of.
#[derive(Debug)]
pub struct Command {
    pub kind: Kind,
    /// The first is the one that `/help` shows in front.
    pub names: &'static [&'static str],
    pub argument: &'static str,
    pub does: &'static str,
    pub takes: Takes,
}

/// What `/set` sets: long names of flags.
pub const SETTABLE: &[&str] = &[
    "temp",
    "top-k",
    "top-p",
    "min-p",
    "repeat-penalty",
    "repeat-last-n",
    "seed",
    "predict",
    "lookup",
    "stop",
    "overflow",
    "thinking",
    "ctx-size",
    "precision",
];

/// What of it is only set by loading the model again.
pub const RELOADING: &[&str] = &["ctx-size", "precision"];

const fn command(
    kind: Kind,
    names: &'static [&'static str],
    argument: &'static str,
    takes: Takes,
    does: &'static str,
) -> Command {
    Command { kind, names, argument, does, takes }
}

/// All commands.
pub const COMMANDS: &[Command] = &[
    command(Kind::Help, &["/help", "/h", "/?"], "", Takes::Text, "list the commands"),
    command(Kind::Exit, &["/exit", "/quit", "/q", "/bye"], "", Takes::Text, "leave; so does Ctrl-D"),
    command(Kind::Clear, &["/clear", "/cls"], "", Takes::Text, "begin anew; the system prompt stays"),
    command(Kind::Regen, &["/regen"], "", Takes::Text, "answer the last message again, with the next seed"),
    command(Kind::Undo, &["/undo"], "", Takes::Text, "take the last message and its answer back"),
    command(
        Kind::System,
        &["/system", "/sys"],
        "[TEXT|-]",
        Takes::Text,
        "show the system prompt, or set it; - takes it away",
    ),
    command(
        Kind::Set,
        &["/set"],
        "[NAME VALUE]",
        Takes::Words(SETTABLE),
        "list what can be set, or set it: the names are those of flags",
    ),
    command(
        Kind::Stats,
        &["/stats", "/status"],
        "",
        Takes::Text,
        "tokens, speeds, what came from the cache, and what runs where",
    ),
    command(
        Kind::Model,
        &["/model"],
        "[FILE|NAME]",
        Takes::Path,
        "show the model, or go on with another file, or a name of the hub",
    ),
    command(
        Kind::Backend,
        &["/backend"],
        "NAME",
        Takes::Words(&["auto", "cpu", "dx12", "metal", "vulkan"]),
        "go on with another backend",
    ),
    command(
        Kind::Device,
        &["/device"],
        "N|NAME",
        Takes::Text,
        "go on with another device of `wgllm devices`",
    ),
    command(
        Kind::Save,
        &["/save"],
        "[FILE]",
        Takes::Path,
        "write messages and settings as JSON [wgllm-chat.json]",
    ),
    command(Kind::Load, &["/load"], "[FILE]", Takes::Path, "go on with a conversation that /save wrote"),
    command(Kind::Read, &["/read"], "FILE", Takes::Path, "put a text file in front of the next message"),
    command(Kind::Template, &["/template"], "", Takes::Text, "show the chat template"),
    command(
        Kind::Tokens,
        &["/tokens"],
        "",
        Takes::Text,
        "show what the model is given, and how many tokens that is",
    ),
    command(
        Kind::Config,
        &["/config", "/cfg"],
        "[save [FILE]]",
        Takes::Words(&["save"]),
        "show every setting and where it comes from, or write them to the configuration file",
    ),
];

/// The command that a line names, with what follows its name; an error says what is nearest. A line that names none is a message: a path or
/// a number behind a slash is no name.
pub fn find(line: &str) -> Option<Result<(&'static Command, &str), String>> {
    let line = line.trim();
    let name = line.split_whitespace().next()?;
    let is_name = |c: char| c.is_ascii_alphabetic() || c == '?' || c == '-';
    if !name.strip_prefix('/').is_some_and(|name| name.chars().all(is_name)) {
        return None;
    }
    let argument = line[name.len()..].trim();
    let lower = name.to_ascii_lowercase();
    Some(match COMMANDS.iter().find(|command| command.names.contains(&&*lower)) {
        Some(command) => Ok((command, argument)),
        None => Err(match nearest(&lower, COMMANDS.iter().flat_map(|command| command.names).copied()) {
            Some(known) => format!("there is no {name}; the nearest is {known}, and /help lists all"),
            None => format!("there is no {name}; /help lists the commands"),
        }),
    })
}

/// A command as it is typed: its names and what it takes.
pub fn typed(command: &Command) -> String {
    let (first, others) =
        command.names.split_first().map_or(("", &[][..]), |(first, others)| (*first, others));
    let mut text = first.to_owned();
    if !command.argument.is_empty() {
        text = format!("{text} {}", command.argument);
    }
    if !others.is_empty() {
        text = format!("{text} ({})", others.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::{Cli, config};

    fn readme() -> String {
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md"))
            .expect("README.md is there")
    }

    fn cell(text: &str) -> String {
        text.replace('|', "\\|")
    }

    #[test]
    fn the_readme_lists_the_commands() {
        let row = |command: &Command| format!("| `{}` | {} |\n", cell(&typed(command)), cell(command.does));
        let table: String = COMMANDS.iter().map(row).collect();
        assert!(readme().contains(&table), "README.md lacks this table:\n\n{table}");
    }

    #[test]
    fn the_readme_lists_the_keys_of_the_configuration_file() {
        let command = Cli::command();
        let help = |name: &str| {
            let arg = command.get_arguments().find(|arg| arg.get_long() == Some(name));
            arg.and_then(|arg| arg.get_help()).map(ToString::to_string).unwrap_or_default()
        };
        let row = |key: config::Key| {
            format!("| `{}` | `{}` | {} |\n", key.name, key.environment, cell(&help(&key.name)))
        };
        let table: String = config::own_keys(&command).into_iter().map(row).collect();
        assert!(readme().contains(&table), "README.md lacks this table:\n\n{table}");
    }

    #[test]
    fn a_command_is_found_by_any_of_its_names_and_a_path_is_a_message() {
        let kind = |line| find(line).map(|found| found.map(|(command, rest)| (command.kind, rest)));
        assert_eq!(kind("/sys  be brief "), Some(Ok((Kind::System, "be brief"))));
        assert_eq!(kind("  /QUIT"), Some(Ok((Kind::Exit, ""))));
        for message in ["/etc/passwd has what in it?", "hello /help", "", "/1", "//"] {
            assert_eq!(kind(message), None, "{message}");
        }
        let error = kind("/sace x").and_then(Result::err).expect("there is none");
        assert!(error.contains("/save"), "{error}");
        assert!(kind("/xyzzyplugh").is_some_and(|found| found.is_err()));
    }

    #[test]
    fn what_can_be_set_is_a_flag() {
        let command = Cli::command();
        let is_flag = |name: &str| command.get_arguments().any(|arg| arg.get_long() == Some(name));
        assert!(SETTABLE.iter().all(|name| is_flag(name)));
        assert!(RELOADING.iter().all(|name| SETTABLE.contains(name)));
    }
}
