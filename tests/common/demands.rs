//! What a test demands, each with an error that says what was found instead.
#![allow(dead_code)] // Each test binary uses its own share of this.

use libtest_mimic::Failed;

pub fn must(holds: bool, what: impl FnOnce() -> String) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(what().into()) }
}

pub fn equal<T: PartialEq + std::fmt::Debug>(got: T, expected: T) -> Result<(), Failed> {
    must(got == expected, || format!("got {got:?}, expected {expected:?}"))
}

pub fn contains(text: &str, part: &str) -> Result<(), Failed> {
    must(text.contains(part), || format!("no {part:?} in {text:?}"))
}
