//! Whose the expansion is that is under way, and until when: a lease. Lanes whose stops it set stand no
//! longer than it lasts.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{timestamp_with_time_zone_null, uuid_null};

/// The change.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in [uuid_null(EXPANSION), timestamp_with_time_zone_null(UNTIL)] {
            let added = Table::alter().table("routing").add_column(column).to_owned();
            manager.alter_table(added).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in [EXPANSION, UNTIL] {
            let dropped = Table::alter().table("routing").drop_column(column).to_owned();
            manager.alter_table(dropped).await?;
        }
        Ok(())
    }
}

const EXPANSION: &str = "expansion";
const UNTIL: &str = "expansion_until";
