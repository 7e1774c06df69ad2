//! Users, their checkpoints and their wrapped keys. Never holds a state or a key in the clear.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, big_integer_null, blob, blob_null, integer, small_integer, text,
    timestamp_with_time_zone, timestamp_with_time_zone_null,
};

use crate::backend::{now, on_postgres};

/// The change.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create_users(manager).await?;
        create_base_checkpoints(manager).await?;
        create_encryption_keys(manager).await?;
        on_postgres(
            manager,
            // A new checkpoint finds room on its page (no index changes with it), and sealed bytes do not
            // compress, so nobody needs to try.
            "ALTER TABLE users SET (fillfactor = 60);
                 ALTER TABLE users ALTER COLUMN checkpoint SET STORAGE EXTERNAL;
                 ALTER TABLE base_checkpoints ALTER COLUMN body SET STORAGE EXTERNAL",
        )
        .await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["encryption_keys", "base_checkpoints", "users"] {
            manager.drop_table(Table::drop().table(table).to_owned()).await?;
        }
        Ok(())
    }
}

async fn create_users(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager
        .create_table(
            Table::create()
                .table("users")
                .col(big_integer("user_number").primary_key())
                .col(text("user_id").unique_key())
                .col(big_integer("record_number"))
                .col(big_integer("message_number"))
                .col(blob_null("checkpoint"))
                .col(small_integer("checkpoint_version"))
                .col(timestamp_with_time_zone("checkpointed_at"))
                .col(timestamp_with_time_zone_null("quarantined_at"))
                .col(timestamp_with_time_zone("created_at"))
                .to_owned(),
        )
        .await?;
    Ok(())
}

async fn create_base_checkpoints(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager
        .create_table(
            Table::create()
                .table("base_checkpoints")
                .col(big_integer("user_number"))
                .col(big_integer("record_number"))
                .col(big_integer("message_number"))
                .col(small_integer("engine"))
                .col(blob("body"))
                .col(timestamp_with_time_zone("created_at"))
                .primary_key(Index::create().col("user_number").col("record_number"))
                .to_owned(),
        )
        .await?;
    Ok(())
}

async fn create_encryption_keys(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager
        .create_table(
            Table::create()
                .table("encryption_keys")
                .col(text("key_id").primary_key())
                .col(big_integer_null("user_number"))
                .col(integer("key_number").default(1))
                .col(blob("encrypted_key"))
                .col(text("wrapped_by").default(""))
                .col(timestamp_with_time_zone("created_at").default(now(manager)))
                .col(timestamp_with_time_zone_null("retired_at"))
                .to_owned(),
        )
        .await?;
    manager
        .create_index(
            Index::create()
                .name("encryption_keys_owner")
                .table("encryption_keys")
                .col("user_number")
                .col("key_number")
                .unique()
                .to_owned(),
        )
        .await?;
    Ok(())
}
