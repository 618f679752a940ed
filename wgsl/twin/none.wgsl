// Nobody reads a twin of what is computed here.

fn emit(i: u32, value: f32, valid: bool, local: u32) {
}
