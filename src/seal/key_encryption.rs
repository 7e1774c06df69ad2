//! What wraps data keys, wherever it is: the port between the [key ring](super::key_ring) and the
//! key-encryption keys. A key-encryption key never comes through here.

use std::collections::BTreeMap;
use std::sync::Arc;

use actors::lane::UserNumber;
use actors::seal::{DataKey, KeysAway};
use async_trait::async_trait;

use super::key_ring::WrappedKey;

/// A place with key-encryption keys, one of which wraps.
#[async_trait]
pub trait KeyEncryption: std::fmt::Debug + Send + Sync {
    /// The name of the key that wraps by now.
    ///
    /// # Errors
    ///
    /// When the place cannot be reached, or refuses us.
    async fn active(&self) -> Result<String, KeysAway>;

    /// The names of its keys that are known without asking anybody.
    fn names(&self) -> Vec<&str>;

    /// Whether a key of that name would be in this place.
    fn has(&self, name: &str) -> bool;

    /// Wraps the data keys of these owners by the active key, each so that it unwraps for this owner and under
    /// this number alone; in the order given.
    ///
    /// # Errors
    ///
    /// As [`KeyEncryption::active`].
    async fn wrap(&self, keys: &[(UserNumber, DataKey)]) -> Result<Vec<WrappedKey>, KeysAway>;

    /// Unwraps keys whose names it [has](KeyEncryption::has), in the order given; the inner error is of a key that
    /// does not unwrap.
    ///
    /// # Errors
    ///
    /// As [`KeyEncryption::active`].
    async fn unwrap(
        &self,
        wrapped: &[&WrappedKey],
    ) -> Result<Vec<Result<DataKey, KeysAway>>, KeysAway>;

    /// Tries whether it wraps, unwraps and binds as it must, with a key that is made for that.
    ///
    /// # Errors
    ///
    /// What does not work, and what helps.
    async fn check(&self) -> Result<(), KeysAway>;
}

/// Every place with key-encryption keys: one wraps, all unwrap. So an installation moves from one to another
/// while it runs.
#[derive(Clone, Debug)]
pub struct KeyEncryptions {
    wraps: Arc<dyn KeyEncryption>,
    other: Option<Arc<dyn KeyEncryption>>,
}

impl KeyEncryptions {
    /// Wraps by the first; the other unwraps what it has wrapped before.
    pub fn new(wraps: Arc<dyn KeyEncryption>, other: Option<Arc<dyn KeyEncryption>>) -> Self {
        Self { wraps, other }
    }

    /// The place that wraps.
    pub fn wraps(&self) -> &dyn KeyEncryption {
        self.wraps.as_ref()
    }

    /// The names of all keys that are known without asking anybody.
    pub fn names(&self) -> Vec<&str> {
        self.places().flat_map(|place| place.names()).collect()
    }

    /// Whether there is a place for what a key of that name has wrapped.
    pub fn have(&self, name: &str) -> bool {
        self.places().any(|place| place.has(name))
    }

    /// Unwraps each key where that belongs, in the order given; the inner error is of a key that does not unwrap.
    ///
    /// # Errors
    ///
    /// When a place that is needed cannot be reached, or refuses us.
    pub async fn unwrap(
        &self,
        wrapped: &[WrappedKey],
    ) -> Result<Vec<Result<DataKey, KeysAway>>, KeysAway> {
        let mut unwrapped = BTreeMap::new();
        let mut left: Vec<(usize, &WrappedKey)> = wrapped.iter().enumerate().collect();
        for place in self.places() {
            let (theirs, others): (Vec<_>, _) =
                left.into_iter().partition(|(_, key)| place.has(&key.wrapped_by));
            left = others;
            if theirs.is_empty() {
                continue;
            }
            let keys: Vec<&WrappedKey> = theirs.iter().map(|(_, key)| *key).collect();
            let found = place.unwrap(&keys).await?;
            unwrapped.extend(theirs.iter().map(|(index, _)| *index).zip(found));
        }
        unwrapped.extend(left.into_iter().map(|(index, key)| (index, Err(nowhere(key)))));
        Ok(unwrapped.into_values().collect())
    }

    fn places(&self) -> impl Iterator<Item = &Arc<dyn KeyEncryption>> {
        std::iter::once(&self.wraps).chain(&self.other)
    }
}

fn nowhere(key: &WrappedKey) -> KeysAway {
    let name = &key.wrapped_by;
    let cure = match name.starts_with("vault:") {
        true => {
            "is not the one of the settings: name it with `keys.vault.url`, `keys.vault.mount` and `keys.vault.key`"
        }
        false => {
            "the key file does not have: add its line again, below the first, or name the file with \
             KEY_FILE"
        }
    };
    KeysAway(format!("data keys are wrapped by {name:?}, which {cure}"))
}
