//! The cache of Hugging Face's tools: `models--ORG--REPO/blobs/SHA256` are files, `snapshots/COMMIT/PATH` are links to them by the
//! names that they have in a repository, `refs/main` says which commit is current.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

use super::choose::{ModelFiles, choose, meant, models};
use super::name::Name;

/// What a file is called behind its hash until it is whole.
const UNFINISHED: &str = ".incomplete";
/// Folders in folders of a repository; links could make them endless.
const DEEPEST: usize = 8;

/// A model that is in the cache, whole.
#[derive(Clone, Debug)]
pub struct Cached {
    /// What fetches it and removes it.
    pub name: Name,
    /// Bytes of all its parts.
    pub bytes: u64,
    /// The file to open; of a split model, the first part.
    pub path: PathBuf,
}

/// What [`remove`] removed.
#[derive(Clone, Debug, Default)]
pub struct Removed {
    /// The paths that were removed from snapshots.
    pub files: Vec<PathBuf>,
    /// Bytes that are free again, those of unfinished files included.
    pub bytes: u64,
}

/// The file of a model that is in the cache, whole, whichever tool fetched it; of a split one the first part. What the current commit has
/// comes first, then what older ones have.
pub fn find(cache: &Path, name: &Name) -> Option<PathBuf> {
    let found = |snapshot: PathBuf| {
        let whole = whole_models(&snapshot);
        let model = choose(&whole, name).ok()?;
        Some(snapshot.join(&model.files[0]))
    };
    Repository::of(cache, &name.repo).snapshots().into_iter().find_map(found)
}

/// All models of the cache by name, and the bytes of unfinished files.
///
/// # Errors
/// Where the folder is there and cannot be read.
pub fn list(cache: &Path) -> Result<(Vec<Cached>, u64)> {
    let entries = match fs::read_dir(cache) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        Err(e) => return Err(unusable(cache, &e)),
    };
    let (mut cached, mut unfinished) = (Vec::new(), 0);
    for entry in entries.flatten() {
        let folder = entry.file_name();
        let Some(repo) = folder.to_str().and_then(|name| name.strip_prefix("models--")) else { continue };
        let Some((org, name)) = repo.split_once("--") else { continue };
        let Ok(name) = format!("{org}/{name}").parse::<Name>() else { continue };
        let repository = Repository::of(cache, &name.repo);
        unfinished += repository.unfinished().iter().map(|path| size(path)).sum::<u64>();
        let mut seen = BTreeSet::new();
        for snapshot in repository.snapshots() {
            for model in whole_models(&snapshot).into_iter().filter(|model| seen.insert(model.stem.clone())) {
                let name = Name { choice: Some(model.label()), ..name.clone() };
                let bytes = model.files.iter().map(|file| size(&snapshot.join(file))).sum();
                cached.push(Cached { name, bytes, path: snapshot.join(&model.files[0]) });
            }
        }
    }
    cached.sort_by(|a, b| (&a.name.repo, &a.path).cmp(&(&b.name.repo, &b.path)));
    Ok((cached, unfinished))
}

/// Removes a model, or all GGUF models of a repository and what is unfinished of them. Files of other kinds stay; where nothing stays, the
/// repository's folder goes, too.
///
/// # Errors
/// Where there is no such model, and where something cannot be removed.
pub fn remove(cache: &Path, name: &Name) -> Result<Removed> {
    let repository = Repository::of(cache, &name.repo);
    let mut removed = Removed::default();
    let mut blobs = BTreeSet::new();
    for snapshot in repository.snapshots() {
        let there = models(paths(&snapshot).iter().map(String::as_str));
        let all: Vec<&ModelFiles> = match &name.choice {
            None => there.iter().collect(),
            Some(choice) => meant(&there, choice).into_iter().collect(),
        };
        for file in all.iter().flat_map(|model| &model.files) {
            let path = snapshot.join(file);
            // A link's file is in blobs; where links are not to be had, the file itself is here.
            match fs::canonicalize(&path) {
                Ok(target) if is_link(&path) => drop(blobs.insert(target)),
                _ => removed.bytes += size(&path),
            }
            fs::remove_file(&path).map_err(|e| unusable(&path, &e))?;
            removed.files.push(path);
        }
    }
    for snapshot in repository.snapshots() {
        for path in paths(&snapshot) {
            if let Ok(target) = fs::canonicalize(snapshot.join(path)) {
                blobs.remove(&target);
            }
        }
        remove_empty(&snapshot, DEEPEST);
    }
    if let Ok(own) = fs::canonicalize(repository.blobs()) {
        blobs.retain(|blob| blob.starts_with(&own));
    }
    if name.choice.is_none() {
        blobs.extend(repository.unfinished());
    }
    for blob in &blobs {
        removed.bytes += size(blob);
        fs::remove_file(blob).map_err(|e| unusable(blob, &e))?;
    }
    if removed.files.is_empty() && removed.bytes == 0 {
        return Err(Error::Usage(format!(
            "{name} is not in {}; `wgllm list` shows what is",
            cache.display()
        )));
    }
    if repository.snapshots().is_empty() && repository.unfinished().is_empty() {
        let _ = fs::remove_dir_all(&repository.folder);
        let _ = fs::remove_dir_all(repository.locks());
    }
    Ok(removed)
}

