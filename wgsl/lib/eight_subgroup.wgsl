// What eight lanes have, for all lanes, on adapters with subgroups: the copy of eight_plain.wgsl.

import package::lib::eight_values::Eight;

// The values of the first eight lanes of a subgroup, which has as many at least. All invocations of the workgroup call it together.
fn of_eight(value: vec4<f32>, at: Invocation) -> Eight {
    return Eight(
        subgroupBroadcast(value, 0u), subgroupBroadcast(value, 1u), subgroupBroadcast(value, 2u), subgroupBroadcast(value, 3u),
        subgroupBroadcast(value, 4u), subgroupBroadcast(value, 5u), subgroupBroadcast(value, 6u), subgroupBroadcast(value, 7u),
    );
}
