//! Where lanes stop while partitions are added. Never says that more are wanted: that stands in `routing`.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::big_integer_null;

/// The change.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const COLUMNS: [&str; 2] = ["events_stop", "by_user_stop"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in COLUMNS {
            let column = big_integer_null(column);
            manager
                .alter_table(Table::alter().table("lanes").add_column(column).to_owned())
                .await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in COLUMNS {
            let dropped = Table::alter().table("lanes").drop_column(column).to_owned();
            manager.alter_table(dropped).await?;
        }
        Ok(())
    }
}
