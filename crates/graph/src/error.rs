//! What can go wrong, sorted by what the person at the keyboard can do about it; each kind has an exit code.

use std::path::Path;

/// The result of everything in this crate that can fail on what it is given.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error with the data in it: the name, what was expected, what was found, what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The command line asks for something that does not make sense.
    #[error("{0}")]
    Usage(String),
    /// The model file is damaged, lies about itself, or holds what is not understood.
    #[error("{0}")]
    Model(String),
    /// No such device or backend here, or it lacks what the model needs.
    #[error("{0}")]
    Device(String),
    /// Weights, KV cache and scratch do not fit into the device.
    #[error("{0}")]
    OutOfMemory(String),
    /// The device went away while it worked.
    #[error("{0}")]
    Lost(String),
    /// Whoever asked for it gave up.
    #[error("interrupted")]
    Interrupted,
    /// Anything else, such as a file that cannot be written.
    #[error("{0}")]
    Other(String),
}

impl Error {
    /// The process's exit code for this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Other(_) => 1,
            Error::Usage(_) => 2,
            Error::Model(_) => 3,
            Error::Device(_) => 4,
            Error::OutOfMemory(_) => 5,
            Error::Lost(_) => 6,
            Error::Interrupted => 130,
        }
    }

    /// The same error with the model file's name in front, if it is about the model.
    pub fn in_file(self, path: &Path) -> Error {
        match self {
            Error::Model(what) => Error::Model(format!("{}: {what}", path.display())),
            other => other,
        }
    }
}
