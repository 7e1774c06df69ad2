//! The load for the engine alone: messages in the three shapes, and a week of twenty example people, decoded
//! and stepped. The same on every run. Needs nothing of the service, so that it is built in a minute.

use std::fmt::Write as _;

use neuros::event::Record;
use neuros::time::Timestamp;
use neuros::wire::{Intake, Message, decode};
use neuros::{Explain, Outcome, Policy, State, step};
use serde::Deserialize;
use serde_json::value::RawValue;

/// How many users the made messages speak of.
const USERS: u64 = 1_000;

/// A shape of message (the wire format's three).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `metrics` object with three readings.
    E1,
    /// `readings` list with three readings, each with its own timestamp.
    E2,
    /// One flat metric.
    E3,
}

/// `count` messages of one shape, one a second from each user, with values like a person's.
pub fn messages(shape: Shape, count: u64) -> Vec<String> {
    (0..count).map(|i| message(shape, i)).collect()
}

fn message(shape: Shape, i: u64) -> String {
    let (user, second) = (i % USERS, i / USERS);
    let (hour, minute) = (8 + second / 3_600 % 12, second / 60 % 60);
    let micros = i * 7_919 % 1_000_000;
    let time = format!("2025-03-03T{hour:02}:{minute:02}:{:02}.{micros:06}", second % 60);
    let (hrv, beats) = (40 + i * 31 % 37, 58 + i * 17 % 29);
    let stress = i * 13 % 100;
    let mut text = String::new();
    let written = match shape {
        Shape::E1 => write!(
            text,
            r#"{{"user_id":"user_{user:06}","device_id":"oura_ring_{user:06}","event_type":"heart_rate","timestamp":"{time}","metrics":{{"hrv":{hrv},"heart_rate":{beats},"stress_level":0.{stress:02}}}}}"#
        ),
        Shape::E2 => write!(
            text,
            r#"{{"device_type":"oura_ring","user_id":"user_{user:06}","timestamp":"{time}Z","readings":[{{"metric":"hrv","value":{hrv},"timestamp":"{time}Z","confidence":0.9}},{{"metric":"heart_rate","value":{beats},"timestamp":"{time}Z","confidence":0.95}},{{"metric":"stress_level","value":0.{stress:02},"timestamp":"{time}Z","confidence":0.8}}]}}"#
        ),
        Shape::E3 => write!(
            text,
            r#"{{"event_id":"{i:032x}","user_id":"user_{user:06}","device_type":"whoop_band","metric_type":"heart_rate","value":{beats},"timestamp":"{time}Z","metadata":{{}}}}"#
        ),
    };
    // Writing into a string cannot fail.
    written.map(|()| text).unwrap_or_default()
}

/// A week of twenty example people, as a log.
pub fn people_log() -> &'static str {
    include_str!("../../../tests/data/golden/people.ndjson")
}

/// What a line of [`people_log`] has for us.
#[derive(Deserialize)]
struct Line<'a> {
    record_time_ms: Option<i64>,
    #[serde(borrow)]
    value: &'a RawValue,
}

/// The records of [`people_log`], decoded, each with the number of its user.
pub fn people_records() -> Vec<(usize, Record<'static>)> {
    let mut users: Vec<String> = Vec::new();
    let mut records = Vec::new();
    for line in people_log().lines() {
        let Ok(line) = serde_json::from_str::<Line<'_>>(line) else { continue };
        let message = Message {
            value: line.value.get().as_bytes(),
            record_time: line.record_time_ms.map(Timestamp::from_millis),
            ..Message::default()
        };
        let Ok(record) = decode(&message, &Intake::default()) else { continue };
        let place = users.iter().position(|user| *user == record.user_id).unwrap_or_else(|| {
            users.push(record.user_id.to_string());
            users.len() - 1
        });
        records.push((place, record.into_owned()));
    }
    records
}

/// Folds `records` into fresh states; returns how many outcomes there were.
pub fn fold(policy: &Policy, records: &[(usize, Record<'_>)]) -> usize {
    let mut states: Vec<Option<State>> = Vec::new();
    let mut outcomes: Vec<Outcome> = Vec::new();
    let mut count = 0;
    for (user, record) in records {
        if states.len() <= *user {
            states.resize(user + 1, None);
        }
        if let Some(slot) = states.get_mut(*user) {
            let state = slot.get_or_insert_with(|| State::born(record));
            step(policy, state, record, Explain::Switches, &mut outcomes);
        }
        count += outcomes.len();
        outcomes.clear();
    }
    count
}

/// Decodes and steps each message, as the service does; returns how many outcomes there were.
///
/// `messages` are those of [`messages`], so that the user follows from the place.
pub fn decode_and_step(policy: &Policy, messages: &[String], intake: &Intake) -> usize {
    let users = usize::try_from(USERS).unwrap_or(1);
    let mut states: Vec<Option<Box<State>>> = vec![None; users];
    let mut outcomes: Vec<Outcome> = Vec::new();
    let mut count = 0;
    for (text, user) in messages.iter().zip((0..users).cycle()) {
        let message = Message { value: text.as_bytes(), ..Message::default() };
        let Ok(record) = decode(&message, intake) else { continue };
        if let Some(slot) = states.get_mut(user) {
            let state = slot.get_or_insert_with(|| Box::new(State::born(&record)));
            step(policy, state, &record, Explain::Switches, &mut outcomes);
        }
        count += outcomes.len();
        outcomes.clear();
    }
    count
}

/// Decodes each message; returns how many are records.
pub fn decode_all(messages: &[String], intake: &Intake) -> usize {
    let decoded = messages.iter().map(|text| {
        let message = Message { value: text.as_bytes(), ..Message::default() };
        decode(&message, intake).is_ok()
    });
    decoded.filter(|is_record| *is_record).count()
}
