//! A hub and connections that are not as they should be.

use std::fs;
use std::time::{Duration, Instant};

use wgllm::cancel::Cancel;
use wgllm::error::Error;
use wgllm::hub::{Event, find, pull};

use crate::server::{Entry, Fault, Server, sha256};
use crate::{Outcome, contains, equal, fetch, must, name, names, noise, repository, settings};

const SIZE: usize = 600_000;

fn server() -> (Server, Entry) {
    let entry = Entry::new("Tiny-Q8_0.gguf", noise(SIZE, 1));
    (Server::new(vec![entry.clone()]), entry)
}

/// Fetches through `faults`, and demands the file itself in the end; returns what was said.
fn through(faults: Vec<Fault>) -> Result<Vec<String>, libtest_mimic::Failed> {
    let (server, entry) = server();
    let cache = tempfile::tempdir()?;
    server.fail_files(faults);
    let (pulled, notes) = fetch(&settings(&server, cache.path()), &name("Q8_0"));
    let pulled = pulled.map_err(|e| format!("{e}, after {notes:?}"))?;
    must(fs::read(&pulled.path)? == entry.bytes, || "other bytes than the hub's".into())?;
    equal(names(&repository(cache.path()).join("blobs")), vec![sha256(&entry.bytes)])?;
    Ok(notes)
}

pub fn breaks() -> Outcome {
    // More breaks than failures in a row are borne: each brings some bytes.
    let notes = through(vec![Fault::Cut(50_000); 9])?;
    equal(notes.len(), 9)?;
    contains(&notes[8], "450000 of 600000 bytes")?;
    // Where nothing comes, an end is made of it.
    let (server, _) = server();
    let cache = tempfile::tempdir()?;
    server.fail_files(vec![Fault::Cut(0); 9]);
    let error = fetch(&settings(&server, cache.path()), &name("Q8_0")).0.map(|_| ()).unwrap_err();
    contains(&error.to_string(), "5th time in a row")
}

pub fn stalls() -> Outcome {
    let start = Instant::now();
    let notes = through(vec![Fault::Stall(100_000)])?;
    must(start.elapsed() < Duration::from_millis(1900), || format!("it took {:?}", start.elapsed()))?;
    equal(notes.len(), 1)
}

pub fn no_ranges() -> Outcome {
    through(vec![Fault::Cut(100_000), Fault::Whole])?;
    through(vec![Fault::Cut(100_000), Fault::OtherRange])?;
    through(vec![Fault::Cut(100_000), Fault::Status(416, String::new())]).map(drop)
}

pub fn lies() -> Outcome {
    let changed = |change: fn(&mut Entry), faults: Vec<Fault>, expected: &str| -> Outcome {
        let (server, mut entry) = server();
        change(&mut entry);
        server.commit(&"f".repeat(40), vec![entry]);
        server.fail_files(faults);
        let cache = tempfile::tempdir()?;
        let Err(error) = fetch(&settings(&server, cache.path()), &name("Q8_0")).0 else {
            return Err(format!("it was taken, not refused for \"{expected}\"").into());
        };
        contains(&error.to_string(), expected)?;
        equal(find(cache.path(), &name("Q8_0")), None)?;
        must(!repository(cache.path()).join("refs").exists(), || {
            "a commit is current that is not there".into()
        })
    };
    changed(|e| e.bytes[7] ^= 1, vec![], "came with the sha256")?;
    changed(|e| e.listed_sha256 = "0".repeat(64), vec![], "the hub lists 00000")?;
    changed(|e| e.listed_size += 1, vec![], "sends a file of other size (600000)")?;
    changed(|e| e.listed_size -= 1, vec![], "sends a file of other size (600000)")?;
    changed(|e| e.listed_size += 1, vec![Fault::Cut(9), Fault::Slow(0)], "sends a file of other size")?;
    // Where what is too much comes late, the file is whole and right without it.
    changed(|_| (), vec![Fault::More], "sends more than")
        .or_else(|_| changed(|e| e.bytes[0] ^= 1, vec![Fault::More], "sha256"))?;
    changed(|e| e.path = "../Tiny-Q8_0.gguf".into(), vec![], "no path within a repository")?;
    changed(|e| e.listed_sha256 = "../../../../x".into(), vec![], "64 hexadecimal digits")
}

pub fn damaged() -> Outcome {
    let (server, entry) = server();
    let cache = tempfile::tempdir()?;
    let blobs = repository(cache.path()).join("blobs");
    fs::create_dir_all(&blobs)?;
    for length in [1000, SIZE, SIZE + 1] {
        fs::write(blobs.join(format!("{}.incomplete", sha256(&entry.bytes))), noise(length, 9))?;
        let (pulled, notes) = fetch(&settings(&server, cache.path()), &name("Q8_0"));
        must(fs::read(pulled?.path)? == entry.bytes, || "other bytes than the hub's".into())?;
        // What is too long was never a part of it.
        equal(notes.iter().filter(|note| note.contains("damaged")).count(), usize::from(length <= SIZE))?;
        fs::remove_dir_all(repository(cache.path()))?;
        fs::create_dir_all(&blobs)?;
    }
    Ok(())
}

