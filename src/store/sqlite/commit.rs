//! One batch, one transaction, as on PostgreSQL: the compare-and-set of the lane's row first. Never
//! commits a part.

use std::cmp::max;

use actors::rows::{CommandRow, Erasure, ErasureRow, Quarantine, ReleasedRow};
use actors::store::CommitError;
use chrono::{DateTime, Utc};
use entities::{
    alert_changes, alert_looks, dead_letters, lane_commands, lanes, mode_transitions, users,
};
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, DatabaseConnection, DatabaseTransaction, DbErr,
    EntityTrait, Iterable, QueryFilter, QuerySelect,
};

use super::rows::{Expected, Prepared};
use crate::store::failure::{before_commit, of_database, of_orm_commit};
use crate::store::{begin, instant};

/// SQLite takes at most 32,766 parameters a statement.
const PARAMETERS_MAX: usize = 32_000;

pub(super) async fn run(writer: DatabaseConnection, prepared: Prepared) -> Result<(), CommitError> {
    let transaction = begin(&writer).await.map_err(before_commit)?;
    write(&transaction, prepared).await?;
    transaction.commit().await.map_err(|error| of_orm_commit(&error))
}

fn broke(error: DbErr) -> CommitError {
    before_commit(of_database(&error))
}

async fn write(transaction: &DatabaseTransaction, prepared: Prepared) -> Result<(), CommitError> {
    let expected = prepared.expected;
    let taken = lanes::Entity::update_many()
        .set(prepared.lane)
        .filter(lanes::Column::Lane.eq(expected.lane))
        .filter(lanes::Column::FenceToken.eq(expected.token))
        .filter(lanes::Column::Batch.eq(expected.batch))
        .filter(lanes::Column::EventsPosition.eq(expected.positions.events))
        .filter(lanes::Column::ByUserPosition.eq(expected.positions.by_user))
        .exec(transaction)
        .await
        .map_err(broke)?;
    if taken.rows_affected != 1 {
        return Err(whose(transaction, &expected).await?);
    }
    insert(transaction, prepared.records).await?;
    insert(transaction, prepared.new_users).await?;
    for (user, is_rebuilt) in prepared.checkpoints {
        checkpoint(transaction, user, is_rebuilt).await?;
    }
    for (user, change) in prepared.quarantines {
        quarantine(transaction, user, change, prepared.stamp).await?;
    }
    for row in prepared.erasures {
        erase(transaction, row, prepared.stamp).await?;
    }
    insert(transaction, prepared.bases).await?;
    insert(transaction, prepared.transitions).await?;
    insert(transaction, prepared.alerts).await?;
    insert(transaction, prepared.dead_letters).await?;
    insert(transaction, prepared.outbox).await?;
    for row in prepared.looks {
        look(transaction, row).await?;
    }
    for row in prepared.released {
        release(transaction, expected.lane, row, prepared.stamp).await?;
    }
    for row in prepared.commands {
        carry_out(transaction, &expected, row).await?;
    }
    insert(transaction, vec![prepared.audit]).await
}

/// The compare-and-set hit nothing: is the lane somebody else's, or elsewhere?
async fn whose(
    transaction: &DatabaseTransaction,
    expected: &Expected,
) -> Result<CommitError, CommitError> {
    let row = lanes::Entity::find_by_id(expected.lane).one(transaction).await.map_err(broke)?;
    let mine = row.is_some_and(|row| row.fence_token == expected.token);
    Ok(if mine { CommitError::OutOfStep } else { CommitError::Fenced })
}

async fn insert<A>(transaction: &DatabaseTransaction, rows: Vec<A>) -> Result<(), CommitError>
where
    A: ActiveModelTrait + Send,
{
    let columns = <A::Entity as EntityTrait>::Column::iter().count();
    let mut rows = rows.into_iter().peekable();
    while rows.peek().is_some() {
        let chunk: Vec<A> = rows.by_ref().take(PARAMETERS_MAX / columns.max(1)).collect();
        let expected = chunk.len() as u64;
        let done = A::Entity::insert_many(chunk).exec_without_returning(transaction).await;
        if done.map_err(broke)? != expected {
            return Err(CommitError::Refused("not every row was written".to_owned()));
        }
    }
    Ok(())
}

