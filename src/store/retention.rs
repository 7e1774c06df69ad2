//! How long stored records are kept, and when they are compressed. Never drops what nobody asked it to.

use std::time::Duration;

use actors::store::StoreError;
use chrono::{DateTime, Utc};
use neuros::time::Timestamp;
use sea_orm::{ConnectionTrait, DbBackend, Statement, Value};

use super::failure::of_database;
use super::{SqlStore, instant, unbroken};

/// Who compresses and drops old records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// TimescaleDB, by the policies that were set.
    Policies,
    /// Nobody by itself: [`SqlStore::drop_records`] drops them.
    ByHand,
}

/// What TimescaleDB drops at once.
const CHUNK: Duration = Duration::from_hours(24);

/// Records that went in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// How many.
    pub records: u64,
    /// The time of the newest of them.
    pub newest: Timestamp,
}

const COMPRESSION: &str = "ALTER TABLE event_records SET (timescaledb.compress, \
    timescaledb.compress_segmentby = 'user_number', timescaledb.compress_orderby = 'number')";

impl SqlStore {
    /// Sets after what time stored records are compressed and dropped; `None` means never. Where
    /// TimescaleDB is not there, or only with its smaller licence, nothing is set. It drops the records
    /// of a whole day at once, so what is to go sooner is dropped by hand.
    ///
    /// # Errors
    ///
    /// When the store is away or refuses.
    pub async fn apply_retention(
        &self,
        compress_after: Option<Duration>,
        drop_after: Option<Duration>,
    ) -> Result<Retention, StoreError> {
        if !self.is_postgres() || !self.asks(HAS_POLICIES).await? {
            return Ok(Retention::ByHand);
        }
        let mut steps =
            vec!["SELECT remove_compression_policy('event_records', if_exists => TRUE)".to_owned()];
        if let Some(after) = compress_after {
            if !self.asks(IS_COMPRESSED).await? {
                steps.push(COMPRESSION.to_owned());
            }
            // Newer releases call the same thing the column store.
            let add = if self.asks(HAS_COMPRESSION_POLICY).await? {
                "SELECT add_compression_policy('event_records', compress_after =>"
            } else {
                "CALL add_columnstore_policy('event_records', after =>"
            };
            steps.push(format!("{add} INTERVAL '{} seconds')", after.as_secs()));
        }
        steps.push("SELECT remove_retention_policy('event_records', if_exists => TRUE)".to_owned());
        let by_policy = drop_after.filter(|after| *after >= CHUNK);
        if let Some(after) = by_policy {
            steps.push(format!(
                "SELECT add_retention_policy('event_records', INTERVAL '{} seconds')",
                after.as_secs()
            ));
        }
        for step in steps {
            let done = self.writer.execute_unprepared(&step).await;
            done.map_err(|error| of_database(&error))?;
        }
        Ok(if by_policy == drop_after { Retention::Policies } else { Retention::ByHand })
    }

