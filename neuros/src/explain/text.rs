//! An explanation as sentences that a coach can read. What matters most comes first; the first
//! sentence stands alone as the reason of a mode change.

use std::fmt::{self, Display};

use super::input::{IndicatorReport, ReadingUse, Status};
use super::phrase::relative_margin;
use super::rules::RuleStatus;
use super::units::{
    clock, indicator_name, length, length_beside, list, metric_name, number, number_beside,
};
use super::{CandidateReport, Explanation};
use crate::candidate::Skip;
use crate::mode::Mode;
use crate::outcome::{Kind, Reason};
use crate::rule::RuleSet;
use crate::state::Indicator;

impl Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.headline())?;
        let rest = [
            self.close(),
            self.waiting(),
            self.calm_sentence(),
            self.hidden(),
            self.late(),
            self.unused(),
        ];
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
            let phrase = self.rule(rule).map_or_else(String::new, |report| self.phrase(report));
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
        let needed = self.selection.confidence_needed;
        let confidence = number_beside(candidate.cooled.unwrap_or(candidate.confidence), needed);
        match (candidate.skipped, self.selection.cooldown_until, self.selection.step_down_until) {
            (Some(Skip::Confidence), cooldown, _) => {
                let weak =
                    format!("is too weak: confidence {confidence}, {} is needed", number(needed));
                match cooldown.filter(|_| candidate.cooled.is_some()) {
                    Some(until) => {
                        format!("{weak}, and until {} other modes are held back", clock(until))
                    }
                    None => weak,
                }
            }
            (Some(Skip::StepDown), _, Some(until)) => {
                format!("has to wait until {}, being weaker than the current mode", clock(until))
            }
            (Some(Skip::StepDown), _, None) => {
                "has to wait, being weaker than the current mode".into()
            }
            (None, _, _) => "was not needed".into(),
        }
    }

    /// In pattern, the rule that came closest to changing the mode, and what it needs.
    fn nearest(&self) -> String {
        let fired = self.rules.iter().find(|rule| rule.status == RuleStatus::Fired);
        match (fired, self.mode_before) {
            (Some(rule), Mode::Pattern) => {
                return format!("{}, which speaks for the current mode", self.phrase(rule));
            }
            (Some(rule), _) => {
                let seen = self.phrase(rule);
                return format!("{seen}, but so close to reflex it is not taken for a pattern");
            }
            (None, Mode::Pattern) => {}
            (None, _) => return "nothing speaks for another mode".into(),
        }
        let judged = self.rules.iter().filter(|rule| {
            let recalls = RuleSet::of_mode(Mode::Pattern).contains(rule.id);
            rule.status == RuleStatus::NotFired && !recalls
        });
        let nearest = judged
            .filter_map(|rule| Some((relative_margin(rule)?, rule)))
            .min_by(|(near, _), (other, _)| near.total_cmp(other));
        match nearest {
            Some((_, rule)) => format!("{}; {}", self.phrase(rule), self.need(rule)),
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
            _ => {
                let limit = reading.live_for_seconds.unwrap_or_default();
                let late = length_beside(reading.age_seconds, limit);
                let limit = length(limit);
                format!(
                    "{metric} arrived {late} late, and only {limit} may pass for it to count as the present"
                )
            }
        }
    }

    /// What of the event did not count as the present, in an event of which something did.
    fn late(&self) -> Option<String> {
        if matches!(self.selection.kind, Kind::NotEvaluated | Kind::Duplicate) {
            return None;
        }
        let late: Vec<String> = self
            .readings
            .iter()
            .filter_map(|reading| {
                let name = metric_name(&reading.metric);
                match reading.used {
                    ReadingUse::OlderThanHeld => Some(format!("{name} (a newer one is held)")),
                    ReadingUse::TooOld => {
                        Some(format!("{name} ({} late)", length(reading.age_seconds)))
                    }
                    _ => None,
                }
            })
            .collect();
        (!late.is_empty()).then(|| format!("Not the present: {}.", list(late.into_iter())))
    }

    /// What the activity gate withholds.
    fn waiting(&self) -> Option<String> {
        let gated = [&self.view.hrv, &self.view.heart_rate];
        let gate =
            self.gate.filter(|_| gated.iter().any(|report| report.status == Status::Gated))?;
        let until = clock(gate.until);
        Some(if Some(gate.until) < self.evaluated_at {
            format!("Movement until {until} explains heart rate and HRV.")
        } else {
            format!("Movement explains heart rate and HRV until {until}.")
        })
    }

    /// That reflex was close.
    fn close(&self) -> Option<String> {
        let told = matches!(self.selection.kind, Kind::Unchanged | Kind::Suppressed);
        (told && self.borderline).then(|| "Close to reflex without reaching it.".into())
    }

    /// What keeps a mode other than pattern from ending.
    fn calm_sentence(&self) -> Option<String> {
        let mode = self.selection.mode;
        if self.selection.kind != Kind::Unchanged || mode == Mode::Pattern {
            return None;
        }
        let ends = self.selection.expires_at.map_or_else(String::new, |at| {
            format!(" Unconfirmed, {} ends after {}.", mode.as_str(), clock(at))
        });
        if let Some(since) = self.calm_since {
            let back = self.selection.returns_at.map_or_else(String::new, |at| {
                format!("; if it stays so, pattern follows from {} on", clock(at))
            });
            return Some(format!("Nothing out of the ordinary since {}{back}.", clock(since)));
        }
        let wanting: Vec<String> = Indicator::ALL
            .into_iter()
            .filter_map(|indicator| {
                let (report, name) = (self.view.get(indicator), indicator_name(indicator));
                match report.normal {
                    Some(true) => None,
                    Some(false) => {
                        let derived = self.derived.stress.map(|stress| stress.value);
                        let stress = derived.filter(|_| indicator == Indicator::Stress);
                        let value = number(stress.or(report.value).unwrap_or_default());
                        Some(format!("{name} is {value} (normal is {})", report.normal_when))
                    }
                    None if self.entry_indicators.contains(&indicator) => {
                        Some(format!("{name} is not known"))
                    }
                    None => None,
                }
            })
            .collect();
        let wanting = wanting.join(", ");
        let wanting =
            if wanting.is_empty() { String::new() } else { format!("Not calm yet: {wanting}.") };
        Some(format!("{wanting}{ends}").trim_start().to_owned()).filter(|text| !text.is_empty())
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
        let excluded = self.excluded.iter().map(|reading| {
            let reason = reading.reason.as_str().replace('_', " ");
            format!("{} ({reason})", metric_name(&reading.metric))
        });
        (!self.excluded.is_empty()).then(|| format!("Excluded: {}.", list(excluded)))
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
