//! Indexes as the questions are asked: who is in quarantine is found without reading everybody, and a wrapped key
//! by its owner and number alone, of which its name is made.

use sea_orm_migration::prelude::*;

use crate::backend::on_postgres;

/// The change.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let quarantined = "CREATE INDEX users_quarantined ON users (user_id)
             WHERE quarantined_at IS NOT NULL";
        manager.get_connection().execute_unprepared(quarantined).await?;
        // A second unique index doubled what a new user's key costs.
        on_postgres(
            manager,
            "ALTER TABLE encryption_keys DROP CONSTRAINT encryption_keys_pkey;
             ALTER TABLE encryption_keys ADD PRIMARY KEY USING INDEX encryption_keys_owner",
        )
        .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        on_postgres(
            manager,
            "CREATE UNIQUE INDEX encryption_keys_owner_again
                 ON encryption_keys (user_number, key_number);
             ALTER TABLE encryption_keys DROP CONSTRAINT encryption_keys_owner;
             ALTER TABLE encryption_keys ADD PRIMARY KEY (key_id);
             ALTER TABLE encryption_keys ALTER COLUMN user_number DROP NOT NULL;
             ALTER INDEX encryption_keys_owner_again RENAME TO encryption_keys_owner",
        )
        .await?;
        let quarantined = Index::drop().name("users_quarantined").table("users").to_owned();
        manager.drop_index(quarantined).await
    }
}
