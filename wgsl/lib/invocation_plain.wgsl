// Where an invocation stands, on adapters without subgroups: a subgroup is 32 invocations that sum in workgroup memory.
//
// The kernel declares WORKGROUP and `fn run(group: vec3<u32>, at: Invocation)`; the entry point is here, because its arguments differ.

struct Invocation {
    local: u32,
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    run(group, Invocation(local)); // the group apart: as a part of a struct it would not count as uniform
}

const SUBGROUP_SIZE: u32 = 32u;

var<workgroup> subgroup_sums: array<vec4<f32>, WORKGROUP>;

fn lane_of(at: Invocation) -> u32 { return at.local % SUBGROUP_SIZE; }
fn lanes_of(at: Invocation) -> u32 { return SUBGROUP_SIZE; }
fn subgroup_of(at: Invocation) -> u32 { return at.local / SUBGROUP_SIZE; }
fn subgroups_of(at: Invocation) -> u32 { return WORKGROUP / SUBGROUP_SIZE; }

// The sum over a subgroup, for all of its lanes. All invocations of the workgroup call it together.
fn subgroup_sum4(value: vec4<f32>, at: Invocation) -> vec4<f32> {
    subgroup_sums[at.local] = value;
    workgroupBarrier();
    for (var step = SUBGROUP_SIZE / 2u; step > 0u; step /= 2u) {
        if (at.local % SUBGROUP_SIZE < step) {
            subgroup_sums[at.local] += subgroup_sums[at.local + step];
        }
        workgroupBarrier();
    }
    let sum = subgroup_sums[at.local - at.local % SUBGROUP_SIZE];
    workgroupBarrier();
    return sum;
}

fn subgroup_sum2(value: vec2<f32>, at: Invocation) -> vec2<f32> {
    return subgroup_sum4(vec4<f32>(value, 0.0, 0.0), at).xy;
}

fn subgroup_sum(value: f32, at: Invocation) -> f32 {
    return subgroup_sum4(vec4<f32>(value, 0.0, 0.0, 0.0), at).x;
}

// The largest over a subgroup, for all of its lanes. All invocations of the workgroup call it together.
fn subgroup_max4(value: vec4<f32>, at: Invocation) -> vec4<f32> {
    subgroup_sums[at.local] = value;
    workgroupBarrier();
    for (var step = SUBGROUP_SIZE / 2u; step > 0u; step /= 2u) {
        if (at.local % SUBGROUP_SIZE < step) {
            subgroup_sums[at.local] = max(subgroup_sums[at.local], subgroup_sums[at.local + step]);
        }
        workgroupBarrier();
    }
    let largest = subgroup_sums[at.local - at.local % SUBGROUP_SIZE];
    workgroupBarrier();
    return largest;
}

fn subgroup_max(value: f32, at: Invocation) -> f32 {
    return subgroup_max4(vec4<f32>(value), at).x;
}

// The value of the lane whose number differs by `step`, a power of two. All invocations of the workgroup call it together.
fn from_lane(value: vec4<f32>, step: u32, at: Invocation) -> vec4<f32> {
    subgroup_sums[at.local] = value;
    workgroupBarrier();
    let other = subgroup_sums[at.local ^ step];
    workgroupBarrier();
    return other;
}
