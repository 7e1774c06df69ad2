//! The schema of a key store of its own: brought up, and compared with what this program knows. Never touched where
//! keys lie beside the data.

use actors::lane::UserNumber;
use actors::store::StoreError;
use entities::{encryption_keys, users};
use migration::{KeyMigrator, MigratorTrait};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use sqlx::Connection as _;

use super::failure::{of_database, of_driver};
use super::schema::{SchemaStatus, compared, lock, recorded};
use super::{SqlStore, answered, unbroken};

/// Where its changes are recorded.
const TABLE: &str = "key_store_migrations";

impl SqlStore {
    /// Which changes of a key store's schema the database has; changes nothing.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn key_schema_status(&self) -> Result<SchemaStatus, StoreError> {
        let connection = self.for_schema();
        let recorded = answered(recorded(&connection, TABLE)).await;
        self.give_back(connection).await?;
        Ok(compared(recorded?, known()))
    }

    /// Makes the changes that are pending. Two processes take turns.
    ///
    /// # Errors
    ///
    /// When the database is newer than this program, away, or refuses a change.
    pub async fn migrate_keys_up(&self) -> Result<SchemaStatus, StoreError> {
        let lock = match self.pool() {
            Some(pool) => Some(lock(pool, &self.schema_name()).await?),
            None => None,
        };
        let connection = self.for_schema();
        let own = connection.clone();
        let done = unbroken(async move {
            let before = compared(recorded(&own, TABLE).await?, known());
            if !before.unknown.is_empty() {
                return before.check();
            }
            KeyMigrator::up(&own, None).await.map_err(|error| of_database(&error))
        })
        .await;
        self.give_back(connection).await?;
        if let Some(lock) = lock {
            lock.close().await.map_err(|error| of_driver(&error))?;
        }
        done?;
        self.key_schema_status().await
    }

    /// Whether there are any data keys here, destroyed ones too.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn has_keys(&self) -> Result<bool, StoreError> {
        let one = encryption_keys::Entity::find()
            .select_only()
            .column(encryption_keys::Column::KeyNumber)
            .filter(encryption_keys::Column::UserNumber.gte(0))
            .into_tuple::<i32>()
            .one(&self.writer)
            .await;
        Ok(one.map_err(|error| of_database(&error))?.is_some())
    }

    /// Who came last of those who are not erased.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn newest_user(&self) -> Result<Option<UserNumber>, StoreError> {
        let newest = users::Entity::find()
            .select_only()
            .column(users::Column::UserNumber)
            .filter(users::Column::ErasedAt.is_null())
            .order_by_desc(users::Column::UserNumber)
            .into_tuple::<i64>()
            .one(&self.writer)
            .await;
        Ok(newest.map_err(|error| of_database(&error))?.map(UserNumber))
    }
}

/// The changes that this program knows, in order.
fn known() -> Vec<String> {
    KeyMigrator::migrations().iter().map(|change| change.name().to_owned()).collect()
}
