//! Where the newest record of a state that is kept for good lies: the way back through a user's records can begin
//! there. Of those that are there already nobody knows.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::integer_null;

/// The change.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const COLUMNS: [&str; 2] = ["newest_lane", "newest_position"];

fn table() -> TableAlterStatement {
    Table::alter().table("base_checkpoints").to_owned()
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in COLUMNS {
            manager.alter_table(table().add_column(integer_null(column)).to_owned()).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in COLUMNS {
            manager.alter_table(table().drop_column(column).to_owned()).await?;
        }
        Ok(())
    }
}
