//! The binary form of a state: versioned, compact, and the same bytes for the same state.
//!
//! One byte of version, then the fields of [`Stored`] in the `postcard` wire format (variable-length
//! integers, little-endian doubles). Times are kept as distances from the mode's start, days from
//! its day, device ids once each.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::baseline::{Baseline, Bucket, Segment, Segments};
use crate::gate::Gate;
use crate::memory::{HardDay, HardDays, HardHours};
use crate::mode::Mode;
use crate::outcome::Reason;
use crate::recent::{Identity, Recent};
use crate::rule::Rule;
use crate::signal::{PerSignal, Signal};
use crate::state::{Baselines, Decision, Indicators, Latest, Run, State};
use crate::time::{Day, Micros, Timestamp};

/// The version that [`State::to_checkpoint`] writes.
pub const VERSION: u8 = 1;

/// Why bytes are no checkpoint that can be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is not even a version.
    #[error("the checkpoint is empty")]
    Empty,
    /// Another release wrote it.
    #[error("the checkpoint has version {0}, and this release reads only version {VERSION}")]
    UnknownVersion(u8),
    /// The bytes do not hold a state; names the part that is wrong.
    #[error("the checkpoint is damaged: {0}")]
    Damaged(&'static str),
}

impl State {
    /// The state as bytes.
    pub fn to_checkpoint(&self) -> Vec<u8> {
        let mut devices = Devices::default();
        let stored = Stored::of(self, &mut devices);
        // Writing into a vector cannot fail, and no part of a state refuses to be written.
        postcard::to_extend(&(devices.0, stored), vec![VERSION]).unwrap_or_default()
    }

    /// The state that [`State::to_checkpoint`] gave as `bytes`.
    ///
    /// # Errors
    ///
    /// When the version is not [`VERSION`], or the bytes are not those of a state.
    pub fn from_checkpoint(bytes: &[u8]) -> Result<Self, Error> {
        let (&version, body) = bytes.split_first().ok_or(Error::Empty)?;
        if version != VERSION {
            return Err(Error::UnknownVersion(version));
        }
        let ((devices, stored), rest) = postcard::take_from_bytes::<(Vec<&str>, Stored)>(body)
            .map_err(|_| Error::Damaged("it breaks off or holds an impossible value"))?;
        if !rest.is_empty() {
            return Err(Error::Damaged("it does not end where it should"));
        }
        stored.restore(&devices)
    }
}

/// A state with everything relative to where its mode began.
#[derive(Serialize, Deserialize)]
struct Stored {
    mode: Mode,
    previous_mode: Option<Mode>,
    confidence: f64,
    /// The origin of all distances, µs since 1970.
    mode_since: i64,
    seq: u64,
    clock: Option<Distance>,
    last_switch: Option<Distance>,
    last_confirmed: Distance,
    disturbed: Distance,
    entry_indicators: Indicators,
    gate: Option<(Distance, Distance)>,
    latest: PerSignal<Option<StoredLatest>>,
    elevated: Option<(Distance, Distance)>,
    extreme: Option<(Distance, Distance)>,
    hrv: Vec<StoredSegment>,
    heart_rate: Vec<StoredSegment>,
    overnight_hrv: Vec<StoredSegment>,
    /// Distance from the day before, or for the first from the origin's day; and its hours.
    hard_hours: Vec<(i32, u32)>,
    hard_days: Vec<i32>,
    latest_record: Option<Distance>,
    identities: Vec<StoredIdentity>,
    /// The mode before the first decision of the history.
    history_from: Mode,
    history: Vec<StoredDecision>,
}

/// µs from the origin.
type Distance = i64;
/// Place in the list of device ids.
type Device = u16;
/// Identity, and the six bytes of the content's digest.
type StoredIdentity = ([u8; 8], [u8; 6]);
/// Time, mode, reason (its place in [`REASONS`]) and confidence in thousandths.
type StoredDecision = (Distance, Mode, u8, u16);

