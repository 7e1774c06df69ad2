//! What each rule compares with what. The engine asks whether a rule fires, an explanation by how
//! much: both read the same comparisons.

use crate::policy::Policy;
use crate::rule::{Rule, RuleSet};
use crate::time::Micros;
use crate::view::Evidence;

/// One comparison; what is not known never holds.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Condition {
    pub(crate) quantity: Quantity,
    pub(crate) value: Option<f64>,
    pub(crate) is: Is,
    pub(crate) threshold: f64,
}

/// How a value must lie to its threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Is {
    Above,
    Below,
    AtLeast,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quantity {
    Hrv,
    HrvDrop,
    HrvDropPercent,
    HeartRate,
    Elevation,
    ElevatedFor,
    ExtremeFor,
    Stress,
    Recovery,
    OvernightDrop,
    OvernightDropPercent,
    Legs,
    HardHours,
    HardWeekdays,
}

/// The comparisons of one rule.
#[derive(Clone, Copy)]
pub(crate) enum Formula {
    One(Condition),
    Both(Condition, Condition),
    Either(Condition, Condition),
}

impl Condition {
    pub(crate) fn holds(&self) -> bool {
        self.value.is_some_and(|value| match self.is {
            Is::Above => value > self.threshold,
            Is::Below => value < self.threshold,
            Is::AtLeast => value >= self.threshold,
        })
    }
}

impl Formula {
    pub(crate) fn holds(&self) -> bool {
        match self {
            Self::One(only) => only.holds(),
            Self::Both(first, second) => first.holds() && second.holds(),
            Self::Either(first, second) => first.holds() || second.holds(),
        }
    }

    /// What `rule` compares.
    #[inline(always)]
    pub(crate) fn of(rule: Rule, e: &Evidence, policy: &Policy) -> Self {
        use Is::{Above, AtLeast, Below};
        let (reflex, guardian) = (&policy.reflex, &policy.guardian);
        let (pattern, hypothesis) = (&policy.pattern, &policy.hypothesis);
        match rule {
            Rule::HrvDropMs => Self::One(when(Quantity::HrvDrop, e.drop, Above, reflex.drop_ms)),
            Rule::HrvDropPercentage => {
                Self::One(when(Quantity::HrvDropPercent, e.drop_pct, Above, reflex.drop_pct))
            }
            Rule::HeartRateElevated => Self::Both(
                when(Quantity::HeartRate, e.heart_rate, Above, reflex.heart_rate),
                sustained(Quantity::ElevatedFor, e.elevated_for, e, policy),
            ),
            Rule::StressCritical => {
                Self::One(when(Quantity::Stress, e.stress, Above, reflex.stress))
            }
            Rule::HeartRateExtreme => Self::Both(
                when(Quantity::Elevation, e.elevation, Above, reflex.elevation),
                sustained(Quantity::ExtremeFor, e.extreme_for, e, policy),
            ),
            Rule::RecoveryLow => {
                Self::One(when(Quantity::Recovery, e.recovery, Below, guardian.recovery))
            }
            Rule::OvernightHrvLow => {
                let (ms, percent) = (guardian.overnight_drop_ms, guardian.overnight_drop_pct);
                Self::Either(
                    when(Quantity::OvernightDrop, e.overnight_drop, Above, ms),
                    when(Quantity::OvernightDropPercent, e.overnight_drop_pct, Above, percent),
                )
            }
            Rule::Depletion => {
                let legs = Legs::of(e, policy).count().into();
                Self::One(when(Quantity::Legs, Some(legs), AtLeast, 2.0))
            }
            Rule::RecurringStressHour => {
                let (days, needed) = (e.hard_hours.map(f64::from), pattern.hour_min.into());
                Self::One(when(Quantity::HardHours, days, AtLeast, needed))
            }
            Rule::LowRecoveryWeekday => {
                let (days, needed) = (e.hard_weekdays.map(f64::from), pattern.weekday_min.into());
                Self::One(when(Quantity::HardWeekdays, days, AtLeast, needed))
            }
            Rule::HighHrvHighHr => {
                // Without a baseline no HRV is high.
                let high_hrv = e.hrv_usual.map_or(f64::INFINITY, |usual| hypothesis.ratio * usual);
                Self::Both(
                    when(Quantity::Hrv, e.hrv, Above, high_hrv),
                    when(Quantity::HeartRate, e.heart_rate, Above, hypothesis.high_hr),
                )
            }
            Rule::LowHrvLowHr => Self::Both(
                when(Quantity::Hrv, e.hrv, Below, hypothesis.low_hrv),
                when(Quantity::HeartRate, e.heart_rate, Below, hypothesis.low_hr),
            ),
        }
    }
}

fn when(quantity: Quantity, value: Option<f64>, is: Is, threshold: f64) -> Condition {
    Condition { quantity, value, is, threshold }
}

fn sustained(
    quantity: Quantity,
    length: Option<Micros>,
    evidence: &Evidence,
    policy: &Policy,
) -> Condition {
    let needed = if evidence.activity_known {
        policy.heart_rate.sustain
    } else {
        policy.heart_rate.sustain_activity_unknown
    };
    let value = length.map(exact);
    Condition { quantity, value, is: Is::AtLeast, threshold: exact(needed) }
}

#[expect(clippy::cast_precision_loss, reason = "exact below 2^53 µs, which are 285 years")]
fn exact(length: Micros) -> f64 {
    length.0 as f64
}

/// The three signs of which two make a depletion.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Legs {
    pub(crate) hrv: bool,
    pub(crate) heart_rate: bool,
    pub(crate) stress: bool,
}

impl Legs {
    pub(crate) fn of(evidence: &Evidence, policy: &Policy) -> Self {
        let [hrv, drop, beats, elevation, stress] = Self::conditions(evidence, policy);
        Self {
            hrv: hrv.holds() && drop.holds(),
            heart_rate: beats.holds() && elevation.holds(),
            stress: stress.holds(),
        }
    }

    /// What the signs compare: two for HRV, two for heart rate, one for reported stress.
    #[inline(always)]
    pub(crate) fn conditions(evidence: &Evidence, policy: &Policy) -> [Condition; 5] {
        use Is::{Above, Below};
        let (e, guardian) = (evidence, &policy.guardian);
        let when = |quantity, value, is, threshold| Condition { quantity, value, is, threshold };
        [
            when(Quantity::Hrv, e.hrv, Below, guardian.hrv),
            when(Quantity::HrvDropPercent, e.drop_pct, Above, guardian.hrv_drop_pct),
            when(Quantity::HeartRate, e.heart_rate, Above, guardian.heart_rate),
            when(Quantity::Elevation, e.elevation, Above, guardian.elevation),
            when(Quantity::Stress, e.stress_reported, Above, guardian.stress),
        ]
    }

    pub(crate) fn count(self) -> u8 {
        u8::from(self.hrv) + u8::from(self.heart_rate) + u8::from(self.stress)
    }
}

/// Every rule that fires.
pub(crate) fn fired(evidence: &Evidence, policy: &Policy) -> RuleSet {
    let mut fired = RuleSet::default();
    for &rule in &Rule::ALL {
        if Formula::of(rule, evidence, policy).holds() {
            fired.insert(rule);
        }
    }
    fired
}
