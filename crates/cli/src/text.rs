//! Texts that people give, and numbers as they read them.

use wgllm_engine::{Error, Result};

/// The text of a file or of standard input, which `source` names, without the mark that some editors put in front of UTF-8.
pub fn decode(source: &str, bytes: Vec<u8>) -> Result<String> {
    const MARK: &str = "\u{feff}";
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text.strip_prefix(MARK).map(str::to_owned).unwrap_or(text)),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let what = match error.as_bytes() {
                [0xFF, 0xFE, ..] => "it begins like UTF-16 (little-endian); save it as UTF-8".to_owned(),
                [0xFE, 0xFF, ..] => "it begins like UTF-16 (big-endian); save it as UTF-8".to_owned(),
                _ => format!("not UTF-8 at byte {at}"),
            };
            Err(Error::Other(format!("{source}: {what}")))
        }
    }
}

/// A whole number with its thousands apart: 4,096.
pub fn count(n: impl TryInto<u64>) -> String {
    let digits = n.try_into().unwrap_or(u64::MAX).to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in MiB: 1,236 MiB, 3.8 MiB.
pub fn mib(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    if mib < 10.0 { format!("{mib:.1} MiB") } else { format!("{} MiB", count(mib.round() as u64)) }
}

/// Bytes as a disk counts them: 812 bytes, 98.4 MB, 4.7 GB.
pub fn bytes(bytes: u64) -> String {
    match bytes as f64 {
        b if b < 1e4 => plural(bytes as usize, "byte"),
        b if b < 1e6 => format!("{:.0} kB", b / 1e3),
        b if b < 1e9 => format!("{:.1} MB", b / 1e6),
        b => format!("{:.1} GB", b / 1e9),
    }
}

/// Milliseconds: 6 ms, 1.3 s.
pub fn duration(ms: f64) -> String {
    if ms < 10.0 {
        format!("{ms:.1} ms")
    } else if ms < 1000.0 {
        format!("{ms:.0} ms")
    } else {
        format!("{:.1} s", ms / 1e3)
    }
}

/// Something per second: 1,604, 9.3.
pub fn rate(per_second: f64) -> String {
    if per_second < 100.0 { format!("{per_second:.1}") } else { count(per_second.round() as u64) }
}

/// Bytes per second: 4.6 TB/s, 31 GB/s.
pub fn bandwidth(bytes_per_second: f64) -> String {
    match bytes_per_second / 1e9 {
        gb if gb >= 1000.0 => format!("{:.1} TB/s", gb / 1e3),
        gb if gb >= 10.0 => format!("{gb:.0} GB/s"),
        gb => format!("{gb:.1} GB/s"),
    }
}

/// "1 token", "3 tokens".
pub fn plural(n: usize, noun: &str) -> String {
    format!("{} {noun}{}", count(n as u64), if n == 1 { "" } else { "s" })
}

/// A table of columns that are as wide as their longest cell, two spaces apart; the last column is ragged.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let length = |cell: &String| cell.chars().count();
    let widths: Vec<usize> = (0..columns)
        .map(|c| rows.iter().filter_map(|row| row.get(c)).map(length).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well_on_both_sides_of_every_threshold() {
        let cases = [
            (count(0u64), "0"),
            (count(999u64), "999"),
            (count(1000u64), "1,000"),
            (count(1234567u64), "1,234,567"),
            (mib(3_972_352), "3.8 MiB"),
            (mib(1236 << 20), "1,236 MiB"),
            (bytes(1), "1 byte"),
            (bytes(812_499), "812 kB"),
            (bytes(98_362_432), "98.4 MB"),
            (bytes(4_680_000_000), "4.7 GB"),
            (duration(6.04), "6.0 ms"),
            (duration(96.4), "96 ms"),
            (duration(1301.0), "1.3 s"),
            (rate(9.26), "9.3"),
            (rate(1604.4), "1,604"),
            (bandwidth(4.6e12), "4.6 TB/s"),
            (bandwidth(31.4e9), "31 GB/s"),
            (bandwidth(9.3e9), "9.3 GB/s"),
            (plural(1, "token"), "1 token"),
            (plural(4096, "token"), "4,096 tokens"),
        ];
        for (got, expected) in cases {
            assert_eq!(got, expected);
        }
    }

    #[test]
    fn a_mark_in_front_is_no_text_and_utf_16_is_named() {
        let read = |bytes: &[u8]| decode("a file", bytes.into()).map_err(|error| error.to_string());
        assert_eq!(read(b"\xef\xbb\xbfhi\xef\xbb\xbf"), Ok("hi\u{feff}".into()));
        assert_eq!(read(b""), Ok(String::new()));
        for bytes in [&b"\xff\xfeh\0i\0"[..], b"\xfe\xff\0h\0i"] {
            let error = read(bytes).unwrap_err();
            assert!(
                error.contains("a file") && error.contains("UTF-16") && error.contains("UTF-8"),
                "{error}"
            );
        }
        assert!(read(b"abc\xe9").unwrap_err().contains("byte 3"));
    }

    #[test]
    fn columns_line_up_and_lines_have_no_trailing_spaces() {
        let rows = [vec!["a".into(), "·".into(), "x".into()], vec!["bcd".into(), "ef".into(), String::new()]];
        assert_eq!(table(&rows), "a    ·   x\nbcd  ef\n");
    }
}
