//! Outgoing messages of mode changes, and the ids of all messages: pure functions of user and number. It
//! decides nothing.

use std::cell::RefCell;

use neuros::event::Record;
use neuros::explain::Explanation;
use neuros::time::Timestamp;
use neuros::{Mode, Outcome};
use serde::Serialize;
use uuid::Uuid;
use zstd::bulk::Compressor;

use crate::phi::Phi;

/// The name space of all ids made here (itself a UUIDv5 of the DNS name `biometric-bridge.neuros`).
pub const NAMESPACE: Uuid = Uuid::from_u128(0xe008_323a_b960_50ac_9291_583f_77b5_308a);

/// The id of a user's message number `n`: UUIDv5 of `n/user_id`.
pub fn message_id(user_id: &str, n: i64) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("{n}/{user_id}").as_bytes())
}

/// The id of an alert's episode: UUIDv5 of `rule/episode/user_id`. The number of an episode is that of the
/// first message about it.
pub fn alert_id(user_id: &str, rule: &str, episode: i64) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("{rule}/{episode}/{user_id}").as_bytes())
}

/// A mode change as topic, sockets and store have it.
#[derive(Serialize)]
pub struct ModeSwitch<'a> {
    message_id: Uuid,
    n: i64,
    r#type: &'static str,
    seq: i64,
    user_id: &'a str,
    session_id: Option<&'a str>,
    previous_mode: Mode,
    mode: Mode,
    reason: &'static str,
    reason_text: String,
    confidence: f64,
    time: Timestamp,
    recorded_at: Timestamp,
    policy_version: &'a str,
    biometric_snapshot: Snapshot<'a>,
    traceparent: Option<&'a str>,
}

/// The newest live values at the moment of the change, and the device of the record that caused it.
#[derive(Serialize)]
struct Snapshot<'a> {
    hrv: Option<f64>,
    heart_rate: Option<f64>,
    stress_level: Option<f64>,
    recovery_score: Option<f64>,
    device_id: &'a str,
}

/// What a mode change is made of.
#[derive(Clone, Copy)]
pub struct Cause<'a> {
    /// The record that caused it.
    pub record: &'a Record<'static>,
    /// The trace that the record belongs to.
    pub traceparent: Option<&'a str>,
    /// What happened.
    pub outcome: &'a Outcome,
    /// Why.
    pub explanation: &'a Explanation,
    /// The number of the mode change.
    pub seq: i64,
    /// The number of its message.
    pub n: i64,
    /// When its batch was made.
    pub stamp: Timestamp,
}

impl<'a> ModeSwitch<'a> {
    /// The message of a mode change.
    pub fn of(cause: &Cause<'a>) -> Self {
        let Cause { record, traceparent, outcome, explanation, seq, n, stamp } = *cause;
        let view = &explanation.view;
        Self {
            message_id: message_id(&record.user_id, n),
            n,
            r#type: "mode_switch",
            seq,
            user_id: &record.user_id,
            session_id: record.session_id.as_deref(),
            previous_mode: outcome.previous_mode,
            mode: outcome.mode,
            reason: outcome.reason.map_or("", neuros::Reason::as_str),
            reason_text: explanation.headline(),
            confidence: outcome.confidence,
            time: outcome.time,
            recorded_at: stamp,
            policy_version: &explanation.policy_version,
            biometric_snapshot: Snapshot {
                hrv: view.hrv.value,
                heart_rate: view.heart_rate.value,
                stress_level: view.stress.value,
                recovery_score: view.recovery.value,
                device_id: &record.device_id,
            },
            traceparent,
        }
    }
}

/// Of Zstandard's levels.
const COMPRESSION_LEVEL: i32 = 1;

thread_local! {
    /// Made once: to make one takes longer than to compress a mode change.
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> =
        RefCell::new(Compressor::new(COMPRESSION_LEVEL).ok());
}

