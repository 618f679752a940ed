// A subgroup built-in as a part of a struct alone: naga's HLSL leaves it without a semantic, which DXC refuses.

struct Invocation {
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_invocation_id) lane: u32,
}

@group(0) @binding(0) var<storage, read_write> values: array<u32>;

@compute @workgroup_size(64)
fn main(at: Invocation) {
    values[at.local] = at.lane;
}
