//! Wrapped keys in the table `encryption_keys`.

use std::future::Future;
use std::sync::Arc;

use actors::lane::UserNumber;
use actors::store::StoreError;
use async_trait::async_trait;
use tokio::runtime::Handle;

use crate::seal::file_encryption::FileEncryption;
use crate::seal::key_encryption::{KeyEncryption, KeyEncryptions};
use crate::seal::key_file::KeyFile;
use crate::seal::key_ring::{SERVICE, WrappedKey, WrappedKeys};
use crate::settings::{KeyWrapper, Settings};
use crate::store::{self, Administration as _, SqlStore};
use crate::telemetry::UNFINISHED;
use crate::vault::Vault;

use super::store_options;

/// The key file that the settings name, if they name one.
///
/// # Errors
///
/// One sentence with the cure: there must be a key file unless Vault wraps, and it must be one.
pub(crate) fn key_file(settings: &Settings) -> Result<Option<KeyFile>, String> {
    match &settings.keys.file {
        Some(path) => KeyFile::read(path).map(Some).map_err(|error| error.to_string()),
        None if settings.keys.wrapper == KeyWrapper::Vault => Ok(None),
        None => Err(
            "there is no key file, and health data is stored sealed or not at all; name it with KEY_FILE. For a \
             new installation `biometric-bridge keys generate --output keys.txt` makes one: keep a copy apart \
             from the database"
                .to_owned(),
        ),
    }
}

/// What wraps data keys by the settings, and what unwraps them beside it. Vault is asked on `runtime`, later.
///
/// # Errors
///
/// One sentence that says which setting names what cannot be read, or which is missing.
pub(crate) fn key_encryptions(
    settings: &Settings,
    key_file: Option<KeyFile>,
    runtime: &Handle,
) -> Result<KeyEncryptions, String> {
    let algorithm = settings.keys.algorithm.into();
    let file = key_file.map(|keys| Arc::new(FileEncryption::new(keys, algorithm)) as _);
    let vault = Vault::of(&settings.keys.vault, runtime)?.map(|vault| Arc::new(vault) as _);
    let (wraps, other): (Option<Arc<dyn KeyEncryption>>, _) = match settings.keys.wrapper {
        KeyWrapper::File => (file, vault),
        KeyWrapper::Vault => (vault, file),
    };
    let wraps = wraps.ok_or_else(|| "nothing wraps data keys; see `keys.wrapper`".to_owned())?;
    Ok(KeyEncryptions::new(wraps, other))
}

/// Opens where the keys are: the store itself, unless the settings name another database.
///
/// # Errors
///
/// [`StoreError::Refused`] when the keys are no longer in the store; when the URL cannot be read, a SQLite file
/// cannot be opened, or the store is away.
pub(crate) async fn open_key_store(
    settings: &Settings,
    store: &Arc<SqlStore>,
) -> Result<Arc<SqlStore>, StoreError> {
    match &settings.keys.url {
        None if store.keys_were_moved().await? => Err(StoreError::Refused(
            "the data keys were moved to a key store of their own; name it with KEYS_URL"
                .to_owned(),
        )),
        None => Ok(Arc::clone(store)),
        Some(url) => store::open(url.expose(), &key_store_options(settings)).await,
    }
}

/// Few connections are enough for keys, and no claim must take them for those of an instance.
fn key_store_options(settings: &Settings) -> store::Options {
    let options = store_options(settings);
    let application_name = format!("{}/keys", options.application_name);
    store::Options { application_name, connections: 4, ..options }
}

/// Keys that are still where the data is would not be found: others would be made, and nothing opened.
///
/// # Errors
///
/// [`StoreError::Refused`], with the cure, when there are such keys; else when a store is away.
pub(crate) async fn keys_are_moved(store: &SqlStore) -> Result<(), StoreError> {
    if !store.has_keys().await? {
        return Ok(());
    }
    Err(StoreError::Refused(
        "the database of the data still has data keys, and `keys.url` names where they are to be; stop \
         all instances, then `biometric-bridge keys move` brings them there"
            .to_owned(),
    ))
}

