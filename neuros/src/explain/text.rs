//! An explanation as sentences that a coach can read. What matters most comes first; the first
//! sentence stands alone as the reason of a mode change.

use std::fmt::{self, Display};

use super::input::{IndicatorReport, ReadingUse, Status};
use super::phrase::relative_margin;
use super::rules::RuleStatus;
use super::units::{clock, indicator_name, length, metric_name, number};
use super::{CandidateReport, Explanation};
use crate::candidate::Skip;
use crate::mode::Mode;
use crate::outcome::{Kind, Reason};
use crate::rule::RuleSet;
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
                let since = self.calm_since.map_or_else(|| "long".into(), clock);
                format!(
                    "Returned to pattern from {before}: nothing out of the ordinary since {since}."
                )
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

    /// In pattern, the rule that came closest to changing the mode, and what it needs.
    fn nearest(&self) -> String {
        if self.mode_before != Mode::Pattern {
            return "nothing speaks for another mode".into();
        }
        let judged = self.rules.iter().filter(|rule| {
            let recalls = RuleSet::of_mode(Mode::Pattern).contains(rule.id);
            rule.status == RuleStatus::NotFired && !recalls
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
            let back = self.selection.returns_at.map_or_else(String::new, |at| {
                format!("; if it stays so, pattern follows from {} on", clock(at))
            });
            return Some(format!("Nothing out of the ordinary since {}{back}.", clock(since)));
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
        // Of what did happen the evidence is in the first sentence.
        if !matches!(self.selection.kind, Kind::Unchanged | Kind::Suppressed) {
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
}

impl CandidateReport {
    /// What to call a candidate for which no rule speaks.
    fn reason_phrase(&self) -> Option<&'static str> {
        self.rules.is_empty().then_some("the return to pattern")
    }
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
