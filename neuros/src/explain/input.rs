//! What an explanation says of the event's readings and of the indicators.

use serde::{Serialize, Serializer};

use super::ViewReport;
use crate::candidate::known_normal;
use crate::event::{Event, Exclusion};
use crate::incoming::{Incoming, signal_of, young_for};
use crate::policy::Policy;
use crate::redact::redacted_debug;
use crate::signal::Signal;
use crate::state::{Indicator, Latest, State};
use crate::time::{Micros, Timestamp};
use crate::view::{Evidence, Sight, View};

/// One indicator as it stood.
#[derive(Clone, PartialEq, Serialize)]
pub struct IndicatorReport {
    /// Whether the rules could see it.
    pub status: Status,
    /// The newest live value, seen or not.
    pub value: Option<f64>,
    /// How old that value was, seconds.
    pub age_seconds: Option<f64>,
    /// The device that measured it.
    pub device_id: Option<String>,
    /// Whether it is normal again, as a return to pattern asks; `None` when it is not known.
    pub normal: Option<bool>,
    /// What a return to pattern asks of it.
    pub normal_when: String,
    /// What was usual on that device before it; `None` for indicators without a baseline.
    pub baseline: Option<BaselineReport>,
}

/// Whether the rules can see an indicator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Yes, and its baseline where it has one.
    Ok,
    /// Yes, but its baseline does not rest on enough yet.
    Calibrating,
    /// It was never live.
    Missing,
    /// It is too old.
    Stale,
    /// Movement explains it.
    Gated,
}

/// A baseline and what it rests on.
#[derive(Clone, Copy, PartialEq, Serialize)]
pub struct BaselineReport {
    /// In the indicator's unit; `None` when nothing is in the window.
    pub mean: Option<f64>,
    /// Samples in the window.
    pub samples: u32,
    /// Samples that calibrate it; `None` where only days do.
    pub samples_needed: Option<u32>,
    /// Distinct days in the window.
    pub days: u32,
    /// Days that calibrate it.
    pub days_needed: u32,
    /// Whether it rests on enough.
    pub calibrated: bool,
}

/// What became of a reading.
#[derive(Clone, PartialEq, Serialize)]
pub struct ReadingReport {
    /// What was measured.
    pub metric: String,
    /// How it was used.
    #[serde(rename = "use")]
    pub used: ReadingUse,
    /// Its age on arrival, seconds.
    pub age_seconds: f64,
    /// The age up to which it could have been live, seconds; `None` when none would do.
    pub live_for_seconds: Option<f64>,
}

/// How a reading was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadingUse {
    /// It counts as the present.
    Live,
    /// It came too late to be the present, and feeds baselines and pattern memory.
    TooOld,
    /// A newer reading of its signal is held; it feeds baselines and pattern memory.
    OlderThanHeld,
    /// It is a point of a series inside a night; it feeds the overnight baseline.
    InsideNight,
    /// It was used when it came first.
    Repeated,
    /// It is kept, and nothing else.
    Excluded(Exclusion),
}

/// A reading that was kept but not used.
#[derive(Clone, PartialEq, Serialize)]
pub struct ExcludedReading {
    /// What was measured.
    pub metric: String,
    /// Why it was not used.
    pub reason: Exclusion,
}

redacted_debug!(IndicatorReport, BaselineReport, ReadingReport, ExcludedReading);

impl ReadingUse {
    /// The name as explanations have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::TooOld => "too_old",
            Self::OlderThanHeld => "older_than_held",
            Self::InsideNight => "inside_night",
            Self::Repeated => "repeated",
            Self::Excluded(reason) => reason.as_str(),
        }
    }
}

