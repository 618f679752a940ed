//! Weights on the device: matrices repacked into planes and split by rows where they exceed a binding, vectors as f32.

use std::collections::HashMap;

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::formats::Format;
use crate::gguf::Gguf;
use crate::gpu::device::Device;
use crate::gpu::memory::upload::{PIECE, Uploader};
use crate::gpu::plan::groups;
use crate::graph::{Graph, Kind, Node, Weight};
use crate::ops::WeightRows;

/// How weights are laid out: which are stored together, and in how many parts. Plain data: decided before anything is uploaded.
#[derive(Debug, Default)]
pub struct Layout {
    /// Every matrix.
    pub matrices: Vec<Matrix>,
    /// Where a weight node's rows are: which matrix, from which row.
    pub place: HashMap<Node, (usize, usize)>,
}

/// Weights of one format and width whose rows follow each other.
#[derive(Debug)]
pub struct Matrix {
    /// The weight nodes, in order.
    pub nodes: Vec<Node>,
    /// How they are stored.
    pub format: &'static Format,
    /// Weights in a row.
    pub cols: usize,
    /// Rows of all nodes.
    pub rows: usize,
    /// Rows of a part; the last may have fewer.
    pub part_rows: usize,
}

impl Matrix {
    /// The rows of part `part`.
    pub fn part(&self, part: usize) -> std::ops::Range<usize> {
        part * self.part_rows..((part + 1) * self.part_rows).min(self.rows)
    }

    /// The number of parts.
    pub fn parts(&self) -> usize {
        self.rows.div_ceil(self.part_rows)
    }
}

impl Layout {
    /// A matrix for every bundle and for every other weight that `matrices` names; a binding holds `binding` bytes.
    /// Fails where an expert does not fit into one: no part cuts an expert.
    pub fn new(graph: &Graph, matrices: &[Node], bundles: &[Vec<Node>], binding: u64) -> Result<Layout> {
        let mut layout = Layout::default();
        for bundle in bundles {
            layout.push(graph, bundle.clone(), binding)?;
        }
        for &node in matrices {
            if !layout.place.contains_key(&node) {
                layout.push(graph, vec![node], binding)?;
            }
        }
        Ok(layout)
    }

    fn push(&mut self, graph: &Graph, nodes: Vec<Node>, binding: u64) -> Result<()> {
        let weights: Vec<&Weight> = nodes.iter().map(|&n| weight(graph, n)).collect();
        let (format, cols) = (weights[0].format, weights[0].cols);
        let mut rows = 0;
        for (&node, w) in nodes.iter().zip(&weights) {
            self.place.insert(node, (self.matrices.len(), rows));
            rows += w.all_rows();
        }
        let mut part_rows = rows_that_fit(format, cols, binding).min(rows.max(1));
        if weights[0].experts > 1 {
            let (tensor, of_one) = (&weights[0].tensor, weights[0].rows);
            part_rows = part_rows / of_one * of_one;
            if part_rows == 0 {
                let what = format!("an expert of {tensor} has {of_one} rows of {cols} weights");
                return Err(Error::OutOfMemory(format!(
                    "{what}, more than the {binding} bytes of a binding"
                )));
            }
        }
        self.matrices.push(Matrix { nodes, format, cols, rows, part_rows });
        Ok(())
    }
}

/// How many rows of `cols` weights every plane of a binding of `binding` bytes holds: a multiple of 8, or too few to matter.
pub fn rows_that_fit(format: &Format, cols: usize, binding: u64) -> usize {
    let widest = format.planes.iter().map(|p| format.plane_row_bytes(p, cols)).max().unwrap_or(1).max(1);
    let rows = (binding as usize / widest).max(1);
    if rows >= 8 { rows / 8 * 8 } else { rows }
}

/// The weight behind a node.
pub fn weight(graph: &Graph, node: Node) -> &Weight {
    match &graph.entry(node).kind {
        Kind::Weight(w) => w,
        _ => panic!("{} is no weight", graph.entry(node).label),
    }
}

/// Weights on a device.
pub struct Weights {
    /// For each matrix, for each part, its planes, and its format's grid where there is one.
    pub planes: Vec<Vec<Vec<wgpu::Buffer>>>,
    /// Vectors as f32, padded with zeros to a multiple of 8.
    pub vectors: HashMap<Node, wgpu::Buffer>,
    /// Biases of linears that are computed together, one behind the other, by the first linear.
    pub biases: HashMap<Node, wgpu::Buffer>,
    /// Bytes on the device.
    pub bytes: u64,
    /// The grids that are on the device, by their format's name.
    grids: HashMap<&'static str, wgpu::Buffer>,
}

