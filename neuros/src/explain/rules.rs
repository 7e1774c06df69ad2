//! What an explanation says of the rules: the same comparisons that the engine made, with how far
//! each was from firing.

use serde::Serialize;

use crate::condition::{Condition, Formula, Is, Legs, Quantity};
use crate::policy::Policy;
use crate::redact::redacted_debug;
use crate::rule::Rule;
use crate::state::Indicator;
use crate::view::{Evidence, Sight, View};

/// One rule as it was judged.
#[derive(Clone, PartialEq, Serialize)]
pub struct RuleReport {
    /// The rule.
    pub id: Rule,
    /// How it was judged.
    pub status: RuleStatus,
    /// The deciding comparison's value; `None` when it is not known.
    pub value: Option<f64>,
    /// The deciding comparison's threshold; `None` when it follows from an unknown baseline.
    pub threshold: Option<f64>,
    /// How far the rule is from firing, in the unit of `value`; negative when it fired, `None` when
    /// it could not be judged or nothing was evaluated.
    pub margin: Option<f64>,
    /// All that the rule compares. The deciding one is the first that fails, else the first; of
    /// alternatives the one that comes closest.
    pub conditions: Vec<ConditionReport>,
}

/// How a rule was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleStatus {
    /// It fired.
    Fired,
    /// All it looks at is known, and it did not fire.
    NotFired,
    /// Something it looks at was never live, or is not in this event.
    Missing,
    /// Something it looks at is too old.
    Stale,
    /// A baseline that it looks at does not rest on enough yet.
    Calibrating,
    /// Movement explains what it looks at.
    Gated,
}

/// One comparison of a rule.
#[derive(Clone, PartialEq, Serialize)]
pub struct ConditionReport {
    /// What is compared.
    pub quantity: &'static str,
    /// Its unit, where it has one.
    pub unit: Option<&'static str>,
    /// The value; `None` when it is not known.
    pub value: Option<f64>,
    /// `above`, `below` or `at_least`.
    pub must_be: &'static str,
    /// What the value is compared with; `None` when it follows from an unknown baseline.
    pub threshold: Option<f64>,
    /// Whether the comparison holds.
    pub holds: bool,
}

redacted_debug!(RuleReport, ConditionReport);

/// All rules as `view` and `evidence` show them; when nothing was `evaluated`, none of them fired and
/// none has a margin, whatever they would say.
pub(super) fn report(
    view: &View,
    evidence: &Evidence,
    evaluated: bool,
    policy: &Policy,
) -> Vec<RuleReport> {
    let report = |rule| RuleReport::of(rule, view, evidence, evaluated, policy);
    Rule::ALL.into_iter().map(report).collect()
}

impl RuleReport {
    fn of(rule: Rule, view: &View, evidence: &Evidence, evaluated: bool, policy: &Policy) -> Self {
        let formula = Formula::of(rule, evidence, policy);
        let deciding = deciding(&formula);
        let status = status(rule, evaluated && formula.holds(), view, evidence);
        let mut conditions: Vec<ConditionReport> =
            parts(&formula).into_iter().flatten().map(Into::into).collect();
        if rule == Rule::Depletion {
            conditions.extend(Legs::conditions(evidence, policy).iter().map(ConditionReport::from));
        }
        let scale = scale(deciding.quantity);
        let judged = evaluated && matches!(status, RuleStatus::Fired | RuleStatus::NotFired);
        Self {
            id: rule,
            status,
            value: deciding.value.map(|value| value / scale),
            threshold: Some(deciding.threshold / scale).filter(|value| value.is_finite()),
            margin: margin(deciding).filter(|_| judged).map(|margin| margin / scale),
            conditions,
        }
    }
}

impl From<&Condition> for ConditionReport {
    fn from(condition: &Condition) -> Self {
        let scale = scale(condition.quantity);
        Self {
            quantity: name(condition.quantity),
            unit: unit(condition.quantity),
            value: condition.value.map(|value| value / scale),
            must_be: match condition.is {
                Is::Above => "above",
                Is::Below => "below",
                Is::AtLeast => "at_least",
            },
            threshold: Some(condition.threshold / scale).filter(|value| value.is_finite()),
            holds: condition.holds(),
        }
    }
}

fn parts(formula: &Formula) -> [Option<&Condition>; 2] {
    match formula {
        Formula::One(only) => [Some(only), None],
        Formula::Both(first, second) | Formula::Either(first, second) => {
            [Some(first), Some(second)]
        }
    }
}

/// The comparison on which the formula hangs.
fn deciding(formula: &Formula) -> &Condition {
    match formula {
        Formula::One(only) => only,
        Formula::Both(first, second) if first.holds() && !second.holds() => second,
        Formula::Both(first, _) => first,
        Formula::Either(first, second) => {
            let distance = |condition: &Condition| {
                let relative =
                    margin(condition).map(|margin| margin / condition.threshold.max(1e-9));
                relative.unwrap_or(f64::INFINITY)
            };
            if distance(second) < distance(first) { second } else { first }
        }
    }
}

