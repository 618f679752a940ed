//! What a callback of the device tells, to be awaited.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// Ready once it was given.
#[derive(Clone, Default)]
pub struct Signal(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    given: bool,
    waker: Option<Waker>,
}

impl Signal {
    /// Wakes who waits.
    pub fn give(&self) {
        let mut state = self.0.lock().unwrap_or_else(|e| e.into_inner());
        state.given = true;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }
}

impl Future for Signal {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock().unwrap_or_else(|e| e.into_inner());
        if state.given {
            return Poll::Ready(());
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocking::block_on;

    #[test]
    fn a_signal_wakes_who_waited_before_and_who_comes_behind() {
        let signal = Signal::default();
        let given = signal.clone();
        let waits = std::thread::spawn(move || block_on(signal));
        std::thread::sleep(std::time::Duration::from_millis(20));
        given.give();
        waits.join().unwrap();
        block_on(given);
    }
}
