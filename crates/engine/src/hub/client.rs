//! What a hub says over HTTP: its listing of a repository, and answers that are none.

use std::time::{Duration, Instant};

use serde::Deserialize;
use ureq::config::RedirectAuthHeaders;
use ureq::http::{HeaderMap, Response, StatusCode};
use ureq::{Agent, Body};

use crate::cancel::Cancel;
use crate::error::{Error, Result};

use super::Settings;

/// Failures in a row after which nothing more is tried.
const TRIES: u32 = 5;
/// The longest that a hub may ask us to wait; beyond it, people decide.
const LONGEST_WAIT: Duration = Duration::from_secs(120);
/// Bytes of a listing: some hundred for each file.
const LARGEST_LISTING: u64 = 64 << 20;
/// How often a wait looks at whether somebody gave up.
const GLANCE: Duration = Duration::from_millis(50);

/// A connection to a hub.
pub(super) struct Client<'a> {
    pub settings: &'a Settings,
    agent: Agent,
}

/// What a repository holds at a commit.
#[derive(Debug)]
pub(super) struct Listing {
    pub commit: String,
    pub files: Vec<Remote>,
}

/// A file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remote {
    /// Its path in the repository.
    pub path: String,
    pub size: u64,
    /// In lower-case hexadecimal digits.
    pub sha256: String,
}

/// Why a request came to nothing.
pub(super) enum Failure {
    /// It would again.
    Final(Error),
    /// It may work later: why, and after what time if the hub says.
    Passing(String, Option<Duration>),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Final(error)
    }
}

/// The hub's answer to `api/models/REPO/revision/main?blobs=true`.
#[derive(Deserialize)]
struct RevisionJson {
    sha: String,
    siblings: Vec<SiblingJson>,
}

#[derive(Deserialize)]
struct SiblingJson {
    rfilename: String,
    lfs: Option<LfsJson>,
}

#[derive(Deserialize)]
struct LfsJson {
    sha256: String,
    size: u64,
}

impl<'a> Client<'a> {
    pub fn new(settings: &'a Settings) -> Client<'a> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .user_agent(concat!("wgllm/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(settings.stall))
            .timeout_connect(Some(settings.stall))
            .timeout_recv_response(Some(settings.stall))
            .timeout_per_read(Some(settings.stall))
            .build();
        Client { settings, agent: config.into() }
    }

    /// What the repository holds now. Files without a SHA-256, which are small texts, are left out.
    pub fn listing(&self, repo: &str, cancel: &Cancel, note: &mut dyn FnMut(String)) -> Result<Listing> {
        let url = format!("{}/api/models/{repo}/revision/main?blobs=true", self.settings.endpoint);
        let mut tries = Tries::new(self.settings);
        loop {
            match self.try_listing(repo, &url) {
                Ok(listing) => return Ok(listing),
                Err(failure) => tries.again(repo, failure, cancel, note)?,
            }
        }
    }

    fn try_listing(&self, repo: &str, url: &str) -> Result<Listing, Failure> {
        let mut response = self.get(repo, url, 0)?;
        if response.status() != StatusCode::OK {
            let what = format!("{repo}: {url} answers {} where a listing is expected", response.status());
            return Err(Error::Other(what).into());
        }
        let text = response.body_mut().with_config().limit(LARGEST_LISTING).read_to_vec();
        let text = text.map_err(|e| Failure::Passing(format!("the listing broke off: {e}"), None))?;
        listing(&text).map_err(|what| Error::Other(format!("{repo}: the listing of {url} {what}")).into())
    }

    /// Asks for a file from byte `from` on. What comes back is the answer to that, 200, 206 or 416; everything else is a failure.
    pub fn get(&self, repo: &str, url: &str, from: u64) -> Result<Response<Body>, Failure> {
        let mut request = self.agent.get(url);
        if let Some(token) = &self.settings.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        if from > 0 {
            request = request.header("Range", format!("bytes={from}-"));
        }
        let response = request.call().map_err(|error| failed(repo, url, error))?;
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => Ok(response),
            status => Err(self.refused(repo, status, response.headers())),
        }
    }

    /// What an answer means that is none.
    fn refused(&self, repo: &str, status: StatusCode, headers: &HeaderMap) -> Failure {
        let said = headers.get("X-Error-Message").and_then(|value| value.to_str().ok());
        let said =
            said.map(|text| format!(" ({})", text.chars().take(300).collect::<String>())).unwrap_or_default();
        let endpoint = &self.settings.endpoint;
        let code = status.as_u16();
        let what = match (code, &self.settings.token) {
            (401, None) => {
                "it is not there, private or gated; for the latter set HF_TOKEN to a token that may read it"
                    .into()
            }
            (401, Some(_)) => "the token (HF_TOKEN, or what `hf auth login` left) is not taken for it".into(),
            (403, _) => format!(
                "its terms are to be accepted at {endpoint}/{repo}, and HF_TOKEN set to a token of who did"
            ),
            (404, _) => "there is no such repository or file".into(),
            (408 | 429 | 500.., _) => {
                let seconds =
                    headers.get("Retry-After").and_then(|value| value.to_str().ok()?.trim().parse().ok());
                return Failure::Passing(
                    format!("{endpoint} answers {code}{said}"),
                    seconds.map(Duration::from_secs),
                );
            }
            _ => "which is not understood".into(),
        };
        Failure::Final(Error::Other(format!("{repo}: {endpoint} answers {code}: {what}{said}")))
    }
}

/// Failures in a row, and the waits between them.
pub(super) struct Tries {
    first: Duration,
    failures: u32,
}

impl Tries {
    pub fn new(settings: &Settings) -> Tries {
        Tries { first: settings.patience, failures: 0 }
    }

