//! Token ids as they are written on a command line, and ids for measuring and comparing, where any will do but they must
//! be the same each time.

/// Token ids of one argument. A type of its own, because to clap a plain vector is an argument given several times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids(pub Vec<u32>);

/// Reads ids with commas, white space or both between them: `1,2,3` as well as what `tokenize` prints.
pub fn parse(text: &str) -> Result<Ids, String> {
    let id = |part: &str| {
        let part = part.trim();
        part.parse().map_err(|_| format!("{part:?} is no token id; expected numbers like 1,2,3 or 1 2 3"))
    };
    // Between two commas there is an id, so that one left out is noticed; a list may be empty or end in a comma.
    let text = text.trim();
    let text = text.strip_suffix(',').filter(|ids| !ids.is_empty()).unwrap_or(text);
    let parts = text.split(',').filter(|_| !text.is_empty());
    let parts = parts.flat_map(|part| match part.trim() {
        "" => vec![""],
        part => part.split_whitespace().collect(),
    });
    parts.map(id).collect::<Result<_, _>>().map(Ids)
}

/// `count` ids below `vocab` that depend on nothing but the seed. SplitMix64 (Steele, Lea and Flood 2014).
pub fn random(seed: u64, count: usize, vocab: usize) -> Vec<u32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    (0..count).map(|_| (next() % vocab.max(1) as u64) as u32).collect()
}

#[cfg(test)]
mod tests {
    use super::{Ids, parse, random};

    #[test]
    fn ids_are_read_with_commas_spaces_and_both() {
        for text in ["1,2,3", "1, 2, 3", "1 2 3", " 1\t2\n3 ", "1 ,2,3,", "1, 2 3"] {
            assert_eq!(parse(text), Ok(Ids(vec![1, 2, 3])), "{text:?}");
        }
        assert_eq!(parse(" "), Ok(Ids(vec![])));
        for text in ["1,,2", "1;2", "-1", "x", "4294967296", "1 ,, 2", ","] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn ids_are_within_the_vocabulary_and_the_same_for_the_same_seed() {
        let ids = random(7, 1000, 97);
        assert!(ids.iter().all(|&id| id < 97));
        assert_eq!(ids, random(7, 1000, 97));
        assert_ne!(ids, random(8, 1000, 97));
        // The generator's published first output for the seed 0 is 0xe220a8397b1dcdaf.
        assert_eq!(random(0, 1, 1 << 32), [0x7b1d_cdaf]);
    }
}
