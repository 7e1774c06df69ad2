//! From the bytes of a message to a record, or to the one reason why they are none. Decoding knows
//! the producers' shapes and habits; it does not know what any value means.
//!
//! Three shapes are read: a `metrics` object, a `readings` list, and a flat `metric_type` with its
//! `value`; each may come wrapped in a CloudEvent.

mod headers;
mod json;
mod number;
mod payload;
mod reject;
mod timestamp;

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use smallvec::SmallVec;

use headers::Attributes;
use json::{Malformed, Scanner, Value};
use payload::{Entered, EnteredReading, Field, Payload};
use timestamp::Resolved;

use crate::event::{EventSpan, Record};
use crate::redact::redacted_debug;
use crate::time::{Micros, Timestamp};

pub use headers::Headers;
pub use reject::{Reason, Rejection};
pub use timestamp::NaiveZones;

/// Readings of one record, at most.
const READINGS_MAX: usize = 10_000;
/// Bytes of a user id, device id, event type or session id, at most.
const NAME_BYTES_MAX: usize = 255;

/// What the reader of the wire format must be told; all of it is configuration.
#[derive(Clone, Debug)]
pub struct Intake {
    /// Bytes of a message's value, at most; 1 MiB unless configured (`events.max_bytes`).
    pub bytes_max: usize,
    /// How far a record may lie in the future of its arrival (the policy's `clock.max_future`).
    pub future_max: Micros,
    /// The zones of timestamps without an offset (`events.naive_timestamps`).
    pub naive_zones: NaiveZones,
}

impl Default for Intake {
    fn default() -> Self {
        Self {
            bytes_max: 1 << 20,
            future_max: Micros::from_minutes(5),
            naive_zones: NaiveZones::default(),
        }
    }
}

/// A message as it lies in the log.
#[derive(Clone, Copy, Default)]
pub struct Message<'a> {
    /// The value's bytes; empty when there is none.
    pub value: &'a [u8],
    /// The headers that matter to decoding.
    pub headers: Headers<'a>,
    /// When the message entered the log; `None` when the log does not say.
    pub record_time: Option<Timestamp>,
}

redacted_debug!(Message<'a>);

/// Decodes one message.
///
/// # Errors
///
/// The first [`Reason`] that applies. A record whose readings are all excluded is no error.
pub fn decode<'a>(message: &Message<'a>, intake: &Intake) -> Result<Record<'a>, Rejection<'a>> {
    if message.value.len() > intake.bytes_max {
        let detail = format!(
            "the value has {} bytes, more than the {} of `events.max_bytes`",
            message.value.len(),
            intake.bytes_max
        );
        return Err(reject(Reason::TooLarge, detail));
    }
    let mut payload = Payload::default();
    read_object(utf8(message.value)?, &mut payload)?;
    let arrival = Arrival { record_time: message.record_time, intake };
    if message.headers.is_binary_cloud_event() {
        return arrival.record(&mut payload, message.headers.attributes());
    }
    arrival.record_of_structured(&mut payload)
}

/// What is known of a message beside its value.
struct Arrival<'i> {
    record_time: Option<Timestamp>,
    intake: &'i Intake,
}

