//! What became of dead letters and commands. Never removes a letter: one that leaves the list stays as it was.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::text_null;
use sea_orm_migration::sea_orm::ConnectionTrait;

/// The change.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// The columns that are added, by table.
const COLUMNS: [(&str, &str); 2] = [("dead_letters", "fate"), ("lane_commands", "outcome")];

/// Owners look for open commands every two seconds, and for a user's open letters when one is released.
const INDEXES: [(&str, &str); 2] = [
    ("lane_commands_open", "lane_commands (lane, id) WHERE applied_batch IS NULL"),
    ("dead_letters_open", "dead_letters (lane, outbox) WHERE released_at IS NULL"),
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, column) in COLUMNS {
            let added = Table::alter().table(table).add_column(text_null(column)).to_owned();
            manager.alter_table(added).await?;
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
        for (table, column) in COLUMNS {
            let dropped = Table::alter().table(table).drop_column(column).to_owned();
            manager.alter_table(dropped).await?;
        }
        Ok(())
    }
}
