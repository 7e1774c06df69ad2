//! When somebody was heard of: what tells silence from a person who never sends much.

use serde::{Deserialize, Serialize};

use crate::time::{Micros, Timestamp};

/// When live readings came. Small: everybody has one.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Heard {
    /// The newest, µs since 1970; 0 for never.
    last: i64,
    /// UTC days with live readings, up to the newest one, which is the lowest bit.
    days: u32,
}

impl Heard {
    /// Live readings came at `now`.
    pub(super) fn hear(&mut self, now: Timestamp) {
        let before = Timestamp::from_micros(self.last).day();
        let gap = now.day().saturating_sub(before);
        if self.last == 0 {
            self.days = 1;
        } else if let Ok(gap) = u32::try_from(gap) {
            self.days = self.days.checked_shl(gap).unwrap_or(0) | 1;
        }
        self.last = self.last.max(now.as_micros());
    }

    /// When the newest live readings came.
    pub(super) fn last(self) -> Option<Timestamp> {
        (self.last != 0).then(|| Timestamp::from_micros(self.last))
    }

    /// When the silence of somebody who was heard of on `days` of the last `of_days` days has lasted for
    /// `after`; `None` for anybody else.
    pub(super) fn silent_at(self, after: Micros, days: u32, of_days: u32) -> Option<Timestamp> {
        let window = 1_u32.checked_shl(of_days).map_or(u32::MAX, |bit| bit - 1);
        let heard = (self.days & window).count_ones();
        self.last().filter(|_| heard >= days).map(|last| last + after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 60;

    fn heard_on(days: &[i64]) -> Heard {
        let mut heard = Heard::default();
        for day in days {
            heard.hear(Timestamp::from_micros(0) + Micros::from_minutes(day * DAY + 60));
        }
        heard
    }

    #[test]
    fn only_silence_of_somebody_who_had_data_on_most_days_is_silence() {
        let after = Micros::from_minutes(36 * 60);
        let silent = |days: &[i64]| heard_on(days).silent_at(after, 5, 7);
        assert_eq!(silent(&[]), None);
        assert_eq!(silent(&[1, 2, 3, 4]), None);
        let last = Timestamp::from_micros(0) + Micros::from_minutes(5 * DAY + 60);
        assert_eq!(silent(&[1, 2, 3, 4, 5]), Some(last + after));
        assert_eq!(silent(&[1, 2, 3, 4, 12]), None, "long ago is not daily");
        assert!(silent(&[1, 2, 3, 4, 7]).is_some(), "five of seven");
        assert_eq!(silent(&[1, 2, 3, 4, 8]), None, "four of seven");
        assert_eq!(silent(&[1, 2, 3, 4, 400]), None, "further than there are bits");
    }

    #[test]
    fn an_older_time_makes_nothing_newer() {
        let mut heard = heard_on(&[3]);
        heard.hear(Timestamp::from_micros(1));
        assert!(heard == heard_on(&[3]));
    }
}
