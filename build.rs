//! Leaves out of the users' binary what only unwinding reads.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::{env, fs, io};

/// Of a binary that aborts on panics, tables for unwinding would be a tenth: the standard library comes with its own, all that is inlined from it asks
/// for more, and no flag of the compiler leaves them out. Cargo tells a build script neither whether panics abort nor which profile it is for,
/// but for the folder that it may write to.
fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(without_unwind_tables)");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    // PROFILE/build/PACKAGE/out
    let is_dist = out.ancestors().nth(3).is_some_and(|folder| folder.ends_with("dist"));
    if is_dist && env::var_os("CARGO_CFG_TARGET_OS").as_deref() == Some(OsStr::new("linux")) {
        let script = out.join("without_unwind_tables.ld");
        fs::write(&script, "SECTIONS { /DISCARD/ : { *(.eh_frame) } } INSERT AFTER .text;\n")?;
        // `main.rs` refuses to be compiled by this if panics unwind.
        println!("cargo::rustc-cfg=without_unwind_tables");
        println!("cargo::rustc-link-arg-bins=-Wl,--no-eh-frame-hdr,-T,{}", script.display());
    }
    Ok(())
}
