//! A record before it is sent, and how it is written as a message in each of the three shapes.

use neuros::event::Record;
use neuros::time::Timestamp;
use neuros::wire::{Intake, Message, Rejection, decode};

/// The last instant of the wire format, in ms.
const LAST_MS: i64 = 253_402_300_799_999;

/// One record as a producer means it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sending {
    pub(crate) user: u8,
    pub(crate) device: u8,
    pub(crate) event_type: &'static str,
    pub(crate) shape: Shape,
    /// ms since 1970.
    pub(crate) time: i64,
    pub(crate) clock: Clock,
    /// ms from the record's time to its arrival; `None` when the log does not say.
    pub(crate) lag: Option<i64>,
    pub(crate) readings: Vec<Sent>,
}

/// One reading as a producer means it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sent {
    pub(crate) metric: &'static str,
    /// As JSON.
    pub(crate) value: String,
    /// As JSON; written in lists and flat records only.
    pub(crate) confidence: Option<&'static str>,
    /// Its own time; written in lists only.
    pub(crate) own: Own,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Shape {
    Metrics,
    List,
    /// Only the first reading is written.
    Flat,
}

/// How a producer writes times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Clock {
    Utc,
    Naive,
    Ahead { minutes: i64 },
    UnixSeconds,
    UnixMillis,
}

/// The time of a reading.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Own {
    OfRecord,
    /// ms after the record's.
    Later(i64),
    Unreadable,
}

/// A message in the log.
#[derive(Clone)]
pub(crate) struct Logged {
    pub(crate) text: String,
    pub(crate) record_time: Option<Timestamp>,
}

impl Logged {
    pub(crate) fn decoded(&self) -> Result<Record<'_>, Rejection<'_>> {
        let record_time = self.record_time;
        decode(
            &Message { value: self.text.as_bytes(), record_time, ..Message::default() },
            &Intake::default(),
        )
    }
}

/// The records that the messages hold; rejected ones are left out.
pub(crate) fn decoded(log: &[Logged]) -> Vec<Record<'_>> {
    log.iter().filter_map(|logged| logged.decoded().ok()).collect()
}

pub(crate) fn logged(sendings: &[Sending]) -> Vec<Logged> {
    sendings.iter().map(Sending::logged).collect()
}

impl Sending {
    pub(crate) fn logged(&self) -> Logged {
        let record_time = self.lag.map(|lag| Timestamp::from_millis(within(self.time + lag)));
        Logged { text: object(&self.members()), record_time }
    }

    /// The keys of the message's object with their values as JSON.
    pub(crate) fn members(&self) -> Vec<(String, String)> {
        let mut members = vec![
            member("user_id", quoted(&format!("user-{}", self.user))),
            member("device_id", quoted(&format!("device-{}", self.device))),
            member("event_type", quoted(self.event_type)),
            member("timestamp", self.clock.write(self.time)),
        ];
        match (self.shape, self.readings.first()) {
            (Shape::Metrics, _) => members.push(member("metrics", object(&self.metrics()))),
            (Shape::List, _) => members.push(member("readings", array(&self.entries()))),
            (Shape::Flat, None) => {}
            (Shape::Flat, Some(Sent { metric, value, confidence, .. })) => {
                members.extend([member("metric_type", quoted(metric)), member("value", value)]);
                members.extend(confidence.map(|confidence| member("confidence", confidence)));
            }
        }
        members
    }

    pub(crate) fn metrics(&self) -> Vec<(String, String)> {
        self.readings.iter().map(|sent| member(sent.metric, &sent.value)).collect()
    }

    pub(crate) fn entries(&self) -> Vec<String> {
        let entry = |sent: &Sent| {
            let mut entry =
                vec![member("metric", quoted(sent.metric)), member("value", &sent.value)];
            entry.extend(sent.confidence.map(|confidence| member("confidence", confidence)));
            match sent.own {
                Own::OfRecord => {}
                Own::Later(ms) => {
                    entry.push(member("timestamp", self.clock.write(self.time + ms)));
                }
                Own::Unreadable => entry.push(member("timestamp", quoted("soon"))),
            }
            object(&entry)
        };
        self.readings.iter().map(entry).collect()
    }
}

impl Clock {
    /// The instant `ms`, as JSON.
    fn write(self, ms: i64) -> String {
        let ms = within(ms);
        let text = |ms: i64| Timestamp::from_millis(within(ms)).to_string();
        match self {
            Self::Utc => quoted(&text(ms)),
            Self::Naive => quoted(text(ms).trim_end_matches('Z')),
            Self::Ahead { minutes } => {
                let (sign, apart) = if minutes < 0 { ('-', -minutes) } else { ('+', minutes) };
                let local = text(ms + minutes * 60_000);
                let local = local.trim_end_matches('Z');
                quoted(&format!("{local}{sign}{:02}:{:02}", apart / 60, apart % 60))
            }
            Self::UnixSeconds => format!("{}.{:03}", ms / 1_000, ms % 1_000),
            Self::UnixMillis => ms.to_string(),
        }
    }
}

fn within(ms: i64) -> i64 {
    ms.clamp(0, LAST_MS)
}

fn member(key: &str, value: impl Into<String>) -> (String, String) {
    (key.to_owned(), value.into())
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

fn array(elements: &[String]) -> String {
    format!("[{}]", elements.join(","))
}

pub(crate) fn object(members: &[(String, String)]) -> String {
    let members: Vec<_> =
        members.iter().map(|(key, value)| format!("{}:{value}", quoted(key))).collect();
    format!("{{{}}}", members.join(","))
}
