//! Whose turn it is to keep house, of all the processes that share a database. Never waited for: who finds it
//! taken has nothing to do.

use actors::store::StoreError;
use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions, Connection};

use super::failure::of_driver;
use super::{SqlStore, answered};

/// Any number that nothing else in the database locks.
const KEEPING_HOUSE: i64 = 0x68_6f75_7365;

/// The turn; it ends with the connection that holds it, at the latest with the process.
pub struct Turn {
    /// `None` on SQLite, whose file one process has.
    connection: Option<PgConnection>,
}

impl SqlStore {
    /// Takes the turn; `None` when another process has it.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn take_turn(&self) -> Result<Option<Turn>, StoreError> {
        let Some(pool) = self.pool() else { return Ok(Some(Turn { connection: None })) };
        let options = pool.connect_options();
        let (connection, taken) = answered(async {
            let mut connection = options.connect().await.map_err(|error| of_driver(&error))?;
            let taken: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
                .bind(KEEPING_HOUSE)
                .fetch_one(&mut connection)
                .await
                .map_err(|error| of_driver(&error))?;
            Ok((connection, taken))
        })
        .await?;
        let turn = Turn { connection: Some(connection) };
        if taken {
            return Ok(Some(turn));
        }
        turn.end().await?;
        Ok(None)
    }
}

impl Turn {
    /// Gives it to others.
    ///
    /// # Errors
    ///
    /// When the store is away: then it has ended.
    pub async fn end(self) -> Result<(), StoreError> {
        let Some(mut connection) = self.connection else { return Ok(()) };
        // The server would give it back by itself, a while after the connection has ended.
        let unlock = sqlx::query("SELECT pg_advisory_unlock($1)").bind(KEEPING_HOUSE);
        unlock.execute(&mut connection).await.map_err(|error| of_driver(&error))?;
        connection.close().await.map_err(|error| of_driver(&error))
    }
}
