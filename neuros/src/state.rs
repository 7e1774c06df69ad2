//! What the engine keeps of one person between records: bounded by the policy, whatever is sent.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::baseline::{Baseline, Segments};
use crate::event::Record;
use crate::gate::Gate;
use crate::memory::{HardDays, HardHours};
use crate::mode::Mode;
use crate::outcome::Reason;
use crate::recent::Recent;
use crate::redact::redacted_debug;
use crate::signal::{PerSignal, Signal};
use crate::time::Timestamp;

/// A person's NEUROS state.
#[derive(Clone, PartialEq)]
pub struct State {
    pub(crate) mode: Mode,
    /// The mode before the newest switch.
    pub(crate) previous_mode: Option<Mode>,
    pub(crate) confidence: f64,
    pub(crate) mode_since: Timestamp,
    /// How often the mode has changed.
    pub(crate) seq: u64,
    /// The evaluation time: the newest time of any evaluated event.
    pub(crate) clock: Option<Timestamp>,
    /// The newest switch that was no expiry.
    pub(crate) last_switch: Option<Timestamp>,
    pub(crate) last_confirmed: Timestamp,
    /// The newest evaluation that was not calm, or the entry into the mode.
    pub(crate) disturbed: Timestamp,
    /// What spoke for the mode on entry.
    pub(crate) entry_indicators: Indicators,
    pub(crate) gate: Option<Gate>,
    /// The newest live reading of each signal.
    pub(crate) latest: PerSignal<Option<Latest>>,
    /// Live heart rates above the policy's threshold.
    pub(crate) elevated: Option<Run>,
    /// Live heart rates far above their baseline.
    pub(crate) extreme: Option<Run>,
    pub(crate) baselines: Baselines,
    pub(crate) hard_hours: HardHours,
    pub(crate) hard_days: HardDays,
    pub(crate) recent: Recent,
    /// The newest switches, the oldest first.
    pub(crate) history: VecDeque<Decision>,
}

/// The newest live reading of a signal.
#[derive(Clone, PartialEq)]
pub(crate) struct Latest {
    pub(crate) value: f64,
    pub(crate) time: Timestamp,
    pub(crate) device_id: SmolStr,
    /// The baseline held before the reading.
    pub(crate) baseline: Option<Baseline>,
}

/// A stretch of live readings that all met a condition.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) since: Timestamp,
    pub(crate) last: Timestamp,
}

/// The baselines of the three signals that have one.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Baselines {
    pub(crate) hrv: Segments,
    pub(crate) heart_rate: Segments,
    pub(crate) overnight_hrv: Segments,
}

/// A switch, as a state remembers it.
#[derive(Clone, Copy, PartialEq)]
pub struct Decision {
    /// The number of the switch, from 1.
    pub seq: u64,
    /// Evaluation time.
    pub time: Timestamp,
    /// The mode before.
    pub previous_mode: Mode,
    /// The mode after.
    pub mode: Mode,
    /// Why.
    pub reason: Reason,
    /// The confidence on entry, in thousandths, rounded.
    pub confidence_permille: u16,
}

/// One of the five things that rules look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Indicator {
    /// Momentary HRV against its baseline.
    Hrv,
    /// Heart rate, also against its baseline.
    HeartRate,
    /// Stress, reported or derived.
    Stress,
    /// Recovery score.
    Recovery,
    /// HRV of the night against its baseline.
    OvernightHrv,
}

/// A set of indicators.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Indicators(pub(crate) u8);

redacted_debug!(State, Decision);

impl State {
    /// The same, of a person whose mode changes are numbered on from `seq`: somebody had their id before.
    pub fn born_after(record: &Record<'_>, seq: u64) -> Self {
        Self { seq, ..Self::born(record) }
    }

    /// The state of a person of whom `record` is the first.
    pub fn born(record: &Record<'_>) -> Self {
        let time = record.first_event_time();
        Self {
            mode: Mode::Pattern,
            previous_mode: None,
            confidence: 0.5,
            mode_since: time,
            seq: 0,
            clock: None,
            last_switch: None,
            last_confirmed: time,
            disturbed: time,
            entry_indicators: Indicators::default(),
            gate: None,
            latest: PerSignal::default(),
            elevated: None,
            extreme: None,
            baselines: Baselines::default(),
            hard_hours: HardHours::default(),
            hard_days: HardDays::default(),
            recent: Recent::default(),
            history: VecDeque::new(),
        }
    }

    /// The current mode.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The confidence in the current mode, 0..=1.
    pub fn confidence(&self) -> f64 {
        self.confidence
    }

    /// Since when the current mode holds (evaluation time).
    pub fn mode_since(&self) -> Timestamp {
        self.mode_since
    }

    /// How often the mode has changed.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The newest time of any evaluated event; `None` before the first.
    pub fn clock(&self) -> Option<Timestamp> {
        self.clock
    }

    /// The newest switches, the oldest first.
    pub fn history(&self) -> impl ExactSizeIterator<Item = &Decision> {
        self.history.iter()
    }
}

impl Baselines {
    /// The segments of a signal that has a baseline.
    pub(crate) fn of(&self, signal: Signal) -> Option<&Segments> {
        match signal {
            Signal::Hrv => Some(&self.hrv),
            Signal::HeartRate => Some(&self.heart_rate),
            Signal::OvernightHrv => Some(&self.overnight_hrv),
            Signal::StressLevel | Signal::StepsPerMinute | Signal::RecoveryScore => None,
        }
    }
}

impl Indicator {
    /// All indicators, in the order of the view.
    pub const ALL: [Self; 5] =
        [Self::Hrv, Self::HeartRate, Self::Stress, Self::Recovery, Self::OvernightHrv];

    /// The name as explanations and states have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hrv => "hrv",
            Self::HeartRate => "heart_rate",
            Self::Stress => "stress",
            Self::Recovery => "recovery",
            Self::OvernightHrv => "overnight_hrv",
        }
    }

    /// The signal that the indicator shows.
    pub(crate) fn signal(self) -> Signal {
        match self {
            Self::Hrv => Signal::Hrv,
            Self::HeartRate => Signal::HeartRate,
            Self::Stress => Signal::StressLevel,
            Self::Recovery => Signal::RecoveryScore,
            Self::OvernightHrv => Signal::OvernightHrv,
        }
    }
}

impl Indicators {
    /// The set of those `indicators` whose flag is set.
    pub(crate) fn of(flagged: &[(Indicator, bool)]) -> Self {
        let bits = flagged.iter().filter(|(_, holds)| *holds);
        Self(bits.fold(0, |set, (indicator, _)| set | 1 << *indicator as u8))
    }

    pub(crate) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// In the order of the view.
    pub(crate) fn iter(self) -> impl Iterator<Item = Indicator> {
        Indicator::ALL.into_iter().filter(move |&indicator| self.0 & 1 << indicator as u8 != 0)
    }
}
