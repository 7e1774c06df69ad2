//! Where every lane stands, how users map to lanes, and what became of generations before. Never holds anything of a person.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, boolean, integer, small_integer, text, text_null, timestamp_with_time_zone,
    timestamp_with_time_zone_null, uuid,
};

use crate::backend::{now, on_postgres};

/// The change.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create_routing(manager).await?;
        create_lanes(manager).await?;
        create_closed_generations(manager).await?;
        create_lane_gaps(manager).await?;
        on_postgres(
            manager,
            // A lane's row changes with every batch; with room on its page the change stays there.
            "ALTER TABLE lanes SET (fillfactor = 50)",
        )
        .await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["lane_gaps", "closed_generations", "lanes", "routing"] {
            manager.drop_table(Table::drop().table(table).to_owned()).await?;
        }
        Ok(())
    }
}

async fn create_routing(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager
        .create_table(
            Table::create()
                .table("routing")
                .col(small_integer("id").primary_key().check(Expr::col("id").eq(1)))
                .col(integer("generation"))
                .col(integer("partition_count"))
                .col(integer("routing_version"))
                .col(big_integer("bytes_max"))
                .col(text_null("log_id"))
                .col(boolean("expanding"))
                .col(timestamp_with_time_zone("updated_at").default(now(manager)))
                .to_owned(),
        )
        .await?;
    Ok(())
}

async fn create_lanes(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager
        .create_table(
            Table::create()
                .table("lanes")
                .col(integer("lane").primary_key())
                .col(big_integer("batch"))
                .col(big_integer("events_position"))
                .col(big_integer("by_user_position"))
                .col(big_integer("epoch"))
                .col(uuid("fence_token"))
                .col(text("owner"))
                .col(timestamp_with_time_zone_null("claimed_at"))
                .col(text("marks"))
                .col(text("forwarded"))
                .col(text_null("closed"))
                .col(big_integer("outbox"))
                .col(big_integer("users"))
                .col(big_integer("reflex"))
                .col(big_integer("guardian"))
                .col(big_integer("pattern"))
                .col(big_integer("hypothesis"))
                .col(big_integer("events_new"))
                .col(big_integer("events_duplicate"))
                .col(big_integer("events_dead_letter"))
                .col(big_integer("events_forwarded"))
                .col(big_integer("events_skipped"))
                .col(big_integer("by_user_new"))
                .col(big_integer("by_user_duplicate"))
                .col(big_integer("by_user_dead_letter"))
                .col(big_integer("by_user_forwarded"))
                .col(big_integer("by_user_skipped"))
                .col(timestamp_with_time_zone("stamp"))
                .col(timestamp_with_time_zone("checkpointed"))
                .to_owned(),
        )
        .await?;
    Ok(())
}

async fn create_closed_generations(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager
        .create_table(
            Table::create()
                .table("closed_generations")
                .col(integer("generation"))
                .col(integer("lane"))
                .col(big_integer("events_position"))
                .col(big_integer("by_user_position"))
                .col(text("marks"))
                .col(text("forwarded"))
                .col(timestamp_with_time_zone("closed_at"))
                .primary_key(Index::create().col("generation").col("lane"))
                .to_owned(),
        )
        .await?;
    Ok(())
}

async fn create_lane_gaps(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager
        .create_table(
            Table::create()
                .table("lane_gaps")
                .col(big_integer("id").primary_key().auto_increment())
                .col(integer("lane"))
                .col(small_integer("source"))
                .col(integer("generation"))
                .col(big_integer("from_offset"))
                .col(big_integer("to_offset"))
                .col(text("reason"))
                .col(timestamp_with_time_zone("recorded_at"))
                .to_owned(),
        )
        .await?;
    Ok(())
}
