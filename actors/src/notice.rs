//! Changes of alerts as messages and rows. What has happened, the person's alerts have decided.

use neuros::Mode;
use neuros::alert::{Change, Severity, Status};
use neuros::time::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use crate::lane::UserNumber;
use crate::message::{alert_id, message_id};
use crate::seal::DataKey;
use crate::trace::Trace;

/// A change of an alert, with all that its message needs.
pub struct Notice {
    /// Whose.
    pub user: UserNumber,
    /// The same, as the outside knows them.
    pub user_id: String,
    /// The person's key.
    pub key: DataKey,
    /// The record that caused it.
    pub record_number: i64,
    /// What has happened.
    pub change: Change,
    /// The policy.
    pub policy_version: String,
    /// When the batch was made.
    pub stamp: Timestamp,
    /// The trace that the record belongs to.
    pub trace: Trace,
}

/// A change of an alert as topic, sockets and store have it.
#[derive(Serialize)]
pub struct Alert<'a> {
    message_id: Uuid,
    n: i64,
    id: Uuid,
    r#type: &'static str,
    status: Status,
    /// Somebody should be told now; else it is said for the record.
    notify: bool,
    /// The readings that it rests on are too old to say whether it lasts.
    suspended: bool,
    snoozed_until: Option<Timestamp>,
    user_id: &'a str,
    rule: &'a str,
    severity: Severity,
    title: &'a str,
    detail: &'a str,
    started_at: Timestamp,
    updated_at: Timestamp,
    ended_at: Option<Timestamp>,
    suppressed_count: u32,
    mode: Mode,
    evidence: &'a neuros::alert::Evidence,
    by: Option<&'a str>,
    policy_version: &'a str,
    recorded_at: Timestamp,
    /// Of a record that came with one.
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
}

impl Notice {
    /// The id of the episode.
    pub fn alert_id(&self) -> Uuid {
        alert_id(&self.user_id, &self.change.rule, self.change.episode)
    }

    /// The de-duplication key of the message.
    pub fn message_id(&self) -> Uuid {
        message_id(&self.user_id, self.change.n)
    }

    /// The message.
    pub fn message(&self) -> Alert<'_> {
        let change = &self.change;
        Alert {
            message_id: self.message_id(),
            n: change.n,
            id: self.alert_id(),
            r#type: "alert",
            status: change.status,
            notify: change.notify,
            suspended: change.suspended,
            snoozed_until: change.snoozed_until,
            user_id: &self.user_id,
            rule: &change.rule,
            severity: change.severity,
            title: &change.title,
            detail: &change.detail,
            started_at: change.started_at,
            updated_at: change.updated_at,
            ended_at: change.ended_at,
            suppressed_count: change.suppressed_count,
            mode: change.mode,
            evidence: &change.evidence,
            by: change.by.as_deref(),
            policy_version: &self.policy_version,
            recorded_at: self.stamp,
            traceparent: self.trace.traceparent.as_deref(),
        }
    }
}
