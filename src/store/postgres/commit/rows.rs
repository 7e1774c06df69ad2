//! The rows of a batch as array parameters, one statement a table. Never interprets a body.

use actors::rows::{Batch, Quarantine, UserRow};
use sqlx::query;

use super::super::copy;
use super::{Missing, Statement, count};
use crate::store::instant;

/// A statement for each table that the batch has rows for, with the count of rows it must touch.
pub(super) fn statements(batch: &Batch) -> Vec<(Statement, u64, Missing)> {
    let mut statements = Vec::new();
    let mut add = |statement: Statement, rows: usize, missing: Missing| {
        if rows > 0 {
            statements.push((statement, count(rows), missing));
        }
    };
    if !copy::is_worth_it(batch) {
        add(records(batch), batch.records.len(), Missing::Refused("event_records"));
    }
    let (new, known): (Vec<_>, Vec<_>) = batch.users.iter().partition(|row| row.is_new);
    add(new_users(batch, &new), new.len(), Missing::Refused("users"));
    for is_rebuilt in [false, true] {
        let is_meant = |row: &&UserRow| row.checkpoint.is_some() && row.is_rebuilt == is_rebuilt;
        let moved: Vec<_> = known.iter().copied().filter(is_meant).collect();
        add(checkpoints(batch, &moved, is_rebuilt), moved.len(), Missing::Fenced);
    }
    for change in [Quarantine::Begins, Quarantine::Ends] {
        let rows = known.iter().filter(|row| row.quarantine == change);
        let users: Vec<i64> = rows.map(|row| row.user.0).collect();
        add(quarantine(batch, change, &users), users.len(), Missing::Refused("users"));
    }
    let table = Missing::Refused("mode_transitions");
    add(transitions(batch), batch.transitions.len(), table);
    add(alerts(batch), batch.alerts.len(), Missing::Refused("alert_changes"));
    add(dead_letters(batch), batch.dead_letters.len(), Missing::Refused("dead_letters"));
    add(outbox(batch), batch.outbox.len(), Missing::Refused("outbox"));
    // Letters of another lane may have left the list meanwhile: the lane looks again. Its own may not.
    let is_own = batch.released.iter().all(|row| row.letter.lane == batch.lane);
    let missing = if is_own { Missing::Refused("dead_letters") } else { Missing::Fenced };
    add(released(batch), batch.released.len(), missing);
    let table = Missing::Refused("lane_commands");
    add(commands(batch), batch.commands.len(), table);
    add(audit(batch), 1, Missing::Refused("phi_access_log"));
    statements
}

/// A column of `rows` as an array.
fn column<'a, R, T>(rows: &'a [R], of: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}

/// The same rows as COPY's.
fn records(batch: &Batch) -> Statement {
    let rows = &batch.records;
    query(
        "INSERT INTO event_records (time, lane, position, user_number, number, source, log_offset,
             record_time, policy, engine, device_id, event_type, body, previous_time,
             previous_lane, previous_position)
         SELECT $12, $13, * FROM unnest($1::int[], $2::bigint[], $3::bigint[], $4::smallint[],
             $5::bigint[], $6::timestamptz[], $7::int[], $8::smallint[], $9::text[], $10::text[],
             $11::bytea[], $14::timestamptz[], $15::int[], $16::int[])",
    )
    .bind(column(rows, |row| row.position))
    .bind(column(rows, |row| row.user.0))
    .bind(column(rows, |row| row.number))
    .bind(column(rows, |row| row.source.number()))
    .bind(column(rows, |row| row.offset))
    .bind(column(rows, |row| instant::of(row.record_time)))
    .bind(column(rows, |row| row.policy))
    .bind(column(rows, |row| row.engine))
    .bind(column(rows, |row| row.device_id.as_str()))
    .bind(column(rows, |row| row.event_type.as_str()))
    .bind(column(rows, |row| row.body.0.as_slice()))
    .bind(instant::of(batch.after.stamp))
    .bind(batch.lane.0)
    .bind(column(rows, |row| row.previous.map(|previous| instant::of(previous.stamp))))
    .bind(column(rows, |row| row.previous.map(|previous| previous.lane.0)))
    .bind(column(rows, |row| row.previous.map(|previous| previous.position)))
}

