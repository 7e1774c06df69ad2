//! What commands need that ask servers once: a runtime, the store, the keys.

use std::future::Future;
use std::sync::Arc;

use actors::store::StoreError;

use super::failure::Failure;
use crate::app::keys::{key_encryptions, key_file, keys_are_moved, keys_belong, open_key_store};
use crate::app::{StoredKeys, store_options};
use crate::seal::key_ring::StoredKeyRing;
use crate::settings::Settings;
use crate::store::{Access, Administration as _, SqlStore};

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Away(_) | StoreError::NotYet(_) => Self::Unavailable(error.to_string()),
            StoreError::Denied(_) => Self::Broken(error.to_string()),
            StoreError::Refused(problem) | StoreError::Outdated(problem) => Self::Broken(problem),
        }
    }
}

/// Runs a command that waits for servers.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Broken(error.to_string()))?;
    let done = tokio::task::LocalSet::new().block_on(&runtime, work);
    // Whoever still resolves a name or waits for a broker is not waited for.
    runtime.shutdown_background();
    done
}

/// Opens the store, whatever its schema.
pub(super) async fn store(settings: &Settings) -> Result<Arc<SqlStore>, Failure> {
    Ok(crate::store::open(settings.store.url.expose(), &store_options(settings)).await?)
}

/// Opens the store, whose schema must be this program's.
pub(super) async fn checked_store(settings: &Settings) -> Result<Arc<SqlStore>, Failure> {
    let store = store(settings).await?;
    store.schema_status().await?.check()?;
    Ok(store)
}

/// The store, and the keys to what is in it.
pub(super) struct Opened {
    pub(super) store: Arc<SqlStore>,
    /// Where the keys are, often the same.
    pub(super) key_store: Arc<SqlStore>,
    pub(super) keys: Arc<StoredKeyRing>,
}

/// How long connections are given to end: nothing is under way any more, and one that says nothing would keep a command
/// from its end.
const GOODBYE: std::time::Duration = std::time::Duration::from_secs(3);

impl Opened {
    /// Ends all connections: a command that simply ends would leave them to time out.
    pub(super) async fn close(&self) {
        close(&self.store).await;
        if !Arc::ptr_eq(&self.store, &self.key_store) {
            close(&self.key_store).await;
        }
    }
}

/// Opens the store, and the keys to what is in it.
pub(super) async fn store_with_keys(settings: &Settings) -> Result<Opened, Failure> {
    let encryptions = key_file(settings).and_then(|key_file| {
        key_encryptions(settings, key_file, &tokio::runtime::Handle::current())
    });
    let encryptions = encryptions.map_err(Failure::Broken)?;
    let store = checked_store(settings).await?;
    let key_store = checked_key_store(settings, &store).await?;
    keys_belong(&store, &key_store).await?;
    let keys = StoredKeys::new(Arc::clone(&key_store), tokio::runtime::Handle::current());
    let keys = Arc::new(StoredKeyRing::new(Arc::new(keys), encryptions));
    Ok(Opened { store, key_store, keys })
}

/// Opens where the keys are, whose schema must be this program's.
pub(super) async fn checked_key_store(
    settings: &Settings,
    store: &Arc<SqlStore>,
) -> Result<Arc<SqlStore>, Failure> {
    let key_store = open_key_store(settings, store).await?;
    if settings.keys.url.is_some() {
        key_store.key_schema_status().await?.check()?;
        keys_are_moved(store).await?;
    }
    Ok(key_store)
}

/// Writes down who looks at what, before it is shown.
pub(super) async fn log_access(
    store: &SqlStore,
    what: &'static str,
    user_id: Option<&str>,
    records: i64,
) -> Result<(), Failure> {
    let user_id = user_id.map(str::to_owned);
    Ok(store.log_access(&Access { user_id, ..access("EXPORT", what, records) }).await?)
}

/// The same of one record that has a name.
pub(super) async fn log_access_to(
    store: &SqlStore,
    what: &'static str,
    user_id: Option<&str>,
    record_id: &str,
) -> Result<(), Failure> {
    let (user_id, record_id) = (user_id.map(str::to_owned), Some(record_id.to_owned()));
    Ok(store.log_access(&Access { user_id, record_id, ..access("EXPORT", what, 1) }).await?)
}

/// Writes down that a person is erased or readmitted, before it is done.
pub(super) async fn log_erasure(
    store: &SqlStore,
    what: &'static str,
    user_id: &str,
) -> Result<(), Failure> {
    let user_id = Some(user_id.to_owned());
    Ok(store.log_access(&Access { user_id, ..access(what, "users", 1) }).await?)
}

/// Writes down what is done with data keys, before it is done.
pub(super) async fn log_use_of_keys(
    store: &SqlStore,
    what: &'static str,
    keys: i64,
) -> Result<(), Failure> {
    Ok(store.log_access(&access(what, "encryption_keys", keys)).await?)
}

/// Writes down how users are to find their homes, before it is changed.
pub(super) async fn log_change_of_topics(store: &SqlStore, how: String) -> Result<(), Failure> {
    let change = access("CONFIGURE", "routing", 0);
    Ok(store.log_access(&Access { record_id: Some(how), ..change }).await?)
}

/// An access of whoever gave the command, now.
fn access(kind: &str, table: &str, records: i64) -> Access {
    Access {
        user_id: None,
        accessor_id: format!("command line/{}", whoami()),
        access_type: kind.to_owned(),
        table_name: table.to_owned(),
        record_id: None,
        records,
        time: crate::app::now(),
    }
}

/// The user of the operating system, by number: names may be anything in a container.
pub(super) fn whoami() -> String {
    let name = std::env::var("USER").unwrap_or_default();
    let number = rustix::process::getuid().as_raw();
    format!("uid {number} {}", crate::telemetry::escaped(&name)).trim_end().to_owned()
}

/// Ends the store's connections: a command that simply ends would leave them to time out.
pub(super) async fn close(store: &SqlStore) {
    tokio::time::timeout(GOODBYE, store.close()).await.ok();
}
