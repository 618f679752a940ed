// Chunks of a step's rows, and what recurrent_chunk.wgsl leaves of each row and head for recurrent_scan.wgsl: [chunk, head, row of the
// chunk], of each row T in CHUNK / 4 vectors, P in as many, and four factors.

const CHUNK: u32 = 32u;
const SIDE_FOURS: u32 = 8u;     // vectors of a row of T or P
const ROW_FOURS: u32 = 17u;
