// size[g] = invocations of a subgroup, as workgroup g runs

import package::lib::grid::flat;
import package::lib::invocation::Invocation;

override WORKGROUP: u32 = 64u;

@group(0) @binding(0) var<storage, read_write> size: array<u32>;    // [workgroups]

fn run(group: vec3<u32>, at: Invocation) {
    if (at.local == 0u) {
        size[flat(group)] = lanes_of(at);
    }
}