impl Serialize for ReadingUse {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl ReadingReport {
    /// Says of a reading of a repeated record that it was used before.
    pub(super) fn repeat(&mut self) {
        if !matches!(self.used, ReadingUse::Excluded(_)) {
            self.used = ReadingUse::Repeated;
        }
    }
}

pub(super) fn readings(
    incoming: &Incoming,
    event: &Event<'_>,
    policy: &Policy,
) -> Vec<ReadingReport> {
    let mut reports = Vec::new();
    for reading in event.readings {
        let signal = signal_of(&reading.metric, incoming.overnight);
        let limit = young_for(signal, incoming.live_for, policy);
        let used = match (reading.usable(policy.quality.min_confidence), limit) {
            (Err(reason), _) => ReadingUse::Excluded(reason),
            (Ok(_), None) => ReadingUse::InsideNight,
            (Ok(_), Some(limit)) if incoming.age > limit => ReadingUse::TooOld,
            (Ok(_), Some(_)) => {
                let sensed = signal.and_then(|signal| *incoming.sensed.get(signal));
                let live = sensed.is_none_or(|sensed| sensed.live);
                if live { ReadingUse::Live } else { ReadingUse::OlderThanHeld }
            }
        };
        reports.push(ReadingReport {
            metric: reading.metric.name().to_owned(),
            used,
            age_seconds: incoming.age.as_seconds(),
            live_for_seconds: limit.map(Micros::as_seconds),
        });
    }
    reports
}

pub(super) fn excluded(readings: &[ReadingReport]) -> Vec<ExcludedReading> {
    let excluded = readings.iter().filter_map(|reading| match reading.used {
        ReadingUse::Excluded(reason) => {
            Some(ExcludedReading { metric: reading.metric.clone(), reason })
        }
        _ => None,
    });
    excluded.collect()
}

impl ViewReport {
    pub(super) fn of(
        view: &View,
        evidence: &Evidence,
        t: Timestamp,
        state: &State,
        policy: &Policy,
    ) -> Self {
        let report = |indicator| IndicatorReport {
            normal: known_normal(indicator, evidence, view, policy),
            normal_when: normal_when(indicator, policy),
            ..IndicatorReport::of(indicator, view, t, state, policy)
        };
        Self {
            hrv: report(Indicator::Hrv),
            heart_rate: report(Indicator::HeartRate),
            stress: report(Indicator::Stress),
            recovery: report(Indicator::Recovery),
            overnight_hrv: report(Indicator::OvernightHrv),
        }
    }

    pub(super) fn get(&self, indicator: Indicator) -> &IndicatorReport {
        match indicator {
            Indicator::Hrv => &self.hrv,
            Indicator::HeartRate => &self.heart_rate,
            Indicator::Stress => &self.stress,
            Indicator::Recovery => &self.recovery,
            Indicator::OvernightHrv => &self.overnight_hrv,
        }
    }
}

impl IndicatorReport {
    fn of(indicator: Indicator, view: &View, t: Timestamp, state: &State, policy: &Policy) -> Self {
        let signal = indicator.signal();
        let latest = state.latest.get(signal).as_ref();
        let has_baseline = state.baselines.of(signal).is_some();
        Self {
            status: match view.of(indicator) {
                Sight::Missing => Status::Missing,
                Sight::Stale => Status::Stale,
                Sight::Gated => Status::Gated,
                Sight::Seen { usual: None, .. } if has_baseline => Status::Calibrating,
                Sight::Seen { .. } => Status::Ok,
            },
            value: latest.map(|latest| latest.value),
            age_seconds: latest.map(|latest| (t - latest.time).as_seconds()),
            device_id: latest.map(|latest| latest.device_id.to_string()),
            normal: None,
            normal_when: String::new(),
            baseline: latest
                .filter(|_| has_baseline)
                .map(|latest| BaselineReport::of(latest, signal, policy)),
        }
    }
}

impl BaselineReport {
    fn of(latest: &Latest, signal: Signal, policy: &Policy) -> Self {
        let held = latest.baseline;
        let by_days_only = signal == Signal::OvernightHrv;
        Self {
            mean: held.map(|held| held.mean),
            samples: held.map_or(0, |held| held.samples),
            samples_needed: (!by_days_only).then_some(policy.baseline.min_samples),
            days: held.map_or(0, |held| held.days),
            days_needed: policy.baseline.min_days,
            calibrated: held.is_some_and(|held| held.is_calibrated(signal, &policy.baseline)),
        }
    }
}

fn normal_when(indicator: Indicator, policy: &Policy) -> String {
    let normal = &policy.return_to_pattern;
    match indicator {
        Indicator::Hrv | Indicator::OvernightHrv => {
            format!("at most {} ms and {} % below the usual", normal.drop_ms, normal.drop_pct)
        }
        Indicator::HeartRate => format!("at most {}", normal.heart_rate),
        Indicator::Stress => format!("at most {}", normal.stress),
        Indicator::Recovery => format!("at least {}", normal.recovery),
    }
}
