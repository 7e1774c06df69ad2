//! The records that changed states, and the policies that judged them. Never holds a reading in the clear.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, blob, integer, small_integer, text, timestamp_with_time_zone,
};

use crate::backend::{now, on_postgres};

/// The change.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create_event_records(manager).await?;
        create_policies(manager).await?;
        on_postgres(manager, "ALTER TABLE event_records ALTER COLUMN body SET STORAGE EXTERNAL")
            .await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["policies", "event_records"] {
            manager.drop_table(Table::drop().table(table).to_owned()).await?;
        }
        Ok(())
    }
}

async fn create_event_records(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager
        .create_table(
            Table::create()
                .table("event_records")
                .col(timestamp_with_time_zone("time"))
                .col(integer("lane"))
                .col(integer("position"))
                .col(big_integer("user_number"))
                .col(big_integer("number"))
                .col(small_integer("source"))
                .col(big_integer("log_offset"))
                .col(timestamp_with_time_zone("record_time"))
                .col(integer("policy"))
                .col(small_integer("engine"))
                .col(text("device_id"))
                .col(text("event_type"))
                .col(blob("body"))
                .primary_key(Index::create().col("time").col("lane").col("position"))
                .to_owned(),
        )
        .await?;
    manager
        .create_index(
            Index::create()
                .name("event_records_user")
                .table("event_records")
                .col("user_number")
                .col("number")
                .to_owned(),
        )
        .await?;
    Ok(())
}

async fn create_policies(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager
        .create_table(
            Table::create()
                .table("policies")
                .col(integer("policy").primary_key().auto_increment())
                .col(text("version").unique_key())
                .col(text("text"))
                .col(timestamp_with_time_zone("first_used_at").default(now(manager)))
                .to_owned(),
        )
        .await?;
    Ok(())
}
