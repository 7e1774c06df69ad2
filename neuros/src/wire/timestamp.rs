//! The timestamp forms that producers send, and the zones in which those without an offset are read.

use std::collections::BTreeMap;

use jiff::civil;
use jiff::tz::TimeZone;

use super::number::Number;
use crate::time::{Timestamp, days_from_civil};

/// 9999-12-31T23:59:59.999999Z, the last instant that is accepted; the first is 1970.
const LAST: i64 = 253_402_300_799_999_999;

/// A timestamp as it was written: clock reading and, where given, its distance from UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Microseconds since 1970-01-01T00:00:00 on the clock that was read.
    clock: i64,
    /// Minutes that the clock is ahead of UTC; `None` when the text does not say.
    utc_offset_minutes: Option<i16>,
}

/// A stamp with its place in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) time: Timestamp,
    pub(crate) utc_offset_minutes: i16,
    pub(crate) tz_assumed: bool,
}

/// The zones in which timestamps without an offset are read: one for each source that needs its
/// own, and one for all others.
///
/// A source is named by a record's `device_type`, else its CloudEvents source, else its
/// `device_id`.
#[derive(Clone, Debug)]
pub struct NaiveZones {
    /// The zone of every source that is not named.
    pub default: TimeZone,
    /// The zones of named sources.
    pub by_source: BTreeMap<String, TimeZone>,
}

impl Default for NaiveZones {
    fn default() -> Self {
        Self { default: TimeZone::UTC, by_source: BTreeMap::new() }
    }
}

impl NaiveZones {
    /// The zone of the first of `sources` that has one of its own, else the default.
    pub(crate) fn of<'z>(&'z self, sources: [Option<&str>; 3]) -> &'z TimeZone {
        if self.by_source.is_empty() {
            return &self.default;
        }
        let named = sources.into_iter().flatten().find_map(|source| self.by_source.get(source));
        named.unwrap_or(&self.default)
    }
}

