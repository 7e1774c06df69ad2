//! Whether asking is worth it: after some failures one after the other nobody is asked for a while. Knows no clock.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Failures one after the other after which nobody is asked …
const FAILURES_MAX: u32 = 5;
/// … for so long.
const REST: Duration = Duration::from_mins(1);

/// Counts failures.
#[derive(Default)]
pub(super) struct Circuit(Mutex<State>);

#[derive(Default)]
struct State {
    failures: u32,
    open_until: Option<Instant>,
}

impl Circuit {
    /// Whether somebody may be asked at `now`.
    pub(super) fn admits(&self, now: Instant) -> bool {
        self.state(|state| state.open_until.is_none_or(|until| now >= until))
    }

    /// An answer came; says whether nobody was to be asked before.
    pub(super) fn answered(&self) -> bool {
        self.state(|state| std::mem::take(state).open_until.is_some())
    }

    /// None came at `now`; says whether nobody is to be asked from now on.
    pub(super) fn failed(&self, now: Instant) -> bool {
        self.state(|state| {
            state.failures = state.failures.saturating_add(1);
            // After its rest the first who asks may fail, and the next rest begins.
            let opens = state.failures >= FAILURES_MAX;
            if opens {
                state.open_until = Some(now + REST);
            }
            opens
        })
    }

    fn state<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_five_failures_in_a_row_there_is_a_rest_and_then_one_more_is_enough() {
        let (circuit, now) = (Circuit::default(), Instant::now());
        for _ in 0..4 {
            assert!(!circuit.failed(now));
        }
        assert!(!circuit.answered(), "it was not open");
        for _ in 0..4 {
            assert!(!circuit.failed(now) && circuit.admits(now));
        }
        assert!(circuit.failed(now));
        assert!(!circuit.admits(now + REST - Duration::from_millis(1)));
        let later = now + REST;
        assert!(circuit.admits(later));
        assert!(circuit.failed(later), "it has not recovered");
        assert!(!circuit.admits(later));
        assert!(circuit.admits(later + REST) && circuit.answered());
        assert!(circuit.admits(later));
    }
}
