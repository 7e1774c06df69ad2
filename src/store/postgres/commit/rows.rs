//! The rows of a batch as array parameters, each table's in one command. Never interprets a body.

use actors::hash_chain::RowHash;
use actors::rows::{Batch, Quarantine, UserRow};
use neuros::ENGINE_VERSION;

use super::super::copy;
use super::statement::{Lane, Part, as_one};
use super::{Missing, Statement, Written};
use crate::store::instant;

/// Everything but COPY's rows: the lane's row, in front of them, and what comes behind. As much as may be goes in one
/// statement, for a small batch waits for answers more than for anything else: where nothing is copied, all that is
/// only added goes with the lane's row, and is added only if that is set; otherwise with the checkpoints alone. After
/// it what may change the same rows once more.
pub(super) fn statements(batch: &Batch, place: Option<String>) -> (Written, Vec<Written>) {
    let (new, known): (Vec<_>, Vec<_>) = batch.users.iter().partition(|row| row.is_new);
    let moved = |is_rebuilt: bool| -> Vec<&UserRow> {
        let is_meant = |row: &&&UserRow| row.checkpoint.is_some() && row.is_rebuilt == is_rebuilt;
        known.iter().filter(is_meant).copied().collect()
    };
    let (moved, rebuilt) = (moved(false), moved(true));
    let is_copied = copy::is_worth_it(batch);
    let uncopied = if is_copied { 0 } else { batch.records.len() };
    let refused = Missing::Refused;
    let added = [
        Part::new(RECORDS, uncopied, refused("event_records"), |it| records(batch, it)),
        Part::new(NEW_USERS, new.len(), refused("users"), |it| new_users(batch, &new, it)),
        Part::new(CHECKPOINTS, moved.len(), Missing::Fenced, |it| {
            checkpoints(batch, &moved, false, it)
        }),
        Part::new(BASES, batch.bases.len(), refused("base_checkpoints"), |it| bases(batch, it)),
        Part::new(TRANSITIONS, batch.transitions.len(), refused("mode_transitions"), |it| {
            transitions(batch, it)
        }),
        Part::new(ALERTS, batch.alerts.len(), refused("alert_changes"), |it| alerts(batch, it)),
        Part::new(DEAD_LETTERS, batch.dead_letters.len(), refused("dead_letters"), |it| {
            dead_letters(batch, it)
        }),
        Part::new(OUTBOX, batch.outbox.len(), refused("outbox"), |it| outbox(batch, it)),
        Part::new(LOOKS, batch.looks.len(), refused("alert_looks"), |it| looks(batch, it)),
        Part::new(AUDIT, 1, refused("phi_access_log"), |it| audit(batch, it)),
    ];
    let lane = Lane { batch, place };
    let (first, second) = match is_copied {
        true => (as_one(Some(lane), []), Some(as_one(None, added))),
        false => (as_one(Some(lane), added), None),
    };
    (first, second.into_iter().chain(changed(batch, &known, &rebuilt)).collect())
}

/// What may change rows that the same batch has changed already, in statements of their own.
fn changed(batch: &Batch, known: &[&UserRow], rebuilt: &[&UserRow]) -> Vec<Written> {
    let refused = Missing::Refused;
    let mut statements = Vec::new();
    let mut add = |part: Part<'_>| {
        if part.rows > 0 {
            statements.push(as_one(None, [part]));
        }
    };
    add(Part::new(CHECKPOINTS, rebuilt.len(), Missing::Fenced, |it| {
        checkpoints(batch, rebuilt, true, it)
    }));
    for change in [Quarantine::Begins, Quarantine::Ends] {
        let rows = known.iter().filter(|row| row.quarantine == change);
        let users: Vec<i64> = rows.map(|row| row.user.0).collect();
        add(Part::new(QUARANTINE, users.len(), refused("users"), |it| {
            quarantine(batch, change, users, it)
        }));
    }
    // Letters of another lane may have left the list meanwhile: the lane looks again. Its own may not.
    let is_own = batch.released.iter().all(|row| row.letter.lane == batch.lane);
    let missing = if is_own { refused("dead_letters") } else { Missing::Fenced };
    add(Part::new(RELEASED, batch.released.len(), missing, |it| released(batch, it)));
    add(Part::new(COMMANDS, batch.commands.len(), refused("lane_commands"), |it| {
        commands(batch, it)
    }));
    statements
}

/// A column of `rows` as an array.
fn column<'a, R, T>(rows: &'a [R], of: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}

/// The same rows as COPY's.
const RECORDS: &str =
    "INSERT INTO event_records (time, lane, position, user_number, number, source, log_offset,
         record_time, policy, engine, device_id, event_type, body, previous_time,
         previous_lane, previous_position)
     SELECT $12, $13, * FROM unnest($1::int[], $2::bigint[], $3::bigint[], $4::smallint[],
         $5::bigint[], $6::timestamptz[], $7::int[], $8::smallint[], $9::text[], $10::text[],
         $11::bytea[], $14::timestamptz[], $15::int[], $16::int[])
     WHERE {if ours}";

