//! The binary form in which a record is kept: all that was decoded, excluded readings included, and
//! nothing that decoding would have to do again.
//!
//! One byte of version, then the fields in the `postcard` wire format. The user is not in it: whose
//! record it is, the store says. Bytes come back only after they were authenticated, so what is
//! checked here is that a release can read them, not that nobody has forged them.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use smol_str::SmolStr;

use super::{EventSpan, Metric, Reading, Record};
use crate::time::Timestamp;

/// The version that [`Record::to_stored`] writes.
pub const VERSION: u8 = 1;

/// Why bytes are no stored record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Another release wrote it.
    #[error("the stored record has version {0}, and this release reads only version {VERSION}")]
    UnknownVersion(u8),
    /// The bytes do not hold a record.
    #[error("the stored record is damaged")]
    Damaged,
}

/// A record as it is kept; times are µs since 1970.
#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    #[serde(borrow)]
    device_id: Cow<'a, str>,
    #[serde(borrow)]
    event_type: Cow<'a, str>,
    #[serde(borrow)]
    session_id: Option<Cow<'a, str>>,
    time: i64,
    record_time: i64,
    events: SmallVec<[StoredEvent; 1]>,
    #[serde(borrow)]
    readings: SmallVec<[StoredReading<'a>; 4]>,
}

/// Distance of its time from the record's, UTC offset in minutes, whether that was assumed, and one
/// past its last reading.
type StoredEvent = (i64, i16, bool, u32);

/// A reading as it is kept.
#[derive(Serialize, Deserialize)]
struct StoredReading<'a> {
    /// The code of a known metric; 255 for any other, which then has a name.
    metric: u8,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    value: Option<f64>,
    /// `None` for 1, which nearly all have.
    confidence: Option<Option<f64>>,
}

const OTHER: u8 = u8::MAX;

impl<'a> Record<'a> {
    /// Appends the record to `bytes`.
    pub fn to_stored(&self, bytes: &mut Vec<u8>) {
        let stored = Stored {
            device_id: Cow::Borrowed(self.device_id.as_str()),
            event_type: Cow::Borrowed(self.event_type.as_str()),
            session_id: self.session_id.as_deref().map(Cow::Borrowed),
            time: self.time.as_micros(),
            record_time: self.record_time.as_micros(),
            events: self
                .events
                .iter()
                .map(|event| {
                    let end = u32::try_from(event.readings_end).unwrap_or(u32::MAX);
                    let from_record = (event.time - self.time).0;
                    (from_record, event.utc_offset_minutes, event.tz_assumed, end)
                })
                .collect(),
            readings: self.readings.iter().map(StoredReading::of).collect(),
        };
        bytes.push(VERSION);
        // Writing into a vector cannot fail, and no part of a record refuses to be written.
        *bytes = postcard::to_extend(&stored, std::mem::take(bytes)).unwrap_or_default();
    }

    /// The record of `user_id` that [`Record::to_stored`] wrote as `bytes`.
    ///
    /// # Errors
    ///
    /// When the version is not [`VERSION`], or the bytes do not hold a record.
    pub fn from_stored(user_id: SmolStr, bytes: &'a [u8]) -> Result<Self, Error> {
        let (&version, body) = bytes.split_first().ok_or(Error::Damaged)?;
        if version != VERSION {
            return Err(Error::UnknownVersion(version));
        }
        let (stored, rest) =
            postcard::take_from_bytes::<Stored<'a>>(body).map_err(|_| Error::Damaged)?;
        let readings_count = stored.readings.len();
        let ends_are_in_order = stored.events.is_sorted_by_key(|event| event.3);
        let end = stored.events.last().map_or(0, |event| event.3);
        if !rest.is_empty() || !ends_are_in_order || usize::try_from(end) != Ok(readings_count) {
            return Err(Error::Damaged);
        }
        let time = Timestamp::from_micros(stored.time);
        let event = |(from_record, utc_offset_minutes, tz_assumed, end): StoredEvent| EventSpan {
            time: Timestamp::from_micros(stored.time.saturating_add(from_record)),
            utc_offset_minutes,
            tz_assumed,
            readings_end: usize::try_from(end).unwrap_or(readings_count),
        };
        Ok(Self {
            user_id,
            device_id: stored.device_id.into(),
            event_type: stored.event_type.into(),
            session_id: stored.session_id,
            time,
            record_time: Timestamp::from_micros(stored.record_time),
            events: stored.events.into_iter().map(event).collect(),
            readings: stored
                .readings
                .into_iter()
                .map(|reading| reading.restore().ok_or(Error::Damaged))
                .collect::<Result<_, _>>()?,
        })
    }
}

