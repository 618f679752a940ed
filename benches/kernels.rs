//! How fast the kernels of decode read: matvecs in GB/s of weights, attention of one row in GB/s of keys and values, beside what the
//! device reads in the same process; and how fast those of prompts multiply: matmuls of 512 rows in TFLOP/s. Blocks of real models with random weights are launches, fused and bound as the engine does it
//! with any model, and measured by its own profile: all layers of a dispatch one after the other, each waiting for the one before.
//!
//! `cargo bench --bench kernels -- [FILTER] [--device N|NAME]`; the program runs without cargo, too. FILTER is a part of a row, as in `8b`,
//! `Q4_K` or `"attention 1b"`. Caches are full of zeros: what attention reads is timed, not what it finds.

#[path = "../tests/common/blocks.rs"]
mod blocks;
#[path = "../tests/common/small_graph.rs"]
mod small_graph;
#[path = "../tests/common/weights_file.rs"]
mod weights_file;

use std::process::ExitCode;

use wgllm::backend::{Backend, DispatchGroup, Precision, RuntimeConfig};
use wgllm::gpu::{self, Device, Gpu, Masks};
use wgllm::graph::Node;
use wgllm::ops::{Activation, AttentionShape, Index, Pairing, RopeShape};
use wgllm::{Error, Result};

use small_graph::{SmallGraph, format};

/// Bytes that the dispatches of a group read together at least: several times what a last-level cache holds.
const BYTES: usize = 400 << 20;
/// Layers at least and at most: attention at a small depth would need thousands.
const LAYERS: (usize, usize) = (2, 256);
/// Rows of the cases that are about prompts, and of those about several sequences.
const ROWS: usize = 512;
const FEW: [usize; 3] = [2, 8, 32];

