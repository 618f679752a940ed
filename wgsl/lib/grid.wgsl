// Workgroups beyond one dimension's limit go on in y: undoes `ops::fold`.

fn flat(group: vec3<u32>) -> u32 {
    return group.x + group.y * 32768u;
}
