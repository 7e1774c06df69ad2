//! The modes that an evaluation speaks for, each with its confidence, and which of them is selected.

use crate::condition::Legs;
use crate::mode::Mode;
use crate::outcome::Reason;
use crate::policy::Policy;
use crate::rule::{Rule, RuleSet};
use crate::state::{Indicator, Indicators, State};
use crate::time::Timestamp;
use crate::view::{Evidence, View};

/// A mode that something speaks for.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) mode: Mode,
    /// The fired rules that speak for it; none speak for a return.
    pub(crate) rules: RuleSet,
    /// Before the cooldown.
    pub(crate) confidence: f64,
    /// After the cooldown, where one applies.
    pub(crate) cooled: Option<f64>,
    pub(crate) skipped: Option<Skip>,
}

/// Why a candidate was passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Skip {
    /// Its confidence is below the policy's minimum.
    Confidence,
    /// It is weaker than the current mode, which was confirmed too recently.
    StepDown,
}

/// The candidates of one evaluation by priority: reflex, guardian, pattern, hypothesis, return.
pub(crate) type Candidates = [Option<Candidate>; 5];

impl Candidate {
    fn of(mode: Mode, rules: RuleSet, confidence: f64) -> Self {
        Self { mode, rules, confidence, cooled: None, skipped: None }
    }

    /// The confidence that counts.
    pub(crate) fn weight(&self) -> f64 {
        self.cooled.unwrap_or(self.confidence)
    }

    /// The first fired rule in the table's order.
    pub(crate) fn reason(&self) -> Reason {
        self.rules.iter().next().map_or(Reason::ReturnToPattern, Reason::Rule)
    }

    /// Whether this is a return to pattern, for which no rule speaks.
    pub(crate) fn is_return(&self) -> bool {
        self.rules.is_empty()
    }

    /// The indicators that speak for it, as they are kept on entry into its mode.
    pub(crate) fn indicators(&self, legs: Legs) -> Indicators {
        let has = |rule| self.rules.contains(rule);
        let depletion = has(Rule::Depletion);
        let contradiction = has(Rule::HighHrvHighHr) || has(Rule::LowHrvLowHr);
        Indicators::of(&[
            (Indicator::Hrv, has(Rule::HrvDropMs) || has(Rule::HrvDropPercentage) || contradiction),
            (
                Indicator::HeartRate,
                has(Rule::HeartRateElevated) || has(Rule::HeartRateExtreme) || contradiction,
            ),
            (Indicator::Stress, has(Rule::StressCritical)),
            (Indicator::Recovery, has(Rule::RecoveryLow)),
            (Indicator::OvernightHrv, has(Rule::OvernightHrvLow)),
        ])
        .union(Indicators::of(&[
            (Indicator::Hrv, depletion && legs.hrv),
            (Indicator::HeartRate, depletion && legs.heart_rate),
            (Indicator::Stress, depletion && legs.stress),
        ]))
    }
}

/// The candidates that rules speak for, by priority.
pub(crate) fn proposed(
    fired: RuleSet,
    evidence: &Evidence,
    borderline: bool,
    mode: Mode,
    policy: &Policy,
) -> [Option<Candidate>; 4] {
    let speaking = |mode| Some(fired.and(RuleSet::of_mode(mode))).filter(|rules| !rules.is_empty());
    let pattern = speaking(Mode::Pattern).filter(|_| mode != Mode::Pattern && !borderline);
    [
        speaking(Mode::Reflex).map(|rules| {
            Candidate::of(Mode::Reflex, rules, reflex_confidence(rules, evidence, policy))
        }),
        speaking(Mode::Guardian).map(|rules| {
            Candidate::of(Mode::Guardian, rules, guardian_confidence(rules, evidence, policy))
        }),
        pattern.map(|rules| Candidate::of(Mode::Pattern, rules, policy.pattern.confidence)),
        speaking(Mode::Hypothesis)
            .map(|rules| Candidate::of(Mode::Hypothesis, rules, policy.hypothesis.confidence)),
    ]
}

/// The return to pattern after `calm` has lasted.
pub(crate) fn return_to_pattern(
    calm: bool,
    t: Timestamp,
    state: &State,
    policy: &Policy,
) -> Option<Candidate> {
    let due = state.mode != Mode::Pattern
        && calm
        && t - state.disturbed >= policy.return_to_pattern.after_calm;
    due.then(|| {
        let confidence = policy.return_to_pattern.confidence;
        Candidate::of(Mode::Pattern, RuleSet::default(), confidence)
    })
}

