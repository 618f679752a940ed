//! Giving up: a flag that one thread raises and those that work look at between steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

/// Whether to give up. Clones are the same flag; looking at it costs a load from memory.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// A flag that is not raised.
    pub fn new() -> Cancel {
        Cancel::default()
    }

    /// Raises the flag; says whether it was raised before.
    pub fn cancel(&self) -> bool {
        self.0.swap(true, Ordering::Relaxed)
    }

    /// Whether the flag is raised.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// For long work, to call between its steps.
    ///
    /// # Errors
    /// [`Error::Interrupted`] once the flag is raised.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::Interrupted) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_clone_sees_the_flag() {
        let (here, there) = (Cancel::new(), Cancel::new());
        let clone = here.clone();
        assert!(clone.check().is_ok() && !here.cancel() && here.cancel());
        assert!(matches!(clone.check(), Err(Error::Interrupted)) && there.check().is_ok());
        assert_eq!(Error::Interrupted.exit_code(), 130);
    }
}
