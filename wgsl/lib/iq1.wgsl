// The weights of IQ1_S and IQ1_M.

// 8 times the weights of an entry, moved down or up by ⅛: 8 · (weight + 1) less 9 or 7, which is more 119 or 121 and the highest bit
// flipped, so that no byte borrows.
fn moved(entry: vec2<u32>, down: bool) -> vec2<u32> {
    return (entry + select(0x79797979u, 0x77777777u, down)) ^ vec2(0x80808080u);
}
