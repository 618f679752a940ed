//! f32: numbers as they are. An element is four of them.

use super::KvFormat;

pub(super) static F32: KvFormat =
    KvFormat { name: "f32", block: 4, numbers: 4, element: 16, scales: |_| 0, store, load, step: 0.0 };

fn store(head: &[f32], bytes: &mut [u8]) {
    bytes.copy_from_slice(bytemuck::cast_slice(head));
}

fn load(bytes: &[u8], head: &mut [f32]) {
    bytemuck::cast_slice_mut(head).copy_from_slice(bytes);
}