/// A mode change with all that explains it, as it is sealed and stored: its message with one more field, compressed
/// (Zstandard, RFC 8878). An explanation says much in the same words, and what does not fit into a quarter of a
/// page goes through several rows of a table beside.
pub fn explained_to_stored(message: &Phi<Vec<u8>>, explanation: &Explanation) -> Phi<Vec<u8>> {
    let (message, explanation) = (message.expose(), to_json(explanation));
    let message = message.strip_suffix(b"}").unwrap_or(message);
    let parts = [message, EXPLANATION, explanation.expose(), b"}"];
    compressed(Phi::new(parts.concat()))
}

/// As it is where there is no compressor.
fn compressed(json: Phi<Vec<u8>>) -> Phi<Vec<u8>> {
    let compressed = COMPRESSOR.with_borrow_mut(|compressor| {
        compressor.as_mut().and_then(|compressor| compressor.compress(json.expose()).ok())
    });
    compressed.map_or(json, Phi::new)
}

/// The JSON of a stored mode change, whatever its size; `None` when it is none. It may have been stored
/// uncompressed. Bytes come back only after they were authenticated: nobody makes them large on purpose.
pub fn explained_of_stored(bytes: Phi<Vec<u8>>) -> Option<Phi<Vec<u8>>> {
    match bytes.expose().first() {
        Some(b'{') => Some(bytes),
        _ => zstd::stream::decode_all(bytes.expose().as_slice()).ok().map(Phi::new),
    }
}

/// The message in a stored mode change, byte for byte as it left; `None` when it is none.
pub fn message_of_stored(bytes: Phi<Vec<u8>>) -> Option<Phi<Vec<u8>>> {
    let json = explained_of_stored(bytes)?;
    let json = json.expose();
    // Within a text its quotes would be escaped, so that this is the field and nothing that a producer sent.
    let end = json.windows(EXPLANATION.len()).position(|bytes| bytes == EXPLANATION)?;
    Some(Phi::new([json.get(..end)?, b"}"].concat()))
}

/// What is between a message and its explanation.
const EXPLANATION: &[u8] = b",\"explanation\":";

/// Nothing that is made here refuses to be written, and a vector always takes it.
pub(crate) fn to_json(value: &impl Serialize) -> Phi<Vec<u8>> {
    Phi::new(serde_json::to_vec(value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_comes_back_whatever_its_size() {
        // An event may have ten thousand readings, and its explanation says what became of each.
        let long = format!("{{\"readings\":[{}]}}", "\"a reading\",".repeat(300_000));
        let phi = |text: &[u8]| Phi::new(text.to_vec());
        for json in ["{\"mode\":\"reflex\"}", &long].map(|json| phi(json.as_bytes())) {
            let stored = compressed(json.clone());
            assert!(stored != json, "it is compressed");
            assert!(explained_of_stored(stored) == Some(json.clone()));
            assert!(explained_of_stored(json.clone()) == Some(json), "as it was stored before");
        }
        assert!(explained_of_stored(phi(b"neither")).is_none());
    }

    #[test]
    fn the_message_in_what_is_stored_is_as_it_left_whatever_a_producer_sent() {
        let sent = br#"{"n":1,"device_id":"a,\"explanation\":{}","mode":"reflex"}"#;
        let stored = [&sent[..sent.len() - 1], EXPLANATION, b"{\"explanation\":1}}"].concat();
        let message = message_of_stored(compressed(Phi::new(stored)));
        assert!(message.is_some_and(|message| message.expose() == sent));
        assert!(message_of_stored(Phi::new(b"{\"n\":1}".to_vec())).is_none());
    }

    #[test]
    fn an_id_is_the_same_for_ever() {
        let id = message_id("u1", 1);
        assert_eq!(id, message_id("u1", 1));
        assert_ne!(id, message_id("u1", 2));
        assert_ne!(message_id("1/u", 1), message_id("u", 11));
        assert_eq!(id.get_version_num(), 5);
    }
}
