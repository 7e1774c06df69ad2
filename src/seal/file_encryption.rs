//! Wrapping by the key-encryption keys of a [key file](super::key_file), in this process. Asks nobody, so it is never
//! away.

use actors::lane::UserNumber;
use actors::seal::{DataKey, KeysAway};
use async_trait::async_trait;
use zeroize::Zeroizing;

use super::envelope::{self, Algorithm, Binding, Key, Ready};
use super::key_encryption::KeyEncryption;
use super::key_file::{KeyEncryptionKey, KeyFile};
use super::key_ring::WrappedKey;

/// The keys of a file, and the algorithm that wraps from now on. A wrapped key is an [envelope] that is bound to
/// the owner, the number and the name of the key that wraps it.
#[derive(Debug)]
pub struct FileEncryption {
    keys: KeyFile,
    algorithm: Algorithm,
}

impl FileEncryption {
    /// Wraps by the first of `keys`, with `algorithm`; all unwrap.
    pub fn new(keys: KeyFile, algorithm: Algorithm) -> Self {
        Self { keys, algorithm }
    }

    fn unwrap_one(&self, wrapped: &WrappedKey) -> Result<DataKey, KeysAway> {
        let key = self.keys.find(&wrapped.wrapped_by);
        key.and_then(|key| unwrap(key, wrapped)).ok_or_else(|| {
            KeysAway(format!(
                "key {} of user number {} does not unwrap: the key file has another key as {}, or the \
                 stored key was changed",
                wrapped.key_number, wrapped.user.0, wrapped.wrapped_by
            ))
        })
    }
}

#[async_trait]
impl KeyEncryption for FileEncryption {
    async fn active(&self) -> Result<String, KeysAway> {
        Ok(self.keys.active_name().to_owned())
    }

    fn names(&self) -> Vec<&str> {
        self.keys.names().collect()
    }

    fn has(&self, name: &str) -> bool {
        self.keys.find(name).is_some()
    }

    async fn wrap(&self, keys: &[(UserNumber, DataKey)]) -> Result<Vec<WrappedKey>, KeysAway> {
        let active = self.keys.active();
        let wrapped = keys.iter().map(|(user, key)| wrap(self.algorithm, active, *user, key));
        let wrapped = wrapped.collect::<Option<_>>();
        wrapped.ok_or_else(|| KeysAway("a data key cannot be wrapped".to_owned()))
    }

    async fn unwrap(
        &self,
        wrapped: &[&WrappedKey],
    ) -> Result<Vec<Result<DataKey, KeysAway>>, KeysAway> {
        Ok(wrapped.iter().map(|wrapped| self.unwrap_one(wrapped)).collect())
    }

    async fn check(&self) -> Result<(), KeysAway> {
        Ok(())
    }
}

/// Wraps a data key, never none: 32 bytes are not too long.
pub(super) fn wrap(
    algorithm: Algorithm,
    kek: &KeyEncryptionKey,
    user: UserNumber,
    key: &DataKey,
) -> Option<WrappedKey> {
    let key_number = key.number();
    let sealer = Key { bytes: kek.bytes(), number: key_number };
    let nonce = envelope::fresh_nonce();
    let texts = place(kek.name());
    let binding = binding(user, key_number, &texts);
    let encrypted_key = Ready::new(algorithm, sealer).seal(binding, &nonce, key.expose())?;
    Some(WrappedKey { user, key_number, encrypted_key, wrapped_by: kek.name().to_owned() })
}

pub(super) fn unwrap(kek: &KeyEncryptionKey, wrapped: &WrappedKey) -> Option<DataKey> {
    let &WrappedKey { user, key_number, ref encrypted_key, .. } = wrapped;
    let sealer = Key { bytes: kek.bytes(), number: key_number };
    let texts = place(kek.name());
    let opened = envelope::open(sealer, binding(user, key_number, &texts), encrypted_key);
    let opened = Zeroizing::new(opened.ok()?);
    Some(DataKey::new(opened.as_slice().try_into().ok()?, key_number))
}

/// Where a wrapped key lies; with the name of what wraps it, for a key-encryption key has no number.
fn place(kek_name: &str) -> [&str; 3] {
    ["encryption_keys", "encrypted_key", kek_name]
}

fn binding<'b>(user: UserNumber, key_number: u32, texts: &'b [&'b str]) -> Binding<'b> {
    Binding { user: user.0, record: key_number.into(), texts }
}
