// Sums over the invocations before each one (Hillis and Steele 1986): (the sum before, the sum over all).
//
// Every invocation calls, in uniform control flow, and may call again at once. The kernel declares WORKGROUP.

var<workgroup> scan_sums: array<u32, WORKGROUP>;

fn workgroup_scan_u32(value: u32, lane: u32) -> vec2<u32> {
    scan_sums[lane] = value;
    for (var reach = 1u; reach < WORKGROUP; reach *= 2u) {
        workgroupBarrier();
        var before = 0u;
        if lane >= reach { before = scan_sums[lane - reach]; }
        workgroupBarrier();
        scan_sums[lane] += before;
    }
    let all = workgroupUniformLoad(&scan_sums[WORKGROUP - 1u]);
    return vec2<u32>(scan_sums[lane] - value, all);
}
