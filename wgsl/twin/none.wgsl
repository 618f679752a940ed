// Nobody reads a twin of what is computed here.

fn begin_twin(i: u32) {
}

fn emit(i: u32, value: f32, valid: bool, local: u32) {
}
