//! A batch as rows of the tables' entities. Never interprets a body.

use actors::hash_chain::RowHash;
use actors::lane::Positions;
use actors::rows::{
    AlertRow, AuditRow, BaseRow, Batch, CommandRow, DeadLetterRow, ErasureRow, LookRow, OutboxRow,
    Quarantine, RecordRow, ReleasedRow, TransitionRow, UserRow,
};
use actors::store::CommitError;
use chrono::{DateTime, Utc};
use entities::{
    alert_changes, alert_looks, base_checkpoints, dead_letters, event_records, lanes,
    mode_transitions, outbox, phi_access_log, users,
};
use neuros::ENGINE_VERSION;
use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::IntoActiveModel;
use uuid::Uuid;

use crate::store::{instant, progress};

/// Where a lane must be for the batch to follow.
pub(super) struct Expected {
    pub(super) lane: i32,
    pub(super) token: Uuid,
    pub(super) batch: i64,
    pub(super) positions: Positions,
}

/// A batch, all of it ready before the transaction begins.
pub(super) struct Prepared {
    pub(super) expected: Expected,
    pub(super) lane: lanes::ActiveModel,
    pub(super) records: Vec<event_records::ActiveModel>,
    pub(super) new_users: Vec<users::ActiveModel>,
    /// Users that are known, with a new checkpoint, and whether it was rebuilt.
    pub(super) checkpoints: Vec<(users::Model, bool)>,
    /// Numbers of users that are known, with what becomes of their quarantine.
    pub(super) quarantines: Vec<(i64, Quarantine)>,
    pub(super) bases: Vec<base_checkpoints::ActiveModel>,
    pub(super) transitions: Vec<mode_transitions::ActiveModel>,
    pub(super) alerts: Vec<alert_changes::ActiveModel>,
    pub(super) dead_letters: Vec<dead_letters::ActiveModel>,
    pub(super) outbox: Vec<outbox::ActiveModel>,
    pub(super) released: Vec<ReleasedRow>,
    pub(super) commands: Vec<CommandRow>,
    pub(super) looks: Vec<alert_looks::ActiveModel>,
    pub(super) erasures: Vec<ErasureRow>,
    pub(super) audit: phi_access_log::ActiveModel,
    pub(super) stamp: DateTime<Utc>,
}

impl Prepared {
    pub(super) fn of(batch: &Batch) -> Result<Self, CommitError> {
        if !progress::follows(&batch.before, &batch.after, batch.outbox.len()) {
            return Err(CommitError::Refused(
                "the batch does not follow on the one before it".to_owned(),
            ));
        }
        let (lane, stamp) = (batch.lane.0, instant::of(batch.after.stamp));
        let (new, known): (Vec<_>, Vec<_>) = batch.users.iter().partition(|row| row.is_new);
        let moved = known.iter().filter(|row| row.checkpoint.is_some());
        let flagged = known.iter().filter(|row| row.quarantine != Quarantine::Unchanged);
        Ok(Self {
            expected: Expected {
                lane,
                token: batch.token.0,
                batch: batch.before.batch,
                positions: batch.before.positions,
            },
            lane: progress::to_row(&batch.after),
            records: batch.records.iter().map(|row| record(row, lane, stamp)).collect(),
            checkpoints: moved.map(|row| (user(row, stamp), row.is_rebuilt)).collect(),
            quarantines: flagged.map(|row| (row.user.0, row.quarantine)).collect(),
            new_users: new.into_iter().map(|row| user(row, stamp).into_active_model()).collect(),
            bases: batch.bases.iter().map(base).collect(),
            transitions: batch.transitions.iter().map(|row| transition(row, stamp)).collect(),
            alerts: batch.alerts.iter().map(|row| alert(row, stamp)).collect(),
            dead_letters: batch.dead_letters.iter().map(|row| letter(row, lane, stamp)).collect(),
            outbox: batch.outbox.iter().map(|row| outgoing(row, lane, stamp)).collect(),
            released: batch.released.clone(),
            commands: batch.commands.clone(),
            looks: batch.looks.iter().map(|row| look(*row, lane)).collect(),
            erasures: batch.erasures.clone(),
            audit: audit(&batch.audit),
            stamp,
        })
    }
}

fn record(row: &RecordRow, lane: i32, stamp: DateTime<Utc>) -> event_records::ActiveModel {
    event_records::ActiveModel {
        time: Set(stamp),
        lane: Set(lane),
        position: Set(row.position),
        user_number: Set(row.user.0),
        number: Set(row.number),
        source: Set(row.provenance.number()),
        log_offset: Set(row.provenance.offset()),
        record_time: Set(instant::of(row.record_time)),
        policy: Set(row.policy),
        engine: Set(row.engine),
        device_id: Set(row.device_id.to_string()),
        event_type: Set(row.event_type.to_string()),
        body: Set(row.body.0.clone()),
        previous_time: Set(row.previous.map(|previous| instant::of(previous.stamp))),
        previous_lane: Set(row.previous.map(|previous| previous.lane.0)),
        previous_position: Set(row.previous.map(|previous| previous.position)),
    }
}

