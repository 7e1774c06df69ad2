//! Quiet hours: where a person is, and between which hours there nobody is to be told of anything that can
//! wait. Which offset a zone has, the time zone database says that is compiled in.

use jiff::ToSpan as _;
use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::redact::redacted_debug;
use crate::time::Timestamp;

/// Hours in a person's own zone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quiet {
    zone: Box<str>,
    /// Minutes after midnight.
    from: u16,
    /// The same; below `from` when it is on the next day.
    until: u16,
}

const MINUTES_A_DAY: u16 = 24 * 60;

impl Quiet {
    /// Quiet from one time of day to another, in minutes after midnight there.
    ///
    /// # Errors
    ///
    /// In words, when there is no such zone or time, or the two are the same.
    pub fn new(zone: &str, from: u16, until: u16) -> Result<Self, String> {
        if TimeZone::get(zone).is_err() {
            return Err("there is no such time zone; wanted is one like `Europe/Berlin`".to_owned());
        }
        if from >= MINUTES_A_DAY || until >= MINUTES_A_DAY || from == until {
            return Err("wanted are two different times of day, from 00:00 to 23:59".to_owned());
        }
        Ok(Self { zone: zone.into(), from, until })
    }

    /// When the quiet ends in which `now` lies; `None` when it lies in none.
    pub(super) fn end_at(&self, now: Timestamp) -> Option<Timestamp> {
        let zone = TimeZone::get(&self.zone).ok()?;
        let instant = jiff::Timestamp::from_microsecond(now.as_micros()).ok()?;
        let local = zone.to_datetime(instant);
        let minute = u16::try_from(local.hour()).ok()? * 60 + u16::try_from(local.minute()).ok()?;
        let overnight = self.from > self.until;
        let (after, before) = (minute >= self.from, minute < self.until);
        let is_quiet = if overnight { after || before } else { after && before };
        if !is_quiet {
            return None;
        }
        let day = if overnight && after { local.date().tomorrow().ok()? } else { local.date() };
        let end = zone.to_ambiguous_zoned_datetime(DateTime::from_parts(day, time_of(self.until)?));
        let end = end.compatible().ok()?.timestamp();
        // Where a clock that is set back repeats the end, quiet ends once it is past.
        let end = if end <= instant { instant.checked_add(1.minute()).ok()? } else { end };
        Some(Timestamp::from_micros(end.as_microsecond()))
    }
}

fn time_of(minutes: u16) -> Option<Time> {
    let (hour, minute) = (i8::try_from(minutes / 60).ok()?, i8::try_from(minutes % 60).ok()?);
    Time::new(hour, minute, 0, 0).ok()
}

redacted_debug!(Quiet);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        let instant: jiff::Timestamp = text.parse().expect("a time");
        Timestamp::from_micros(instant.as_microsecond())
    }

    #[test]
    fn a_night_in_a_zone_ends_in_that_zone() {
        let quiet = Quiet::new("Europe/Berlin", 22 * 60, 7 * 60).expect("valid");
        assert_eq!(quiet.end_at(at("2026-01-10T20:59:59Z")), None);
        let end = at("2026-01-11T06:00:00Z");
        assert_eq!(quiet.end_at(at("2026-01-10T21:00:00Z")), Some(end));
        assert_eq!(quiet.end_at(at("2026-01-11T05:59:59Z")), Some(end));
        assert_eq!(quiet.end_at(end), None);
        // In summer the clocks there are two hours ahead.
        let end = at("2026-07-11T05:00:00Z");
        assert_eq!(quiet.end_at(at("2026-07-10T20:00:00Z")), Some(end));
    }

    #[test]
    fn the_night_in_which_clocks_change_ends_by_the_clock() {
        let quiet = Quiet::new("Europe/Berlin", 22 * 60, 7 * 60).expect("valid");
        assert_eq!(quiet.end_at(at("2026-03-28T22:00:00Z")), Some(at("2026-03-29T05:00:00Z")));
        assert_eq!(quiet.end_at(at("2026-10-24T22:00:00Z")), Some(at("2026-10-25T06:00:00Z")));
    }

    #[test]
    fn quiet_within_a_day_ends_on_that_day() {
        let quiet = Quiet::new("UTC", 13 * 60, 14 * 60 + 30).expect("valid");
        assert_eq!(quiet.end_at(at("2026-01-10T13:00:00Z")), Some(at("2026-01-10T14:30:00Z")));
        assert_eq!(quiet.end_at(at("2026-01-10T12:59:00Z")), None);
    }

    #[test]
    fn what_is_no_quiet_is_refused() {
        assert!(Quiet::new("Europe/Berlln", 0, 1).is_err());
        assert!(Quiet::new("UTC", 60, 60).is_err());
        assert!(Quiet::new("UTC", 1440, 60).is_err());
    }
}
