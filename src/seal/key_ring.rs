//! Data keys: made once for each user, wrapped by a key-encryption key, kept by a store, unwrapped when
//! asked for. The store never sees a data key in the clear.

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use actors::lane::UserNumber;
use actors::seal::{DataKey, KeyRing, KeysAway};
use async_trait::async_trait;
use zeroize::Zeroizing;

use super::envelope::{self, Algorithm, Binding, Key};
use super::fill_random;
use super::key_file::{KeyEncryptionKey, KeyFile};

/// Owns what belongs to nobody.
pub const SERVICE: UserNumber = UserNumber(0);

/// The number of an owner's first key.
const FIRST: u32 = 1;

/// A data key as it is kept: sealed by a key-encryption key, in an [envelope] of its
/// own that is bound to the owner, the number and the name of that key.
#[derive(Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// Whose key; [`SERVICE`] for the service's own.
    pub user: UserNumber,
    /// Its number among its owner's keys, from 1.
    pub key_number: u32,
    /// The sealed key, 66 bytes or 78; empty when it is destroyed.
    pub encrypted_key: Vec<u8>,
    /// The name of the key-encryption key that sealed it.
    pub wrapped_by: String,
}

impl std::fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { key_number, wrapped_by, .. } = self;
        write!(f, "WrappedKey {key_number}, by {wrapped_by:?}")
    }
}

/// Keeps wrapped keys, in the database for example.
#[async_trait]
pub trait WrappedKeys: Send + Sync {
    /// All keys of each of `users`, who are sorted and distinct, in any order. Must see what any
    /// process has kept before: no replica that lags, no snapshot of before.
    ///
    /// # Errors
    ///
    /// What is away, in words.
    async fn keys(&self, users: &[UserNumber]) -> Result<Vec<WrappedKey>, String>;

    /// Keeps those of `new`, who are sorted, whose owner has no key of that number yet, and leaves
    /// what is there as it is; gives how many it has kept. Durable when it returns, for data is sealed with
    /// them next.
    ///
    /// # Errors
    ///
    /// What is away, in words.
    async fn keep(&self, new: &[WrappedKey]) -> Result<usize, String>;

    /// Destroys a user's keys with numbers up to `upto`; their numbers stay taken. Durable when it returns.
    ///
    /// # Errors
    ///
    /// What is away, in words.
    async fn destroy(&self, user: UserNumber, upto: u32) -> Result<(), String>;

    /// Everybody whose keys are destroyed and who has no other.
    ///
    /// # Errors
    ///
    /// What is away, in words.
    async fn destroyed(&self) -> Result<Vec<UserNumber>, String>;
}

/// The data keys of a store, wrapped by the keys of a file. Remembers the service's own key only;
/// whoever works for a user keeps that user's key at hand.
pub struct FileKeyRing {
    store: Arc<dyn WrappedKeys>,
    keks: KeyFile,
    algorithm: Algorithm,
    service: Mutex<Option<DataKey>>,
}

/// The keys that a store has of an owner.
#[derive(Clone, Default)]
struct Kept {
    /// Those that are not destroyed.
    live: Vec<WrappedKey>,
    /// The newest number of all; 0 before the first.
    newest: u32,
}

impl FileKeyRing {
    /// The data keys in `store`, wrapped by `keks`; new ones with `algorithm`.
    pub fn new(store: Arc<dyn WrappedKeys>, keks: KeyFile, algorithm: Algorithm) -> Self {
        Self { store, keks, algorithm, service: Mutex::default() }
    }

    /// The keys of each of `users`, who are sorted and distinct, in their order; `None` for those whose keys
    /// are destroyed.
    async fn newest(&self, users: &[UserNumber]) -> Result<Vec<Option<DataKey>>, KeysAway> {
        let stored = self.stored(users).await?;
        let without = users.iter().zip(&stored).filter(|(_, kept)| kept.newest == 0);
        let missing: Vec<UserNumber> = without.map(|(user, _)| *user).collect();
        let mut first = self.first(&missing).await?.into_iter();
        let key = |kept: Kept| match kept.newest {
            0 => first.next().ok_or_else(not_kept).map(Some),
            _ => self.unwrap_all(kept),
        };
        stored.into_iter().map(key).collect()
    }

    /// An owner's keys in the clear, the newest with those before it.
    fn unwrap_all(&self, mut kept: Kept) -> Result<Option<DataKey>, KeysAway> {
        kept.live.sort_unstable_by_key(|key| key.key_number);
        let Some(newest) = kept.live.pop() else { return Ok(None) };
        let older = kept.live.iter().map(|key| self.unwrap(key)).collect::<Result<_, _>>()?;
        self.unwrap_with(&newest, older).map(Some)
    }

