// What eight lanes have, for all lanes, on adapters with subgroups: the copy of eight_plain.wgsl.

struct Eight {
    v0: vec4<f32>,
    v1: vec4<f32>,
    v2: vec4<f32>,
    v3: vec4<f32>,
    v4: vec4<f32>,
    v5: vec4<f32>,
    v6: vec4<f32>,
    v7: vec4<f32>,
}

// The values of the first eight lanes of a subgroup, which has as many at least. All invocations of the workgroup call it together.
fn of_eight(value: vec4<f32>, at: Invocation) -> Eight {
    return Eight(
        subgroupBroadcast(value, 0u), subgroupBroadcast(value, 1u), subgroupBroadcast(value, 2u), subgroupBroadcast(value, 3u),
        subgroupBroadcast(value, 4u), subgroupBroadcast(value, 5u), subgroupBroadcast(value, 6u), subgroupBroadcast(value, 7u),
    );
}
