//! The shapes of what is answered, for the document alone: what is answered is made elsewhere, and held against
//! these by a test.

#![expect(dead_code, reason = "nothing is made of these but their schemas")]

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use utoipa::{IntoParams, IntoResponses, ToSchema};
use uuid::Uuid;

/// Why something is not answered (RFC 9457).
#[derive(ToSchema)]
pub(in crate::http) struct ProblemDocument {
    /// `about:blank`: the status says what kind of problem it is.
    r#type: String,
    title: String,
    status: u16,
    /// What is wrong, and what helps. It quotes nothing of what was asked.
    detail: String,
}

/// What may be said instead of any answer.
#[derive(IntoResponses)]
pub(in crate::http) enum Refusals {
    /// A field is not what it must be; the detail names it.
    #[response(status = 400, content_type = "application/problem+json")]
    Field(#[to_schema] ProblemDocument),
    /// Too many requests.
    #[response(status = 429, content_type = "application/problem+json", headers(("Retry-After" = u64)))]
    TooMany(#[to_schema] ProblemDocument),
    /// The head of the request is too long.
    #[response(status = 431, content_type = "application/problem+json")]
    TooLong(#[to_schema] ProblemDocument),
    /// The service's log says why.
    #[response(status = 500, content_type = "application/problem+json")]
    Broken(#[to_schema] ProblemDocument),
    /// Something is away that may come back.
    #[response(status = 503, content_type = "application/problem+json", headers(("Retry-After" = u64)))]
    Away(#[to_schema] ProblemDocument),
}

/// What may be said instead of an answer about a user, besides.
#[derive(IntoResponses)]
pub(in crate::http) enum ReaderRefusals {
    /// Nobody knows who asks.
    #[response(status = 401, content_type = "application/problem+json", headers(("WWW-Authenticate" = String)))]
    Unknown(#[to_schema] ProblemDocument),
    /// There is no such user, or none that you may see.
    #[response(status = 404, content_type = "application/problem+json")]
    Nobody(#[to_schema] ProblemDocument),
}

/// What may be said instead of doing something, besides.
#[derive(IntoResponses)]
pub(in crate::http) enum OrderRefusals {
    /// It comes to nothing; the detail says why.
    #[response(status = 409, content_type = "application/problem+json")]
    Nothing(#[to_schema] ProblemDocument),
    /// The body is too long.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLong(#[to_schema] ProblemDocument),
}

/// The user asked about.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::http) struct User {
    /// The user's id, percent-encoded.
    #[param(min_length = 1, max_length = 255)]
    user_id: String,
}

/// The alert asked about.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::http) struct AlertOfUser {
    /// The user's id, percent-encoded.
    #[param(min_length = 1, max_length = 255)]
    user_id: String,
    /// The alert's `id`.
    id: Uuid,
}

/// A page of messages by their numbers.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct PageOf {
    /// Messages with an `n` above this one.
    #[param(minimum = 0, maximum = 9223372036854775807_i64)]
    after: Option<i64>,
    /// So many at most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
}

/// A page of mode changes by their own numbers.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct PageOfChanges {
    /// Mode changes with a `seq` above this one.
    #[param(minimum = 0, maximum = 9223372036854775807_i64)]
    after: Option<i64>,
    /// So many at most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
}

/// A stretch of time.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct StretchOf {
    /// The first instant.
    from: DateTime<Utc>,
    /// The first instant behind it; later than `from`.
    to: DateTime<Utc>,
    /// Points of a line, at most.
    #[param(minimum = 4, maximum = 4000, default = 400)]
    points: Option<u32>,
}

/// What whoever asks has already.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(in crate::http) struct IfNoneMatch {
    /// The tags of what you have.
    #[param(rename = "If-None-Match")]
    if_none_match: Option<String>,
}

/// A NEUROS mode.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(in crate::http) enum Mode {
    Reflex,
    Guardian,
    Pattern,
    Hypothesis,
}

/// A user's state with all records that are stored by now.
#[derive(ToSchema)]
pub(in crate::http) struct State {
    user_id: String,
    /// The number of the newest message about the user.
    n: i64,
    /// The number of the newest record in the state.
    record_number: i64,
    /// When that was stored.
    as_of: Option<DateTime<Utc>>,
    /// Nothing of the user is evaluated until an operator releases them.
    quarantined: bool,
    mode: Option<Mode>,
    /// The mode before the newest change.
    previous_mode: Option<Mode>,
    /// 0 to 1.
    confidence: Option<f64>,
    mode_since: Option<DateTime<Utc>>,
    /// How often the mode has changed.
    seq: Option<u64>,
    /// The newest time of any evaluated event.
    clock: Option<DateTime<Utc>>,
    last_switch: Option<DateTime<Utc>>,
    last_confirmed: Option<DateTime<Utc>>,
    /// What spoke for the mode on entry.
    entry_indicators: Option<Vec<String>>,
    /// What is usual, by signal and device.
    baselines: Option<Vec<Baseline>>,
}

/// What is usual on one device.
#[derive(ToSchema)]
struct Baseline {
    signal: String,
    device_id: String,
    /// Samples.
    n: u32,
    /// Days with samples.
    days: u32,
    mean: f64,
}

/// A page of mode changes.
#[derive(ToSchema)]
pub(in crate::http) struct Transitions {
    transitions: Vec<Transition>,
    /// What to ask for next as `after`; `null` when these were the last.
    next: Option<i64>,
}

/// A mode change as it left, with its explanation.
#[derive(ToSchema)]
struct Transition {
    message_id: Uuid,
    n: i64,
    /// `mode_switch`.
    r#type: String,
    seq: i64,
    user_id: String,
    session_id: Option<String>,
    previous_mode: Mode,
    mode: Mode,
    /// The rule, or `return_to_pattern` or `expired`.
    reason: String,
    /// Why, in one sentence.
    reason_text: String,
    confidence: f64,
    time: DateTime<Utc>,
    recorded_at: DateTime<Utc>,
    policy_version: String,
    /// The newest live values.
    biometric_snapshot: Map<String, Value>,
    traceparent: Option<String>,
    /// Every rule with value, threshold and margin, and all else that was looked at.
    explanation: Map<String, Value>,
}

/// A page of messages of the coach.
#[derive(ToSchema)]
pub(in crate::http) struct CoachMessages {
    messages: Vec<CoachMessage>,
    /// What to ask for next as `after`; `null` when these were the last.
    next: Option<i64>,
}

/// What the coach says of a mode change.
#[derive(ToSchema)]
struct CoachMessage {
    /// The mode change's number among the user's messages.
    n: i64,
    /// Numbers the user's mode changes.
    seq: i64,
    previous_mode: Mode,
    mode: Mode,
    time: DateTime<Utc>,
    text: String,
    /// `model`, or `fallback`: then it is the sentence of the explanation.
    source: String,
    /// Why it is that.
    fallback_reason: Option<String>,
    /// The language model that has written it.
    model: Option<String>,
    written_at: DateTime<Utc>,
}

/// A page of what was said of alerts.
#[derive(ToSchema)]
pub(in crate::http) struct Alerts {
    alerts: Vec<Alert>,
    /// What to ask for next as `after`; `null` when these were the last.
    next: Option<i64>,
}

/// A change of an alert as it left.
#[derive(ToSchema)]
struct Alert {
    message_id: Uuid,
    n: i64,
    /// Names the alert.
    id: Uuid,
    /// `alert`.
    r#type: String,
    status: AlertStatus,
    user_id: String,
    rule: String,
    severity: Severity,
    title: String,
    detail: String,
    started_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
    snoozed_until: Option<DateTime<Utc>>,
    /// Somebody should be told.
    notify: bool,
    suppressed_count: u32,
    mode: Mode,
}

/// Where an alert stands.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum AlertStatus {
    Firing,
    Acknowledged,
    Resolved,
    Expired,
}

