//! The six signals: what the engine follows of a person over time.

use serde::{Deserialize, Serialize};

use crate::event::Metric;

/// A stream of readings that the rules look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Momentary heart-rate variability, RMSSD, ms.
    Hrv,
    /// Heart rate, beats/min.
    HeartRate,
    /// Reported stress, 0..=1.
    StressLevel,
    /// Steps per minute.
    StepsPerMinute,
    /// Recovery score, 0..=100.
    RecoveryScore,
    /// Heart-rate variability of a night, RMSSD, ms.
    OvernightHrv,
}

/// One `T` for each signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct PerSignal<T> {
    pub(crate) hrv: T,
    pub(crate) heart_rate: T,
    pub(crate) stress_level: T,
    pub(crate) steps_per_minute: T,
    pub(crate) recovery_score: T,
    pub(crate) overnight_hrv: T,
}

impl Signal {
    pub(crate) const ALL: [Self; 6] = [
        Self::Hrv,
        Self::HeartRate,
        Self::StressLevel,
        Self::StepsPerMinute,
        Self::RecoveryScore,
        Self::OvernightHrv,
    ];

    /// Whether a body can have this value.
    pub(crate) fn accepts(self, value: f64) -> bool {
        let metric = match self {
            Self::Hrv | Self::OvernightHrv => Metric::Hrv,
            Self::HeartRate => Metric::HeartRate,
            Self::StressLevel => Metric::StressLevel,
            Self::StepsPerMinute => Metric::StepsPerMinute,
            Self::RecoveryScore => Metric::RecoveryScore,
        };
        metric.accepts(value)
    }
}

impl<T> PerSignal<T> {
    pub(crate) fn get(&self, signal: Signal) -> &T {
        match signal {
            Signal::Hrv => &self.hrv,
            Signal::HeartRate => &self.heart_rate,
            Signal::StressLevel => &self.stress_level,
            Signal::StepsPerMinute => &self.steps_per_minute,
            Signal::RecoveryScore => &self.recovery_score,
            Signal::OvernightHrv => &self.overnight_hrv,
        }
    }

    pub(crate) fn get_mut(&mut self, signal: Signal) -> &mut T {
        match signal {
            Signal::Hrv => &mut self.hrv,
            Signal::HeartRate => &mut self.heart_rate,
            Signal::StressLevel => &mut self.stress_level,
            Signal::StepsPerMinute => &mut self.steps_per_minute,
            Signal::RecoveryScore => &mut self.recovery_score,
            Signal::OvernightHrv => &mut self.overnight_hrv,
        }
    }
}
