//! What only PostgreSQL has: a pool of its own, batches by COPY, and an end for backends that hold a
//! lane. Never leaves a transaction open on a connection that goes back to the pool.

use std::future::Future;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

use actors::rows::Batch;
use actors::store::{CommitError, StoreError};
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection};

use super::Options;
use super::failure::{of_database, of_driver};

mod commit;
mod copy;
pub(super) mod records;
pub(super) mod users;

use commit::{Connections, Done, Places, Prepared};

/// PostgreSQL cuts longer names, and a claim compares them.
const NAME_BYTES_MAX: usize = 63;

/// How long a connection that nobody uses may take for a sign of life.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);

/// A connection that was used so recently is used again without asking: every batch would wait for the answer.
const IN_USE: Duration = Duration::from_secs(1);

/// How often those who hold a lane are looked for again, after the first time.
const AGAIN: Duration = Duration::from_secs(1);

/// A pool that connects when somebody asks for something.
pub(super) fn pool(url: &str, options: &Options) -> Result<PgPool, StoreError> {
    let connect = PgConnectOptions::from_str(url).map_err(|error| of_driver(&error))?;
    let connect = connect
        .application_name(&name(options))
        // Statements are known and errors are logged where they are handled.
        .disable_statement_logging();
    Ok(PgPoolOptions::new()
        .max_connections(options.connections)
        .acquire_timeout(options.acquire_timeout)
        // The pool's own test waits for ever on a connection whose packets vanish.
        .test_before_acquire(false)
        .before_acquire(|connection, its| match its.idle_for < IN_USE {
            true => Box::pin(std::future::ready(Ok(true))),
            false => Box::pin(answers(connection)),
        })
        .after_release(|connection, _| Box::pin(answers(connection)))
        .after_connect(|connection, _| Box::pin(set_up(connection)))
        .connect_lazy_with(connect))
}

/// Whether somebody answers at the other end; an error closes the connection without its goodbye.
async fn answers(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let ping = tokio::time::timeout(SIGN_OF_LIFE, connection.ping()).await;
    ping.map_err(|_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))?.map(|()| true)
}

/// Lets the server notice that we are gone when nothing tells it: after ten seconds of silence it asks, and
/// its backend, with all that it has locked, ends after about ten more. And has it compile nothing: it takes
/// a question about thousands of users for a long one, and compiling takes longer than the answer.
async fn set_up(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    const SETTINGS: &str = "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 3;
        SET tcp_keepalives_count = 3; SET tcp_user_timeout = 20000; SET jit = off";
    sqlx::raw_sql(SETTINGS).execute(connection).await.map(|_| ())
}

fn name(options: &Options) -> String {
    let mut end = options.application_name.len().min(NAME_BYTES_MAX);
    while !options.application_name.is_char_boundary(end) {
        end -= 1;
    }
    options.application_name[..end].to_owned()
}

/// PostgreSQL beyond what the shared code asks of it.
pub(super) struct Postgres {
    pub(super) pool: PgPool,
    commits: Connections,
    places: Places,
    name: String,
    lock_timeout: Duration,
}

impl Postgres {
    pub(super) fn new(pool: PgPool, options: &Options) -> Self {
        let commits = Connections::of(pool.clone(), options.connections);
        let (places, name, lock_timeout) = (Places::default(), name(options), options.lock_timeout);
        Self { pool, commits, places, name, lock_timeout }
    }

    /// The name of our connections.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// How many connections of our name are open on this database, our own among them.
    pub(super) async fn sessions(
        &self,
        connection: &impl ConnectionTrait,
    ) -> Result<i64, StoreError> {
        const SESSIONS: &str = "
            SELECT count(*) FROM pg_stat_activity
            WHERE application_name = $1 AND datname = current_database()";
        let values = [self.name.as_str().into()];
        let question = Statement::from_sql_and_values(DbBackend::Postgres, SESSIONS, values);
        let row = connection.query_one_raw(question).await.map_err(|error| of_database(&error))?;
        let row = row.ok_or_else(|| StoreError::Away("the server did not answer".to_owned()))?;
        row.try_get_by_index(0).map_err(|error| of_database(&error))
    }

