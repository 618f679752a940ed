// Tiles of rows that go to one expert, as expert_tiles.wgsl found them: rows of such a tile are places in the list of all rows by expert.

override EXPERTS: u32 = 8u;
override USED: u32 = 2u;          // experts that a row goes to
override X_SHARES: u32 = 1u;      // 1: x has a row for each expert of a row, USED: one for all of them
override EXPERT_ROWS: u32 = 64u;  // rows of w from an expert to the next
override PAIR_STEP: u32 = 64u;    // from a row of a gate to that of its factor

@group(0) @binding(6) var<storage, read> expert_tiles: array<u32>; // see expert_tiles.wgsl

const SPARSE: bool = true;

struct Tile {
    first: u32,
    end: u32,
}

var<workgroup> tile_found: vec3<u32>;
var<private> tile_expert: u32;
var<private> taken_at: u32;
var<private> places: u32;
var<private> rows_held: array<u32, 4>;

fn tile_count(rows: u32, size: u32) -> u32 {
    return rows * USED / size + EXPERTS;
}

fn tile_of(tile: u32, size: u32, local: u32) -> Tile {
    if (local == 0u) {
        let at = 4u * tile;
        tile_found = vec3<u32>(expert_tiles[at], expert_tiles[at + 1u], expert_tiles[at + 2u]);
    }
    let found = workgroupUniformLoad(&tile_found);
    tile_expert = min(found.x, EXPERTS - 1u);
    taken_at = 4u * tile_count(step[0].x, size);
    // By way of no private variable, or the tile would not count as uniform.
    let all = step[0].x * USED;
    places = all;
    return Tile(found.y, min(found.z, all));
}

fn tile_weights() -> u32 {
    return tile_expert * EXPERT_ROWS;
}

fn second_step() -> u32 {
    return PAIR_STEP;
}

// A profile runs this behind something else than what makes the list: it stays within what is bound.
fn y_row(r: u32) -> u32 {
    return min(expert_tiles[taken_at + r], places - 1u);
}

fn x_row(r: u32) -> u32 {
    return y_row(r) / X_SHARES;
}

fn hold_row(i: u32, r: u32) {
    rows_held[i] = x_row(r);
}

fn held_row(i: u32, r: u32) -> u32 {
    return rows_held[i];
}