/// A repository's folder.
pub(super) struct Repository {
    cache: PathBuf,
    folder: PathBuf,
}

impl Repository {
    pub fn of(cache: &Path, repo: &str) -> Repository {
        let folder = cache.join(format!("models--{}", repo.replace('/', "--")));
        Repository { cache: cache.into(), folder }
    }

    /// Where files are by their hashes.
    pub fn blobs(&self) -> PathBuf {
        self.folder.join("blobs")
    }

    /// Where a file is while it is fetched.
    #[cfg(feature = "pull")]
    pub fn part(&self, sha256: &str) -> PathBuf {
        self.blobs().join(format!("{sha256}{UNFINISHED}"))
    }

    /// Where the files of a commit are by their names.
    #[cfg(feature = "pull")]
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// The file that says which commit is current.
    pub fn current(&self) -> PathBuf {
        self.folder.join("refs/main")
    }

    /// Where programs wait for each other.
    pub fn locks(&self) -> PathBuf {
        let name = self.folder.file_name().unwrap_or_default();
        self.cache.join(".locks").join(name)
    }

    /// All snapshots: the current one first, then the newest.
    fn snapshots(&self) -> Vec<PathBuf> {
        let current = fs::read_to_string(self.current()).unwrap_or_default();
        let entries = fs::read_dir(self.folder.join("snapshots"));
        let mut all: Vec<PathBuf> =
            entries.into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        all.sort_by_cached_key(|path| {
            let is_current = path.file_name().is_some_and(|name| name == current.trim());
            let when = fs::metadata(path).and_then(|about| about.modified()).ok();
            std::cmp::Reverse((is_current, when, path.clone()))
        });
        all
    }

    /// What was begun and not finished.
    fn unfinished(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.blobs()).into_iter().flatten().flatten().map(|entry| entry.path());
        entries.filter(|path| path.to_string_lossy().ends_with(UNFINISHED)).collect()
    }
}

fn whole_models(snapshot: &Path) -> Vec<ModelFiles> {
    let mut models = models(paths(snapshot).iter().map(String::as_str));
    models.retain(ModelFiles::is_whole);
    models
}

/// The files of a snapshot by their paths in the repository; links that lead nowhere are none.
fn paths(snapshot: &Path) -> Vec<String> {
    fn walk(folder: &Path, prefix: &str, depth: usize, paths: &mut Vec<String>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let (Some(name), Ok(about)) = (name.to_str(), fs::metadata(entry.path())) else { continue };
            match about.is_dir() {
                true if depth > 0 => walk(&entry.path(), &format!("{prefix}{name}/"), depth - 1, paths),
                true => {}
                false => paths.push(format!("{prefix}{name}")),
            }
        }
    }
    let mut all = Vec::new();
    walk(snapshot, "", DEEPEST, &mut all);
    all
}

fn remove_empty(folder: &Path, depth: usize) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty(&entry.path(), depth - 1);
        }
    }
    // Fails where it is not empty, as it should.
    let _ = fs::remove_dir(folder);
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|about| about.is_symlink())
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |about| about.len())
}

/// A file or folder of the cache with which something cannot be done.
pub(super) fn unusable(path: &Path, error: &io::Error) -> Error {
    Error::Other(format!("{}: {error}", path.display()))
}
