// Where an invocation stands, on adapters without subgroups: a team is 32 invocations that sum in workgroup memory.

struct Invocation {
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
}

const TEAM: u32 = 32u;

var<workgroup> team_sums: array<vec4<f32>, WORKGROUP>;

fn lane_of(at: Invocation) -> u32 { return at.local % TEAM; }
fn lanes_of(at: Invocation) -> u32 { return TEAM; }
fn team_of(at: Invocation) -> u32 { return at.local / TEAM; }
fn teams_of(at: Invocation) -> u32 { return WORKGROUP / TEAM; }

// The sum over a team, for all of its lanes. All invocations of the workgroup call it together.
fn team_sum4(value: vec4<f32>, at: Invocation) -> vec4<f32> {
    team_sums[at.local] = value;
    workgroupBarrier();
    for (var step = TEAM / 2u; step > 0u; step /= 2u) {
        if (at.local % TEAM < step) {
            team_sums[at.local] += team_sums[at.local + step];
        }
        workgroupBarrier();
    }
    let sum = team_sums[at.local - at.local % TEAM];
    workgroupBarrier();
    return sum;
}

fn team_sum2(value: vec2<f32>, at: Invocation) -> vec2<f32> {
    return team_sum4(vec4<f32>(value, 0.0, 0.0), at).xy;
}

fn team_sum(value: f32, at: Invocation) -> f32 {
    return team_sum4(vec4<f32>(value, 0.0, 0.0, 0.0), at).x;
}

// The largest over a team, for all of its lanes. All invocations of the workgroup call it together.
fn team_max4(value: vec4<f32>, at: Invocation) -> vec4<f32> {
    team_sums[at.local] = value;
    workgroupBarrier();
    for (var step = TEAM / 2u; step > 0u; step /= 2u) {
        if (at.local % TEAM < step) {
            team_sums[at.local] = max(team_sums[at.local], team_sums[at.local + step]);
        }
        workgroupBarrier();
    }
    let largest = team_sums[at.local - at.local % TEAM];
    workgroupBarrier();
    return largest;
}

fn team_max(value: f32, at: Invocation) -> f32 {
    return team_max4(vec4<f32>(value), at).x;
}
