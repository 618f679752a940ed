// Where an invocation stands, on adapters with subgroups: a team is a subgroup, whatever its size.

struct Invocation {
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_invocation_id) lane: u32,
    @builtin(subgroup_size) lanes: u32,
    @builtin(subgroup_id) team: u32,
    @builtin(num_subgroups) teams: u32,
}

fn lane_of(at: Invocation) -> u32 { return at.lane; }
// Where all subgroups of an adapter have one size, loops are unrolled with it.
override TEAM: u32 = 0u;

fn lanes_of(at: Invocation) -> u32 { return select(TEAM, at.lanes, TEAM == 0u); }
fn team_of(at: Invocation) -> u32 { return at.team; }
fn teams_of(at: Invocation) -> u32 { return select(WORKGROUP / max(TEAM, 1u), at.teams, TEAM == 0u); }

// The sum over a team, for all of its lanes. All invocations of the workgroup call it together.
fn team_sum(value: f32, at: Invocation) -> f32 {
    return subgroupAdd(value);
}

fn team_sum2(value: vec2<f32>, at: Invocation) -> vec2<f32> {
    return subgroupAdd(value);
}

fn team_sum4(value: vec4<f32>, at: Invocation) -> vec4<f32> {
    return subgroupAdd(value);
}

// The largest over a team, for all of its lanes. All invocations of the workgroup call it together.
fn team_max(value: f32, at: Invocation) -> f32 {
    return subgroupMax(value);
}

fn team_max4(value: vec4<f32>, at: Invocation) -> vec4<f32> {
    return subgroupMax(value);
}
