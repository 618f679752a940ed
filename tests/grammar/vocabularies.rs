//! Real vocabularies: a mask lets just those tokens through whose bytes go on with the language.

use std::collections::HashSet;
use std::path::PathBuf;

use libtest_mimic::Trial;
use serde_json::json;
use wgllm::gguf::Gguf;
use wgllm::grammar::{Grammar, Grammars, Language};
use wgllm::tokenizer::{Encode, Tokenizer};

use crate::Outcome;
use crate::demands::must;
use crate::fixtures::{files, fixtures, stem};

/// One for each vocabulary.
pub fn trials() -> Vec<Trial> {
    let all = files(&fixtures().join("tokenizers"), "gguf");
    if all.is_empty() {
        let name = "masks of real vocabularies (no fixtures; set WGLLM_FIXTURES to their folder)";
        return vec![Trial::test(name, || Ok(())).with_ignored_flag(true)];
    }
    all.into_iter()
        .map(|path| Trial::test(format!("masks of {}", stem(&path)), move || masks(path)))
        .collect()
}

fn masks(path: PathBuf) -> Outcome {
    let tokenizer = Tokenizer::of(&Gguf::open(&path)?)?.ok_or("no tokenizer")?;
    let grammars = Grammars::new(&tokenizer)?;
    let word = grammars.constraint(&Language::Regex("[a-z]{1,5}!".into()).into(), None)?;
    let mut matcher = word.start();
    for (given, rest) in [("", "^[a-z]{0,5}!?$"), ("a", "^[a-z]{0,4}!?$"), ("b", "^[a-z]{0,3}!?$")] {
        if let Some(token) =
            (0..tokenizer.vocab_size() as u32).find(|&t| tokenizer.piece(t) == given.as_bytes())
            && !given.is_empty()
        {
            matcher.push(token)?;
        }
        let (mask, rest) = (matcher.mask()?, regex::Regex::new(rest)?);
        // Of tokens that print the same, one is enough.
        let all = 0..tokenizer.vocab_size() as u32;
        let let_through: HashSet<&[u8]> =
            all.filter(|&t| mask.allows(t)).map(|t| tokenizer.piece(t)).collect();
        for token in 0..tokenizer.vocab_size() as u32 {
            let piece = std::str::from_utf8(tokenizer.piece(token)).unwrap_or("?");
            let goes_on = !piece.is_empty() && rest.is_match(piece) && !(given.is_empty() && piece == "!");
            must(let_through.contains(tokenizer.piece(token)) == goes_on, || {
                format!("token {token}, {piece:?}, behind {given:?}")
            })?;
        }
    }
    // A text is let through in the tokens that the vocabulary makes of it.
    let schema = json!({
        "type": "object", "properties": { "größe": { "type": "string" }, "n": { "type": "array", "items": { "type": "number" } } },
    });
    let text = "{\"größe\": \"12 \\\"cm\\\" 🐶 und नमस्ते\",\n  \"n\": [1, -2.5e3, 0.25]}";
    // Some vocabularies put a blank in front of a text.
    let frame = "start: \" \"? @json\n".to_owned();
    let grammar = Grammar::framed(frame, vec![("json".into(), Language::JsonSchema(schema))]);
    let mut matcher = grammars.constraint(&grammar, None)?.start();
    for token in tokenizer.encode(text, Encode::default())? {
        let piece = String::from_utf8_lossy(tokenizer.piece(token));
        must(matcher.mask()?.allows(token), || format!("{piece:?} may not come"))?;
        matcher.push(token)?;
    }
    Ok(())
}
