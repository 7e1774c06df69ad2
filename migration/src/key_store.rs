//! The schema of a key store of its own: the same table of keys, and nothing else. Only ever added to, as the
//! schema of the data is.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, blob, integer, text, timestamp_with_time_zone, timestamp_with_time_zone_null,
};

use crate::backend::now;

/// All changes of a key store, in order. They are recorded apart from those of the data, for both may lie in
/// one database.
pub struct KeyMigrator;

impl MigratorTrait for KeyMigrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(Keys)]
    }

    fn migration_table_name() -> DynIden {
        Alias::new("key_store_migrations").into_iden()
    }
}

struct Keys;

impl MigrationName for Keys {
    fn name(&self) -> &'static str {
        "k0001_encryption_keys"
    }
}

const TABLE: &str = "encryption_keys";

#[async_trait::async_trait]
impl MigrationTrait for Keys {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut table = Table::create();
        table
            .table(TABLE)
            .col(text("key_id"))
            .col(big_integer("user_number"))
            .col(integer("key_number"))
            .col(blob("encrypted_key"))
            .col(text("wrapped_by"))
            .col(timestamp_with_time_zone("created_at").default(now(manager)))
            .col(timestamp_with_time_zone_null("retired_at"))
            .col(timestamp_with_time_zone_null("destroyed_at"))
            .col(big_integer("sealed_before").default(0))
            .primary_key(Index::create().col("user_number").col("key_number"));
        manager.create_table(table.to_owned()).await?;
        let connection = manager.get_connection();
        let destroyed = format!(
            "CREATE INDEX encryption_keys_destroyed ON {TABLE} (user_number)
             WHERE destroyed_at IS NOT NULL"
        );
        connection.execute_unprepared(&destroyed).await.map(|_| ())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(TABLE).to_owned()).await
    }
}