    /// Keeps the checkpoints of users with records before `before` as bases, so that those records may
    /// go: replay then begins at the base. `engine` is the version of the engine that wrote them. Gives
    /// how many were kept.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn keep_bases(&self, before: Timestamp, engine: i16) -> Result<u64, StoreError> {
        self.do_with(KEEP_BASES, vec![instant::of(before).into(), engine.into()]).await
    }

    /// Drops at most `limit` of the oldest stored records of batches from `from` and before `before`, of
    /// those that a base holds. Where the next step goes on from: a step that began at the beginning
    /// would walk over all that the steps before it have left in the index.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn drop_records(
        &self,
        from: Timestamp,
        before: Timestamp,
        limit: i64,
    ) -> Result<Dropped, StoreError> {
        let writer = self.writer.clone();
        let values = [instant::of(from).into(), instant::of(before).into(), limit.into()];
        let backend = writer.get_database_backend();
        let statement = Statement::from_sql_and_values(backend, DROP_RECORDS, values);
        unbroken(async move {
            let rows =
                writer.query_all_raw(statement).await.map_err(|error| of_database(&error))?;
            let mut newest = from;
            for row in &rows {
                let time: DateTime<Utc> =
                    row.try_get_by_index(0).map_err(|error| of_database(&error))?;
                newest = newest.max(instant::from(time));
            }
            Ok(Dropped { records: rows.len() as u64, newest })
        })
        .await
    }

    /// Drops at most `limit` bases that lead to no record from `before` or later: of the user there is a
    /// newer one from before it. Gives how many it were.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn drop_bases_before(
        &self,
        before: Timestamp,
        limit: i64,
    ) -> Result<u64, StoreError> {
        self.do_with(DROP_BASES, vec![instant::of(before).into(), limit.into()]).await
    }

    /// Drops at most `limit` of the oldest outbox rows from before `before` that every sink has taken;
    /// gives how many it were.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn prune_outbox(&self, before: Timestamp, limit: i64) -> Result<u64, StoreError> {
        self.do_with(PRUNE_OUTBOX, vec![instant::of(before).into(), limit.into()]).await
    }

    async fn do_with(&self, sql: &str, values: Vec<Value>) -> Result<u64, StoreError> {
        let writer = self.writer.clone();
        let statement = Statement::from_sql_and_values(writer.get_database_backend(), sql, values);
        unbroken(async move {
            let done = writer.execute_raw(statement).await.map_err(|error| of_database(&error))?;
            Ok(done.rows_affected())
        })
        .await
    }

    async fn asks(&self, question: &str) -> Result<bool, StoreError> {
        let question = Statement::from_string(DbBackend::Postgres, question);
        let row = self.writer.query_one_raw(question).await.map_err(|error| of_database(&error))?;
        Ok(row.is_some())
    }
}

const KEEP_BASES: &str = "
    INSERT INTO base_checkpoints
        (user_number, record_number, message_number, engine, body, created_at)
    SELECT u.user_number, u.record_number, u.message_number, $2, u.checkpoint, u.checkpointed_at
    FROM users u
    JOIN (SELECT user_number, max(number) AS newest FROM event_records
          WHERE time < $1 GROUP BY user_number) old ON old.user_number = u.user_number
    WHERE u.checkpoint IS NOT NULL AND u.record_number >= old.newest
        AND NOT EXISTS (SELECT 1 FROM base_checkpoints b
                        WHERE b.user_number = u.user_number AND b.record_number >= old.newest)
    ON CONFLICT DO NOTHING";

const DROP_RECORDS: &str = "
    DELETE FROM event_records WHERE (time, lane, position) IN (
        SELECT r.time, r.lane, r.position FROM event_records r
        WHERE r.time >= $1 AND r.time < $2 AND EXISTS (
            SELECT 1 FROM base_checkpoints b
            WHERE b.user_number = r.user_number AND b.record_number >= r.number)
        ORDER BY r.time LIMIT $3)
    RETURNING time";

const DROP_BASES: &str = "
    DELETE FROM base_checkpoints WHERE (user_number, record_number) IN (
        SELECT b.user_number, b.record_number FROM base_checkpoints b
        WHERE EXISTS (
            SELECT 1 FROM base_checkpoints n
            WHERE n.user_number = b.user_number AND n.record_number > b.record_number
                AND n.created_at < $1)
        LIMIT $2)";

const PRUNE_OUTBOX: &str = "
    DELETE FROM outbox WHERE (lane, number) IN (
        SELECT o.lane, o.number FROM outbox o
        JOIN relay_cursors c ON c.lane = o.lane AND c.sink = o.sink AND c.number >= o.number
        WHERE o.recorded_at < $1 ORDER BY o.lane, o.number LIMIT $2)";

const HAS_POLICIES: &str = "SELECT 1 FROM pg_extension
    WHERE extname = 'timescaledb' AND current_setting('timescaledb.license', TRUE) = 'timescale'";

const IS_COMPRESSED: &str = "SELECT 1 FROM timescaledb_information.hypertables
    WHERE hypertable_name = 'event_records' AND compression_enabled";

const HAS_COMPRESSION_POLICY: &str =
    "SELECT 1 FROM pg_proc WHERE proname = 'add_compression_policy'";
