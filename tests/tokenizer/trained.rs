//! The vocabularies of two trained models, which `get.sh` of the reference data fetches into `target/models`.

use std::path::Path;

use libtest_mimic::Trial;
use wgllm::gguf::Gguf;
use wgllm::tokenizer::{Encode, Tokenizer};

use super::{Outcome, PROMPT, encodes_cases, json, list, numbers, same, string};

/// A folder of reference data, and its model file.
const MODELS: [(&str, &str); 2] = [
    ("smollm2-135m-q4_1", "SmolLM2-135M-Instruct.Q4_1.gguf"),
    ("gemma3-270m-q4_k_m", "gemma-3-270m-q4_k_m.gguf"),
];

/// Each model's cases and prompts; ignored, with the reason, where the file or its data are missing.
pub fn trials(real: &Path) -> Vec<Trial> {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/models");
    let trial = |(folder, name): (&str, &str)| {
        let (data, file) = (real.join(folder), models.join(name));
        let title = format!("trained model: {name}");
        if !data.exists() {
            let title = format!("{title} (no {folder} beside the fixtures)");
            return Trial::test(title, || Ok(())).with_ignored_flag(true);
        }
        if !file.exists() {
            let title = format!("{title} (not in target/models; fetch it with real/get.sh)");
            return Trial::test(title, || Ok(())).with_ignored_flag(true);
        }
        Trial::test(title, move || agrees(&data, &file))
    };
    MODELS.into_iter().map(trial).collect()
}

fn agrees(data: &Path, file: &Path) -> Outcome {
    let gguf = Gguf::open(file)?;
    let tokenizer = Tokenizer::from_metadata(gguf.metadata())?.ok_or("no tokenizer")?;
    same("warnings", tokenizer.warnings(), &[])?;
    encodes_cases(&data.join("tokenizer.json"), &tokenizer)?;
    let expected = json(&data.join("expected.json"))?;
    for prompt in list(&expected["prompts"])? {
        let (text, ids) = (string(&prompt["text"])?, numbers(&prompt["ids"])?);
        same(text, tokenizer.encode(text, Encode { special: true, bos: true })?, ids)?;
        let greedy = numbers(&prompt["greedy"]["ids"])?;
        let mut stream = tokenizer.stream();
        let said: String = greedy.iter().map(|&id| stream.push(id)).collect::<String>() + &stream.finish();
        same(text, &*said, string(&prompt["greedy"]["text"])?)?;
    }
    let text = std::fs::read_to_string(data.join("ppl.txt"))?;
    let ids = tokenizer.encode(&text, PROMPT)?;
    let expected = numbers(&expected["perplexity"]["ids"])?;
    same("the ids of a long text", ids.get(..expected.len()), Some(&*expected))
}