fn new_users(batch: &Batch, rows: &[&UserRow]) -> Statement {
    query(
        "INSERT INTO users (user_number, user_id, record_number, message_number, checkpoint,
             quarantined_at, checkpoint_version, checkpointed_at, created_at, newest_time,
             newest_lane, newest_position)
         SELECT user_number, user_id, record_number, message_number, checkpoint,
             CASE WHEN quarantine THEN $8 END, $7, $8, $8, newest_time, newest_lane, newest_position
         FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::bytea[], $6::bool[],
             $9::timestamptz[], $10::int[], $11::int[])
             AS new(user_number, user_id, record_number, message_number, checkpoint, quarantine,
                 newest_time, newest_lane, newest_position)",
    )
    .bind(column(rows, |row| row.user.0))
    .bind(column(rows, |row| row.user_id.as_str()))
    .bind(column(rows, |row| row.record_number))
    .bind(column(rows, |row| row.message_number))
    .bind(column(rows, |row| row.checkpoint.as_ref().map(|sealed| sealed.0.as_slice())))
    .bind(column(rows, |row| row.quarantine == Quarantine::Begins))
    .bind(i16::from(neuros::checkpoint::VERSION))
    .bind(instant::of(batch.after.stamp))
    .bind(column(rows, |row| row.newest.map(|newest| instant::of(newest.stamp))))
    .bind(column(rows, |row| row.newest.map(|newest| newest.lane.0)))
    .bind(column(rows, |row| row.newest.map(|newest| newest.position)))
}

/// Only over an older state, or where somebody deleted it; a rebuilt one over the same too.
fn checkpoints(batch: &Batch, rows: &[&UserRow], is_rebuilt: bool) -> Statement {
    query(
        "UPDATE users SET record_number = new.record_number, message_number = new.message_number,
             checkpoint = new.checkpoint, checkpoint_version = $5, checkpointed_at = $6,
             newest_time = new.newest_time, newest_lane = new.newest_lane,
             newest_position = new.newest_position
         FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[], $8::timestamptz[],
             $9::int[], $10::int[])
             AS new(user_number, record_number, message_number, checkpoint, newest_time, newest_lane,
                 newest_position)
         WHERE users.user_number = new.user_number
             AND (users.record_number < new.record_number
                  OR (users.checkpoint IS NULL OR $7) AND users.record_number = new.record_number)",
    )
    .bind(column(rows, |row| row.user.0))
    .bind(column(rows, |row| row.record_number))
    .bind(column(rows, |row| row.message_number))
    .bind(column(rows, |row| row.checkpoint.as_ref().map(|sealed| sealed.0.as_slice())))
    .bind(i16::from(neuros::checkpoint::VERSION))
    .bind(instant::of(batch.after.stamp))
    .bind(is_rebuilt)
    .bind(column(rows, |row| row.newest.map(|newest| instant::of(newest.stamp))))
    .bind(column(rows, |row| row.newest.map(|newest| newest.lane.0)))
    .bind(column(rows, |row| row.newest.map(|newest| newest.position)))
}

fn quarantine(batch: &Batch, change: Quarantine, users: &[i64]) -> Statement {
    let since = (change == Quarantine::Begins).then(|| instant::of(batch.after.stamp));
    query(
        "UPDATE users SET quarantined_at = CASE WHEN $2::timestamptz IS NULL THEN NULL
             ELSE coalesce(quarantined_at, $2) END
         WHERE user_number = ANY ($1)",
    )
    .bind(users.to_vec())
    .bind(since)
}

/// Only what is on the list leaves it.
fn released(batch: &Batch) -> Statement {
    let rows = &batch.released;
    query(
        "UPDATE dead_letters SET released_at = $4, fate = new.fate
         FROM unnest($1::int[], $2::bigint[], $3::text[]) AS new(lane, outbox, fate)
         WHERE dead_letters.lane = new.lane AND dead_letters.outbox = new.outbox
             AND released_at IS NULL",
    )
    .bind(column(rows, |row| row.letter.lane.0))
    .bind(column(rows, |row| row.letter.number))
    .bind(column(rows, |row| row.fate.as_str()))
    .bind(instant::of(batch.after.stamp))
}

/// Only what is open is carried out.
fn commands(batch: &Batch) -> Statement {
    let rows = &batch.commands;
    query(
        "UPDATE lane_commands SET applied_batch = $5, record_number = new.record_number,
             outcome = new.outcome
         FROM unnest($1::bigint[], $2::bigint[], $3::text[]) AS new(id, record_number, outcome)
         WHERE lane_commands.lane = $4 AND lane_commands.id = new.id AND applied_batch IS NULL",
    )
    .bind(column(rows, |row| row.id))
    .bind(column(rows, |row| row.record_number))
    .bind(column(rows, |row| row.outcome.as_str()))
    .bind(batch.lane.0)
    .bind(batch.after.batch)
}

