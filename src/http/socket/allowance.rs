//! How much a client may say on one socket. Whoever is only sent messages may acknowledge every one of them.

use std::time::Duration;

use tokio::time::Instant;

/// So much may be said at once …
const AT_ONCE: u32 = 100;
/// … and one more thing each time that so long has passed.
const ONE_EVERY: Duration = Duration::from_millis(50);
/// What is sent may be acknowledged later, up to so many.
const LEFT_MAX: u32 = 10_000;

/// What a client may still say.
pub(super) struct Allowance {
    left: u32,
    /// Up to when time was counted.
    since: Instant,
}

impl Allowance {
    /// That of a client who comes now.
    pub(super) fn new(now: Instant) -> Self {
        Self { left: AT_ONCE, since: now }
    }

    /// One more message was sent to it.
    pub(super) fn sent(&mut self) {
        self.left = (self.left + 1).min(LEFT_MAX);
    }

    /// It has said something; says whether it might.
    pub(super) fn takes(&mut self, now: Instant) -> bool {
        let passed = now.duration_since(self.since).as_micros() / ONE_EVERY.as_micros();
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        self.since += ONE_EVERY * passed;
        self.left = self.left.max(self.left.saturating_add(passed).min(AT_ONCE));
        let might = self.left > 0;
        self.left = self.left.saturating_sub(1);
        might
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_is_said_at_once_and_so_much_with_time() {
        let begin = Instant::now();
        let mut allowance = Allowance::new(begin);
        let mut said = |now: Instant| (0..1_000).filter(|_| allowance.takes(now)).count();
        assert_eq!(said(begin), 100);
        assert_eq!(said(begin + Duration::from_millis(99)), 1);
        assert_eq!(said(begin + Duration::from_millis(100)), 1, "what was left of the time counts");
        assert_eq!(said(begin + Duration::from_secs(3_600)), 100, "and is not saved up");
        assert_eq!(said(begin), 0, "time never runs backwards");
    }

    #[test]
    fn whoever_is_sent_much_may_acknowledge_all_of_it() {
        let now = Instant::now();
        let mut allowance = Allowance::new(now);
        for _ in 0..5_000 {
            allowance.sent();
        }
        assert_eq!((0..10_000).filter(|_| allowance.takes(now)).count(), 5_100);
    }
}
