//! Answers that keep to a JSON schema, a regular expression or a grammar: what is asked for becomes a [`Constraint`] on tokens.
//!
//! A [`Language`] is what may be said; a [`Grammar`] is one of them, or several within a frame of marks, as calls of tools are. The work
//! is llguidance's: its trie of the vocabulary's bytes is made once for a model ([`Grammars`]). `bounds` refuses what it would go down with,
//! `schema` finds what is wrong with a schema and where, `thought` lets a model think first.

mod bounds;
mod schema;
mod thought;

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use llguidance::api::{GrammarInit, GrammarWithLexer, TopLevelGrammar};
use llguidance::toktrie::{ApproximateTokEnv, INVALID_TOKEN, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher as Parser, ParserFactory, panic_utils};
use serde_json::Value;

use crate::constraint::{Constraint, Matcher, TokenMask};
use crate::error::{Error, Result};
use crate::tokenizer::Tokenizer;

pub use thought::Thought;

/// Bytes of a token at most: a longer one is never part of what is constrained.
const MOST_TOKEN: usize = 200;

/// What may come next at most, in parts of rules: an object has four for each member that may be missing, and others allow 5,000 of these.
const MOST_CHOICES: usize = 20_000;

/// What may be said.
#[derive(Clone, Debug, PartialEq)]
pub enum Language {
    /// A text of JSON that is valid by this schema, its keys in the schema's order.
    JsonSchema(Value),
    /// A text that this regular expression matches from its beginning to its end.
    Regex(String),
    /// A text of this grammar, in llguidance's kind of Lark, from its rule `start` on.
    Lark(String),
}

impl Language {
    /// Any object of JSON.
    pub fn json_object() -> Language {
        Language::JsonSchema(serde_json::json!({ "type": "object" }))
    }

    fn named(&self, name: &str) -> GrammarWithLexer {
        let grammar = match self {
            Language::JsonSchema(schema) => GrammarWithLexer::from_json_schema(schema::with_options(schema)),
            Language::Regex(text) => GrammarWithLexer::from_regex(text),
            Language::Lark(text) => GrammarWithLexer::from_lark(text.clone()),
        };
        GrammarWithLexer { name: Some(name.into()), ..grammar }
    }
}

/// Languages within a frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Grammar {
    /// Lark, in which `@name` is one of the languages.
    frame: Option<String>,
    languages: Vec<(String, Language)>,
}

impl Grammar {
    /// Languages by their names, which `frame` puts together: Lark, in which `@name` is one of them.
    pub fn framed(frame: String, languages: Vec<(String, Language)>) -> Grammar {
        Grammar { frame: Some(frame), languages }
    }

    /// Whether a frame is around its languages, which may then let tokens come that these do not.
    pub fn is_framed(&self) -> bool {
        self.frame.is_some()
    }
}

impl From<Language> for Grammar {
    fn from(language: Language) -> Grammar {
        Grammar { frame: None, languages: vec![("answer".into(), language)] }
    }
}

/// Makes constraints for the vocabulary of a model.
pub struct Grammars {
    factory: ParserFactory,
    tokens: TokEnv,
}

impl std::fmt::Debug for Grammars {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Grammars")
    }
}

impl Grammars {
    /// Looks at all tokens, which takes a large vocabulary a good part of a second.
    ///
    /// # Errors
    /// [`Error::Model`] where the vocabulary cannot be used.
    pub fn new(tokenizer: &Tokenizer) -> Result<Grammars> {
        let word = |id: u32| match tokenizer.control_text(id) {
            // Marked, so that no text is mistaken for one.
            Some(text) => [&[TokTrie::SPECIAL_TOKEN_MARKER], text.as_bytes()].concat(),
            None => {
                let piece = tokenizer.piece(id);
                let usable = piece.len() <= MOST_TOKEN && !piece.contains(&TokTrie::SPECIAL_TOKEN_MARKER);
                if usable { piece.to_vec() } else { Vec::new() }
            }
        };
        let count = tokenizer.vocab_size() as u32;
        let words: Vec<Vec<u8>> = (0..count).map(word).collect();
        let ends: Vec<u32> = tokenizer.end_tokens().iter().copied().filter(|&id| id < count).collect();
        let info = TokRxInfo::new(count, ends.first().copied().unwrap_or(INVALID_TOKEN));
        let mut trie = TokTrie::from(&info, &words);
        if !ends.is_empty() {
            trie = trie.with_eos_tokens(&ends);
        }
        let tokens: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let made = ParserFactory::new_simple(&tokens);
        let mut factory = made.map_err(|e| Error::Model(format!("the vocabulary takes no grammar: {e}")))?;
        let limits = factory.quiet().limits_mut();
        (limits.verbose_errors, limits.max_items_in_row) = (false, MOST_CHOICES);
        Ok(Grammars { factory, tokens })
    }

    /// Looks for what is wrong with a language by itself.
    ///
    /// # Errors
    /// [`Error::Usage`] says what, and of a schema where, as a JSON pointer.
    pub fn check(&self, language: &Language) -> Result<()> {
        self.checked(language).map(drop)
    }

    /// The parser of a language by itself.
    fn checked(&self, language: &Language) -> Result<Parser> {
        let parser = |language: &Language| self.parser(&language.clone().into());
        match language {
            Language::JsonSchema(schema) => schema::check(schema, &parser),
            _ => parser(language).map_err(Error::Usage),
        }
    }