impl Stamp {
    /// Reads `YYYY-MM-DD`, `T`, `t` or a space, `HH:MM`, optional `:SS` and 1–9 fraction digits,
    /// then `Z`, `z`, `±HH:MM`, `±HHMM` or nothing.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        Self::from_usual_text(text.as_bytes()).or_else(|| Self::from_any_text(text))
    }

    /// The same of `YYYY-MM-DDTHH:MM:SSZ` with no, three or six fraction digits, as most producers write it.
    fn from_usual_text(text: &[u8]) -> Option<Self> {
        let (date, rest) = text.split_first_chunk()?;
        let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1, b'T'] = *date else { return None };
        let (clock, rest) = rest.split_first_chunk()?;
        let [h0, h1, b':', n0, n1, b':', s0, s1] = *clock else { return None };
        let [f0, f1, f2, f3, f4, f5] = match *rest {
            [b'Z'] => [b'0'; 6],
            [b'.', f0, f1, f2, b'Z'] => [f0, f1, f2, b'0', b'0', b'0'],
            [b'.', f0, f1, f2, f3, f4, f5, b'Z'] => [f0, f1, f2, f3, f4, f5],
            _ => return None,
        };
        let digits =
            [y0, y1, y2, y3, m0, m1, d0, d1, h0, h1, n0, n1, s0, s1, f0, f1, f2, f3, f4, f5]
                .map(|byte| byte.wrapping_sub(b'0'));
        if digits.iter().fold(false, |beyond, digit| beyond | (*digit > 9)) {
            return None;
        }
        let pair = |at: usize| i64::from(digits[at] * 10 + digits[at + 1]);
        let [century, year, month, day, hour, minute, second, f0, f1, f2] =
            [0, 2, 4, 6, 8, 10, 12, 14, 16, 18].map(pair);
        let micros = f0 * 10_000 + f1 * 100 + f2;
        let clock = clock_of((century * 100 + year, month, day), (hour, minute, second), micros)?;
        Some(Self { clock, utc_offset_minutes: Some(0) })
    }

    fn from_any_text(text: &str) -> Option<Self> {
        let mut rest = Digits(text.as_bytes());
        let year = rest.number(4)?;
        let month = rest.after(b'-')?.number(2)?;
        let day = rest.after(b'-')?.number(2)?;
        let (b'T' | b't' | b' ') = rest.take()? else {
            return None;
        };
        let hour = rest.number(2)?;
        let minute = rest.after(b':')?.number(2)?;
        let (second, micros) = rest.seconds()?;
        let clock = clock_of((year, month, day), (hour, minute, second), micros)?;
        Some(Self { clock, utc_offset_minutes: rest.utc_offset_minutes()? })
    }

    /// Reads Unix seconds, or milliseconds when above 1e11; fractions round to the microsecond.
    pub(crate) fn from_number(number: Number<'_>) -> Option<Self> {
        let clock = match number.whole() {
            Some(whole) => {
                let whole = whole?;
                let unit = if whole > 100_000_000_000 { 1_000 } else { 1_000_000 };
                whole.checked_mul(unit)?
            }
            None => {
                let value = number.finite()?;
                let micros = (value * if value > 1e11 { 1e3 } else { 1e6 } + 0.5).floor();
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "the range is checked, and the cast saturates"
                )]
                let clock = micros as i64;
                clock
            }
        };
        Some(Self { clock, utc_offset_minutes: Some(0) })
    }

    /// Places the stamp in time; `None` outside 1970..9999 UTC.
    ///
    /// Where `zone`'s clocks skip a stamp, it is read as before the skip; where they show it
    /// twice, the first of the two is meant (RFC 5545).
    pub(crate) fn resolve(self, zone: &TimeZone) -> Option<Resolved> {
        let (minutes, tz_assumed) = match self.utc_offset_minutes {
            Some(minutes) => (minutes, false),
            None if *zone == TimeZone::UTC => (0, true),
            None => (offset_in(zone, self.clock)?, true),
        };
        let micros = self.clock.checked_sub(i64::from(minutes) * 60_000_000)?;
        (0..=LAST).contains(&micros).then_some(Resolved {
            time: Timestamp::from_micros(micros),
            utc_offset_minutes: minutes,
            tz_assumed,
        })
    }
}

/// Microseconds since 1970-01-01T00:00:00 on a clock that shows this; `None` when no clock does.
#[inline]
fn clock_of(
    (year, month, day): (i64, i64, i64),
    (hour, minute, second): (i64, i64, i64),
    micros: i64,
) -> Option<i64> {
    let is_date = (1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day);
    if !is_date || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(seconds * 1_000_000 + micros)
}

/// The offset from UTC, in minutes, of a clock in `zone` that shows `clock`.
fn offset_in(zone: &TimeZone, clock: i64) -> Option<i16> {
    let epoch = civil::DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
    let shown = epoch.checked_add(jiff::SignedDuration::from_micros(clock)).ok()?;
    let instant = zone.to_ambiguous_timestamp(shown).compatible().ok()?;
    i16::try_from((clock - instant.as_microsecond()).div_euclid(60_000_000)).ok()
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// The unread part of a timestamp's text.
struct Digits<'a>(&'a [u8]);

