// Where an invocation stands, on adapters with subgroups: a subgroup is one, whatever its size.
//
// The kernel declares WORKGROUP and `fn run(group: vec3<u32>, at: Invocation)`; the entry point is here, because its arguments differ.

struct Invocation {
    local: u32,
    lane: u32,
    lanes: u32,
    subgroup: u32,
    subgroups: u32,
}

// Built-ins are arguments of their own, not parts of a struct: there naga's HLSL has no word for those of subgroups.
@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_invocation_id) lane: u32,
    @builtin(subgroup_size) lanes: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
) {
    run(group, Invocation(local, lane, lanes, subgroup, subgroups));
}

fn lane_of(at: Invocation) -> u32 { return at.lane; }
// Where all subgroups of an adapter have one size, loops are unrolled with it.
override SUBGROUP_SIZE: u32 = 0u;

fn lanes_of(at: Invocation) -> u32 { return select(SUBGROUP_SIZE, at.lanes, SUBGROUP_SIZE == 0u); }
fn subgroup_of(at: Invocation) -> u32 { return at.subgroup; }
fn subgroups_of(at: Invocation) -> u32 { return select(WORKGROUP / max(SUBGROUP_SIZE, 1u), at.subgroups, SUBGROUP_SIZE == 0u); }

// The sum over a subgroup, for all of its lanes. All invocations of the workgroup call it together.
fn subgroup_sum(value: f32, at: Invocation) -> f32 {
    return subgroupAdd(value);
}

fn subgroup_sum2(value: vec2<f32>, at: Invocation) -> vec2<f32> {
    return subgroupAdd(value);
}

fn subgroup_sum4(value: vec4<f32>, at: Invocation) -> vec4<f32> {
    return subgroupAdd(value);
}

// The largest over a subgroup, for all of its lanes. All invocations of the workgroup call it together.
fn subgroup_max(value: f32, at: Invocation) -> f32 {
    return subgroupMax(value);
}

fn subgroup_max4(value: vec4<f32>, at: Invocation) -> vec4<f32> {
    return subgroupMax(value);
}

// The value of the lane whose number differs by `step`, a power of two. All invocations of the workgroup call it together.
fn from_lane(value: vec4<f32>, step: u32, at: Invocation) -> vec4<f32> {
    return subgroupShuffleXor(value, step);
}
