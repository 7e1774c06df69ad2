//! What must leave, what could not be applied, and how far each sink has come. Never holds a message in the clear.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, big_integer_null, blob, blob_null, integer, small_integer, text,
    timestamp_with_time_zone, timestamp_with_time_zone_null,
};

/// The change.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create_dead_letters(manager).await?;
        create_outbox(manager).await?;
        create_relay_cursors(manager).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["relay_cursors", "outbox", "dead_letters"] {
            manager.drop_table(Table::drop().table(table).to_owned()).await?;
        }
        Ok(())
    }
}

async fn create_dead_letters(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager
        .create_table(
            Table::create()
                .table("dead_letters")
                .col(integer("lane"))
                .col(big_integer("outbox"))
                .col(small_integer("source"))
                .col(big_integer("log_offset"))
                .col(timestamp_with_time_zone_null("record_time"))
                .col(text("reason"))
                .col(text("detail"))
                .col(big_integer_null("user_number"))
                .col(timestamp_with_time_zone("failed_at"))
                .col(timestamp_with_time_zone_null("released_at"))
                .col(blob("body"))
                .primary_key(Index::create().col("lane").col("outbox"))
                .to_owned(),
        )
        .await?;
    manager
        .create_index(
            Index::create()
                .name("dead_letters_user")
                .table("dead_letters")
                .col("user_number")
                .col("lane")
                .col("outbox")
                .to_owned(),
        )
        .await?;
    Ok(())
}

async fn create_outbox(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager
        .create_table(
            Table::create()
                .table("outbox")
                .col(integer("lane"))
                .col(big_integer("number"))
                .col(small_integer("sink"))
                .col(big_integer_null("user_number"))
                .col(big_integer_null("n"))
                .col(blob_null("body"))
                .col(timestamp_with_time_zone("recorded_at"))
                .primary_key(Index::create().col("lane").col("number"))
                .to_owned(),
        )
        .await?;
    Ok(())
}

async fn create_relay_cursors(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager
        .create_table(
            Table::create()
                .table("relay_cursors")
                .col(integer("lane"))
                .col(small_integer("sink"))
                .col(big_integer("number"))
                .primary_key(Index::create().col("lane").col("sink"))
                .to_owned(),
        )
        .await?;
    Ok(())
}
