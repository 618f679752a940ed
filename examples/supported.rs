//! Prints README's tables of what runs: architectures, formats of weights, tokenizers, checkpoints. `cargo run --example supported`

use wgllm::formats::FORMATS;
use wgllm::models::{ARCHITECTURES, checkpoint_types};
use wgllm::tokenizer::Tokenizer;

/// The tables as Markdown.
pub fn tables() -> String {
    let rows = ARCHITECTURES.iter().map(|a| format!("| `{}` | {} |\n", a.name, a.models));
    let mut text = String::from("| Architecture | Models |\n| --- | --- |\n");
    text.extend(rows);
    let weights: Vec<String> = FORMATS
        .iter()
        .map(|format| match format.name {
            "Q6_K" => "Q6_K (so Q4_K_M and its like)".into(),
            name => name.into(),
        })
        .collect();
    let pres = Tokenizer::known_pres().count();
    let tokenizers = format!(
        "`llama` (SentencePiece), `gpt2` with {pres} names of `tokenizer.ggml.pre`, `gemma4`; a `tokenizer.json`"
    );
    let checkpoints: Vec<String> = checkpoint_types().map(|name| format!("`{name}`")).collect();
    text + "\n| Weights | Tokenizers |\n| --- | --- |\n"
        + &format!("| {} | {tokenizers} |\n", weights.join(", "))
        + "\n| Safetensors, by `model_type` of config.json |\n| --- |\n"
        + &format!("| {} |\n", checkpoints.join(", "))
}

#[allow(dead_code)] // Tests take the tables alone.
fn main() {
    print!("{}", tables());
}
