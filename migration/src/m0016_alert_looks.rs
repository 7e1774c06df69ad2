//! When to look at whose alerts, and orders about alerts among a person's records, which are no events to people
//! who count those.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, integer, timestamp_with_time_zone_null};
use sea_orm_migration::sea_orm::ConnectionTrait;

/// The change.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table("alert_looks")
                    .col(big_integer("user_number").primary_key())
                    .col(integer("lane"))
                    .col(timestamp_with_time_zone_null("due"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("alert_looks_due")
                    .table("alert_looks")
                    .col("lane")
                    .col("due")
                    .to_owned(),
            )
            .await?;
        make_view(manager, "WHERE e.source <> 2").await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        make_view(manager, "").await?;
        manager.drop_table(Table::drop().table("alert_looks").to_owned()).await
    }
}

async fn make_view(manager: &SchemaManager<'_>, condition: &str) -> Result<(), DbErr> {
    let connection = manager.get_connection();
    connection.execute_unprepared("DROP VIEW biometric_events").await?;
    let view = format!(
        "CREATE VIEW biometric_events AS
         SELECT e.time, u.user_id, e.device_id, e.event_type,
                CAST(e.user_number AS text) || ':' || CAST(e.number AS text) AS id,
                e.user_number, e.number AS record_number, e.lane, e.source, e.log_offset,
                e.record_time, p.version AS policy_version, e.engine
         FROM event_records e
         LEFT JOIN users u ON u.user_number = e.user_number
         LEFT JOIN policies p ON p.policy = e.policy
         {condition}"
    );
    connection.execute_unprepared(&view).await?;
    Ok(())
}
