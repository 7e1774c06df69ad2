//! What old records and bases come to: found by time, kept, dropped. It does as it is told: whether a base is
//! worth anything, and so what may go, others have found out.

use std::time::Duration;

use actors::lane::UserNumber;
use actors::rows::Sink;
use actors::store::{StoreError, StoredBase};
use chrono::{DateTime, Utc};
use entities::base_checkpoints;
use neuros::time::{Micros, Timestamp};
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ConnectionTrait, DbBackend, EntityTrait, QueryResult, Statement, Value};

use super::failure::of_database;
use super::read::base;
use super::{SqlStore, instant, unbroken};

/// From one instant up to, and without, another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first instant in it.
    pub from: Timestamp,
    /// The first behind it.
    pub to: Timestamp,
}

/// A user's records up to a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upto {
    /// Whose.
    pub user: UserNumber,
    /// The newest of them.
    pub number: i64,
}

/// A base to be kept.
pub struct NewBase {
    /// Whose.
    pub user: UserNumber,
    /// The state and its numbers.
    pub base: StoredBase,
    /// When the newest record in it was stored.
    pub newest: Timestamp,
}

const COMPRESSION: &str = "ALTER TABLE event_records SET (timescaledb.compress, \
    timescaledb.compress_segmentby = 'user_number', timescaledb.compress_orderby = 'number')";

impl SqlStore {
    /// Has TimescaleDB compress stored records from that age on; `None` means never. Says whether there is
    /// one that does, with the licence that it takes. No policy of it drops any: it knows nothing of bases.
    ///
    /// # Errors
    ///
    /// When the store is away or refuses.
    pub async fn compress_after(&self, age: Option<Duration>) -> Result<bool, StoreError> {
        if !self.is_postgres() || !self.asks(HAS_POLICIES).await? {
            return Ok(false);
        }
        let mut steps = vec![
            "SELECT remove_retention_policy('event_records', if_exists => TRUE)".to_owned(),
            "SELECT remove_compression_policy('event_records', if_exists => TRUE)".to_owned(),
        ];
        if let Some(age) = age {
            if !self.asks(IS_COMPRESSED).await? {
                steps.push(COMPRESSION.to_owned());
            }
            // Newer releases call the same thing the column store.
            let add = if self.asks(HAS_COMPRESSION_POLICY).await? {
                "SELECT add_compression_policy('event_records', compress_after =>"
            } else {
                "CALL add_columnstore_policy('event_records', after =>"
            };
            steps.push(format!("{add} INTERVAL '{} seconds')", age.as_secs()));
        }
        for step in steps {
            let done = self.writer.execute_unprepared(&step).await;
            done.map_err(|error| of_database(&error))?;
        }
        Ok(true)
    }

