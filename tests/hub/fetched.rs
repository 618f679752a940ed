//! What a fetch asks for and what it leaves behind.

use std::fs;
use std::path::Path;

use wgllm::hub::find;

use crate::server::{COMMIT, Entry, Server, sha256};
use crate::{Outcome, contains, equal, fetch, must, name, names, noise, repository, settings};

const SIZE: usize = 600_000;

fn entry(path: &str, seed: u64) -> Entry {
    Entry::new(path, noise(SIZE, seed))
}

pub fn layout() -> Outcome {
    let file = entry("sub/Tiny-Q8_0.gguf", 1);
    let server = Server::new(vec![file.clone(), entry("Tiny-Q4_0.gguf", 2)]);
    let cache = tempfile::tempdir()?;
    let pulled = fetch(&settings(&server, cache.path()), &name("q8_0")).0?;
    let folder = repository(cache.path());
    equal(names(&folder.join("blobs")), vec![sha256(&file.bytes)])?;
    equal(fs::read_to_string(folder.join("refs/main"))?.as_str(), COMMIT)?;
    let expected = folder.join("snapshots").join(COMMIT).join("sub/Tiny-Q8_0.gguf");
    equal(&pulled.path, &expected)?;
    equal(pulled.fetched, SIZE as u64)?;
    must(fs::read(&pulled.path)? == file.bytes, || "other bytes than the hub's".into())?;
    if cfg!(unix) {
        let link = Path::new("../../../blobs").join(sha256(&file.bytes));
        let target = fs::read_link(&pulled.path)?;
        must(target.ends_with(sha256(&file.bytes)) && target.is_relative(), || format!("{target:?}"))?;
        equal(target, link)?;
    }
    equal(find(cache.path(), &name("Q8_0")), Some(expected))
}

pub fn again() -> Outcome {
    let server = Server::new(vec![entry("Tiny-Q8_0.gguf", 1)]);
    let cache = tempfile::tempdir()?;
    let settings = settings(&server, cache.path());
    fetch(&settings, &name("Q8_0")).0?;
    server.heads();
    equal(fetch(&settings, &name("Q8_0")).0?.fetched, 0)?;
    let heads = server.heads();
    must(heads.len() == 1 && heads[0].starts_with("GET /api/"), || format!("{heads:?}"))
}

pub fn split() -> Outcome {
    let part = |n: u64| entry(&format!("Tiny-F16-0000{n}-of-00003.gguf"), n);
    let server = Server::new(vec![part(2), part(3), part(1)]);
    let cache = tempfile::tempdir()?;
    let settings = settings(&server, cache.path());
    // The second part cannot be had: the model is not there, not even its first part by name.
    server.fail_files([crate::server::Fault::Slow(0), crate::server::Fault::Status(403, String::new())]);
    let error = fetch(&settings, &name("F16")).0.map(|_| ()).unwrap_err().to_string();
    contains(&error, "its terms are to be accepted")?;
    equal(find(cache.path(), &name("F16")), None)?;
    must(!repository(cache.path()).join("snapshots").exists(), || {
        "a snapshot of a part of the model".into()
    })?;
    server.heads();
    let pulled = fetch(&settings, &name("F16")).0?;
    equal(pulled.fetched, 2 * SIZE as u64)?;
    must(pulled.path.ends_with("Tiny-F16-00001-of-00003.gguf"), || format!("{:?}", pulled.path))?;
    equal(names(pulled.path.parent().unwrap_or(cache.path())).len(), 3)?;
    // A repository that lacks a part is found out before anything is fetched.
    server.commit(&"f".repeat(40), vec![part(1), part(3)]);
    let error = fetch(&settings, &name("F16")).0.map(|_| ()).unwrap_err().to_string();
    contains(&error, "2 of its 3 parts")
}

pub fn new_commit() -> Outcome {
    let (old, new, other) =
        (entry("Tiny-Q8_0.gguf", 1), entry("Tiny-Q8_0.gguf", 2), entry("Tiny-Q4_0.gguf", 3));
    let server = Server::new(vec![old, other.clone()]);
    let cache = tempfile::tempdir()?;
    let settings = settings(&server, cache.path());
    fetch(&settings, &name("Q8_0")).0?;
    fetch(&settings, &name("Q4_0")).0?;
    let commit = "f".repeat(40);
    server.commit(&commit, vec![new.clone(), other.clone()]);
    let pulled = fetch(&settings, &name("Q8_0")).0?;
    must(fs::read(&pulled.path)? == new.bytes, || "the old file".into())?;
    equal(fs::read_to_string(repository(cache.path()).join("refs/main"))?, commit)?;
    // What only an older commit has is still found, and what both have is not fetched twice.
    let found = find(cache.path(), &name("Q4_0")).ok_or("Q4_0 is lost")?;
    must(fs::read(found)? == other.bytes, || "another file".into())?;
    equal(fetch(&settings, &name("Q4_0")).0?.fetched, 0)
}

pub fn token() -> Outcome {
    let server = Server::new(vec![entry("Tiny-Q8_0.gguf", 1)]);
    server.demand_token("hf_secret");
    server.move_files(&server.other_address());
    let cache = tempfile::tempdir()?;
    let mut settings = settings(&server, cache.path());
    let error = fetch(&settings, &name("Q8_0")).0.map(|_| ()).unwrap_err().to_string();
    contains(&error, "HF_TOKEN")?;
    contains(&error, "Repository not found")?;
    settings.token = Some("hf_wrong".into());
    let error = fetch(&settings, &name("Q8_0")).0.map(|_| ()).unwrap_err().to_string();
    contains(&error, "is not taken")?;
    must(!error.contains("hf_wrong"), || format!("the token is in {error:?}"))?;
    server.heads();
    settings.token = Some("hf_secret".into());
    fetch(&settings, &name("Q8_0")).0?;
    let told: Vec<(bool, bool)> =
        server.heads().iter().map(|head| (head.contains("/cdn/"), head.contains("hf_secret"))).collect();
    equal(told, vec![(false, true), (false, true), (true, false)])
}

pub fn odd_names() -> Outcome {
    let path = "a b/Größe #1?-Q8_0.gguf";
    let server = Server::new(vec![entry(path, 1)]);
    let cache = tempfile::tempdir()?;
    let pulled = fetch(&settings(&server, cache.path()), &name("Q8_0")).0?;
    must(pulled.path.ends_with(path), || format!("{:?}", pulled.path))
}

pub fn resumed() -> Outcome {
    let file = entry("Tiny-Q8_0.gguf", 1);
    let server = Server::new(vec![file.clone()]);
    let cache = tempfile::tempdir()?;
    let blobs = repository(cache.path()).join("blobs");
    fs::create_dir_all(&blobs)?;
    fs::write(blobs.join(format!("{}.incomplete", sha256(&file.bytes))), &file.bytes[..400_001])?;
    let pulled = fetch(&settings(&server, cache.path()), &name("Q8_0")).0?;
    equal(pulled.fetched, (SIZE - 400_001) as u64)?;
    must(fs::read(&pulled.path)? == file.bytes, || "other bytes than the hub's".into())?;
    // The range survives the redirect.
    let heads = server.heads();
    let last = heads.last().ok_or("no request")?.to_lowercase();
    must(last.contains("/cdn/") && last.contains("range: bytes=400001-"), || last.clone())?;
    equal(names(&blobs), vec![sha256(&file.bytes)])
}
