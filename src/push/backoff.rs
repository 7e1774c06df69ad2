//! How long to wait before the peer is tried again: longer each time, and never all instances at once. It has no
//! clock.

use std::time::Duration;

/// The first pause is at most this long, each one after it at most twice as long …
const FIRST: Duration = Duration::from_millis(500);
/// … and none longer than this.
const MOST: Duration = Duration::from_secs(30);
/// A peer that says that it restarts, or has too much to do, is left alone for so long at least.
const LEFT_ALONE: Duration = Duration::from_secs(5);

/// Pauses between attempts.
#[derive(Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The peer has taken something: what went before is forgotten.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The next pause: any up to its most, so that instances that lost the peer together come back one by one ("full
    /// jitter"). `draw` gives one of the durations between two.
    pub(super) fn pause(
        &mut self,
        leave_alone: bool,
        draw: impl FnOnce(Duration, Duration) -> Duration,
    ) -> Duration {
        let most = FIRST.saturating_mul(1 << self.failures.min(16)).min(MOST);
        self.failures = self.failures.saturating_add(1);
        if leave_alone { draw(LEFT_ALONE, MOST) } else { draw(Duration::ZERO, most) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_most_and_begin_anew_with_the_first_success() {
        let mut backoff = Backoff::default();
        let most = |least: Duration, most: Duration| {
            assert_eq!(least, Duration::ZERO);
            most
        };
        let pauses: Vec<u128> = (0..9).map(|_| backoff.pause(false, most).as_millis()).collect();
        assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
        backoff.failures = u32::MAX;
        assert_eq!(backoff.pause(false, most), MOST);
        backoff.reset();
        assert_eq!(backoff.pause(false, most), FIRST);
    }

    #[test]
    fn a_peer_that_asks_for_it_is_left_alone_for_five_to_thirty_seconds() {
        let mut bounds = None;
        Backoff::default().pause(true, |least, most| {
            bounds = Some((least, most));
            most
        });
        assert_eq!(bounds, Some((LEFT_ALONE, MOST)));
    }
}
