//! Data keys: made once for each user, wrapped by a key-encryption key, kept by a store, unwrapped when
//! asked for. The store never sees a data key in the clear.

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use actors::lane::UserNumber;
use actors::seal::{DataKey, KeyRing, KeysAway, UserTag};
use async_trait::async_trait;
use zeroize::Zeroizing;

use super::fill_random;
use super::key_encryption::KeyEncryptions;
use super::user_tag;

/// Owns what belongs to nobody.
pub const SERVICE: UserNumber = UserNumber(0);

/// The number of an owner's first key.
const FIRST: u32 = 1;

/// A data key as it is kept: sealed by a key-encryption key, and bound to the owner and the number.
#[derive(Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// Whose key; [`SERVICE`] for the service's own.
    pub user: UserNumber,
    /// Its number among its owner's keys, from 1.
    pub key_number: u32,
    /// The sealed key: an envelope of the key file, or a ciphertext of Vault; empty when it is destroyed.
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

    /// The same of those alone that are their owner's first, or follow on one that is not destroyed, in one with
    /// destroying that one: so nobody who is erased meanwhile has a key again.
    ///
    /// # Errors
    ///
    /// What is away, in words.
    async fn keep_next(&self, new: &[WrappedKey]) -> Result<usize, String>;

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

/// The data keys of a store, wrapped by key-encryption keys. Remembers the service's own key only;
/// whoever works for a user keeps that user's key at hand.
pub struct StoredKeyRing {
    store: Arc<dyn WrappedKeys>,
    encryptions: KeyEncryptions,
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

impl StoredKeyRing {
    /// The data keys in `store`, wrapped by `encryptions`.
    pub fn new(store: Arc<dyn WrappedKeys>, encryptions: KeyEncryptions) -> Self {
        Self { store, encryptions, service: Mutex::default() }
    }

    /// The keys of each of `users`, who are sorted and distinct, in their order; `None` for those whose keys
    /// are destroyed.
    async fn newest(&self, users: &[UserNumber]) -> Result<Vec<Option<DataKey>>, KeysAway> {
        let stored = self.stored(users).await?;
        let without = users.iter().zip(&stored).filter(|(_, kept)| kept.newest == 0);
        let missing: Vec<UserNumber> = without.map(|(user, _)| *user).collect();
        let mut first = self.first(&missing).await?.into_iter();
        let is_new: Vec<bool> = stored.iter().map(|kept| kept.newest == 0).collect();
        let known = self.unwrap_all(stored).await?.into_iter().zip(is_new);
        let key = |(known, is_new)| match is_new {
            true => first.next().ok_or_else(not_kept),
            false => Ok(known),
        };
        known.map(key).collect()
    }

    /// The keys of each owner in the clear, the newest with those before it; `None` for who has none.
    async fn unwrap_all(&self, kept: Vec<Kept>) -> Result<Vec<Option<DataKey>>, KeysAway> {
        let counts: Vec<usize> = kept.iter().map(|kept| kept.live.len()).collect();
        let wrapped: Vec<WrappedKey> = kept.into_iter().flat_map(|kept| kept.live).collect();
        let mut unwrapped = self.encryptions.unwrap(&wrapped).await?.into_iter();
        let joined = |count| {
            let mut keys = unwrapped.by_ref().take(count).collect::<Result<Vec<_>, _>>()?;
            keys.sort_unstable_by_key(DataKey::number);
            let newest = keys.pop();
            Ok(newest.map(|newest| match keys.is_empty() {
                true => newest,
                false => DataKey::with_older(newest.expose(), newest.number(), keys),
            }))
        };
        counts.into_iter().map(joined).collect()
    }

    /// Makes and keeps a key for each of `users`, who are sorted, distinct and have none; `None` for those whose
    /// keys turn out to be destroyed.
    async fn first(&self, users: &[UserNumber]) -> Result<Vec<Option<DataKey>>, KeysAway> {
        if users.is_empty() {
            return Ok(Vec::new());
        }
        let owners: Vec<(UserNumber, u32)> = users.iter().map(|user| (*user, FIRST)).collect();
        let (keys, wrapped) = self.make(&owners).await?;
        if self.store.keep(&wrapped).await.map_err(store_away)? == wrapped.len() {
            return Ok(keys.into_iter().map(Some).collect());
        }
        // Somebody was first; what is stored is true, not what was made here.
        let stored = self.stored(users).await?;
        if stored.iter().any(|kept| kept.newest == 0) {
            return Err(not_kept());
        }
        self.unwrap_all(stored).await
    }

