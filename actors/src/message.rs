//! Outgoing messages of mode changes, and the ids of all messages: pure functions of user and number. It
//! decides nothing.

use std::cell::RefCell;
use std::io::{Cursor, Read as _};
use std::sync::LazyLock;

use neuros::event::Record;
use neuros::explain::Explanation;
use neuros::time::Timestamp;
use neuros::{Mode, Outcome};
use serde::Serialize;
use uuid::Uuid;
use zstd::bulk::Compressor;
use zstd::dict::{DecoderDictionary, EncoderDictionary};

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

/// Of Zstandard's levels; one below zero leaves out what takes long, and beside an example little is lost by it.
const COMPRESSION_LEVEL: i32 = -1;

/// A mode change with its explanation, made up, as most look: what others have in common with it is named and not
/// written out. What is stored cannot be read without it, so it stays as it is for ever; a better one would have
/// a mark of its own.
const EXAMPLE: &[u8] = include_bytes!("message/example.json");

/// What stored bytes begin with that were compressed beside [`EXAMPLE`]. JSON begins with a brace, and what earlier
/// releases have compressed with `0x28`.
const BESIDE_EXAMPLE: u8 = 1;

static WRITTEN: LazyLock<EncoderDictionary<'static>> =
    LazyLock::new(|| EncoderDictionary::copy(EXAMPLE, COMPRESSION_LEVEL));

static READ: LazyLock<DecoderDictionary<'static>> =
    LazyLock::new(|| DecoderDictionary::copy(EXAMPLE));

thread_local! {
    /// Made once: to make one takes longer than to compress a mode change.
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> =
        RefCell::new(Compressor::with_prepared_dictionary(&WRITTEN).ok());
}

/// A mode change with all that explains it, as it is sealed and stored: its message with one more field, compressed
/// (Zstandard, RFC 8878). Explanations say much in the same words, and what does not fit into a quarter of a page goes
/// through several rows of a table beside.
pub fn explained_to_stored(message: &Phi<Vec<u8>>, explanation: &Explanation) -> Phi<Vec<u8>> {
    let message = message.expose();
    let mut json = Vec::with_capacity(EXPLAINED_BYTES);
    json.extend_from_slice(message.strip_suffix(b"}").unwrap_or(message));
    json.extend_from_slice(EXPLANATION);
    let mut json = json_behind(json, explanation);
    json.push(b'}');
    compressed(Phi::new(json))
}

/// As it is where there is no compressor.
fn compressed(json: Phi<Vec<u8>>) -> Phi<Vec<u8>> {
    let compressed = COMPRESSOR.with_borrow_mut(|compressor| {
        let bytes_max = 1 + zstd::zstd_safe::compress_bound(json.expose().len());
        let mut written = Vec::with_capacity(bytes_max);
        written.push(BESIDE_EXAMPLE);
        let mut written = Cursor::new(written);
        written.set_position(1);
        compressor.as_mut()?.compress_to_buffer(json.expose(), &mut written).ok()?;
        Some(written.into_inner())
    });
    compressed.map_or(json, Phi::new)
}

/// The JSON of a stored mode change, whatever its size; `None` when it is none. It may have been stored
/// uncompressed, or by a release that knew no example. Bytes come back only after they were authenticated: nobody
/// makes them large on purpose.
pub fn explained_of_stored(bytes: Phi<Vec<u8>>) -> Option<Phi<Vec<u8>>> {
    let mut json = Vec::new();
    match bytes.expose().as_slice() {
        [b'{', ..] => return Some(bytes),
        [BESIDE_EXAMPLE, frame @ ..] => {
            let reader = zstd::Decoder::with_prepared_dictionary(frame, &READ).ok()?;
            { reader }.read_to_end(&mut json).ok()?;
        }
        frame => json = zstd::decode_all(frame).ok()?,
    }
    Some(Phi::new(json))
}

/// The message in a stored mode change, byte for byte as it left; `None` when it is none.
pub fn message_of_stored(bytes: Phi<Vec<u8>>) -> Option<Phi<Vec<u8>>> {
    let json = explained_of_stored(bytes)?;
    let json = json.expose();
    // Within a text its quotes would be escaped, so that this is the field and nothing that a producer sent.
    let end = json.windows(EXPLANATION.len()).position(|bytes| bytes == EXPLANATION)?;
    Some(Phi::new([json.get(..end)?, b"}"].concat()))
}

/// What a message takes, and a mode change with its explanation, as a rule at most: so they need not grow, and leave
/// no copies behind.
const MESSAGE_BYTES: usize = 1_024;
const EXPLAINED_BYTES: usize = 8_192;

/// What is between a message and its explanation.
const EXPLANATION: &[u8] = b",\"explanation\":";

/// Nothing that is made here refuses to be written, and a vector always takes it.
pub(crate) fn to_json(value: &impl Serialize) -> Phi<Vec<u8>> {
    Phi::new(json_behind(Vec::with_capacity(MESSAGE_BYTES), value))
}

/// The JSON of `value` behind what is in `json`. Writing into a vector cannot fail, and nothing that we write refuses it.
fn json_behind(mut json: Vec<u8>, value: &impl Serialize) -> Vec<u8> {
    serde_json::to_writer(&mut json, value).map(|()| json).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use sha2::Digest as _;

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
            let before = zstd::encode_all(json.expose().as_slice(), 1).map(Phi::new);
            let before = before.expect("a vector takes what is written to it");
            assert!(explained_of_stored(before) == Some(json.clone()), "as it was stored before");
            assert!(explained_of_stored(json.clone()) == Some(json), "and before that");
        }
        assert!(explained_of_stored(phi(b"neither")).is_none());
    }

    #[test]
    fn the_example_is_what_stored_bytes_refer_to_and_never_another() {
        let digest = sha2::Sha256::digest(EXAMPLE);
        assert_eq!(digest.first_chunk(), Some(&0x5985_9d4a_5234_1694_u64.to_be_bytes()));
        let like_it = String::from_utf8_lossy(EXAMPLE).replace("somebody", "somebody else");
        let stored = compressed(Phi::new(like_it.clone().into_bytes()));
        assert!(stored.expose().len() < like_it.len() / 50, "{} bytes", stored.expose().len());
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
