//! The four NEUROS modes.

use serde::{Deserialize, Serialize};

/// How the coach should treat a person at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Acute strain: react now.
    Reflex,
    /// Depleted: protect.
    Guardian,
    /// As usual: follow what recurs. Everybody starts here.
    Pattern,
    /// Contradictory signs: ask.
    Hypothesis,
}

impl Mode {
    /// The name as messages and tables have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reflex => "reflex",
            Self::Guardian => "guardian",
            Self::Pattern => "pattern",
            Self::Hypothesis => "hypothesis",
        }
    }

    /// Whether this mode may follow `current` only after a while: the order is reflex, guardian,
    /// pattern, hypothesis, and from pattern every way is free.
    pub(crate) fn is_step_down_from(self, current: Self) -> bool {
        current != Self::Pattern && self > current
    }
}
