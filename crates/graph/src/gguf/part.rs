//! One file: its header, its metadata and its tensor table, checked.

use std::borrow::Cow;
use std::fmt;
use std::fs::{self, File};
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::error::{Error, Result};
use crate::formats::{removed_type, tensor_type};
use crate::gguf::metadata::Metadata;
use crate::gguf::reader::Reader;
use crate::gguf::{Tensor, Value, shown};

const MAGIC: &[u8; 4] = b"GGUF";
/// Alignments above this are refused, as in llama.cpp: no file needs one, and padding to it could be made to wrap.
const MAX_ALIGNMENT: u32 = 1 << 20;
/// What holds where a file says nothing.
const DEFAULT_ALIGNMENT: u64 = 32;
/// Bytes of a tensor's name, as in ggml, which keeps 64 with the zero at the end.
const MAX_NAME: usize = 63;
const MAX_DIMS: u32 = 4;
/// Tensors of a model, all parts together. The largest models have some thousands; the bound keeps the table's memory small.
pub(super) const MAX_TENSORS: usize = 1 << 16;

/// The bytes of a file: a memory map, what the program carries, or what was made of other files.
#[derive(Clone, Debug)]
pub(super) enum Bytes {
    Mapped(Arc<memmap2::Mmap>),
    Static(&'static [u8]),
    Owned(Arc<Vec<u8>>),
    Gathered(Arc<Gathered>),
}

/// Bytes that are made of others when they are first read, and then kept.
pub(super) struct Gathered {
    sources: Vec<(Bytes, Range<usize>)>,
    make: Make,
    made: OnceLock<Vec<u8>>,
}

/// Makes bytes of others.
pub(super) type Make = Box<dyn Fn(&[&[u8]]) -> Vec<u8> + Send + Sync>;

impl Gathered {
    pub(super) fn new(sources: Vec<(Bytes, Range<usize>)>, make: Make) -> Gathered {
        Gathered { sources, make, made: OnceLock::new() }
    }

    /// The bytes, made anew and not kept.
    fn make(&self) -> Vec<u8> {
        let sources: Vec<&[u8]> = self.sources.iter().map(|(bytes, range)| &bytes[range.clone()]).collect();
        (self.make)(&sources)
    }
}

impl fmt::Debug for Gathered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gathered").field("sources", &self.sources.len()).finish_non_exhaustive()
    }
}

impl Bytes {
    /// Maps a file, which is called `kind` where it is none.
    pub(super) fn map(path: &Path, kind: &str) -> Result<Bytes> {
        let error = |what: String| Error::Model(what).in_file(path);
        let unread = |e: std::io::Error| error(format!("cannot be read: {e}"));
        // Asked before the file is opened, since opening a pipe waits for a writer.
        let about = fs::metadata(path).map_err(unread)?;
        if !about.is_file() {
            let what = if about.is_dir() { "a folder" } else { "a device or a pipe" };
            return Err(error(format!("is {what}, expected {kind}")));
        }
        if about.len() == 0 {
            return Err(error(format!("is empty, expected {kind}")));
        }
        let file = File::open(path).map_err(unread)?;
        // SAFETY: the map is only read. If another process shortens the file meanwhile, reading past its end ends this
        // process with SIGBUS; nothing short of copying whole models into memory avoids that.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(unread)?;
        Ok(Bytes::Mapped(Arc::new(map)))
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Static(bytes) => bytes,
            Bytes::Owned(bytes) => bytes,
            Bytes::Gathered(gathered) => gathered.made.get_or_init(|| gathered.make()),
        }
    }
}

/// One file of a model.
pub(super) struct Part {
    path: PathBuf,
    bytes: Bytes,
    version: u32,
    alignment: u64,
    metadata: Metadata,
    tensors: Vec<Tensor>,
}

impl Part {
    pub(super) fn open(path: &Path) -> Result<Part> {
        let bytes = Bytes::map(path, "a GGUF file")?;
        Part::read(path, bytes).map_err(|what| Error::Model(what).in_file(path))
    }

    pub(super) fn from_static(name: &str, bytes: &'static [u8]) -> Result<Part> {
        let path = Path::new(name);
        Part::read(path, Bytes::Static(bytes)).map_err(|what| Error::Model(what).in_file(path))
    }

    /// A file whose keys and tensors are known from elsewhere.
    pub(super) fn of(path: &Path, bytes: Bytes, metadata: Metadata) -> Part {
        Part {
            path: path.into(),
            bytes,
            version: 3,
            alignment: DEFAULT_ALIGNMENT,
            metadata,
            tensors: Vec::new(),
        }
    }