pub fn busy() -> Outcome {
    let (server, _) = server();
    let cache = tempfile::tempdir()?;
    server
        .fail_listings([Fault::Status(429, "Retry-After: 1\r\n".into()), Fault::Status(503, String::new())]);
    server.fail_files([Fault::Status(500, String::new())]);
    let start = Instant::now();
    let (pulled, notes) = fetch(&settings(&server, cache.path()), &name("Q8_0"));
    pulled?;
    must(start.elapsed() >= Duration::from_secs(1), || "it did not wait as long as it was asked to".into())?;
    equal(notes.len(), 3)?;
    contains(&notes[0], "answers 429; trying again in 1.0 s")?;
    server.fail_listings([Fault::Status(429, "Retry-After: 3600\r\n".into())]);
    let error = fetch(&settings(&server, cache.path()), &name("Q8_0")).0.map(|_| ()).unwrap_err();
    contains(&error.to_string(), "asks to wait for 3600 s")
}

pub fn refusals() -> Outcome {
    let (server, _) = server();
    let cache = tempfile::tempdir()?;
    let mut settings = settings(&server, cache.path());
    let error = |settings: &_, name: &str| -> Result<String, libtest_mimic::Failed> {
        Ok(fetch(settings, &name.parse()?).0.map(|_| ()).unwrap_err().to_string())
    };
    contains(
        &error(&settings, "org/other:Q8_0")?,
        "answers 404: there is no such repository or file (Repository not found)",
    )?;
    contains(&error(&settings, "org/Tiny-GGUF:Q2_K")?, "org/Tiny-GGUF has no Q2_K; it has Q8_0")?;
    server.fail_listings([Fault::Status(403, "X-Error-Message: gated\r\n".into())]);
    contains(
        &error(&settings, "org/Tiny-GGUF")?,
        "/org/Tiny-GGUF, and HF_TOKEN set to a token of who did (gated)",
    )?;
    server.fail_listings([Fault::Status(418, String::new())]);
    contains(&error(&settings, "org/Tiny-GGUF")?, "answers 418")?;
    // Nobody is there.
    settings.endpoint = "http://127.0.0.1:1".into();
    contains(&error(&settings, "org/Tiny-GGUF")?, "http://127.0.0.1:1/api/models/org/Tiny-GGUF")
}

pub fn offline() -> Outcome {
    let (server, _) = server();
    let cache = tempfile::tempdir()?;
    let mut settings = settings(&server, cache.path());
    settings.offline = true;
    let error = fetch(&settings, &name("Q8_0")).0.map(|_| ()).unwrap_err();
    contains(&error.to_string(), "HF_HUB_OFFLINE")?;
    equal(server.heads().len(), 0)
}

pub fn gives_up() -> Outcome {
    let (server, entry) = server();
    let cache = tempfile::tempdir()?;
    let settings = settings(&server, cache.path());
    server.fail_files([Fault::Slow(5)]);
    let cancel = Cancel::new();
    let pulled = pull(&settings, &name("Q8_0"), &cancel, &mut |event| {
        if matches!(event, Event::Progress(100_000.., _)) {
            cancel.cancel();
        }
    });
    must(matches!(pulled, Err(Error::Interrupted)), || format!("{pulled:?}"))?;
    let part = repository(cache.path()).join("blobs").join(format!("{}.incomplete", sha256(&entry.bytes)));
    let there = fs::metadata(&part)?.len();
    must((100_000..SIZE as u64).contains(&there), || format!("{there} bytes are there"))?;
    equal(fetch(&settings, &name("Q8_0")).0?.fetched, SIZE as u64 - there)
}

pub fn at_once() -> Outcome {
    let (server, entry) = server();
    let cache = tempfile::tempdir()?;
    let settings = settings(&server, cache.path());
    server.fail_files([Fault::Slow(5)]);
    let both = std::thread::scope(|scope| {
        let pulls = [0, 1].map(|_| scope.spawn(|| fetch(&settings, &name("Q8_0"))));
        pulls.map(|pull| pull.join())
    });
    let mut fetched = 0;
    for one in both {
        let (pulled, _) = one.map_err(|_| "a thread panicked")?;
        let pulled = pulled?;
        must(fs::read(&pulled.path)? == entry.bytes, || "other bytes than the hub's".into())?;
        fetched += pulled.fetched;
    }
    equal(fetched, SIZE as u64)
}

/// A device that is always full stands for the part of the file.
pub fn full_disk() -> Outcome {
    let (server, entry) = server();
    let cache = tempfile::tempdir()?;
    let blobs = repository(cache.path()).join("blobs");
    fs::create_dir_all(&blobs)?;
    #[cfg(unix)]
    std::os::unix::fs::symlink("/dev/full", blobs.join(format!("{}.incomplete", sha256(&entry.bytes))))?;
    let error = fetch(&settings(&server, cache.path()), &name("Q8_0")).0.map(|_| ()).unwrap_err();
    contains(&error.to_string(), "the disk is full, 600000 bytes are missing")?;
    contains(&error.to_string(), "wgllm rm org/Tiny-GGUF")?;
    equal(find(cache.path(), &name("Q8_0")), None)
}
