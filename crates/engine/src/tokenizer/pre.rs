//! The known pre-tokenizers: a row for each, with all the names it has in `tokenizer.ggml.pre`. How the rows cut a
//! text is `cuts`.
//!
//! The patterns are the models' own (`tokenizer.json`), except for their last two alternatives
//! `\s+(?!\S)|\s+`, by which white space leaves its last character to the word behind it: that is [`Then`].

use super::cuts::{Cut, Then};
use crate::error::{Error, Result};

/// One pre-tokenizer.
#[derive(Debug)]
pub(super) struct Pre {
    /// What `tokenizer.ggml.pre` calls it.
    pub names: &'static [&'static str],
    /// Applied one after the other, each to the pieces that the one before left.
    pub cuts: &'static [Cut],
    /// Whether the vocabulary adds BOS unless the file says otherwise.
    pub adds_bos: bool,
    /// Whether it adds BOS even where the file says no: early conversions said so by mistake.
    pub insists_on_bos: bool,
    /// Which words that are tokens are these tokens, whatever the merges would make of them.
    pub whole: Whole,
    /// What a word is before the first merge.
    pub letters: Letters,
}

/// Words that become one token without any merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whole {
    Never,
    Always,
    /// Words of line feeds alone.
    LineFeeds,
}

/// What merges begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Letters {
    /// Bytes, each written as a letter of its own.
    Bytes,
    /// Characters, with U+2581 for a space; those that are no token become byte tokens such as `<0x0A>`.
    Characters,
}

/// What most rows have in common.
const PLAIN: Pre = Pre {
    names: &[],
    cuts: &[],
    adds_bos: false,
    insists_on_bos: false,
    whole: Whole::Never,
    letters: Letters::Bytes,
};

const fn isolate(pattern: &'static str) -> Cut {
    Cut { pattern, then: Then::Keep }
}

const fn words(pattern: &'static str) -> Cut {
    Cut { pattern, then: Then::Leave }
}

const fn lines(pattern: &'static str) -> Cut {
    Cut { pattern, then: Then::LeaveUnlessBreak }
}

const fn threes(pattern: &'static str) -> Cut {
    Cut { pattern, then: Then::Threes }
}

/// The pattern of GPT-4 (`cl100k_base`), with its way of taking numbers.
macro_rules! cl100k {
    ($numbers:literal) => {
        concat!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|",
            $numbers,
            r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"
        )
    };
}

/// The pattern of GPT-4o (`o200k_base`), which tells capitals from small letters, with what may follow a word and
/// its way of taking numbers.
macro_rules! o200k {
    ($suffix:literal, $numbers:literal) => {
        concat!(
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
            $suffix,
            r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
            $suffix,
            "|",
            $numbers,
            r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+"
        )
    };
}

/// DeepSeek's pattern, with what follows a run of punctuation, and how line breaks are taken.
macro_rules! deepseek {
    ($behind:literal, $breaks:literal) => {
        concat!(
            r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"##,
            r"| ?[\p{P}\p{S}]+",
            $behind,
            "|",
            $breaks,
            r"|\s+"
        )
    };
}

