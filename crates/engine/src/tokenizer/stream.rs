//! Turns tokens into text one at a time, and never lets half a character out.

use super::Tokenizer;

/// Decodes the continuation of a text: unlike [`Tokenizer::decode`] it keeps a leading space.
#[derive(Debug)]
pub struct Stream<'t> {
    tokenizer: &'t Tokenizer,
    /// The beginning of a character that is not complete yet: at most three bytes.
    pending: Vec<u8>,
}

impl<'t> Stream<'t> {
    pub(super) fn new(tokenizer: &'t Tokenizer) -> Stream<'t> {
        Stream { tokenizer, pending: Vec::new() }
    }

    /// The characters that this token completes. Bytes that can be part of no character become U+FFFD.
    pub fn push(&mut self, id: u32) -> String {
        self.pending.extend_from_slice(self.tokenizer.piece(id));
        let complete = self.pending.len() - unfinished(&self.pending);
        let text = String::from_utf8_lossy(&self.pending[..complete]).into_owned();
        self.pending.drain(..complete);
        text
    }

    /// What is left of a character that was never completed: nothing or U+FFFD.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }
}

/// How many bytes at the end begin a character that more bytes could complete.
fn unfinished(bytes: &[u8]) -> usize {
    let last = bytes.utf8_chunks().last().map_or(&[][..], |chunk| chunk.invalid());
    match std::str::from_utf8(last) {
        Err(error) if error.error_len().is_none() => last.len(),
        _ => 0,
    }
}
