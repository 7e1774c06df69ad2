//! What the rules can see of a state at one evaluation time, and what follows from it.

use crate::policy::Policy;
use crate::state::{Indicator, Latest, Run, State};
use crate::time::{Micros, Timestamp};

/// The five indicators as they stand at one evaluation time.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct View {
    pub(crate) hrv: Sight,
    pub(crate) heart_rate: Sight,
    pub(crate) stress: Sight,
    pub(crate) recovery: Sight,
    pub(crate) overnight_hrv: Sight,
}

/// One indicator: its value, or why there is none.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Sight {
    /// Never seen.
    Missing,
    /// Too old.
    Stale,
    /// Explained by movement.
    Gated,
    Seen {
        value: f64,
        /// The mean of the reading's baseline, once calibrated.
        usual: Option<f64>,
    },
}

/// What the view and the runs give the rules to compare; `None` where something is not known.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Evidence {
    pub(crate) hrv: Option<f64>,
    /// The calibrated baseline of `hrv`.
    pub(crate) hrv_usual: Option<f64>,
    pub(crate) drop: Option<f64>,
    pub(crate) drop_pct: Option<f64>,
    pub(crate) heart_rate: Option<f64>,
    pub(crate) elevation: Option<f64>,
    /// Reported, else derived.
    pub(crate) stress: Option<f64>,
    pub(crate) stress_reported: Option<f64>,
    pub(crate) recovery: Option<f64>,
    pub(crate) overnight_drop: Option<f64>,
    pub(crate) overnight_drop_pct: Option<f64>,
    pub(crate) activity_known: bool,
    /// How long heart rate has been elevated.
    pub(crate) elevated_for: Option<Micros>,
    /// How long heart rate has been extreme.
    pub(crate) extreme_for: Option<Micros>,
    /// How many of the newest days had this event's hour marked; `None` without a live HRV.
    pub(crate) hard_hours: Option<u32>,
    /// How many of the newest same weekdays were marked; `None` without a live recovery score.
    pub(crate) hard_weekdays: Option<u32>,
}

impl View {
    /// What `state` shows at `t`.
    pub(crate) fn at(t: Timestamp, state: &State, policy: &Policy) -> Self {
        let see = |indicator| Sight::of(indicator, t, state, policy);
        Self {
            hrv: see(Indicator::Hrv),
            heart_rate: see(Indicator::HeartRate),
            stress: see(Indicator::Stress),
            recovery: see(Indicator::Recovery),
            overnight_hrv: see(Indicator::OvernightHrv),
        }
    }

    pub(crate) fn of(&self, indicator: Indicator) -> Sight {
        match indicator {
            Indicator::Hrv => self.hrv,
            Indicator::HeartRate => self.heart_rate,
            Indicator::Stress => self.stress,
            Indicator::Recovery => self.recovery,
            Indicator::OvernightHrv => self.overnight_hrv,
        }
    }
}

impl Sight {
    #[inline]
    fn of(indicator: Indicator, t: Timestamp, state: &State, policy: &Policy) -> Self {
        let signal = indicator.signal();
        let Some(latest) = state.latest.get(signal) else {
            return Self::Missing;
        };
        let (fresh_for, gated) = match indicator {
            Indicator::Hrv | Indicator::HeartRate => {
                (policy.fresh_for.default, latest.is_gated(t, state))
            }
            Indicator::Stress => (policy.fresh_for.default, false),
            Indicator::Recovery | Indicator::OvernightHrv => (policy.fresh_for.overnight, false),
        };
        if t - latest.time > fresh_for {
            return Self::Stale;
        }
        if gated {
            return Self::Gated;
        }
        let calibrated =
            latest.baseline.filter(|baseline| baseline.is_calibrated(signal, &policy.baseline));
        Self::Seen { value: latest.value, usual: calibrated.map(|baseline| baseline.mean) }
    }

    pub(crate) fn value(self) -> Option<f64> {
        match self {
            Self::Seen { value, .. } => Some(value),
            Self::Missing | Self::Stale | Self::Gated => None,
        }
    }

    /// Value and calibrated baseline, where both are known.
    fn against_usual(self) -> Option<(f64, f64)> {
        match self {
            Self::Seen { value, usual: Some(usual) } => Some((value, usual)),
            Self::Seen { usual: None, .. } | Self::Missing | Self::Stale | Self::Gated => None,
        }
    }

    /// How far the value lies below its baseline: in its unit, and in percent.
    fn drop(self) -> (Option<f64>, Option<f64>) {
        let against = self.against_usual();
        let drop = against.map(|(value, usual)| (usual - value).max(0.0));
        let percent = against.map(|(value, usual)| 100.0 * (usual - value).max(0.0) / usual);
        (drop, percent)
    }
}

impl Latest {
    fn is_gated(&self, t: Timestamp, state: &State) -> bool {
        state.gate.is_some_and(|gate| gate.contains(t) || gate.contains(self.time))
    }
}

impl Evidence {
    /// What follows from `view`, without what only the event itself can tell.
    pub(crate) fn of(view: &View, t: Timestamp, state: &State, policy: &Policy) -> Self {
        let (drop, drop_pct) = view.hrv.drop();
        let (overnight_drop, overnight_drop_pct) = view.overnight_hrv.drop();
        let elevation =
            view.heart_rate.against_usual().map(|(value, usual)| (value - usual).max(0.0));
        let stress_reported = view.stress.value();
        let steps = state.latest.steps_per_minute.as_ref();
        let length = |run: Run| run.last - run.since;
        Self {
            hrv: view.hrv.value(),
            hrv_usual: view.hrv.against_usual().map(|(_, usual)| usual),
            drop,
            drop_pct,
            heart_rate: view.heart_rate.value(),
            elevation,
            stress: stress_reported.or_else(|| derived_stress(drop_pct, elevation)),
            stress_reported,
            recovery: view.recovery.value(),
            overnight_drop,
            overnight_drop_pct,
            activity_known: steps.is_some_and(|steps| t - steps.time <= policy.fresh_for.default),
            elevated_for: state.elevated.map(length),
            extreme_for: state.extreme.map(length),
            hard_hours: None,
            hard_weekdays: None,
        }
    }
}

/// Stress as HRV drop and heart-rate elevation suggest it; `None` when neither is known.
fn derived_stress(drop_pct: Option<f64>, elevation: Option<f64>) -> Option<f64> {
    if drop_pct.is_none() && elevation.is_none() {
        return None;
    }
    let by_hrv = drop_pct.map_or(0.0, |percent| (percent / 60.0).clamp(0.0, 1.0));
    let by_heart_rate = elevation.map_or(0.0, |beats| (beats / 50.0).clamp(0.0, 1.0));
    Some(1.0 - (1.0 - 0.8 * by_hrv) * (1.0 - 0.6 * by_heart_rate))
}
