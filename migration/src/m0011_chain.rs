//! From a user to their records without an index on users: each record says where the one before it lies,
//! each user where the newest of the checkpoint does. Never loses a way: records that are there get theirs.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{integer_null, timestamp_with_time_zone_null};
use sea_orm_migration::sea_orm::ConnectionTrait;

use crate::backend::on_postgres;

/// The change.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// Columns by table: their names begin so.
const COLUMNS: [(&str, &str); 2] = [("event_records", "previous"), ("users", "newest")];

/// TimescaleDB refuses a statement that changes more than so many compressed rows; the setting is there where
/// the extension is.
const UNLIMITED: &str = "SELECT set_config(name, '0', FALSE) FROM pg_settings
    WHERE name = 'timescaledb.max_tuples_decompressed_per_dml_transaction'";

const FILL: [&str; 2] = [
    "UPDATE event_records SET previous_time = before.time, previous_lane = before.lane,
         previous_position = before.position
     FROM event_records before
     WHERE before.user_number = event_records.user_number
         AND before.number = event_records.number - 1",
    "UPDATE users SET newest_time = newest.time, newest_lane = newest.lane,
         newest_position = newest.position
     FROM event_records newest
     WHERE newest.user_number = users.user_number AND newest.number = users.record_number",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, name) in COLUMNS {
            for column in [
                timestamp_with_time_zone_null(format!("{name}_time")),
                integer_null(format!("{name}_lane")),
                integer_null(format!("{name}_position")),
            ] {
                let added = Table::alter().table(table).add_column(column).to_owned();
                manager.alter_table(added).await?;
            }
        }
        on_postgres(manager, UNLIMITED).await?;
        for fill in FILL {
            manager.get_connection().execute_unprepared(fill).await?;
        }
        manager.drop_index(Index::drop().name(INDEX).table("event_records").to_owned()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let index = Index::create()
            .name(INDEX)
            .table("event_records")
            .col("user_number")
            .col("number")
            .to_owned();
        manager.create_index(index).await?;
        for (table, name) in COLUMNS {
            for part in ["time", "lane", "position"] {
                let column = format!("{name}_{part}");
                let dropped = Table::alter().table(table).drop_column(column).to_owned();
                manager.alter_table(dropped).await?;
            }
        }
        Ok(())
    }
}

const INDEX: &str = "event_records_user";
