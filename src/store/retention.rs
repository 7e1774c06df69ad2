//! How long stored records are kept, and when they are compressed. Never drops what nobody asked it to.

use std::time::Duration;

use actors::store::StoreError;
use neuros::time::Timestamp;
use sea_orm::{ConnectionTrait, DbBackend, Statement, Value};

use super::failure::of_database;
use super::{SqlStore, instant, unbroken};

/// Who compresses and drops old records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// TimescaleDB, by the policies that were set.
    Policies,
    /// Nobody by itself: [`SqlStore::drop_records_before`] drops them.
    ByHand,
}

const COMPRESSION: &str = "ALTER TABLE event_records SET (timescaledb.compress, \
    timescaledb.compress_segmentby = 'user_number', timescaledb.compress_orderby = 'number')";

impl SqlStore {
    /// Sets after what time stored records are compressed and dropped; `None` means never. Where
    /// TimescaleDB is not there, or only with its smaller licence, nothing is set.
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
        if let Some(after) = drop_after {
            steps.push(format!(
                "SELECT add_retention_policy('event_records', INTERVAL '{} seconds')",
                after.as_secs()
            ));
        }
        for step in steps {
            let done = self.writer.execute_unprepared(&step).await;
            done.map_err(|error| of_database(&error))?;
        }
        Ok(Retention::Policies)
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

    /// Drops at most `limit` of the oldest stored records of batches before `before`, of those that a
    /// base holds; gives how many it were.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn drop_records_before(
        &self,
        before: Timestamp,
        limit: i64,
    ) -> Result<u64, StoreError> {
        self.do_with(DROP_RECORDS, vec![instant::of(before).into(), limit.into()]).await
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
        WHERE r.time < $1 AND EXISTS (
            SELECT 1 FROM base_checkpoints b
            WHERE b.user_number = r.user_number AND b.record_number >= r.number)
        ORDER BY r.time LIMIT $2)";

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
