//! `wgllm logits`: the logits of every position of a prompt, for comparison with other programs.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use wgllm_engine::engine::Options;
use wgllm_engine::gguf::Gguf;
use wgllm_engine::replace::Replacement;
use wgllm_engine::session::Session;
use wgllm_engine::tokenizer::Source;
use wgllm_engine::{Error, Result};

use super::args::{BackendFlag, Hardware, Prompt};
use super::model::{self, ModelFlag};
use super::reporter::Reporter;
use super::{Outcome, interrupt};

/// The arguments of `logits`.
#[derive(Args)]
pub struct Logits {
    #[command(flatten)]
    model: ModelFlag,
    #[command(flatten)]
    prompt: Prompt,
    /// The file to write: float32, `[positions][vocabulary]`, in NumPy's format
    #[arg(short, long, value_name = "X.npy")]
    out: PathBuf,
    #[command(flatten)]
    backend: BackendFlag,
    #[command(flatten)]
    hardware: Hardware,
    #[command(flatten)]
    reporter: Reporter,
}

impl Logits {
    /// Runs the command.
    pub fn run(&self) -> Outcome {
        let file = self.model.open(&self.reporter)?;
        self.check_out(&file)?;
        let Some(ids) = self.prompt.ids(&file)? else {
            return Err(Error::Usage("give a prompt with --ids, -p or -f".into()).into());
        };
        let options = self.hardware.options(self.backend.backend, &file)?;
        let options = Options { context: Some(ids.len()), tokenizer: Source::Nowhere, ..options };
        let failed = |e: io::Error| Error::Other(format!("{}: {e}", self.out.display()));
        // Before the model is loaded: a folder that cannot be written is found at once.
        let out = Replacement::create(&self.out).map_err(failed)?;
        interrupt::unfinished(out.unfinished());
        let mut engine = model::load(file, &options, &self.hardware, &self.reporter)?;
        let vocab = engine.model.vocab_size;
        let mut npy = Npy::begin(out, ids.len(), vocab).map_err(failed)?;
        let mut written = Ok(());
        let mut session = Session::new(engine.backend.as_mut(), engine.plan, vocab);
        session.logits(&ids, &mut |rows| {
            if written.is_ok() {
                written = npy.write(rows);
            }
        })?;
        written.and_then(|()| npy.finish()).map_err(failed)?;
        interrupt::unfinished(None);
        self.reporter.say(format_args!("{}: float32 [{}][{vocab}]", self.out.display(), ids.len()));
        Ok(ExitCode::SUCCESS)
    }

    /// Refuses an output that is one of the files which are read.
    fn check_out(&self, file: &Gguf) -> Result<()> {
        let Ok(out) = self.out.canonicalize() else { return Ok(()) };
        let mut inputs = file.files().chain(self.prompt.text.file.as_deref());
        match inputs.find(|input| input.canonicalize().is_ok_and(|input| input == out)) {
            Some(input) => {
                let what = "it is read for this and would be overwritten; give another file";
                Err(Error::Usage(format!("--out {} is {}: {what}", self.out.display(), input.display())))
            }
            None => Ok(()),
        }
    }
}

/// A matrix of float32 in NumPy's format, version 1.0 (numpy.lib.format), written row by row.
struct Npy(BufWriter<Replacement>);

impl Npy {
    fn begin(out: Replacement, rows: usize, cols: usize) -> io::Result<Npy> {
        let mut out = BufWriter::new(out);
        out.write_all(&header(rows, cols))?;
        Ok(Npy(out))
    }

    fn write(&mut self, values: &[f32]) -> io::Result<()> {
        values.iter().try_for_each(|v| self.0.write_all(&v.to_le_bytes()))
    }

    fn finish(self) -> io::Result<()> {
        self.0.into_inner().map_err(io::IntoInnerError::into_error)?.finish()
    }
}

/// 128 bytes: magic, version, length of the rest, a Python literal padded with spaces to a line end.
fn header(rows: usize, cols: usize) -> Vec<u8> {
    let shape = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {cols}), }}");
    let mut header = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    header.extend(format!("{shape:<117}\n").as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::header;

    #[test]
    fn the_header_is_128_bytes_at_any_size() {
        for (rows, cols) in [(1, 1), (7, 2048), (usize::MAX, usize::MAX)] {
            let header = header(rows, cols);
            assert_eq!(header.len(), 128);
            assert_eq!(header[8] as usize | (header[9] as usize) << 8, 118);
            assert_eq!(header.last(), Some(&b'\n'));
        }
    }
}
