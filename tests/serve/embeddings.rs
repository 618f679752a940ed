//! Embeddings: that they are what logits are made of, and how they are asked for.

use libtest_mimic::Failed;
use serde_json::{Value, json};
use wgllm::backend::Precision;
use wgllm::engine::{Engine, Options};
use wgllm::graph::Head;
use wgllm::serve::Settings;
use wgllm::session::Session;
use wgllm::tokenizer::Encode;
use wgllm::worker::Pooling;

use crate::adapters::Target;
use crate::client::{ok, post};
use crate::server::{MODEL, Plan, Running};
use crate::{Outcome, equal, must};

const TEXT: &str = "Once upon a time there was a little girl named Lily.";

fn plan(pooling: Pooling) -> Plan {
    let mut plan = Plan { head: Head::Hidden, ..Plan::default() };
    plan.settings = Settings { embeddings: Some(pooling), ..plan.settings };
    plan
}

fn numbers(vector: &Value) -> Vec<f64> {
    vector.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}

/// What a model's graph ends with for each token of a text.
fn rows(target: &Target, head: Head) -> Result<(Vec<f32>, Engine, usize), Failed> {
    let options = Options { context: Some(64), head, ..target.options(Precision::F32) };
    let mut engine = Engine::open(MODEL.as_ref(), &options, &mut |_, _| {})?;
    let tokenizer = engine.tokenizer.as_ref().ok_or("no tokenizer")?;
    let ids = tokenizer.encode(TEXT, Encode { special: false, bos: true })?;
    let mut rows = Vec::new();
    let mut session = Session::new(engine.backend.as_mut(), engine.plan, engine.model.vocab_size);
    session.logits(&ids, &mut |more| rows.extend_from_slice(more))?;
    Ok((rows, engine, ids.len()))
}

/// That they are what logits are made of, and means of that.
pub fn means(target: &Target) -> Outcome {
    let (hidden, engine, count) = rows(target, Head::Hidden)?;
    let (logits, ..) = rows(&Target::cpu(), Head::Logits)?;
    let (width, vocab) = (hidden.len() / count, logits.len() / count);
    // The logits of every row are its products with the output matrix.
    let file = &engine.file;
    let tensor = file.tensor("output.weight").or(file.tensor("token_embd.weight")).ok_or("no output")?;
    let mut matrix = vec![0.0; vocab * width];
    let format = wgllm::formats::by_id(tensor.kind.id).ok_or("an unknown format")?;
    (format.decode)(file.data(tensor), &mut matrix);
    for (hidden, logits) in hidden.chunks_exact(width).zip(logits.chunks_exact(vocab)) {
        let (mut error, mut all) = (0.0, 0.0);
        for (weights, &logit) in matrix.chunks_exact(width).zip(logits) {
            let product: f64 = weights.iter().zip(hidden).map(|(&w, &h)| f64::from(w) * f64::from(h)).sum();
            error += (product - f64::from(logit)).powi(2);
            all += f64::from(logit).powi(2);
        }
        // As for the logits of a whole model in f32.
        must(error < 1e-9 * all, || format!("the logits differ: NMSE {:e}", error / all))?;
    }

    pooled(target, Pooling::Mean, &hidden, width)
}

/// That they are the last token's.
pub fn last(target: &Target) -> Outcome {
    let (hidden, _, count) = rows(target, Head::Hidden)?;
    pooled(target, Pooling::Last, &hidden, hidden.len() / count)
}

