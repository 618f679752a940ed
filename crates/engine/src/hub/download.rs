//! One file: fetched from where an earlier run broke off, and held to its SHA-256.

use std::fs::{self, File};
use std::io::Write;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};
use ureq::Body;
use ureq::http::{HeaderMap, Response, StatusCode};

use crate::cancel::Cancel;
use crate::error::{Error, Result};

use super::cache::unusable;
use super::client::{Client, Failure, Remote, Tries};

/// Bytes that are read at once; what is read is on its way to the disk before more is read, so that a break loses nothing.
const PIECE: usize = 256 << 10;

/// What is being fetched.
pub(super) struct Download<'a> {
    pub client: &'a Client<'a>,
    /// What messages call it: the repository.
    pub repo: &'a str,
    pub url: &'a str,
    pub remote: &'a Remote,
    /// Where its bytes go.
    pub part: &'a Path,
    pub cancel: &'a Cancel,
}

/// What somebody who waits is told: bytes that are there, whether they come from the hub, words.
pub(super) enum Heard {
    There { bytes: u64, fetched: bool },
    Note(String),
}

/// The part of a file that is on the disk.
struct Part {
    file: File,
    bytes: u64,
    hash: Sha256,
}

impl Part {
    fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        (self.bytes, self.hash) = (0, Sha256::new());
        Ok(())
    }
}

impl Download<'_> {
    /// Fetches what is missing of the file, and leaves it whole and right at `part`.
    ///
    /// # Errors
    /// What is there of the file stays for the next try, unless it is wrong.
    pub fn run(&self, hear: &mut dyn FnMut(Heard)) -> Result<()> {
        let unusable = |e: io::Error| unusable(self.part, &e);
        let mut part = self.open(hear)?;
        let mut from_earlier = part.bytes > 0;
        let mut tries = Tries::new(self.client.settings);
        loop {
            while part.bytes < self.remote.size {
                let before = part.bytes;
                if let Err(failure) = self.request(&mut part, hear) {
                    if part.bytes > before {
                        tries.reset();
                    }
                    tries.again(&self.remote.path, failure, self.cancel, &mut |note| {
                        hear(Heard::Note(note))
                    })?;
                }
            }
            let found: String = part.hash.finalize_reset().iter().map(|b| format!("{b:02x}")).collect();
            let expected = &self.remote.sha256;
            if found == *expected {
                return part.file.sync_all().map_err(unusable);
            }
            part.clear().map_err(unusable)?;
            if !from_earlier {
                drop(part);
                fs::remove_file(self.part).map_err(unusable)?;
                return Err(Error::Other(format!(
                    "{}: {} came with the sha256 {found}, the hub lists {expected}; it is not kept",
                    self.repo, self.remote.path
                )));
            }
            from_earlier = false;
            let what = format!(
                "{}: what an earlier run left is damaged; fetching all of it again",
                self.remote.path
            );
            hear(Heard::Note(what));
        }
    }

    /// The part that is there, read and hashed.
    fn open(&self, hear: &mut dyn FnMut(Heard)) -> Result<Part> {
        let unusable = |e: io::Error| unusable(self.part, &e);
        let file = File::options().read(true).append(true).create(true).open(self.part).map_err(unusable)?;
        let mut part = Part { file, bytes: 0, hash: Sha256::new() };
        let mut there = part.file.metadata().map_err(unusable)?.len();
        if there > self.remote.size {
            part.clear().map_err(unusable)?;
            there = 0;
        }
        let mut piece = vec![0; PIECE];
        while part.bytes < there {
            self.cancel.check()?;
            let count = part.file.read(&mut piece).map_err(unusable)?;
            if count == 0 {
                break;
            }
            part.hash.update(&piece[..count]);
            part.bytes += count as u64;
            hear(Heard::There { bytes: part.bytes, fetched: false });
        }
        Ok(part)
    }

    /// One request for the rest of the file. It ends well when the file has all its bytes.
    fn request(&self, part: &mut Part, hear: &mut dyn FnMut(Heard)) -> Result<(), Failure> {
        let mut response = self.client.get(self.repo, self.url, part.bytes)?;
        self.begin(part, &response)?;
        let mut body = response.body_mut().as_reader();
        let mut piece = vec![0; PIECE];
        while part.bytes < self.remote.size {
            self.cancel.check()?;
            let count = match body.read(&mut piece) {
                Ok(0) => return Err(self.broke_off(part, "the connection ended")),
                Ok(count) => count,
                Err(e) => return Err(self.broke_off(part, &e.to_string())),
            };
            if count as u64 > self.remote.size - part.bytes {
                return Err(self.lies("sends more than the bytes that it lists", self.remote.size).into());
            }
            part.file.write_all(&piece[..count]).map_err(|e| self.unwritten(part, &e))?;
            part.hash.update(&piece[..count]);
            part.bytes += count as u64;
            hear(Heard::There { bytes: part.bytes, fetched: true });
        }
        Ok(())
    }

    /// Holds an answer's head to what was asked for; where all of the file comes anyway, begins anew.
    fn begin(&self, part: &mut Part, response: &Response<Body>) -> Result<(), Failure> {
        let size = self.remote.size;
        let restart = |part: &mut Part| part.clear().map_err(|e| unusable(self.part, &e));
        match response.status() {
            StatusCode::PARTIAL_CONTENT => match content_range(response.headers()) {
                Some((from, total)) if from == part.bytes && total.is_none_or(|total| total == size) => {
                    Ok(())
                }
                Some((_, Some(total))) if total != size => {
                    Err(self.lies("sends a file of other size", total).into())
                }
                _ => {
                    restart(part)?;
                    Err(Failure::Passing("another range came than was asked for".into(), None))
                }
            },
            StatusCode::OK => {
                if part.bytes > 0 {
                    restart(part)?;
                }
                match response.body().content_length() {
                    Some(length) if length != size => {
                        Err(self.lies("sends a file of other size", length).into())
                    }
                    _ => Ok(()),
                }
            }
            _ => {
                restart(part)?;
                Err(Failure::Passing("the hub has no such range".into(), None))
            }
        }
    }

    fn broke_off(&self, part: &Part, why: &str) -> Failure {
        Failure::Passing(format!("{why} after {} of {} bytes", part.bytes, self.remote.size), None)
    }

    fn lies(&self, what: &str, bytes: u64) -> Error {
        let (repo, path, size) = (self.repo, &self.remote.path, self.remote.size);
        Error::Other(format!(
            "{repo}: the hub lists {path} with {size} bytes and {what} ({bytes}); it is not taken"
        ))
    }

    fn unwritten(&self, part: &Part, error: &io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Other(format!(
                "{}: the disk is full, {} bytes are missing; the next try goes on from here, and `wgllm rm {}` gives the room back",
                self.part.display(),
                self.remote.size - part.bytes,
                self.repo
            )),
            _ => unusable(self.part, error),
        }
    }
}

/// The first byte and the total of `bytes 5-9/10`; the total may be `*`.
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let value = headers.get("Content-Range")?.to_str().ok()?;
    let (range, total) = value.trim().strip_prefix("bytes")?.trim().split_once('/')?;
    let (from, _) = range.split_once('-')?;
    Some((from.parse().ok()?, total.parse().ok()))
}