    fn read(path: &Path, bytes: Bytes) -> Result<Part, String> {
        let all = bytes.clone();
        let mut reader = Reader::new(&all);
        let (version, tensors, keys) = header(&mut reader)?;
        let metadata = Metadata::read(bytes.clone(), &mut reader, keys)?;
        let alignment = alignment(&metadata)?;
        let tensors = tensor_table(&mut reader, tensors, alignment, all.len() as u64)?;
        Ok(Part { path: path.into(), bytes, version, alignment, metadata, tensors })
    }

    /// What is wrong with this file.
    pub(super) fn error(&self, what: String) -> Error {
        self.about(Error::Model(what))
    }

    /// The same error, with this file's name in front.
    pub(super) fn about(&self, error: Error) -> Error {
        error.in_file(&self.path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn is_mapped(&self) -> bool {
        matches!(self.bytes, Bytes::Mapped(_))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same; what is made of other files is not kept.
    pub(super) fn bytes_once(&self) -> Cow<'_, [u8]> {
        match &self.bytes {
            Bytes::Gathered(gathered) => match gathered.made.get() {
                Some(made) => Cow::Borrowed(made),
                None => Cow::Owned(gathered.make()),
            },
            bytes => Cow::Borrowed(bytes),
        }
    }

    /// How many bytes there are, without those that are made of other files.
    pub(super) fn file_bytes(&self) -> u64 {
        match &self.bytes {
            Bytes::Gathered(_) => 0,
            bytes => bytes.len() as u64,
        }
    }

    pub(super) fn version(&self) -> u32 {
        self.version
    }

    pub(super) fn alignment(&self) -> u64 {
        self.alignment
    }

    pub(super) fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    pub(super) fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The tensors, their offsets counted from the beginning of the file.
    pub(super) fn take_tensors(&mut self) -> Vec<Tensor> {
        std::mem::take(&mut self.tensors)
    }
}

/// Version, number of tensors, number of keys.
fn header(reader: &mut Reader<'_>) -> Result<(u32, u64, u64), String> {
    let magic = reader.take(4).map_err(|_| "is no GGUF file: it is shorter than 4 bytes".to_string())?;
    if magic != MAGIC {
        if let Some(what) = mistaken(reader.all()) {
            return Err(format!("is no GGUF file: {what}"));
        }
        let found = String::from_utf8_lossy(magic);
        return Err(format!("is no GGUF file: it begins with {found:?}, expected \"GGUF\""));
    }
    let short = |e: String| format!("the header {e}");
    let version = reader.u32().map_err(short)?;
    if version != 0 && version & 0xffff == 0 {
        return Err(format!(
            "version {version:#x} has the wrong endianness: big-endian files are not read here"
        ));
    }
    if !(2..=3).contains(&version) {
        return Err(format!("GGUF version {version} is not known; known are 2 and 3"));
    }
    let tensors = reader.u64().map_err(short)?;
    let keys = reader.u64().map_err(short)?;
    for (what, count) in [("tensors", tensors), ("keys", keys)] {
        if count > i64::MAX as u64 {
            return Err(format!("the header promises {} {what}", count as i64));
        }
    }
    Ok((version, tensors, keys))
}

/// What is often found in place of a model, and what to do then.
fn mistaken(bytes: &[u8]) -> Option<&'static str> {
    let start = bytes[..bytes.len().min(64)].trim_ascii_start().to_ascii_lowercase();
    const KNOWN: &[(&[u8], &str)] = &[
        (
            b"version https://git-lfs",
            "it is a pointer of Git LFS, which stands for the model; fetch the model itself with `git lfs pull`",
        ),
        (b"<!doctype", "it is a web page; download the file itself"),
        (b"<html", "it is a web page; download the file itself"),
    ];
    KNOWN.iter().find(|(beginning, _)| start.starts_with(beginning)).map(|&(_, what)| what)
}

fn alignment(metadata: &Metadata) -> Result<u64, String> {
    match metadata.get("general.alignment") {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(Value::U32(n)) if n.is_power_of_two() && n <= MAX_ALIGNMENT => Ok(n as u64),
        Some(Value::U32(n)) => {
            Err(format!("key general.alignment is {n}, expected a power of two up to {MAX_ALIGNMENT}"))
        }
        Some(other) => Err(format!("key general.alignment is {}, expected u32", other.type_name())),
    }
}

/// Reads and checks the tensor table. Data begin at the first aligned byte behind it, and follow each other in the
/// table's order.
fn tensor_table(
    reader: &mut Reader<'_>,
    count: u64,
    alignment: u64,
    size: u64,
) -> Result<Vec<Tensor>, String> {
    // A tensor takes 25 bytes at least: its name's length and a byte of it, the number of dimensions, type and offset.
    let room = (reader.left() / 25).min(MAX_TENSORS as u64);
    if count > room {
        return Err(format!("the header promises {count} tensors, there is room for {room} at most"));
    }
    let mut tensors: Vec<Tensor> = Vec::new();
    let mut expected = 0u64;
    for number in 0..count {
        let name = tensor_name(reader).map_err(|e| {
            let last = tensors.last().map_or("the keys".into(), |t| shown(&t.name));
            format!("tensor {number}, after {last}, {e}")
        })?;
        let (tensor, padded) =
            tensor(reader, name, alignment).map_err(|e| format!("tensor {} {e}", shown(name)))?;
        if tensor.offset != expected {
            let (name, found) = (shown(name), tensor.offset);
            return Err(format!(
                "tensor {name} begins at {found} of the data, expected {expected}, behind the one before"
            ));
        }
        expected =
            expected.checked_add(padded).ok_or_else(|| format!("tensor {} ends past 2^64", shown(name)))?;
        tensors.push(tensor);
    }
    let start = (reader.position() as u64).next_multiple_of(alignment);
    for tensor in &mut tensors {
        let end = start.checked_add(tensor.offset).and_then(|at| at.checked_add(tensor.bytes));
        match end {
            // Tensors without elements may stand where the file has already ended.
            _ if tensor.bytes == 0 => tensor.offset = 0,
            Some(end) if end <= size => tensor.offset += start,
            _ => {
                let (name, bytes, at) =
                    (shown(&tensor.name), tensor.bytes, start.saturating_add(tensor.offset));
                return Err(format!(
                    "tensor {name} has {bytes} bytes from byte {at}, past the file's end at {size}"
                ));
            }
        }
    }
    Ok(tensors)
}

fn tensor_name<'a>(reader: &mut Reader<'a>) -> Result<&'a str, String> {
    let name = reader.string()?;
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(format!("has a name of {} bytes, expected 1 to {MAX_NAME}", name.len()));
    }
    std::str::from_utf8(name).map_err(|_| "has a name that is not UTF-8".into())
}

