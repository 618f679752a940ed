// Queries that are ready: keys and values of all positions, the row's own too, are in their caches.

@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>;            // [rows, HEADS, FOURS]
@group(0) @binding(3) var<storage, read> sinks: array<f32>;              // [HEADS], or anything
@group(0) @binding(4) var<storage, read> keys: array<KeyElement>;        // see lib/kv_layout.wgsl
@group(0) @binding(5) var<storage, read> values: array<ValueElement>;
@group(0) @binding(9) var<storage, read> gates: array<f32>;              // [rows, HEADS, HEAD_DIM], or anything

const OWN: u32 = 0u;   // positions of the row that do not come from the caches

struct OwnPart {
    nothing: u32,
}

// Asks for what head h of a row is prepared of, before anything is known of the step, and prepares it. All invocations of the workgroup call them together.
fn ask_head(h: u32, at: Invocation) -> OwnPart {
    return OwnPart(0u);
}

fn begin_head(h: u32, writes: bool, row: vec4<u32>, part: OwnPart, at: Invocation) {
}

// What query_four leaves out of a score.
fn query_scale() -> f32 {
    return 1.0;
}

// Four numbers of the query of head h.
fn query_four(r: u32, h: u32, c: u32) -> vec4<f32> {
    return q[r * (STRIDE / 4u) + h * FOURS + c];
}

// The product of the query with the row's own key, behind a barrier that follows begin_head, and the n-th number of its value.
fn own_product(at: Invocation) -> f32 {
    return 0.0;
}

fn own_number(n: u32) -> f32 {
    return 0.0;
}

fn sink_of(h: u32) -> f32 {
    return sinks[h];
}

fn gate_of(r: u32, h: u32, n: u32) -> f32 {
    return gates[r * STRIDE + h * HEAD_DIM + n];
}
