//! What is told of a mode change to whoever writes its message: made of the explanation alone, in words of our own and
//! whole percents. Never a text that a producer sent, an id, an instant or a measured value.

use actors::phi::Phi;
use neuros::{Mode, Rule};
use serde::Deserialize;

/// What the language model is to do; the same for everybody.
pub(super) const INSTRUCTIONS: &str = "You write one short message to a person about a change in how their coach treats them, \
which a program has decided from their wearable's readings. Say in one or two plain sentences, in the second person and at \
most 40 words, what has changed and why, and how to take it gently. Use only what you are told here. Give no medical advice \
and no diagnosis; mention no illness, medicine or treatment. Use no number that you were not given, no link, no list, no \
markup, no greeting and no question. If you cannot do this, answer with nothing.";

/// What is told of a mode change.
pub(super) struct Brief {
    /// What goes to the language model.
    pub(super) prompt: Phi<String>,
    /// The sentence of the explanation, which stays here.
    pub(super) sentence: Phi<String>,
    pub(super) seq: i64,
    pub(super) previous_mode: Mode,
    pub(super) mode: Mode,
}

/// A stored mode change, as far as anybody is told of it.
#[derive(Deserialize)]
struct Stored {
    seq: i64,
    previous_mode: Mode,
    mode: Mode,
    reason: String,
    reason_text: String,
    confidence: f64,
    explanation: Explained,
}

#[derive(Deserialize)]
struct Explained {
    rules: Vec<Judged>,
    candidates: Vec<Candidate>,
    view: View,
}

#[derive(Deserialize)]
struct Candidate {
    mode: Mode,
    rules: Vec<String>,
}

#[derive(Deserialize)]
struct Judged {
    id: String,
    conditions: Vec<Compared>,
}

#[derive(Deserialize)]
struct Compared {
    quantity: String,
    value: Option<f64>,
    must_be: String,
    threshold: Option<f64>,
    holds: bool,
}

#[derive(Deserialize)]
struct View {
    hrv: Seen,
    heart_rate: Seen,
    overnight_hrv: Seen,
}

#[derive(Deserialize)]
struct Seen {
    baseline: Option<Usual>,
}

#[derive(Deserialize)]
struct Usual {
    calibrated: bool,
}

impl Brief {
    /// What is told of a mode change with its explanation; `None` when it is none.
    pub(super) fn of(json: &Phi<Vec<u8>>) -> Option<Self> {
        let stored: Stored = serde_json::from_slice(json.expose()).ok()?;
        let prompt = Phi::new(stored.prompt());
        let Stored { seq, previous_mode, mode, reason_text, .. } = stored;
        Some(Self { prompt, sentence: Phi::new(reason_text), seq, previous_mode, mode })
    }
}

impl Stored {
    fn prompt(&self) -> String {
        let mut lines = vec![format!(
            "Mode before: {}. Mode now: {}.",
            mode_words(self.previous_mode),
            mode_words(self.mode)
        )];
        let rules = self.rules();
        if rules.is_empty() {
            lines.extend(self.ending().map(|why| format!("Why: {why}.")));
        }
        let mut seen = Vec::new();
        for rule in rules {
            let why = format!("Why: {}.", rule_words(rule));
            if !seen.contains(&why) {
                lines.push(why.clone());
                seen.push(why);
            }
            lines.extend(self.passed(rule));
        }
        let View { hrv, heart_rate, overnight_hrv } = &self.explanation.view;
        let usual = [("HRV", hrv), ("heart rate", heart_rate), ("HRV of the night", overnight_hrv)];
        let usual = usual.map(|(name, seen)| format!("{name} {}", seen.words()));
        lines.push(format!("What is usual for this person: {}.", usual.join(", ")));
        lines.push(format!("Confidence: {:.0} %.", (self.confidence * 100.0).clamp(0.0, 100.0)));
        lines.join("\n")
    }

