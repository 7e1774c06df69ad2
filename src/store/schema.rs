//! The schema's version: brought up, taken down, compared with what this program knows. Never touched by
//! the service itself, which only asks.

use std::time::Duration;

use actors::store::StoreError;
use entities::lanes;
use migration::{Migrator, MigratorTrait};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseConnection, DbBackend, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect, Statement,
};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection};

use super::failure::{of_database, of_driver};
use super::progress::fresh_token;
use super::{SqlStore, answered, unbroken};

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
        let connection = self.for_schema();
        let status = answered(status(&connection)).await;
        self.give_back(connection).await?;
        status
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
            Some(pool) => Some(lock(pool, &self.schema_name()).await?),
            None => None,
        };
        let connection = self.for_schema();
        let migrated = self.migrate_on(&connection, down).await;
        self.give_back(connection).await?;
        if let Some(lock) = lock {
            lock.close().await.map_err(|error| of_driver(&error))?;
        }
        migrated
    }

    async fn migrate_on(
        &self,
        connection: &DatabaseConnection,
        down: Option<u32>,
    ) -> Result<SchemaStatus, StoreError> {
        let before = status(connection).await?;
        if !before.unknown.is_empty() {
            before.check()?;
        }
        if down.is_none() && before.pending.iter().any(|change| ALONE.contains(&change.as_str())) {
            self.be_alone(connection, &before).await?;
        }
        let own = connection.clone();
        unbroken(async move {
            let done = match down {
                None => Migrator::up(&own, None).await,
                Some(steps) => Migrator::down(&own, Some(steps)).await,
            };
            done.map_err(|error| of_database(&error))
        })
        .await?;
        let after = status(connection).await?;
        if after.applied.len() > before.applied.len() {
            fence_off(connection).await?;
        }
        Ok(after)
    }

    /// Refuses while other processes of ours are connected, of which each may be an instance that owns lanes.
    /// A lane's row cannot tell: its owner may be dead, and there is no lease. A database in which no lane was
    /// ever claimed has no instance.
    async fn be_alone(
        &self,
        connection: &DatabaseConnection,
        before: &SchemaStatus,
    ) -> Result<(), StoreError> {
        if before.applied.is_empty() || !was_claimed(connection).await? {
            return Ok(());
        }
        match self.others(connection).await? {
            None => Ok(()),
            Some(others) => Err(StoreError::Refused(format!(
                "{others} are open on this database, and {} can be made only when no instance runs: an older \
                 one would go on writing as the schema was before; stop all of them, then `biometric-bridge \
                 migrate up`",
                ALONE.join(", ")
            ))),
        }
    }

    /// Refuses while other processes of ours are connected, of which each may be an instance.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] then; else when the store is away.
    pub async fn no_instance_runs(&self) -> Result<(), StoreError> {
        let connection = self.for_schema();
        let others = self.others(&connection).await;
        self.give_back(connection).await?;
        match others? {
            None => Ok(()),
            Some(others) => Err(StoreError::Refused(format!(
                "{others} are open on this database, and this can be done only when no instance runs; stop \
                 all of them first"
            ))),
        }
    }

    /// The connections of other processes of ours, in words, if there are any.
    async fn others(&self, connection: &DatabaseConnection) -> Result<Option<String>, StoreError> {
        let Some(postgres) = &self.postgres else { return Ok(None) };
        let mut others = 0;
        for _ in 0..SESSIONS_LINGER {
            let sessions = postgres.sessions(connection).await?;
            others = sessions - i64::from(postgres.pool.size());
            if others <= 0 {
                return Ok(None);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(Some(format!("{others} connections of other processes of `{}`", postgres.name())))
    }

    /// A connection for the schema alone. Its name is another than that of the instances' connections, so
    /// that processes which wait for their turn to migrate are not taken for instances.
    pub(super) fn for_schema(&self) -> DatabaseConnection {
        let Some(pool) = self.pool() else { return self.writer.clone() };
        let options = PgConnectOptions::clone(&pool.connect_options());
        let options = options.application_name(&self.schema_name());
        let waits = pool.options().get_acquire_timeout();
        let one = PgPoolOptions::new().max_connections(1).acquire_timeout(waits);
        DatabaseConnection::from(one.connect_lazy_with(options))
    }

    pub(super) fn schema_name(&self) -> String {
        let name = self.postgres.as_ref().map_or("", |postgres| postgres.name());
        format!("{name}/schema")
    }

    pub(super) async fn give_back(&self, connection: DatabaseConnection) -> Result<(), StoreError> {
        if self.is_postgres() {
            connection.close().await.map_err(|error| of_database(&error))?;
        }
        Ok(())
    }
}

/// Changes that no older release may run beside: it would write what they do not allow for.
const ALONE: [&str; 1] = ["m0011_chain"];

/// How often other processes' connections are looked for, and how many times: one that was closed lingers.
const LOOK_EVERY: Duration = Duration::from_millis(200);
const SESSIONS_LINGER: usize = 10;

async fn status(connection: &DatabaseConnection) -> Result<SchemaStatus, StoreError> {
    let recorded = recorded(connection, "seaql_migrations").await?;
    Ok(compared(recorded, known()))
}

/// What is recorded beside what is known.
pub(super) fn compared(recorded: Vec<String>, known: Vec<String>) -> SchemaStatus {
    let (applied, unknown): (Vec<String>, _) =
        recorded.into_iter().partition(|name| known.contains(name));
    let pending = known.into_iter().filter(|name| !applied.contains(name)).collect();
    SchemaStatus { applied, pending, unknown }
}

/// A process that runs must not take a lane once the schema has gone on without it.
///
/// # Errors
///
/// [`StoreError::Outdated`] then.
pub(super) async fn not_outdated(connection: &impl ConnectionTrait) -> Result<(), StoreError> {
    let known = known();
    let recorded = recorded(connection, "seaql_migrations").await?;
    let newer = recorded.into_iter().find(|name| !known.contains(name));
    newer.map_or(Ok(()), |newer| {
        Err(StoreError::Outdated(format!(
            "the database has a newer schema than this program: it does not know {newer}; the release \
             that wrote it, or a later one, goes on"
        )))
    })
}

/// The changes that this program knows, in order.
fn known() -> Vec<String> {
    Migrator::migrations().iter().map(|change| change.name().to_owned()).collect()
}

/// Whether an instance has ever had a lane.
async fn was_claimed(connection: &DatabaseConnection) -> Result<bool, StoreError> {
    let claimed = lanes::Entity::find()
        .select_only()
        .column(lanes::Column::Lane)
        .filter(lanes::Column::ClaimedAt.is_not_null())
        .into_tuple::<i32>()
        .one(connection)
        .await;
    Ok(claimed.map_err(|error| of_database(&error))?.is_some())
}

/// Every lane gets a token that nobody has: whoever owned one under the schema before has to claim it anew,
/// and a release that does not know the schema is told so then.
async fn fence_off(connection: &DatabaseConnection) -> Result<(), StoreError> {
    let lanes = lanes::Entity::find()
        .select_only()
        .column(lanes::Column::Lane)
        .order_by_asc(lanes::Column::Lane)
        .into_tuple::<i32>()
        .all(connection)
        .await
        .map_err(|error| of_database(&error))?;
    for lane in lanes {
        lanes::Entity::update_many()
            .col_expr(lanes::Column::FenceToken, Expr::value(fresh_token().0))
            .filter(lanes::Column::Lane.eq(lane))
            .exec(connection)
            .await
            .map_err(|error| of_database(&error))?;
    }
    Ok(())
}

/// Names of the changes that the database has, in order; none when it is empty. They are recorded in `table`.
pub(super) async fn recorded(
    connection: &impl ConnectionTrait,
    table: &'static str,
) -> Result<Vec<String>, StoreError> {
    let backend = connection.get_database_backend();
    let exists = match backend {
        DbBackend::Postgres => format!("SELECT 1 WHERE to_regclass('{table}') IS NOT NULL"),
        _ => format!("SELECT 1 FROM sqlite_master WHERE name = '{table}'"),
    };
    let exists = connection.query_one_raw(Statement::from_string(backend, exists)).await;
    if exists.map_err(|error| of_database(&error))?.is_none() {
        return Ok(Vec::new());
    }
    let names = format!("SELECT version FROM {table} ORDER BY version");
    let names = connection.query_all_raw(Statement::from_string(backend, names)).await;
    let names = names.map_err(|error| of_database(&error))?;
    let names = names.iter().map(|row| row.try_get_by_index(0));
    names.collect::<Result<_, _>>().map_err(|error| of_database(&error))
}

/// A connection that holds the lock of migrations for as long as it lives.
pub(super) async fn lock(pool: &PgPool, name: &str) -> Result<PgConnection, StoreError> {
    let options = PgConnectOptions::clone(&pool.connect_options()).application_name(name);
    let mut connection = options.connect().await.map_err(|error| of_driver(&error))?;
    sqlx::query("SELECT pg_advisory_lock($1)")
        .bind(MIGRATING)
        .execute(&mut connection)
        .await
        .map_err(|error| of_driver(&error))?;
    Ok(connection)
}
