//! A file of distributions, to which those of other files and backends are held.
//!
//! All numbers are little-endian. 8 bytes `wgllmkld` · version 1 (u32) · tokens of the vocabulary (u32) · tokens of a chunk (u32) · chunks (u32) ·
//! the tokens of all chunks (u32 each). Then, for each position that counts, in order: the largest log-probability (f32), the size of a
//! step (f32), and for each token of the vocabulary (u16) how many steps its log-probability is below the largest. A step is the distance to the least
//! likely token, but 24 at most, divided by 65535; what is further away is written as that far. So log-probabilities are right
//! within 0.0002, and tokens of less than 4e-11 of the likeliest count as that.

use std::io::{self, Read, Write};

use crate::error::{Error, Result};

const MAGIC: &[u8; 8] = b"wgllmkld";
const VERSION: u32 = 1;
/// Nats below the likeliest token behind which nothing matters.
const DEEPEST: f32 = 24.0;
/// Vocabularies and chunks beyond this are none.
const MOST: u32 = 1 << 24;

/// Writes such a file.
pub struct BaseWriter<W> {
    out: W,
    row: Vec<u8>,
}

impl<W: Write> BaseWriter<W> {
    /// Writes what is in front of the distributions. All chunks are equally long.
    pub fn begin(mut out: W, vocab: usize, chunks: &[Vec<u32>]) -> io::Result<BaseWriter<W>> {
        let context = chunks.first().map_or(0, Vec::len);
        out.write_all(MAGIC)?;
        for number in [VERSION, vocab as u32, context as u32, chunks.len() as u32] {
            out.write_all(&number.to_le_bytes())?;
        }
        for token in chunks.iter().flatten() {
            out.write_all(&token.to_le_bytes())?;
        }
        Ok(BaseWriter { out, row: Vec::new() })
    }

    /// Writes the log-probabilities at the next position that counts.
    pub fn add(&mut self, log_probabilities: &[f32]) -> io::Result<()> {
        let largest = log_probabilities.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let least = log_probabilities.iter().copied().fold(f32::INFINITY, f32::min);
        let step = (largest - least).min(DEEPEST) / f32::from(u16::MAX);
        let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
        self.row.clear();
        self.row.extend(largest.to_le_bytes());
        self.row.extend(step.to_le_bytes());
        for p in log_probabilities {
            // What is further away than the deepest saturates.
            self.row.extend((((largest - p) * inverse).round() as u16).to_le_bytes());
        }
        self.out.write_all(&self.row)
    }

    /// Hands back what was written to.
    pub fn finish(self) -> W {
        self.out
    }
}

/// Reads such a file.
pub struct BaseReader<R> {
    input: R,
    name: String,
    /// Tokens of the vocabulary.
    pub vocab: usize,
    /// The chunks whose distributions follow.
    pub chunks: Vec<Vec<u32>>,
    bytes: Vec<u8>,
}

impl<R: Read> BaseReader<R> {
    /// Reads what is in front of the distributions of a file that messages call `name`.
    ///
    /// # Errors
    /// Where it is another kind of file, or ends too early.
    pub fn begin(mut input: R, name: &str) -> Result<BaseReader<R>> {
        let wrong = |what: &str| Error::Usage(format!("{name} {what}"));
        let mut magic = [0; 8];
        input.read_exact(&mut magic).map_err(|e| short(name, &e))?;
        if magic != *MAGIC {
            return Err(wrong("holds no distributions of `perplexity --kl-divergence-base`"));
        }
        let [version, vocab, context, count] = [(); 4].map(|()| number(&mut input));
        let version = version.map_err(|e| short(name, &e))?;
        if version != VERSION {
            return Err(wrong(&format!("is of version {version}, expected {VERSION}")));
        }
        let known = |number: io::Result<u32>| {
            let number = number.map_err(|e| short(name, &e))?;
            if (1..MOST).contains(&number) {
                Ok(number as usize)
            } else {
                Err(wrong("is damaged in its first numbers"))
            }
        };
        let (vocab, context, count) = (known(vocab)?, known(context)?, known(count)?);
        let mut chunks = Vec::new();
        for _ in 0..count {
            let mut chunk = Vec::new();
            for _ in 0..context {
                let token = number(&mut input).map_err(|e| short(name, &e))?;
                if token as usize >= vocab {
                    return Err(wrong(&format!("names token {token} of a vocabulary of {vocab}")));
                }
                chunk.push(token);
            }
            chunks.push(chunk);
        }
        Ok(BaseReader { input, name: name.into(), vocab, chunks, bytes: Vec::new() })
    }

    /// Reads the log-probabilities at the next position that counts.
    ///
    /// # Errors
    /// Where the file ends, and where it is damaged.
    pub fn next(&mut self, log_probabilities: &mut Vec<f32>) -> Result<()> {
        self.bytes.resize(8 + 2 * self.vocab, 0);
        self.input.read_exact(&mut self.bytes).map_err(|e| short(&self.name, &e))?;
        let (head, steps) = self.bytes.split_at(8);
        let [largest, step] =
            [0, 4].map(|at| f32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]));
        if !(largest.is_finite() && step.is_finite() && step >= 0.0) {
            return Err(Error::Usage(format!(
                "{} is damaged: a position's largest probability is none",
                self.name
            )));
        }
        log_probabilities.clear();
        let steps = steps.as_chunks().0.iter();
        log_probabilities.extend(steps.map(|&count| largest - f32::from(u16::from_le_bytes(count)) * step));
        Ok(())
    }
}

fn number(input: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    input.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

fn short(name: &str, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::Usage(format!(
            "{name} ends before all of its distributions: it was not written to its end"
        )),
        _ => Error::Other(format!("{name}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::perplexity::{Divergence, log_softmax};

    #[test]
    fn what_is_written_is_read_and_what_is_cut_or_changed_is_refused() {
        let rows = [[3.0f32, -2.0, 0.5, -90.0], [1.0, 1.0, 1.0, 1.0]].map(|row| log_softmax(&row));
        let mut writer = BaseWriter::begin(Vec::new(), 4, &[vec![0, 1, 2, 3, 0]]).unwrap();
        rows.iter().for_each(|row| writer.add(row).unwrap());
        let file = writer.finish();
        let mut reader = BaseReader::begin(&file[..], "x").unwrap();
        assert_eq!((reader.vocab, &reader.chunks), (4, &vec![vec![0, 1, 2, 3, 0]]));
        let mut found = Vec::new();
        for row in &rows {
            reader.next(&mut found).unwrap();
            for (found, row) in found.iter().zip(row) {
                assert!((found - row.max(row.max(-24.2))).abs() < 2e-4 || *row < -24.0, "{found} for {row}");
            }
            let mut divergence = Divergence::default();
            divergence.add(&found, row);
            assert!(divergence.mean.value().abs() < 1e-4 && divergence.same_top == 1);
        }
        assert!(reader.next(&mut found).unwrap_err().to_string().contains("not written to its end"));
        for length in [0, 7, 20, 30] {
            assert!(BaseReader::begin(&file[..length], "x").is_err(), "{length} bytes were taken");
        }
        for (at, what) in [(0, "no distributions"), (8, "version"), (15, "damaged"), (24, "names token")] {
            let mut changed = file.clone();
            changed[at] ^= 0x40;
            let error = BaseReader::begin(&changed[..], "x").map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }
}