const GPT2: Cut = words(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+");
const LLAMA3: Cut = lines(cl100k!(r"\p{N}{1,3}"));
const QWEN2: Cut = lines(cl100k!(r"\p{N}"));
const GPT4O: Cut = lines(o200k!(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?", r"\p{N}{1,3}"));
const NUMBERS: Cut = isolate(r"\p{N}");
const UP_TO_THREE: Cut = isolate(r"\p{N}{1,3}");
/// Chinese and the two Japanese alphabets.
const CHINESE: Cut = isolate(r"[\u{4E00}-\u{9FA5}\u{3040}-\u{309F}\u{30A0}-\u{30FF}]+");
/// The older ranges of DeepSeek, which take in much beside Chinese.
const CHINESE_AND_MORE: Cut = isolate(r"[\u{4E00}-\u{9FA5}\u{800}-\u{4E00}\u{AC00}-\u{D7FF}]+");
const SENTENCES: Cut = isolate(r" ?[^(\s|.,!?\u{2026}\u{3002}\u{FF0C}\u{3001}\u{964}\u{6D4}\u{60C})]+");
const LINE_FEEDS: Cut = isolate(r"[^\n]+|[\n]+");

const KNOWN: &[Pre] = &[
    Pre {
        names: &["default"],
        cuts: &[isolate(r"[\p{P}$+<=>^~|]+"), GPT2, isolate(r"\p{N}+"), isolate(r"[0-9][0-9][0-9]")],
        ..PLAIN
    },
    Pre {
        names: &[
            "gpt-2",
            "phi-2",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "mpt",
            "olmo",
            "jais",
            "exaone4",
            "trillion",
            "granite-docling",
            "jina-es",
            "jina-de",
            "jina-v2-es",
            "jina-v2-de",
            "modern-bert",
        ],
        cuts: &[GPT2],
        ..PLAIN
    },
    Pre {
        names: &[
            "smollm",
            "starcoder",
            "refact",
            "command-r",
            "codeshell",
            "exaone",
            "minerva-7b",
            "mellum2",
        ],
        cuts: &[NUMBERS, GPT2],
        ..PLAIN
    },
    Pre {
        names: &["falcon"],
        cuts: &[isolate(r"[\p{P}$+<=>^~|`]+"), GPT2, isolate(r"[0-9][0-9][0-9]")],
        ..PLAIN
    },
    Pre {
        names: &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
            "jina-v5-nano",
        ],
        cuts: &[LLAMA3],
        adds_bos: true,
        whole: Whole::Always,
        ..PLAIN
    },
    Pre { names: &["dbrx", "smaug-bpe", "chatglm-bpe", "glm4", "glm5"], cuts: &[LLAMA3], ..PLAIN },
    Pre {
        names: &["minicpm5"],
        cuts: &[UP_TO_THREE, lines(cl100k!(r"\p{N}+"))],
        whole: Whole::Always,
        ..PLAIN
    },
    Pre {
        names: &[
            "qwen2",
            "deepseek-r1-qwen",
            "kormo",
            "f2llmv2",
            "megrez",
            "stablelm2",
            "hunyuan",
            "solar-open",
            "grok-2",
        ],
        cuts: &[QWEN2],
        ..PLAIN
    },
    Pre { names: &["laguna"], cuts: &[LINE_FEEDS, QWEN2], ..PLAIN },
    Pre {
        names: &["qwen35"],
        cuts: &[lines(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+",
        )],
        ..PLAIN
    },
    Pre {
        // Turkish puts suffixes behind apostrophes: nothing is taken for an English contraction.
        names: &["ufakzeka"],
        cuts: &[lines(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+")],
        ..PLAIN
    },
    Pre {
        names: &["seed-coder"],
        cuts: &[lines(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+",
        )],
        ..PLAIN
    },
    Pre {
        names: &["bailingmoe", "bailingmoe2", "llada-moe"],
        cuts: &[lines(
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+",
        )],
        ..PLAIN
    },
    Pre {
        names: &["exaone-moe"],
        cuts: &[lines(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+",
        )],
        ..PLAIN
    },
    Pre {
        names: &["jais-2"],
        cuts: &[LLAMA3, Cut { pattern: r"^[^\S\r\n]+$", then: Then::Powers }],
        ..PLAIN
    },
    Pre {
        names: &["tekken"],
        cuts: &[lines(o200k!("", r"\p{N}"))],
        adds_bos: true,
        whole: Whole::Always,
        ..PLAIN
    },
    Pre { names: &["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], cuts: &[GPT4O], ..PLAIN },
    Pre { names: &["granite-embed-multi-97m"], cuts: &[GPT4O], whole: Whole::Always, ..PLAIN },
    Pre { names: &["tiny_aya", "cohere2moe"], cuts: &[threes(r"\d+\b"), GPT4O], ..PLAIN },
    Pre {
        names: &["youtu"],
        cuts: &[
            isolate(
                r"[\u{AC00}-\u{D7A3}\u{3131}-\u{318E}]+|[\u{FF01}\u{2026}\u{201C}\u{201D}\u{2018}\u{2019}\u{2014}\u{FF1A}\u{FF1B}\u{FF0C}\u{3001}-\u{303F}\u{FE30}-\u{FE4F}]+|[\u{3105}-\u{312F}]+|[\u{4E00}-\u{9FA5}\u{3040}-\u{309F}\u{30A0}-\u{30FF}]+",
            ),
            lines(o200k!(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?", r"\p{N}")),
        ],
        whole: Whole::Always,
        ..PLAIN
    },
    Pre {
        names: &["kimi-k2"],
        cuts: &[lines(
            r"\p{Han}+|[^\r\n\p{L}\p{N}]?[[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]&&[^\p{Han}]]*[[\p{Ll}\p{Lm}\p{Lo}\p{M}]&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]&&[^\p{Han}]]+[[\p{Ll}\p{Lm}\p{Lo}\p{M}]&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+",
        )],
        ..PLAIN
    },
    Pre {
        names: &["deepseek-llm"],
        cuts: &[
            isolate(r"[\r\n]"),
            isolate(CASED),
            isolate(r"\s?[!-/:-~\u{FF01}-\u{FF0F}\u{FF1A}-\u{FF5E}\u{2018}-\u{201F}\u{3000}-\u{3002}]+"),
            isolate(r"\s+$"),
            CHINESE_AND_MORE,
            isolate(r"\p{N}+"),
        ],
        ..PLAIN
    },
    Pre {
        names: &["deepseek-coder"],
        cuts: &[isolate(r"[\r\n]"), isolate(r"\s?\p{L}+"), isolate(r"\s?\p{P}+"), CHINESE_AND_MORE, NUMBERS],
        ..PLAIN
    },
    Pre {
        names: &["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"],
        cuts: &[UP_TO_THREE, CHINESE, lines(deepseek!(r"[\r\n]*", r"\s*[\r\n]+"))],
        ..PLAIN
    },
    Pre {
        names: &["spark2_5"],
        cuts: &[UP_TO_THREE, CHINESE, words(deepseek!("", r"[\r\n]")), NUMBERS],
        ..PLAIN
    },
    Pre {
        names: &["afmoe"],
        cuts: &[
            threes(r"\p{N}+"),
            isolate(
                r"[\u{4E00}-\u{9FFF}\u{3400}-\u{4DBF}\u{F900}-\u{FAFF}\u{3040}-\u{309F}\u{30A0}-\u{30FF}\u{FF65}-\u{FF9F}\u{2F00}-\u{2FDF}\u{E40}-\u{EFF}\u{1780}-\u{17FF}\u{1000}-\u{109F}\u{AA60}-\u{AA7F}\u{A9E0}-\u{A9FF}\u{AC00}-\u{D7AF}\u{1100}-\u{11FF}]+",
            ),
            lines(deepseek!(r"[\r\n]*", r"\s*[\r\n]+")),
        ],
        ..PLAIN
    },
    Pre { names: &["superbpe"], cuts: &[isolate(r"\p{N}+"), threes(r"\d+")], ..PLAIN },
    Pre { names: &["poro-chat", "bloom", "gpt3-finnish"], cuts: &[SENTENCES], ..PLAIN },
    Pre { names: &["viking"], cuts: &[SENTENCES, NUMBERS], ..PLAIN },
    Pre {
        names: &["chameleon"],
        cuts: &[
            isolate(r"<sentinel:[0-9]+>"),
            isolate(r"IMGIMG[A-I]{1,4}Z"),
            isolate(r"[\t\n]|    |  "),
            NUMBERS,
            isolate(r"[\p{P}!-/:-@\[-`{-~]"),
            GPT2,
        ],
        adds_bos: true,
        ..PLAIN
    },
    Pre {
        names: &["gemma4", "granite-embed-multi-311m"],
        cuts: &[LINE_FEEDS],
        adds_bos: true,
        insists_on_bos: true,
        whole: Whole::LineFeeds,
        letters: Letters::Characters,
    },
    Pre { names: &["sarvam-moe"], cuts: &[LINE_FEEDS], letters: Letters::Characters, ..PLAIN },
];

/// Letters that have a case, as far as DeepSeek's first models knew them.
const CASED: &str = concat!(
    r"\s?[",
    r"A-Za-z\u{B5}\u{C0}-\u{D6}\u{D8}-\u{F6}\u{F8}-\u{1BA}\u{1BC}-\u{1BF}\u{1C4}-\u{293}\u{295}-\u{2AF}",
    r"\u{370}-\u{373}\u{376}\u{377}\u{37B}-\u{37D}\u{37F}\u{386}\u{388}-\u{38A}\u{38C}\u{38E}-\u{3A1}",
    r"\u{3A3}-\u{3F5}\u{3F7}-\u{481}\u{48A}-\u{52F}\u{531}-\u{556}\u{10A0}-\u{10C5}\u{13A0}-\u{13F5}",
    r"\u{13F8}-\u{13FD}\u{1C90}-\u{1CBA}\u{1CBD}-\u{1CBF}\u{1D00}-\u{1D2B}\u{1D6B}-\u{1D77}",
    r"\u{1D79}-\u{1D9A}\u{1E00}-\u{1F15}\u{1F18}-\u{1F1D}\u{1F20}-\u{1F45}\u{1F48}-\u{1F4D}",
    r"\u{1F50}-\u{1F57}\u{1F59}\u{1F5B}\u{1F5D}\u{1F5F}-\u{1F7D}\u{1F80}-\u{1FB4}\u{1FB6}-\u{1FBC}",
    r"\u{1FBE}\u{1FC2}-\u{1FC4}\u{1FC6}-\u{1FCC}\u{1FD0}-\u{1FD3}\u{1FD6}-\u{1FDB}\u{1FE0}-\u{1FEC}",
    r"\u{1FF2}-\u{1FF4}\u{1FF6}-\u{1FFC}\u{2102}\u{2107}\u{210A}-\u{2113}\u{2115}\u{2119}-\u{211D}",
    r"\u{2124}\u{2126}\u{2128}\u{212A}-\u{212D}\u{212F}-\u{2134}\u{2139}\u{213C}-\u{213F}",
    r"\u{2145}-\u{2149}\u{214E}\u{2183}\u{2184}\u{2C00}-\u{2C7B}\u{2C7E}-\u{2CE4}\u{2CEB}-\u{2CEE}",
    r"\u{2CF2}\u{2CF3}\u{A640}-\u{A66D}\u{A680}-\u{A69B}\u{A722}-\u{A76F}\u{A771}-\u{A787}",
    r"\u{A78B}-\u{A78E}\u{AB70}-\u{ABBF}\u{FB00}-\u{FB06}\u{FB13}-\u{FB17}\u{FF21}-\u{FF3A}",
    r"\u{FF41}-\u{FF5A}\u{10400}-\u{1044F}\u{104B0}-\u{104D3}\u{104D8}-\u{104FB}\u{10C80}-\u{10CB2}",
    r"\u{10CC0}-\u{10CF2}\u{118A0}-\u{118DF}\u{1E900}-\u{1E943}",
    r"]+"
);

/// The pre-tokenizer of that name; `default`, with a warning, where the file names none.
pub(super) fn find(name: Option<&str>, warnings: &mut Vec<String>) -> Result<&'static Pre> {
    if name.is_none() {
        warnings
            .push("tokenizer.ggml.pre is missing: \"default\" is taken, which may give worse text".into());
    }
    let name = name.unwrap_or("default");
    KNOWN.iter().find(|pre| pre.names.contains(&name)).ok_or_else(|| {
        let known: Vec<&str> = names().collect();
        Error::Model(format!("tokenizer.ggml.pre {name:?} is not known; known are {}", known.join(", ")))
    })
}

/// The names of all pre-tokenizers.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().flat_map(|pre| pre.names).copied()
}

/// Every row, for the tests of the cutting.
#[cfg(test)]
pub(super) fn known() -> &'static [Pre] {
    KNOWN
}