    /// The fired rules that spoke for the mode.
    fn rules(&self) -> Vec<Rule> {
        let spoke =
            self.explanation.candidates.iter().find(|candidate| candidate.mode == self.mode);
        let named =
            |rule: &Rule| spoke.is_some_and(|its| its.rules.iter().any(|id| id == rule.as_str()));
        Rule::ALL.into_iter().filter(named).collect()
    }

    /// Why the mode before has ended, when no rule has done it.
    fn ending(&self) -> Option<&'static str> {
        match self.reason.as_str() {
            "return_to_pattern" => Some("nothing out of the ordinary was seen for long enough"),
            "expired" => Some("nothing has confirmed the mode before for too long"),
            _ => None,
        }
    }

    /// By how much each threshold of a rule was passed.
    fn passed(&self, rule: Rule) -> impl Iterator<Item = String> {
        let judged = self.explanation.rules.iter().find(|judged| judged.id == rule.as_str());
        judged.into_iter().flat_map(|judged| &judged.conditions).filter_map(Compared::words)
    }
}

impl Compared {
    /// By how much the threshold was passed, in whole percents of it.
    fn words(&self) -> Option<String> {
        let quantity = quantity_words(&self.quantity).filter(|_| self.holds)?;
        let (value, threshold) =
            (self.value?, self.threshold.filter(|threshold| *threshold != 0.0)?);
        let side = if self.must_be == "below" { "below" } else { "above" };
        let percent = ((value / threshold - 1.0).abs() * 100.0).round().min(999.0);
        Some(match (percent, &*self.must_be) {
            (0.0, "at_least") => format!("- {quantity}: at the threshold"),
            (0.0, _) => format!("- {quantity}: just {side} the threshold"),
            _ => format!("- {quantity}: {percent:.0} % {side} the threshold"),
        })
    }
}

impl Seen {
    fn words(&self) -> &'static str {
        match &self.baseline {
            Some(Usual { calibrated: true }) => "known",
            Some(Usual { calibrated: false }) => "not known well yet",
            None => "not known",
        }
    }
}

fn mode_words(mode: Mode) -> &'static str {
    match mode {
        Mode::Reflex => "reflex (acute strain, react now)",
        Mode::Guardian => "guardian (depleted, protect)",
        Mode::Pattern => "pattern (as usual)",
        Mode::Hypothesis => "hypothesis (contradictory signs, ask)",
    }
}

fn rule_words(rule: Rule) -> &'static str {
    match rule {
        Rule::HrvDropMs | Rule::HrvDropPercentage => "HRV is well below what is usual",
        Rule::HeartRateElevated => "heart rate has been high for some time",
        Rule::StressCritical => "stress is very high",
        Rule::HeartRateExtreme => "heart rate has been far above what is usual for some time",
        Rule::RecoveryLow => "recovery is low",
        Rule::OvernightHrvLow => "HRV of the night was well below what is usual",
        Rule::Depletion => "several signs of depletion at once",
        Rule::RecurringStressHour => "this hour of the day was hard on several recent days",
        Rule::LowRecoveryWeekday => "recovery was low on several recent days of this weekday",
        Rule::HighHrvHighHr => "HRV and heart rate are both high",
        Rule::LowHrvLowHr => "HRV and heart rate are both low",
    }
}

/// What is compared, in words; what we do not know is not repeated.
fn quantity_words(quantity: &str) -> Option<&'static str> {
    Some(match quantity {
        "hrv" => "HRV",
        "hrv_drop" => "fall of HRV in ms",
        "hrv_drop_pct" => "fall of HRV in percent",
        "heart_rate" => "heart rate",
        "heart_rate_elevation" => "rise of heart rate",
        "heart_rate_elevated_for" | "heart_rate_extreme_for" => {
            "time for which heart rate was high"
        }
        "stress" => "stress",
        "recovery" => "recovery",
        "overnight_hrv_drop" => "fall of the night's HRV in ms",
        "overnight_hrv_drop_pct" => "fall of the night's HRV in percent",
        "signs_of_depletion" => "signs of depletion",
        "days_with_this_hour_hard" => "days on which this hour was hard",
        "hard_weekdays" => "days of this weekday that were hard",
        _ => return None,
    })
}
