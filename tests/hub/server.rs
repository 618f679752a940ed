//! A hub on this machine: a repository's listing and files as Hugging Face's hub serves them, with faults where a test asks for one.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use sha2::{Digest, Sha256};

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A file of the repository, and what the listing says of it.
#[derive(Clone)]
pub struct Entry {
    pub path: String,
    pub bytes: Vec<u8>,
    pub listed_size: u64,
    pub listed_sha256: String,
}

impl Entry {
    pub fn new(path: &str, bytes: Vec<u8>) -> Entry {
        let (listed_size, listed_sha256) = (bytes.len() as u64, sha256(&bytes));
        Entry { path: path.into(), bytes, listed_size, listed_sha256 }
    }
}

/// How the next answer to a request for a file or a listing differs from what it should be.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The connection is cut after so many bytes of the body.
    Cut(usize),
    /// Nothing comes after so many bytes of the body, for two seconds.
    Stall(usize),
    /// An answer of this status with these headers and no body.
    Status(u16, String),
    /// All of the file with 200, whatever range was asked for.
    Whole,
    /// A range that says of itself that it begins elsewhere.
    OtherRange,
    /// More bytes than the file has, with no length in front.
    More,
    /// So many milliseconds before each 16 KiB of the body.
    Slow(u64),
}

#[derive(Default)]
struct State {
    files: Vec<Entry>,
    commit: String,
    token: Option<String>,
    /// Faults of answers for files and of listings, each for one answer.
    files_faults: VecDeque<Fault>,
    listing_faults: VecDeque<Fault>,
    /// Where files really are.
    elsewhere: Option<String>,
    /// Heads of all requests.
    heads: Vec<String>,
}

/// The server; its thread ends with the process.
#[derive(Clone)]
pub struct Server {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub fn new(files: Vec<Entry>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of this machine");
        let port = listener.local_addr().expect("the port is known").port();
        let state = State { files, commit: COMMIT.into(), ..State::default() };
        let server = Server { port, state: Arc::new(Mutex::new(state)) };
        let answering = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = answering.clone();
                std::thread::spawn(move || while server.answer(&stream).is_some() {});
            }
        });
        server
    }

    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The same server by a name that counts as another host.
    pub fn other_address(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds this")
    }

    pub fn commit(&self, commit: &str, files: Vec<Entry>) {
        let mut state = self.state();
        (state.commit, state.files) = (commit.into(), files);
    }

    pub fn demand_token(&self, token: &str) {
        self.state().token = Some(token.into());
    }

    pub fn move_files(&self, address: &str) {
        self.state().elsewhere = Some(address.into());
    }

    pub fn fail_files(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state().files_faults.extend(faults);
    }

    pub fn fail_listings(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state().listing_faults.extend(faults);
    }

    /// The heads of all requests so far; from then on they are counted anew.
    pub fn heads(&self) -> Vec<String> {
        std::mem::take(&mut self.state().heads)
    }

    /// Reads a request and answers it; none once the connection is of no more use.
    fn answer(&self, stream: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let (token, elsewhere) = {
            let mut state = self.state();
            state.heads.push(head.clone());
            (state.token.clone(), state.elsewhere.clone())
        };
        let path = head.split(' ').nth(1)?.to_string();
        let header = |name: &str| {
            head.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim().to_string())
            })
        };
        if !path.starts_with("/cdn/")
            && let Some(token) = token
            && header("authorization") != Some(format!("Bearer {token}"))
        {
            return status(stream, 401, "X-Error-Message: Repository not found\r\n");
        }
        if let Some(repo) = path.strip_prefix("/api/models/") {
            let listing = self.listing();
            return match repo == "org/Tiny-GGUF/revision/main?blobs=true" {
                true => {
                    let fault = self.state().listing_faults.pop_front();
                    body(stream, listing.as_bytes(), None, fault)
                }
                false => status(stream, 404, "X-Error-Message: Repository not found\r\n"),
            };
        }
        let commit = self.state().commit.clone();
        if let Some(file) = path.strip_prefix(&format!("/org/Tiny-GGUF/resolve/{commit}/")) {
            let place = elsewhere.unwrap_or_default();
            return status(stream, 302, &format!("Location: {place}/cdn/{file}\r\n"));
        }
        let file = path.strip_prefix("/cdn/").map(unescaped);
        let found = self.state().files.iter().find(|entry| Some(&entry.path) == file.as_ref()).cloned();
        let Some(entry) = found else { return status(stream, 404, "") };
        let from =
            header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        let fault = self.state().files_faults.pop_front();
        body(stream, &entry.bytes, from, fault)
    }

    fn listing(&self) -> String {
        let state = self.state();
        let sibling = |entry: &Entry| {
            let Entry { path, listed_size, listed_sha256, .. } = entry;
            serde_json::json!({ "rfilename": path, "size": listed_size, "blobId": "0",
                "lfs": { "sha256": listed_sha256, "size": listed_size, "pointerSize": 134 } })
        };
        let readme = serde_json::json!({ "rfilename": "README.md", "size": 3, "blobId": "1" });
        let siblings: Vec<_> = std::iter::once(readme).chain(state.files.iter().map(sibling)).collect();
        serde_json::json!({ "id": "org/Tiny-GGUF", "sha": state.commit, "siblings": siblings }).to_string()
    }
}

