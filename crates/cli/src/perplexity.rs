//! `wgllm perplexity`: how well a model foretells a text, and how far its distributions are from others.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use wgllm_engine::engine::{Choice, Engine, Options};
use wgllm_engine::gguf::Gguf;
use wgllm_engine::perplexity::{self, BaseReader, BaseWriter, Divergence, Perplexity as Measured};
use wgllm_engine::replace::Replacement;
use wgllm_engine::session::Session;
use wgllm_engine::tokenizer::{Source, Tokenizer};
use wgllm_engine::{Error, Result};

use super::args::{self, Hardware, Text, TokenizerFlag};
use super::model::{self, ModelFlag};
use super::reporter::Reporter;
use super::text::plural;
use super::{Outcome, interrupt};

/// The arguments of `perplexity`.
#[derive(Args)]
pub struct Perplexity {
    #[command(flatten)]
    model: ModelFlag,
    #[command(flatten)]
    tokenizer: TokenizerFlag,
    #[command(flatten)]
    text: Text,
    /// Tokens of a chunk, of which the second half counts
    #[arg(short, long, value_name = "N", default_value_t = 512, value_parser = args::at_least_one)]
    ctx_size: usize,
    /// Chunks at most; -1 is all of the text
    #[arg(long, value_name = "N", default_value_t = -1, value_parser = clap::value_parser!(i64).range(-1..))]
    chunks: i64,
    /// The backend, or two: the second is held to the first, as in cpu,vulkan
    #[arg(short, long, env = "WGLLM_BACKEND", hide_env = true, value_name = "B[,B]", default_value = "auto", value_delimiter = ',', num_args = 1, value_parser = args::backend)]
    backend: Vec<Choice>,
    /// File for the distributions at each position; with --kl-divergence it is read and the model held to it, else it is written
    #[arg(long, value_name = "FILE")]
    kl_divergence_base: Option<PathBuf>,
    /// Hold the model to the distributions of the file that --kl-divergence-base names, on that file's text
    #[arg(long, requires = "kl_divergence_base", conflicts_with_all = ["prompt", "file"])]
    kl_divergence: bool,
    #[command(flatten)]
    hardware: Hardware,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reporter: Reporter,
}

/// A file that is read, with its distributions.
type Base = BaseReader<BufReader<File>>;

/// What distributions are held to, or where they go.
enum Other {
    Nothing,
    Written(BaseWriter<BufWriter<Replacement>>),
    Read(Base),
}

/// What was found.
#[derive(Default)]
struct Found {
    first: Measured,
    second: Option<Measured>,
    divergence: Option<Divergence>,
}

impl Found {
    /// Counts a position of what is held to a base.
    fn hold(&mut self, base: &[f32], row: &[f32], token: u32) {
        self.second.get_or_insert_default().add(row, token);
        self.divergence.get_or_insert_default().add(base, row);
    }
}

impl Perplexity {
    /// Runs the command.
    pub fn run(&self) -> Outcome {
        let (first, second) = match self.backend[..] {
            [first] => (first, None),
            [first, second] => (first, Some(second)),
            _ => return Err(Error::Usage("-b takes one backend, or two to compare".into()).into()),
        };
        if second.is_some() && self.kl_divergence_base.is_some() {
            let what = "-b with two backends compares these; --kl-divergence-base wants one";
            return Err(Error::Usage(what.into()).into());
        }
        let file = self.model.open(&self.reporter)?;
        let read = match &self.kl_divergence_base {
            Some(path) if self.kl_divergence => Some(open(path)?),
            _ => None,
        };
        let chunks = match &read {
            Some(base) => {
                let most = usize::try_from(self.chunks).unwrap_or(usize::MAX).max(1);
                base.chunks[..most.min(base.chunks.len())].to_vec()
            }
            None => self.chunks_of_text(self.tokenizer.open(&file)?.as_ref())?,
        };
        let context = chunks[0].len();
        // Before the model is loaded: a file that cannot be written is found at once.
        let written = match (&self.kl_divergence_base, &read) {
            (Some(path), None) => Some(self.create(path, file.files())?),
            _ => None,
        };
        let options = |backend, file: &Gguf| -> Result<Options> {
            let options = self.hardware.options(backend, file)?;
            Ok(Options { context: Some(context), tokenizer: Source::Nowhere, ..options })
        };
        let load = |backend, file| -> Result<Engine> {
            let options = options(backend, &file)?;
            model::load(file, &options, &self.hardware, &self.reporter)
        };
        let mut engine = load(first, file)?;
        let vocab = engine.model.vocab_size;
        let mut second = second.map(|backend| load(backend, self.model.open(&self.reporter)?)).transpose()?;
        let mut other = match (read, written) {
            (Some(base), _) if base.vocab != vocab => {
                let what = format!("it has {} tokens in its vocabulary, the model {vocab}", base.vocab);
                return Err(Error::Usage(format!("{}: {what}", self.base().display())).into());
            }
            (Some(base), _) => Other::Read(base),
            (_, Some(out)) => {
                let begun = BaseWriter::begin(BufWriter::new(out), vocab, &chunks);
                Other::Written(begun.map_err(|e| self.unwritten(&e))?)
            }
            _ => Other::Nothing,
        };
        let found = self.measure(&mut engine, second.as_mut(), &mut other, &chunks)?;
        if let Other::Written(base) = other {
            let whole = base.finish().into_inner().map_err(io::IntoInnerError::into_error);
            whole.and_then(Replacement::finish).map_err(|e| self.unwritten(&e))?;
            interrupt::unfinished(None);
        }
        let text = match self.json {
            true => format!("{}\n", to_json(&found, chunks.len(), context)),
            false => to_text(&found, chunks.len(), context),
        };
        io::stdout().write_all(text.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }

    fn chunks_of_text(&self, tokenizer: Option<&Tokenizer>) -> Result<Vec<Vec<u32>>> {
        let tokenizer = args::need_tokenizer(tokenizer)?;
        let Some(text) = self.text.read()? else {
            return Err(Error::Usage(
                "nothing to foretell: give a text with -f FILE, -p TEXT or -f -".into(),
            ));
        };
        let ids = args::encode(Some(tokenizer), &text)?;
        let bos = tokenizer.bos().filter(|_| tokenizer.adds_bos());
        perplexity::chunks(&ids, self.ctx_size, usize::try_from(self.chunks).ok(), bos)
    }

    fn base(&self) -> &Path {
        self.kl_divergence_base.as_deref().unwrap_or(Path::new(""))
    }

    fn unwritten(&self, error: &io::Error) -> Error {
        Error::Other(format!("{}: {error}", self.base().display()))
    }

    fn create<'p>(&'p self, path: &Path, read: impl Iterator<Item = &'p Path>) -> Result<Replacement> {
        let same = |input: &Path| {
            input.canonicalize().is_ok_and(|input| path.canonicalize().is_ok_and(|path| path == input))
        };
        if let Some(input) = read.chain(self.text.file.as_deref()).find(|input| same(input)) {
            let what = "it is read for this and would be overwritten; give another file";
            return Err(Error::Usage(format!("--kl-divergence-base is {}: {what}", input.display())));
        }
        let out = Replacement::create(path).map_err(|e| self.unwritten(&e))?;
        interrupt::unfinished(out.unfinished());
        Ok(out)
    }

