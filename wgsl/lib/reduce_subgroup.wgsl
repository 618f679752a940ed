// Sums and maxima over a workgroup, by subgroups: the copy of reduce_plain.wgsl.
//
// A subgroup's first invocation leaves the subgroup's part at its own place and the others leave nothing there, so that neither the
// size of a subgroup nor which invocations form one matters. Then every subgroup adds up the whole array.

var<workgroup> reduce_f32: array<f32, WORKGROUP>;
var<workgroup> reduce_u32: array<u32, WORKGROUP>;
var<workgroup> reduced_f32: f32;
var<workgroup> reduced_u32: u32;

fn workgroup_sum_f32(value: f32, lane: u32) -> f32 {
    let part = subgroupAdd(value);
    reduce_f32[lane] = select(0.0, part, lane == subgroupBroadcastFirst(lane));
    workgroupBarrier();
    var sum = 0.0;
    let step = subgroupAdd(1u);
    for (var i = subgroupExclusiveAdd(1u); i < WORKGROUP; i += step) { sum += reduce_f32[i]; }
    sum = subgroupAdd(sum);
    if lane == 0u { reduced_f32 = sum; }
    return workgroupUniformLoad(&reduced_f32); // a barrier before and one after
}

fn workgroup_sum_u32(value: u32, lane: u32) -> u32 {
    let part = subgroupAdd(value);
    reduce_u32[lane] = select(0u, part, lane == subgroupBroadcastFirst(lane));
    workgroupBarrier();
    var sum = 0u;
    let step = subgroupAdd(1u);
    for (var i = subgroupExclusiveAdd(1u); i < WORKGROUP; i += step) { sum += reduce_u32[i]; }
    sum = subgroupAdd(sum);
    if lane == 0u { reduced_u32 = sum; }
    return workgroupUniformLoad(&reduced_u32);
}

fn workgroup_max_u32(value: u32, lane: u32) -> u32 {
    let part = subgroupMax(value);
    reduce_u32[lane] = select(0u, part, lane == subgroupBroadcastFirst(lane));
    workgroupBarrier();
    var most = 0u;
    let step = subgroupAdd(1u);
    for (var i = subgroupExclusiveAdd(1u); i < WORKGROUP; i += step) { most = max(most, reduce_u32[i]); }
    most = subgroupMax(most);
    if lane == 0u { reduced_u32 = most; }
    return workgroupUniformLoad(&reduced_u32);
}
