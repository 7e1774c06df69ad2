//! The store on PostgreSQL (with TimescaleDB when it is there) or SQLite; the only place that speaks
//! SQL. It never decides anything, and no error text of it holds a value.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use actors::rows::Sink;
use actors::store::StoreError;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, SqliteTransactionMode,
    TransactionOptions, TransactionTrait,
};
use sqlx::postgres::PgPool;
use tokio::runtime::Handle;

mod accesses;
mod administration;
mod alerts;
mod audited;
mod checkup;
mod claim;
mod coach;
mod erasure;
mod expansion;
mod export;
mod failure;
mod gaps;
mod generation;
mod instant;
mod key_life;
mod key_move;
mod key_schema;
mod keys;
mod lease;
mod locks;
mod operators;
mod port;
mod postgres;
mod progress;
mod read;
mod retention;
mod schema;
mod sqlite;
mod tickets;
mod turn;

pub use accesses::{StoredAccess, Unchained};
pub use administration::{Access, Administration, Totals};
pub use alerts::OpenAlert;
pub use audited::Audited;
pub use checkup::{Checkup, StorePlace, place};
pub use coach::{
    Calls, CallsMax, NewCoachMessage, Permission, StoredCoachMessage, Untold, UntoldChange,
};
pub use erasure::{Left, SealedLetter, Swept};
pub use expansion::Expanded;
pub use export::{AskedAbout, LaneRow, StoredAlert, StoredTransition};
pub use gaps::StoredGap;
pub use generation::Adoption;
pub use key_life::{KeyFact, KeyUse};
pub use keys::WrappedKey;
pub use lease::Lease;
pub use operators::{LetterEntry, LetterFilter, QuarantinedUser};
pub use read::{LeavingMessage, LeavingRow, UserMark};
pub use retention::{NewBase, Span, Upto};
pub use schema::SchemaStatus;
pub use turn::Turn;

use accesses::OwnChain;
use failure::of_database;
use postgres::Postgres;

/// How long the server may take for an answer that a lane waits for: a network that swallows packets says
/// nothing at all. A claim that ends a predecessor needs some seconds; with thirty more than the session
/// timeout everything must be read again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
const NO_ANSWER: &str = "the server did not answer within 20 s";

/// How the store is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Names our connections on the server. A claim ends only connections of this name, so all
    /// processes of a deployment share it.
    pub application_name: String,
    /// Connections at most.
    pub connections: u32,
    /// How long a claim waits for the lane's row before it ends whoever holds it.
    pub lock_timeout: Duration,
    /// How long to wait for a connection.
    pub acquire_timeout: Duration,
    /// Whose chain the accesses go into that are written down here: one that only this process has, or one
    /// that processes share.
    pub writer: String,
    /// Who takes the outbox: what one of them has not taken stays, and keeps partitions from being added.
    pub sinks: Vec<Sink>,
}

/// The chain of all that commands show.
pub const COMMAND_LINE: &str = "command-line";

impl Default for Options {
    fn default() -> Self {
        Self {
            application_name: "biometric-bridge".to_owned(),
            connections: 8,
            lock_timeout: Duration::from_secs(3),
            acquire_timeout: Duration::from_secs(5),
            writer: COMMAND_LINE.to_owned(),
            sinks: Sink::TOPICS.to_vec(),
        }
    }
}

/// The store.
///
/// Reads and rare writes are the same code for both databases; what differs is how a batch is
/// written (PostgreSQL copies, SQLite inserts) and how a claim deals with a lane that is held.
#[derive(Clone)]
pub struct SqlStore {
    /// Where its connections live.
    runtime: Handle,
    reader: DatabaseConnection,
    writer: DatabaseConnection,
    /// What only PostgreSQL has; `None` on SQLite.
    postgres: Option<Arc<Postgres>>,
    own_chain: Arc<OwnChain>,
    audited: Arc<Audited>,
    sinks: Arc<[Sink]>,
}

/// Opens the store at `url`: `postgresql://…`, `postgres://…`, `sqlite:path` or `sqlite::memory:`.
///
/// Its connections live on the runtime that this is called on. A PostgreSQL server need not be there
/// yet: whoever asks for something is told so.
///
/// # Errors
///
/// When the URL cannot be read, or a SQLite file cannot be opened.
pub async fn open(url: &str, options: &Options) -> Result<Arc<SqlStore>, StoreError> {
    let runtime = Handle::current();
    let (own_chain, audited) = (Arc::new(OwnChain::of(options)), Arc::default());
    let sinks = options.sinks.clone().into();
    let (reader, writer, postgres) =
        if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            let pool = postgres::pool(url, options)?;
            let connection = DatabaseConnection::from(pool.clone());
            (connection.clone(), connection, Some(Arc::new(Postgres::new(pool, options))))
        } else if url.starts_with("sqlite:") {
            let (reader, writer) = sqlite::connections(url, options).await?;
            (reader, writer, None)
        } else {
            return Err(StoreError::Refused(
                "the store's URL begins with neither `postgresql:` nor `sqlite:`".to_owned(),
            ));
        };
    Ok(Arc::new(SqlStore { runtime, reader, writer, postgres, own_chain, audited, sinks }))
}

impl SqlStore {
    /// Ends all connections, once what is under way is done.
    pub async fn close(&self) {
        if let Some(postgres) = &self.postgres {
            postgres.give_back();
        }
        for connection in [&self.reader, &self.writer] {
            if let Err(error) = connection.close_by_ref().await {
                tracing::debug!(error = %of_database(&error), "a connection did not end cleanly");
            }
        }
    }

    /// The writer of our own chain in the log of accesses.
    pub fn own_writer(&self) -> &str {
        self.own_chain.writer()
    }

    /// What this process has added to the log of accesses.
    pub fn audited(&self) -> &Arc<Audited> {
        &self.audited
    }

    fn is_postgres(&self) -> bool {
        self.postgres.is_some()
    }

    fn pool(&self) -> Option<&PgPool> {
        self.postgres.as_ref().map(|postgres| &postgres.pool)
    }
}

/// Begins a transaction that writes. On SQLite it takes the file's one write lock at once: a
/// transaction that reads first and writes later can be told that it came too late.
async fn begin(connection: &DatabaseConnection) -> Result<DatabaseTransaction, StoreError> {
    let options = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    connection.begin_with_options(options).await.map_err(|error| of_database(&error))
}

/// The database's own clock, as an expression.
fn now(connection: &impl ConnectionTrait) -> &'static str {
    match connection.get_database_backend() {
        DbBackend::Postgres => "now()",
        _ => "strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')",
    }
}

/// The answer to `work`, if it comes in time. What is given up lets its connection go.
pub(crate) async fn answered<T, E: From<StoreError>>(
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, work).await;
    answer.unwrap_or_else(|_| Err(StoreError::Away(NO_ANSWER.to_owned()).into()))
}

/// Runs a transaction in a task of its own, to its end, whatever becomes of the caller: a transaction
/// whose future is dropped half way can stay open on a connection that goes back to the pool, and
/// takes the next writes on it down with it.
async fn unbroken<T: Send + 'static>(
    work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::spawn(work).await {
        Ok(done) => done,
        Err(_) => Err(StoreError::Away("the process is going down".to_owned())),
    }
}