    /// Something came: failures are counted anew.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Waits until it makes sense to try again.
    ///
    /// # Errors
    /// The failure itself where it does not, and where somebody gives up.
    pub fn again(
        &mut self,
        what: &str,
        failure: Failure,
        cancel: &Cancel,
        note: &mut dyn FnMut(String),
    ) -> Result<()> {
        cancel.check()?;
        let (why, asked) = match failure {
            Failure::Final(error) => return Err(error),
            Failure::Passing(why, asked) => (why, asked),
        };
        self.failures += 1;
        if self.failures >= TRIES {
            return Err(Error::Other(format!(
                "{what}: {why}, for the {TRIES}th time in a row; try again later"
            )));
        }
        let wait = asked.unwrap_or(self.first * (1 << (self.failures - 1)));
        if wait > LONGEST_WAIT {
            let seconds = wait.as_secs();
            return Err(Error::Other(format!(
                "{what}: {why} and asks to wait for {seconds} s; try again then"
            )));
        }
        note(format!("{what}: {why}; trying again in {:.1} s", wait.as_secs_f64()));
        let end = Instant::now() + wait;
        while Instant::now() < end {
            cancel.check()?;
            std::thread::sleep(GLANCE.min(end.saturating_duration_since(Instant::now())));
        }
        Ok(())
    }
}

fn failed(repo: &str, url: &str, error: ureq::Error) -> Failure {
    use ureq::Error as E;
    match error {
        E::Io(_) | E::Timeout(_) | E::HostNotFound | E::ConnectionFailed | E::Protocol(_) => {
            Failure::Passing(format!("{url}: {error}"), None)
        }
        _ => Failure::Final(Error::Other(format!("{repo}: {url}: {error}"))),
    }
}

/// Reads a listing. Names and hashes become paths: what could lead out of the cache is refused.
fn listing(text: &[u8]) -> Result<Listing, String> {
    let json: RevisionJson = serde_json::from_slice(text).map_err(|e| format!("is none: {e}"))?;
    if !(7..=64).contains(&json.sha.len()) || !is_hex(&json.sha) {
        return Err(format!("has the commit {:?}, expected hexadecimal digits", json.sha));
    }
    let mut files = Vec::new();
    for sibling in json.siblings {
        let path = sibling.rfilename;
        let parts = || path.split('/');
        if parts().any(|part| part.is_empty() || part == "." || part == "..")
            || path.contains(['\\', ':', '\0'])
        {
            return Err(format!("names a file {path:?}, which is no path within a repository"));
        }
        let Some(LfsJson { sha256, size }) = sibling.lfs else { continue };
        if sha256.len() != 64 || !is_hex(&sha256) {
            return Err(format!("gives {path} the sha256 {sha256:?}, expected 64 hexadecimal digits"));
        }
        files.push(Remote { path, size, sha256 });
    }
    Ok(Listing { commit: json.sha, files })
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_read_and_what_leads_elsewhere_is_refused() {
        let hash = "a".repeat(64);
        let with = |name: &str, hash: &str| {
            format!(
                r#"{{"id": "a/b", "sha": "0123456789abcdef0123456789abcdef01234567", "siblings": [{{"rfilename": "README.md", "size": 3, "blobId": "x"}},
                {{"rfilename": {name:?}, "size": 5, "blobId": "y", "lfs": {{"sha256": {hash:?}, "size": 5, "pointerSize": 134}}}}]}}"#
            )
        };
        let found = listing(with("d/m.gguf", &hash).as_bytes()).unwrap();
        assert_eq!(found.files, [Remote { path: "d/m.gguf".into(), size: 5, sha256: hash.clone() }]);
        for name in ["../m.gguf", "/m.gguf", "a//m.gguf", "a/../../m.gguf", "C:m.gguf", "a\\m.gguf", ""] {
            let error = listing(with(name, &hash).as_bytes()).unwrap_err();
            assert!(error.contains("no path within a repository"), "{name}: {error}");
        }
        assert!(listing(with("m.gguf", "../../x").as_bytes()).unwrap_err().contains("sha256"));
        assert!(listing(br#"{"sha": "../..", "siblings": []}"#).unwrap_err().contains("commit"));
        assert!(listing(b"<html>").unwrap_err().contains("is none"));
    }
}
