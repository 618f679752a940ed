//! Cuts a text into words by patterns, one after the other. Tokens never span two words.
//!
//! Most patterns of models end in `\s+(?!\S)|\s+`, by which white space leaves its last character to the word behind
//! it. Here that is [`Then`]: without the look-ahead a pattern runs in linear time over any text, and no limit on
//! backtracking can be hit.

use tokenizers::utils::SysRegex;

use crate::error::{Error, Result};

/// Every match of the pattern becomes a piece, and so does every gap between matches.
#[derive(Debug)]
pub(super) struct Cut {
    pub pattern: &'static str,
    pub then: Then,
}

/// What becomes of a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// It is a piece as it is.
    Keep,
    /// Where it ends in white space and text follows, the last character is left to the next match, if it is not the
    /// only one.
    Leave,
    /// The same, unless that character is a line break.
    LeaveUnlessBreak,
    /// It becomes pieces of three characters, counted from its end.
    Threes,
    /// It becomes pieces of 512, 256, 128 and so on characters, as large as they fit.
    Powers,
}

/// The cuts of a pre-tokenizer, ready to run.
#[derive(Debug)]
pub(super) struct Cuts(Vec<(SysRegex, Then)>);

impl Cuts {
    /// `name` is what the error calls the pre-tokenizer.
    pub fn new(name: &str, cuts: &[Cut]) -> Result<Cuts> {
        let compile = |cut: &Cut| match SysRegex::new(cut.pattern) {
            Ok(pattern) => Ok((pattern, cut.then)),
            Err(error) => Err(Error::Other(format!("pattern of pre-tokenizer {name}: {error}"))),
        };
        Ok(Cuts(cuts.iter().map(compile).collect::<Result<_>>()?))
    }

    /// The words of a text, in order and without gaps.
    pub fn words<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let mut pieces = vec![text];
        for (pattern, then) in &self.0 {
            let mut next = Vec::with_capacity(pieces.len());
            for piece in pieces {
                cut(pattern, *then, piece, &mut next);
            }
            pieces = next;
        }
        pieces
    }
}

/// Appends the matches in `text`, and the gaps between them, to `pieces`.
fn cut<'t>(pattern: &SysRegex, then: Then, text: &'t str, pieces: &mut Vec<&'t str>) {
    let mut rest = text;
    // A match that leaves its tail sends the search back by one character: hence the outer loop.
    'search: while !rest.is_empty() {
        let mut at = 0;
        for (start, end) in pattern.find_iter(rest) {
            if at < start {
                pieces.push(&rest[at..start]);
            }
            let (found, after) = (&rest[start..end], &rest[end..]);
            if matches!(then, Then::Threes | Then::Powers) {
                if then == Then::Threes {
                    in_threes(found, pieces)
                } else {
                    in_powers(found, pieces)
                }
                at = end;
                continue;
            }
            let kept = if after.is_empty() { found } else { without_tail(found, then) };
            pieces.push(kept);
            at = start + kept.len();
            if kept.len() < found.len() {
                rest = &rest[at..];
                continue 'search;
            }
        }
        if at < rest.len() {
            pieces.push(&rest[at..]);
        }
        return;
    }
}

/// The match without the white space that it leaves to the next one.
fn without_tail(found: &str, then: Then) -> &str {
    if !matches!(then, Then::Leave | Then::LeaveUnlessBreak) {
        return found;
    }
    let mut chars = found.chars();
    match chars.next_back() {
        Some('\r' | '\n') if then == Then::LeaveUnlessBreak => found,
        Some(last) if last.is_whitespace() && !chars.as_str().is_empty() => chars.as_str(),
        _ => found,
    }
}

/// Appends groups of three characters, the first of which may be shorter: 12|345|678.
fn in_threes<'t>(found: &'t str, pieces: &mut Vec<&'t str>) {
    let mut left = found.chars().count();
    let mut start = 0;
    for (at, _) in found.char_indices() {
        if at > start && left.is_multiple_of(3) {
            pieces.push(&found[start..at]);
            start = at;
        }
        left -= 1;
    }
    pieces.push(&found[start..]);
}

