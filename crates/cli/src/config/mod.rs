//! The configuration file: defaults of flags, in TOML. What may stand in it is every flag that an environment variable may set.
//!
//! A flag wins over the environment, that over the file, that over what a model file recommends, and that over the default.

mod file;
pub mod place;

use clap::{ArgAction, Command};

pub use file::{File, first_line};

/// A name that may stand in the file.
#[derive(Clone, Debug)]
pub struct Key {
    /// The flag's long name.
    pub name: String,
    /// What else the flag is called.
    pub aliases: Vec<String>,
    /// The environment variable.
    pub environment: String,
    /// Whether it is true or false.
    pub is_switch: bool,
}

/// The keys of a command and of those below it.
pub fn keys(command: &Command) -> Vec<Key> {
    let mut keys: Vec<Key> = own_keys(command);
    for key in command.get_subcommands().flat_map(own_keys) {
        if keys.iter().all(|known| known.name != key.name) {
            keys.push(key);
        }
    }
    keys
}

/// The keys of a command alone, in the order of its flags.
pub fn own_keys(command: &Command) -> Vec<Key> {
    let key = |arg: &clap::Arg| {
        let environment = arg.get_env()?.to_str().filter(|_| arg.get_id() != CONFIG)?.to_owned();
        let aliases = arg.get_all_aliases().unwrap_or_default();
        Some(Key {
            name: arg.get_long()?.to_owned(),
            aliases: aliases.into_iter().map(str::to_owned).collect(),
            environment,
            is_switch: matches!(arg.get_action(), ArgAction::SetTrue),
        })
    };
    command.get_arguments().filter_map(key).collect()
}

/// The flag that names the file, which cannot stand in it.
pub const CONFIG: &str = "config";

/// How a name is written among flags: with dashes.
fn dashed(name: &str) -> String {
    name.replace('_', "-")
}

/// What comes nearest to a word that is none of these, if anything does.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |known: &&str| strsim::damerau_levenshtein(word, known);
    let best = known.into_iter().min_by_key(distance)?;
    let part = best.contains(word) || word.contains(best);
    (part || distance(&best) <= word.chars().count().max(3) / 2).then_some(best)
}
