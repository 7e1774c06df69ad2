//! Outgoing messages: mode changes and alerts, with ids that are pure functions of user and number.
//! Which messages a mode change causes, and how they are numbered, is decided here alone.

use std::cell::RefCell;

use neuros::event::Record;
use neuros::explain::Explanation;
use neuros::time::Timestamp;
use neuros::{Mode, Outcome};
use serde::Serialize;
use uuid::Uuid;
use zstd::bulk::Compressor;

/// The name space of all ids made here (itself a UUIDv5 of the DNS name `biometric-bridge.neuros`).
pub const NAMESPACE: Uuid = Uuid::from_u128(0xe008_323a_b960_50ac_9291_583f_77b5_308a);

/// The id of a user's message number `n`: UUIDv5 of `n/user_id`.
pub fn message_id(user_id: &str, n: i64) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("{n}/{user_id}").as_bytes())
}

/// The id of an alert's episode: UUIDv5 of `rule/episode/user_id`. The number of an episode is the
/// `seq` of the mode change that began it.
pub fn alert_id(user_id: &str, rule: &str, episode: i64) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("{rule}/{episode}/{user_id}").as_bytes())
}

/// How many messages a change from one mode to another causes: itself, and what it does to alerts.
pub fn count(previous: Mode, mode: Mode) -> i64 {
    1 + i64::from(AlertRule::of_mode(previous).is_some())
        + i64::from(AlertRule::of_mode(mode).is_some())
}

/// The modes whose entry is an alert, which lasts until the mode is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertRule {
    /// Acute strain.
    Reflex,
    /// Depletion.
    Guardian,
}

impl AlertRule {
    /// The rule that a mode's entry sets off.
    pub fn of_mode(mode: Mode) -> Option<Self> {
        match mode {
            Mode::Reflex => Some(Self::Reflex),
            Mode::Guardian => Some(Self::Guardian),
            Mode::Pattern | Mode::Hypothesis => None,
        }
    }

    /// Its name in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reflex => "mode_reflex",
            Self::Guardian => "mode_guardian",
        }
    }

    fn severity(self) -> &'static str {
        match self {
            Self::Reflex => "high",
            Self::Guardian => "medium",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Reflex => "Acute strain",
            Self::Guardian => "Depleted, needs protection",
        }
    }
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
pub fn explained_to_stored(message: &[u8], explanation: &Explanation) -> Vec<u8> {
    compressed(
        [
            message.strip_suffix(b"}").unwrap_or(message),
            b",\"explanation\":",
            &to_json(explanation),
            b"}",
        ]
        .concat(),
    )
}

/// As it is where there is no compressor.
fn compressed(json: Vec<u8>) -> Vec<u8> {
    let compressed = COMPRESSOR.with_borrow_mut(|compressor| {
        compressor.as_mut().and_then(|compressor| compressor.compress(&json).ok())
    });
    compressed.unwrap_or(json)
}

/// The JSON of a stored mode change, whatever its size; `None` when it is none. It may have been stored
/// uncompressed. Bytes come back only after they were authenticated: nobody makes them large on purpose.
pub fn explained_of_stored(bytes: Vec<u8>) -> Option<Vec<u8>> {
    match bytes.first() {
        Some(b'{') => Some(bytes),
        _ => zstd::stream::decode_all(bytes.as_slice()).ok(),
    }
}

/// Nothing that is made here refuses to be written, and a vector always takes it.
pub(crate) fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// What the alerts have to know of a mode change.
#[derive(Clone)]
pub struct AlertCause {
    /// Whose.
    pub user_id: String,
    /// The mode before.
    pub previous_mode: Mode,
    /// The mode after.
    pub mode: Mode,
    /// The number of the mode change.
    pub seq: i64,
    /// The number of its message; those of alerts follow it.
    pub n: i64,
    /// Event time.
    pub time: Timestamp,
    /// When the mode before began (event time).
    pub previous_since: Timestamp,
    /// Why, in one sentence.
    pub reason_text: String,
    /// The rule.
    pub reason: &'static str,
    /// The policy.
    pub policy_version: String,
    /// When the batch was made.
    pub stamp: Timestamp,
}

