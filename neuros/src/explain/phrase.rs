//! What a rule sees, and what it needs, in words.

use super::rules::{ConditionReport, RuleReport, RuleStatus};
use super::units::{length_beside, number, number_beside};
use super::{Explanation, StressOrigin};
use crate::rule::Rule;
use crate::state::Indicator;

impl Explanation {
    /// What a rule sees; when it fired, also the limit that was passed.
    pub(super) fn phrase(&self, report: &RuleReport) -> String {
        let value =
            |indicator| self.view.get(indicator).value.map_or_else(|| "unknown".into(), number);
        let fired = report.status == RuleStatus::Fired;
        let count = number(report.value.unwrap_or_default());
        match report.id {
            Rule::HrvDropMs | Rule::HrvDropPercentage => {
                let limits = [Rule::HrvDropMs, Rule::HrvDropPercentage]
                    .map(|rule| self.rule(rule).and_then(|report| report.conditions.first()));
                format!("HRV {}", self.against(Indicator::Hrv, limits, fired))
            }
            Rule::OvernightHrvLow => {
                let limits = [0, 1].map(|place| report.conditions.get(place));
                format!("overnight HRV {}", self.against(Indicator::OvernightHrv, limits, fired))
            }
            Rule::HeartRateElevated => {
                let now = condition_value(report.conditions.first());
                high_for(report, &format!("heart rate is {now} beats/min"), "above")
            }
            Rule::HeartRateExtreme => {
                let (beats, above) =
                    (value(Indicator::HeartRate), condition_value(report.conditions.first()));
                let usual = self.usual(Indicator::HeartRate);
                let now =
                    format!("heart rate {beats} beats/min is {above} above the usual {usual}");
                high_for(report, &now, "by more than")
            }
            Rule::StressCritical => {
                let stress = condition_value(report.conditions.first());
                let origin = match self.derived.stress.map(|stress| stress.origin) {
                    Some(StressOrigin::Derived) => "stress, derived from HRV and heart rate,",
                    Some(StressOrigin::Reported) | None => "reported stress",
                };
                format!("{origin} is {stress}{}", passed("more than", report, fired))
            }
            Rule::RecoveryLow => {
                let recovery = condition_value(report.conditions.first());
                format!("recovery is {recovery}{}", passed("less than", report, fired))
            }
            Rule::Depletion => {
                format!("{count} of 3 signs of depletion hold{}", signs_of_depletion(report))
            }
            Rule::RecurringStressHour => {
                format!("this hour of the day was hard on {count} recent days")
            }
            Rule::LowRecoveryWeekday => {
                format!("recovery was low on {count} recent days of this weekday")
            }
            Rule::HighHrvHighHr | Rule::LowHrvLowHr => {
                let [hrv, beats] =
                    [0, 1].map(|place| condition_value(report.conditions.get(place)));
                let high = if report.id == Rule::HighHrvHighHr { "high" } else { "low" };
                if fired {
                    format!("HRV {hrv} ms and heart rate {beats} beats/min are both {high}")
                } else {
                    format!("HRV is {hrv} ms and heart rate {beats} beats/min")
                }
            }
        }
    }

