// A barrier in a loop whose length comes from a function that returns early: uniform for WGSL, not for FXC.

@group(0) @binding(0) var<storage, read> counts: array<u32>;
@group(0) @binding(1) var<storage, read_write> values: array<u32>;

var<workgroup> sums: array<u32, 64>;

fn turns() -> u32 {
    if counts[0] == 0u { return 1u; }
    return counts[1];
}

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
    var left = turns();
    while left > 0u {
        left -= 1u;
        sums[lane] += values[64u * left + lane];
        workgroupBarrier();
    }
    values[lane] = sums[63u - lane];
}
