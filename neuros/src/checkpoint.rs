//! The binary form of a state: versioned, compact, and the same bytes for the same state.
//!
//! One byte of version, then the stored fields in the `postcard` wire format (variable-length
//! integers, little-endian doubles), then four bytes of checksum (XXH3) over all before. Times are
//! kept as distances from the mode's start, days from its day, device ids once each.

mod restore;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::baseline::{Baseline, Bucket, Segments};
use crate::mode::Mode;
use crate::outcome::Reason;
use crate::recent::Identity;
use crate::rule::Rule;
use crate::signal::{PerSignal, Signal};
use crate::state::{Decision, Indicators, Run, State};
use crate::time::{Day, Timestamp};

/// The version that [`State::to_checkpoint`] writes.
pub const VERSION: u8 = 1;

/// What a state takes, as a rule at most: so its bytes need not grow, and leave no copies behind.
const BYTES: usize = 2_048;

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
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.push(VERSION);
        bytes = postcard::to_extend(&(devices.0, stored), bytes).unwrap_or_default();
        bytes.extend_from_slice(&checksum(&bytes));
        bytes
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
        let (body, sum) = body.split_last_chunk().ok_or(Error::Damaged("it breaks off"))?;
        let sealed = bytes.get(..bytes.len() - sum.len()).unwrap_or_default();
        if *sum != checksum(sealed) {
            return Err(Error::Damaged("its checksum is wrong"));
        }
        let ((devices, stored), rest) = postcard::take_from_bytes::<(Vec<&str>, Stored)>(body)
            .map_err(|_| Error::Damaged("it holds an impossible value"))?;
        if !rest.is_empty() {
            return Err(Error::Damaged("it does not end where it should"));
        }
        stored.restore(&devices)
    }
}

fn checksum(bytes: &[u8]) -> [u8; 4] {
    let [sum @ .., _, _, _, _] = xxh3_64(bytes).to_le_bytes();
    sum
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
/// The bytes of the digests of identity and content.
type StoredIdentity = ([u8; 7], [u8; 5]);
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
                first_day: segment
                    .buckets
                    .first()
                    .map_or(0, |first| first.day.saturating_sub(origin.day())),
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
}

fn store_identity(identity: &Identity) -> StoredIdentity {
    let [record @ .., _] = identity.record.to_le_bytes();
    let [content @ .., _, _, _] = identity.content.to_le_bytes();
    (record, content)
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

/// Each item with the distance of its day from the day before it, the first from `origin`.
fn gaps<T>(origin: Day, items: &[T], day: impl Fn(&T) -> Day) -> impl Iterator<Item = (i32, &T)> {
    let mut before = origin;
    items.iter().map(move |item| {
        let gap = day(item).saturating_sub(before);
        before = day(item);
        (gap, item)
    })
}
