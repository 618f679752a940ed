//! A tiny model whose tokens are bytes, and control tokens of the test's choice: it can say anything, and says it at random.
#![allow(dead_code)] // Each test binary uses its own share of this.

use crate::gguf_file::{GgufFile, Meta};
use crate::tiny_model::Llama;

/// The token that ends its answers: behind the bytes.
pub const END: u32 = 256;

/// The file. Control tokens follow [`END`].
pub fn file(controls: &[&str], context: usize) -> GgufFile {
    let mut hidden = '\u{100}'..;
    let visible = |byte: u8| byte.is_ascii_graphic() || (byte > 0xA0 && byte != 0xAD);
    let mut letter = |byte| if visible(byte) { Some(char::from(byte)) } else { hidden.next() };
    let mut texts: Vec<String> = (0..=255).filter_map(|byte| letter(byte).map(String::from)).collect();
    texts.push("<|end_of_text|>".into());
    texts.extend(controls.iter().map(|&text| text.to_owned()));
    let kinds = (0..texts.len()).map(|id| Meta::I32(if id < 256 { 1 } else { 3 })).collect();
    let mut file = Llama { vocab: texts.len(), context, ..Llama::default() }.file();
    let text = |text: &str| Meta::Str(text.as_bytes().to_vec());
    file.set("tokenizer.ggml.model", "gpt2");
    file.set("tokenizer.ggml.pre", "gpt-2");
    file.set("tokenizer.ggml.eos_token_id", END);
    for (key, kind, values) in [
        ("tokens", 8, texts.iter().map(|t| text(t)).collect()),
        ("token_type", 5, kinds),
        ("merges", 8, Vec::new()),
    ] {
        file.metadata.push((format!("tokenizer.ggml.{key}").into_bytes(), Meta::Array(kind, values)));
    }
    file
}
