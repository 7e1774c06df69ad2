//! Instants and lengths of time in whole microseconds; this module never reads a clock.

use std::fmt;
use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize, Serializer};

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// A length of time in microseconds; negative when it points back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Micros(pub i64);

/// An instant: microseconds since 1970-01-01T00:00:00Z, without leap seconds.
///
/// Its text form (`Display`, `Serialize`) is `2025-03-03T08:00:00.000000Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(i64);

/// A day, counted from 1970-01-01, in UTC or in local time as the owner says.
pub(crate) type Day = i32;

impl Micros {
    /// `minutes` whole minutes.
    pub const fn from_minutes(minutes: i64) -> Self {
        Self(minutes * 60 * MICROS_PER_SECOND)
    }

    /// `seconds` whole seconds.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds * MICROS_PER_SECOND)
    }

    /// The length in seconds, for people; the engine itself compares whole microseconds.
    #[expect(clippy::cast_precision_loss, reason = "for display; exact up to 285 years")]
    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// The distance regardless of direction.
    pub(crate) fn abs(self) -> Self {
        Self(self.0.saturating_abs())
    }
}

impl Timestamp {
    /// The instant `micros` microseconds after 1970-01-01T00:00:00Z.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// The instant of a Kafka timestamp: `millis` milliseconds after 1970-01-01T00:00:00Z.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The same instant, cut to the whole millisecond at or before it.
    pub(crate) const fn cut_to_millis(self) -> Self {
        Self(self.0 - self.0.rem_euclid(1_000))
    }

    /// The UTC day of this instant.
    pub(crate) fn day(self) -> Day {
        day_of(self.0)
    }

    /// Local day and hour (0..=23) of this instant where clocks are `utc_offset_minutes` ahead of UTC.
    pub(crate) fn local_day_and_hour(self, utc_offset_minutes: i16) -> (Day, u8) {
        let local = self.0.saturating_add(Micros::from_minutes(utc_offset_minutes.into()).0);
        let hour = local.rem_euclid(MICROS_PER_DAY) / (3_600 * MICROS_PER_SECOND);
        (day_of(local), u8::try_from(hour).unwrap_or(0))
    }
}

fn day_of(micros: i64) -> Day {
    // 2^63 µs are 106 million days: every quotient fits.
    Day::try_from(micros.div_euclid(MICROS_PER_DAY)).unwrap_or(Day::MAX)
}

/// Days from 1970-01-01 to a date of the proleptic Gregorian calendar (`month` 1..=12).
///
/// Years are counted from March, so that the leap day comes last and every month's start is a
/// linear function of its number.
pub(crate) fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // 719,468 days lie between 0000-03-01 and 1970-01-01.
    year * 365 + leap_days + day_of_year - 719_468
}

/// The date that lies `days` days after 1970-01-01: the inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    // Days from 0000-03-01, in cycles of 400 years of 146,097 days.
    let days = days + 719_468;
    let (cycle, day_of_cycle) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let leap_days = day_of_cycle / 1_460 - day_of_cycle / 36_524 + day_of_cycle / 146_096;
    let year_of_cycle = (day_of_cycle - leap_days) / 365;
    let day_of_year =
        day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    (cycle * 400 + year_of_cycle + i64::from(month <= 2), month, day)
}

impl Sub for Timestamp {
    type Output = Micros;

    fn sub(self, earlier: Self) -> Micros {
        Micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Micros> for Timestamp {
    type Output = Self;

    fn add(self, length: Micros) -> Self {
        Self(self.0.saturating_add(length.0))
    }
}

impl Timestamp {
    /// Year, month, day, hour, minute, second and microsecond, in UTC.
    fn civil(self) -> [i64; 7] {
        let (year, month, day) = civil_from_days(self.0.div_euclid(MICROS_PER_DAY));
        let micros = self.0.rem_euclid(MICROS_PER_DAY);
        let (seconds, micros) = (micros / MICROS_PER_SECOND, micros % MICROS_PER_SECOND);
        [year, month, day, seconds / 3_600, seconds / 60 % 60, seconds % 60, micros]
    }

    /// Hands on the text form. That of the years 0 to 9999, and no record is from others, is written by fixed places.
    fn with_text<T>(self, take: impl FnOnce(&str) -> T) -> T {
        let [year, month, day, hour, minute, second, micros] = self.civil();
        if !(0..=9_999).contains(&year) {
            return take(&format!(
                "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z"
            ));
        }
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        let mut put = |at: usize, digits: usize, mut number: i64| {
            for place in text[at..at + digits].iter_mut().rev() {
                *place = b'0' + u8::try_from(number % 10).unwrap_or(0);
                number /= 10;
            }
        };
        put(0, 4, year);
        for (at, number) in [(5, month), (8, day), (11, hour), (14, minute), (17, second)] {
            put(at, 2, number);
        }
        put(20, 6, micros);
        // Nothing but ASCII was put there.
        take(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_text(|text| f.write_str(text))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.with_text(|text| serializer.serialize_str(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_prints_six_digits_and_a_z() {
        let time = Timestamp::from_micros(1_740_988_800_000_001);
        assert_eq!(time.to_string(), "2025-03-03T08:00:00.000001Z");
        assert_eq!(Timestamp::from_micros(0).to_string(), "1970-01-01T00:00:00.000000Z");
    }

    #[test]
    fn years_of_four_digits_are_where_the_usual_way_ends() {
        let last = Timestamp::from_micros(253_402_300_799_999_999);
        assert_eq!(last.to_string(), "9999-12-31T23:59:59.999999Z");
        assert_eq!((last + Micros(1)).to_string(), "10000-01-01T00:00:00.000000Z");
        let first = Timestamp::from_micros(-62_167_219_200_000_000);
        assert_eq!(first.to_string(), "0000-01-01T00:00:00.000000Z");
        assert_eq!((first + Micros(-1)).to_string(), "-001-12-31T23:59:59.999999Z");
        for time in [last, last + Micros(1)] {
            assert_eq!(serde_json::to_string(&time).ok(), Some(format!("\"{time}\"")));
        }
    }

    #[test]
    fn days_follow_the_calendar() {
        assert_eq!(days_from_civil(1970, 1, 1), 0);
        assert_eq!(days_from_civil(2000, 2, 29), 11_016);
        assert_eq!(days_from_civil(2000, 3, 1), 11_017);
        assert_eq!(days_from_civil(9999, 12, 31), 2_932_896);
        assert_eq!(days_from_civil(1969, 12, 31), -1);
    }

    #[test]
    fn local_day_and_hour_follow_the_offset() {
        let midnight = Timestamp::from_micros(0);
        assert_eq!(midnight.local_day_and_hour(0), (0, 0));
        assert_eq!(midnight.local_day_and_hour(-1), (-1, 23));
        assert_eq!(midnight.local_day_and_hour(150), (0, 2));
    }

    #[test]
    fn extremes_saturate_instead_of_wrapping() {
        let far = Timestamp::from_millis(i64::MAX);
        assert_eq!(far - Timestamp::from_micros(-1), Micros(i64::MAX));
        assert_eq!(far + Micros(1), far);
    }
}
