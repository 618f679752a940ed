//! SentencePiece's table of replacements, which `Precompiled` normalisers have: a double array and the texts that it leads to. The crate
//! that looks things up in it trusts it, so that all of its ways are gone here first.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Looks at a table in base64.
///
/// # Errors
/// Says what is wrong with it.
pub(super) fn check(table: &Value) -> Result<(), String> {
    let bytes = table.as_str().and_then(|text| STANDARD.decode(text).ok());
    let bytes = bytes.ok_or("the precompiled_charsmap of its normaliser is no base64")?;
    let whole = Table::read(&bytes).is_some_and(|table| table.is_whole());
    whole.then_some(()).ok_or("the precompiled_charsmap of its normaliser is damaged".into())
}

/// The bytes of the units (u32) · units (u32 each) · texts, each with a 0 behind it.
struct Table<'a> {
    units: &'a [[u8; 4]],
    texts: &'a str,
}

impl<'a> Table<'a> {
    fn read(bytes: &'a [u8]) -> Option<Table<'a>> {
        let (length, rest) = bytes.split_first_chunk()?;
        let length = u32::from_le_bytes(*length) as usize / 4 * 4;
        let (units, texts) = rest.split_at_checked(length)?;
        Some(Table { units: units.as_chunks().0, texts: str::from_utf8(texts).ok()? })
    }

    fn unit(&self, at: usize) -> Option<u32> {
        self.units.get(at).copied().map(u32::from_le_bytes)
    }

    /// Whether every byte at every place that can be reached leads to a unit, and every leaf to the beginning of a letter.
    fn is_whole(&self) -> bool {
        let Some(root) = self.unit(0) else { return false };
        let (mut waiting, mut seen) = (vec![below(0, root)], HashSet::new());
        while let Some(base) = waiting.pop() {
            for byte in 1..=255u32 {
                let at = base ^ byte as usize;
                let Some(unit) = self.unit(at) else { return false };
                if unit & (1 << 31 | 0xff) != byte {
                    continue;
                }
                let next = below(at, unit);
                if unit >> 8 & 1 == 1 {
                    let text = self.unit(next).map(|leaf| (leaf & !(1 << 31)) as usize);
                    if !text.is_some_and(|text| self.texts.is_char_boundary(text)) {
                        return false;
                    }
                }
                if seen.insert(next) {
                    waiting.push(next);
                }
            }
        }
        true
    }
}

/// Where the units are that follow the one at `at`.
fn below(at: usize, unit: u32) -> usize {
    at ^ ((unit as usize >> 10) << ((unit & 1 << 9) >> 6))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a` becomes the text at `text` of `texts`; `units` of 256, the first of which leads to 128.
    fn table(units: usize, text: u32, texts: &str) -> Value {
        let mut all = vec![0u32; units];
        all[0] = 128 << 10;
        all[128 ^ 97] = 1 << 10 | 1 << 8 | 97;
        all[128 ^ 97 ^ 1] = 1 << 31 | text;
        let mut bytes = (4 * units as u32).to_le_bytes().to_vec();
        bytes.extend(all.iter().flat_map(|unit| unit.to_le_bytes()));
        bytes.extend(texts.as_bytes());
        STANDARD.encode(bytes).into()
    }

    #[test]
    fn tables_that_lead_out_of_themselves_are_refused() {
        assert_eq!(check(&table(256, 0, "é\0")), Ok(()));
        assert_eq!(check(&table(256, 3, "é\0")), Ok(()));
        for (units, text) in [(255, 0), (256, 1), (256, 4)] {
            assert!(check(&table(units, text, "é\0")).is_err(), "{units} units, text {text}");
        }
        for bytes in ["", "AAAA", "AAAAAA==", "/////w==", "BAAAAAAAAAA=", "x"] {
            assert!(check(&bytes.into()).is_err(), "{bytes}");
        }
        assert!(check(&Value::Null).is_err());
    }
}