impl Arrival<'_> {
    /// Takes the payload out of a structured CloudEvent; any other object is its own payload.
    fn record_of_structured<'a>(
        &self,
        outer: &mut Payload<'a>,
    ) -> Result<Record<'a>, Rejection<'a>> {
        let envelope = &outer.envelope;
        let text = match (envelope.has_spec_version, envelope.data_base64, envelope.data) {
            (false, _, _) | (true, Field::Absent, None) => {
                return self.record(outer, Attributes::default());
            }
            (true, Field::Absent, Some((_, Field::Text(text)))) => text.unescaped().into_owned(),
            (true, Field::Absent, Some((written, _))) => {
                let attributes = envelope.attributes();
                let mut inner = Payload::default();
                read_object(written, &mut inner)?;
                return self.record(&mut inner, attributes);
            }
            (true, Field::Text(text), _) => base64_text(&text.unescaped()).ok_or_else(|| {
                reject(Reason::NotJson, "`data_base64` is not padded base64 of UTF-8 text")
            })?,
            (true, Field::Number(_) | Field::Other, _) => {
                return Err(reject(Reason::NotJson, "`data_base64` is not a string"));
            }
        };
        let mut inner = Payload::default();
        read_object(&text, &mut inner)?;
        let record = self.record(&mut inner, envelope.attributes());
        record.map(Record::into_owned).map_err(Rejection::into_owned)
    }

    fn record<'a>(
        &self,
        payload: &mut Payload<'a>,
        attributes: Attributes<'a>,
    ) -> Result<Record<'a>, Rejection<'a>> {
        let user_id = read_user_id(&payload.user_id)?;
        match self.parts(payload, attributes) {
            Err((reason, detail)) => {
                Err(Rejection { reason, user_id: Some(user_id), detail: detail.into() })
            }
            Ok((header, readings)) => {
                let Header { device_id, event_type, session_id, at, record_time } = header;
                let mut record = Record {
                    user_id: user_id.into(),
                    device_id: device_id.into(),
                    event_type: event_type.into(),
                    session_id,
                    time: at.time,
                    record_time,
                    events: SmallVec::new(),
                    readings: SmallVec::new(),
                };
                gather_events(readings, at, &mut record);
                Ok(record)
            }
        }
    }

    /// Judges everything but the user, in the order of the reasons.
    fn parts<'a, 'p>(
        &self,
        payload: &'p mut Payload<'a>,
        attributes: Attributes<'a>,
    ) -> Result<(Header<'a>, &'p mut Entered<'a>), Refusal> {
        let device_id = payload.device_id.non_empty_text();
        let device_type = payload.device_type.non_empty_text();
        let zone = self.intake.naive_zones.of([
            device_type.as_deref(),
            attributes.source.as_deref(),
            device_id.as_deref(),
        ]);
        let stamp = payload.timestamp.stamp().or(attributes.stamp).ok_or(MISSING_TIMESTAMP)?;
        let at = stamp.and_then(|stamp| stamp.resolve(zone)).ok_or(BAD_TIMESTAMP)?;
        let device_id = device_id.or(device_type).or(attributes.source);
        let event_type = payload.event_type.non_empty_text().or_else(|| payload.flat_metric_type());
        let header = Header {
            device_id: checked_name(device_id, "unknown", BAD_DEVICE_ID)?,
            event_type: checked_name(event_type, "readings", BAD_EVENT_TYPE)?,
            session_id: payload.session_id.non_empty_text().filter(|name| is_name(name)),
            at,
            record_time: self.record_time.unwrap_or_else(|| at.time.cut_to_millis()),
        };
        let readings = payload.placed_readings(zone);
        let times = readings.iter().map(|reading| reading.at(at).time);
        if times.fold(at.time, Timestamp::max) > header.record_time + self.intake.future_max {
            return Err(TIMESTAMP_IN_FUTURE);
        }
        match readings.len() {
            0 => Err(NO_READINGS),
            1..=READINGS_MAX => Ok((header, readings)),
            _ => Err(TOO_MANY_READINGS),
        }
    }
}

/// What a record says beside its user and readings.
struct Header<'a> {
    device_id: Cow<'a, str>,
    event_type: Cow<'a, str>,
    session_id: Option<Cow<'a, str>>,
    at: Resolved,
    record_time: Timestamp,
}

/// Gathers the readings of one time into one event, events in time order; of two readings of one
/// metric at one time the last counts, and the first of all at one time gives the UTC offset.
fn gather_events<'a>(entered: &mut Entered<'a>, of_record: Resolved, record: &mut Record<'a>) {
    let time = |reading: &EnteredReading<'_>| reading.at(of_record).time;
    if !entered.is_sorted_by_key(time) {
        entered.sort_by_key(time);
    }
    for reading in entered.iter() {
        let Resolved { time, utc_offset_minutes, tz_assumed } = reading.at(of_record);
        if record.events.last().is_none_or(|event| event.time != time) {
            record.events.push(EventSpan { time, utc_offset_minutes, tz_assumed, readings_end: 0 });
        }
    }
    payload::keep_last_of_equals(entered, |reading, other| {
        let by_time = time(reading).cmp(&time(other));
        by_time.then_with(|| reading.metric.cmp(&other.metric))
    });
    let mut end = 0;
    for event in &mut record.events {
        end += entered.iter().skip(end).take_while(|reading| time(reading) == event.time).count();
        event.readings_end = end;
    }
    record.readings.extend(entered.drain(..).map(EnteredReading::into_reading));
}

