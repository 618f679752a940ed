//! Whether standard output was open when the program started. Rust's runtime puts /dev/null in the place of a closed one before
//! `main`, and then text vanishes while everything seems to be well.

use start::was_closed;
use wgllm_engine::{Error, Result};

/// Fails where what is printed would go nowhere.
pub fn check() -> Result<()> {
    match was_closed() {
        true => Err(Error::Other("standard output is closed: send it to a file, or to /dev/null".into())),
        false => Ok(()),
    }
}

#[cfg(any(target_os = "linux", target_os = "macos"))]
mod start {
    use std::sync::atomic::{AtomicBool, Ordering};

    static CLOSED: AtomicBool = AtomicBool::new(false);

    pub fn was_closed() -> bool {
        CLOSED.load(Ordering::Relaxed)
    }

    extern "C" fn look() {
        // SAFETY: asks for the flags of a descriptor, which may be open or not.
        if unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) } == -1 {
            CLOSED.store(true, Ordering::Relaxed);
        }
    }

    // SAFETY: this section is a list of functions of C's calling convention that the system calls, one by one, before `main`.
    // `look` needs nothing that is not there yet.
    #[used]
    #[cfg_attr(target_os = "linux", unsafe(link_section = ".init_array"))]
    #[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__mod_init_func"))]
    static LOOK: extern "C" fn() = look;
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
mod start {
    pub fn was_closed() -> bool {
        false
    }
}