    /// Makes the next key of each owner whose newest has this number; gives how many were made, for somebody
    /// may have been first, or the owner's keys are destroyed.
    ///
    /// # Errors
    ///
    /// As [`KeyRing::keys_of`].
    pub async fn rotate(&self, owners: &[(UserNumber, u32)]) -> Result<usize, KeysAway> {
        let next: Vec<_> = owners.iter().map(|(user, newest)| (*user, newest + 1)).collect();
        let (_, wrapped) = self.make(&next).await?;
        self.store.keep_next(&wrapped).await.map_err(store_away)
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
    async fn make(
        &self,
        owners: &[(UserNumber, u32)],
    ) -> Result<(Vec<DataKey>, Vec<WrappedKey>), KeysAway> {
        // From the system itself, and all at once.
        let mut random = Zeroizing::new(vec![0; owners.len() * 32]);
        fill_random(&mut random).map_err(|error| KeysAway(error.to_string()))?;
        let (keys, _) = random.as_chunks();
        let made = owners.iter().zip(keys);
        let made: Vec<(UserNumber, DataKey)> =
            made.map(|((user, number), key)| (*user, DataKey::new(key, *number))).collect();
        let wrapped = self.encryptions.wraps().wrap(&made).await?;
        Ok((made.into_iter().map(|(_, key)| key).collect(), wrapped))
    }

    /// The same keys, wrapped by the active key-encryption key, in the order given; each was unwrapped again and
    /// compared. The inner error is of a key that does not unwrap, before or after.
    ///
    /// # Errors
    ///
    /// As [`StoredKeyRing::unwrap`].
    pub async fn rewrap(
        &self,
        wrapped: &[WrappedKey],
    ) -> Result<Vec<Result<WrappedKey, KeysAway>>, KeysAway> {
        let unwrapped = self.unwrap(wrapped).await?;
        let good = wrapped.iter().zip(&unwrapped);
        let good =
            good.filter_map(|(wrapped, key)| Some((wrapped.user, key.as_ref().ok()?.clone())));
        let good: Vec<(UserNumber, DataKey)> = good.collect();
        let anew = self.encryptions.wraps().wrap(&good).await?;
        let again = self.unwrap(&anew).await?;
        let mut pairs = anew.into_iter().zip(again);
        let same = |key: Result<DataKey, KeysAway>| {
            let key = key?;
            match pairs.next() {
                Some((anew, Ok(again))) if again.expose() == key.expose() => Ok(anew),
                Some((anew, _)) => Err(not_the_same(&anew)),
                None => Err(not_kept()),
            }
        };
        Ok(unwrapped.into_iter().map(same).collect())
    }

    fn service(&self) -> std::sync::MutexGuard<'_, Option<DataKey>> {
        self.service.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What wraps and unwraps.
    pub fn encryptions(&self) -> &KeyEncryptions {
        &self.encryptions
    }

    /// Stored keys in the clear, in the order given; the inner error is of a key that does not unwrap.
    ///
    /// # Errors
    ///
    /// When what wraps them cannot be reached, or refuses us.
    pub async fn unwrap(
        &self,
        wrapped: &[WrappedKey],
    ) -> Result<Vec<Result<DataKey, KeysAway>>, KeysAway> {
        self.encryptions.unwrap(wrapped).await
    }
}

#[async_trait]
impl KeyRing for StoredKeyRing {
    fn tag_of(&self, user_id: &str) -> UserTag {
        let known = self.service().clone();
        known.and_then(|key| user_tag::of(&key, user_id)).unwrap_or_default()
    }

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

    async fn first_keys_of(&self, users: &[UserNumber]) -> Result<Vec<Option<DataKey>>, KeysAway> {
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
        let (_, wrapped) = self.make(&[(user, newest + 1)]).await?;
        self.store.keep(&wrapped).await.map(|_| ()).map_err(store_away)
    }

    async fn destroy(&self, user: UserNumber, upto: u32) -> Result<(), KeysAway> {
        self.store.destroy(user, upto).await.map_err(store_away)
    }

    async fn destroyed(&self) -> Result<Vec<UserNumber>, KeysAway> {
        self.store.destroyed().await.map_err(store_away)
    }
}

impl std::fmt::Debug for StoredKeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredKeyRing")
            .field("encryptions", &self.encryptions)
            .finish_non_exhaustive()
    }
}

fn not_kept() -> KeysAway {
    KeysAway("the key store does not keep the keys given to it".to_owned())
}

/// What was wrapped does not give back what went in: it must not take the place of what does.
fn not_the_same(anew: &WrappedKey) -> KeysAway {
    KeysAway(format!(
        "key {} of user number {} does not come back from {}, which wrapped it just now; what is stored is as it was",
        anew.key_number, anew.user.0, anew.wrapped_by
    ))
}

fn store_away(problem: String) -> KeysAway {
    KeysAway(format!("the key store is away: {problem}"))
}