impl Weights {
    /// Uploads everything; `progress` sees bytes done and bytes in all.
    pub async fn upload(
        device: &Device,
        file: &Gguf,
        graph: &Graph,
        layout: &Layout,
        vectors: &[Node],
        biases: &[Vec<Node>],
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Weights> {
        let total = layout
            .matrices
            .iter()
            .flat_map(|m| &m.nodes)
            .map(|&n| weight(graph, n).bytes().len() as u64)
            .sum();
        let mut weights = Weights {
            planes: Vec::new(),
            vectors: HashMap::new(),
            biases: HashMap::new(),
            bytes: 0,
            grids: HashMap::new(),
        };
        let mut uploader = Uploader::new(device);
        let mut done = 0;
        for matrix in &layout.matrices {
            let mut parts = Vec::new();
            for part in 0..matrix.parts() {
                let rows = matrix.part(part);
                let mut planes = weights.new_planes(device, graph, matrix, rows.len())?;
                upload_rows(&mut uploader, file, graph, matrix, rows, &planes, &mut |bytes| {
                    done += bytes;
                    progress(done, total);
                })
                .await?;
                planes.extend(weights.grid(device, &mut uploader, matrix.format).await?);
                parts.push(planes);
            }
            weights.planes.push(parts);
        }
        for &node in vectors {
            if weights.vectors.contains_key(&node) {
                continue;
            }
            let w = weight(graph, node);
            let mut numbers = WeightRows::of(file, w).vector();
            numbers.resize(w.cols.next_multiple_of(8), 0.0);
            let buffer = storage(device, &w.tensor, numbers.len() as u64 * 4)?;
            uploader.write(&buffer, 0, bytemuck::cast_slice(&numbers)).await?;
            weights.bytes += buffer.size();
            weights.vectors.insert(node, buffer);
        }
        for linears in biases {
            let numbers: Vec<f32> = linears.iter().flat_map(|&l| bias(file, graph, l)).collect();
            let buffer = storage(device, "biases", numbers.len() as u64 * 4)?;
            uploader.write(&buffer, 0, bytemuck::cast_slice(&numbers)).await?;
            weights.bytes += buffer.size();
            weights.biases.insert(linears[0], buffer);
        }
        uploader.finish().await?;
        Ok(weights)
    }

    /// The buffer of what a format looks up, if it has that: one for all of its tensors.
    async fn grid(
        &mut self,
        device: &Device,
        uploader: &mut Uploader<'_>,
        format: &Format,
    ) -> Result<Option<wgpu::Buffer>> {
        let Some(grid) = format.grid else { return Ok(None) };
        if let Some(buffer) = self.grids.get(format.name) {
            return Ok(Some(buffer.clone()));
        }
        let buffer = storage(device, format.name, grid().len() as u64)?;
        uploader.write(&buffer, 0, grid()).await?;
        self.bytes += buffer.size();
        self.grids.insert(format.name, buffer.clone());
        Ok(Some(buffer))
    }

    fn new_planes(
        &mut self,
        device: &Device,
        graph: &Graph,
        matrix: &Matrix,
        rows: usize,
    ) -> Result<Vec<wgpu::Buffer>> {
        let label = &weight(graph, matrix.nodes[0]).tensor;
        let mut planes = Vec::new();
        for plane in matrix.format.planes {
            let bytes = (rows * matrix.format.plane_row_bytes(plane, matrix.cols)) as u64;
            let buffer = storage(device, label, bytes)?;
            self.bytes += buffer.size();
            planes.push(buffer);
        }
        Ok(planes)
    }
}

/// The bias of a linear; zeros where it has none.
fn bias(file: &Gguf, graph: &Graph, linear: Node) -> Vec<f32> {
    match groups::bias(graph, linear) {
        Some(bias) => WeightRows::of(file, weight(graph, bias)).vector(),
        None => vec![0.0; weight(graph, groups::inputs(graph, linear)[1]).all_rows()],
    }
}

fn storage(device: &Device, label: &str, bytes: u64) -> Result<wgpu::Buffer> {
    device.buffer(label, bytes, wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST)
}

/// Repacks and uploads the rows of a part, piece by piece, so that never more than a piece is held.
async fn upload_rows(
    uploader: &mut Uploader<'_>,
    file: &Gguf,
    graph: &Graph,
    matrix: &Matrix,
    rows: std::ops::Range<usize>,
    planes: &[wgpu::Buffer],
    progress: &mut dyn FnMut(u64),
) -> Result<()> {
    let (format, cols) = (matrix.format, matrix.cols);
    let widths: Vec<usize> = format.planes.iter().map(|p| format.plane_row_bytes(p, cols)).collect();
    // Whole eights of rows, so that every piece but the last ends on a whole u32 in every plane.
    let piece = (PIECE / widths.iter().max().copied().unwrap_or(1).max(1)).max(8) / 8 * 8;
    let row_bytes = format.row_bytes(cols);
    let mut start = rows.start;
    while start < rows.end {
        let end = (start + piece).min(rows.end);
        let mut out: Vec<Vec<u8>> =
            widths.iter().map(|w| vec![0; (w * (end - start)).next_multiple_of(4)]).collect();
        let mut slices: Vec<Vec<&mut [u8]>> =
            (start..end).map(|_| Vec::with_capacity(widths.len())).collect();
        for (plane, &width) in out.iter_mut().zip(&widths) {
            for (row, slice) in slices.iter_mut().zip(plane.chunks_exact_mut(width)) {
                row.push(slice);
            }
        }
        let sources = sources(file, graph, matrix);
        slices.par_iter_mut().enumerate().for_each(|(i, planes)| {
            (format.repack)(row_of(&sources, start + i, row_bytes), cols, planes);
        });
        for ((buffer, &width), data) in planes.iter().zip(&widths).zip(&out) {
            uploader.write(buffer, ((start - rows.start) * width) as u64, data).await?;
        }
        progress(((end - start) * row_bytes) as u64);
        start = end;
    }
    Ok(())
}

/// The bytes of each of a matrix's nodes.
fn sources<'a>(file: &'a Gguf, graph: &Graph, matrix: &Matrix) -> Vec<&'a [u8]> {
    matrix.nodes.iter().map(|&n| WeightRows::of(file, weight(graph, n)).blocks).collect()
}

fn row_of<'a>(sources: &[&'a [u8]], mut row: usize, row_bytes: usize) -> &'a [u8] {
    for source in sources {
        let rows = source.len() / row_bytes;
        if row < rows {
            return &source[row * row_bytes..][..row_bytes];
        }
        row -= rows;
    }
    panic!("row {row} is past the end of the matrix")
}
