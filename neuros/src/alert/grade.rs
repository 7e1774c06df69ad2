//! How serious an alert is, by a table that the policy gives with each rule.

use serde::{Deserialize, Serialize};

use super::rule::Bound;
use crate::state::Indicator;

/// How serious an alert is. `Critical` is given by no built-in rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Low,
    /// Worth a look today.
    Medium,
    /// Worth a look now.
    High,
    /// Worth waking somebody.
    Critical,
}

impl Severity {
    /// All, the least first.
    pub const ALL: [Self; 4] = [Self::Low, Self::Medium, Self::High, Self::Critical];

    /// Its name in messages and policies.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// What a line of a severity table looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// The confidence in the mode, 0..1.
    Confidence,
    /// The newest value of an indicator, while it is fresh.
    Indicator(Indicator),
}

/// A line of a severity table: this severity, when the measure is known and within the bound. The first line
/// that holds counts; the last has no condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Grade {
    /// How serious it is then.
    pub severity: Severity,
    /// When; `None` for always.
    pub when: Option<(Measure, Bound)>,
}

impl Measure {
    /// All, by their names in policies.
    pub const ALL: [Self; 6] = [
        Self::Confidence,
        Self::Indicator(Indicator::Hrv),
        Self::Indicator(Indicator::HeartRate),
        Self::Indicator(Indicator::Stress),
        Self::Indicator(Indicator::Recovery),
        Self::Indicator(Indicator::OvernightHrv),
    ];

    /// Its name in policies.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Confidence => "confidence",
            Self::Indicator(indicator) => indicator.as_str(),
        }
    }
}
