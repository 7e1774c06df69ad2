//! Why an outcome is what it is: as data that a program can check, and as sentences for people.
//! Built from what the evaluation looked at; nothing here decides anything.

mod input;
mod phrase;
mod rules;
mod text;
pub(crate) mod units;

use serde::Serialize;

use crate::candidate::{Candidate, Skip};
use crate::evaluate::Evaluation;
use crate::event::Event;
use crate::incoming::Incoming;
use crate::mode::Mode;
use crate::outcome::{Kind, Reason};
use crate::policy::Policy;
use crate::redact::redacted_debug;
use crate::rule::RuleSet;
use crate::state::{Indicator, State};
use crate::step::Taken;
use crate::time::Timestamp;
use crate::view::{Evidence, View};

pub use input::{
    BaselineReport, ExcludedReading, IndicatorReport, ReadingReport, ReadingUse, Status,
};
pub use rules::{ConditionReport, RuleReport, RuleStatus};

/// The whole explanation of one outcome (the specification's section 8).
///
/// `Display` gives it as a few plain sentences.
#[derive(Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The policy that was in force.
    pub policy_version: String,
    /// The evaluation time; `None` before the first evaluation.
    pub evaluated_at: Option<Timestamp>,
    /// The mode before the event.
    pub mode_before: Mode,
    /// What spoke for that mode on entry, and so must be normal before it ends.
    pub entry_indicators: Vec<Indicator>,
    /// The indicators as they stood.
    pub view: ViewReport,
    /// What follows from them.
    pub derived: Derived,
    /// The interval in which movement explains heart rate and HRV.
    pub gate: Option<GateReport>,
    /// Whether steps are known, so that a minute of high heart rate counts.
    pub activity_known: bool,
    /// All twelve rules in the table's order.
    pub rules: Vec<RuleReport>,
    /// What spoke for a mode, by priority.
    pub candidates: Vec<CandidateReport>,
    /// Whether the evaluation was calm.
    pub calm: bool,
    /// The newest disturbance, or the entry into the mode: every evaluation after it was calm.
    pub calm_since: Option<Timestamp>,
    /// Close to reflex without reaching it.
    pub borderline: bool,
    /// What became of each reading of the event.
    pub readings: Vec<ReadingReport>,
    /// The readings that were kept but not used, with the reason.
    pub excluded: Vec<ExcludedReading>,
    /// What was decided.
    pub selection: SelectionReport,
}

/// The five indicators.
#[derive(Clone, PartialEq, Serialize)]
pub struct ViewReport {
    /// Momentary HRV, ms.
    pub hrv: IndicatorReport,
    /// Heart rate, beats/min.
    pub heart_rate: IndicatorReport,
    /// Reported stress, 0..=1.
    pub stress: IndicatorReport,
    /// Recovery score, 0..=100.
    pub recovery: IndicatorReport,
    /// HRV of the night, ms.
    pub overnight_hrv: IndicatorReport,
}

/// What follows from the view; `None` where it cannot be known.
#[derive(Clone, PartialEq, Serialize)]
pub struct Derived {
    /// HRV below its baseline, ms.
    pub drop: Option<f64>,
    /// HRV below its baseline, percent.
    pub drop_pct: Option<f64>,
    /// Heart rate above its baseline, beats/min.
    pub elevation: Option<f64>,
    /// Overnight HRV below its baseline, ms.
    pub overnight_drop: Option<f64>,
    /// Overnight HRV below its baseline, percent.
    pub overnight_drop_pct: Option<f64>,
    /// Stress, 0..=1.
    pub stress: Option<StressReport>,
}

/// Stress and how it is known.
#[derive(Clone, Copy, PartialEq, Serialize)]
pub struct StressReport {
    /// 0..=1.
    pub value: f64,
    /// How it is known.
    pub origin: StressOrigin,
}

/// How stress is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StressOrigin {
    /// A device reported it.
    Reported,
    /// HRV drop and heart-rate elevation suggest it.
    Derived,
}

/// The activity gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct GateReport {
    /// Its first instant.
    pub from: Timestamp,
    /// Its last instant.
    pub until: Timestamp,
}

/// A mode that something spoke for.
#[derive(Clone, PartialEq, Serialize)]
pub struct CandidateReport {
    /// The mode.
    pub mode: Mode,
    /// The fired rules that spoke for it; none speak for a return to pattern.
    pub rules: RuleSet,
    /// Its confidence, 0..=1, before the cooldown.
    pub confidence: f64,
    /// Its confidence after the cooldown, where one applied.
    pub cooled: Option<f64>,
    /// Why it was passed over.
    pub skipped: Option<Skip>,
}

/// What was decided.
#[derive(Clone, PartialEq, Serialize)]
pub struct SelectionReport {
    /// The outcome.
    pub kind: Kind,
    /// Why.
    pub reason: Option<Reason>,
    /// The mode after the event.
    pub mode: Mode,
    /// The confidence after the event, 0..=1.
    pub confidence: f64,
    /// The confidence below which a candidate is passed over, 0..=1.
    pub confidence_needed: f64,
    /// When the mode before was last entered or confirmed.
    pub confirmed_at: Timestamp,
    /// Until then candidates for other modes were weakened, when they were.
    pub cooldown_until: Option<Timestamp>,
    /// Until then weaker modes had to wait, when they had to.
    pub step_down_until: Option<Timestamp>,
    /// When the mode returns to pattern, should all evaluations stay calm.
    pub returns_at: Option<Timestamp>,
    /// When the mode ends, should nothing confirm it.
    pub expires_at: Option<Timestamp>,
}

redacted_debug!(Explanation, ViewReport, Derived, StressReport, CandidateReport, SelectionReport);

