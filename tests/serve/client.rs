//! A small HTTP client of the tests' own: it sends what it is told to, right or wrong.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use libtest_mimic::Failed;
use serde_json::Value;

/// Longer than any answer takes here, so that a test ends although a server hangs.
const PATIENCE: Duration = Duration::from_secs(600);

/// What a server answered.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: String,
    pub body: String,
}

impl Response {
    pub fn json(&self) -> Result<Value, Failed> {
        serde_json::from_str(&self.body).map_err(|e| format!("{e} in {self:?}").into())
    }

    /// The data of all events but the last, which must be `[DONE]`.
    pub fn events(&self) -> Result<Vec<Value>, Failed> {
        let data = |block: &str| block.strip_prefix("data: ").map(str::to_owned);
        let mut all: Vec<String> = self.body.split("\n\n").filter_map(data).collect();
        if all.pop().as_deref() != Some("[DONE]") {
            return Err(format!("no [DONE] at the end of {self:?}").into());
        }
        all.iter()
            .map(|text| serde_json::from_str(text).map_err(|e| format!("{e} in {text}").into()))
            .collect()
    }
}

/// Connects.
pub fn connect(address: SocketAddr) -> Result<TcpStream, Failed> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// The bytes of a request.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
    for (name, value) in headers {
        bytes += &format!("{name}: {value}\r\n");
    }
    bytes += &format!("content-length: {}\r\n\r\n", body.len());
    [bytes.as_bytes(), body].concat()
}

/// Sends bytes and reads the answer.
pub fn exchange(address: SocketAddr, bytes: &[u8]) -> Result<Response, Failed> {
    let mut stream = connect(address)?;
    // A server may answer and close before it has read everything.
    let _ = stream.write_all(bytes);
    read(&mut BufReader::new(stream))
}

/// Reads an answer whole.
pub fn read(from: &mut impl BufRead) -> Result<Response, Failed> {
    let (status, headers) = head(from)?;
    let mut body = Vec::new();
    if headers.contains("transfer-encoding: chunked") {
        while let Some(chunk) = chunk(from)? {
            body.extend(chunk);
        }
    } else {
        from.read_to_end(&mut body)?;
    }
    Ok(Response { status, headers, body: String::from_utf8(body)? })
}

/// The status, and all headers in small letters.
pub fn head(from: &mut impl BufRead) -> Result<(u16, String), Failed> {
    let mut headers = String::new();
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Err(format!("the connection ended in {headers:?}").into());
        }
        if line == "\r\n" {
            break;
        }
        headers += &line.to_lowercase();
    }
    let status = headers.split(' ').nth(1).and_then(|s| s.parse().ok());
    Ok((status.ok_or_else(|| format!("no status in {headers:?}"))?, headers))
}

/// A chunk of a body; none at its end.
pub fn chunk(from: &mut impl BufRead) -> Result<Option<Vec<u8>>, Failed> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let length =
        usize::from_str_radix(line.trim(), 16).map_err(|_| format!("no length of a chunk: {line:?}"))?;
    let mut bytes = vec![0; length + 2];
    from.read_exact(&mut bytes)?;
    bytes.truncate(length);
    Ok((length > 0).then_some(bytes))
}

pub fn get(address: SocketAddr, path: &str) -> Result<Response, Failed> {
    exchange(address, &request("GET", path, &[], b""))
}

pub fn post(address: SocketAddr, path: &str, body: &Value) -> Result<Response, Failed> {
    let headers = [("content-type", "application/json")];
    exchange(address, &request("POST", path, &headers, body.to_string().as_bytes()))
}

/// The JSON of an answer that must be 200.
pub fn ok(address: SocketAddr, path: &str, body: &Value) -> Result<Value, Failed> {
    let response = post(address, path, body)?;
    match response.status {
        200 => response.json(),
        _ => Err(format!("{body} got {response:?}").into()),
    }
}