#[derive(Serialize, Deserialize)]
struct StoredLatest {
    value: f64,
    time: Distance,
    device: Device,
    baseline: Option<Baseline>,
}

#[derive(Serialize, Deserialize)]
struct StoredSegment {
    device: Device,
    last_added: Distance,
    /// The first bucket's day, from the origin's day.
    first_day: i32,
    /// Days since the bucket before (at most 31), 5 bits, below the number of samples; and the sum.
    buckets: Vec<(u64, f64)>,
}

const DAY_GAP_BITS: u32 = 5;

/// The reasons that a switch can have, by their place in a checkpoint; only ever appended to.
const REASONS: [Reason; 14] = [
    Reason::Rule(Rule::HrvDropMs),
    Reason::Rule(Rule::HrvDropPercentage),
    Reason::Rule(Rule::HeartRateElevated),
    Reason::Rule(Rule::StressCritical),
    Reason::Rule(Rule::HeartRateExtreme),
    Reason::Rule(Rule::RecoveryLow),
    Reason::Rule(Rule::OvernightHrvLow),
    Reason::Rule(Rule::Depletion),
    Reason::Rule(Rule::RecurringStressHour),
    Reason::Rule(Rule::LowRecoveryWeekday),
    Reason::Rule(Rule::HighHrvHighHr),
    Reason::Rule(Rule::LowHrvLowHr),
    Reason::ReturnToPattern,
    Reason::Expired,
];

/// Device ids in the order of their first use.
#[derive(Default)]
struct Devices<'s>(Vec<&'s str>);

impl<'s> Devices<'s> {
    fn place_of(&mut self, device_id: &'s str) -> Device {
        let known = self.0.iter().position(|known| *known == device_id);
        let place = known.unwrap_or_else(|| {
            self.0.push(device_id);
            self.0.len() - 1
        });
        // Segments and signals are at most a few dozen.
        Device::try_from(place).unwrap_or(Device::MAX)
    }
}

