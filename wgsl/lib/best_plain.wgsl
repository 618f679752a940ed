// The best candidate of a workgroup, as a tree in workgroup memory: for adapters without subgroups.
//
// `package::lib::best` is this file or best_subgroup.wgsl. A candidate is (key, token). Every invocation calls, once, in uniform
// control flow, and gets the same result. The kernel declares WORKGROUP, a power of two.

import package::lib::order::better_of;

var<workgroup> best_of_all: array<vec2<u32>, WORKGROUP>;

fn workgroup_best(value: vec2<u32>, lane: u32) -> vec2<u32> {
    best_of_all[lane] = value;
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half { best_of_all[lane] = better_of(best_of_all[lane], best_of_all[lane + half]); }
    }
    workgroupBarrier();
    return best_of_all[0];
}