    /// A constraint to a grammar, behind a thought where the model thinks first. A language without a frame is checked with that.
    ///
    /// # Errors
    /// [`Error::Usage`] says what is wrong with it.
    pub fn constraint(&self, grammar: &Grammar, thought: Option<Thought>) -> Result<Constraint> {
        let first = match (&grammar.frame, &grammar.languages[..]) {
            (None, [(_, language)]) => self.checked(language)?,
            _ => self.parser(grammar).map_err(Error::Usage)?,
        };
        let first = Mutex::new(first);
        let tokens = self.tokens.clone();
        Ok(Constraint::new(move || {
            let parser = first.lock().unwrap_or_else(PoisonError::into_inner).deep_clone();
            let answer = Box::new(Answer(parser));
            match &thought {
                Some(thought) => Box::new(thought.before(answer, tokens.clone())),
                None => answer,
            }
        }))
    }

    /// A parser at its beginning, or what is wrong with the grammar.
    fn parser(&self, grammar: &Grammar) -> Result<Parser, String> {
        let levels = grammar.languages.iter().map(|(_, language)| bounds::levels(language));
        let levels = levels.sum::<Result<usize, String>>()?;
        bounds::on_stack(levels, || self.begin(grammar))
    }

    fn begin(&self, grammar: &Grammar) -> Result<Parser, String> {
        let frame = grammar.frame.iter().map(|text| Language::Lark(text.clone()).named("frame"));
        let languages = grammar.languages.iter().map(|(name, language)| language.named(name));
        let top = TopLevelGrammar { grammars: frame.chain(languages).collect(), max_tokens: None };
        let compile = || {
            let (tokens, limits) = (self.tokens.clone(), self.factory.limits().clone());
            let (grammar, lexer) = GrammarInit::Serialized(top).to_internal(Some(tokens), limits)?;
            Ok((grammar.optimize(), lexer))
        };
        let compiled = panic_utils::catch_unwind(AssertUnwindSafe(compile));
        let (grammar, lexer) = compiled.map_err(|e| plain(&e.to_string()))?;
        if grammar.num_symbols() > bounds::MOST_SYMBOLS {
            let (symbols, most) = (grammar.num_symbols(), bounds::MOST_SYMBOLS);
            return Err(format!("is too large: {symbols} symbols, {most} are the most"));
        }
        let parser = self.factory.create_parser_from_init_default(GrammarInit::Internal(grammar, lexer));
        let mut parser = parser.map_err(|e| plain(&e.to_string()))?;
        parser.start_without_prompt();
        let mut parser = Parser::new(Ok(parser));
        match parser.compute_mask() {
            Ok(_) => Ok(parser),
            Err(error) => Err(plain(&error.to_string())),
        }
    }
}

/// What messages of llguidance's begin with that speak of its own options and states, and what is said in their place.
const IN_OTHER_WORDS: [(&str, &str); 4] = [
    ("panic: ", "cannot be understood: "),
    (
        "Only absolute $ref's (#/...) are supported without 'referencing' feature; ref ",
        "$ref must begin with #/ and is ",
    ),
    (
        "oneOf constraints are not supported. Enable 'coerce_one_of' option to approximate oneOf with anyOf",
        "oneOf is for schemas of which a value can be valid by one alone: give anyOf",
    ),
    ("NoExtensionBias", NOTHING),
];

const NOTHING: &str = "lets no token come";

/// What a message of llguidance's says, without its state.
fn plain(message: &str) -> String {
    let message = message.split("\n<").next().unwrap_or_default().trim();
    let ours = |(theirs, ours): &(&str, &str)| Some(format!("{ours}{}", message.strip_prefix(theirs)?));
    match IN_OTHER_WORDS.iter().find_map(ours) {
        Some(told) => told,
        None if message.is_empty() => NOTHING.into(),
        None => message.into(),
    }
}

/// Where an answer stands in its grammar.
struct Answer(Parser);

/// An error on the way. Where it is one of limits, the schema or grammar is at fault: llguidance calls these errors of its lexer or its parser, and so
/// it does with a token that may not come.
fn broken(what: &str, error: &str) -> Error {
    let kind = error.to_ascii_lowercase();
    let of_limits = ["lexer error", "parser error"].iter().any(|part| kind.contains(part));
    match of_limits && !kind.contains("doesn't satisfy the grammar") {
        true => Error::Usage(format!("what the answer must keep to is too complex: {}", plain(error))),
        false => Error::Other(format!("{what}: {}", plain(error))),
    }
}

impl Matcher for Answer {
    fn mask(&mut self) -> Result<TokenMask> {
        match self.0.compute_mask_or_eos() {
            Ok(mask) => Ok(TokenMask::from_words(mask.as_slice())),
            Err(error) => Err(broken("the grammar cannot go on", &error.to_string())),
        }
    }

    fn push(&mut self, token: u32) -> Result<()> {
        let taken = self.0.consume_token(token);
        taken.map_err(|e| broken(&format!("token {token} is not in the grammar"), &e.to_string()))
    }

    fn is_complete(&self) -> bool {
        self.0.is_stopped()
    }
}