fn records(batch: &Batch, statement: Statement) -> Statement {
    let rows = &batch.records;
    statement
        .bind(column(rows, |row| row.position))
        .bind(column(rows, |row| row.user.0))
        .bind(column(rows, |row| row.number))
        .bind(column(rows, |row| row.provenance.number()))
        .bind(column(rows, |row| row.provenance.offset()))
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

/// What a first checkpoint finds free where its row lies, bytes: of such rows a page takes nine, and the first
/// checkpoints of all beside them. A row that finds no room moves, and both indexes with it.
const ROOM: [u8; 384] = [0; 384];

const NEW_USERS: &str =
    "INSERT INTO users (user_number, user_id, record_number, message_number, checkpoint,
         quarantined_at, checkpoint_version, checkpointed_at, created_at, newest_time,
         newest_lane, newest_position, room)
     SELECT user_number, user_id, record_number, message_number, checkpoint,
         CASE WHEN quarantine THEN $8 END, $7, $8, $8, newest_time, newest_lane, newest_position,
         CASE WHEN checkpoint IS NULL THEN $12::bytea END
     FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::bytea[], $6::bool[],
         $9::timestamptz[], $10::int[], $11::int[])
         AS new(user_number, user_id, record_number, message_number, checkpoint, quarantine,
             newest_time, newest_lane, newest_position)
     WHERE {if ours}";

fn new_users(batch: &Batch, rows: &[&UserRow], statement: Statement) -> Statement {
    statement
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
        .bind(ROOM.as_slice())
}

/// Only over an older state, or where somebody deleted it; a rebuilt one over the same too.
const CHECKPOINTS: &str =
    "UPDATE users SET record_number = new.record_number, message_number = new.message_number,
         checkpoint = new.checkpoint, checkpoint_version = $5, checkpointed_at = $6,
         newest_time = new.newest_time, newest_lane = new.newest_lane,
         newest_position = new.newest_position, room = NULL
     FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[], $8::timestamptz[],
         $9::int[], $10::int[])
         AS new(user_number, record_number, message_number, checkpoint, newest_time, newest_lane,
             newest_position)
     WHERE users.user_number = new.user_number
         AND (users.record_number < new.record_number
              OR (users.checkpoint IS NULL OR $7) AND users.record_number = new.record_number)
         AND {if ours}";

fn checkpoints(
    batch: &Batch,
    rows: &[&UserRow],
    is_rebuilt: bool,
    statement: Statement,
) -> Statement {
    statement
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

const QUARANTINE: &str =
    "UPDATE users SET quarantined_at = CASE WHEN $2::timestamptz IS NULL THEN NULL
         ELSE coalesce(quarantined_at, $2) END
     WHERE user_number = ANY ($1)";

fn quarantine(
    batch: &Batch,
    change: Quarantine,
    users: Vec<i64>,
    statement: Statement,
) -> Statement {
    let since = (change == Quarantine::Begins).then(|| instant::of(batch.after.stamp));
    statement.bind(users).bind(since)
}

/// Only what is on the list leaves it.
const RELEASED: &str = "UPDATE dead_letters SET released_at = $4, fate = new.fate
     FROM unnest($1::int[], $2::bigint[], $3::text[]) AS new(lane, outbox, fate)
     WHERE dead_letters.lane = new.lane AND dead_letters.outbox = new.outbox
         AND released_at IS NULL";

fn released(batch: &Batch, statement: Statement) -> Statement {
    let rows = &batch.released;
    statement
        .bind(column(rows, |row| row.letter.lane.0))
        .bind(column(rows, |row| row.letter.number))
        .bind(column(rows, |row| row.fate.as_str()))
        .bind(instant::of(batch.after.stamp))
}

/// Only what is open is carried out. Its particulars are of use to nobody afterwards.
const COMMANDS: &str =
    "UPDATE lane_commands SET applied_batch = $5, record_number = new.record_number,
         outcome = new.outcome, body = NULL
     FROM unnest($1::bigint[], $2::bigint[], $3::text[]) AS new(id, record_number, outcome)
     WHERE lane_commands.lane = $4 AND lane_commands.id = new.id AND applied_batch IS NULL";

fn commands(batch: &Batch, statement: Statement) -> Statement {
    let rows = &batch.commands;
    statement
        .bind(column(rows, |row| row.id))
        .bind(column(rows, |row| row.record_number))
        .bind(column(rows, |row| row.outcome.as_str()))
        .bind(batch.lane.0)
        .bind(batch.after.batch)
}

const TRANSITIONS: &str =
    "INSERT INTO mode_transitions (user_number, seq, n, record_number, message_id, time, policy,
         body, recorded_at)
     SELECT *, $9 FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[],
         $5::uuid[], $6::timestamptz[], $7::int[], $8::bytea[])
     WHERE {if ours}";

