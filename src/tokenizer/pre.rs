//! The known pre-tokenizers: how a text is cut into words before byte-pair encoding. Tokens never span two
//! words.
//!
//! The patterns are the models' own (`tokenizer.json`), except for their last two alternatives
//! `\s+(?!\S)|\s+`, by which white space leaves its last character to the word behind it. Here that is
//! [`Tail`]: without the look-ahead a pattern runs in linear time over any text, and no limit on backtracking
//! can be hit.

use tokenizers::utils::SysRegex;

use crate::error::{Error, Result};

/// One pre-tokenizer, under all the names it has in `tokenizer.ggml.pre`.
#[derive(Debug)]
pub(super) struct Pre {
    pub names: &'static [&'static str],
    /// Applied one after the other, each to the pieces that the one before left.
    cuts: &'static [Cut],
    /// Whether the vocabulary adds BOS unless the file says otherwise.
    pub adds_bos: bool,
    /// Whether a word that is a token is that token, whatever the merges would make of it.
    pub whole_words: bool,
}

/// Every match becomes a piece, and so does every gap between matches.
#[derive(Debug)]
struct Cut {
    pattern: &'static str,
    tail: Tail,
}

/// What becomes of the last character of a match that ends in white space when text follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tail {
    /// It is left to the next match, if it is not the only one.
    Leave,
    /// The same, unless it is a line break.
    LeaveUnlessBreak,
}

const GPT2: Cut =
    Cut { pattern: r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+", tail: Tail::Leave };

const KNOWN: &[Pre] = &[
    Pre {
        names: &["default"],
        cuts: &[
            Cut { pattern: r"[\p{P}$+<=>^~|]+", tail: Tail::Leave },
            GPT2,
            Cut { pattern: r"\p{N}+", tail: Tail::Leave },
            Cut { pattern: r"[0-9][0-9][0-9]", tail: Tail::Leave },
        ],
        adds_bos: false,
        whole_words: false,
    },
    Pre {
        names: &["gpt-2", "phi-2", "gigachat", "a.x-4.0", "mellum"],
        cuts: &[GPT2],
        adds_bos: false,
        whole_words: false,
    },
    Pre {
        names: &["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone"],
        cuts: &[Cut { pattern: r"\p{N}", tail: Tail::Leave }, GPT2],
        adds_bos: false,
        whole_words: false,
    },
    Pre {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"],
        cuts: &[Cut {
            pattern: r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+",
            tail: Tail::LeaveUnlessBreak,
        }],
        adds_bos: true,
        whole_words: true,
    },
    Pre {
        names: &["qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2"],
        cuts: &[Cut {
            pattern: r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+",
            tail: Tail::LeaveUnlessBreak,
        }],
        adds_bos: false,
        whole_words: false,
    },
];

/// The pre-tokenizer of that name; `default`, with a warning, where the file names none.
pub(super) fn find(name: Option<&str>, warnings: &mut Vec<String>) -> Result<&'static Pre> {
    if name.is_none() {
        warnings
            .push("tokenizer.ggml.pre is missing: \"default\" is taken, which may give worse text".into());
    }
    let name = name.unwrap_or("default");
    KNOWN.iter().find(|pre| pre.names.contains(&name)).ok_or_else(|| {
        let known: Vec<&str> = KNOWN.iter().flat_map(|pre| pre.names).copied().collect();
        Error::Model(format!("tokenizer.ggml.pre {name:?} is not known; known are {}", known.join(", ")))
    })
}

/// The cuts of a pre-tokenizer, ready to run.
#[derive(Debug)]
pub(super) struct Cuts(Vec<(SysRegex, Tail)>);

impl Cuts {
    pub fn new(pre: &Pre) -> Result<Cuts> {
        let compile = |cut: &Cut| match SysRegex::new(cut.pattern) {
            Ok(pattern) => Ok((pattern, cut.tail)),
            Err(error) => Err(Error::Other(format!("pattern of pre-tokenizer {}: {error}", pre.names[0]))),
        };
        Ok(Cuts(pre.cuts.iter().map(compile).collect::<Result<_>>()?))
    }

    /// The words of a text, in order and without gaps.
    pub fn words<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let mut pieces = vec![text];
        for (pattern, tail) in &self.0 {
            let mut next = Vec::with_capacity(pieces.len());
            for piece in pieces {
                cut(pattern, *tail, piece, &mut next);
            }
            pieces = next;
        }
        pieces
    }
}

/// Appends the matches in `text`, and the gaps between them, to `pieces`.
fn cut<'t>(pattern: &SysRegex, tail: Tail, text: &'t str, pieces: &mut Vec<&'t str>) {
    let mut rest = text;
    // A match that leaves its tail sends the search back by one character: hence the outer loop.
    'search: while !rest.is_empty() {
        let mut at = 0;
        for (start, end) in pattern.find_iter(rest) {
            if at < start {
                pieces.push(&rest[at..start]);
            }
            let (found, after) = (&rest[start..end], &rest[end..]);
            let kept = if after.is_empty() { found } else { without_tail(found, tail) };
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
fn without_tail(found: &str, tail: Tail) -> &str {
    let mut chars = found.chars();
    match chars.next_back() {
        Some('\r' | '\n') if tail == Tail::LeaveUnlessBreak => found,
        Some(last) if last.is_whitespace() && !chars.as_str().is_empty() => chars.as_str(),
        _ => found,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    /// Each pre-tokenizer, and its patterns with the look-ahead that the models' own end in.
    static BOTH: LazyLock<Vec<(Cuts, Vec<SysRegex>)>> = LazyLock::new(|| {
        let with_look_ahead = |cut: &Cut| match cut.pattern.strip_suffix(r"|\s+") {
            Some(head) => SysRegex::new(&format!(r"{head}|\s+(?!\S)|\s+")).unwrap(),
            None => SysRegex::new(cut.pattern).unwrap(),
        };
        KNOWN
            .iter()
            .map(|pre| (Cuts::new(pre).unwrap(), pre.cuts.iter().map(with_look_ahead).collect()))
            .collect()
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
            text in "[ \\n\\r\\t\u{a0}\u{3000}'sSlLaé想1½².!<_\u{301}😀]{0,24}",
        ) {
            for (cuts, patterns) in BOTH.iter() {
                let expected = patterns.iter().fold(vec![&text[..]], |pieces, pattern| {
                    pieces.into_iter().flat_map(|piece| matches_and_gaps(pattern, piece)).collect()
                });
                prop_assert_eq!(cuts.words(&text), expected);
            }
        }
    }
}