/// One tensor, its offset counted from the beginning of the data, and its size with padding.
fn tensor(reader: &mut Reader<'_>, name: &str, alignment: u64) -> Result<(Tensor, u64), String> {
    let n_dims = reader.u32()?;
    if n_dims > MAX_DIMS {
        return Err(format!("has {n_dims} dimensions, expected {MAX_DIMS} at most"));
    }
    let dims = (0..n_dims).map(|_| reader.u64()).collect::<Result<Vec<u64>, String>>()?;
    let elements = dims.iter().try_fold(1i64, |product, &d| product.checked_mul(i64::try_from(d).ok()?));
    let Some(elements) = elements else {
        return Err(format!("has shape {dims:?}, more than 2^63 weights"));
    };
    let id = reader.u32()?;
    let offset = reader.u64()?;
    let Some(kind) = tensor_type(id) else {
        return Err(match removed_type(id) {
            Some((was, now)) => {
                format!("has type {id} ({was}), which was removed from ggml: convert the model to {now}")
            }
            None => format!("has type {id}, which is not known"),
        });
    };
    let row = dims.first().copied().unwrap_or(1);
    if !row.is_multiple_of(kind.weights as u64) {
        return Err(format!(
            "has rows of {row}, not a multiple of the {} weights of a block of {}",
            kind.weights, kind.name
        ));
    }
    let bytes = (elements as u64 / kind.weights as u64).checked_mul(kind.bytes as u64);
    let padded = bytes.and_then(|b| b.checked_next_multiple_of(alignment));
    let (Some(bytes), Some(padded)) = (bytes, padded) else {
        return Err(format!("has shape {dims:?}, more than 2^64 bytes of {}", kind.name));
    };
    if !offset.is_multiple_of(alignment) {
        return Err(format!("begins at {offset}, not a multiple of the alignment {alignment}"));
    }
    Ok((Tensor { name: name.to_string(), dims, kind, bytes, part: 0, offset }, padded))
}
