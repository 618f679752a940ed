//! A template's text as the engine must get it to read it as jinja2 does.

/// Bytes of a tag at most, but for the texts in it, and branches of conditions: the engine's reader goes down with operators in a row, and
/// with each `elif`. Templates that are known have 122 and 3.
const MOST_TAG: usize = 2 << 10;
const MOST_BRANCHES: usize = 500;

/// Looks for what the engine's reader would go down with.
///
/// # Errors
/// Says what it is.
pub(super) fn check(template: &str) -> Result<(), String> {
    let branches = template.matches("elif").count();
    if branches > MOST_BRANCHES {
        return Err(format!("has {branches} elif, {MOST_BRANCHES} are the most"));
    }
    let mut rest = template;
    while let Some(at) = rest.as_bytes().windows(2).position(|two| matches!(two, b"{{" | b"{%" | b"{#")) {
        let (kind, inside) = (rest.as_bytes()[at + 1], &rest[at + 2..]);
        if kind == b'#' {
            rest = inside.split_once("#}").map_or("", |(_, behind)| behind);
            continue;
        }
        let (length, code) = tag(inside.as_bytes(), if kind == b'{' { b"}}" } else { b"%}" });
        if code > MOST_TAG {
            let line = 1 + template[..template.len() - inside.len()].matches('\n').count();
            return Err(format!("has a tag of {code} bytes in line {line}, {MOST_TAG} are the most"));
        }
        rest = &inside[length..];
    }
    Ok(())
}

/// How long a tag is up to its end, and how much of that is outside of texts.
fn tag(inside: &[u8], end: &[u8; 2]) -> (usize, usize) {
    let (mut at, mut code, mut depth) = (0, 0, 0usize);
    while at < inside.len() && !(depth == 0 && inside[at..].starts_with(end)) {
        match inside[at] {
            quote @ (b'"' | b'\'') => {
                at += 1;
                while at < inside.len() && inside[at] != quote {
                    at += if inside[at] == b'\\' { 2 } else { 1 };
                }
            }
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        (at, code) = (at + 1, code + 1);
    }
    // What ends within a letter has no end.
    (if at < inside.len() { at } else { inside.len() }, code)
}

/// The text with plain line feeds, `raw` blocks that keep their first line break, and `generation` blocks, which only training asks
/// for, as plain scopes.
pub(super) fn as_read(template: &str) -> String {
    let template = template.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(template.len());
    let mut rest = &*template;
    while let Some((before, tag)) = rest.split_once("{%") {
        out.push_str(before);
        out.push_str("{%");
        rest = tag;
        let Some((tag, _)) = rest.split_once("%}") else { break };
        let name = tag.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        let plain = match name {
            "generation" => tag.replace(name, "with"),
            "endgeneration" => tag.replace(name, "endwith"),
            // What a block of this kind begins with is not trimmed.
            "raw" if !tag.ends_with(['-', '+']) => format!("{tag}+"),
            _ => continue,
        };
        out.push_str(&plain);
        rest = &rest[tag.len()..];
    }
    out + rest
}
