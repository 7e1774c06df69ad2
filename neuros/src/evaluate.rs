//! One evaluation: looks at the state as an event has left it, decides, and carries the decision out.

use crate::candidate::{self, Candidate, Candidates};
use crate::condition::{self, Legs};
use crate::incoming::{Incoming, Sensed};
use crate::mode::Mode;
use crate::outcome::{Kind, Reason};
use crate::policy::Policy;
use crate::rule::RuleSet;
use crate::state::{Decision, Indicators, State};
use crate::time::Timestamp;
use crate::view::{Evidence, View};

/// All that an evaluation looked at and found.
#[derive(Clone, Copy)]
pub(crate) struct Evaluation {
    pub(crate) t: Timestamp,
    pub(crate) mode_before: Mode,
    pub(crate) last_switch_before: Option<Timestamp>,
    pub(crate) last_confirmed_before: Timestamp,
    pub(crate) disturbed_before: Timestamp,
    pub(crate) entry_indicators_before: Indicators,
    pub(crate) view: View,
    pub(crate) evidence: Evidence,
    pub(crate) fired: RuleSet,
    pub(crate) borderline: bool,
    pub(crate) calm: bool,
    pub(crate) candidates: Candidates,
    pub(crate) verdict: Verdict,
}

/// What follows from an evaluation.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) kind: Kind,
    pub(crate) reason: Option<Reason>,
}

/// Evaluates `incoming` after it has been taken into `state`.
pub(crate) fn evaluate(incoming: &Incoming, state: &mut State, policy: &Policy) -> Evaluation {
    let t = state.clock.map_or(incoming.time, |clock| clock.max(incoming.time));
    state.clock = Some(t);
    let view = View::at(t, state, policy);
    let mut evidence = Evidence::of(&view, t, state, policy);
    recall_patterns(&mut evidence, incoming, state, policy);
    let fired = condition::fired(&evidence, policy);
    let borderline = candidate::is_borderline(fired, &evidence, policy);
    let proposed = candidate::proposed(fired, &evidence, borderline, state.mode, policy);
    let calm =
        proposed.iter().all(Option::is_none) && candidate::is_calm(&evidence, &view, state, policy);
    let [reflex, guardian, pattern, hypothesis] = proposed;
    let back = candidate::return_to_pattern(calm, t, state, policy);
    let mut evaluation = Evaluation {
        t,
        mode_before: state.mode,
        last_switch_before: state.last_switch,
        last_confirmed_before: state.last_confirmed,
        disturbed_before: state.disturbed,
        entry_indicators_before: state.entry_indicators,
        view,
        evidence,
        fired,
        borderline,
        calm,
        candidates: [reflex, guardian, pattern, hypothesis, back],
        verdict: Verdict { kind: Kind::Unchanged, reason: None },
    };
    if !calm {
        state.disturbed = t;
    }
    let selected = candidate::select(&mut evaluation.candidates, t, state, policy);
    evaluation.verdict = decide(selected, &evaluation, state, policy);
    evaluation
}

/// What only the event itself can ask of the pattern memory: about its own hour and weekday.
fn recall_patterns(evidence: &mut Evidence, incoming: &Incoming, state: &State, policy: &Policy) {
    let pattern = &policy.pattern;
    let (today, hour) = incoming.local_day_and_hour;
    let live = |sensed: Option<Sensed>| sensed.is_some_and(|sensed| sensed.live);
    if live(incoming.sensed.hrv) && evidence.hrv.is_some() {
        evidence.hard_hours = Some(state.hard_hours.count(today, hour, pattern.hour_days));
    }
    if live(incoming.sensed.recovery_score) {
        evidence.hard_weekdays = Some(state.hard_days.count(today, pattern.weekdays));
    }
}

/// Carries out what was selected, or the expiry of the mode when nothing was.
fn decide(
    selected: Option<Candidate>,
    evaluation: &Evaluation,
    state: &mut State,
    policy: &Policy,
) -> Verdict {
    let t = evaluation.t;
    if let Some(candidate) = selected {
        let reason = candidate.reason();
        let kind = if candidate.mode == state.mode {
            state.last_confirmed = t;
            state.confidence = candidate.weight();
            Kind::Held
        } else {
            let legs = Legs::of(&evaluation.evidence, policy);
            let indicators = candidate.indicators(legs);
            switch(state, candidate.mode, candidate.weight(), reason, indicators, t, policy);
            state.last_switch = Some(t);
            Kind::Switched
        };
        return Verdict { kind, reason: Some(reason) };
    }
    let unconfirmed = t - state.last_confirmed;
    if policy.mode_ttl(state.mode).is_some_and(|ttl| unconfirmed > ttl) {
        switch(state, Mode::Pattern, 0.5, Reason::Expired, Indicators::default(), t, policy);
        return Verdict { kind: Kind::Switched, reason: Some(Reason::Expired) };
    }
    match evaluation.candidates.iter().flatten().next() {
        Some(first) => Verdict { kind: Kind::Suppressed, reason: Some(first.reason()) },
        None => Verdict { kind: Kind::Unchanged, reason: None },
    }
}

/// Changes the mode and remembers that it did.
fn switch(
    state: &mut State,
    mode: Mode,
    confidence: f64,
    reason: Reason,
    entry_indicators: Indicators,
    t: Timestamp,
    policy: &Policy,
) {
    let previous_mode = state.mode;
    state.mode = mode;
    state.previous_mode = Some(previous_mode);
    state.confidence = confidence;
    state.entry_indicators = entry_indicators;
    (state.mode_since, state.last_confirmed, state.disturbed) = (t, t, t);
    state.seq = state.seq.saturating_add(1);
    let decision = Decision {
        seq: state.seq,
        time: t,
        previous_mode,
        mode,
        reason,
        confidence_permille: permille(confidence),
    };
    state.history.push_back(decision);
    while state.history.len() > usize::try_from(policy.history).unwrap_or(usize::MAX) {
        state.history.pop_front();
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a confidence lies in 0..=1"
)]
fn permille(confidence: f64) -> u16 {
    (confidence * 1_000.0).round() as u16
}