    /// Writes a batch in a task of its own, which nobody can stop half way.
    pub(super) async fn commit(&self, batch: &Batch, runtime: &Handle) -> Result<(), CommitError> {
        let mut place = self.places.take(batch.lane.0);
        loop {
            let prepared = Prepared::of(batch, place.take())?;
            let (connections, places) = (self.commits.clone(), self.places.clone());
            match runtime.spawn(commit::run(connections, places, prepared)).await {
                Ok(Ok(Done::Committed)) => return Ok(()),
                // Wherever it may lie now.
                Ok(Ok(Done::Elsewhere)) => {}
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(CommitError::Unknown("the process is going down".to_owned())),
            }
        }
    }

    /// Gives back what is kept of the pool, for it ends.
    pub(super) fn give_back(&self) {
        self.commits.give_back();
    }

    /// Limits how long the transaction waits for a lock; gives the number of its backend.
    pub(super) async fn wait_for_locks(
        &self,
        transaction: &impl ConnectionTrait,
    ) -> Result<i32, StoreError> {
        self.set_lock_timeout(transaction, self.lock_timeout).await?;
        let question = Statement::from_string(DbBackend::Postgres, "SELECT pg_backend_pid()");
        let row = transaction.query_one_raw(question).await.map_err(|error| of_database(&error))?;
        let row = row.ok_or_else(|| StoreError::Away("the server did not answer".to_owned()))?;
        row.try_get_by_index(0).map_err(|error| of_database(&error))
    }

    /// Lets the transaction wait for as long as it may take to end whoever holds what it wants.
    pub(super) async fn let_wait_longer(
        &self,
        transaction: &impl ConnectionTrait,
    ) -> Result<(), StoreError> {
        self.set_lock_timeout(transaction, self.lock_timeout * 5).await
    }

    async fn set_lock_timeout(
        &self,
        transaction: &impl ConnectionTrait,
        timeout: Duration,
    ) -> Result<(), StoreError> {
        let set = format!("SET LOCAL lock_timeout = {}", timeout.as_millis());
        transaction.execute_unprepared(&set).await.map_err(|error| of_database(&error))?;
        Ok(())
    }

    /// Waits for `work`, which runs on the backend numbered `backend`; when it takes longer than the
    /// lock timeout, ends those of our own backends that it waits for. A backend that is stuck in COPY
    /// heeds no other timeout.
    pub(super) async fn ending_blockers_of<T>(
        &self,
        backend: i32,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        tokio::pin!(work);
        let mut patience = self.lock_timeout;
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(patience) => {
                    match self.end_blockers_of(backend).await {
                        Ok(ended) => tracing::warn!(ended, "ended backends that held a lane"),
                        Err(error) => tracing::warn!(%error, "backends that hold a lane stay"),
                    }
                    patience = AGAIN;
                }
            }
        }
    }

    /// Ends, of the backends that `backend` waits for, those with our name that wait for none of our
    /// own themselves: a claim in the queue before us is no ghost, what it waits for may be one.
    async fn end_blockers_of(&self, backend: i32) -> Result<i64, StoreError> {
        const END: &str = "
            WITH RECURSIVE blocker(pid) AS (
                SELECT unnest(pg_blocking_pids($1))
                UNION
                SELECT unnest(pg_blocking_pids(pid)) FROM blocker
            ), ours AS (
                SELECT pid FROM blocker JOIN pg_stat_activity USING (pid)
                WHERE application_name = $2 AND datname = current_database() AND pid <> $1
            )
            SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM ours
            WHERE NOT EXISTS (
                SELECT 1 FROM ours other WHERE other.pid = ANY (pg_blocking_pids(ours.pid)))";
        let options: Arc<PgConnectOptions> = self.pool.connect_options();
        // A connection of its own: the pool's may all be stuck.
        let mut connection = options.connect().await.map_err(|error| of_driver(&error))?;
        let ended = sqlx::query_scalar(END).bind(backend).bind(&self.name);
        let ended = ended.fetch_one(&mut connection).await.map_err(|error| of_driver(&error))?;
        connection.close().await.map_err(|error| of_driver(&error))?;
        Ok(ended)
    }
}