    /// The stretches that TimescaleDB can drop at once and that end before `before`, the oldest first;
    /// `None` without it.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn chunks(&self, before: Timestamp) -> Result<Option<Vec<Span>>, StoreError> {
        let has_chunks = self.is_postgres()
            && self.asks(HAS_EXTENSION).await?
            && self.asks(IS_HYPERTABLE).await?;
        if !has_chunks {
            return Ok(None);
        }
        let rows = self.rows(CHUNKS, vec![instant::of(before).into()]).await?;
        let span = |row: &QueryResult| Ok(Span { from: time(row, 0)?, to: time(row, 1)? });
        rows.iter().map(span).collect::<Result<_, StoreError>>().map(Some)
    }

    /// The stretch from `from` in which about `count` records lie; all of it up to `before`, when there are
    /// no more than that.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn stretch(
        &self,
        from: Timestamp,
        before: Timestamp,
        count: i64,
    ) -> Result<Span, StoreError> {
        let values = vec![instant::of(from).into(), instant::of(before).into(), count.into()];
        let rows = self.rows(STRETCH, values).await?;
        let to = rows.first().map_or(Ok(before), |row| time(row, 0))?;
        // A batch's records have one stamp, and may be more than that.
        Ok(Span { from, to: to.max(from + Micros(1)) })
    }

    /// Users with records there, each with the number of the newest of those: those with numbers above
    /// `after`, in order, at most `limit`.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn users_with_records(
        &self,
        span: Span,
        after: UserNumber,
        limit: i64,
    ) -> Result<Vec<Upto>, StoreError> {
        let (from, to) = (instant::of(span.from), instant::of(span.to));
        let values = vec![from.into(), to.into(), after.0.into(), limit.into()];
        let upto = |row: &QueryResult| {
            let user = UserNumber(row.try_get_by_index(0)?);
            Ok(Upto { user, number: row.try_get_by_index(1)? })
        };
        let rows = self.rows(USERS_WITH_RECORDS, values).await?;
        let found: Result<_, sea_orm::DbErr> = rows.iter().map(upto).collect();
        found.map_err(|error| of_database(&error))
    }

    /// The newest base of each of these users who has one.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn newest_bases(
        &self,
        users: &[UserNumber],
    ) -> Result<Vec<(UserNumber, StoredBase)>, StoreError> {
        let held: Vec<Upto> = users.iter().map(|&user| Upto { user, number: 0 }).collect();
        let statement = self.with_held(&held, NEWEST_BASES, Vec::new());
        let rows = base_checkpoints::Entity::find().from_raw_sql(statement).all(&self.reader).await;
        let rows = rows.map_err(|error| of_database(&error))?;
        Ok(rows.into_iter().map(|row| (UserNumber(row.user_number), base(row))).collect())
    }

    /// Keeps bases, in the place of others of the same record.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn keep_bases(&self, bases: Vec<NewBase>) -> Result<(), StoreError> {
        use base_checkpoints::{ActiveModel, Column, Entity};
        if bases.is_empty() {
            return Ok(());
        }
        let row = |new: NewBase| ActiveModel {
            user_number: Set(new.user.0),
            record_number: Set(new.base.record_number),
            message_number: Set(new.base.message_number),
            engine: Set(new.base.engine),
            body: Set(new.base.body),
            created_at: Set(instant::of(new.newest)),
        };
        let replaced = OnConflict::columns([Column::UserNumber, Column::RecordNumber])
            .update_columns([
                Column::MessageNumber,
                Column::Engine,
                Column::Body,
                Column::CreatedAt,
            ])
            .to_owned();
        let portions = portions(bases.into_iter().map(row).collect());
        let writer = self.writer.clone();
        unbroken(async move {
            for portion in portions {
                let insert = Entity::insert_many(portion).on_conflict(replaced.clone());
                let done = insert.exec_without_returning(&writer).await;
                done.map_err(|error| of_database(&error))?;
            }
            Ok(())
        })
        .await
    }

    /// Drops the records there that are `held`; gives how many it were.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn drop_records(&self, span: Span, held: &[Upto]) -> Result<u64, StoreError> {
        let values = vec![instant::of(span.from).into(), instant::of(span.to).into()];
        self.drop_held(held, DROP_RECORDS, values).await
    }

    /// Drops everything there at once: one of [`SqlStore::chunks`].
    ///
    /// # Errors
    ///
    /// When the store is away or refuses.
    pub async fn drop_chunk(&self, chunk: Span) -> Result<(), StoreError> {
        let values = vec![instant::of(chunk.from).into(), instant::of(chunk.to).into()];
        self.rows(DROP_CHUNK, values).await.map(|_| ())
    }

    /// Drops the bases in front of others, up to these, that hold nothing from `before` or later: no record is left that
    /// would lead on from them. Gives how many it were.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn drop_bases(&self, held: &[Upto], before: Timestamp) -> Result<u64, StoreError> {
        self.drop_held(held, DROP_BASES, vec![instant::of(before).into()]).await
    }

    /// Drops at most `limit` of the oldest outbox rows from before `before` that every sink has taken;
    /// gives how many it were.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn prune_outbox(&self, before: Timestamp, limit: i64) -> Result<u64, StoreError> {
        let values = vec![instant::of(before).into(), limit.into()];
        let taken = if self.sinks.contains(&Sink::Peer) { TAKEN_BY_PEER } else { "" };
        self.do_with(&format!("{PRUNE_OUTBOX} {taken} {PRUNED_AT_ONCE}"), values).await
    }

    async fn drop_held(
        &self,
        held: &[Upto],
        sql: &str,
        values: Vec<Value>,
    ) -> Result<u64, StoreError> {
        if held.is_empty() {
            return Ok(0);
        }
        self.execute(self.with_held(held, sql, values)).await
    }

    /// `sql` with the rows of `held` under that name. They are one parameter, whatever their number:
    /// connections keep each text that they are given, a hundred of them, and the server its plan.
    fn with_held(&self, held: &[Upto], sql: &str, mut values: Vec<Value>) -> Statement {
        let backend = self.writer.get_database_backend();
        let pairs = held.iter().map(|held| format!("[{},{}]", held.user.0, held.number));
        values.push(format!("[{}]", pairs.collect::<Vec<_>>().join(",")).into());
        let place = values.len();
        let (rows, parameter) = match backend {
            DbBackend::Sqlite => (HELD_SQLITE, format!("${place}")),
            _ => (HELD_POSTGRES, format!("${place}::json")),
        };
        let sql =
            format!("WITH held (user_number, number) AS ({rows}({parameter}) AS pairs) {sql}");
        Statement::from_sql_and_values(backend, sql, values)
    }

    async fn do_with(&self, sql: &str, values: Vec<Value>) -> Result<u64, StoreError> {
        let backend = self.writer.get_database_backend();
        self.execute(Statement::from_sql_and_values(backend, sql, values)).await
    }

    async fn execute(&self, statement: Statement) -> Result<u64, StoreError> {
        let writer = self.writer.clone();
        unbroken(async move {
            let done = writer.execute_raw(statement).await.map_err(|error| of_database(&error))?;
            Ok(done.rows_affected())
        })
        .await
    }

    async fn rows(&self, sql: &str, values: Vec<Value>) -> Result<Vec<QueryResult>, StoreError> {
        let backend = self.writer.get_database_backend();
        let statement = Statement::from_sql_and_values(backend, sql, values);
        self.writer.query_all_raw(statement).await.map_err(|error| of_database(&error))
    }

    async fn asks(&self, question: &str) -> Result<bool, StoreError> {
        let question = Statement::from_string(DbBackend::Postgres, question);
        let row = self.writer.query_one_raw(question).await.map_err(|error| of_database(&error))?;
        Ok(row.is_some())
    }
}

