//! What a model is called by: `ORG/REPO`, and which of the repository's files.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// `ORG/REPO`, `ORG/REPO:QUANT` or `ORG/REPO:FILE.gguf`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// `ORG/REPO`.
    pub repo: String,
    /// What is behind the colon: a quantisation such as `Q4_K_M`, or the path of a file.
    pub choice: Option<String>,
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Name, Error> {
        let wrong = |what: &str| {
            Err(Error::Usage(format!(
                "{text:?} {what}; expected ORG/REPO, ORG/REPO:QUANT or ORG/REPO:FILE.gguf"
            )))
        };
        let (repo, choice) = match text.split_once(':') {
            Some((repo, choice)) => (repo, Some(choice)),
            None => (text, None),
        };
        let Some((org, name)) = repo.split_once('/') else { return wrong("has no slash") };
        if !is_word(org) || !is_word(name) {
            return wrong("is no name of a repository");
        }
        if choice.is_some_and(str::is_empty) {
            return wrong("has nothing behind the colon");
        }
        Ok(Name { repo: repo.into(), choice: choice.map(str::to_owned) })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.choice {
            Some(choice) => write!(f, "{}:{choice}", self.repo),
            None => write!(f, "{}", self.repo),
        }
    }
}

/// What the hub allows in names: two dashes would be two names in a cache's folder.
fn is_word(word: &str) -> bool {
    (1..=96).contains(&word.len())
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        && !word.starts_with(['.', '-'])
        && !word.ends_with(['.', '-'])
        && !word.contains("--")
        && !word.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_what_is_none_is_refused() {
        let name = |text: &str| text.parse::<Name>().map(|name| (name.repo, name.choice));
        assert_eq!(name("a/b").unwrap(), ("a/b".into(), None));
        assert_eq!(name("a-1/B.2_x:q4_k_m").unwrap(), ("a-1/B.2_x".into(), Some("q4_k_m".into())));
        assert_eq!(name("a/b:sub/c.gguf").unwrap(), ("a/b".into(), Some("sub/c.gguf".into())));
        for wrong in
            ["", "a", "a/", "/b", "a/b:", "a/b/c", "../b", "a/..", "a/b--c", "a b/c", "a/b\n", "a/.b"]
        {
            assert!(matches!(name(wrong), Err(Error::Usage(_))), "{wrong:?} was taken");
        }
    }
}
