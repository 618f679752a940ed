//! f16: IEEE 754 half precision. An element is four of them. Beyond their range the largest one is kept: an infinity would poison every
//! later token.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::KvFormat;

pub(super) static F16: KvFormat = KvFormat {
    name: "f16",
    block: 4,
    numbers: 4,
    element: 8,
    scales: |_| 0,
    store,
    load,
    // Neighbours are 2⁻¹⁰ of a number apart at most, and a number is twice the root mean square of its four at most.
    step: 2.0 / 1024.0,
};

fn store(head: &[f32], bytes: &mut [u8]) {
    let (halves, odd) = bytes.as_chunks_mut::<2>();
    assert!(
        odd.is_empty() && halves.len() == head.len(),
        "f16: {} halves for {} numbers",
        halves.len(),
        head.len()
    );
    for (half, &x) in halves.iter_mut().zip(head) {
        *half = clamped(x).to_le_bytes();
    }
}

fn load(bytes: &[u8], head: &mut [f32]) {
    if let Ok(halves) = bytemuck::try_cast_slice::<u8, f16>(bytes) {
        halves.convert_to_f32_slice(head);
        return;
    }
    for (x, &half) in head.iter_mut().zip(bytes.as_chunks::<2>().0) {
        *x = f16::from_le_bytes(half).to_f32();
    }
}

/// The nearest f16 that is finite.
pub(super) fn clamped(x: f32) -> f16 {
    f16::from_f32(x.clamp(-f16::MAX.to_f32(), f16::MAX.to_f32()))
}
