// The best candidate of a workgroup, by subgroups: the copy of best_plain.wgsl.
//
// As in reduce_subgroup.wgsl neither the size of a subgroup nor which invocations form one matters.

import package::lib::order::better_of;

var<workgroup> best_of_team: array<vec2<u32>, WORKGROUP>;

fn subgroup_best(value: vec2<u32>) -> vec2<u32> {
    let most = subgroupMax(value.x);
    return vec2<u32>(most, subgroupMin(select(NO_CANDIDATE.y, value.y, value.x == most)));
}

fn workgroup_best(value: vec2<u32>, lane: u32) -> vec2<u32> {
    let part = subgroup_best(value);
    best_of_team[lane] = select(NO_CANDIDATE, part, lane == subgroupBroadcastFirst(lane));
    workgroupBarrier();
    var best = NO_CANDIDATE;
    let step = subgroupAdd(1u);
    for (var i = subgroupExclusiveAdd(1u); i < WORKGROUP; i += step) { best = better_of(best, best_of_team[i]); }
    return subgroup_best(best);
}
