//! Instants as the databases keep them; never a clock.

use chrono::{DateTime, Utc};
use neuros::time::Timestamp;

/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59.999999Z: what both databases keep, and SQLite's text
/// sorts.
const FIRST: i64 = -62_135_596_800_000_000;
const LAST: i64 = 253_402_300_799_999_999;

/// An instant for the database. One outside the years 1 to 9999, which a producer's broken clock can
/// put into the log, becomes the nearest that fits: it must not stop a lane.
pub(super) fn of(time: Timestamp) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros(time)).unwrap_or(DateTime::UNIX_EPOCH)
}

/// The same in microseconds since 1970.
pub(super) fn micros(time: Timestamp) -> i64 {
    time.as_micros().clamp(FIRST, LAST)
}

/// An instant from the database.
pub(super) fn from(time: DateTime<Utc>) -> Timestamp {
    Timestamp::from_micros(time.timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_comes_back_and_one_out_of_range_becomes_the_nearest() {
        for micros in [0, 1, -1, FIRST, LAST, 1_700_000_000_123_456] {
            assert_eq!(from(of(Timestamp::from_micros(micros))).as_micros(), micros);
        }
        assert_eq!(from(of(Timestamp::from_micros(i64::MAX))).as_micros(), LAST);
        assert_eq!(from(of(Timestamp::from_micros(i64::MIN))).as_micros(), FIRST);
        assert_eq!(
            of(Timestamp::from_micros(LAST)).to_rfc3339(),
            "9999-12-31T23:59:59.999999+00:00"
        );
    }
}
