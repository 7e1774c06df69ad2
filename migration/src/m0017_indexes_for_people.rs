//! Indexes for what is asked about one person, or about what is open. Partial: the row of a batch, which says of
//! nobody in particular, costs nothing. None on `outbox`: its rows go as soon as they have left, and each would pay.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::ConnectionTrait;

/// The change.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const INDEXES: [(&str, &str); 3] = [
    ("phi_access_log_user", "phi_access_log (user_id, id) WHERE user_id IS NOT NULL"),
    ("lane_commands_user", "lane_commands (user_id, id) WHERE user_id IS NOT NULL"),
    (
        "alert_changes_open",
        "alert_changes (user_number, n) WHERE status IN ('firing', 'acknowledged')",
    ),
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
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
        Ok(())
    }
}