/// Appends groups of as many characters as a power of two fits into what is left, 512 at most.
fn in_powers<'t>(found: &'t str, pieces: &mut Vec<&'t str>) {
    let mut left = found.chars().count();
    let mut rest = found;
    while left > 0 {
        let power = (1 << left.ilog2()).min(512);
        let end = rest.char_indices().nth(power).map_or(rest.len(), |(at, _)| at);
        let piece;
        (piece, rest) = rest.split_at(end);
        pieces.push(piece);
        left -= power;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::tokenizer::pre;

    /// Jais 2 cuts white space by its length.
    const JAIS2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s";

    /// Each pre-tokenizer, and its patterns with the look-ahead that the models' own end in.
    static BOTH: LazyLock<Vec<(&str, Cuts, Vec<SysRegex>)>> = LazyLock::new(|| {
        let with_look_ahead = |cut: &Cut| {
            let pattern = match (cut.then, cut.pattern.strip_suffix(r"|\s+")) {
                (Then::Threes, _) if cut.pattern == r"\d+\b" => r"\d{1,3}(?=(?:\d{3})*\b)".to_owned(),
                (Then::Threes, _) => {
                    let number = cut.pattern.strip_suffix('+').unwrap();
                    format!("{number}{{1,3}}(?=(?:{number}{{3}})*(?!{number}))")
                }
                (Then::Keep, _) | (_, None) => cut.pattern.to_owned(),
                (_, Some(head)) => format!(r"{head}|\s+(?!\S)|\s+"),
            };
            SysRegex::new(&pattern).unwrap()
        };
        let both = |pre: &'static pre::Pre| {
            let name = pre.names[0];
            let own = match name {
                "jais-2" => vec![SysRegex::new(JAIS2).unwrap()],
                _ => pre.cuts.iter().map(with_look_ahead).collect(),
            };
            (name, Cuts::new(name, pre.cuts).unwrap(), own)
        };
        pre::known().iter().map(both).collect()
    });

    fn matches_and_gaps<'t>(pattern: &SysRegex, text: &'t str) -> Vec<&'t str> {
        let ends = pattern.find_iter(text).flat_map(|(start, end)| [start, end]).chain([text.len()]);
        let mut at = 0;
        ends.map(|end| &text[std::mem::replace(&mut at, end)..end])
            .filter(|piece| !piece.is_empty())
            .collect()
    }

    proptest! {
        #[test]
        fn words_are_those_of_the_patterns_with_look_ahead(
            text in "[ \\n\\r\\t\u{a0}\u{3000}'sSlLaéÉхХ想か가1½²٣.!<_/\u{301}😀]{0,24}",
        ) {
            for (name, cuts, patterns) in BOTH.iter() {
                let expected = patterns.iter().fold(vec![&text[..]], |pieces, pattern| {
                    pieces.into_iter().flat_map(|piece| matches_and_gaps(pattern, piece)).collect()
                });
                prop_assert_eq!(cuts.words(&text), expected, "{}", name);
            }
        }

        #[test]
        fn long_white_space_is_cut_as_by_the_look_ahead(spaces in 0usize..1200, text in "[ \\n\\ta]{0,3}") {
            let text = format!("a{}{text}", " ".repeat(spaces));
            for (name, cuts, patterns) in BOTH.iter().filter(|(name, ..)| ["jais-2", "llama-bpe"].contains(name)) {
                prop_assert_eq!(cuts.words(&text), matches_and_gaps(&patterns[0], &text), "{}", name);
            }
        }

        #[test]
        fn words_are_the_whole_text(text in "\\PC{0,32}") {
            for (name, cuts, _) in BOTH.iter() {
                prop_assert_eq!(cuts.words(&text).concat(), &*text, "{}", name);
            }
        }
    }

    /// Backtracking would take a minute and more.
    #[test]
    fn cutting_takes_near_linear_time() {
        for (name, cuts, _) in BOTH.iter() {
            for unit in ["a", " ", "\n", " \n", "7", "'", "\u{301}", "想", "\u{3000}", "7a", "a ", "Aa"] {
                let text = unit.repeat(60_000 / unit.len());
                for text in [format!("{text}x"), format!("x{text}")] {
                    let start = std::time::Instant::now();
                    assert_eq!(cuts.words(&text).concat().len(), text.len());
                    assert!(start.elapsed().as_secs() < 5, "{name}: 60 kB of {unit:?}");
                }
            }
        }
    }

    #[test]
    fn every_name_is_there_once() {
        let mut names: Vec<&str> = pre::names().collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }

    #[test]
    fn what_each_family_cuts() {
        let words = |name: &str, text| {
            let pre = pre::find(Some(name), &mut Vec::new()).unwrap();
            Cuts::new(name, pre.cuts).unwrap().words(text).join("|")
        };
        let text = "It's  1234567 años\n\n  IT'S fooBar/baz 想在か!";
        let expected = [
            ("gpt-2", "It|'s| | 1234567| años|\n\n | IT|'|S| fooBar|/|baz| 想在か|!"),
            ("smollm", "It|'s|  |1|2|3|4|5|6|7| años|\n\n | IT|'|S| fooBar|/|baz| 想在か|!"),
            ("llama3", "It|'s| | |123|456|7| años|\n\n| | IT|'S| fooBar|/baz| 想在か|!"),
            ("qwen2", "It|'s| | |1|2|3|4|5|6|7| años|\n\n| | IT|'S| fooBar|/baz| 想在か|!"),
            ("gpt-4o", "It's| | |123|456|7| años|\n\n| | IT'S| foo|Bar|/baz| 想在か|!"),
            ("tekken", "It|'s| | |1|2|3|4|5|6|7| años|\n\n| | IT|'S| foo|Bar|/baz| 想在か|!"),
            ("kimi-k2", "It's| | |123|456|7| años|\n\n| | IT'S| foo|Bar|/baz| |想在|か|!"),
            ("tiny_aya", "It's|  |1|234|567| años|\n\n| | IT'S| foo|Bar|/baz| 想在か|!"),
            ("deepseek-v3", "It|'s|  |123|456|7| años|\n\n| | IT|'S| fooBar|/baz| |想在か|!"),
            ("afmoe", "It|'s|  |1|234|567| años|\n\n| | IT|'S| fooBar|/baz| |想在か|!"),
            ("deepseek-coder", "It|'|s|  |1|2|3|4|5|6|7| años|\n|\n| | IT|'|S| fooBar|/|baz| |想在か|!"),
            ("bloom", "It's| | 1234567| años|\n\n | IT'S| fooBar/baz| 想在か|!"),
            ("superbpe", "It's  |1|234|567| años\n\n  IT'S fooBar/baz 想在か!"),
            ("gemma4", "It's  1234567 años|\n\n|  IT'S fooBar/baz 想在か!"),
        ];
        for (name, cut) in expected {
            assert_eq!(words(name, text), cut, "{name}");
        }
    }
}
