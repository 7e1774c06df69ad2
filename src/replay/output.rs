//! What a replay prints: one JSON object a line for each canonical event or rejected record.

use neuros::explain::Explanation;
use neuros::wire::Rejection;
use neuros::{Mode, Outcome, RuleSet, State};
use serde::Serialize;

/// One line of a replay's output.
#[derive(Serialize)]
pub struct OutcomeLine<'a> {
    /// The record's line, from 0.
    i: u64,
    user_id: Option<&'a str>,
    kind: &'static str,
    mode: Option<Mode>,
    previous_mode: Option<Mode>,
    reason: Option<&'static str>,
    confidence: Option<f64>,
    fired: RuleSet,
    borderline: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<&'a Explanation>,
}

impl<'a> OutcomeLine<'a> {
    /// The line of an event's outcome; with its explanation when `explain`.
    pub fn of_outcome(i: u64, user_id: &'a str, outcome: &'a Outcome, explain: bool) -> Self {
        let explanation = outcome.explanation.as_deref().filter(|_| explain);
        Self {
            i,
            user_id: Some(user_id),
            kind: outcome.kind.as_str(),
            mode: Some(outcome.mode),
            previous_mode: Some(outcome.previous_mode),
            reason: outcome.reason.map(neuros::Reason::as_str),
            confidence: Some(outcome.confidence),
            fired: outcome.fired,
            borderline: outcome.borderline,
            text: explanation.map(ToString::to_string),
            explanation,
        }
    }

    /// The line of a rejected record whose user may have a state.
    pub fn of_rejection(
        i: u64,
        rejection: &'a Rejection<'_>,
        state: Option<&State>,
        explain: bool,
    ) -> Self {
        Self {
            i,
            user_id: rejection.user_id.as_deref(),
            kind: "rejected",
            mode: state.map(State::mode),
            previous_mode: None,
            reason: Some(rejection.reason.as_str()),
            confidence: None,
            fired: RuleSet::default(),
            borderline: false,
            text: explain.then(|| rejection.detail.to_string()),
            explanation: None,
        }
    }
}
