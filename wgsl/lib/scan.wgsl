// Sums over the invocations before each one (Hillis and Steele 1986), and behind it the sum over all of them. Two functions: in one
// vector the second would not count as uniform.
//
// Every invocation calls, in uniform control flow, and may call again at once. The kernel declares WORKGROUP.

var<workgroup> scan_sums: array<u32, WORKGROUP>;

fn workgroup_scan_u32(value: u32, lane: u32) -> u32 {
    scan_sums[lane] = value;
    for (var reach = 1u; reach < WORKGROUP; reach *= 2u) {
        workgroupBarrier();
        var before = 0u;
        if lane >= reach { before = scan_sums[lane - reach]; }
        workgroupBarrier();
        scan_sums[lane] += before;
    }
    return scan_sums[lane] - value;
}

// The sum over all, of the last scan.
fn workgroup_scan_all() -> u32 {
    return workgroupUniformLoad(&scan_sums[WORKGROUP - 1u]);
}
