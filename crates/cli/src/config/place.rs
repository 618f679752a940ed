//! Where a person's files are.

use std::path::PathBuf;

/// The folder of an environment variable, if it names one.
fn named(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// The home of who runs this.
pub fn home() -> Option<PathBuf> {
    named(if cfg!(windows) { "USERPROFILE" } else { "HOME" })
}

/// `folder` of an XDG variable, or what each system has for it.
fn folder(xdg: &str, below_home: &str) -> Option<PathBuf> {
    let own = || match () {
        _ if cfg!(windows) => named("APPDATA"),
        _ if cfg!(target_os = "macos") => Some(home()?.join("Library/Application Support")),
        _ => Some(home()?.join(below_home)),
    };
    named(xdg).or_else(own).map(|folder| folder.join("wgllm"))
}

/// The configuration file, where none is given.
pub fn config() -> Option<PathBuf> {
    folder("XDG_CONFIG_HOME", ".config").map(|folder| folder.join("config.toml"))
}

/// What was typed into chats.
pub fn history() -> Option<PathBuf> {
    folder("XDG_STATE_HOME", ".local/state").map(|folder| folder.join("history"))
}
