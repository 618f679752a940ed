// Sums and maxima over a workgroup, as a tree in workgroup memory: for adapters without subgroups.
//
// `package::lib::reduce` is this file or reduce_subgroup.wgsl. Every invocation calls, in uniform control flow, and gets the same
// result; the barrier at the end lets it call again at once. The kernel declares WORKGROUP, a power of two.

var<workgroup> reduce_f32: array<f32, WORKGROUP>;
var<workgroup> reduce_u32: array<u32, WORKGROUP>;

fn workgroup_sum_f32(value: f32, lane: u32) -> f32 {
    reduce_f32[lane] = value;
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half { reduce_f32[lane] += reduce_f32[lane + half]; }
    }
    return workgroupUniformLoad(&reduce_f32[0]); // a barrier before and one after
}

fn workgroup_sum_u32(value: u32, lane: u32) -> u32 {
    reduce_u32[lane] = value;
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half { reduce_u32[lane] += reduce_u32[lane + half]; }
    }
    return workgroupUniformLoad(&reduce_u32[0]);
}

fn workgroup_max_u32(value: u32, lane: u32) -> u32 {
    reduce_u32[lane] = value;
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half { reduce_u32[lane] = max(reduce_u32[lane], reduce_u32[lane + half]); }
    }
    return workgroupUniformLoad(&reduce_u32[0]);
}
