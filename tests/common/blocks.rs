//! Random weights in every format: valid blocks with finite scales, about ±0.05 each, the same for the same seed.
//! What tests build tiny models from.

use wgllm::formats::Format;

/// Weights stay about this far from zero.
const SPREAD: f32 = 0.05;

/// The f16 scales of a block: where each is, and what it is divided by, so that the products with the block's random
/// bits come to `SPREAD`. All other bytes of a block may be anything.
const SCALES: &[(&str, &[(usize, f32)])] = &[
    ("Q4_0", &[(0, 8.0)]),
    ("Q5_0", &[(0, 16.0)]),
    ("Q8_0", &[(0, 128.0)]),
    // Quants and minimums meet scales of 4 or 6 bits.
    ("Q2_K", &[(80, 4.0 / 2.0 * 16.0), (82, 16.0)]),
    ("Q3_K", &[(108, 4.0 * 32.0)]),
    ("Q4_K", &[(0, 16.0 / 2.0 * 64.0), (2, 64.0)]),
    ("Q5_K", &[(0, 32.0 / 2.0 * 64.0), (2, 64.0)]),
    ("Q6_K", &[(208, 32.0 * 128.0)]),
    // Values of a grid meet scales of 3 or 4 bits.
    ("IQ1_S", &[(0, 15.0)]),
    ("IQ2_XXS", &[(0, 43.0 / 4.0 * 16.0)]),
    ("IQ2_XS", &[(0, 43.0 / 4.0 * 16.0)]),
    ("IQ2_S", &[(0, 43.0 / 4.0 * 16.0)]),
    ("IQ3_XXS", &[(0, 62.0 / 2.0 * 16.0)]),
    ("IQ3_S", &[(0, 15.0 * 31.0)]),
    ("IQ4_NL", &[(0, 128.0)]),
    ("IQ4_XS", &[(0, 32.0 * 128.0)]),
    ("TQ1_0", &[(52, 1.0)]),
    ("TQ2_0", &[(64, 1.0)]),
];

/// `count` random blocks of `format` (floats for F32, F16 and BF16).
pub fn random_blocks(format: &Format, count: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    match format.name {
        "F32" => (0..count).flat_map(|_| random.normal().to_le_bytes()).collect(),
        "F16" => (0..count).flat_map(|_| half::f16::from_f32(random.normal()).to_le_bytes()).collect(),
        "BF16" => (0..count).flat_map(|_| half::bf16::from_f32(random.normal()).to_le_bytes()).collect(),
        // A scale in quarters, in the highest bits of four u16.
        "IQ1_M" => others(format, count, &mut random, |block, random| {
            let d = random.scale(15.0).to_bits();
            for (i, byte) in [49, 51, 53, 55].into_iter().enumerate() {
                block[byte] = block[byte] & 15 | ((d >> (4 * i)) as u8) << 4;
            }
        }),
        // A minimum that makes weights about zero on the average, as those of models are.
        "Q4_1" => others(format, count, &mut random, |block, random| with_minimum(block, random, 15.0)),
        "Q5_1" => others(format, count, &mut random, |block, random| with_minimum(block, random, 31.0)),
        // A power of two, or floats of 8 bits, for values up to 12.
        "MXFP4" => {
            others(format, count, &mut random, |block, random| block[0] = 120 + (random.bits() % 3) as u8)
        }
        "NVFP4" => others(format, count, &mut random, |block, random| {
            block[..4].fill_with(|| 1 + (random.bits() % 16) as u8);
        }),
        name => {
            let scales = SCALES.iter().find(|row| row.0 == name).map(|row| row.1);
            let scales = scales.unwrap_or_else(|| panic!("{name}: add its scales to SCALES in {}", file!()));
            others(format, count, &mut random, |block, random| {
                for &(at, divisor) in scales {
                    block[at..at + 2].copy_from_slice(&random.scale(divisor).to_le_bytes());
                }
            })
        }
    }
}

/// A scale for quants up to `most`, and behind it the minimum.
fn with_minimum(block: &mut [u8], random: &mut Random, most: f32) {
    let d = random.scale(most / 2.0);
    let minimum =
        half::f16::from_f32(-d.to_f32() * most / 2.0 * (0.8 + 0.4 * (random.bits() % 256) as f32 / 256.0));
    block[..2].copy_from_slice(&d.to_le_bytes());
    block[2..4].copy_from_slice(&minimum.to_le_bytes());
}

/// Blocks of random bits, of which `scales` writes the scales.
fn others(
    format: &Format,
    count: usize,
    random: &mut Random,
    scales: impl Fn(&mut [u8], &mut Random),
) -> Vec<u8> {
    let mut blocks: Vec<u8> = (0..count * format.bytes).map(|_| random.bits() as u8).collect();
    for block in blocks.chunks_exact_mut(format.bytes) {
        scales(block, random);
    }
    blocks
}

/// A stream of random numbers: splitmix64, Steele, Lea and Flood 2014.
pub struct Random(pub u64);

impl Random {
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number from 0 to 1, without 1.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// A scale for products that come to `divisor` times it.
    fn scale(&mut self, divisor: f32) -> half::f16 {
        half::f16::from_f32(SPREAD * (0.5 + self.unit()) / divisor)
    }

    /// A number near a normal distribution of deviation `SPREAD`: the sum of 12 uniform ones has deviation 1.
    fn normal(&mut self) -> f32 {
        SPREAD * ((0..12).map(|_| self.unit()).sum::<f32>() - 6.0)
    }
}