    /// What a rule that did not fire needs in order to fire.
    pub(super) fn need(&self, report: &RuleReport) -> String {
        let limit = |rule| self.rule(rule).and_then(|report| report.conditions.first());
        let [first, second] = [0, 1].map(|place| limit_of(report.conditions.get(place)));
        match report.id {
            Rule::HrvDropMs | Rule::HrvDropPercentage => format!(
                "reflex needs more than {} ms or {} %",
                limit_of(limit(Rule::HrvDropMs)),
                limit_of(limit(Rule::HrvDropPercentage))
            ),
            Rule::HeartRateElevated | Rule::HeartRateExtreme => {
                let high = report.conditions.first().is_some_and(|part| part.holds);
                let seconds = report.conditions.get(1).and_then(|part| part.threshold);
                let needed = length_beside(seconds.unwrap_or_default(), f64::NAN);
                let more = if high { String::new() } else { format!("more than {first} for ") };
                format!("reflex needs {more}{needed}")
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

    pub(super) fn rule(&self, rule: Rule) -> Option<&RuleReport> {
        self.rules.iter().find(|report| report.id == rule)
    }

    /// An HRV against its baseline; `limits` in ms and in percent.
    fn against(
        &self,
        indicator: Indicator,
        limits: [Option<&ConditionReport>; 2],
        fired: bool,
    ) -> String {
        let hrv = self.view.get(indicator).value.map_or_else(|| "unknown".into(), number);
        let usual = self.usual(indicator);
        let [drop, percent] = limits.map(condition_value);
        if limits.iter().flatten().all(|limit| limit.value == Some(0.0)) {
            return format!("{hrv} ms is not below the usual {usual}");
        }
        let passed = match limits.map(limit_of) {
            [ms, share] if fired => format!(", more than {ms} ms or {share} %"),
            _ => String::new(),
        };
        format!("{hrv} ms is {drop} ms below the usual {usual} ({percent} %){passed}")
    }

    fn usual(&self, indicator: Indicator) -> String {
        let baseline = self.view.get(indicator).baseline;
        baseline.and_then(|baseline| baseline.mean).map_or_else(|| "unknown".into(), number)
    }
}

/// How far a rule is from firing, against how far it is on an ordinary day, so that rules about
/// different quantities can be ranked.
pub(super) fn relative_margin(report: &RuleReport) -> Option<f64> {
    let (margin, threshold) = (report.margin?, report.threshold?);
    let high = report.conditions.first().is_some_and(|part| part.holds);
    let usual_distance = match report.id {
        // High, but not for long enough: the time decides.
        Rule::HeartRateElevated | Rule::HeartRateExtreme if high => threshold,
        // From a resting heart rate of 60, an HRV of 60 ms, a recovery score of 100.
        Rule::HeartRateElevated | Rule::LowHrvLowHr => 40.0,
        Rule::RecoveryLow => 60.0,
        // The threshold lies at one and a half times what is usual.
        Rule::HighHrvHighHr => threshold / 3.0,
        _ => threshold,
    };
    Some(margin / usual_distance.max(1e-9))
}

/// The value of a comparison, with as many digits as show on which side of the limit it lies.
fn condition_value(condition: Option<&ConditionReport>) -> String {
    let value = condition.and_then(|condition| {
        Some(number_beside(condition.value?, condition.threshold.unwrap_or(f64::NAN)))
    });
    value.unwrap_or_else(|| "unknown".into())
}

fn limit_of(condition: Option<&ConditionReport>) -> String {
    let limit = condition.and_then(|condition| condition.threshold);
    limit.map_or_else(|| "unknown".into(), number)
}

/// The limit that a rule with one comparison has passed.
fn passed(side: &str, report: &RuleReport, fired: bool) -> String {
    if fired { format!(", {side} {}", limit_of(report.conditions.first())) } else { String::new() }
}

/// What a heart rate is now, and since when it has been above its limit.
fn high_for(report: &RuleReport, now: &str, above: &str) -> String {
    let [level, sustained] = report.conditions.as_slice() else { return now.to_owned() };
    let Some(seconds) = sustained.value.filter(|_| level.holds) else { return now.to_owned() };
    let limit = limit_of(Some(level));
    if seconds > 0.0 {
        let time = length_beside(seconds, sustained.threshold.unwrap_or(f64::NAN));
        format!("{now}, {above} {limit} for {time}")
    } else {
        format!("{now}, {above} {limit} only just now")
    }
}

/// The signs of depletion that hold: HRV, heart rate, reported stress.
fn signs_of_depletion(report: &RuleReport) -> String {
    let [_, hrv, drop, beats, elevation, stress] = report.conditions.as_slice() else {
        return String::new();
    };
    let signs = [
        (hrv.holds && drop.holds, "HRV", hrv, " ms"),
        (beats.holds && elevation.holds, "heart rate", beats, " beats/min"),
        (stress.holds, "stress", stress, ""),
    ];
    let holding = signs.into_iter().filter(|(holds, ..)| *holds);
    let named = holding
        .map(|(_, name, sign, unit)| format!("{name} {}{unit}", condition_value(Some(sign))));
    let list = named.collect::<Vec<_>>().join(", ");
    if list.is_empty() { list } else { format!(" ({list})") }
}