    fn measure(
        &self,
        engine: &mut Engine,
        second: Option<&mut Engine>,
        other: &mut Other,
        chunks: &[Vec<u32>],
    ) -> Result<Found> {
        let vocab = engine.model.vocab_size;
        let bar = self.reporter.steps_bar("chunks");
        bar.set_length(chunks.len() as u64);
        let mut session = Session::new(engine.backend.as_mut(), engine.plan, vocab);
        let mut held = second.map(|second| Session::new(second.backend.as_mut(), second.plan, vocab));
        let mut found = Found::default();
        let mut base = Vec::new();
        for chunk in chunks {
            interrupt::flag().check()?;
            match other {
                Other::Nothing => {
                    let mut rows = Vec::new();
                    perplexity::evaluate(&mut session, chunk, vocab, &mut |row, token| {
                        found.first.add(row, token);
                        if held.is_some() {
                            rows.push(row.to_vec());
                        }
                        Ok(())
                    })?;
                    if let Some(held) = &mut held {
                        let mut rows = rows.iter();
                        perplexity::evaluate(held, chunk, vocab, &mut |row, token| {
                            found.hold(rows.next().map_or(&[], Vec::as_slice), row, token);
                            Ok(())
                        })?;
                    }
                }
                Other::Written(out) => {
                    perplexity::evaluate(&mut session, chunk, vocab, &mut |row, token| {
                        found.first.add(row, token);
                        out.add(row).map_err(|e| self.unwritten(&e))
                    })?
                }
                Other::Read(reader) => {
                    perplexity::evaluate(&mut session, chunk, vocab, &mut |row, token| {
                        reader.next(&mut base)?;
                        found.first.add(&base, token);
                        found.hold(&base, row, token);
                        Ok(())
                    })?
                }
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(found)
    }
}

fn open(path: &Path) -> Result<Base> {
    let file = File::open(path).map_err(|e| Error::Other(format!("{}: {e}", path.display())))?;
    BaseReader::begin(BufReader::new(file), &path.display().to_string())
}

/// `14.0294 ± 0.8123`, or the value alone where one value says nothing about the error.
fn with_error(value: f64, error: Option<f64>) -> String {
    match error {
        Some(error) => format!("{value:.4} ± {error:.4}"),
        None => format!("{value:.4}"),
    }
}

fn to_text(found: &Found, chunks: usize, context: usize) -> String {
    let of = |measured: &Measured| with_error(measured.value(), measured.error());
    let over = format!(
        "over {} in {} of {context}",
        plural(found.first.0.count(), "token"),
        plural(chunks, "chunk")
    );
    let (Some(second), Some(divergence)) = (&found.second, &found.divergence) else {
        return format!("perplexity {} {over}\n", of(&found.first));
    };
    format!(
        "perplexity {}, of the base {}, {over}\nKL divergence: mean {:.6} ± {:.6}, largest {:.6}\nthe same top token at {:.1} % of positions ({} of {})\n",
        of(second),
        of(&found.first),
        divergence.mean.value(),
        divergence.mean.error().unwrap_or(0.0),
        divergence.largest,
        divergence.share_of_same_top() * 100.0,
        divergence.same_top,
        divergence.mean.count(),
    )
}

fn to_json(found: &Found, chunks: usize, context: usize) -> Value {
    let of = |measured: &Measured| json!({ "value": measured.value(), "error": measured.error() });
    let divergence = |d: &Divergence| json!({ "mean": d.mean.value(), "error": d.mean.error(), "largest": d.largest, "same_top": d.share_of_same_top() });
    json!({
        "chunks": chunks,
        "context": context,
        "tokens": found.first.0.count(),
        "perplexity": of(found.second.as_ref().unwrap_or(&found.first)),
        "base_perplexity": found.second.as_ref().map(|_| of(&found.first)),
        "kl_divergence": found.divergence.as_ref().map(divergence),
    })
}