/// How serious it is.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum Severity {
    Low,
    Medium,
    High,
    Critical,
}

/// Whether the process lives.
#[derive(ToSchema)]
pub(in crate::http) struct Alive {
    /// `ok`.
    status: String,
    version: String,
}

/// How each part is.
#[derive(ToSchema)]
pub(in crate::http) struct Health {
    /// `ready`, `degraded` (which is ready too) or `unready`.
    status: String,
    /// The part that failed first, of an unready service.
    failing: Option<String>,
    /// Every part: whether it is `ok`, and its `problem`.
    parts: Map<String, Value>,
    /// The lanes of this process and what they are doing.
    lanes: Map<String, Value>,
}

/// Every number by which is decided: beside the version all sections, as `config/neuros.yaml` explains them.
#[derive(ToSchema)]
pub(in crate::http) struct Policy {
    /// Names the policy in every decision.
    version: String,
}

/// Why a user is in their mode, and why not in another.
#[derive(ToSchema)]
pub(in crate::http) struct Why {
    user_id: String,
    /// As it was then; `null` for now.
    as_of: Option<DateTime<Utc>>,
    record_number: i64,
    n: i64,
    quarantined: bool,
    /// Why, in a sentence or a few.
    why: String,
    /// What would have led to another mode, in a sentence.
    why_not: Option<String>,
    /// The smallest change of one reading of the last evaluated event that would have led to another mode.
    counterfactual: Option<Map<String, Value>>,
    /// As `…/state` has it.
    state: Option<Map<String, Value>>,
    /// Each rule with value, threshold and margin, as things stand with nothing new.
    rules: Option<Vec<Value>>,
    baselines: Vec<Value>,
    /// `fresh`, `stale` and `missing` ones.
    readings: Map<String, Value>,
    newest_record: Option<Map<String, Value>>,
    /// What came of the newest records, the newest first, each with all of why.
    outcomes: Option<Vec<Value>>,
    outcomes_missing: Option<String>,
    /// The newest of each alert that was open.
    alerts: Vec<Value>,
    /// What the coach said last; `null` of a time before now.
    coach: Option<Map<String, Value>>,
    /// The partition, how far it has come, and who owns it; what only the owner knows is `null`, and `missing` says
    /// why. A lane answers between two batches, when it has answered everything of the one before: so `mailbox`, what
    /// waits for the user's actor, is 0 whenever it is known.
    lane: Option<Map<String, Value>>,
}

/// A page of records.
#[derive(ToSchema)]
pub(in crate::http) struct Events {
    events: Vec<Value>,
    /// What to ask for next as `after`; `null` when these were the last.
    next: Option<i64>,
}
