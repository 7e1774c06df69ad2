//! What becomes of an alert, as messages and tables say it.

use serde::{Deserialize, Serialize};

use super::grade::Severity;
use crate::mode::Mode;
use crate::redact::redacted_debug;
use crate::time::Timestamp;

/// Where an episode stands. One that is pending is nobody's business yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It lasts.
    Firing,
    /// It lasts, and somebody has seen it.
    Acknowledged,
    /// It is over.
    Resolved,
    /// Nothing has confirmed it for too long.
    Expired,
}

impl Status {
    /// Its name in messages and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Acknowledged => "acknowledged",
            Self::Resolved => "resolved",
            Self::Expired => "expired",
        }
    }
}

/// Why something was not notified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held {
    /// It fires already.
    Firing,
    /// Somebody has acknowledged it.
    Acknowledged,
    /// It is snoozed.
    Snoozed,
    /// It is night where the person is, and they asked for quiet.
    QuietHours,
    /// It has not lasted for long enough.
    Pending,
    /// It was resolved by hand or has expired, and has not been over since.
    Dismissed,
    /// What it rests on is too old.
    Stale,
    /// What came is too old to begin or end an alert.
    Backfill,
}

impl Held {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Firing,
        Self::Acknowledged,
        Self::Snoozed,
        Self::QuietHours,
        Self::Pending,
        Self::Dismissed,
        Self::Stale,
        Self::Backfill,
    ];

    /// Its name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Acknowledged => "acknowledged",
            Self::Snoozed => "snoozed",
            Self::QuietHours => "quiet_hours",
            Self::Pending => "pending",
            Self::Dismissed => "dismissed",
            Self::Stale => "stale",
            Self::Backfill => "backfill",
        }
    }
}

/// A change of an alert: something that is said, once, and numbered.
#[derive(Clone, PartialEq)]
pub struct Change {
    /// Its number among all that is said of the person, from 1.
    pub n: i64,
    /// The episode: the number of the first that was said of it.
    pub episode: i64,
    /// The rule.
    pub rule: Box<str>,
    /// What people read first.
    pub title: String,
    /// What has happened, in one sentence.
    pub detail: String,
    /// How serious it is.
    pub severity: Severity,
    /// Where the episode stands now.
    pub status: Status,
    /// Somebody should be told now.
    pub notify: bool,
    /// What the episode rests on is too old to say whether it lasts.
    pub suspended: bool,
    /// Until when it is snoozed.
    pub snoozed_until: Option<Timestamp>,
    /// When it began (event time).
    pub started_at: Timestamp,
    /// When this happened.
    pub updated_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How often something about it was not notified so far.
    pub suppressed_count: u32,
    /// The person's mode.
    pub mode: Mode,
    /// What it rests on.
    pub evidence: Evidence,
    /// Who did it, when somebody did.
    pub by: Option<String>,
}

/// What an episode rests on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The number of the mode change in force.
    pub seq: u64,
    /// Why that mode was entered or confirmed.
    pub reason: Option<Box<str>>,
    /// The value that a rule about readings looks at.
    pub value: Option<f64>,
    /// The bound that it is beyond.
    pub limit: Option<f64>,
}

redacted_debug!(Change);
