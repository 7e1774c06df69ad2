//! One connection to PostgreSQL, without an async runtime around it.

use anyhow::Context as _;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection as _, Row as _};
use tokio::runtime::Runtime;

pub(super) struct Database {
    runtime: Runtime,
    connection: PgConnection,
}

impl Database {
    pub(super) fn connect(url: &str) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let connection = runtime.block_on(PgConnection::connect(url))?;
        Ok(Self { runtime, connection })
    }

    /// Makes a database beside the one connected to.
    pub(super) fn create(url: &str, name: &str) -> anyhow::Result<()> {
        Self::connect(url)?.run(&format!("CREATE DATABASE {name}"))
    }

    pub(super) fn run(&mut self, sql: &str) -> anyhow::Result<()> {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        let done = self.runtime.block_on(sqlx::raw_sql(sql).execute(&mut self.connection));
        done.map(|_| ()).context("PostgreSQL")
    }

    /// The numbers of one row.
    pub(super) fn numbers(&mut self, sql: &str) -> anyhow::Result<Vec<i64>> {
        let asked = sqlx::query(sqlx::AssertSqlSafe(sql.to_owned()));
        let row: PgRow = self.runtime.block_on(asked.fetch_one(&mut self.connection))?;
        (0..row.len()).map(|column| Ok(row.try_get::<i64, _>(column)?)).collect()
    }

    /// One number.
    pub(super) fn number(&mut self, sql: &str) -> anyhow::Result<i64> {
        self.numbers(sql)?.first().copied().context("no column")
    }

    /// One COPY FROM STDIN, committed; gives how many rows there were.
    pub(super) fn copy_in(&mut self, sql: &str, bytes: &[u8]) -> anyhow::Result<u64> {
        const PIECE: usize = 128 * 1024;
        let Self { runtime, connection } = self;
        runtime.block_on(async {
            let mut copy = connection.copy_in_raw(sql).await?;
            for piece in bytes.chunks(PIECE) {
                copy.send(piece).await?;
            }
            Ok(copy.finish().await?)
        })
    }

    /// All that COPY TO STDOUT gives.
    pub(super) fn copy_out(&mut self, sql: &str) -> anyhow::Result<Vec<u8>> {
        use futures_util::TryStreamExt as _;
        let Self { runtime, connection } = self;
        runtime.block_on(async {
            let mut pieces = connection.copy_out_raw(sql).await?;
            let mut bytes = Vec::new();
            while let Some(piece) = pieces.try_next().await? {
                bytes.extend_from_slice(&piece);
            }
            Ok(bytes)
        })
    }
}
