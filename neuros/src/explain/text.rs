//! An explanation as sentences that a coach can read. What matters most comes first; the first
//! sentence stands alone as the reason of a mode change.

use std::fmt::{self, Display};

use super::input::{IndicatorReport, ReadingUse, Status};
use super::rules::{RuleReport, RuleStatus};
use super::units::{clock, indicator_name, length, metric_name, number};
use super::{CandidateReport, Explanation, StressOrigin};
use crate::candidate::Skip;
use crate::mode::Mode;
use crate::outcome::{Kind, Reason};
use crate::rule::{Rule, RuleSet};
use crate::state::Indicator;

impl Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.headline())?;
        let rest = [self.waiting(), self.calm_sentence(), self.hidden(), self.unused()];
        for sentence in rest.into_iter().flatten() {
            write!(f, " {sentence}")?;
        }
        Ok(())
    }
}

impl Explanation {
    /// What happened and why, in one sentence.
    pub fn headline(&self) -> String {
        let (before, after) = (self.mode_before.as_str(), self.selection.mode.as_str());
        match (self.selection.kind, self.selection.reason) {
            (Kind::Switched, Some(Reason::ReturnToPattern)) => {
                let since = self
                    .calm_since
                    .map_or_else(String::new, |since| format!(" since {}", clock(since)));
                format!("Returned to pattern from {before}: what is known has been normal{since}.")
            }
            (Kind::Switched, Some(Reason::Expired)) => {
                let confirmed = clock(self.selection.confirmed_at);
                format!(
                    "Returned to pattern from {before}: nothing has confirmed it since {confirmed}."
                )
            }
            (Kind::Switched, _) => {
                format!(
                    "Switched from {before} to {after}: {}.",
                    self.spoken_for(self.selection.mode)
                )
            }
            (Kind::Held, _) => {
                format!("Stayed in {after}: {}.", self.spoken_for(self.selection.mode))
            }
            (Kind::Suppressed, _) => format!("Stayed in {after}: {}.", self.suppressed()),
            (Kind::Unchanged, _) => format!("Stayed in {after}: {}.", self.nearest()),
            (Kind::Duplicate, _) => {
                format!("Stayed in {after}: this record has been applied before.")
            }
            (Kind::NotEvaluated, reason) => {
                format!("Stayed in {after}: {}.", self.not_evaluated(reason))
            }
        }
    }

    /// What the fired rules of `mode` saw.
    fn spoken_for(&self, mode: Mode) -> String {
        let candidate = self.candidates.iter().find(|candidate| candidate.mode == mode);
        let rules = candidate.map(|candidate| candidate.rules).unwrap_or_default();
        let mut seen: Vec<String> = Vec::new();
        for rule in rules.iter() {
            let phrase = self.phrase(rule);
            if !seen.contains(&phrase) {
                seen.push(phrase);
            }
        }
        seen.join("; ")
    }

    fn suppressed(&self) -> String {
        let reasons = self.candidates.iter().map(|candidate| {
            let what = match candidate.reason_phrase() {
                Some(phrase) => phrase.to_owned(),
                None => {
                    format!("{} ({})", candidate.mode.as_str(), self.spoken_for(candidate.mode))
                }
            };
            format!("{what} {}", self.why_skipped(candidate))
        });
        reasons.collect::<Vec<_>>().join("; ")
    }

    fn why_skipped(&self, candidate: &CandidateReport) -> String {
        let confidence = number(candidate.cooled.unwrap_or(candidate.confidence));
        match (candidate.skipped, self.selection.cooldown_until, self.selection.step_down_until) {
            (Some(Skip::Confidence), Some(until), _) if candidate.cooled.is_some() => {
                format!(
                    "is too weak so soon after a switch (confidence {confidence} until {})",
                    clock(until)
                )
            }
            (Some(Skip::StepDown), _, Some(until)) => {
                format!("has to wait until {}, being weaker than the current mode", clock(until))
            }
            (Some(Skip::StepDown), _, None) => {
                "has to wait, being weaker than the current mode".into()
            }
            (Some(Skip::Confidence), _, _) => format!("is too weak (confidence {confidence})"),
            (None, _, _) => "was not needed".into(),
        }
    }

    /// The rule that came closest to changing the mode, and what it needs.
    fn nearest(&self) -> String {
        let current = RuleSet::of_mode(self.mode_before);
        let judged = self.rules.iter().filter(|rule| {
            rule.status == RuleStatus::NotFired
                && !current.contains(rule.id)
                && !RuleSet::of_mode(Mode::Pattern).contains(rule.id)
        });
        let nearest = judged
            .filter_map(|rule| Some((relative_margin(rule)?, rule)))
            .min_by(|(near, _), (other, _)| near.total_cmp(other));
        match nearest {
            Some((_, rule)) => format!("{}; {}", self.phrase(rule.id), self.need(rule)),
            None => "nothing that could change it can be judged yet".into(),
        }
    }

