//! What one canonical event did to a user's mode.

use serde::{Serialize, Serializer};

use crate::explain::Explanation;
use crate::mode::Mode;
use crate::redact::redacted_debug;
use crate::rule::{Rule, RuleSet};
use crate::time::Timestamp;

/// The outcome of one canonical event.
#[derive(Clone, PartialEq)]
pub struct Outcome {
    /// The event's time as the engine saw it.
    pub time: Timestamp,
    /// What happened.
    pub kind: Kind,
    /// The mode afterwards.
    pub mode: Mode,
    /// The mode before a switch, else the current one.
    pub previous_mode: Mode,
    /// Why; `None` for what needs no reason.
    pub reason: Option<Reason>,
    /// The confidence in the mode afterwards, 0..=1.
    pub confidence: f64,
    /// Every rule that fired, whatever was selected.
    pub fired: RuleSet,
    /// The evaluation was close to reflex without reaching it.
    pub borderline: bool,
    /// Why in full: always there for a switch, for others when it was asked for.
    pub explanation: Option<Box<Explanation>>,
}

/// The kinds of outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The mode changed.
    Switched,
    /// The current mode was confirmed.
    Held,
    /// There were candidates, and none was selected.
    Suppressed,
    /// Nothing spoke for any mode.
    Unchanged,
    /// Nothing in the event was live.
    NotEvaluated,
    /// The record was already known.
    Duplicate,
}

/// Why an outcome is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The first fired rule of the candidate in question.
    Rule(Rule),
    /// Calm lasted long enough.
    ReturnToPattern,
    /// The mode went unconfirmed for too long.
    Expired,
    /// Every usable reading was too old to change the mode.
    Backfill,
    /// Every reading was excluded.
    NoUsableReading,
}

redacted_debug!(Outcome);

impl Kind {
    /// The kind as messages and logs have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Switched => "switched",
            Self::Held => "held",
            Self::Suppressed => "suppressed",
            Self::Unchanged => "unchanged",
            Self::NotEvaluated => "not_evaluated",
            Self::Duplicate => "duplicate",
        }
    }
}

impl Reason {
    /// The reason as messages and tables have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rule(rule) => rule.as_str(),
            Self::ReturnToPattern => "return_to_pattern",
            Self::Expired => "expired",
            Self::Backfill => "backfill",
            Self::NoUsableReading => "no_usable_reading",
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
