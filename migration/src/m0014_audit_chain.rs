//! The log of accesses as hash chains: whose chain a row is in, where, its hash and that of the row before.
//! Rows from before keep what they say and are in no chain.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer_null, blob_null, text_null};

/// The change.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const COLUMNS: [&str; 4] = ["writer", "sequence", "previous_hash", "hash"];
const INDEX: &str = "phi_access_log_chain";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let [writer, sequence, previous, hash] = COLUMNS;
        for column in
            [text_null(writer), big_integer_null(sequence), blob_null(previous), blob_null(hash)]
        {
            let added = Table::alter().table("phi_access_log").add_column(column).to_owned();
            manager.alter_table(added).await?;
        }
        let chain = format!(
            "CREATE UNIQUE INDEX {INDEX} ON phi_access_log (writer, sequence)
             WHERE writer IS NOT NULL"
        );
        manager.get_connection().execute_unprepared(&chain).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_index(Index::drop().name(INDEX).table("phi_access_log").to_owned()).await?;
        for column in COLUMNS {
            let dropped = Table::alter().table("phi_access_log").drop_column(column).to_owned();
            manager.alter_table(dropped).await?;
        }
        Ok(())
    }
}