/// Only over an older state, or where somebody deleted it; a rebuilt one over the same too.
async fn checkpoint(
    transaction: &DatabaseTransaction,
    user: users::Model,
    is_rebuilt: bool,
) -> Result<(), CommitError> {
    use users::Column;
    let mut same = Condition::all().add(Column::RecordNumber.eq(user.record_number));
    if !is_rebuilt {
        same = same.add(Column::Checkpoint.is_null());
    }
    let older = Condition::any().add(Column::RecordNumber.lt(user.record_number)).add(same);
    let done = users::Entity::update_many()
        .col_expr(Column::RecordNumber, Expr::value(user.record_number))
        .col_expr(Column::MessageNumber, Expr::value(user.message_number))
        .col_expr(Column::Checkpoint, Expr::value(user.checkpoint))
        .col_expr(Column::CheckpointVersion, Expr::value(user.checkpoint_version))
        .col_expr(Column::CheckpointedAt, Expr::value(user.checkpointed_at))
        .col_expr(Column::NewestTime, Expr::value(user.newest_time))
        .col_expr(Column::NewestLane, Expr::value(user.newest_lane))
        .col_expr(Column::NewestPosition, Expr::value(user.newest_position))
        .filter(Column::UserNumber.eq(user.user_number))
        .filter(older)
        .exec(transaction)
        .await
        .map_err(broke)?;
    if done.rows_affected == 1 { Ok(()) } else { Err(CommitError::Fenced) }
}

async fn quarantine(
    transaction: &DatabaseTransaction,
    user: i64,
    change: Quarantine,
    stamp: DateTime<Utc>,
) -> Result<(), CommitError> {
    let since = match change {
        Quarantine::Begins => Expr::col(users::Column::QuarantinedAt).if_null(stamp),
        Quarantine::Ends | Quarantine::Unchanged => Expr::value(None::<DateTime<Utc>>),
    };
    let done = users::Entity::update_many()
        .col_expr(users::Column::QuarantinedAt, since)
        .filter(users::Column::UserNumber.eq(user))
        .exec(transaction)
        .await
        .map_err(broke)?;
    if done.rows_affected == 1 {
        return Ok(());
    }
    Err(CommitError::Refused("a user in quarantine is not in `users`".to_owned()))
}

/// The row becomes a tombstone, or is none any more.
async fn erase(
    transaction: &DatabaseTransaction,
    row: ErasureRow,
    stamp: DateTime<Utc>,
) -> Result<(), CommitError> {
    use users::Column;
    let user = users::Entity::find_by_id(row.user.0).one(transaction).await.map_err(broke)?;
    let user = user.ok_or_else(|| CommitError::Refused("nobody to erase".to_owned()))?;
    let update = users::Entity::update_many().filter(Column::UserNumber.eq(row.user.0));
    let update = match row.change {
        Erasure::Ends => update.col_expr(Column::ErasedAt, Expr::value(None::<DateTime<Utc>>)),
        Erasure::Begins { record_number, newest, key_number } => {
            let (n, seq) = newest_numbers(transaction, row.user.0).await?;
            let (n, seq) = (max(user.message_number, n), max(user.start_seq, seq));
            let newest_time = newest.map(|newest| instant::of(newest.stamp));
            update
                .col_expr(Column::ErasedAt, Expr::value(user.erased_at.unwrap_or(stamp)))
                .col_expr(Column::Checkpoint, Expr::value(None::<Vec<u8>>))
                .col_expr(Column::QuarantinedAt, Expr::value(None::<DateTime<Utc>>))
                .col_expr(Column::NewestTime, Expr::value(newest_time))
                .col_expr(Column::NewestLane, Expr::value(newest.map(|newest| newest.lane.0)))
                .col_expr(Column::NewestPosition, Expr::value(newest.map(|it| it.position)))
                .col_expr(Column::RecordNumber, Expr::value(record_number))
                .col_expr(Column::StartRecordNumber, Expr::value(record_number))
                .col_expr(Column::MessageNumber, Expr::value(n))
                .col_expr(Column::StartMessageNumber, Expr::value(n))
                .col_expr(Column::StartSeq, Expr::value(seq))
                .col_expr(Column::StartKeyNumber, Expr::value(i64::from(key_number)))
        }
    };
    let done = update.exec(transaction).await.map_err(broke)?;
    written(done.rows_affected, "users")
}

