// A uniform total in one vector with a sum that is not: Tint takes both for not uniform, and refuses the barrier behind.

@group(0) @binding(0) var<storage, read_write> values: array<u32>;

var<workgroup> sums: array<u32, 64>;

fn scan(lane: u32) -> vec2<u32> {
    sums[lane] = values[lane];
    let total = workgroupUniformLoad(&sums[63]);
    return vec2<u32>(sums[lane], total);
}

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
    let found = scan(lane);
    if found.y > 0u {
        workgroupBarrier();
    }
    values[lane] = found.x;
}
