//! How long stored records are kept, and when they are compressed. Never drops what nobody asked it to.

use std::time::Duration;

use actors::store::StoreError;
use neuros::time::Timestamp;
use sea_orm::{ConnectionTrait, DbBackend, Statement};

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

    /// Drops at most `limit` of the oldest stored records of batches before `before`; gives how many
    /// it were. Whoever calls it sees to it that checkpoints and bases hold them.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn drop_records_before(
        &self,
        before: Timestamp,
        limit: i64,
    ) -> Result<u64, StoreError> {
        const DROP: &str = "DELETE FROM event_records WHERE (time, lane, position) IN (
            SELECT time, lane, position FROM event_records WHERE time < $1 ORDER BY time LIMIT $2)";
        let writer = self.writer.clone();
        let values = [instant::of(before).into(), limit.into()];
        let drop = Statement::from_sql_and_values(writer.get_database_backend(), DROP, values);
        unbroken(async move {
            let dropped = writer.execute_raw(drop).await.map_err(|error| of_database(&error))?;
            Ok(dropped.rows_affected())
        })
        .await
    }

    async fn asks(&self, question: &str) -> Result<bool, StoreError> {
        let question = Statement::from_string(DbBackend::Postgres, question);
        let row = self.writer.query_one_raw(question).await.map_err(|error| of_database(&error))?;
        Ok(row.is_some())
    }
}

const HAS_POLICIES: &str = "SELECT 1 FROM pg_extension
    WHERE extname = 'timescaledb' AND current_setting('timescaledb.license', TRUE) = 'timescale'";

const IS_COMPRESSED: &str = "SELECT 1 FROM timescaledb_information.hypertables
    WHERE hypertable_name = 'event_records' AND compression_enabled";

const HAS_COMPRESSION_POLICY: &str =
    "SELECT 1 FROM pg_proc WHERE proname = 'add_compression_policy'";