/// A reason with its detail, before it is known whose record it is.
type Refusal = (Reason, &'static str);

const MISSING_TIMESTAMP: Refusal =
    (Reason::MissingTimestamp, "neither `timestamp` nor a CloudEvents `time` is there");
const BAD_TIMESTAMP: Refusal = (
    Reason::BadTimestamp,
    "the timestamp is neither `YYYY-MM-DDTHH:MM[:SS[.f]][offset]` nor Unix seconds or milliseconds within 1970..9999",
);
const BAD_DEVICE_ID: Refusal =
    (Reason::BadDeviceId, "the device has more than 255 bytes or holds control characters");
const BAD_EVENT_TYPE: Refusal =
    (Reason::BadEventType, "the event type has more than 255 bytes or holds control characters");
const TIMESTAMP_IN_FUTURE: Refusal = (
    Reason::TimestampInFuture,
    "the record or a reading is later than its arrival and `clock.max_future` allow; check the device's clock and time zone",
);
const NO_READINGS: Refusal =
    (Reason::NoReadings, "no reading in `metrics`, `readings` or `metric_type` with `value`");
const TOO_MANY_READINGS: Refusal =
    (Reason::TooManyReadings, "more than 10,000 readings; send them as several records");

fn reject(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Rejection<'static> {
    Rejection { reason, user_id: None, detail: detail.into() }
}

fn utf8(bytes: &[u8]) -> Result<&str, Rejection<'static>> {
    std::str::from_utf8(bytes).map_err(|error| {
        reject(Reason::NotJson, format!("not UTF-8 from byte {} on", error.valid_up_to()))
    })
}

/// Reads a text that has to be one JSON object into the empty `payload`.
fn read_object<'a>(text: &'a str, payload: &mut Payload<'a>) -> Result<(), Rejection<'static>> {
    match scan_object(text, payload) {
        Ok(true) => Ok(()),
        Ok(false) => Err(reject(Reason::NotAnObject, "the payload is JSON, but no object")),
        Err(malformed) => Err(reject(Reason::NotJson, format!("not JSON {malformed}"))),
    }
}

/// Says whether the text is an object.
fn scan_object<'a>(text: &'a str, payload: &mut Payload<'a>) -> Result<bool, Malformed> {
    let mut scanner = Scanner::new(text);
    let value = scanner.open()?;
    let is_object = value == Value::Object;
    if is_object {
        payload.read(&mut scanner)?;
    } else {
        scanner.close(&value)?;
    }
    scanner.finish()?;
    Ok(is_object)
}

fn read_user_id<'a>(field: &Field<'a>) -> Result<Cow<'a, str>, Rejection<'static>> {
    match field {
        Field::Absent => Err(reject(Reason::MissingUserId, "`user_id` is not there")),
        Field::Text(text) => {
            Some(text.unescaped()).filter(|name| is_user_id(name)).ok_or_else(|| {
                let detail =
                    "`user_id` is empty, has more than 255 bytes or holds control characters";
                reject(Reason::BadUserId, detail)
            })
        }
        Field::Number(_) | Field::Other => {
            Err(reject(Reason::BadUserId, "`user_id` is not a string"))
        }
    }
}

/// Whether a record may be of a user of that id: it has 1 to 255 bytes and no control characters.
pub fn is_user_id(text: &str) -> bool {
    !text.is_empty() && is_name(text)
}

fn checked_name<'a>(
    name: Option<Cow<'a, str>>,
    fallback: &'static str,
    refusal: Refusal,
) -> Result<Cow<'a, str>, Refusal> {
    match name {
        None => Ok(Cow::Borrowed(fallback)),
        Some(name) if is_name(&name) => Ok(name),
        Some(_) => Err(refusal),
    }
}

fn is_name(text: &str) -> bool {
    text.len() <= NAME_BYTES_MAX && !holds_control_characters(text)
}

/// Whether `text` holds U+0000–001F or U+007F–009F.
#[inline]
fn holds_control_characters(text: &str) -> bool {
    json::holds_unprintable(text.as_bytes()) && text.chars().any(char::is_control)
}

/// The text in padded base64 of the standard alphabet, in its one canonical form.
fn base64_text(encoded: &str) -> Option<String> {
    String::from_utf8(BASE64_STANDARD.decode(encoded).ok()?).ok()
}

#[cfg(test)]
mod tests;
