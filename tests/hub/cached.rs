//! What is in a cache, whichever tool put it there.

use std::fs;
use std::path::{Path, PathBuf};

use wgllm::hub::{find, list, remove};

use crate::{Outcome, contains, equal, must, name, names, noise, repository};

/// Puts a file into a cache as Hugging Face's tools do; `blob` stands for its hash.
fn put(cache: &Path, commit: &str, path: &str, blob: &str, bytes: usize) -> std::io::Result<PathBuf> {
    let folder = repository(cache);
    let file = folder.join("blobs").join(blob);
    fs::create_dir_all(folder.join("blobs"))?;
    fs::write(&file, noise(bytes, 1))?;
    let place = folder.join("snapshots").join(commit).join(path);
    fs::create_dir_all(place.parent().unwrap_or(cache))?;
    let up: PathBuf = std::iter::repeat_n("..", 2 + path.matches('/').count()).collect();
    #[cfg(unix)]
    std::os::unix::fs::symlink(up.join("blobs").join(blob), &place)?;
    #[cfg(not(unix))]
    let _ = (up, fs::rename(&file, &place)?);
    Ok(place)
}

fn current(cache: &Path, commit: &str) -> std::io::Result<()> {
    fs::create_dir_all(repository(cache).join("refs"))?;
    fs::write(repository(cache).join("refs/main"), commit)
}

pub fn found() -> Outcome {
    let cache = tempfile::tempdir()?;
    let cache = cache.path();
    equal(find(cache, &name("Q8_0")), None)?;
    let old = put(cache, "aaaaaaa", "Tiny-Q8_0.gguf", "1", 10)?;
    let new = put(cache, "bbbbbbb", "Tiny-Q8_0.gguf", "2", 10)?;
    put(cache, "bbbbbbb", "config.json", "3", 10)?;
    let first = put(cache, "aaaaaaa", "BF16/Tiny-BF16-00001-of-00002.gguf", "4", 10)?;
    put(cache, "aaaaaaa", "BF16/Tiny-BF16-00002-of-00002.gguf", "5", 10)?;
    for (commit, expected) in [("aaaaaaa", &old), ("bbbbbbb\n", &new)] {
        current(cache, commit)?;
        equal(find(cache, &name("q8_0")).as_ref(), Some(expected))?;
        equal(find(cache, &name("Tiny-Q8_0.gguf")).as_ref(), Some(expected))?;
    }
    equal(find(cache, &name("BF16")), Some(first))?;
    equal(find(cache, &name("Q4_K_M")), None)?;
    let all = "org/Tiny-GGUF".parse()?;
    equal(find(cache, &all), Some(new))
}

pub fn half() -> Outcome {
    let cache = tempfile::tempdir()?;
    let cache = cache.path();
    put(cache, "aaaaaaa", "Tiny-BF16-00002-of-00002.gguf", "1", 10)?;
    equal(find(cache, &name("BF16")), None)?;
    let first = put(cache, "aaaaaaa", "Tiny-BF16-00001-of-00002.gguf", "2", 10)?;
    equal(find(cache, &name("BF16")), Some(first))?;
    // A link to nothing.
    let gone = repository(cache).join("blobs/2");
    if gone.exists() {
        fs::remove_file(gone)?;
        equal(find(cache, &name("BF16")), None)?;
    }
    Ok(())
}

pub fn removed() -> Outcome {
    let folder = tempfile::tempdir()?;
    let cache = folder.path();
    equal(list(cache)?.0.len(), 0)?;
    equal(list(&cache.join("nowhere"))?.0.len(), 0)?;
    put(cache, "aaaaaaa", "Tiny-Q8_0.gguf", "1", 1000)?;
    // The same file in a newer commit.
    put(cache, "bbbbbbb", "Tiny-Q8_0.gguf", "1", 1000)?;
    put(cache, "bbbbbbb", "Tiny-Q4_0.gguf", "2", 500)?;
    put(cache, "bbbbbbb", "config.json", "3", 50)?;
    current(cache, "bbbbbbb")?;
    fs::write(repository(cache).join("blobs/9.incomplete"), noise(77, 1))?;
    fs::create_dir_all(cache.join("datasets--org--Tiny-GGUF"))?;
    let (models, unfinished) = list(cache)?;
    let found: Vec<_> = models.iter().map(|m| (m.name.to_string(), m.bytes)).collect();
    equal(found, vec![("org/Tiny-GGUF:Q4_0".into(), 500), ("org/Tiny-GGUF:Q8_0".into(), 1000)])?;
    equal(unfinished, 77)?;

    let error = remove(cache, &name("Q6_K")).map(|_| ()).unwrap_err().to_string();
    contains(&error, "org/Tiny-GGUF:Q6_K is not in")?;
    let gone = remove(cache, &name("Q8_0"))?;
    equal(gone.files.len(), 2)?;
    if cfg!(unix) {
        equal(gone.bytes, 1000)?;
        equal(
            names(&repository(cache).join("blobs")),
            ["2", "3", "9.incomplete"].map(String::from).to_vec(),
        )?;
    }
    must(!repository(cache).join("snapshots/aaaaaaa").exists(), || "an empty snapshot stays".into())?;
    must(find(cache, &name("Q4_0")).is_some(), || "another model is gone".into())?;
    // All models, and what is unfinished; what is no model stays.
    let gone = remove(cache, &"org/Tiny-GGUF".parse()?)?;
    equal((gone.files.len(), gone.bytes), (1, 577))?;
    equal(names(&repository(cache).join("snapshots/bbbbbbb")), vec!["config.json".into()])?;
    fs::remove_file(repository(cache).join("snapshots/bbbbbbb/config.json"))?;
    put(cache, "bbbbbbb", "Tiny-Q4_0.gguf", "2", 500)?;
    remove(cache, &name("Q4_0"))?;
    must(!repository(cache).exists(), || "an empty repository stays".into())?;
    must(cache.join("datasets--org--Tiny-GGUF").exists(), || "what is no model's is gone".into())
}