fn base(row: &BaseRow) -> base_checkpoints::ActiveModel {
    base_checkpoints::ActiveModel {
        user_number: Set(row.user.0),
        record_number: Set(row.record_number),
        message_number: Set(row.message_number),
        engine: Set(ENGINE_VERSION.cast_signed()),
        body: Set(row.body.0.clone()),
        created_at: Set(instant::of(row.newest.stamp)),
        newest_lane: Set(Some(row.newest.lane.0)),
        newest_position: Set(Some(row.newest.position)),
    }
}

fn look(row: LookRow, lane: i32) -> alert_looks::ActiveModel {
    alert_looks::ActiveModel {
        user_number: Set(row.user.0),
        lane: Set(lane),
        due: Set(row.due.map(instant::of)),
    }
}

fn user(row: &UserRow, stamp: DateTime<Utc>) -> users::Model {
    users::Model {
        user_number: row.user.0,
        user_id: row.user_id.clone(),
        record_number: row.record_number,
        message_number: row.message_number,
        checkpoint: row.checkpoint.as_ref().map(|sealed| sealed.0.clone()),
        checkpoint_version: i16::from(neuros::checkpoint::VERSION),
        checkpointed_at: stamp,
        quarantined_at: (row.quarantine == Quarantine::Begins).then_some(stamp),
        created_at: stamp,
        newest_time: row.newest.map(|newest| instant::of(newest.stamp)),
        newest_lane: row.newest.map(|newest| newest.lane.0),
        newest_position: row.newest.map(|newest| newest.position),
        erased_at: None,
        start_record_number: 0,
        start_message_number: 0,
        start_seq: 0,
        start_key_number: 0,
    }
}

fn transition(row: &TransitionRow, stamp: DateTime<Utc>) -> mode_transitions::ActiveModel {
    mode_transitions::ActiveModel {
        user_number: Set(row.user.0),
        seq: Set(row.seq),
        n: Set(row.n),
        record_number: Set(row.record_number),
        message_id: Set(row.message_id),
        time: Set(instant::of(row.time)),
        recorded_at: Set(stamp),
        policy: Set(row.policy),
        body: Set(row.body.0.clone()),
    }
}

fn alert(row: &AlertRow, stamp: DateTime<Utc>) -> alert_changes::ActiveModel {
    alert_changes::ActiveModel {
        user_number: Set(row.user.0),
        n: Set(row.n),
        record_number: Set(row.record_number),
        alert_id: Set(row.alert_id),
        message_id: Set(row.message_id),
        status: Set(row.status.to_owned()),
        started_at: Set(instant::of(row.started_at)),
        updated_at: Set(instant::of(row.updated_at)),
        ended_at: Set(row.ended_at.map(instant::of)),
        recorded_at: Set(stamp),
        body: Set(row.body.0.clone()),
    }
}

fn letter(row: &DeadLetterRow, lane: i32, stamp: DateTime<Utc>) -> dead_letters::ActiveModel {
    dead_letters::ActiveModel {
        lane: Set(lane),
        outbox: Set(row.outbox),
        source: Set(row.source.number()),
        log_offset: Set(row.offset),
        record_time: Set(row.record_time.map(instant::of)),
        reason: Set(row.reason.to_owned()),
        detail: Set(row.detail.clone()),
        user_number: Set(row.user.map(|user| user.0)),
        failed_at: Set(stamp),
        released_at: Set(None),
        body: Set(row.body.0.clone()),
        fate: Set(None),
    }
}

fn outgoing(row: &OutboxRow, lane: i32, stamp: DateTime<Utc>) -> outbox::ActiveModel {
    outbox::ActiveModel {
        lane: Set(lane),
        number: Set(row.number),
        sink: Set(row.sink.number()),
        user_number: Set(row.user.map(|user| user.0)),
        n: Set(row.n),
        body: Set(row.body.as_ref().map(|sealed| sealed.0.clone())),
        recorded_at: Set(stamp),
    }
}

fn audit(row: &AuditRow) -> phi_access_log::ActiveModel {
    phi_access_log::ActiveModel {
        id: NotSet,
        user_id: Set(None),
        accessor_id: Set(row.accessor_id.clone()),
        access_type: Set(row.access_type.to_owned()),
        table_name: Set(row.table_name.to_owned()),
        record_id: Set(Some(row.record_id.clone())),
        records: Set(row.records),
        access_time: Set(instant::of(row.time)),
        writer: Set(Some(row.writer.clone())),
        sequence: Set(Some(row.link.sequence)),
        previous_hash: Set(row.link.previous.map(RowHash::to_bytes)),
        hash: Set(Some(row.link.hash.to_bytes())),
    }
}
