//! q8_0: int8 with a scale in f16 for each 32 numbers, rounded as ggml's `quantize_row_q8_0_ref` does. An element is four int8; behind
//! those of a head two scales are one element, and where the number of blocks is odd half of the last one is empty.

use half::f16;

use super::KvFormat;
use super::f16::clamped;

pub(super) static Q8_0: KvFormat = KvFormat {
    name: "q8_0",
    block: 32,
    numbers: 4,
    element: 4,
    scales,
    store,
    load,
    // The largest of 32 is √32 times their root mean square at most, and 127 steps long.
    step: 0.0446,
};

fn scales(head_dim: usize) -> usize {
    head_dim.div_ceil(64)
}

fn store(head: &[f32], bytes: &mut [u8]) {
    assert_eq!(bytes.len(), Q8_0.bytes(head.len()), "q8_0: bytes of {} numbers", head.len());
    let (quants, scales) = bytes.split_at_mut(head.len());
    scales.fill(0);
    let scales = scales.as_chunks_mut::<2>().0;
    for ((block, quants), scale) in head.chunks(32).zip(quants.chunks_mut(32)).zip(scales) {
        let largest = block.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        let d = largest / 127.0;
        let steps = if d > 0.0 { 1.0 / d } else { 0.0 };
        for (q, &x) in quants.iter_mut().zip(block) {
            *q = (x * steps).round() as i8 as u8;
        }
        *scale = clamped(d).to_le_bytes();
    }
}

fn load(bytes: &[u8], head: &mut [f32]) {
    assert_eq!(bytes.len(), Q8_0.bytes(head.len()), "q8_0: bytes of {} numbers", head.len());
    let (quants, scales) = bytes.split_at(head.len());
    let scales = scales.as_chunks::<2>().0;
    for ((head, quants), &scale) in head.chunks_mut(32).zip(quants.chunks(32)).zip(scales) {
        let d = f16::from_le_bytes(scale).to_f32();
        for (x, &q) in head.iter_mut().zip(quants) {
            *x = d * f32::from(q as i8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::by_id;

    /// ggml's blocks of the same numbers: `d` and 32 int8 each, read by the format of weights.
    #[test]
    fn numbers_are_those_of_ggml_blocks() {
        let format = by_id(8).unwrap();
        let head: Vec<f32> = (0..96).map(|i| ((i * i * 37 + i * 11) % 201) as f32 / 17.0 - 5.9).collect();
        let mut bytes = vec![0xaa; Q8_0.bytes(96)];
        store(&head, &mut bytes);
        let mut blocks = Vec::new();
        for (i, quants) in bytes[..96].chunks(32).enumerate() {
            blocks.extend(&bytes[96 + 2 * i..][..2]);
            blocks.extend(quants);
        }
        let (mut ours, mut ggml) = (vec![0.0; 96], vec![0.0; 96]);
        load(&bytes, &mut ours);
        (format.decode)(&blocks, &mut ggml);
        assert_eq!(ours, ggml);
        assert_eq!(bytes[102..], [0, 0], "what no block has is empty");
    }

    /// One block worked out by hand: the largest of it is 2.54, so that a step is 0.02, in f16 0.019997.
    #[test]
    fn a_block_is_rounded_as_ggml_rounds_it() {
        let mut head = [0.0; 32];
        head[..6].copy_from_slice(&[2.54, -2.54, 0.02, 0.031, -0.029, 1.0]);
        let mut bytes = [0; 36];
        store(&head, &mut bytes);
        let quants = bytes[..7].iter().map(|&q| q as i8).collect::<Vec<_>>();
        assert_eq!(quants, [127, -127, 1, 2, -1, 50, 0]);
        assert_eq!(f16::from_le_bytes([bytes[32], bytes[33]]), f16::from_f32(0.02));
        let mut rounded = [0.0; 32];
        load(&bytes, &mut rounded);
        assert_eq!(rounded[5], 50.0 * f16::from_f32(0.02).to_f32());
    }
}
