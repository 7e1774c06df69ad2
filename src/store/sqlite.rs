//! What only SQLite has: one writer, a file that several may read, and batches by inserts in chunks.
//! Never lets two transactions write at once.

use std::str::FromStr;
use std::time::Duration;
use tokio::runtime::Handle;

use actors::rows::Batch;
use actors::store::{CommitError, StoreError};
use sea_orm::DatabaseConnection;
use sqlx::ConnectOptions;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use super::Options;
use super::failure::of_driver;

mod commit;
mod rows;

/// How long one process waits for another's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections for reading and for writing; a data base in memory has one for both.
pub(super) async fn connections(
    url: &str,
    options: &Options,
) -> Result<(DatabaseConnection, DatabaseConnection), StoreError> {
    let connect = SqliteConnectOptions::from_str(url).map_err(|error| of_driver(&error))?;
    let connect = connect
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // What was committed survives a loss of power too.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        // What is deleted is overwritten: a destroyed key must not lie in a free page.
        .pragma("secure_delete", "ON")
        .disable_statement_logging();
    let writer = pool(1, &connect, options).await?;
    let reader = if in_memory(url) {
        writer.clone()
    } else {
        pool(options.connections, &connect, options).await?
    };
    Ok((reader.into(), writer.into()))
}

fn in_memory(url: &str) -> bool {
    url.contains(":memory:") || url.contains("mode=memory")
}

async fn pool(
    connections: u32,
    connect: &SqliteConnectOptions,
    options: &Options,
) -> Result<SqlitePool, StoreError> {
    let pool = SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(options.acquire_timeout)
        // A data base in memory ends with its connection.
        .max_lifetime(None)
        .idle_timeout(None)
        .connect_with(connect.clone());
    pool.await.map_err(|error| of_driver(&error))
}

/// Writes a batch in a task of its own, which nobody can stop half way.
pub(super) async fn commit(
    writer: &DatabaseConnection,
    batch: &Batch,
    runtime: &Handle,
) -> Result<(), CommitError> {
    let prepared = rows::Prepared::of(batch)?;
    match runtime.spawn(commit::run(writer.clone(), prepared)).await {
        Ok(done) => done,
        Err(_) => Err(CommitError::Unknown("the process is going down".to_owned())),
    }
}