    fn not_evaluated(&self, reason: Option<Reason>) -> String {
        if reason == Some(Reason::NoUsableReading) {
            return "not one reading of this event can be used".into();
        }
        let Some(reading) =
            self.readings.iter().find(|reading| !matches!(reading.used, ReadingUse::Excluded(_)))
        else {
            return "nothing in this event is live".into();
        };
        let metric = metric_name(&reading.metric);
        match reading.used {
            ReadingUse::InsideNight => {
                format!("{metric} is a point of a series inside a night, which tells of the past")
            }
            ReadingUse::OlderThanHeld => format!("a newer {metric} is already held"),
            ReadingUse::TooOld | ReadingUse::Live | ReadingUse::Excluded(_) => format!(
                "{metric} arrived {} late, and only {} may pass for it to count as the present",
                length(reading.age_seconds),
                reading.live_for_seconds.map_or_else(|| "nothing".into(), length),
            ),
        }
    }

    /// What an activity gate or an unconfirmed heart rate is waiting for.
    fn waiting(&self) -> Option<String> {
        let gated = [&self.view.hrv, &self.view.heart_rate];
        let gate =
            self.gate.filter(|_| gated.iter().any(|report| report.status == Status::Gated))?;
        Some(format!("Movement explains heart rate and HRV until {}.", clock(gate.until)))
    }

    /// What keeps a mode other than pattern from ending.
    fn calm_sentence(&self) -> Option<String> {
        if self.selection.kind != Kind::Unchanged || self.selection.mode == Mode::Pattern {
            return None;
        }
        if let Some(since) = self.calm_since {
            return Some(format!("All that is known has been normal since {}.", clock(since)));
        }
        let wanting = Indicator::ALL.into_iter().filter_map(|indicator| {
            let report = self.view.get(indicator);
            match report.normal {
                Some(true) => None,
                Some(false) => Some(format!("{} is not normal", indicator_name(indicator))),
                None => self
                    .entry_indicators
                    .contains(&indicator)
                    .then(|| format!("{} is not known", indicator_name(indicator))),
            }
        });
        let wanting = wanting.collect::<Vec<_>>().join(", ");
        (!wanting.is_empty()).then(|| format!("Not calm yet: {wanting}."))
    }

    /// What the rules could not see.
    fn hidden(&self) -> Option<String> {
        if self.rules.is_empty() {
            return None;
        }
        let hidden = Indicator::ALL.into_iter().filter_map(|indicator| {
            let report = self.view.get(indicator);
            let name = indicator_name(indicator);
            match report.status {
                Status::Calibrating => Some(format!(
                    "{name} (its usual value is calibrating, {})",
                    calibration(report)
                )),
                Status::Stale => {
                    let age = length(report.age_seconds.unwrap_or_default());
                    Some(format!("{name} (last seen {age} ago)"))
                }
                Status::Ok | Status::Missing | Status::Gated => None,
            }
        });
        let hidden = hidden.collect::<Vec<_>>().join(", ");
        (!hidden.is_empty()).then(|| format!("Not fully judged: {hidden}."))
    }

    fn unused(&self) -> Option<String> {
        let excluded: Vec<String> = self
            .excluded
            .iter()
            .map(|reading| {
                format!(
                    "{} ({})",
                    metric_name(&reading.metric),
                    reading.reason.as_str().replace('_', " ")
                )
            })
            .collect();
        (!excluded.is_empty()).then(|| format!("Excluded: {}.", excluded.join(", ")))
    }

    /// What a rule sees.
    fn phrase(&self, rule: Rule) -> String {
        let value =
            |indicator| self.view.get(indicator).value.map_or_else(|| "unknown".into(), number);
        let (hrv, beats) = (value(Indicator::Hrv), value(Indicator::HeartRate));
        let report = self.rules.iter().find(|report| report.id == rule);
        let count = report.and_then(|report| report.value).unwrap_or_default();
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
            Rule::HighHrvHighHr => format!("HRV {hrv} ms and heart rate {beats} are both high"),
            Rule::LowHrvLowHr => format!("HRV {hrv} ms and heart rate {beats} are both low"),
        }
    }

    /// What a rule that did not fire needs in order to fire.
    fn need(&self, report: &RuleReport) -> String {
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

impl CandidateReport {
    /// What to call a candidate for which no rule speaks.
    fn reason_phrase(&self) -> Option<&'static str> {
        self.rules.is_empty().then_some("the return to pattern")
    }
}

/// How far a rule is from firing, against how far it usually is.
fn relative_margin(report: &RuleReport) -> Option<f64> {
    let margin = report.margin?;
    let usual_distance = match report.id {
        Rule::HeartRateElevated => 40.0,
        Rule::RecoveryLow => 60.0,
        _ => report.threshold?.max(1e-9),
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

fn calibration(report: &IndicatorReport) -> String {
    let Some(baseline) = report.baseline else {
        return "nothing yet".into();
    };
    let days = format!("{}/{} days", baseline.days, baseline.days_needed);
    match baseline.samples_needed {
        Some(needed) => format!("{}/{needed} samples or {days}", baseline.samples),
        None => days,
    }
}
