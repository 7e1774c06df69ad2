//! The pattern memory: on which local days an hour, or a day as a whole, was hard.

use crate::time::Day;

/// Marked hours of the newest days, the oldest day first.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct HardHours(pub(crate) Vec<HardDay>);

/// The marked hours of one local day.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct HardDay {
    pub(crate) day: Day,
    /// Bit `h` stands for the hour from `h` to `h + 1`.
    pub(crate) hours: u32,
}

/// Marked days, the oldest first.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct HardDays(pub(crate) Vec<Day>);

impl HardHours {
    /// Marks an hour; only the newest `days` days, counted back from the newest marked one, stay.
    pub(crate) fn mark(&mut self, day: Day, hour: u8, days: u32) {
        let bit = 1_u32.checked_shl(hour.into()).unwrap_or(0);
        match self.0.binary_search_by_key(&day, |hard| hard.day) {
            Ok(place) => {
                if let Some(hard) = self.0.get_mut(place) {
                    hard.hours |= bit;
                }
            }
            Err(place) => {
                self.0.insert(place, HardDay { day, hours: bit });
                let newest = self.0.last().map_or(day, |hard| hard.day);
                self.0.retain(|hard| is_among(hard.day, newest, days));
            }
        }
    }

    /// On how many of the last `days` days, `today` included, the hour is marked.
    pub(crate) fn count(&self, today: Day, hour: u8, days: u32) -> u32 {
        let bit = 1_u32.checked_shl(hour.into()).unwrap_or(0);
        let marked = self.0.iter().filter(|hard| {
            hard.hours & bit != 0 && hard.day <= today && is_among(hard.day, today, days)
        });
        marked.fold(0, |count, _| count + 1)
    }
}

impl HardDays {
    /// Marks a day; only the newest `weeks` weeks, counted back from the newest marked day, stay.
    pub(crate) fn mark(&mut self, day: Day, weeks: u32) {
        if let Err(place) = self.0.binary_search(&day) {
            self.0.insert(place, day);
            let newest = self.0.last().copied().unwrap_or(day);
            self.0.retain(|&marked| is_among(marked, newest, weeks.saturating_mul(7)));
        }
    }

    /// How many of the last `weeks` days with the weekday of `today`, `today` included, are marked.
    pub(crate) fn count(&self, today: Day, weeks: u32) -> u32 {
        let marked = self.0.iter().filter(|&&marked| {
            marked <= today
                && today.saturating_sub(marked) % 7 == 0
                && is_among(marked, today, weeks.saturating_mul(7))
        });
        marked.fold(0, |count, _| count + 1)
    }
}

/// Whether `day` is one of the `days` days that end with `last`, or later.
fn is_among(day: Day, last: Day, days: u32) -> bool {
    i64::from(last) - i64::from(day) < i64::from(days)
}