/// A server's embeddings of a text, given in every way, beside what is made here of its rows of `width` numbers.
fn pooled(target: &Target, pooling: Pooling, hidden: &[f32], width: usize) -> Outcome {
    let count = hidden.len() / width;
    let mut expected = vec![0.0; width];
    let first = if pooling == Pooling::Mean { 0 } else { count - 1 };
    for row in hidden.chunks_exact(width).skip(first) {
        expected.iter_mut().zip(row).for_each(|(sum, &n)| *sum += f64::from(n));
    }
    let length = expected.iter().map(|n| n * n).sum::<f64>().sqrt();
    let server = Running::ready(target, plan(pooling))?;
    let ask = |input: Value| ok(server.address, "/v1/embeddings", &json!({ "input": input }));
    let answer = ask(json!(TEXT))?;
    equal(&answer["object"], &json!("list"))?;
    equal(answer["usage"]["prompt_tokens"].as_u64(), Some(count as u64))?;
    let vector = numbers(&answer["data"][0]["embedding"]);
    equal(vector.len(), width)?;
    let far: f64 = vector.iter().zip(&expected).map(|(a, b)| (a - b / length).powi(2)).sum();
    must(far < 1e-9, || format!("{pooling:?} is {far:e} away"))?;
    // The same text as tokens, and beside others.
    let ids = ok(server.address, "/tokenize", &json!({ "content": TEXT, "add_special": true }))?;
    let answer = ask(json!(["A dog", ids["tokens"], "A cat sat"]))?;
    equal(answer["data"].as_array().map(Vec::len), Some(3))?;
    equal(answer["data"][1]["index"].as_u64(), Some(1))?;
    equal(numbers(&answer["data"][1]["embedding"]), vector.clone())?;
    equal(&ask(ids["tokens"].clone())?["data"], &ask(json!(TEXT))?["data"])?;
    if pooling == Pooling::Mean {
        // Several are in one batch, and one in several.
        let texts = ["A dog".into(), TEXT.repeat(5), "A cat sat".into()];
        let together = ask(json!(texts))?;
        for (n, text) in texts.iter().enumerate() {
            let alone = numbers(&ask(json!(text))?["data"][0]["embedding"]);
            let beside = numbers(&together["data"][n]["embedding"]);
            let far: f64 = beside.iter().zip(&alone).map(|(a, b)| (a - b).powi(2)).sum();
            // Sums of few rows and of many are in another order.
            must(beside.len() == width && far < 1e-9, || format!("text {n} is {far:e} away beside others"))?;
        }
    }
    for n in 0..3 {
        let vector = numbers(&answer["data"][n]["embedding"]);
        let length = vector.iter().map(|n| n * n).sum::<f64>().sqrt();
        must((length - 1.0).abs() < 1e-5, || format!("its length is {length}"))?;
    }
    let asked = json!({ "input": TEXT, "encoding_format": "base64", "dimensions": width });
    let coded = ok(server.address, "/v1/embeddings", &asked)?["data"][0]["embedding"].clone();
    let bytes = unbase64(coded.as_str().ok_or("no text")?);
    let decoded = bytes.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]])));
    let far = decoded.zip(&vector).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    must(bytes.len() == 4 * width && far < 1e-7, || format!("base64 is {far:e} away"))?;
    server.idle()
}

/// The tests' own, so that nothing is held to itself.
fn unbase64(text: &str) -> Vec<u8> {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut held, mut bits) = (0u32, 0);
    for digit in text.bytes().filter_map(|c| digits.iter().position(|&d| d == c)) {
        (held, bits) = (held << 6 | digit as u32, bits + 6);
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
        }
    }
    bytes
}

pub fn refused() -> Outcome {
    let answering = Running::ready(&Target::cpu(), Plan::default())?;
    let response = post(answering.address, "/v1/embeddings", &json!({ "input": "a" }))?;
    equal(response.status, 400)?;
    must(response.body.contains("--embeddings"), || response.body.clone())?;
    let server = Running::ready(&Target::cpu(), plan(Pooling::Mean))?;
    for path in ["/v1/completions", "/v1/messages"] {
        let asked =
            json!({ "prompt": "a", "messages": [{ "role": "user", "content": "a" }], "max_tokens": 1 });
        let response = post(server.address, path, &asked)?;
        must(response.status == 400 && response.body.contains("--embeddings"), || format!("{response:?}"))?;
    }
    for (name, value) in [
        ("input", json!(null)),
        ("input", json!([])),
        ("input", json!([1_000_000])),
        ("input", json!({})),
        ("dimensions", json!(7)),
        ("encoding_format", json!("int8")),
    ] {
        let mut body = json!({ "input": "a" });
        body[name] = value;
        let response = post(server.address, "/v1/embeddings", &body)?;
        must(response.status == 400 && response.body.contains(name), || format!("{body}: {response:?}"))?;
    }
    let response = post(server.address, "/v1/embeddings", &json!({ "input": "word ".repeat(700) }))?;
    equal(&response.json()?["error"]["code"], &json!("context_length_exceeded"))?;
    server.idle()
}
