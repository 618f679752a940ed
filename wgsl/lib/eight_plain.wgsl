// What eight lanes have, for all lanes, by workgroup memory: for adapters without subgroups, whose workgroups are one subgroup here.

import package::lib::eight_values::Eight;

var<workgroup> eight_held: array<vec4<f32>, 8>;

// The values of the first eight lanes of a subgroup, which has as many at least. All invocations of the workgroup call it together.
fn of_eight(value: vec4<f32>, at: Invocation) -> Eight {
    if (at.local < 8u) {
        eight_held[at.local] = value;
    }
    workgroupBarrier();
    let all = Eight(
        eight_held[0], eight_held[1], eight_held[2], eight_held[3], eight_held[4], eight_held[5], eight_held[6], eight_held[7],
    );
    workgroupBarrier();
    return all;
}