fn status(mut stream: &TcpStream, code: u16, headers: &str) -> Option<()> {
    stream.write_all(format!("HTTP/1.1 {code} Said\r\n{headers}Content-Length: 0\r\n\r\n").as_bytes()).ok()
}

fn body(mut stream: &TcpStream, bytes: &[u8], from: Option<usize>, fault: Option<Fault>) -> Option<()> {
    let from = if matches!(fault, Some(Fault::Whole)) { None } else { from };
    if let Some(Fault::Status(code, headers)) = &fault {
        return status(stream, *code, headers);
    }
    let total = bytes.len();
    if from.is_some_and(|from| from >= total) {
        return status(stream, 416, &format!("Content-Range: bytes */{total}\r\n"));
    }
    let rest = &bytes[from.unwrap_or(0)..];
    let claimed = from.map(|from| if matches!(fault, Some(Fault::OtherRange)) { from + 1 } else { from });
    let mut head = match claimed {
        Some(from) => {
            format!("HTTP/1.1 206 Partial\r\nContent-Range: bytes {from}-{}/{total}\r\n", total - 1)
        }
        None => "HTTP/1.1 200 OK\r\n".to_string(),
    };
    head += &match fault {
        Some(Fault::More) => "Connection: close\r\n\r\n".to_string(),
        _ => format!("Content-Length: {}\r\n\r\n", rest.len()),
    };
    stream.write_all(head.as_bytes()).ok()?;
    match fault {
        Some(Fault::Cut(after)) => {
            stream.write_all(&rest[..after.min(rest.len())]).ok()?;
            let _ = stream.shutdown(std::net::Shutdown::Both);
            None
        }
        Some(Fault::Stall(after)) => {
            stream.write_all(&rest[..after.min(rest.len())]).ok()?;
            std::thread::sleep(Duration::from_secs(2));
            None
        }
        Some(Fault::More) => {
            stream.write_all(rest).ok()?;
            stream.write_all(b"and more").ok()?;
            let _ = stream.shutdown(std::net::Shutdown::Write);
            None
        }
        Some(Fault::Slow(milliseconds)) => rest.chunks(16 << 10).try_for_each(|piece| {
            std::thread::sleep(Duration::from_millis(milliseconds));
            stream.write_all(piece).ok()
        }),
        _ => stream.write_all(rest).ok(),
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn unescaped(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits: String = rest.by_ref().take(2).map(char::from).collect();
                u8::from_str_radix(&digits, 16).unwrap_or(b'?')
            }
            other => other,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
