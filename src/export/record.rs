//! A stored record as a message that decodes to the same record again, excluded readings included.

use neuros::event::{Event, Reading, Record};
use neuros::time::{Micros, Timestamp};
use serde::{Serialize, Serializer};

/// A line of a log in the format of `replay`.
#[derive(Serialize)]
pub struct LogLine<'r> {
    record_time_ms: i64,
    value: Message<'r>,
}

/// The event's shape with a list of readings: each with its own time.
#[derive(Serialize)]
struct Message<'r> {
    user_id: &'r str,
    device_id: &'r str,
    event_type: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<&'r str>,
    timestamp: String,
    readings: Vec<Entry<'r>>,
}

#[derive(Serialize)]
struct Entry<'r> {
    metric: &'r str,
    #[serde(serialize_with = "number_or_none")]
    value: Option<f64>,
    timestamp: String,
    /// Absent for 1, which is what absent means.
    #[serde(skip_serializing_if = "is_whole", serialize_with = "number_or_none")]
    confidence: Option<f64>,
}

impl<'r> LogLine<'r> {
    /// The line of a record.
    pub fn of(record: &'r Record<'_>) -> Self {
        let readings = record.events().flat_map(|event| {
            let timestamp = local(&event);
            event.readings.iter().map(move |reading| entry(reading, &timestamp))
        });
        Self {
            record_time_ms: record.record_time.as_micros().div_euclid(1_000),
            value: Message {
                user_id: &record.user_id,
                device_id: &record.device_id,
                event_type: &record.event_type,
                session_id: record.session_id.as_deref(),
                timestamp: record.time.to_string(),
                readings: readings.collect(),
            },
        }
    }
}

fn entry<'r>(reading: &'r Reading<'_>, timestamp: &str) -> Entry<'r> {
    Entry {
        metric: reading.metric.name(),
        value: reading.value,
        timestamp: timestamp.to_owned(),
        confidence: reading.confidence,
    }
}

/// The event's time as its wearer's clock showed it.
fn local(event: &Event<'_>) -> String {
    let offset = event.utc_offset_minutes;
    let shown = event.time + Micros::from_minutes(offset.into());
    // Outside these years only UTC can be written; a day's edge is not lost with it.
    if offset == 0 || !(YEAR_1970..YEAR_9999).contains(&shown) {
        return event.time.to_string();
    }
    let text = shown.to_string();
    let text = text.strip_suffix('Z').unwrap_or(&text);
    let (sign, minutes) = if offset < 0 { ('-', -offset) } else { ('+', offset) };
    format!("{text}{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

const YEAR_1970: Timestamp = Timestamp::from_micros(0);
const YEAR_9999: Timestamp = Timestamp::from_millis(253_370_764_800_000);

fn is_whole(confidence: &Option<f64>) -> bool {
    *confidence == Some(1.0)
}

/// A number; for what was none something that is none either: a missing value would be skipped.
fn number_or_none<S: Serializer>(number: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    match number {
        Some(number) => serializer.serialize_f64(*number),
        None => serializer.serialize_bool(true),
    }
}

#[cfg(test)]
mod tests {
    use neuros::wire::{Intake, Message, decode};

    use super::*;

    #[test]
    fn an_exported_record_decodes_to_itself() {
        for value in [
            r#"{"user_id":"u\n1","device_id":"d","event_type":"sleep","timestamp":"2025-03-03T08:00:00.5+01:30","session_id":"s","metrics":{"hrv":45,"x":1e300,"y":true,"z":"no"}}"#,
            r#"{"user_id":"u","timestamp":1740988800,"readings":[{"metric":"hrv","value":1,"confidence":0.2},{"metric":"hrv","value":2,"timestamp":"2025-03-03T07:00:00-00:45"},{"metric":"strain","value":3,"timestamp":"never","confidence":"x"}]}"#,
            r#"{"user_id":"u","timestamp":"1970-01-01T00:00:00+00:01","metric_type":"hrv","value":0.1}"#,
        ] {
            let value = value.replace("\\n", "x");
            let record_time = Some(Timestamp::from_millis(1_740_990_000_123));
            let message = Message { value: value.as_bytes(), record_time, ..Message::default() };
            let Ok(record) = decode(&message, &Intake::default()) else { continue };
            let record = record.into_owned();
            let line = serde_json::to_value(LogLine::of(&record)).expect("JSON");
            let exported = line["value"].to_string();
            let message = Message { value: exported.as_bytes(), record_time, ..Message::default() };
            let back = decode(&message, &Intake::default()).map_err(|e| e.reason).expect("decodes");
            assert!(back.into_owned() == record, "{exported}");
        }
    }
}
