//! What layers with a state are written with: convolutions, gated norms, and weights of a few numbers for each head.

use crate::error::Result;
use crate::graph::Node;
use crate::models::page::Block;
use crate::ops::{Activation, GatedNorm, ShortConv};

impl Block<'_> {
    /// The convolution `name` of [`ShortConv::taps`] positions, with a bias where the file has one.
    pub fn short_conv(&mut self, name: &str, x: Node, conv: ShortConv) -> Result<Node> {
        let channels = conv.channels(self.g.shape(x).cols);
        let weight = self.stacked(&format!("{name}.weight"), channels, conv.taps)?;
        let bias = match self.holds(&format!("{name}.bias")) {
            true => Some(self.vector(&format!("{name}.bias"), channels)?),
            false => None,
        };
        let y = self.g.short_conv(x, weight, bias, conv);
        Ok(self.name(y, name))
    }

    /// The convolution `ssm_conv1d` with SiLU behind it.
    pub fn ssm_conv(&mut self, x: Node, taps: usize) -> Result<Node> {
        self.short_conv("ssm_conv1d", x, ShortConv { taps, act: Some(Activation::Silu), gated: false })
    }

    /// The norm `ssm_norm` of groups, gated by `z`; its weight is one for all groups or, where the gate comes first, one for each.
    pub fn ssm_norm(&mut self, x: Node, z: Node, norm: GatedNorm) -> Result<Node> {
        let each = self.g.shape(x).cols / norm.groups;
        let weight = match norm.gate_first {
            true => self.stacked("ssm_norm.weight", norm.groups, each)?,
            false => self.vector("ssm_norm.weight", each)?,
        };
        let y = self.g.gated_norm(x, z, weight, norm);
        Ok(self.name(y, "ssm_norm"))
    }

    /// A tensor of rows as one row of all.
    pub fn stacked(&mut self, name: &str, rows: usize, len: usize) -> Result<Node> {
        self.w.stacked_vectors(self.g, &format!("{}{name}", self.at), rows, len)
    }
}