impl Stored {
    fn of<'s>(state: &'s State, devices: &mut Devices<'s>) -> Self {
        let origin = state.mode_since;
        let distance = |time: Timestamp| (time - origin).0;
        let run = |run: Run| (distance(run.since), distance(run.last));
        let mut latest = PerSignal::default();
        for signal in Signal::ALL {
            *latest.get_mut(signal) =
                state.latest.get(signal).as_ref().map(|latest| StoredLatest {
                    value: latest.value,
                    time: distance(latest.time),
                    device: devices.place_of(&latest.device_id),
                    baseline: latest.baseline,
                });
        }
        let mut segments = |segments: &'s Segments| {
            let stored = segments.0.iter().map(|segment| StoredSegment {
                device: devices.place_of(&segment.device_id),
                last_added: distance(segment.last_added),
                first_day: segment.buckets.first().map_or(0, |first| first.day - origin.day()),
                buckets: store_buckets(&segment.buckets),
            });
            stored.collect()
        };
        Self {
            mode: state.mode,
            previous_mode: state.previous_mode,
            confidence: state.confidence,
            mode_since: origin.as_micros(),
            seq: state.seq,
            clock: state.clock.map(distance),
            last_switch: state.last_switch.map(distance),
            last_confirmed: distance(state.last_confirmed),
            disturbed: distance(state.disturbed),
            entry_indicators: state.entry_indicators,
            gate: state.gate.map(|gate| (distance(gate.from), distance(gate.until))),
            elevated: state.elevated.map(run),
            extreme: state.extreme.map(run),
            hrv: segments(&state.baselines.hrv),
            heart_rate: segments(&state.baselines.heart_rate),
            overnight_hrv: segments(&state.baselines.overnight_hrv),
            latest,
            hard_hours: gaps(origin.day(), &state.hard_hours.0, |hard| hard.day)
                .map(|(gap, hard)| (gap, hard.hours))
                .collect(),
            hard_days: gaps(origin.day(), &state.hard_days.0, |day| *day)
                .map(|(gap, _)| gap)
                .collect(),
            latest_record: state.recent.latest.map(distance),
            identities: state.recent.identities.iter().map(store_identity).collect(),
            history_from: state.history.front().map_or(Mode::Pattern, |first| first.previous_mode),
            history: state
                .history
                .iter()
                .map(|decision| store_decision(decision, distance(decision.time)))
                .collect(),
        }
    }

    fn restore(self, devices: &[&str]) -> Result<State, Error> {
        let origin = Timestamp::from_micros(self.mode_since);
        let frame = Frame { origin, devices };
        let at = |distance| frame.at(distance);
        let run = |(since, last)| Run { since: at(since), last: at(last) };
        let mut latest: PerSignal<Option<Latest>> = PerSignal::default();
        for signal in Signal::ALL {
            if let Some(stored) = self.latest.get(signal) {
                *latest.get_mut(signal) = Some(frame.latest(stored)?);
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

    fn latest(&self, stored: &StoredLatest) -> Result<Latest, Error> {
        let StoredLatest { value, time, device, baseline } = *stored;
        let finite = value.is_finite() && baseline.is_none_or(|held| held.mean.is_finite());
        if !finite {
            return Err(Error::Damaged("a reading is no finite number"));
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

fn store_identity(identity: &Identity) -> StoredIdentity {
    let [content @ .., _, _] = identity.content.to_le_bytes();
    (identity.record.to_le_bytes(), content)
}

fn restore_identity((record, content): &StoredIdentity) -> Identity {
    let [a, b, c, d, e, f] = *content;
    Identity {
        record: u64::from_le_bytes(*record),
        content: u64::from_le_bytes([a, b, c, d, e, f, 0, 0]),
    }
}

fn store_decision(decision: &Decision, time: Distance) -> StoredDecision {
    let reason = REASONS.iter().position(|reason| *reason == decision.reason);
    let reason = reason.and_then(|place| u8::try_from(place).ok()).unwrap_or(u8::MAX);
    (time, decision.mode, reason, decision.confidence_permille)
}

fn store_buckets(buckets: &[Bucket]) -> Vec<(u64, f64)> {
    let first = buckets.first().map_or(0, |bucket| bucket.day);
    gaps(first, buckets, |bucket| bucket.day)
        .map(|(gap, bucket)| {
            // A window spans at most 31 days.
            let gap = u64::try_from(gap).unwrap_or(0);
            (u64::from(bucket.samples) << DAY_GAP_BITS | gap, bucket.sum)
        })
        .collect()
}

fn restore_buckets(segment: &StoredSegment, origin: Day) -> Result<Vec<Bucket>, Error> {
    const DAMAGED: Error = Error::Damaged("a baseline's days are impossible");
    let mut day = origin.checked_add(segment.first_day).ok_or(DAMAGED)?;
    let mut buckets = Vec::with_capacity(segment.buckets.len());
    for (place, &(packed, sum)) in segment.buckets.iter().enumerate() {
        let gap = Day::try_from(packed & ((1 << DAY_GAP_BITS) - 1)).map_err(|_| DAMAGED)?;
        let samples = u32::try_from(packed >> DAY_GAP_BITS).map_err(|_| DAMAGED)?;
        if (gap == 0) != (place == 0) || samples == 0 || !sum.is_finite() {
            return Err(DAMAGED);
        }
        day = day.checked_add(gap).ok_or(DAMAGED)?;
        buckets.push(Bucket { day, samples, sum });
    }
    if buckets.is_empty() { Err(DAMAGED) } else { Ok(buckets) }
}

/// Each item with the distance of its day from the day before it, the first from `origin`.
fn gaps<T>(origin: Day, items: &[T], day: impl Fn(&T) -> Day) -> impl Iterator<Item = (i32, &T)> {
    let mut before = origin;
    items.iter().map(move |item| {
        let gap = day(item).saturating_sub(before);
        before = day(item);
        (gap, item)
    })
}

/// The days that [`gaps`] were taken of: each later than the one before.
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
