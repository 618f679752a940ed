//! Model files by name: what Hugging Face's hub lists, fetched into the cache that its own tools use, so that what one program
//! fetched another finds.
//!
//! [`find`] looks into the cache and asks nobody. [`pull`] asks the hub what a repository holds, fetches what is missing, goes on
//! where an earlier run broke off, and holds every file to the SHA-256 of the listing.

mod cache;
mod choose;
#[cfg(feature = "pull")]
mod client;
#[cfg(feature = "pull")]
mod download;
mod name;
#[cfg(feature = "pull")]
mod pull;
mod settings;

pub use cache::{Cached, Removed, find, list, remove};
pub use name::Name;
#[cfg(feature = "pull")]
pub use pull::{Event, Pulled, pull};
pub use settings::{ENDPOINT, Settings};
