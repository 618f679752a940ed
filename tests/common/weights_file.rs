//! A GGUF file of tensors and nothing else, in a temporary file: what a graph built by a test takes its weights from.

use std::io::Write;

use wgllm::Result;
use wgllm::formats::Format;
use wgllm::gguf::Gguf;

/// Tensors begin at multiples of this, GGUF's default.
const ALIGNMENT: usize = 32;

/// A tensor to write.
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// How it is stored.
    pub format: &'static Format,
    /// Its dimensions, the length of a row first.
    pub dims: [usize; 2],
    /// Its blocks.
    pub blocks: Vec<u8>,
}

/// Writes the tensors and opens them again. The file lives as long as the map that is returned, where the system allows it.
pub fn open(tensors: &[Tensor]) -> Result<(Gguf, tempfile::TempPath)> {
    let mut header = Vec::from(*b"GGUF");
    header.extend(3u32.to_le_bytes());
    header.extend((tensors.len() as u64).to_le_bytes());
    header.extend(0u64.to_le_bytes()); // no metadata
    let mut data = Vec::new();
    for tensor in tensors {
        header.extend((tensor.name.len() as u64).to_le_bytes());
        header.extend(tensor.name.as_bytes());
        header.extend(2u32.to_le_bytes());
        header.extend(tensor.dims.iter().flat_map(|&d| (d as u64).to_le_bytes()));
        header.extend(tensor.format.id.to_le_bytes());
        header.extend((data.len() as u64).to_le_bytes());
        data.extend(&tensor.blocks);
        data.resize(data.len().next_multiple_of(ALIGNMENT), 0);
    }
    header.resize(header.len().next_multiple_of(ALIGNMENT), 0);
    let unwritten = |e: std::io::Error| wgllm::Error::Other(format!("a temporary file: {e}"));
    let mut file = tempfile::NamedTempFile::with_suffix(".gguf").map_err(unwritten)?;
    file.write_all(&header).and_then(|()| file.write_all(&data)).map_err(unwritten)?;
    let path = file.into_temp_path();
    Ok((Gguf::open(&path)?, path))
}
