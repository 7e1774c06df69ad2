//! What was asked for, and who did what to whose data. Never loses a row: nothing here is updated away.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, big_integer_null, blob_null, integer, text, text_null, timestamp_with_time_zone,
};

use crate::backend::now;

/// The change.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create_lane_commands(manager).await?;
        create_phi_access_log(manager).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["phi_access_log", "lane_commands"] {
            manager.drop_table(Table::drop().table(table).to_owned()).await?;
        }
        Ok(())
    }
}

async fn create_lane_commands(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager
        .create_table(
            Table::create()
                .table("lane_commands")
                .col(big_integer("id").primary_key().auto_increment())
                .col(integer("lane"))
                .col(text("kind"))
                .col(text_null("user_id"))
                .col(blob_null("body"))
                .col(text("requested_by"))
                .col(timestamp_with_time_zone("requested_at").default(now(manager)))
                .col(big_integer_null("applied_batch"))
                .col(big_integer_null("record_number"))
                .to_owned(),
        )
        .await?;
    manager
        .create_index(
            Index::create()
                .name("lane_commands_lane")
                .table("lane_commands")
                .col("lane")
                .col("id")
                .to_owned(),
        )
        .await?;
    Ok(())
}

async fn create_phi_access_log(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager
        .create_table(
            Table::create()
                .table("phi_access_log")
                .col(big_integer("id").primary_key().auto_increment())
                .col(text_null("user_id"))
                .col(text("accessor_id"))
                .col(text("access_type"))
                .col(text("table_name"))
                .col(text_null("record_id"))
                .col(big_integer("records").default(1))
                .col(timestamp_with_time_zone("access_time").default(now(manager)))
                .to_owned(),
        )
        .await?;
    manager
        .create_index(
            Index::create()
                .name("phi_access_log_time")
                .table("phi_access_log")
                .col("access_time")
                .to_owned(),
        )
        .await?;
    Ok(())
}
