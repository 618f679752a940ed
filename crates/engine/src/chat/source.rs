//! A template's text as the engine must get it to read it as jinja2 does.

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
