//! Messages of the coach about mode changes, the calls that they have cost, and how far each lane's mode changes are
//! told. Never holds a message in the clear.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, blob_null, integer, timestamp_with_time_zone_null};
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
                    .table("coach_messages")
                    .col(big_integer("user_number"))
                    .col(big_integer("n"))
                    .col(integer("calls"))
                    .col(timestamp_with_time_zone_null("called_at"))
                    .col(timestamp_with_time_zone_null("written_at"))
                    .col(blob_null("body"))
                    .primary_key(Index::create().col("user_number").col("n"))
                    .to_owned(),
            )
            .await?;
        // By it calls are counted; of most messages there was none.
        let counted = "CREATE INDEX coach_messages_called ON coach_messages (called_at) \
                       WHERE called_at IS NOT NULL";
        manager.get_connection().execute_unprepared(counted).await?;
        manager
            .create_table(
                Table::create()
                    .table("coach_cursors")
                    .col(integer("lane").primary_key())
                    .col(big_integer("number"))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["coach_cursors", "coach_messages"] {
            manager.drop_table(Table::drop().table(table).to_owned()).await?;
        }
        Ok(())
    }
}
