//! What a rule sees, and what it needs, in words.

use super::input::IndicatorReport;
use super::rules::{RuleReport, RuleStatus};
use super::units::{length, number};
use super::{Explanation, StressOrigin};
use crate::rule::Rule;
use crate::state::Indicator;

impl Explanation {
    /// What a rule sees.
    pub(super) fn phrase(&self, rule: Rule) -> String {
        let value =
            |indicator| self.view.get(indicator).value.map_or_else(|| "unknown".into(), number);
        let (hrv, beats) = (value(Indicator::Hrv), value(Indicator::HeartRate));
        let report = self.rules.iter().find(|report| report.id == rule);
        let count = report.and_then(|report| report.value).unwrap_or_default();
        let fired = report.is_some_and(|report| report.status == RuleStatus::Fired);
        match rule {
            Rule::HrvDropMs | Rule::HrvDropPercentage => {
                format!(
                    "HRV {hrv} ms {}",
                    against(&self.view.hrv, self.derived.drop, self.derived.drop_pct)
                )
            }
            Rule::OvernightHrvLow => {
                let (drop, percent) =
                    (self.derived.overnight_drop, self.derived.overnight_drop_pct);
                let night = value(Indicator::OvernightHrv);
                format!(
                    "overnight HRV {night} ms {}",
                    against(&self.view.overnight_hrv, drop, percent)
                )
            }
            Rule::HeartRateElevated => format!("heart rate is {beats}{}", lasting(report)),
            Rule::HeartRateExtreme => {
                let above = self.derived.elevation.unwrap_or_default();
                let usual = usual(&self.view.heart_rate);
                format!(
                    "heart rate {beats} is {} above the usual {usual}{}",
                    number(above),
                    lasting(report)
                )
            }
            Rule::StressCritical => match self.derived.stress {
                Some(stress) if stress.origin == StressOrigin::Derived => {
                    format!("stress, derived from HRV and heart rate, is {}", number(stress.value))
                }
                Some(stress) => format!("reported stress is {}", number(stress.value)),
                None => "stress is not known".into(),
            },
            Rule::RecoveryLow => format!("recovery is {}", value(Indicator::Recovery)),
            Rule::Depletion => {
                let signs = report.map(signs_of_depletion).unwrap_or_default();
                format!("{count} of 3 signs of depletion hold{signs}")
            }
            Rule::RecurringStressHour => format!("this hour was hard on {count} of the last days"),
            Rule::LowRecoveryWeekday => {
                format!("recovery was low on {count} of the last days of this weekday")
            }
            Rule::HighHrvHighHr if fired => {
                format!("HRV {hrv} ms and heart rate {beats} are both high")
            }
            Rule::LowHrvLowHr if fired => {
                format!("HRV {hrv} ms and heart rate {beats} are both low")
            }
            Rule::HighHrvHighHr | Rule::LowHrvLowHr => {
                format!("HRV is {hrv} ms and heart rate {beats}")
            }
        }
    }

    /// What a rule that did not fire needs in order to fire.
    pub(super) fn need(&self, report: &RuleReport) -> String {
        let threshold = |rule| {
            let report = self.rules.iter().find(|report| report.id == rule);
            let condition = report.and_then(|report| report.conditions.first());
            condition.and_then(|first| first.threshold).map_or_else(|| "unknown".into(), number)
        };
        let of_part = |place: usize| {
            let condition = report.conditions.get(place);
            condition.and_then(|part| part.threshold).map_or_else(|| "unknown".into(), number)
        };
        let (first, second) = (of_part(0), of_part(1));
        match report.id {
            Rule::HrvDropMs | Rule::HrvDropPercentage => format!(
                "reflex needs more than {} ms or {} %",
                threshold(Rule::HrvDropMs),
                threshold(Rule::HrvDropPercentage)
            ),
            Rule::HeartRateElevated | Rule::HeartRateExtreme => {
                let seconds = report.conditions.get(1).and_then(|part| part.threshold);
                format!(
                    "reflex needs more than {first} for {}",
                    length(seconds.unwrap_or_default())
                )
            }
            Rule::StressCritical => format!("reflex needs more than {first}"),
            Rule::RecoveryLow => format!("guardian needs less than {first}"),
            Rule::OvernightHrvLow => format!("guardian needs more than {first} ms or {second} %"),
            Rule::Depletion => format!("guardian needs {first}"),
            Rule::RecurringStressHour | Rule::LowRecoveryWeekday => {
                format!("pattern needs {first}")
            }
            Rule::HighHrvHighHr => {
                format!("hypothesis needs HRV above {first} ms and heart rate above {second}")
            }
            Rule::LowHrvLowHr => {
                format!("hypothesis needs HRV below {first} ms and heart rate below {second}")
            }
        }
    }
}

/// How far a rule is from firing, against how far it is on an ordinary day, so that rules about
/// different quantities can be ranked.
pub(super) fn relative_margin(report: &RuleReport) -> Option<f64> {
    let (margin, threshold) = (report.margin?, report.threshold?);
    let usual_distance = match report.id {
        // From a resting heart rate of 60, an HRV of 60 ms, a recovery score of 100.
        Rule::HeartRateElevated | Rule::LowHrvLowHr => 40.0,
        Rule::RecoveryLow => 60.0,
        // The threshold lies at one and a half times what is usual.
        Rule::HighHrvHighHr => threshold / 3.0,
        _ => threshold.max(1e-9),
    };
    Some(margin / usual_distance)
}

fn against(report: &IndicatorReport, drop: Option<f64>, percent: Option<f64>) -> String {
    let usual = usual(report);
    match (drop, percent) {
        (Some(drop), Some(percent)) if drop > 0.0 => {
            format!("is {} ms below the usual {usual} ({} %)", number(drop), number(percent))
        }
        _ => format!("is not below the usual {usual}"),
    }
}

fn usual(report: &IndicatorReport) -> String {
    report.baseline.and_then(|baseline| baseline.mean).map_or_else(|| "unknown".into(), number)
}

/// For how long a heart rate has been high, where it is.
fn lasting(report: Option<&RuleReport>) -> String {
    let condition = report.and_then(|report| report.conditions.get(1));
    let high = report.and_then(|report| report.conditions.first()).is_some_and(|part| part.holds);
    match condition.and_then(|part| part.value) {
        Some(seconds) if high => format!(", for {}", length(seconds)),
        _ => String::new(),
    }
}

/// The signs of depletion that hold: HRV, heart rate, reported stress.
fn signs_of_depletion(report: &RuleReport) -> String {
    let [_, hrv, drop, beats, elevation, stress] = report.conditions.as_slice() else {
        return String::new();
    };
    let signs = [
        (hrv.holds && drop.holds, "HRV", hrv.value),
        (beats.holds && elevation.holds, "heart rate", beats.value),
        (stress.holds, "stress", stress.value),
    ];
    let holding = signs.into_iter().filter(|(holds, _, _)| *holds);
    let named =
        holding.map(|(_, name, value)| format!("{name} {}", number(value.unwrap_or_default())));
    let list = named.collect::<Vec<_>>().join(", ");
    if list.is_empty() { list } else { format!(" ({list})") }
}
