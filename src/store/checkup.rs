//! What an operator asks of a database before the service runs: which it is, what it has, and whether it
//! lets us write. Leaves nothing behind.

use std::path::PathBuf;
use std::str::FromStr;

use actors::store::StoreError;
use sqlx::postgres::{PgConnectOptions, PgPool, PgRow};
use sqlx::{Executor as _, Row as _};

use super::SqlStore;
use super::failure::of_driver;

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorePlace {
    /// A server on the network.
    Server {
        /// Its name or address.
        host: String,
        /// Its port.
        port: u16,
    },
    /// A server behind a socket in this folder.
    Socket(PathBuf),
    /// A file.
    File(PathBuf),
}

/// Where the store at `url` is.
///
/// # Errors
///
/// When the URL cannot be read.
pub fn place(url: &str) -> Result<StorePlace, StoreError> {
    if let Some(file) = url.strip_prefix("sqlite:") {
        let file = file.split('?').next().unwrap_or_default();
        return Ok(StorePlace::File(file.trim_start_matches("//").into()));
    }
    let options = PgConnectOptions::from_str(url).map_err(|error| of_driver(&error))?;
    Ok(match options.get_socket() {
        Some(folder) => StorePlace::Socket(folder.clone()),
        None if options.get_host().starts_with('/') => {
            StorePlace::Socket(options.get_host().into())
        }
        None => {
            StorePlace::Server { host: options.get_host().to_owned(), port: options.get_port() }
        }
    })
}

/// What a PostgreSQL server says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkup {
    /// Its version, such as 150004 for 15.4.
    pub version: i32,
    /// The same in words.
    pub version_text: String,
    /// It takes no writes: a replica, or told so.
    pub is_read_only: bool,
    /// The version of TimescaleDB in this database, if it is there.
    pub timescale: Option<String>,
    /// The server could have TimescaleDB.
    pub timescale_offered: bool,
    /// The table of lanes is there …
    pub has_lanes: bool,
    /// … and may be written.
    pub may_write_lanes: bool,
}

/// `version()` may be long; the setting is what people know.
const CHECKUP: &str = "
    SELECT current_setting('server_version_num')::int, current_setting('server_version'),
        pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on',
        (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'),
        EXISTS (SELECT 1 FROM pg_available_extensions WHERE name = 'timescaledb'),
        to_regclass('lanes') IS NOT NULL,
        coalesce(has_table_privilege(to_regclass('lanes'), 'SELECT')
            AND has_table_privilege(to_regclass('lanes'), 'INSERT')
            AND has_table_privilege(to_regclass('lanes'), 'UPDATE'), FALSE)";

impl SqlStore {
    /// What the server says of itself; `None` on SQLite.
    ///
    /// # Errors
    ///
    /// When the server is away, or refuses us.
    pub async fn checkup(&self) -> Result<Option<Checkup>, StoreError> {
        let Some(pool) = self.pool() else { return Ok(None) };
        let row = sqlx::query(CHECKUP).fetch_one(pool).await.map_err(|error| of_driver(&error))?;
        checkup_of(&row).map(Some).map_err(|error| of_driver(&error))
    }

    /// Makes a temporary table, writes to it and forgets it.
    ///
    /// # Errors
    ///
    /// When that is not allowed.
    pub async fn try_to_write(&self) -> Result<(), StoreError> {
        let Some(pool) = self.pool() else { return Ok(()) };
        write(pool).await.map_err(|error| of_driver(&error))
    }
}

fn checkup_of(row: &PgRow) -> Result<Checkup, sqlx::Error> {
    Ok(Checkup {
        version: row.try_get(0)?,
        version_text: row.try_get(1)?,
        is_read_only: row.try_get(2)?,
        timescale: row.try_get(3)?,
        timescale_offered: row.try_get(4)?,
        has_lanes: row.try_get(5)?,
        may_write_lanes: row.try_get(6)?,
    })
}

async fn write(pool: &PgPool) -> Result<(), sqlx::Error> {
    let mut transaction = pool.begin().await?;
    transaction.execute("CREATE TEMPORARY TABLE checkup (number int) ON COMMIT DROP").await?;
    transaction.execute("INSERT INTO checkup VALUES (1)").await?;
    transaction.rollback().await
}
