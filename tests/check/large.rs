//! A few rows of matrices that are planned as large ones, which have tiles of their own.

use libtest_mimic::Trial;
use wgllm::backend::Precision;
use wgllm::engine::Options;
use wgllm::gguf::Gguf;
use wgllm::gpu::Masks;

use crate::adapters::{HARDWARE, Target};
use crate::tiny_model::Llama;
use crate::{agrees, run};

/// One of each class: in blocks with several scales, of a byte each, of fewer bits.
const FORMATS: [&str; 3] = ["Q4_K", "Q8_0", "Q4_0"];
/// Rows of a step: around the edges of tiles.
const ROWS: [u32; 8] = [2, 3, 4, 6, 7, 8, 12, 13];

pub fn trials(target: &Target) -> Vec<Trial> {
    let of = |format: &'static str| {
        let options = Options { masks: Masks { large: true, ..HARDWARE }, ..target.options(Precision::Fast) };
        Trial::test(format!("llama {format}, a few rows of large matrices on {}", target.label), move || {
            let model = Llama { format, head_dim: 64, ffn: 512, layers: 1, ..Llama::default() };
            let bytes: &[u8] = model.file().leak();
            ROWS.iter().try_for_each(|rows| {
                let report = run(Gguf::from_static("tiny", bytes)?, &options, 160, *rows)?;
                agrees(&report).map_err(|e| format!("{rows} rows: {}", e.message().unwrap_or("")).into())
            })
        })
    };
    FORMATS.map(of).into()
}
