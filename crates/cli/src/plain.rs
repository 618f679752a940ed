//! Texts that others wrote, made safe for a terminal: names and keys of files may hold what clears a screen or sets a title.

use std::borrow::Cow;

/// Several lines: everything that steers a terminal, but line ends and tabs, is shown as an escape.
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c != '\n' && c != '\t')
}

/// One line: line ends are escapes, too.
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, |_| true)
}

fn escaped(text: &str, too: impl Fn(char) -> bool) -> Cow<'_, str> {
    let steers = |c: char| steers(c) && too(c);
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let escape = |c: char| if steers(c) { c.escape_unicode().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(escape).collect())
}

/// Control characters, and those that turn the direction of what follows (Unicode's "Bidi_Control").
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_shown_and_the_rest_is_left() {
        assert_eq!(lines("a\x1b[31m\x07\n\tb\u{9b}"), "a\\u{1b}[31m\\u{7}\n\tb\\u{9b}");
        assert_eq!(line("a\n\u{202e}b"), "a\\u{a}\\u{202e}b");
        for left in ["Größe · 日本 \"x\" C:\\m.gguf", ""] {
            assert!(matches!(line(left), Cow::Borrowed(text) if text == left));
        }
    }
}
