//! Tickets by which browsers open sockets: known by their digests, each good once, whichever instance is asked. Never
//! holds a ticket, nor in the clear for whom it is.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{binary_len, blob, timestamp_with_time_zone};

/// The change.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table("socket_tickets")
                    .col(binary_len("digest", 32).primary_key())
                    .col(blob("identity"))
                    .col(timestamp_with_time_zone("expires_at"))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("socket_tickets").to_owned()).await
    }
}
