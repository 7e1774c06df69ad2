//! Users who were erased, and what becomes of keys: destroyed, and how much they have sealed. Never a reason why
//! somebody was erased.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, timestamp_with_time_zone_null};
use sea_orm_migration::sea_orm::ConnectionTrait;

/// The change.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// Instants that may never come, by table.
const INSTANTS: [(&str, &str); 2] = [("users", "erased_at"), ("encryption_keys", "destroyed_at")];

/// Numbers behind which others begin, by table.
const NUMBERS: [(&str, &str); 5] = [
    ("users", "start_record_number"),
    ("users", "start_message_number"),
    ("users", "start_seq"),
    ("users", "start_key_number"),
    ("encryption_keys", "sealed_before"),
];

/// Each claim asks for those who were erased.
const INDEXES: [(&str, &str); 2] = [
    ("users_erased", "users (user_id) WHERE erased_at IS NOT NULL"),
    ("encryption_keys_destroyed", "encryption_keys (user_number) WHERE destroyed_at IS NOT NULL"),
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, column) in INSTANTS {
            let column = timestamp_with_time_zone_null(column);
            manager.alter_table(Table::alter().table(table).add_column(column).to_owned()).await?;
        }
        for (table, column) in NUMBERS {
            let column = big_integer(column).default(0).take();
            manager.alter_table(Table::alter().table(table).add_column(column).to_owned()).await?;
        }
        for (name, of) in INDEXES {
            let sql = format!("CREATE INDEX {name} ON {of}");
            manager.get_connection().execute_unprepared(&sql).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (name, _) in INDEXES {
            let sql = format!("DROP INDEX {name}");
            manager.get_connection().execute_unprepared(&sql).await?;
        }
        for (table, column) in NUMBERS.into_iter().chain(INSTANTS) {
            let dropped = Table::alter().table(table).drop_column(column).to_owned();
            manager.alter_table(dropped).await?;
        }
        Ok(())
    }
}