fn transitions(batch: &Batch) -> Statement {
    let rows = &batch.transitions;
    query(
        "INSERT INTO mode_transitions (user_number, seq, n, record_number, message_id, time, policy,
             body, recorded_at)
         SELECT *, $9 FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[],
             $5::uuid[], $6::timestamptz[], $7::int[], $8::bytea[])",
    )
    .bind(column(rows, |row| row.user.0))
    .bind(column(rows, |row| row.seq))
    .bind(column(rows, |row| row.n))
    .bind(column(rows, |row| row.record_number))
    .bind(column(rows, |row| row.message_id))
    .bind(column(rows, |row| instant::of(row.time)))
    .bind(column(rows, |row| row.policy))
    .bind(column(rows, |row| row.body.0.as_slice()))
    .bind(instant::of(batch.after.stamp))
}

fn alerts(batch: &Batch) -> Statement {
    let rows = &batch.alerts;
    query(
        "INSERT INTO alert_changes (user_number, n, record_number, alert_id, message_id, status,
             started_at, updated_at, ended_at, body, recorded_at)
         SELECT *, $11 FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::uuid[],
             $5::uuid[], $6::text[], $7::timestamptz[], $8::timestamptz[], $9::timestamptz[],
             $10::bytea[])",
    )
    .bind(column(rows, |row| row.user.0))
    .bind(column(rows, |row| row.n))
    .bind(column(rows, |row| row.record_number))
    .bind(column(rows, |row| row.alert_id))
    .bind(column(rows, |row| row.message_id))
    .bind(column(rows, |row| row.status))
    .bind(column(rows, |row| instant::of(row.started_at)))
    .bind(column(rows, |row| instant::of(row.updated_at)))
    .bind(column(rows, |row| row.ended_at.map(instant::of)))
    .bind(column(rows, |row| row.body.0.as_slice()))
    .bind(instant::of(batch.after.stamp))
}

fn dead_letters(batch: &Batch) -> Statement {
    let rows = &batch.dead_letters;
    query(
        "INSERT INTO dead_letters (outbox, source, log_offset, record_time, reason, detail,
             user_number, body, lane, failed_at)
         SELECT *, $9, $10 FROM unnest($1::bigint[], $2::smallint[], $3::bigint[],
             $4::timestamptz[], $5::text[], $6::text[], $7::bigint[], $8::bytea[])",
    )
    .bind(column(rows, |row| row.outbox))
    .bind(column(rows, |row| row.source.number()))
    .bind(column(rows, |row| row.offset))
    .bind(column(rows, |row| row.record_time.map(instant::of)))
    .bind(column(rows, |row| row.reason))
    .bind(column(rows, |row| row.detail.as_str()))
    .bind(column(rows, |row| row.user.map(|user| user.0)))
    .bind(column(rows, |row| row.body.0.as_slice()))
    .bind(batch.lane.0)
    .bind(instant::of(batch.after.stamp))
}

fn outbox(batch: &Batch) -> Statement {
    let rows = &batch.outbox;
    query(
        "INSERT INTO outbox (number, sink, user_number, n, body, lane, recorded_at)
         SELECT *, $6, $7 FROM unnest($1::bigint[], $2::smallint[], $3::bigint[], $4::bigint[],
             $5::bytea[])",
    )
    .bind(column(rows, |row| row.number))
    .bind(column(rows, |row| row.sink.number()))
    .bind(column(rows, |row| row.user.map(|user| user.0)))
    .bind(column(rows, |row| row.n))
    .bind(column(rows, |row| row.body.as_ref().map(|sealed| sealed.0.as_slice())))
    .bind(batch.lane.0)
    .bind(instant::of(batch.after.stamp))
}

/// The user's id is looked up among the users, those of this batch included.
fn audit(batch: &Batch) -> Statement {
    let row = &batch.audit;
    query(
        "INSERT INTO phi_access_log (user_id, accessor_id, access_type, table_name, record_id,
             records, access_time)
         SELECT (SELECT user_id FROM users WHERE user_number = $1), $2, $3, $4, $5, $6, $7",
    )
    .bind(row.user.map(|user| user.0))
    .bind(row.accessor_id.clone())
    .bind(row.access_type)
    .bind(row.table_name)
    .bind(row.record_id.clone())
    .bind(row.records)
    .bind(instant::of(row.time))
}
