//! One event: from flags, or borrowed from a line.

use clap::Args;
use neuros::time::Timestamp;
use neuros::wire::{Headers, Intake, Message, decode};
use serde::Serialize;
use serde_json::{Map, Number, Value};

use crate::cli::failure::Failure;
use crate::kafka::Event;

/// An event from flags.
#[derive(Args)]
pub(super) struct Given {
    /// Send one event of this user, made from flags.
    #[arg(long, value_name = "ID", conflicts_with_all = ["files", "log", "rate", "keep_going"], requires = "metrics")]
    user: Option<String>,
    /// A reading, such as hrv=44.9, heart_rate=66, stress_level=0.7 or recovery=39 (may be repeated).
    #[arg(long = "metric", id = "metrics", value_name = "NAME=VALUE", value_parser = metric, requires = "user")]
    metrics: Vec<(String, Number)>,
    /// The device that measured.
    #[arg(long, value_name = "ID", requires = "user")]
    device: Option<String>,
    /// The kind of event.
    #[arg(long, value_name = "NAME", requires = "user")]
    event_type: Option<String>,
    /// When it was measured, such as 2025-03-03T08:00:00Z; now when nothing is said.
    #[arg(long, value_name = "RFC3339|now", requires = "user")]
    timestamp: Option<String>,
    /// The session that it belongs to.
    #[arg(long, value_name = "ID", requires = "user")]
    session: Option<String>,
}

/// An event with all that it needs.
pub(super) struct Outgoing {
    key: String,
    value: Vec<u8>,
}

/// An event that lies somewhere else.
#[derive(Default)]
pub(super) struct Borrowed<'e> {
    pub(super) key: Option<&'e [u8]>,
    pub(super) value: &'e [u8],
    pub(super) headers: Vec<(&'e str, &'e [u8])>,
    pub(super) timestamp_ms: Option<i64>,
}

impl Borrowed<'_> {
    pub(super) fn as_event(&self) -> Event<'_> {
        Event {
            key: self.key,
            value: self.value,
            headers: &self.headers,
            timestamp_ms: self.timestamp_ms,
            partition: None,
        }
    }
}

impl Outgoing {
    pub(super) fn borrowed(&self) -> Borrowed<'_> {
        Borrowed { key: Some(self.key.as_bytes()), value: &self.value, ..Borrowed::default() }
    }
}

/// The shape with a `metrics` object.
#[derive(Serialize)]
struct Shape<'a> {
    user_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_type: Option<&'a str>,
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<&'a str>,
    metrics: Map<String, Value>,
}

impl Given {
    /// The event, if one is given. What the bridge would reject is no event: from flags it is a slip.
    pub(super) fn event(&self) -> Result<Option<Outgoing>, Failure> {
        let Some(user_id) = &self.user else { return Ok(None) };
        let now = crate::app::now();
        let metrics = self.metrics.iter();
        let shape = Shape {
            user_id,
            device_id: self.device.as_deref(),
            event_type: self.event_type.as_deref(),
            timestamp: match self.timestamp.as_deref() {
                None | Some("now") => now.to_string(),
                Some(given) => given.to_owned(),
            },
            session_id: self.session.as_deref(),
            metrics: metrics.map(|(name, value)| (name.clone(), value.clone().into())).collect(),
        };
        let value =
            serde_json::to_vec(&shape).map_err(|error| Failure::Usage(error.to_string()))?;
        check(&value, now)?;
        Ok(Some(Outgoing { key: user_id.clone(), value }))
    }
}

fn check(value: &[u8], now: Timestamp) -> Result<(), Failure> {
    let message = Message { value, headers: Headers::default(), record_time: Some(now) };
    match decode(&message, &Intake::default()) {
        Ok(_) => Ok(()),
        Err(rejection) => Err(Failure::Usage(format!(
            "the bridge would reject this event ({}): {}",
            rejection.reason.as_str(),
            rejection.detail
        ))),
    }
}

fn metric(text: &str) -> Result<(String, Number), String> {
    let wanted = "wanted is NAME=NUMBER, such as hrv=44.9";
    let (name, value) = text.split_once('=').ok_or(wanted)?;
    if name.is_empty() {
        return Err(wanted.to_owned());
    }
    let value = value.parse::<Number>().map_err(|_| wanted)?;
    Ok((name.to_owned(), value))
}
