//! The schema's version: brought up, taken down, compared with what this program knows. Never touched by
//! the service itself, which only asks.

use actors::store::StoreError;
use migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, Statement};
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{ConnectOptions, Connection};

use super::failure::{of_database, of_driver};
use super::{SqlStore, unbroken};

/// Any number that nothing else in the database locks.
const MIGRATING: i64 = 0x6272_6964_6765;

/// Which changes of the schema the database has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemaStatus {
    /// Changes that it has, in order.
    pub applied: Vec<String>,
    /// Changes that this program knows and the database does not have.
    pub pending: Vec<String>,
    /// Changes that the database has and this program does not know: it is newer.
    pub unknown: Vec<String>,
}

impl SchemaStatus {
    /// Whether this program and the database fit.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`], with the cure, when the schema is newer or older than this program.
    pub fn check(&self) -> Result<(), StoreError> {
        if let Some(newest) = self.unknown.last() {
            return Err(StoreError::Refused(format!(
                "the database has a newer schema than this program: it does not know {newest}; \
                 use the release that wrote it, or a later one"
            )));
        }
        if let Some(next) = self.pending.first() {
            return Err(StoreError::Refused(format!(
                "the database's schema is older than this program: {next} is missing; \
                 `biometric-bridge migrate up` brings it up"
            )));
        }
        Ok(())
    }
}

impl SqlStore {
    /// Which changes of the schema the database has; changes nothing.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn schema_status(&self) -> Result<SchemaStatus, StoreError> {
        let recorded = self.recorded().await?;
        let known: Vec<String> =
            Migrator::migrations().iter().map(|change| change.name().to_owned()).collect();
        let (applied, unknown): (Vec<String>, _) =
            recorded.into_iter().partition(|name| known.contains(name));
        let pending = known.into_iter().filter(|name| !applied.contains(name)).collect();
        Ok(SchemaStatus { applied, pending, unknown })
    }

    /// Makes the changes that are pending. Two processes take turns.
    ///
    /// # Errors
    ///
    /// When the database is newer than this program, away, or refuses a change.
    pub async fn migrate_up(&self) -> Result<SchemaStatus, StoreError> {
        self.migrate(None).await
    }

    /// Takes back the newest `steps` changes, with everything that is in their tables.
    ///
    /// # Errors
    ///
    /// As [`SqlStore::migrate_up`].
    pub async fn migrate_down(&self, steps: u32) -> Result<SchemaStatus, StoreError> {
        self.migrate(Some(steps)).await
    }

    async fn migrate(&self, down: Option<u32>) -> Result<SchemaStatus, StoreError> {
        let lock = match self.pool() {
            Some(pool) => Some(lock(pool).await?),
            None => None,
        };
        let status = self.schema_status().await?;
        if !status.unknown.is_empty() {
            status.check()?;
        }
        let writer = self.writer.clone();
        unbroken(async move {
            let done = match down {
                None => Migrator::up(&writer, None).await,
                Some(steps) => Migrator::down(&writer, Some(steps)).await,
            };
            done.map_err(|error| of_database(&error))
        })
        .await?;
        if let Some(lock) = lock {
            lock.close().await.map_err(|error| of_driver(&error))?;
        }
        self.schema_status().await
    }

    /// Names of the changes that the database has, in order; none when it is empty.
    async fn recorded(&self) -> Result<Vec<String>, StoreError> {
        let backend = self.writer.get_database_backend();
        let exists = if self.is_postgres() {
            "SELECT 1 WHERE to_regclass('seaql_migrations') IS NOT NULL"
        } else {
            "SELECT 1 FROM sqlite_master WHERE name = 'seaql_migrations'"
        };
        let exists = self.writer.query_one_raw(Statement::from_string(backend, exists)).await;
        if exists.map_err(|error| of_database(&error))?.is_none() {
            return Ok(Vec::new());
        }
        let names = "SELECT version FROM seaql_migrations ORDER BY version";
        let names = self.writer.query_all_raw(Statement::from_string(backend, names)).await;
        let names = names.map_err(|error| of_database(&error))?;
        let names = names.iter().map(|row| row.try_get_by_index(0));
        names.collect::<Result<_, _>>().map_err(|error| of_database(&error))
    }
}

/// A connection that holds the lock of migrations for as long as it lives.
async fn lock(pool: &PgPool) -> Result<PgConnection, StoreError> {
    let options = pool.connect_options();
    let mut connection = options.connect().await.map_err(|error| of_driver(&error))?;
    sqlx::query("SELECT pg_advisory_lock($1)")
        .bind(MIGRATING)
        .execute(&mut connection)
        .await
        .map_err(|error| of_driver(&error))?;
    Ok(connection)
}