/// A change of an alert as topic, sockets and store have it.
#[derive(Serialize)]
pub struct Alert<'a> {
    /// The de-duplication key.
    pub message_id: Uuid,
    /// Numbers the user's outgoing messages.
    pub n: i64,
    /// Names the episode.
    pub id: Uuid,
    r#type: &'static str,
    /// `firing` or `resolved`.
    pub status: &'static str,
    snoozed_until: Option<Timestamp>,
    user_id: &'a str,
    rule: &'static str,
    severity: &'static str,
    title: &'static str,
    detail: &'a str,
    /// When the episode began (event time).
    pub started_at: Timestamp,
    /// When this happened (event time).
    pub updated_at: Timestamp,
    /// When the episode ended (event time).
    pub ended_at: Option<Timestamp>,
    suppressed_count: u32,
    mode: Mode,
    evidence: Evidence<'a>,
    policy_version: &'a str,
    recorded_at: Timestamp,
}

/// What an alert rests on.
#[derive(Serialize)]
struct Evidence<'a> {
    seq: i64,
    reason: &'static str,
    reason_text: &'a str,
}

/// The changes of alerts that a mode change causes, in the order of their numbers: the alert of the
/// mode that was left is resolved, then that of the mode that was entered fires.
pub fn alerts_of(cause: &AlertCause) -> impl Iterator<Item = Alert<'_>> {
    let left = AlertRule::of_mode(cause.previous_mode).map(|rule| (rule, "resolved"));
    let entered = AlertRule::of_mode(cause.mode).map(|rule| (rule, "firing"));
    left.into_iter().chain(entered).zip(cause.n + 1..).map(|((rule, status), n)| {
        let ends = status == "resolved";
        // Modes change only by numbered changes, so the mode that was left began with the one before.
        let episode = if ends { cause.seq - 1 } else { cause.seq };
        Alert {
            message_id: message_id(&cause.user_id, n),
            n,
            id: alert_id(&cause.user_id, rule.as_str(), episode),
            r#type: "alert",
            status,
            snoozed_until: None,
            user_id: &cause.user_id,
            rule: rule.as_str(),
            severity: rule.severity(),
            title: rule.title(),
            detail: &cause.reason_text,
            started_at: if ends { cause.previous_since } else { cause.time },
            updated_at: cause.time,
            ended_at: ends.then_some(cause.time),
            suppressed_count: 0,
            mode: cause.mode,
            evidence: Evidence {
                seq: cause.seq,
                reason: cause.reason,
                reason_text: &cause.reason_text,
            },
            policy_version: &cause.policy_version,
            recorded_at: cause.stamp,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(previous_mode: Mode, mode: Mode) -> AlertCause {
        AlertCause {
            user_id: "u1".to_owned(),
            previous_mode,
            mode,
            seq: 5,
            n: 10,
            time: Timestamp::from_micros(7),
            previous_since: Timestamp::from_micros(3),
            reason_text: "Because.".to_owned(),
            reason: "stress_critical",
            policy_version: "v".to_owned(),
            stamp: Timestamp::from_micros(9),
        }
    }

    #[test]
    fn an_entry_fires_and_the_way_out_resolves_the_same_episode() {
        let entry = cause(Mode::Pattern, Mode::Reflex);
        let fired: Vec<_> = alerts_of(&entry).collect();
        assert_eq!(fired.len(), 1);
        assert_eq!((fired[0].status, fired[0].n), ("firing", 11));
        let mut way_out = cause(Mode::Reflex, Mode::Guardian);
        way_out.seq = 6;
        way_out.n = 12;
        let changes: Vec<_> = alerts_of(&way_out).collect();
        let numbered: Vec<_> = changes.iter().map(|alert| (alert.status, alert.n)).collect();
        assert_eq!(numbered, [("resolved", 13), ("firing", 14)]);
        assert_eq!(changes[0].id, fired[0].id);
        assert_ne!(changes[1].id, fired[0].id);
    }

    #[test]
    fn messages_are_counted_as_they_are_made() {
        let modes = [Mode::Reflex, Mode::Guardian, Mode::Pattern, Mode::Hypothesis];
        for previous in modes {
            for mode in modes {
                let made = 1 + alerts_of(&cause(previous, mode)).count();
                assert_eq!(count(previous, mode), i64::try_from(made).unwrap());
            }
        }
    }

    #[test]
    fn what_is_stored_comes_back_whatever_its_size() {
        // An event may have ten thousand readings, and its explanation says what became of each.
        let long = format!("{{\"readings\":[{}]}}", "\"a reading\",".repeat(300_000));
        for json in ["{\"mode\":\"reflex\"}", &long].map(|json| json.as_bytes().to_vec()) {
            let stored = compressed(json.clone());
            assert_ne!(stored, json, "it is compressed");
            assert!(explained_of_stored(stored) == Some(json.clone()));
            assert!(explained_of_stored(json.clone()) == Some(json), "as it was stored before");
        }
        assert_eq!(explained_of_stored(b"neither".to_vec()), None);
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