impl<'a> StoredReading<'a> {
    fn of(reading: &'a Reading<'_>) -> Self {
        let (metric, name) = match &reading.metric {
            Metric::Other(name) => (OTHER, Some(Cow::Borrowed(name.as_ref()))),
            known => (u8::try_from(known.code()).unwrap_or(OTHER), None),
        };
        let confidence = match reading.confidence {
            Some(1.0) => None,
            other => Some(other),
        };
        Self { metric, name, value: reading.value, confidence }
    }

    fn restore(self) -> Option<Reading<'a>> {
        let metric = match (self.metric, self.name) {
            (OTHER, Some(name)) => Metric::Other(name),
            (code, None) => Metric::of_code(code)?,
            _ => return None,
        };
        Some(Reading {
            metric,
            value: self.value,
            confidence: self.confidence.unwrap_or(Some(1.0)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Intake, Message, decode};

    const MESSAGES: [&str; 4] = [
        r#"{"user_id":"u1","device_id":"d","event_type":"sleep","timestamp":"2025-03-03T08:00:00+01:30","session_id":"s","metrics":{"hrv":45,"glucose":5.1,"strain":true,"heart_rate":"999"}}"#,
        r#"{"user_id":"u1","timestamp":1740988800,"readings":[{"metric":"hrv","value":1,"confidence":0.2},{"metric":"hrv","value":2,"timestamp":"2025-03-03T07:00:00"},{"metric":"strain","value":3,"timestamp":"never","confidence":"x"}]}"#,
        r#"{"user_id":"u1","timestamp":"2025-03-03T08:00:00Z","metric_type":"blood_oxygen","value":97.5,"confidence":null}"#,
        r#"{"user_id":"u1","timestamp":"1970-01-01T00:00:00Z","metrics":{"hrv":[1]}}"#,
    ];

    #[test]
    fn a_record_survives_the_way_to_the_store_and_back() {
        for message in MESSAGES {
            let mut bytes = Vec::new();
            let message = Message { value: message.as_bytes(), ..Message::default() };
            let record = decode(&message, &Intake::default()).expect("a record");
            record.to_stored(&mut bytes);
            let back = Record::from_stored(record.user_id.clone(), &bytes).expect("stored");
            assert!(back == record);
        }
    }

    #[test]
    fn known_metrics_have_one_code_each() {
        for code in 0..15 {
            let metric = Metric::of_code(code).expect("known");
            assert_eq!(metric.code(), u64::from(code));
            assert!(Metric::named(Cow::Owned(metric.name().to_owned())) == metric);
        }
        assert!(Metric::of_code(15).is_none());
    }

    #[test]
    fn damaged_bytes_are_an_error_and_no_panic() {
        let message = Message { value: MESSAGES[1].as_bytes(), ..Message::default() };
        let record = decode(&message, &Intake::default()).expect("a record");
        let mut bytes = Vec::new();
        record.to_stored(&mut bytes);
        for end in 0..bytes.len() {
            assert!(Record::from_stored("u1".into(), &bytes[..end]).is_err());
        }
        bytes[0] = 2;
        let error = Record::from_stored("u1".into(), &bytes).expect_err("unknown");
        assert_eq!(error, Error::UnknownVersion(2));
    }
}