/// The same rows in portions of few sizes: for each size there is a statement, which connections keep.
fn portions<T>(rows: Vec<T>) -> Vec<Vec<T>> {
    const SIZES: [usize; 4] = [512, 64, 8, 1];
    let (mut left, mut rows) = (rows.len(), rows.into_iter());
    let mut portions = Vec::new();
    while let Some(size) = SIZES.into_iter().find(|size| *size <= left) {
        portions.push(rows.by_ref().take(size).collect());
        left -= size;
    }
    portions
}

fn time(row: &QueryResult, column: usize) -> Result<Timestamp, StoreError> {
    let time = row.try_get_by_index::<DateTime<Utc>>(column);
    time.map(instant::from).map_err(|error| of_database(&error))
}

const STRETCH: &str = "
    SELECT time FROM event_records WHERE time >= $1 AND time < $2 ORDER BY time LIMIT 1 OFFSET $3";

const USERS_WITH_RECORDS: &str = "
    SELECT user_number, max(number) FROM event_records
    WHERE time >= $1 AND time < $2 AND user_number > $3
    GROUP BY user_number ORDER BY user_number LIMIT $4";

const HELD_POSTGRES: &str = "
    SELECT (pairs ->> 0)::bigint, (pairs ->> 1)::bigint FROM json_array_elements";

const HELD_SQLITE: &str = "
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each";

const NEWEST_BASES: &str = "
    SELECT b.* FROM base_checkpoints b JOIN held USING (user_number)
    WHERE b.record_number = (
        SELECT max(n.record_number) FROM base_checkpoints n WHERE n.user_number = b.user_number)
    ORDER BY b.user_number";

const DROP_RECORDS: &str = "
    DELETE FROM event_records WHERE time >= $1 AND time < $2 AND EXISTS (
        SELECT 1 FROM held
        WHERE held.user_number = event_records.user_number AND held.number >= event_records.number)";

const DROP_BASES: &str = "
    DELETE FROM base_checkpoints WHERE EXISTS (
        SELECT 1 FROM held
        JOIN base_checkpoints b ON b.user_number = held.user_number AND b.record_number <= held.number
        WHERE held.user_number = base_checkpoints.user_number
            AND b.record_number > base_checkpoints.record_number AND b.created_at < $1)";

const PRUNE_OUTBOX: &str = "
    DELETE FROM outbox WHERE (lane, number) IN (
        SELECT o.lane, o.number FROM outbox o
        JOIN relay_cursors c ON c.lane = o.lane AND c.sink = o.sink AND c.number >= o.number
        WHERE o.recorded_at < $1";

/// The peer's number is 3, and dead letters, whose is 2, are not for it.
const TAKEN_BY_PEER: &str = "
        AND (o.sink = 2 OR EXISTS (
            SELECT 1 FROM relay_cursors p WHERE p.lane = o.lane AND p.sink = 3 AND p.number >= o.number))";

const PRUNED_AT_ONCE: &str = "ORDER BY o.lane, o.number LIMIT $2)";

const HAS_POLICIES: &str = "SELECT 1 FROM pg_extension
    WHERE extname = 'timescaledb' AND current_setting('timescaledb.license', TRUE) = 'timescale'";

const HAS_EXTENSION: &str = "SELECT 1 FROM pg_extension WHERE extname = 'timescaledb'";

const IS_HYPERTABLE: &str = "SELECT 1 FROM timescaledb_information.hypertables
    WHERE hypertable_name = 'event_records'";

const CHUNKS: &str = "SELECT range_start, range_end FROM timescaledb_information.chunks
    WHERE hypertable_name = 'event_records' AND range_end <= $1 ORDER BY range_start";

const DROP_CHUNK: &str = "SELECT drop_chunks('event_records',
    older_than => $2::timestamptz, newer_than => $1::timestamptz)";

const IS_COMPRESSED: &str = "SELECT 1 FROM timescaledb_information.hypertables
    WHERE hypertable_name = 'event_records' AND compression_enabled";

const HAS_COMPRESSION_POLICY: &str =
    "SELECT 1 FROM pg_proc WHERE proname = 'add_compression_policy'";
