// Nobody reads a copy of what is computed here.

fn begin_copy(i: u32) {
}

fn emit_copy(r: u32, i: u32, value: f32, valid: bool, local: u32) {
}
