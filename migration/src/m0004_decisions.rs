//! Mode changes and changes of alerts. Never holds a reason in the clear.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, blob, integer, text, timestamp_with_time_zone, timestamp_with_time_zone_null, uuid,
};

/// The change.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create_mode_transitions(manager).await?;
        create_alert_changes(manager).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["alert_changes", "mode_transitions"] {
            manager.drop_table(Table::drop().table(table).to_owned()).await?;
        }
        Ok(())
    }
}

async fn create_mode_transitions(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager
        .create_table(
            Table::create()
                .table("mode_transitions")
                .col(big_integer("user_number"))
                .col(big_integer("seq"))
                .col(big_integer("n"))
                .col(big_integer("record_number"))
                .col(uuid("message_id").unique_key())
                .col(timestamp_with_time_zone("time"))
                .col(timestamp_with_time_zone("recorded_at"))
                .col(integer("policy"))
                .col(blob("body"))
                .primary_key(Index::create().col("user_number").col("seq"))
                .to_owned(),
        )
        .await?;
    manager
        .create_index(
            Index::create()
                .name("mode_transitions_n")
                .table("mode_transitions")
                .col("user_number")
                .col("n")
                .to_owned(),
        )
        .await?;
    Ok(())
}

async fn create_alert_changes(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager
        .create_table(
            Table::create()
                .table("alert_changes")
                .col(big_integer("user_number"))
                .col(big_integer("n"))
                .col(big_integer("record_number"))
                .col(uuid("alert_id"))
                .col(uuid("message_id"))
                .col(text("status"))
                .col(timestamp_with_time_zone("started_at"))
                .col(timestamp_with_time_zone("updated_at"))
                .col(timestamp_with_time_zone_null("ended_at"))
                .col(timestamp_with_time_zone("recorded_at"))
                .col(blob("body"))
                .primary_key(Index::create().col("user_number").col("n"))
                .to_owned(),
        )
        .await?;
    manager
        .create_index(
            Index::create()
                .name("alert_changes_alert")
                .table("alert_changes")
                .col("user_number")
                .col("alert_id")
                .col("n")
                .to_owned(),
        )
        .await?;
    Ok(())
}
