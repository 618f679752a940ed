//! `wgllm serve` as a process: what it says, and how it ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use serde_json::json;

use crate::client::{chunk, connect, get, head, ok, read, request};
use crate::server::MODEL;
use crate::{Outcome, equal, must};

pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("the program serves at a port, tells of requests, and ends at SIGTERM", port),
        Trial::test("the program serves at a socket, and takes it away", socket),
        Trial::test("flags say how tokens are chosen where a request does not", choosing),
        Trial::test("mistakes of the command line are said at once", mistakes),
    ]
}

/// The program, ended with the test.
struct Program {
    child: Child,
    errors: BufReader<std::process::ChildStderr>,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wgllm"));
    command.args(["serve", "-m", MODEL, "-b", "cpu", "--precision", "f32"]).args(args);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("WGLLM_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

impl Program {
    fn start(args: &[&str]) -> Result<Program, Failed> {
        let mut child = command(args).spawn()?;
        let errors = BufReader::new(child.stderr.take().ok_or("no standard error")?);
        Ok(Program { child, errors })
    }

    /// The next line on standard error that holds `part`.
    fn line(&mut self, part: &str) -> Result<String, Failed> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.errors.read_line(&mut line)? == 0 {
                return Err(format!("it ended without {part:?}").into());
            }
            if line.contains(part) {
                return Ok(line.trim_end().into());
            }
        }
    }

    fn terminate(&mut self) -> Result<Option<i32>, Failed> {
        let killed = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        must(killed.success(), || "no signal was sent".into())?;
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            must(start.elapsed() < Duration::from_secs(30), || "it does not end".into())?;
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn port() -> Outcome {
    let args = ["--port", "0", "--log-format", "json", "--parallel", "2", "--alias", "tale"];
    let mut program = Program::start(&args)?;
    let line = program.line("listening at http://")?;
    let address = line.rsplit('/').next().unwrap_or_default().parse()?;
    program.line("serving tale")?;
    let answer = ok(
        address,
        "/v1/completions",
        &json!({ "prompt": "Once upon a time", "max_tokens": 4, "temperature": 0 }),
    )?;
    equal(answer["choices"][0]["text"].as_str(), Some(", there was a"))?;
    let logged: serde_json::Value = serde_json::from_str(&program.line("/v1/completions")?)?;
    equal(&logged["status"], &json!(200))?;
    equal(&logged["completion_tokens"], &json!(4))?;
    must(logged.get("prompt").is_none(), || format!("what was asked is in the log: {logged}"))?;
    equal(&get(address, "/v1/models")?.json()?["data"][0]["id"], &json!("tale"))?;
    // What is under way ends by itself.
    let mut stream = connect(address)?;
    let body = json!({ "prompt": "Once upon a time", "temperature": 0, "stream": true }).to_string();
    stream.write_all(&request("POST", "/v1/completions", &[], body.as_bytes()))?;
    let mut from = BufReader::new(stream);
    equal(head(&mut from)?.0, 200)?;
    let rest = std::thread::spawn(move || -> Result<String, Failed> {
        let mut text = Vec::new();
        while let Some(chunk) = chunk(&mut from)? {
            text.extend(chunk);
        }
        Ok(String::from_utf8(text)?)
    });
    equal(program.terminate()?, Some(0))?;
    let text = rest.join().map_err(|_| "the client panicked")??;
    must(text.ends_with("data: [DONE]\n\n"), || format!("it was broken off: {text}"))
}

fn socket() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("socket");
    let name = path.to_str().ok_or("an odd folder")?;
    let mut program = Program::start(&["--unix", name, "--log-prompts"])?;
    program.line("serving")?;
    let mut stream = UnixStream::connect(&path)?;
    let body = json!({ "prompt": "Once upon", "max_tokens": 1 }).to_string();
    stream.write_all(&request("POST", "/v1/completions", &[], body.as_bytes()))?;
    equal(read(&mut BufReader::new(stream))?.status, 200)?;
    let line = program.line("POST /v1/completions 200")?;
    must(line.contains("Once upon"), || line.clone())?;
    // A second one does not take the socket away from the first.
    let output = command(&["--unix", name]).output()?;
    equal(output.status.code(), Some(1))?;
    equal(program.terminate()?, Some(0))?;
    must(!path.exists(), || "the socket is still there".into())?;
    // One that was left behind is replaced.
    drop(std::os::unix::net::UnixListener::bind(&path)?);
    let mut program = Program::start(&["--unix", name])?;
    program.line("serving")?;
    equal(program.terminate()?, Some(0))
}

fn choosing() -> Outcome {
    let mut program = Program::start(&["--port", "0", "--temp", "1.5", "--top-k", "9", "--seed", "3"])?;
    let line = program.line("listening at http://")?;
    let address = line.rsplit('/').next().unwrap_or_default().parse()?;
    program.line("serving")?;
    let props = get(address, "/props")?.json()?;
    let params = &props["default_generation_settings"]["params"];
    equal((&params["temperature"], &params["top_k"]), (&json!(1.5), &json!(9)))?;
    let ask = |more: serde_json::Value| -> Result<String, Failed> {
        let mut body = json!({ "prompt": "Once upon a time", "max_tokens": 24 });
        body.as_object_mut().ok_or("no object")?.extend(more.as_object().cloned().unwrap_or_default());
        Ok(ok(address, "/v1/completions", &body)?["choices"][0]["text"].to_string())
    };
    let said = ask(json!({}))?;
    equal(&ask(json!({}))?, &said)?;
    equal(&ask(json!({ "temperature": 1.5, "top_k": 9, "seed": 3 }))?, &said)?;
    must(ask(json!({ "seed": 4 }))? != said, || "another seed changes nothing".into())?;
    must(ask(json!({ "temperature": 0 }))? != said, || "another temperature changes nothing".into())?;
    equal(program.terminate()?, Some(0))
}

fn mistakes() -> Outcome {
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port().to_string();
    let cases: &[(&[&str], i32, &str)] = &[
        (&["--port", &port], 1, &port),
        (&["--api-key", ""], 2, "API key"),
        (&["--api-key-file", "/no/such/file"], 2, "/no/such/file"),
        (&["--parallel", "0"], 2, "--parallel"),
        (&["--unix", "/no/such/folder/s"], 1, "/no/such/folder/s"),
        (&["--port", "0", "--chat-template", "no-such"], 2, "no-such"),
        (&["--port", "0", "-c", "4000000000"], 2, "4000000000"),
    ];
    for (args, code, part) in cases {
        let mut child = command(args).spawn()?;
        let mut text = String::new();
        child.stderr.take().ok_or("no standard error")?.read_to_string(&mut text)?;
        let status = child.wait()?.code();
        must(status == Some(*code) && text.contains(part), || format!("{args:?}: {status:?} {text}"))?;
    }
    Ok(())
}