/// The numbers of a user's newest message and mode change.
async fn newest_numbers(
    transaction: &DatabaseTransaction,
    user: i64,
) -> Result<(i64, i64), CommitError> {
    let switches = mode_transitions::Entity::find()
        .select_only()
        .column_as(mode_transitions::Column::N.max(), "n")
        .column_as(mode_transitions::Column::Seq.max(), "seq")
        .filter(mode_transitions::Column::UserNumber.eq(user))
        .into_tuple::<(Option<i64>, Option<i64>)>()
        .one(transaction)
        .await
        .map_err(broke)?;
    let alerts = alert_changes::Entity::find()
        .select_only()
        .column_as(alert_changes::Column::N.max(), "n")
        .filter(alert_changes::Column::UserNumber.eq(user))
        .into_tuple::<Option<i64>>()
        .one(transaction)
        .await
        .map_err(broke)?;
    let (n, seq) = switches.unwrap_or_default();
    Ok((max(n, alerts.flatten()).unwrap_or(0), seq.unwrap_or(0)))
}

/// Only what is on the list leaves it.
async fn release(
    transaction: &DatabaseTransaction,
    lane: i32,
    row: ReleasedRow,
    stamp: DateTime<Utc>,
) -> Result<(), CommitError> {
    use dead_letters::Column;
    let done = dead_letters::Entity::update_many()
        .col_expr(Column::ReleasedAt, Expr::value(stamp))
        .col_expr(Column::Fate, Expr::value(row.fate.as_str()))
        .filter(Column::Lane.eq(row.letter.lane.0))
        .filter(Column::Outbox.eq(row.letter.number))
        .filter(Column::ReleasedAt.is_null())
        .exec(transaction)
        .await
        .map_err(broke)?;
    // One of another lane may have left the list meanwhile: the lane looks again. Its own may not.
    if done.rows_affected == 0 && row.letter.lane.0 != lane {
        return Err(CommitError::Fenced);
    }
    written(done.rows_affected, "dead_letters")
}

/// Only what is open is carried out.
async fn carry_out(
    transaction: &DatabaseTransaction,
    expected: &Expected,
    row: CommandRow,
) -> Result<(), CommitError> {
    use lane_commands::Column;
    let done = lane_commands::Entity::update_many()
        .col_expr(Column::AppliedBatch, Expr::value(expected.batch + 1))
        .col_expr(Column::RecordNumber, Expr::value(row.record_number))
        .col_expr(Column::Outcome, Expr::value(row.outcome))
        .col_expr(Column::Body, Expr::value(None::<Vec<u8>>))
        .filter(Column::Lane.eq(expected.lane))
        .filter(Column::Id.eq(row.id))
        .filter(Column::AppliedBatch.is_null())
        .exec(transaction)
        .await
        .map_err(broke)?;
    written(done.rows_affected, "lane_commands")
}

/// In the place of what was said before.
async fn look(
    transaction: &DatabaseTransaction,
    row: alert_looks::ActiveModel,
) -> Result<(), CommitError> {
    use alert_looks::Column;
    let over = OnConflict::column(Column::UserNumber)
        .update_columns([Column::Lane, Column::Due])
        .to_owned();
    let written = alert_looks::Entity::insert(row).on_conflict(over);
    written.exec_without_returning(transaction).await.map(|_| ()).map_err(broke)
}

fn written(rows: u64, table: &str) -> Result<(), CommitError> {
    match rows {
        1 => Ok(()),
        _ => Err(CommitError::Refused(format!("table {table}: not every row was written"))),
    }
}