impl Digits<'_> {
    #[inline]
    fn take(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    #[inline]
    fn after(&mut self, separator: u8) -> Option<&mut Self> {
        (self.take()? == separator).then_some(self)
    }

    /// Exactly `count` digits.
    #[inline]
    fn number(&mut self, count: usize) -> Option<i64> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        digits.iter().try_fold(0, |number, digit| {
            digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0'))
        })
    }

    /// `:SS` and a fraction of 1–9 digits, cut to microseconds, if they are there.
    fn seconds(&mut self) -> Option<(i64, i64)> {
        if self.0.first() != Some(&b':') {
            return Some((0, 0));
        }
        let second = self.after(b':')?.number(2)?;
        if self.0.first() != Some(&b'.') {
            return Some((second, 0));
        }
        self.take()?;
        let count = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(1..=9).contains(&count) {
            return None;
        }
        let kept = count.min(6);
        let micros = (kept..6).fold(self.number(kept)?, |micros, _| micros * 10);
        self.number(count - kept)?;
        Some((second, micros))
    }

    /// What stands at the end: `Some(None)` for nothing, `None` for anything unknown.
    #[expect(clippy::option_option, reason = "no offset and no valid offset are different answers")]
    fn utc_offset_minutes(&mut self) -> Option<Option<i16>> {
        let sign = match self.take() {
            None => return Some(None),
            Some(b'Z' | b'z') => return self.0.is_empty().then_some(Some(0)),
            Some(b'+') => 1,
            Some(b'-') => -1,
            Some(_) => return None,
        };
        let hours = self.number(2)?;
        if self.0.first() == Some(&b':') {
            self.take()?;
        }
        let minutes = self.number(2)?;
        if hours > 23 || minutes > 59 || !self.0.is_empty() {
            return None;
        }
        i16::try_from(sign * (hours * 60 + minutes)).ok().map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(text: &str) -> Option<(i64, i16, bool)> {
        in_zone(text, &TimeZone::UTC)
    }

    fn in_zone(text: &str, zone: &TimeZone) -> Option<(i64, i16, bool)> {
        let resolved = Stamp::from_text(text)?.resolve(zone)?;
        Some((resolved.time.as_micros(), resolved.utc_offset_minutes, resolved.tz_assumed))
    }

    fn number(text: &str) -> Option<i64> {
        let resolved = Stamp::from_number(Number::parse(text)?)?.resolve(&TimeZone::UTC)?;
        Some(resolved.time.as_micros())
    }

    #[test]
    fn the_usual_form_is_read_as_any_other_is() {
        let usual =
            ["2025-03-03T08:00:00.123456Z", "2024-02-29T23:59:59.120Z", "1970-01-01T00:00:00Z"];
        for text in usual {
            let stamp = Stamp::from_usual_text(text.as_bytes());
            assert!(stamp.is_some() && stamp == Stamp::from_any_text(text), "{text}");
            for at in 0..text.len() {
                for byte in b"09:/Z-T.a" {
                    let mut changed = text.as_bytes().to_vec();
                    changed[at] = *byte;
                    let changed = String::from_utf8(changed).expect("ASCII");
                    let stamp = Stamp::from_usual_text(changed.as_bytes());
                    assert!(
                        stamp.is_none() || stamp == Stamp::from_any_text(&changed),
                        "{changed}"
                    );
                }
            }
        }
    }

    const EIGHT: i64 = 1_740_988_800_000_000;

    #[test]
    fn every_written_form_is_read() {
        assert_eq!(utc("2025-03-03T08:00:00Z"), Some((EIGHT, 0, false)));
        assert_eq!(utc("2025-03-03t08:00:00z"), Some((EIGHT, 0, false)));
        assert_eq!(utc("2025-03-03 08:00"), Some((EIGHT, 0, true)));
        assert_eq!(utc("2025-03-03T08:00Z"), Some((EIGHT, 0, false)));
        assert_eq!(utc("2025-03-03T10:30:00+02:30"), Some((EIGHT, 150, false)));
        assert_eq!(utc("2025-03-02T23:01:00-0859"), Some((EIGHT, -539, false)));
        assert_eq!(utc("2025-03-03T08:00:00.1"), Some((EIGHT + 100_000, 0, true)));
        assert_eq!(utc("2025-03-03T08:00:00.123456789Z"), Some((EIGHT + 123_456, 0, false)));
        assert_eq!(utc("2024-02-29T00:00Z"), Some((1_709_164_800_000_000, 0, false)));
    }

    #[test]
    fn anything_else_is_refused() {
        let texts = [
            "",
            "2025-03-03",
            "2025-03-03T08",
            "2025-03-03T08:00:60Z",
            "2025-03-03T24:00Z",
            "2025-02-29T00:00Z",
            "2025-00-01T00:00Z",
            "2025-13-01T00:00Z",
            "2025-01-00T00:00Z",
            "2025-04-31T00:00Z",
            "2025-03-03T08:60Z",
            "2025-03-03T08:00:00.Z",
            "2025-03-03T08:00:00.1234567890Z",
            "2025-03-03T08:00:00,1Z",
            "2025-03-03T08:00:00+02",
            "2025-03-03T08:00:00+24:00",
            "2025-03-03T08:00:00+02:60",
            "2025-03-03T08:00:00+2:00",
            " 2025-03-03T08:00:00Z",
            "2025-03-03T08:00:00Z ",
            "2025-03-03_08:00:00Z",
            "25-03-03T08:00:00Z",
            "+2025-03-03T08:00Z",
            "1740988800",
            "2025-03-03T08:00.5Z",
            "2025-03-03T08:00:00ZZ",
            "2025-03-03T08:00:00+02:00x",
            "２025-03-03T08:00:00Z",
        ];
        for text in texts {
            assert_eq!(Stamp::from_text(text), None, "{text}");
        }
    }

    #[test]
    fn the_instant_not_the_text_decides_about_1970_and_9999() {
        assert_eq!(utc("1969-12-31T23:30:00-01:00"), Some((1_800_000_000, -60, false)));
        assert_eq!(utc("1970-01-01T00:00:00+00:01"), None);
        assert_eq!(utc("9999-12-31T23:59:59.999999Z"), Some((LAST, 0, false)));
        assert_eq!(utc("9999-12-31T23:59:59-00:01"), None);
        assert_eq!(utc("0000-01-01T00:00:00Z"), None);
    }

    #[test]
    fn numbers_are_seconds_or_above_1e11_milliseconds() {
        assert_eq!(number("1740988800"), Some(EIGHT));
        assert_eq!(number("1740988800000"), Some(EIGHT));
        assert_eq!(number("100000000000"), Some(100_000_000_000_000_000));
        assert_eq!(number("100000000001"), Some(100_000_000_001_000));
        assert_eq!(number("1740988800.5"), Some(EIGHT + 500_000));
        assert_eq!(number("1740988800.0000001"), Some(EIGHT));
        assert_eq!(number("1.7409888e9"), Some(EIGHT));
        assert_eq!(number("1740988800000.5"), Some(EIGHT + 500));
        assert_eq!(number("-0"), Some(0));
        assert_eq!(number("-1e-7"), Some(0));
        for outside in ["-1", "1e999", "99999999999999999999", "253402300800000", "1e300", "-1e300"]
        {
            assert_eq!(number(outside), None, "{outside}");
        }
    }

    #[test]
    fn a_time_without_an_offset_is_read_in_the_zone_of_its_source() {
        let berlin = TimeZone::get("Europe/Berlin").expect("the zone is bundled");
        assert_eq!(in_zone("2025-03-03T09:00", &berlin), Some((EIGHT, 60, true)));
        assert_eq!(in_zone("2025-03-03T08:00Z", &berlin), Some((EIGHT, 0, false)));
        // 02:30 does not exist on 2025-03-30, and is there twice on 2025-10-26.
        assert_eq!(in_zone("2025-03-30T02:30", &berlin), Some((1_743_298_200_000_000, 60, true)));
        assert_eq!(in_zone("2025-10-26T02:30", &berlin), Some((1_761_438_600_000_000, 120, true)));
    }

    #[test]
    fn the_first_named_source_that_has_a_zone_gives_it() {
        let mut zones = NaiveZones::default();
        let berlin = TimeZone::get("Europe/Berlin").expect("the zone is bundled");
        zones.by_source.insert("band".into(), berlin.clone());
        assert_eq!(*zones.of([Some("ring"), None, Some("band")]), berlin);
        assert_eq!(*zones.of([Some("ring"), None, Some("d1")]), TimeZone::UTC);
    }
}
