// Sums over a workgroup, from sums over its teams.

import package::lib::invocation::Invocation;

var<workgroup> workgroup_sums: array<vec2<f32>, WORKGROUP>;

// The sum over the workgroup, for all of its invocations, which call it together.
fn workgroup_sum(value: vec2<f32>, at: Invocation) -> vec2<f32> {
    let sum = team_sum(value, at);
    if (lane_of(at) == 0u) {
        workgroup_sums[team_of(at)] = sum;
    }
    workgroupBarrier();
    var total = vec2<f32>();
    for (var team = 0u; team < teams_of(at); team++) {
        total += workgroup_sums[team];
    }
    workgroupBarrier();
    return total;
}
