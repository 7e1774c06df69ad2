//! Why a message is no record: the reasons that stand in the header `dlq.reason`, and a detail for
//! the person who has to mend the producer. Neither quotes what was sent.

use std::borrow::Cow;
use std::fmt;

use crate::redact::redacted_debug;

/// The machine-readable reasons, in the order in which they are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The value has more bytes than the limit.
    TooLarge,
    /// The value is no UTF-8 JSON of at most 64 levels.
    NotJson,
    /// The payload is JSON, but no object.
    NotAnObject,
    /// There is no `user_id`.
    MissingUserId,
    /// `user_id` is no string, empty, over 255 bytes, or holds control characters.
    BadUserId,
    /// There is no timestamp.
    MissingTimestamp,
    /// The timestamp has none of the accepted forms or lies outside 1970..9999.
    BadTimestamp,
    /// The device is over 255 bytes or holds control characters.
    BadDeviceId,
    /// The event type is over 255 bytes or holds control characters.
    BadEventType,
    /// The record or one of its readings is later than the record's arrival allows.
    TimestampInFuture,
    /// Not one reading is left.
    NoReadings,
    /// There are more than 10,000 readings.
    TooManyReadings,
}

/// A message that is no record.
#[derive(Clone, PartialEq, Eq)]
pub struct Rejection<'a> {
    /// The first reason that applies.
    pub reason: Reason,
    /// The user, when that much could be read.
    pub user_id: Option<Cow<'a, str>>,
    /// What is wrong and where; holds nothing of what was sent.
    pub detail: Cow<'static, str>,
}

redacted_debug!(Rejection<'a>);

impl Reason {
    /// All reasons, in order.
    pub const ALL: [Self; 12] = [
        Self::TooLarge,
        Self::NotJson,
        Self::NotAnObject,
        Self::MissingUserId,
        Self::BadUserId,
        Self::MissingTimestamp,
        Self::BadTimestamp,
        Self::BadDeviceId,
        Self::BadEventType,
        Self::TimestampInFuture,
        Self::NoReadings,
        Self::TooManyReadings,
    ];

    /// The reason as it stands in `dlq.reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::NotJson => "not_json",
            Self::NotAnObject => "not_an_object",
            Self::MissingUserId => "missing_user_id",
            Self::BadUserId => "bad_user_id",
            Self::MissingTimestamp => "missing_timestamp",
            Self::BadTimestamp => "bad_timestamp",
            Self::BadDeviceId => "bad_device_id",
            Self::BadEventType => "bad_event_type",
            Self::TimestampInFuture => "timestamp_in_future",
            Self::NoReadings => "no_readings",
            Self::TooManyReadings => "too_many_readings",
        }
    }
}

impl Rejection<'_> {
    /// The same rejection with its text owned.
    pub fn into_owned(self) -> Rejection<'static> {
        Rejection {
            reason: self.reason,
            user_id: self.user_id.map(|user_id| Cow::Owned(user_id.into_owned())),
            detail: self.detail,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