impl Explanation {
    /// Explains what became of an event, from what was looked at; `state` is the state afterwards.
    pub(crate) fn of(
        taken: &Taken,
        incoming: &Incoming,
        event: &Event<'_>,
        state: &State,
        policy: &Policy,
    ) -> Self {
        let readings = input::readings(incoming, event, policy);
        let excluded = input::excluded(&readings);
        let mut explanation = match taken {
            Taken::Evaluated(found) => Self::of_evaluation(found, state, policy),
            Taken::Duplicate => Self::of_standstill(Kind::Duplicate, None, state, policy),
            Taken::NotEvaluated(reason) => {
                Self::of_standstill(Kind::NotEvaluated, Some(*reason), state, policy)
            }
        };
        explanation.readings = readings;
        if matches!(taken, Taken::Duplicate) {
            explanation.readings.iter_mut().for_each(ReadingReport::repeat);
        }
        explanation.excluded = excluded;
        explanation
    }

    fn of_evaluation(found: &Evaluation, state: &State, policy: &Policy) -> Self {
        let t = found.t;
        let later = |until: Timestamp| Some(until).filter(|until| *until > t);
        let last_switch = found.last_switch_before;
        let cooldown_until = last_switch.and_then(|last| later(last + policy.selection.cooldown));
        let step_down_until = (found.mode_before != Mode::Pattern)
            .then(|| later(found.last_confirmed_before + policy.step_down.after))
            .flatten();
        let mut explanation = Self::of_sight(Some(t), &found.view, &found.evidence, state, policy);
        explanation.mode_before = found.mode_before;
        explanation.entry_indicators = found.entry_indicators_before.iter().collect();
        explanation.rules = rules::report(&found.view, &found.evidence, true, policy);
        explanation.candidates = found.candidates.iter().flatten().map(Into::into).collect();
        explanation.calm = found.calm;
        explanation.calm_since = found.calm.then_some(found.disturbed_before);
        explanation.borderline = found.borderline;
        let selection = &mut explanation.selection;
        (selection.kind, selection.reason) = (found.verdict.kind, found.verdict.reason);
        if selection.mode != Mode::Pattern {
            let calm_since = explanation.calm_since;
            selection.returns_at =
                calm_since.map(|since| since + policy.return_to_pattern.after_calm);
        }
        selection.confirmed_at = found.last_confirmed_before;
        (selection.cooldown_until, selection.step_down_until) = (cooldown_until, step_down_until);
        explanation
    }

    /// Nothing was evaluated: the state is shown as the newest evaluation time sees it.
    fn of_standstill(kind: Kind, reason: Option<Reason>, state: &State, policy: &Policy) -> Self {
        let t = state.clock.unwrap_or(state.mode_since);
        let view = View::at(t, state, policy);
        let evidence = Evidence::of(&view, t, state, policy);
        let mut explanation = Self::of_sight(state.clock, &view, &evidence, state, policy);
        explanation.rules = rules::report(&view, &evidence, false, policy);
        (explanation.selection.kind, explanation.selection.reason) = (kind, reason);
        explanation
    }

    /// How things stand at `t`, with nothing new: what rules would see by then, and how far each is from firing.
    /// What only an event itself can ask of the memory is missing.
    pub fn standing(state: &State, policy: &Policy, t: Timestamp) -> Self {
        let view = View::at(t, state, policy);
        let evidence = Evidence::of(&view, t, state, policy);
        let mut explanation = Self::of_sight(Some(t), &view, &evidence, state, policy);
        explanation.rules = rules::report(&view, &evidence, true, policy);
        explanation
    }

    /// What can be said of `state` as `view` shows it, before anything is decided.
    fn of_sight(
        t: Option<Timestamp>,
        view: &View,
        evidence: &Evidence,
        state: &State,
        policy: &Policy,
    ) -> Self {
        let expires_at = policy.mode_ttl(state.mode).map(|ttl| state.last_confirmed + ttl);
        Self {
            policy_version: policy.version.clone(),
            evaluated_at: t,
            mode_before: state.mode,
            entry_indicators: state.entry_indicators.iter().collect(),
            view: ViewReport::of(view, evidence, t.unwrap_or(state.mode_since), state, policy),
            derived: evidence.into(),
            gate: state.gate.map(|gate| GateReport { from: gate.from, until: gate.until }),
            activity_known: evidence.activity_known,
            rules: Vec::new(),
            candidates: Vec::new(),
            calm: false,
            calm_since: None,
            borderline: false,
            readings: Vec::new(),
            excluded: Vec::new(),
            selection: SelectionReport {
                kind: Kind::Unchanged,
                reason: None,
                mode: state.mode,
                confidence: state.confidence,
                confidence_needed: policy.selection.min_confidence,
                confirmed_at: state.last_confirmed,
                cooldown_until: None,
                step_down_until: None,
                returns_at: None,
                expires_at,
            },
        }
    }
}

impl From<&Evidence> for Derived {
    fn from(evidence: &Evidence) -> Self {
        let origin = match evidence.stress_reported {
            Some(_) => StressOrigin::Reported,
            None => StressOrigin::Derived,
        };
        Self {
            drop: evidence.drop,
            drop_pct: evidence.drop_pct,
            elevation: evidence.elevation,
            overnight_drop: evidence.overnight_drop,
            overnight_drop_pct: evidence.overnight_drop_pct,
            stress: evidence.stress.map(|value| StressReport { value, origin }),
        }
    }
}

impl From<&Candidate> for CandidateReport {
    fn from(candidate: &Candidate) -> Self {
        let Candidate { mode, rules, confidence, cooled, skipped } = *candidate;
        Self { mode, rules, confidence, cooled, skipped }
    }
}
