//! From the stored form back to a state. A checksum keeps accidents out; bytes that somebody made
//! up are refused where they could do harm later.

use std::collections::VecDeque;

use smol_str::SmolStr;

use super::{
    DAY_GAP_BITS, Device, Distance, Error, REASONS, Stored, StoredIdentity, StoredLatest,
    StoredSegment,
};
use crate::baseline::{Bucket, Segment, Segments};
use crate::gate::Gate;
use crate::memory::{HardDay, HardDays, HardHours};
use crate::recent::{Identity, Recent};
use crate::signal::{PerSignal, Signal};
use crate::state::{Baselines, Decision, Latest, Run, State};
use crate::time::{Day, Micros, Timestamp};

impl Stored {
    /// The state, whose device ids are in `devices`.
    pub(super) fn restore(self, devices: &[&str]) -> Result<State, Error> {
        let origin = Timestamp::from_micros(self.mode_since);
        let frame = Frame { origin, devices };
        let at = |distance| frame.at(distance);
        let run = |(since, last)| Run { since: at(since), last: at(last) };
        let mut latest: PerSignal<Option<Latest>> = PerSignal::default();
        for signal in Signal::ALL {
            if let Some(stored) = self.latest.get(signal) {
                *latest.get_mut(signal) = Some(frame.latest(signal, stored)?);
            }
        }
        let hours = days(origin.day(), self.hard_hours.iter().map(|(gap, _)| *gap))?;
        let hours = hours.into_iter().zip(&self.hard_hours);
        let hours = hours.map(|(day, &(_, hours))| HardDay { day, hours }).collect();
        if !(0.0..=1.0).contains(&self.confidence) {
            return Err(Error::Damaged("the confidence is not in 0..=1"));
        }
        Ok(State {
            mode: self.mode,
            previous_mode: self.previous_mode,
            confidence: self.confidence,
            mode_since: origin,
            seq: self.seq,
            clock: self.clock.map(at),
            last_switch: self.last_switch.map(at),
            last_confirmed: at(self.last_confirmed),
            disturbed: at(self.disturbed),
            entry_indicators: self.entry_indicators,
            gate: self.gate.map(|(from, until)| Gate { from: at(from), until: at(until) }),
            latest,
            elevated: self.elevated.map(run),
            extreme: self.extreme.map(run),
            baselines: Baselines {
                hrv: frame.segments(&self.hrv)?,
                heart_rate: frame.segments(&self.heart_rate)?,
                overnight_hrv: frame.segments(&self.overnight_hrv)?,
            },
            hard_hours: HardHours(hours),
            hard_days: HardDays(days(origin.day(), self.hard_days.iter().copied())?),
            recent: Recent {
                identities: self.identities.iter().map(restore_identity).collect(),
                latest: self.latest_record.map(at),
            },
            history: self.restore_history()?,
        })
    }

    fn restore_history(&self) -> Result<VecDeque<Decision>, Error> {
        let count = u64::try_from(self.history.len()).unwrap_or(u64::MAX);
        let first =
            self.seq.checked_sub(count).ok_or(Error::Damaged("more decisions than switches"))?;
        let mut previous_mode = self.history_from;
        let decisions = self.history.iter().zip(first..).map(
            |(&(time, mode, reason, confidence_permille), before)| {
                let reason = REASONS.get(usize::from(reason)).copied();
                let decision = Decision {
                    seq: before + 1,
                    time: Timestamp::from_micros(self.mode_since) + Micros(time),
                    previous_mode,
                    mode,
                    reason: reason.ok_or(Error::Damaged("a decision has an unknown reason"))?,
                    confidence_permille,
                };
                previous_mode = mode;
                Ok(decision)
            },
        );
        decisions.collect()
    }
}

/// What the stored parts are relative to.
struct Frame<'d> {
    origin: Timestamp,
    devices: &'d [&'d str],
}

impl Frame<'_> {
    fn at(&self, distance: Distance) -> Timestamp {
        self.origin + Micros(distance)
    }

    fn device(&self, place: Device) -> Result<SmolStr, Error> {
        let device_id = self.devices.get(usize::from(place)).copied().map(SmolStr::new);
        device_id.ok_or(Error::Damaged("a device is not in its list"))
    }

    fn latest(&self, signal: Signal, stored: &StoredLatest) -> Result<Latest, Error> {
        let StoredLatest { value, time, device, baseline } = *stored;
        // A mean may lie a rounding beyond the values that it is of.
        let possible = signal.accepts(value)
            && baseline
                .is_none_or(|held| held.samples > 0 && held.mean > 0.0 && held.mean.is_finite());
        if !possible {
            return Err(Error::Damaged("a reading is none that can be"));
        }
        Ok(Latest { value, time: self.at(time), device_id: self.device(device)?, baseline })
    }

    fn segments(&self, stored: &[StoredSegment]) -> Result<Segments, Error> {
        let segments = stored.iter().map(|segment| {
            Ok(Segment {
                device_id: self.device(segment.device)?,
                buckets: restore_buckets(segment, self.origin.day())?,
                last_added: self.at(segment.last_added),
            })
        });
        let segments = segments.collect::<Result<Vec<_>, _>>()?;
        if segments.is_sorted_by(|one, next| one.device_id < next.device_id) {
            Ok(Segments(segments))
        } else {
            Err(Error::Damaged("baselines are out of order"))
        }
    }
}

fn restore_identity((record, content): &StoredIdentity) -> Identity {
    let [a, b, c, d, e, f, g] = *record;
    let [h, i, j, k, l] = *content;
    Identity {
        record: u64::from_le_bytes([a, b, c, d, e, f, g, 0]),
        content: u64::from_le_bytes([h, i, j, k, l, 0, 0, 0]),
    }
}

fn restore_buckets(segment: &StoredSegment, origin: Day) -> Result<Vec<Bucket>, Error> {
    const DAMAGED: Error = Error::Damaged("a baseline's days are impossible");
    let mut day = origin.checked_add(segment.first_day).ok_or(DAMAGED)?;
    let mut buckets = Vec::with_capacity(segment.buckets.len());
    for (place, &(packed, sum)) in segment.buckets.iter().enumerate() {
        let gap = Day::try_from(packed & ((1 << DAY_GAP_BITS) - 1)).map_err(|_| DAMAGED)?;
        let samples = u32::try_from(packed >> DAY_GAP_BITS).map_err(|_| DAMAGED)?;
        if (gap == 0) != (place == 0) || samples == 0 || !(sum > 0.0 && sum.is_finite()) {
            return Err(DAMAGED);
        }
        day = day.checked_add(gap).ok_or(DAMAGED)?;
        buckets.push(Bucket { day, samples, sum });
    }
    if buckets.is_empty() { Err(DAMAGED) } else { Ok(buckets) }
}

/// The days that `gaps` were taken of: each later than the one before.
fn days(origin: Day, gaps: impl Iterator<Item = i32>) -> Result<Vec<Day>, Error> {
    const DAMAGED: Error = Error::Damaged("marked days are out of order");
    let mut day = origin;
    let mut days = Vec::new();
    for gap in gaps {
        if gap <= 0 && !days.is_empty() {
            return Err(DAMAGED);
        }
        day = day.checked_add(gap).ok_or(DAMAGED)?;
        days.push(day);
    }
    Ok(days)
}