/// Whoever has data has keys, or new ones would be made beside what they do not open: the service's own, and that of
/// the user who came last and is not erased.
///
/// # Errors
///
/// [`StoreError::Refused`], with the cure, when one is missing; else when a store is away.
pub(crate) async fn keys_belong(store: &SqlStore, key_store: &SqlStore) -> Result<(), StoreError> {
    let Some(newest) = store.newest_user().await? else { return Ok(()) };
    let kept = key_store.keys(&[SERVICE, newest]).await?;
    let without =
        [SERVICE, newest].into_iter().find(|user| !kept.iter().any(|key| key.user == *user));
    match without {
        None => Ok(()),
        Some(user) => Err(StoreError::Refused(format!(
            "there is data of users, but no data key of {}: these are not the keys of this data, or they are from a \
             backup that is older than the data; name the right key store with KEYS_URL, or bring back its newest \
             backup. Nothing was changed",
            if user == SERVICE {
                "the service".to_owned()
            } else {
                format!("user number {}", user.0)
            }
        ))),
    }
}

/// The key ring's view of the store.
pub struct StoredKeys {
    store: Arc<SqlStore>,
    runtime: Handle,
}

impl StoredKeys {
    /// The keys in `store`, whose connections live on `runtime`.
    pub fn new(store: Arc<SqlStore>, runtime: Handle) -> Self {
        Self { store, runtime }
    }
}

#[async_trait]
impl WrappedKeys for StoredKeys {
    async fn keys(&self, users: &[UserNumber]) -> Result<Vec<WrappedKey>, String> {
        let (store, users) = (Arc::clone(&self.store), users.to_vec());
        let found = carried(&self.runtime, async move { store.keys(&users).await }).await?;
        found.into_iter().map(of_row).collect()
    }

    async fn keep(&self, new: &[WrappedKey]) -> Result<usize, String> {
        let rows: Vec<store::WrappedKey> = new.iter().map(to_row).collect();
        let store = Arc::clone(&self.store);
        carried(&self.runtime, async move { store.add_keys(&rows).await }).await
    }

    async fn keep_next(&self, new: &[WrappedKey]) -> Result<usize, String> {
        let rows: Vec<store::WrappedKey> = new.iter().map(to_row).collect();
        let store = Arc::clone(&self.store);
        carried(&self.runtime, async move { store.add_next_keys(&rows).await }).await
    }

    async fn destroy(&self, user: UserNumber, upto: u32) -> Result<(), String> {
        let (store, upto) = (Arc::clone(&self.store), i32::try_from(upto).unwrap_or(i32::MAX));
        let destroyed = async move { store.destroy_keys(user, upto).await };
        carried(&self.runtime, destroyed).await.map(|_| ())
    }

    async fn destroyed(&self) -> Result<Vec<UserNumber>, String> {
        let store = Arc::clone(&self.store);
        carried(&self.runtime, async move { store.keyless_users().await }).await
    }
}

/// Does something on the runtime of the connections.
async fn carried<T: Send + 'static>(
    runtime: &Handle,
    work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, String> {
    let done = runtime.spawn(work).await.map_err(|_| UNFINISHED.to_owned())?;
    done.map_err(|error| error.to_string())
}

/// A stored row as the key that it is.
///
/// # Errors
///
/// When its number is none.
pub(crate) fn of_row(row: store::WrappedKey) -> Result<WrappedKey, String> {
    let key_number = u32::try_from(row.number);
    Ok(WrappedKey {
        user: row.user,
        key_number: key_number.map_err(|_| "a key has a negative number".to_owned())?,
        encrypted_key: row.encrypted_key,
        wrapped_by: row.wrapped_by,
    })
}

/// A key as it is stored.
pub(crate) fn to_row(key: &WrappedKey) -> store::WrappedKey {
    store::WrappedKey {
        user: key.user,
        number: i32::try_from(key.key_number).unwrap_or(i32::MAX),
        encrypted_key: key.encrypted_key.clone(),
        wrapped_by: key.wrapped_by.clone(),
    }
}
