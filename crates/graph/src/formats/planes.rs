//! How `repack` writes planes: a row's units side by side, their vectors of 16 bytes apart, and bits where a kernel finds four
//! weights with one shift and one mask.

/// A row's blocks of `BYTES` bytes.
pub(super) fn row_blocks<const BYTES: usize>(row: &[u8]) -> &[[u8; BYTES]] {
    let (blocks, odd_bytes) = row.as_chunks();
    assert!(odd_bytes.is_empty(), "repack: a row of {} bytes is not whole blocks of {BYTES}", row.len());
    blocks
}

/// The parts of a row in the `N` planes of format `name`.
pub(super) fn planes_of<'a, 'b, const N: usize>(
    name: &str,
    planes: &'a mut [&'b mut [u8]],
) -> &'a mut [&'b mut [u8]; N] {
    let given = planes.len();
    planes.try_into().unwrap_or_else(|_| panic!("{name}: repack writes {N} planes, not {given}"))
}

/// A row's part of a plane, as one array of `BYTES` bytes for each of `count` blocks or units.
pub(super) fn plane_row<const BYTES: usize>(plane: &mut [u8], count: usize) -> &mut [[u8; BYTES]] {
    assert!(plane.len() == count * BYTES, "repack: {} bytes of plane for {count} × {BYTES}", plane.len());
    plane.as_chunks_mut().0
}

/// Copies a row that the GPU reads as it is, and pads it with zeros to the plane's end.
pub(super) fn copy_row(row: &[u8], plane: &mut [u8]) {
    let (copied, padding) = plane.split_at_mut(row.len());
    copied.copy_from_slice(row);
    padding.fill(0);
}

/// Writes the words of a header, little-endian.
pub(super) fn put_words(out: &mut [u8], words: &[u32]) {
    for (out, word) in out.as_chunks_mut().0.iter_mut().zip(words) {
        *out = word.to_le_bytes();
    }
}

/// The row's part of a plane of nibbles: 16 bytes for each group of 32 weights, the first groups of all units before the second
/// ones. Padding is zeros.
pub(super) struct Nibbles<'a> {
    vectors: &'a mut [[u8; 16]],
}

impl<'a> Nibbles<'a> {
    /// Of a row of `units` units.
    pub fn new(plane: &'a mut [u8], units: usize) -> Nibbles<'a> {
        let vectors = plane_row(plane, 2 * units);
        vectors.fill([0; 16]);
        Nibbles { vectors }
    }

    /// Writes the row's group `group`: byte j holds the low 4 bits of values j and j + 16.
    pub fn put(&mut self, group: usize, values: &[u8; 32]) {
        let units = self.vectors.len() / 2;
        self.vectors[group % 2 * units + group / 2] = pack_nibbles(values);
    }

    /// Writes the row's group `group` in order: byte j holds the low 4 bits of values 2·j and 2·j + 1.
    pub fn put_in_order(&mut self, group: usize, values: &[u8; 32]) {
        self.put(group, &std::array::from_fn(|i| values[i % 16 * 2 + i / 16]));
    }

    /// As `put`, but with the highest bit of values 16 to 31 flipped: the high half of a byte is then q − 8 in two's complement, and
    /// the byte without its low half 16 · (q − 8) as an int8, which an integer dot product takes as it is, without a shift.
    pub fn put_signed(&mut self, group: usize, values: &[u8; 32]) {
        self.put(group, &std::array::from_fn(|i| if i < 16 { values[i] } else { values[i] ^ 8 }));
    }

    /// Writes 32 values of 5 bits, 0 to 31, and returns the fifth of each for [`pack_bits`]. Of values 0 to 15 the nibble has the
    /// low 4 bits; of values 16 to 31 it has the high ones with the highest flipped: with the lowest below them, a byte is
    /// 8 · (q − 16) as an int8, again without a shift of the nibble.
    pub fn put_five_bits(&mut self, group: usize, q: &[u8; 32]) -> u32 {
        self.put_signed(group, &std::array::from_fn(|i| if i < 16 { q[i] } else { q[i] >> 1 }));
        pack_bits(&std::array::from_fn(|i| if i < 16 { q[i] >> 4 } else { q[i] & 1 }))
    }
}

/// Packs 32 values of 4 bits as Q4_0 does: byte j holds value j in its low half and value j + 16 in its high half.
fn pack_nibbles(values: &[u8; 32]) -> [u8; 16] {
    std::array::from_fn(|j| values[j] & 15 | values[j + 16] << 4)
}

/// Packs the low 2 bits of 16 values: byte i holds those of values i, i + 4, i + 8, i + 12 from its lowest bits up.
pub(super) fn pack_pairs(values: &[u8; 16]) -> u32 {
    (0..16).fold(0, |word, i| word | u32::from(values[i] & 3) << (i % 4 * 8 + i / 4 * 2))
}

/// Packs the 2 bits of a unit's 64 values: byte i of word f holds those of values 4·f + i, 16 + 4·f + i, 32 + 4·f + i and 48 + 4·f + i from its
/// lowest bits up, the highest bit flipped. Masked, that is q, 4 · q, 16 · q and 64 · (q − 2) as an int8 without a shift.
pub(super) fn pack_crossed(values: &[u8; 64]) -> [u8; 16] {
    std::array::from_fn(|at| (0..4).fold(0x80, |byte, g| byte ^ (values[16 * g + at] & 3) << (2 * g)))
}

/// Packs 32 bits: byte i holds those of values i, i + 4, i + 8 and so on from its lowest bit up.
pub(super) fn pack_bits(bits: &[u8; 32]) -> u32 {
    (0..32).fold(0, |word, i| word | u32::from(bits[i] & 1) << (i % 4 * 8 + i / 4))
}