fn transitions(batch: &Batch, statement: Statement) -> Statement {
    let rows = &batch.transitions;
    statement
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

const ALERTS: &str =
    "INSERT INTO alert_changes (user_number, n, record_number, alert_id, message_id, status,
         started_at, updated_at, ended_at, body, recorded_at)
     SELECT *, $11 FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::uuid[], $5::uuid[],
         $6::text[], $7::timestamptz[], $8::timestamptz[], $9::timestamptz[], $10::bytea[])
     WHERE {if ours}";

fn alerts(batch: &Batch, statement: Statement) -> Statement {
    let rows = &batch.alerts;
    statement
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

const DEAD_LETTERS: &str =
    "INSERT INTO dead_letters (outbox, source, log_offset, record_time, reason, detail,
         user_number, body, lane, failed_at)
     SELECT *, $9, $10 FROM unnest($1::bigint[], $2::smallint[], $3::bigint[],
         $4::timestamptz[], $5::text[], $6::text[], $7::bigint[], $8::bytea[])
     WHERE {if ours}";

fn dead_letters(batch: &Batch, statement: Statement) -> Statement {
    let rows = &batch.dead_letters;
    statement
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

const OUTBOX: &str = "INSERT INTO outbox (number, sink, user_number, n, body, lane, recorded_at)
     SELECT *, $6, $7 FROM unnest($1::bigint[], $2::smallint[], $3::bigint[], $4::bigint[],
         $5::bytea[])
     WHERE {if ours}";

fn outbox(batch: &Batch, statement: Statement) -> Statement {
    let rows = &batch.outbox;
    statement
        .bind(column(rows, |row| row.number))
        .bind(column(rows, |row| row.sink.number()))
        .bind(column(rows, |row| row.user.map(|user| user.0)))
        .bind(column(rows, |row| row.n))
        .bind(column(rows, |row| row.body.as_ref().map(|sealed| sealed.0.as_slice())))
        .bind(batch.lane.0)
        .bind(instant::of(batch.after.stamp))
}

const BASES: &str = "INSERT INTO base_checkpoints (user_number, record_number, message_number,
         created_at, newest_lane, newest_position, body, engine)
     SELECT *, $8 FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::timestamptz[],
         $5::int[], $6::int[], $7::bytea[])
     WHERE {if ours}";

fn bases(batch: &Batch, statement: Statement) -> Statement {
    let rows = &batch.bases;
    statement
        .bind(column(rows, |row| row.user.0))
        .bind(column(rows, |row| row.record_number))
        .bind(column(rows, |row| row.message_number))
        .bind(column(rows, |row| instant::of(row.newest.stamp)))
        .bind(column(rows, |row| row.newest.lane.0))
        .bind(column(rows, |row| row.newest.position))
        .bind(column(rows, |row| row.body.0.as_slice()))
        .bind(ENGINE_VERSION.cast_signed())
}

const LOOKS: &str = "INSERT INTO alert_looks (user_number, due, lane)
     SELECT *, $3 FROM unnest($1::bigint[], $2::timestamptz[])
     WHERE {if ours}
     ON CONFLICT (user_number) DO UPDATE SET due = excluded.due, lane = excluded.lane";

fn looks(batch: &Batch, statement: Statement) -> Statement {
    let rows = &batch.looks;
    statement
        .bind(column(rows, |row| row.user.0))
        .bind(column(rows, |row| row.due.map(instant::of)))
        .bind(batch.lane.0)
}

const AUDIT: &str =
    "INSERT INTO phi_access_log (accessor_id, access_type, table_name, record_id, records,
         access_time, writer, sequence, previous_hash, hash)
     SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10
     WHERE {if ours}";

fn audit(batch: &Batch, statement: Statement) -> Statement {
    let row = &batch.audit;
    statement
        .bind(row.accessor_id.clone())
        .bind(row.access_type)
        .bind(row.table_name)
        .bind(row.record_id.clone())
        .bind(row.records)
        .bind(instant::of(row.time))
        .bind(row.writer.clone())
        .bind(row.link.sequence)
        .bind(row.link.previous.map(RowHash::to_bytes))
        .bind(row.link.hash.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::super::statement::IF_OURS;
    use super::*;

    #[test]
    fn whatever_goes_with_the_lanes_row_is_added_only_if_that_is_set() {
        let added = [
            RECORDS,
            NEW_USERS,
            CHECKPOINTS,
            BASES,
            TRANSITIONS,
            ALERTS,
            DEAD_LETTERS,
            OUTBOX,
            LOOKS,
            AUDIT,
        ];
        for sql in added {
            assert_eq!(sql.matches(IF_OURS).count(), 1, "{sql}");
        }
    }
}
