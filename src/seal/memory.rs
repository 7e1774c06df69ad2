//! Wrapped keys in memory, for tests; everything is forgotten at the end.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use actors::lane::UserNumber;
use async_trait::async_trait;

use super::key_ring::{WrappedKey, WrappedKeys};

/// Keeps wrapped keys as a database would.
#[derive(Default)]
pub(crate) struct MemoryKeys {
    kept: Mutex<BTreeMap<(UserNumber, u32), WrappedKey>>,
}

impl MemoryKeys {
    /// Does `act` with all that is kept.
    pub(crate) fn with<T>(
        &self,
        act: impl FnOnce(&mut BTreeMap<(UserNumber, u32), WrappedKey>) -> T,
    ) -> T {
        act(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl WrappedKeys for MemoryKeys {
    async fn keys(&self, users: &[UserNumber]) -> Result<Vec<WrappedKey>, String> {
        Ok(self.with(|kept| {
            kept.values().filter(|key| users.binary_search(&key.user).is_ok()).cloned().collect()
        }))
    }

    async fn keep(&self, new: &[WrappedKey]) -> Result<usize, String> {
        Ok(self.with(|kept| {
            let before = kept.len();
            for key in new {
                kept.entry((key.user, key.key_number)).or_insert_with(|| key.clone());
            }
            kept.len() - before
        }))
    }

    async fn keep_next(&self, new: &[WrappedKey]) -> Result<usize, String> {
        Ok(self.with(|kept| {
            let before = kept.len();
            for key in new {
                let previous = kept.get(&(key.user, key.key_number - 1));
                let follows = previous.is_some_and(|key| !key.encrypted_key.is_empty());
                if follows || key.key_number == 1 {
                    kept.entry((key.user, key.key_number)).or_insert_with(|| key.clone());
                }
            }
            kept.len() - before
        }))
    }

    async fn destroy(&self, user: UserNumber, upto: u32) -> Result<(), String> {
        self.with(|kept| {
            let theirs = kept.range_mut((user, 0)..=(user, upto));
            theirs.for_each(|(_, key)| key.encrypted_key.clear());
        });
        Ok(())
    }

    async fn destroyed(&self) -> Result<Vec<UserNumber>, String> {
        Ok(self.with(|kept| {
            let mut users: Vec<UserNumber> = kept.keys().map(|(user, _)| *user).collect();
            users.dedup();
            let is_live = |user: &UserNumber| {
                kept.range((*user, 0)..=(*user, u32::MAX))
                    .any(|(_, key)| !key.encrypted_key.is_empty())
            };
            users.retain(|user| !is_live(user));
            users
        }))
    }
}