    /// Makes and keeps a key for each of `users`, who are sorted, distinct and have none.
    async fn first(&self, users: &[UserNumber]) -> Result<Vec<DataKey>, KeysAway> {
        if users.is_empty() {
            return Ok(Vec::new());
        }
        let owners: Vec<(UserNumber, u32)> = users.iter().map(|user| (*user, FIRST)).collect();
        let (keys, wrapped) = self.make(&owners)?;
        if self.store.keep(&wrapped).await.map_err(store_away)? == wrapped.len() {
            return Ok(keys);
        }
        // Somebody was first; what is stored is true, not what was made here.
        let stored = self.stored(users).await?.into_iter();
        stored.map(|kept| self.unwrap_all(kept)?.ok_or_else(not_kept)).collect()
    }

    /// Makes the next key of each owner whose newest has this number; gives how many were made, for somebody
    /// may have been first.
    ///
    /// # Errors
    ///
    /// As [`KeyRing::keys_of`].
    pub async fn rotate(&self, owners: &[(UserNumber, u32)]) -> Result<usize, KeysAway> {
        let next: Vec<_> = owners.iter().map(|(user, newest)| (*user, newest + 1)).collect();
        let (_, wrapped) = self.make(&next)?;
        self.store.keep(&wrapped).await.map_err(store_away)
    }

    /// What the store has of each owner, in the order of `users`.
    async fn stored(&self, users: &[UserNumber]) -> Result<Vec<Kept>, KeysAway> {
        let mut all = vec![Kept::default(); users.len()];
        for key in self.store.keys(users).await.map_err(store_away)? {
            let place = users.binary_search(&key.user).ok();
            let Some(kept) = place.and_then(|place| all.get_mut(place)) else { continue };
            kept.newest = kept.newest.max(key.key_number);
            if !key.encrypted_key.is_empty() {
                kept.live.push(key);
            }
        }
        Ok(all)
    }

    /// New keys with these numbers, and the same wrapped by the active key.
    fn make(
        &self,
        owners: &[(UserNumber, u32)],
    ) -> Result<(Vec<DataKey>, Vec<WrappedKey>), KeysAway> {
        // From the system itself, and all at once.
        let mut random = Zeroizing::new(vec![0; owners.len() * 32]);
        fill_random(&mut random).map_err(|error| KeysAway(error.to_string()))?;
        let (keys, _) = random.as_chunks();
        let wrapped = owners
            .iter()
            .zip(keys)
            .map(|(&(user, number), key)| {
                wrap(self.algorithm, self.keks.active(), user, number, key)
            })
            .collect::<Option<_>>()
            .ok_or_else(cannot_wrap)?;
        let keys = owners.iter().zip(keys).map(|((_, number), key)| DataKey::new(key, *number));
        Ok((keys.collect(), wrapped))
    }

    /// The same key, wrapped by the active key-encryption key.
    ///
    /// # Errors
    ///
    /// As [`FileKeyRing::unwrap`].
    pub fn rewrap(&self, wrapped: &WrappedKey) -> Result<WrappedKey, KeysAway> {
        let (key, kek) = (self.unwrap(wrapped)?, self.keks.active());
        wrap(self.algorithm, kek, wrapped.user, wrapped.key_number, key.expose())
            .ok_or_else(cannot_wrap)
    }

    fn service(&self) -> std::sync::MutexGuard<'_, Option<DataKey>> {
        self.service.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The names of the key-encryption keys, the active one first.
    pub fn wrappers(&self) -> impl Iterator<Item = &str> {
        self.keks.names()
    }

    /// A stored key, in the clear.
    ///
    /// # Errors
    ///
    /// When the key file has not what wraps it, or has another key under that name.
    pub fn unwrap(&self, wrapped: &WrappedKey) -> Result<DataKey, KeysAway> {
        self.unwrap_with(wrapped, Vec::new())
    }

    fn unwrap_with(&self, wrapped: &WrappedKey, older: Vec<DataKey>) -> Result<DataKey, KeysAway> {
        let name = &wrapped.wrapped_by;
        let Some(kek) = self.keks.find(name) else {
            return Err(KeysAway(format!(
                "data keys are wrapped by {name:?}, which the key file does not have: add its line \
                 again, below the first"
            )));
        };
        unwrap(kek, wrapped, older).ok_or_else(|| {
            KeysAway(format!(
                "key {} of user number {} does not unwrap: the key file has another key as {name}, \
                 or the stored key was changed",
                wrapped.key_number, wrapped.user.0
            ))
        })
    }
}

