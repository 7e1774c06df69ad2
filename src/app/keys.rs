//! Wrapped keys in the table `encryption_keys`.

use std::sync::Arc;

use actors::lane::UserNumber;
use async_trait::async_trait;
use tokio::runtime::Handle;

use crate::seal::key_ring::{WrappedKey, WrappedKeys};
use crate::store::{self, Administration as _, SqlStore};

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
        let found = self.runtime.spawn(async move { store.keys(&users).await }).await;
        let found = found.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        found.into_iter().map(of_row).collect()
    }

    async fn keep(&self, new: &[WrappedKey]) -> Result<usize, String> {
        let rows: Vec<store::WrappedKey> = new.iter().map(to_row).collect();
        let store = Arc::clone(&self.store);
        let kept = self.runtime.spawn(async move { store.add_keys(&rows).await }).await;
        kept.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }
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