fn reflex_confidence(rules: RuleSet, evidence: &Evidence, policy: &Policy) -> f64 {
    let reflex = &policy.reflex;
    let above = |value: Option<f64>, threshold| value.filter(|value| *value > threshold);
    let drop = evidence.drop.filter(|_| {
        above(evidence.drop, reflex.significant_ms).is_some()
            || above(evidence.drop_pct, reflex.significant_pct).is_some()
    });
    let heart_rate = evidence.heart_rate.filter(|_| rules.contains(Rule::HeartRateElevated));
    let parts = [
        drop.map(|drop| (drop / reflex.full_drop_ms).min(1.0)),
        heart_rate.map(|beats| ((beats - reflex.hr_from) / reflex.hr_span).clamp(0.0, 1.0)),
        above(evidence.stress, reflex.stress_part),
    ];
    largest(parts).map_or(reflex.min, |part| part.clamp(reflex.min, 1.0))
}

fn guardian_confidence(rules: RuleSet, evidence: &Evidence, policy: &Policy) -> f64 {
    let guardian = &policy.guardian;
    let recovery = evidence.recovery.filter(|_| rules.contains(Rule::RecoveryLow));
    let drop = evidence.overnight_drop.filter(|_| rules.contains(Rule::OvernightHrvLow));
    let depletion = rules.contains(Rule::Depletion).then(|| {
        let legs = f64::from(Legs::of(evidence, policy).count());
        let stress = evidence.stress_reported.unwrap_or(0.0);
        let beyond_two = guardian.step * (legs - 2.0);
        let by_stress = 0.2 * (stress - guardian.stress).max(0.0) / 0.3;
        (guardian.base + beyond_two + by_stress).min(guardian.max)
    });
    let parts = [
        recovery.map(|score| 1.0 - score / 100.0),
        drop.map(|drop| (drop / guardian.overnight_full_drop_ms).clamp(0.5, 1.0)),
        depletion,
    ];
    largest(parts).unwrap_or(0.0)
}

fn largest(parts: [Option<f64>; 3]) -> Option<f64> {
    parts.into_iter().flatten().reduce(f64::max)
}

/// Whether the evaluation is close to reflex without reaching it.
pub(crate) fn is_borderline(fired: RuleSet, evidence: &Evidence, policy: &Policy) -> bool {
    let border = &policy.borderline;
    let above = |value: Option<f64>, threshold| value.is_some_and(|value| value > threshold);
    let close = [
        above(evidence.drop, border.drop_ms),
        above(evidence.heart_rate, border.heart_rate),
        above(evidence.stress, border.stress),
    ];
    let count = close.into_iter().fold(0, |count, holds| count + u32::from(holds));
    fired.and(RuleSet::of_mode(Mode::Reflex)).is_empty() && count >= border.min
}

/// Whether an evaluation without candidates is calm: what spoke for the mode on entry is normal
/// again, and so is nearly all else that is known.
pub(crate) fn is_calm(evidence: &Evidence, view: &View, state: &State, policy: &Policy) -> bool {
    let normal = |indicator| known_normal(indicator, evidence, view, policy);
    if !state.entry_indicators.iter().all(|indicator| normal(indicator) == Some(true)) {
        return false;
    }
    let known = Indicator::ALL.into_iter().filter_map(normal);
    let (count, normal) = known.fold((0.0, 0.0), |(count, good), normal| {
        (count + 1.0, if normal { good + 1.0 } else { good })
    });
    normal >= policy.return_to_pattern.share * count
}

/// Whether an indicator is normal; `None` when it is not known.
pub(crate) fn known_normal(
    indicator: Indicator,
    evidence: &Evidence,
    view: &View,
    policy: &Policy,
) -> Option<bool> {
    let normal = &policy.return_to_pattern;
    let small = |drop: Option<f64>, percent: Option<f64>| {
        Some(drop? <= normal.drop_ms && percent? <= normal.drop_pct)
    };
    match indicator {
        Indicator::Hrv => small(evidence.drop, evidence.drop_pct),
        Indicator::HeartRate => view.heart_rate.value().map(|beats| beats <= normal.heart_rate),
        Indicator::Stress => evidence.stress.map(|stress| stress <= normal.stress),
        Indicator::Recovery => evidence.recovery.map(|score| score >= normal.recovery),
        Indicator::OvernightHrv => small(evidence.overnight_drop, evidence.overnight_drop_pct),
    }
}

/// Cools and weighs the candidates; returns the one that is selected.
pub(crate) fn select(
    candidates: &mut Candidates,
    t: Timestamp,
    state: &State,
    policy: &Policy,
) -> Option<Candidate> {
    let cooling = state.last_switch.is_some_and(|last| t - last < policy.selection.cooldown);
    let settled = t - state.last_confirmed >= policy.step_down.after;
    let mut selected = None;
    for candidate in candidates.iter_mut().flatten() {
        if cooling && candidate.mode != state.mode {
            candidate.cooled = Some(candidate.confidence * policy.selection.factor);
        }
        let steps_down = !candidate.is_return() && candidate.mode.is_step_down_from(state.mode);
        candidate.skipped = if candidate.weight() < policy.selection.min_confidence {
            Some(Skip::Confidence)
        } else if steps_down && !settled {
            Some(Skip::StepDown)
        } else {
            None
        };
        if selected.is_none() && candidate.skipped.is_none() {
            selected = Some(*candidate);
        }
    }
    selected
}
