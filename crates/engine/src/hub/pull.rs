//! A model, fetched: listed, its files one by one, and in the end all of them put in their places at once.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::replace::Replacement;

use super::cache::{Repository, unusable};
use super::choose::{choose, models};
use super::client::{Client, Listing, Remote};
use super::download::{Download, Heard};
use super::{Name, Settings};

/// How often it is asked whether another program is done with a file.
const GLANCE: Duration = Duration::from_millis(100);

/// What somebody who waits is told.
#[derive(Clone, Debug)]
pub enum Event {
    /// What was chosen: the files' paths in the repository, and their bytes.
    Chosen(Vec<String>, u64),
    /// So many bytes of them are there; whether they just came from the hub or were there before.
    Progress(u64, bool),
    /// Words about something that takes longer.
    Note(String),
}

/// What was fetched.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// The file to open; of a split model, the first part.
    pub path: PathBuf,
    /// Bytes that came from the hub; 0 where everything was there.
    pub fetched: u64,
}

/// Fetches the model that `name` means in the newest commit of its repository, as far as it is not in the cache.
///
/// # Errors
/// [`Error::Interrupted`] once `cancel` is raised. In any case what was fetched stays, and the next call goes on from there, but for what
/// is wrong.
pub fn pull(settings: &Settings, name: &Name, cancel: &Cancel, on: &mut dyn FnMut(Event)) -> Result<Pulled> {
    if settings.offline {
        let what = format!("{name}: HF_HUB_OFFLINE is set, and nothing is fetched; unset it");
        return Err(Error::Usage(what));
    }
    let client = Client::new(settings);
    let listing = client.listing(&name.repo, cancel, &mut |note| on(Event::Note(note)))?;
    let repository = Repository::of(&settings.cache, &name.repo);
    let chosen = chosen(&listing, name)?;
    let total = chosen.iter().map(|file| file.size).sum();
    on(Event::Chosen(chosen.iter().map(|file| file.path.clone()).collect(), total));

    let snapshot = repository.snapshot(&listing.commit);
    let (mut done, mut fetched) = (0, 0);
    for file in &chosen {
        let url =
            format!("{}/{}/resolve/{}/{}", settings.endpoint, name.repo, listing.commit, escaped(&file.path));
        let fetch = Fetch {
            client: &client,
            name,
            repository: &repository,
            snapshot: &snapshot,
            file,
            url: &url,
            cancel,
        };
        fetched += fetch.run(done, on)?;
        done += file.size;
        on(Event::Progress(done, false));
    }
    for file in &chosen {
        place(&repository.blobs().join(&file.sha256), &snapshot.join(&file.path))?;
    }
    let current = repository.current();
    write(&current, listing.commit.as_bytes()).map_err(|e| unusable(&current, &e))?;
    Ok(Pulled { path: snapshot.join(&chosen[0].path), fetched })
}

/// The files of the model that is meant.
fn chosen<'a>(listing: &'a Listing, name: &Name) -> Result<Vec<&'a Remote>> {
    let models = models(listing.files.iter().map(|file| file.path.as_str()));
    let paths = &choose(&models, name)?.files;
    Ok(paths.iter().filter_map(|path| listing.files.iter().find(|file| file.path == *path)).collect())
}

/// One file of a pull.
struct Fetch<'a> {
    client: &'a Client<'a>,
    name: &'a Name,
    repository: &'a Repository,
    snapshot: &'a Path,
    file: &'a Remote,
    url: &'a str,
    cancel: &'a Cancel,
}

impl Fetch<'_> {
    /// Fetches the file unless it is there. `done` bytes of others are. Returns the bytes that came.
    fn run(&self, done: u64, on: &mut dyn FnMut(Event)) -> Result<u64> {
        if self.is_there() {
            return Ok(0);
        }
        let blobs = self.repository.blobs();
        fs::create_dir_all(&blobs).map_err(|e| unusable(&blobs, &e))?;
        let _lock = self.lock(on)?;
        // Another program may have fetched it while this one waited.
        if self.is_there() {
            return Ok(0);
        }
        let part = self.repository.part(&self.file.sha256);
        let (client, repo, url) = (self.client, &self.name.repo, self.url);
        let download = Download { client, repo, url, remote: self.file, part: &part, cancel: self.cancel };
        let (mut before, mut after) = (0, 0);
        download.run(&mut |heard| match heard {
            Heard::There { bytes, fetched } => {
                if fetched {
                    after = bytes;
                } else {
                    before = bytes;
                }
                on(Event::Progress(done + bytes, fetched));
            }
            Heard::Note(note) => on(Event::Note(note)),
        })?;
        let blob = blobs.join(&self.file.sha256);
        fs::rename(&part, &blob).map_err(|e| unusable(&blob, &e))?;
        Ok(after.max(before) - before)
    }

    /// Whether the file is there under its hash, or under its name where links are not to be had.
    fn is_there(&self) -> bool {
        let is_whole = |path: PathBuf| {
            fs::metadata(path).is_ok_and(|about| about.is_file() && about.len() == self.file.size)
        };
        is_whole(self.repository.blobs().join(&self.file.sha256))
            || is_whole(self.snapshot.join(&self.file.path))
    }

    /// The right to fetch this file, which ends with the process at the latest. Other tools ask for the same.
    fn lock(&self, on: &mut dyn FnMut(Event)) -> Result<File> {
        let locks = self.repository.locks();
        let path = locks.join(format!("{}.lock", self.file.sha256));
        let unusable = |e: io::Error| unusable(&path, &e);
        fs::create_dir_all(&locks).map_err(unusable)?;
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(unusable)?;
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(e)) if e.kind() != io::ErrorKind::Unsupported => {
                    return Err(unusable(e));
                }
                // A disk that knows no locks.
                Err(TryLockError::Error(_)) => return Ok(file),
                Err(TryLockError::WouldBlock) => {}
            }
            if !std::mem::replace(&mut told, true) {
                on(Event::Note(format!(
                    "{}: another program is fetching it; waiting for that",
                    self.file.path
                )));
            }
            self.cancel.check()?;
            std::thread::sleep(GLANCE);
        }
    }
}

/// Makes a blob appear by its name: a link, or where there are none the file itself.
fn place(blob: &Path, path: &Path) -> Result<()> {
    let unusable = |e: io::Error| unusable(path, &e);
    if !blob.exists() {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(unusable)?;
    // A link to what is gone, or a file that an unfinished run of another tool left.
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(unusable(e)),
        _ => {}
    }
    link(blob, path).or_else(|_| fs::rename(blob, path)).map_err(unusable)
}

/// A link that stays right when the cache is moved: from `snapshots/COMMIT/a/b` it is `../../../blobs/HASH`.
fn link(blob: &Path, path: &Path) -> io::Result<()> {
    let (Some(root), Some(hash)) = (blob.parent().and_then(Path::parent), blob.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let depth = path.strip_prefix(root).map_or(0, |inner| inner.components().count());
    let mut target: PathBuf = std::iter::repeat_n("..", depth.saturating_sub(1)).collect();
    target.push("blobs");
    target.push(hash);
    #[cfg(unix)]
    return std::os::unix::fs::symlink(target, path);
    #[cfg(windows)]
    return std::os::windows::fs::symlink_file(target, path);
    #[cfg(not(any(unix, windows)))]
    return Err(io::ErrorKind::Unsupported.into());
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = Replacement::create(path)?;
    file.write_all(bytes)?;
    file.finish()
}

/// A path as it is written in an address.
fn escaped(path: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    path.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