/// How far a comparison is from holding; negative when it holds.
///
/// For counts this is how many more are needed, or, when they suffice, minus how many would have
/// to go.
fn margin(condition: &Condition) -> Option<f64> {
    let distance = match condition.is {
        Is::Above => condition.threshold - condition.value?,
        Is::Below => condition.value? - condition.threshold,
        Is::AtLeast if condition.holds() => condition.threshold - condition.value? - 1.0,
        Is::AtLeast => condition.threshold - condition.value?,
    };
    Some(distance).filter(|distance| distance.is_finite())
}

/// Fired or not; when it did not and something was hidden from it, what hid the first of its
/// indicators in the order of the view.
fn status(rule: Rule, fired: bool, view: &View, evidence: &Evidence) -> RuleStatus {
    if fired {
        return RuleStatus::Fired;
    }
    // Known stress needs nothing else: the indicators it is derived from may be hidden.
    if rule == Rule::StressCritical && evidence.stress.is_some() {
        return RuleStatus::NotFired;
    }
    let hidden =
        needs(rule).iter().find_map(|&(indicator, needs_usual)| match view.of(indicator) {
            Sight::Missing => Some(RuleStatus::Missing),
            Sight::Stale => Some(RuleStatus::Stale),
            Sight::Gated => Some(RuleStatus::Gated),
            Sight::Seen { usual: None, .. } if needs_usual => Some(RuleStatus::Calibrating),
            Sight::Seen { .. } => None,
        });
    let asked_of_event = match rule {
        Rule::RecurringStressHour => evidence.hard_hours.is_some(),
        Rule::LowRecoveryWeekday => evidence.hard_weekdays.is_some(),
        _ => true,
    };
    hidden.unwrap_or(if asked_of_event { RuleStatus::NotFired } else { RuleStatus::Missing })
}

/// The indicators that a rule looks at, in the order of the view, and whether it needs their
/// baseline.
fn needs(rule: Rule) -> &'static [(Indicator, bool)] {
    use Indicator::{HeartRate, Hrv, OvernightHrv, Recovery, Stress};
    match rule {
        Rule::HrvDropMs | Rule::HrvDropPercentage => &[(Hrv, true)],
        Rule::HeartRateElevated => &[(HeartRate, false)],
        Rule::StressCritical | Rule::Depletion => {
            &[(Hrv, true), (HeartRate, true), (Stress, false)]
        }
        Rule::HeartRateExtreme => &[(HeartRate, true)],
        Rule::RecoveryLow | Rule::LowRecoveryWeekday => &[(Recovery, false)],
        Rule::OvernightHrvLow => &[(OvernightHrv, true)],
        Rule::RecurringStressHour => &[(Hrv, false)],
        Rule::HighHrvHighHr => &[(Hrv, true), (HeartRate, false)],
        Rule::LowHrvLowHr => &[(Hrv, false), (HeartRate, false)],
    }
}

fn name(quantity: Quantity) -> &'static str {
    match quantity {
        Quantity::Hrv => "hrv",
        Quantity::HrvDrop => "hrv_drop",
        Quantity::HrvDropPercent => "hrv_drop_pct",
        Quantity::HeartRate => "heart_rate",
        Quantity::Elevation => "heart_rate_elevation",
        Quantity::ElevatedFor => "heart_rate_elevated_for",
        Quantity::ExtremeFor => "heart_rate_extreme_for",
        Quantity::Stress => "stress",
        Quantity::Recovery => "recovery",
        Quantity::OvernightDrop => "overnight_hrv_drop",
        Quantity::OvernightDropPercent => "overnight_hrv_drop_pct",
        Quantity::Legs => "signs_of_depletion",
        Quantity::HardHours => "days_with_this_hour_hard",
        Quantity::HardWeekdays => "hard_weekdays",
    }
}

fn unit(quantity: Quantity) -> Option<&'static str> {
    match quantity {
        Quantity::Hrv | Quantity::HrvDrop | Quantity::OvernightDrop => Some("ms"),
        Quantity::HrvDropPercent | Quantity::OvernightDropPercent => Some("%"),
        Quantity::HeartRate | Quantity::Elevation => Some("beats/min"),
        Quantity::ElevatedFor | Quantity::ExtremeFor => Some("s"),
        Quantity::Stress
        | Quantity::Recovery
        | Quantity::Legs
        | Quantity::HardHours
        | Quantity::HardWeekdays => None,
    }
}

/// What a compared number is divided by to be in its unit: lengths are compared in microseconds.
fn scale(quantity: Quantity) -> f64 {
    match quantity {
        Quantity::ElevatedFor | Quantity::ExtremeFor => 1e6,
        _ => 1.0,
    }
}
