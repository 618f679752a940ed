//! Stop strings: text goes through until one of them comes, and what may be the beginning of one waits.

/// Looks for stop strings in text that comes in pieces.
#[derive(Debug)]
pub struct Stops {
    strings: Vec<String>,
    held: String,
    found: Option<usize>,
}

impl Stops {
    /// Stops at the first of `strings`; empty ones are never found.
    pub fn new(strings: &[String]) -> Stops {
        let strings = strings.iter().filter(|s| !s.is_empty()).cloned().collect();
        Stops { strings, held: String::new(), found: None }
    }

    /// Takes a piece; returns the text that may be shown and whether a stop string came right after it.
    pub fn push(&mut self, piece: &str) -> (String, bool) {
        self.held.push_str(piece);
        let places =
            self.strings.iter().enumerate().filter_map(|(n, s)| Some((self.held.find(s.as_str())?, n)));
        if let Some((at, n)) = places.min() {
            self.found = Some(n);
            self.held.truncate(at);
            return (std::mem::take(&mut self.held), true);
        }
        let waits = self.strings.iter().map(|s| longest_beginning(&self.held, s)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - waits);
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// The string that came.
    pub fn found(&self) -> Option<&str> {
        self.found.map(|n| &*self.strings[n])
    }

    /// The text that still waits, at the end of everything.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Bytes at the end of `text` that `string` begins with, without being all of it.
pub(crate) fn longest_beginning(text: &str, string: &str) -> usize {
    let mut ends = string.char_indices().map(|(at, _)| at).rev();
    ends.find(|&at| text.ends_with(&string[..at])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_ends_before_the_first_stop_string_however_it_is_cut() {
        let cases: &[(&[&str], &[&str], &str, bool)] = &[
            (&[], &["a", "b"], "ab", false),
            (&["\n\n"], &["one\n", "two\n", "\nthree"], "one\ntwo", true),
            (&["User:"], &["hi Us", "er", ": x"], "hi ", true),
            (&["User:"], &["hi Us", "ed up"], "hi Used up", false),
            (&["aab"], &["a", "a", "a", "b", "c"], "a", true),
            (&["later", "now"], &["do it now, later"], "do it ", true),
            (&["é!"], &["caf", "é", "!"], "caf", true),
            (&["é!"], &["caf", "é"], "café", false),
            (&["", "x"], &["abc"], "abc", false),
        ];
        for (strings, pieces, expected, stopped) in cases {
            let mut stops = Stops::new(&strings.iter().map(|s| s.to_string()).collect::<Vec<_>>());
            let (mut text, mut found) = (String::new(), false);
            for piece in *pieces {
                let (shown, stop) = stops.push(piece);
                text.push_str(&shown);
                found = stop;
                if stop {
                    break;
                }
            }
            text.push_str(&stops.finish());
            assert_eq!((text.as_str(), found), (*expected, *stopped), "{strings:?} in {pieces:?}");
        }
    }
}