#[async_trait]
impl KeyRing for FileKeyRing {
    async fn keys_of(&self, users: &[UserNumber]) -> Result<Vec<Option<DataKey>>, KeysAway> {
        let mut distinct = users.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        if distinct.is_empty() {
            return Ok(Vec::new());
        }
        let keys = self.newest(&distinct).await?;
        // `newest` has answered for every user, so none is left out here.
        let key = |user| distinct.binary_search(user).ok().and_then(|place| keys.get(place));
        Ok(users.iter().filter_map(key).cloned().collect())
    }

    async fn first_keys_of(&self, users: &[UserNumber]) -> Result<Vec<DataKey>, KeysAway> {
        self.first(users).await
    }

    async fn service_key(&self) -> Result<DataKey, KeysAway> {
        let known = self.service().clone();
        match known {
            Some(key) => Ok(key),
            None => self.newest_service_key().await,
        }
    }

    async fn newest_service_key(&self) -> Result<DataKey, KeysAway> {
        let key = self.newest(&[SERVICE]).await?.into_iter().next().flatten();
        let key = key.ok_or_else(|| KeysAway("the service has no key".to_owned()))?;
        *self.service() = Some(key.clone());
        Ok(key)
    }

    async fn newest_number(&self, user: UserNumber) -> Result<Option<u32>, KeysAway> {
        let kept = self.stored(&[user]).await?;
        Ok(kept.iter().flat_map(|kept| &kept.live).map(|key| key.key_number).max())
    }

    async fn renew(&self, user: UserNumber) -> Result<(), KeysAway> {
        let kept = self.stored(&[user]).await?;
        let newest = kept.first().map_or(0, |kept| kept.newest);
        self.rotate(&[(user, newest)]).await.map(|_| ())
    }

    async fn destroy(&self, user: UserNumber, upto: u32) -> Result<(), KeysAway> {
        self.store.destroy(user, upto).await.map_err(store_away)
    }

    async fn destroyed(&self) -> Result<Vec<UserNumber>, KeysAway> {
        self.store.destroyed().await.map_err(store_away)
    }
}

impl std::fmt::Debug for FileKeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileKeyRing").field("keks", &self.keks).finish_non_exhaustive()
    }
}

fn cannot_wrap() -> KeysAway {
    KeysAway("a data key cannot be wrapped".to_owned())
}

fn not_kept() -> KeysAway {
    KeysAway("the key store does not keep the keys given to it".to_owned())
}

fn store_away(problem: String) -> KeysAway {
    KeysAway(format!("the key store is away: {problem}"))
}

/// Wraps a data key, never none: 32 bytes are not too long.
fn wrap(
    algorithm: Algorithm,
    kek: &KeyEncryptionKey,
    user: UserNumber,
    key_number: u32,
    data_key: &[u8; 32],
) -> Option<WrappedKey> {
    let sealer = Key { bytes: kek.bytes(), number: key_number };
    let nonce = envelope::fresh_nonce();
    let texts = place(kek.name());
    let binding = binding(user, key_number, &texts);
    let encrypted_key = envelope::seal(algorithm, sealer, binding, &nonce, data_key)?;
    Some(WrappedKey { user, key_number, encrypted_key, wrapped_by: kek.name().to_owned() })
}

fn unwrap(kek: &KeyEncryptionKey, wrapped: &WrappedKey, older: Vec<DataKey>) -> Option<DataKey> {
    let &WrappedKey { user, key_number, ref encrypted_key, .. } = wrapped;
    let sealer = Key { bytes: kek.bytes(), number: key_number };
    let texts = place(kek.name());
    let opened = envelope::open(sealer, binding(user, key_number, &texts), encrypted_key);
    let opened = Zeroizing::new(opened.ok()?);
    Some(DataKey::with_older(opened.as_slice().try_into().ok()?, key_number, older))
}

/// Where a wrapped key lies; with the name of what wraps it, for a key-encryption key has no number.
fn place(kek_name: &str) -> [&str; 3] {
    ["encryption_keys", "encrypted_key", kek_name]
}

fn binding<'b>(user: UserNumber, key_number: u32, texts: &'b [&'b str]) -> Binding<'b> {
    Binding { user: user.0, record: key_number.into(), texts }
}
