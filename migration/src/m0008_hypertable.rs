//! Where TimescaleDB is to be had, the hot table becomes a hypertable of one chunk a day. Never changes
//! what a query answers.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{ConnectionTrait, Statement};

use crate::backend::is_postgres;

/// The change.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if !is_postgres(manager) {
            return Ok(());
        }
        let connection = manager.get_connection();
        let offered = "SELECT 1 FROM pg_available_extensions WHERE name = 'timescaledb'";
        let offered = Statement::from_string(manager.get_database_backend(), offered);
        if connection.query_one_raw(offered).await?.is_none() {
            return Ok(());
        }
        connection.execute_unprepared("CREATE EXTENSION IF NOT EXISTS timescaledb").await?;
        // The key's index already has the time first; one more on the time alone would only cost.
        connection
            .execute_unprepared(
                "SELECT create_hypertable('event_records', 'time',
                     chunk_time_interval => INTERVAL '1 day',
                     create_default_indexes => FALSE,
                     migrate_data => TRUE)",
            )
            .await?;
        Ok(())
    }

    /// Nothing: a hypertable goes with its table, and the extension may serve others.
    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Ok(())
    }
}
