// Where a convolution's state has the input of a position: those of TAPS − 1 positions take turns. The kernel declares TAPS.

fn conv_place(slot: u32, position: u32, channels: u32, c: u32) -> u32 {
    return (slot * (TAPS - 1u) + position % (TAPS - 1u)) * channels + c;
}
