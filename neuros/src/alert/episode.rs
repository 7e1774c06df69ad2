//! Where a person stands with one rule. Only kept while there is something to keep.

use serde::{Deserialize, Serialize};

use super::change::{Evidence, Status};
use super::grade::Severity;
use crate::state::Indicators;
use crate::time::Timestamp;

/// A rule that a person has something with.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Slot {
    pub(super) rule: Box<str>,
    pub(super) phase: Phase,
    /// Until when nothing is said of the rule, and up to which severity.
    pub(super) snooze: Option<Snooze>,
}

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Snooze {
    #[serde(with = "micros")]
    pub(super) until: Timestamp,
    pub(super) severity: Severity,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Phase {
    /// Nothing but a snooze.
    Idle,
    /// It was resolved by hand or has expired, and has not been over since.
    Dismissed(Dismissed),
    /// It has not lasted for long enough.
    Pending(Pending),
    /// It fires.
    Open(Box<Episode>),
}

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Dismissed {
    pub(super) severity: Severity,
    /// Not because it has expired.
    pub(super) by_hand: bool,
    /// Since when what it is about is over, by arrival.
    #[serde(with = "micros_or_none")]
    pub(super) cleared_at: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Pending {
    /// Since when, by arrival.
    #[serde(with = "micros")]
    pub(super) since: Timestamp,
    #[serde(with = "micros")]
    pub(super) confirmed_at: Timestamp,
    pub(super) indicators: Indicators,
    #[serde(with = "micros")]
    pub(super) started_at: Timestamp,
    pub(super) severity: Severity,
    pub(super) detail: String,
    pub(super) evidence: Evidence,
}

/// An alert that fires. Times are of arrival where nothing else is said.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Episode {
    /// The number of the first that was said of it.
    pub(super) number: i64,
    pub(super) severity: Severity,
    pub(super) is_acknowledged: bool,
    pub(super) is_suspended: bool,
    /// Event time.
    #[serde(with = "micros")]
    pub(super) started_at: Timestamp,
    #[serde(with = "micros")]
    pub(super) confirmed_at: Timestamp,
    /// What the newest confirmation rests on.
    pub(super) indicators: Indicators,
    pub(super) cleared: Option<Cleared>,
    /// When somebody was told last; `None` while nobody has been told of how it is.
    #[serde(with = "micros_or_none")]
    pub(super) notified_at: Option<Timestamp>,
    pub(super) suppressed_count: u32,
    pub(super) evidence: Evidence,
}

/// Since when what an alert is about is over.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Cleared {
    #[serde(with = "micros")]
    pub(super) at: Timestamp,
    /// Event time.
    #[serde(with = "micros")]
    pub(super) event_time: Timestamp,
}

impl Episode {
    pub(super) fn status(&self) -> Status {
        if self.is_acknowledged { Status::Acknowledged } else { Status::Firing }
    }
}

/// Times in binary, µs since 1970; their text form is for people.
pub(super) mod micros {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::time::Timestamp;

    pub(in super::super) fn serialize<S: Serializer>(
        time: &Timestamp,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(time.as_micros())
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Timestamp, D::Error> {
        i64::deserialize(deserializer).map(Timestamp::from_micros)
    }
}

/// The same of a time that may be absent.
pub(super) mod micros_or_none {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use crate::time::Timestamp;

    pub(in super::super) fn serialize<S: Serializer>(
        time: &Option<Timestamp>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(Timestamp::as_micros).serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        Ok(Option::deserialize(deserializer)?.map(Timestamp::from_micros))
    }
}
