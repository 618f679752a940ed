// Which rows go to which expert: a list of them by expert, and tiles of it, none of which has rows of two experts. One workgroup.
//
// y: four words for each tile (expert, its first place in the list, the place behind its last, nothing), as many as there can be, those that are
// left over without rows; then the list, of n-th experts of rows: row · USED + n.

import package::lib::scan::workgroup_scan_u32;

override EXPERTS: u32 = 8u;
override USED: u32 = 2u;
override TILE: u32 = 32u;         // rows of a tile
override ROUTE_STRIDE: u32 = 8u;
override WORKGROUP: u32 = 256u;

override EACH: u32 = (EXPERTS + WORKGROUP - 1u) / WORKGROUP; // experts of an invocation

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> route: array<f32>;           // [rows, ROUTE_STRIDE]
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

var<workgroup> counts: array<atomic<u32>, EXPERTS>;

fn expert_of(i: u32) -> u32 {
    return min(u32(route[i / USED * ROUTE_STRIDE + i % USED]), EXPERTS - 1u);
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) lane: u32) {
    let all = step[0].x * USED;
    for (var e = lane; e < EXPERTS; e += WORKGROUP) {
        atomicStore(&counts[e], 0u);
    }
    workgroupBarrier();
    for (var i = lane; i < all; i += WORKGROUP) {
        atomicAdd(&counts[expert_of(i)], 1u);
    }
    workgroupBarrier();
    var rows = 0u;
    var tiles = 0u;
    for (var e = lane * EACH; e < min((lane + 1u) * EACH, EXPERTS); e++) {
        let count = atomicLoad(&counts[e]);
        rows += count;
        tiles += (count + TILE - 1u) / TILE;
    }
    var place = workgroup_scan_u32(rows, lane);
    workgroupBarrier();
    var tile = workgroup_scan_u32(tiles, lane);
    let most = all / TILE + EXPERTS;
    for (var e = lane * EACH; e < min((lane + 1u) * EACH, EXPERTS); e++) {
        let end = place + atomicLoad(&counts[e]);
        // From now on where the expert's next row goes.
        atomicStore(&counts[e], place);
        for (; place < end; place += TILE) {
            y[4u * tile] = e;
            y[4u * tile + 1u] = place;
            y[4u * tile + 2u] = min(place + TILE, end);
            tile++;
        }
        place = end;
    }
    // The last invocation stands where the tiles end, and so does whoever has no expert behind it.
    if (lane == WORKGROUP - 1u) {
        for (; tile < most; tile++) {
            y[4u * tile] = 0u;
            y[4u * tile + 1u] = 0u;
            y[4u * tile + 2u] = 0u;
        }
    }
    workgroupBarrier();
    for (var i = lane; i < all; i += WORKGROUP) {
        y[4u * most + atomicAdd(&counts[expert_of(i)], 1u)] = i;
    }
}
