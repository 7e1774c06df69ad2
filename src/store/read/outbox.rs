//! The relay's side: what must leave, and how far each sink has come. A cursor only ever moves up, and
//! only for the lane's owner.

use std::collections::BTreeMap;

use actors::defect::Defect;
use actors::lane::{FenceToken, Lane, UserNumber};
use actors::rows::Sink;
use actors::store::{StoreError, StoredDeadLetter, StoredOutbox};
use chrono::{DateTime, Utc};
use entities::{dead_letters, outbox, relay_cursors, users};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    QueryTrait as _, Select, Statement,
};

use super::page;
use crate::store::failure::of_database;
use crate::store::{SqlStore, instant, progress};

/// Messages in one answer, at most.
const PAGE_MAX: i64 = 30_000;

impl SqlStore {
    pub(in crate::store) async fn read_outbox(
        &self,
        lane: Lane,
        sink: Sink,
        after: i64,
        limit: i64,
    ) -> Result<Vec<StoredOutbox>, StoreError> {
        let rows = outbox_after(lane, sink, after)
            .order_by_asc(outbox::Column::Number)
            .limit(page(limit.min(PAGE_MAX)))
            .all(&self.reader)
            .await
            .map_err(|error| of_database(&error))?;
        if sink == Sink::DeadLetters {
            self.letters(lane, rows).await
        } else {
            self.mail(lane, sink, rows).await
        }
    }

    /// Messages of users, with their ids.
    async fn mail(
        &self,
        lane: Lane,
        sink: Sink,
        rows: Vec<outbox::Model>,
    ) -> Result<Vec<StoredOutbox>, StoreError> {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(Vec::new()) };
        // Named by where their messages lie: the text is the same for any number of users.
        let theirs = outbox_after(lane, sink, first.number - 1)
            .filter(outbox::Column::Number.lte(last.number))
            .select_only()
            .column(outbox::Column::UserNumber)
            .into_query();
        let ids: Vec<(i64, String)> = users::Entity::find()
            .select_only()
            .columns([users::Column::UserNumber, users::Column::UserId])
            .filter(users::Column::UserNumber.in_subquery(theirs))
            .into_tuple()
            .all(&self.reader)
            .await
            .map_err(|error| of_database(&error))?;
        let ids: BTreeMap<i64, String> = ids.into_iter().collect();
        let message = |row: outbox::Model| {
            let body = row.body.ok_or_else(|| {
                StoreError::Refused(format!(
                    "outbox row {} of lane {} is empty",
                    row.number, row.lane
                ))
            })?;
            Ok(StoredOutbox {
                number: row.number,
                recorded_at: instant::from(row.recorded_at),
                user: row.user_number.map(UserNumber),
                user_id: row.user_number.and_then(|user| ids.get(&user).cloned()),
                n: row.n,
                body,
                dead_letter: None,
            })
        };
        rows.into_iter().map(message).collect()
    }

    /// Dead letters, which lie in a table of their own.
    async fn letters(
        &self,
        lane: Lane,
        rows: Vec<outbox::Model>,
    ) -> Result<Vec<StoredOutbox>, StoreError> {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(Vec::new()) };
        let letters = dead_letters::Entity::find()
            .filter(dead_letters::Column::Lane.eq(lane.0))
            .filter(dead_letters::Column::Outbox.between(first.number, last.number))
            .order_by_asc(dead_letters::Column::Outbox)
            .all(&self.reader)
            .await
            .map_err(|error| of_database(&error))?;
        if letters.len() != rows.len() {
            return Err(StoreError::Refused(format!(
                "lane {lane}: a dead letter of the outbox is not in `dead_letters`"
            )));
        }
        let letter = |(row, recorded_at): (dead_letters::Model, DateTime<Utc>)| {
            Ok(StoredOutbox {
                number: row.outbox,
                recorded_at: instant::from(recorded_at),
                user: None,
                user_id: None,
                n: None,
                body: row.body,
                dead_letter: Some(StoredDeadLetter {
                    source: progress::source(row.source)?,
                    offset: row.log_offset,
                    record_time: row.record_time.map(instant::from),
                    reason: row.reason,
                    detail: row.detail,
                    failed_at: instant::from(row.failed_at),
                }),
            })
        };
        let recorded_at = rows.into_iter().map(|row| row.recorded_at);
        letters.into_iter().zip(recorded_at).map(letter).collect()
    }

    pub(in crate::store) async fn read_cursor(
        &self,
        lane: Lane,
        sink: Sink,
    ) -> Result<i64, StoreError> {
        cursor(&self.reader, lane, sink).await
    }

    pub(in crate::store) async fn write_cursor(
        &self,
        lane: Lane,
        token: FenceToken,
        sink: Sink,
        to: i64,
    ) -> Result<bool, StoreError> {
        // The lock makes a claim and this move take turns, and lets the lane's batches pass; SQLite has
        // one writer anyway.
        let lock = if self.is_postgres() { "FOR KEY SHARE" } else { "" };
        let fence = match Defect::CursorUnfenced.is_on() {
            true => "$2 IS NOT NULL",
            false => "fence_token = $2",
        };
        let sql = format!(
            "INSERT INTO relay_cursors (lane, sink, number)
             SELECT lane, $3, $4 FROM lanes WHERE lane = $1 AND {fence} {lock}
             ON CONFLICT (lane, sink) DO UPDATE SET number =
                 CASE WHEN excluded.number > relay_cursors.number THEN excluded.number
                      ELSE relay_cursors.number END"
        );
        let values = [lane.0.into(), token.0.into(), sink.number().into(), to.into()];
        let backend = self.writer.get_database_backend();
        let statement = Statement::from_sql_and_values(backend, sql, values);
        let moved =
            self.writer.execute_raw(statement).await.map_err(|error| of_database(&error))?;
        Ok(moved.rows_affected() == 1)
    }
}

/// Up to where a sink has taken a lane's outbox.
pub(in crate::store) async fn cursor(
    database: &impl ConnectionTrait,
    lane: Lane,
    sink: Sink,
) -> Result<i64, StoreError> {
    let row = relay_cursors::Entity::find_by_id((lane.0, sink.number())).one(database).await;
    Ok(row.map_err(|error| of_database(&error))?.map_or(0, |row| row.number))
}

/// What a sink has still to take behind `after`, in any order.
pub(in crate::store) fn outbox_after(lane: Lane, sink: Sink, after: i64) -> Select<outbox::Entity> {
    let topics = Sink::TOPICS.into_iter().filter(|topic| sink.takes(*topic));
    outbox::Entity::find()
        .filter(outbox::Column::Lane.eq(lane.0))
        .filter(outbox::Column::Number.gt(after))
        .filter(outbox::Column::Sink.is_in(topics.map(Sink::number)))
}
