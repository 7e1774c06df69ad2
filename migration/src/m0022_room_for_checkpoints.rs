//! A new user's row keeps room for their first checkpoint, so that it is written where the row lies and no index has
//! to follow; the checkpoint takes the room away. On PostgreSQL only: SQLite writes rows where they lie.

use sea_orm_migration::prelude::*;

use crate::backend::on_postgres;

/// The change.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // Room that were compressed would be none.
        on_postgres(
            manager,
            "ALTER TABLE users ADD COLUMN room bytea;
             ALTER TABLE users ALTER COLUMN room SET STORAGE EXTERNAL",
        )
        .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        on_postgres(manager, "ALTER TABLE users DROP COLUMN room").await
    }
}
