//! Empty databases with the schema in them, one for each test.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::servers::Servers;
use biometric_bridge::store::{Options, SqlStore, open};
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, QueryResult, Statement};

/// A store of its own, and a way round it.
pub(crate) struct Place {
    pub(crate) store: Arc<SqlStore>,
    pub(crate) url: String,
    /// Keeps the folder of a SQLite file.
    _folder: Option<tempfile::TempDir>,
}

impl Place {
    async fn new(url: String, folder: Option<tempfile::TempDir>) -> Self {
        let store = open(&url, &Options::default()).await.expect("the store opens");
        store.migrate_up().await.expect("the schema is brought up");
        Self { store, url, _folder: folder }
    }

    /// A connection that knows nothing of the store.
    pub(crate) async fn outside(&self) -> DatabaseConnection {
        Database::connect(&self.url).await.expect("the database answers")
    }

    /// Runs a statement past the store.
    pub(crate) async fn run(&self, sql: &str) {
        self.outside().await.execute_unprepared(sql).await.expect("the statement runs");
    }

    /// Rows of a query past the store.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<QueryResult> {
        let outside = self.outside().await;
        let query = Statement::from_string(outside.get_database_backend(), sql);
        outside.query_all_raw(query).await.expect("the query runs")
    }

    /// How many rows a table or view has.
    pub(crate) async fn count(&self, table: &str) -> i64 {
        let rows = self.rows(&format!("SELECT count(*) FROM {table}")).await;
        rows[0].try_get_by_index(0).expect("a count is a number")
    }

    pub(crate) fn is_postgres(&self) -> bool {
        self.url.starts_with("postgres")
    }
}

pub(crate) async fn sqlite() -> Place {
    let folder = tempfile::tempdir().expect("a folder for the file");
    let url = format!("sqlite:{}", folder.path().join("store.db").display());
    Place::new(url, Some(folder)).await
}

/// `None`, said aloud, where there is no server.
pub(crate) async fn postgres() -> Option<Place> {
    if !Servers::available() {
        return None;
    }
    Some(Place::new(Servers::shared().postgres.database(), None).await)
}

/// The same with TimescaleDB.
pub(crate) async fn timescale() -> Option<Place> {
    on_server("BRIDGE_TEST_TIMESCALE_URL").await
}

/// A database of its own on the server that `variable` names.
async fn on_server(variable: &str) -> Option<Place> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let Some(server) = server(variable) else {
        #[expect(clippy::print_stderr, reason = "a test that did not run says so")]
        {
            eprintln!("{variable} is not set: nothing was tested there");
        }
        return None;
    };
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("store_{}_{number}", std::process::id());
    let admin = Database::connect(&server).await.expect("the server answers");
    for sql in [format!("DROP DATABASE IF EXISTS {name}"), format!("CREATE DATABASE {name}")] {
        admin.execute_unprepared(&sql).await.expect("a database is made");
    }
    let end = server.rfind('/').expect("the URL names a database");
    Some(Place::new(format!("{}/{name}", &server[..end]), None).await)
}

/// Where a server for tests is.
fn server(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|url| !url.is_empty())
}
