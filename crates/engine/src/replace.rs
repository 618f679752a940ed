//! Files that are replaced whole or not at all: written beside, then renamed.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file that comes to be at its path when it is finished. Until then, and if it never is, what was there stays.
#[derive(Debug)]
pub struct Replacement {
    file: Option<File>,
    /// What is written; the target itself where that is a device or a pipe, which have nothing to lose.
    beside: PathBuf,
    target: PathBuf,
}

impl Replacement {
    /// Begins a file for `path`. Where that is a link, what it points to will be replaced.
    ///
    /// # Errors
    /// Where the folder does not exist or cannot be written, and where a folder or a read-only file is there.
    pub fn create(path: &Path) -> io::Result<Replacement> {
        let target = match fs::canonicalize(path) {
            Ok(target) => target,
            Err(e) if e.kind() == io::ErrorKind::NotFound => path.into(),
            Err(e) => return Err(e),
        };
        let there = fs::metadata(&target).ok();
        if there.as_ref().is_some_and(|about| about.is_dir()) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if there.as_ref().is_some_and(|about| !about.is_file()) {
            let file = File::options().write(true).open(&target)?;
            return Ok(Replacement { file: Some(file), beside: target.clone(), target });
        }
        let name = target.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
        let mut beside = OsString::from(".");
        beside.push(name);
        beside.push(format!(".{}.part", std::process::id()));
        let beside = target.with_file_name(beside);
        // Renaming asks only the folder whether it may be written.
        if there.as_ref().is_some_and(|about| about.permissions().readonly()) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let file = File::create(&beside)?;
        let replacement = Replacement { file: Some(file), beside, target };
        if let Some(about) = there {
            fs::set_permissions(&replacement.beside, about.permissions())?;
        }
        Ok(replacement)
    }

    /// The path of what is written, until it is finished.
    pub fn unfinished(&self) -> Option<&Path> {
        (self.beside != self.target).then_some(&self.beside)
    }

    /// Puts the file in its place.
    pub fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        // Windows renames no open file.
        drop(self.file.take());
        match self.unfinished() {
            Some(beside) => fs::rename(beside, &self.target).inspect_err(|_| drop(fs::remove_file(beside))),
            None => Ok(()),
        }
    }
}

impl Write for Replacement {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.file {
            Some(file) => file.write(bytes),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), File::flush)
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if self.file.take().is_some()
            && let Some(beside) = self.unfinished()
        {
            let _ = fs::remove_file(beside);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An empty folder of this test's own.
    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("wgllm-replace-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn names(folder: &Path) -> Vec<OsString> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn what_was_there_stays_until_the_replacement_is_finished() {
        let folder = folder("whole");
        let path = folder.join("x");
        fs::write(&path, "old").unwrap();
        let mut dropped = Replacement::create(&path).unwrap();
        dropped.write_all(b"half").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        drop(dropped);
        assert_eq!((fs::read(&path).unwrap(), names(&folder).len()), (b"old".to_vec(), 1));
        let mut finished = Replacement::create(&path).unwrap();
        finished.write_all(b"new").unwrap();
        finished.finish().unwrap();
        assert_eq!((fs::read(&path).unwrap(), names(&folder).len()), (b"new".to_vec(), 1));
        assert!(Replacement::create(&folder).is_err(), "a folder was taken for a file");
        assert!(Replacement::create(&folder.join("no/such/folder")).is_err());
        let mut permissions = fs::metadata(&path).unwrap().permissions();
        permissions.set_readonly(true);
        fs::set_permissions(&path, permissions).unwrap();
        assert!(Replacement::create(&path).is_err(), "a read-only file was taken");
        fs::remove_dir_all(folder).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_link_keeps_pointing_and_a_device_stays_a_device() {
        let folder = folder("link");
        let (path, link) = (folder.join("x"), folder.join("link"));
        fs::write(&path, "old").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let mut file = Replacement::create(&link).unwrap();
        file.write_all(b"new").unwrap();
        file.finish().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&path).unwrap(), b"new");
        let mut null = Replacement::create(Path::new("/dev/null")).unwrap();
        null.write_all(b"x").unwrap();
        null.finish().unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        fs::remove_dir_all(folder).unwrap();
    }
}