/// How the heads of a model are.
#[derive(Clone, Copy)]
struct Heads {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

/// What is measured of a model.
enum Block {
    /// Norm, queries, keys and values; output projection and residual: `width` = `heads · head_dim`.
    Attention(Heads),
    /// Norm, gate and up; down and residual.
    FeedForward { width: usize, ffn: usize },
    /// The last norm and the output.
    Output { width: usize, vocab: usize },
    /// Attention alone, to `depth` past positions and the row's own.
    Attend(Heads, usize),
}

const OF_1B: Heads = Heads { heads: 32, kv_heads: 8, head_dim: 64 };
const OF_8B: Heads = Heads { heads: 32, kv_heads: 8, head_dim: 128 };

const MATRICES: &[&str] = &["F16", "Q8_0", "Q4_0", "Q4_K", "Q6_K"];
/// Every format of integers, by rising size.
const INTEGERS: &[&str] = &[
    "IQ1_S", "IQ1_M", "IQ2_XXS", "TQ2_0", "IQ2_XS", "IQ2_S", "Q2_K", "IQ3_XXS", "IQ3_S", "Q3_K", "MXFP4",
    "IQ4_XS", "IQ4_NL", "NVFP4", "Q4_0", "Q4_K", "Q4_1", "Q5_0", "Q5_K", "Q5_1", "Q6_K", "Q8_0",
];
/// Of attention: its output projection, which decides what attention writes for it.
const PROJECTION: &[&str] = &["Q8_0"];

/// Every case: the row's name, what is measured, and the formats of its weights.
const CASES: &[(&str, Block, &[&str])] = &[
    ("matvec 1b", Block::Attention(OF_1B), MATRICES),
    ("matvec 1b", Block::FeedForward { width: 2048, ffn: 8192 }, MATRICES),
    ("matvec 8b", Block::Attention(OF_8B), MATRICES),
    ("matvec 8b", Block::FeedForward { width: 4096, ffn: 14336 }, MATRICES),
    ("matvec 8b", Block::Output { width: 4096, vocab: 128_256 }, MATRICES),
    ("formats 8b", Block::FeedForward { width: 4096, ffn: 14336 }, INTEGERS),
    ("few 1b", Block::Attention(OF_1B), MATRICES),
    ("few 1b", Block::FeedForward { width: 2048, ffn: 8192 }, MATRICES),
    ("few 8b", Block::Attention(OF_8B), MATRICES),
    ("few 8b", Block::FeedForward { width: 4096, ffn: 14336 }, MATRICES),
    ("matmul 1b", Block::Attention(OF_1B), MATRICES),
    ("matmul 1b", Block::FeedForward { width: 2048, ffn: 8192 }, MATRICES),
    ("matmul 8b", Block::Attention(OF_8B), MATRICES),
    ("matmul 8b", Block::FeedForward { width: 4096, ffn: 14336 }, MATRICES),
    ("prompt 1b", Block::Attend(OF_1B, 0), PROJECTION),
    ("prompt 8b", Block::Attend(OF_8B, 0), PROJECTION),
    ("prompt 8b", Block::Attend(OF_8B, 7680), PROJECTION),
    ("attention 1b", Block::Attend(OF_1B, 128), PROJECTION),
    ("attention 1b", Block::Attend(OF_1B, 4096), PROJECTION),
    ("attention 1b", Block::Attend(OF_1B, 16_384), PROJECTION),
    ("attention 8b", Block::Attend(OF_8B, 128), PROJECTION),
    ("attention 8b", Block::Attend(OF_8B, 4096), PROJECTION),
    ("attention 8b", Block::Attend(OF_8B, 16_384), PROJECTION),
];

fn main() -> ExitCode {
    match Arguments::read().and_then(|arguments| arguments.map_or(Ok(()), |a| run(&a))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

struct Arguments {
    filter: String,
    device: Option<String>,
}

impl Arguments {
    /// None where nothing is to be measured: `cargo test --all-targets` runs benches as tests, and then has no `--bench` for them.
    fn read() -> Result<Option<Arguments>> {
        let (mut filter, mut device, mut bench) = (String::new(), None, false);
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--test" => return Ok(None),
                "--bench" => bench = true,
                "--device" => device = arguments.next(),
                flag if flag.starts_with('-') => {
                    let what = format!("{flag} is not known; usage: kernels [FILTER] [--device N|NAME]");
                    return Err(Error::Usage(what));
                }
                _ => filter = argument,
            }
        }
        let tested = !bench && std::env::var_os("CARGO_MANIFEST_DIR").is_some();
        Ok((!tested).then_some(Arguments { filter, device }))
    }

    /// The device asked for, or the best one; without hardware, what there is.
    fn device(&self) -> Result<Device> {
        match (&self.device, gpu::best(Masks::default())?) {
            (None, Some(best)) => Ok(best),
            (None, None) => gpu::choose(None, Some("0"), Masks::default()),
            (device, _) => gpu::choose(None, device.as_deref(), Masks::default()),
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let info = arguments.device()?.info;
    println!("{} · {} {}\n", info.name, info.api, info.driver);
    let head = [
        "case",
        "weights",
        "node",
        "kernel",
        "shape",
        "n",
        "µs each",
        "GB/s",
        "of read",
        "read GB/s",
        "TFLOP/s",
    ];
    println!("{}", line(head.map(String::from)));
    println!(
        "|{}",
        WIDTHS.map(|(w, text)| if text { "-".repeat(w + 2) } else { "-".repeat(w + 1) + ":" } + "|").concat()
    );
    for (name, block, formats) in CASES {
        for weights in *formats {
            let case = block.name(name);
            if format!("{case} {weights}").contains(&arguments.filter) {
                let counts: &[usize] = match name.split(' ').next() {
                    Some("matmul" | "prompt") => &[ROWS],
                    Some("few") => &FEW,
                    _ => &[1],
                };
                for &rows in counts {
                    let case = if counts.len() > 1 { format!("{case}, {rows} rows") } else { case.clone() };
                    measure(arguments.device()?, &case, block, weights, rows)?;
                }
            }
        }
    }
    Ok(())
}

/// Measures a case and prints a row for each of its matrices, or one for attention.
fn measure(device: Device, case: &str, block: &Block, weights: &str, rows: usize) -> Result<()> {
    let mut small = SmallGraph::default();
    block.build(&mut small, weights);
    let opened = small.open()?;
    let depth = block.depth();
    let plan = RuntimeConfig::new(depth + rows, 1, rows, Precision::Fast);
    let mut gpu = Gpu::new(device, opened.file, opened.model, plan, false, &mut |_, _| {})?;
    let read = gpu.read_bandwidth().unwrap_or(f64::NAN);
    let groups = gpu.profile(depth as u32, rows)?.groups;
    let wanted: Vec<DispatchGroup> = match block {
        // In spans or not, in whatever number of dispatches: one attention.
        Block::Attend(..) => {
            groups.into_iter().filter(|g| g.node == "attend").reduce(join).into_iter().collect()
        }
        _ => groups.into_iter().filter(|g| g.weight_bytes > 0 && g.kernel != "embed").collect(),
    };
    for g in wanted {
        println!(
            "{}",
            line([
                case.into(),
                g.format.into(),
                g.node.clone(),
                g.kernel.clone(),
                if g.format.is_empty() { String::new() } else { format!("{} × {}", g.shape[0], g.shape[1]) },
                g.count.to_string(),
                format!("{:.1}", g.us / g.count as f64),
                gigabytes(g.rate()),
                format!("{:.0} %", g.rate() / read * 100.0),
                gigabytes(read),
                if rows == 1 { String::new() } else { format!("{:.1}", g.operation_rate() / 1e12) },
            ])
        );
    }
    Ok(())
}

/// GB/s, in three digits at least.
fn gigabytes(bytes: f64) -> String {
    let gb = bytes / 1e9;
    if gb < 100.0 { format!("{gb:.2}") } else { format!("{gb:.0}") }
}

/// Two groups whose dispatches together do one thing.
fn join(a: DispatchGroup, b: DispatchGroup) -> DispatchGroup {
    let kernel = format!("{} + {}", a.kernel, b.kernel);
    DispatchGroup { kernel, us: a.us + b.us, cache_bytes: a.cache_bytes + b.cache_bytes, ..a }
}

/// Widths of the columns, and which are text.
const WIDTHS: [(usize, bool); 11] = [
    (32, true),
    (7, true),
    (13, true),
    (24, true),
    (13, false),
    (3, false),
    (8, false),
    (5, false),
    (7, false),
    (9, false),
    (7, false),
];

fn line(cells: [String; WIDTHS.len()]) -> String {
    let cell = |(cell, (width, text)): (String, (usize, bool))| match text {
        true => format!("{cell:width$}"),
        false => format!("{cell:>width$}"),
    };
    format!("| {} |", cells.into_iter().zip(WIDTHS).map(cell).collect::<Vec<_>>().join(" | "))
}

impl Heads {
    fn width(&self) -> usize {
        self.heads * self.head_dim
    }

    fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    fn shape(&self) -> AttentionShape {
        let Heads { heads, kv_heads, head_dim } = *self;
        AttentionShape::new(heads, kv_heads, head_dim)
    }

    fn rope(&self) -> RopeShape {
        let head_dim = self.head_dim;
        RopeShape::new(head_dim, 5e5, Pairing::Neighbours)
    }
}

impl Block {
    fn name(&self, case: &str) -> String {
        match self {
            Block::Attention(_) => format!("{case} attention"),
            Block::FeedForward { .. } => format!("{case} feed-forward"),
            Block::Output { .. } => format!("{case} output"),
            Block::Attend(_, depth) => format!("{case} d{depth}"),
        }
    }

    /// Positions before the one that is measured.
    fn depth(&self) -> usize {
        if let Block::Attend(_, depth) = self { *depth } else { 0 }
    }

    /// As many layers as read enough, each with matrices of its own.
    fn build(&self, s: &mut SmallGraph, weights: &str) {
        let format = format(weights);
        let layers = |bytes: usize| BYTES.div_ceil(bytes).clamp(LAYERS.0, LAYERS.1);
        match *self {
            Block::Attention(heads) => {
                let width = heads.width();
                let layers = layers(format.row_bytes(width) * width);
                let mut tensor = Stretches::new(s, weights, width, width, 4 * layers);
                let (norm, mut x) = (ones(s, width), input(s, width));
                for block in 0..layers {
                    s.graph.scope(&format!("blk.{block}"));
                    let h = s.graph.rms_norm(x, norm, 1e-5);
                    let [q, k, v] = [width, heads.kv_width(), heads.kv_width()].map(|rows| {
                        let weight = tensor.take(s, rows);
                        s.graph.linear(h, weight, None)
                    });
                    let [q, k] = [q, k].map(|heads_of| s.graph.rope(heads_of, None, heads.rope()));
                    let a = s.graph.attention(q, k, v, heads.shape());
                    let weight = tensor.take(s, width);
                    let o = s.graph.linear(a, weight, None);
                    x = s.graph.add(x, o);
                    s.graph.name(x, "attn_residual");
                }
            }
            Block::FeedForward { width, ffn } => {
                let layers = layers(format.row_bytes(ffn) * width);
                let mut wide = Stretches::new(s, weights, ffn, width, 2 * layers);
                let mut long = Stretches::new(s, weights, width, ffn, layers);
                let (norm, mut x) = (ones(s, width), input(s, width));
                for block in 0..layers {
                    s.graph.scope(&format!("blk.{block}"));
                    let h = s.graph.rms_norm(x, norm, 1e-5);
                    let [gate, up] = [(); 2].map(|()| {
                        let weight = wide.take(s, ffn);
                        s.graph.linear(h, weight, None)
                    });
                    let f = s.graph.gate(Activation::Silu, gate, up);
                    let weight = long.take(s, width);
                    let down = s.graph.linear(f, weight, None);
                    x = s.graph.add(x, down);
                    s.graph.name(x, "ffn_residual");
                }
            }
            Block::Output { width, vocab } => {
                let layers = layers(format.row_bytes(width) * vocab);
                let mut tensor = Stretches::new(s, weights, vocab, width, layers);
                let (norm, x) = (ones(s, width), input(s, width));
                for _ in 0..layers {
                    let asked = s.graph.output_rows(x);
                    let h = s.graph.rms_norm(asked, norm, 1e-5);
                    let weight = tensor.take(s, vocab);
                    let logits = s.graph.linear(h, weight, None);
                    s.graph.name(logits, "output");
                }
            }
            Block::Attend(heads, depth) => {
                let (width, kv_width) = (heads.width(), heads.kv_width());
                let layers = layers(2 * 2 * kv_width * (depth + 1));
                let projection = s.weight(format, width, width);
                let (k, v, mut x) = (input(s, kv_width), input(s, kv_width), input(s, width));
                for block in 0..layers {
                    s.graph.scope(&format!("blk.{block}"));
                    let a = s.graph.attention(x, k, v, heads.shape());
                    let o = s.graph.linear(a, projection, None);
                    x = s.graph.add(x, o);
                    s.graph.name(x, "attn_residual");
                }
            }
        }
    }
}

/// The row that a step's token names, of random numbers.
fn input(s: &mut SmallGraph, width: usize) -> Node {
    let table = s.weight(format("F32"), 4, width);
    s.graph.embed(table, Index::Token)
}

fn ones(s: &mut SmallGraph, width: usize) -> Node {
    s.table(1, width, |_, _, row| row.fill(1.0))
}

/// Weights that overlap in the file, each a row further on, and are matrices of their own on the device: quick to make and to read.
struct Stretches {
    tensor: String,
    weights: &'static wgllm::formats::Format,
    cols: usize,
    taken: usize,
}

impl Stretches {
    /// For `count` weights of up to `rows` rows.
    fn new(s: &mut SmallGraph, weights: &str, rows: usize, cols: usize, count: usize) -> Stretches {
        let weights = format(weights);
        Stretches { tensor: s.repeating_tensor(weights, rows + count, cols), weights, cols, taken: 0 }
    }

    fn take(&mut self, s: &mut SmallGraph, rows: usize) -> Node {
        self.taken += 1;
        s.rows_of(&self.tensor, self.weights, self.taken, rows, self.cols)
    }
}
