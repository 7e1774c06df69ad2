//! Wrapping by a key of HashiCorp Vault's transit engine, which the key never leaves. Data keys go there and come back
//! in the clear, within TLS; neither they nor our token are ever in an error or a log line.
//!
//! What binds a wrapped key to its owner and number is Vault's associated data (`associated_data`, Vault 1.9 or newer):
//! the function of that name says what. [`Vault::check`] tries that it does.

mod answer;
mod transit;

use std::collections::BTreeMap;
use std::sync::Arc;

use actors::lane::UserNumber;
use actors::seal::{DataKey, KeysAway};
use async_trait::async_trait;
use tokio::runtime::Handle;

use crate::seal::fill_random;
use crate::seal::key_encryption::KeyEncryption;
use crate::seal::key_ring::WrappedKey;
use crate::settings::KeysVault;
use crate::telemetry::UNFINISHED;
use answer::{Item, version_of};
use transit::{Given, Transit};

/// Data keys in one question, at most: Vault takes 10,000 elements, and what is in memory for an answer is bounded.
const BATCH: usize = 500;

/// Owns the key that [`Vault::check`] makes: nobody, for the numbers of users begin at 1, and 0 is the service.
const NOBODY: UserNumber = UserNumber(-1);

/// A key of Vault's transit engine.
pub struct Vault {
    transit: Arc<Transit>,
    /// What the names of the key's versions begin with: `vault:transit/NAME:v`.
    prefix: String,
    /// Where questions wait for their answers.
    runtime: Handle,
}

impl Vault {
    /// The key that the settings name, if they name a Vault; it is asked later, on `runtime`.
    ///
    /// # Errors
    ///
    /// One sentence that says which setting names what cannot be read.
    pub fn of(settings: &KeysVault, runtime: &Handle) -> Result<Option<Self>, String> {
        let Some(transit) = Transit::of(settings)? else { return Ok(None) };
        let prefix = format!("vault:{}/{}:v", settings.mount, settings.key);
        Ok(Some(Self { transit: Arc::new(transit), prefix, runtime: runtime.clone() }))
    }

    /// Asks on a thread that may wait.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Transit) -> Result<T, KeysAway> + Send + 'static,
    ) -> Result<T, KeysAway> {
        let transit = Arc::clone(&self.transit);
        let asked = self.runtime.spawn_blocking(move || question(&transit)).await;
        asked.unwrap_or_else(|_| Err(KeysAway(format!("Vault was asked; {UNFINISHED}"))))
    }

    /// A ciphertext of Vault as a wrapped key, named after the version that made it.
    fn wrapped(
        &self,
        user: UserNumber,
        key_number: u32,
        item: Item<String>,
    ) -> Result<WrappedKey, KeysAway> {
        let ciphertext = item.map_err(|problem| self.transit.refused("wraps no key", &problem))?;
        let version = version_of(&ciphertext).ok_or_else(|| self.transit.not_understood())?;
        Ok(WrappedKey {
            user,
            key_number,
            wrapped_by: format!("{}{version}", self.prefix),
            encrypted_key: ciphertext.into_bytes(),
        })
    }

    async fn decrypt(&self, wrapped: &[&WrappedKey]) -> Result<Vec<Item<DataKey>>, KeysAway> {
        let mut all = Vec::with_capacity(wrapped.len());
        for portion in wrapped.chunks(BATCH) {
            let given: Vec<Given<String>> = portion
                .iter()
                .map(|key| Given {
                    text: String::from_utf8_lossy(&key.encrypted_key).into_owned(),
                    associated_data: associated_data(key.user, key.key_number),
                })
                .collect();
            let numbers: Vec<u32> = portion.iter().map(|key| key.key_number).collect();
            all.extend(self.ask(move |transit| transit.decrypt(&given, &numbers)).await?);
        }
        Ok(all)
    }
}

#[async_trait]
impl KeyEncryption for Vault {
    async fn active(&self) -> Result<String, KeysAway> {
        let newest = self.ask(Transit::newest_version).await?;
        Ok(format!("{}{newest}", self.prefix))
    }

    fn names(&self) -> Vec<&str> {
        Vec::new()
    }

    fn has(&self, name: &str) -> bool {
        is_version(&self.prefix, name)
    }

    async fn wrap(&self, keys: &[(UserNumber, DataKey)]) -> Result<Vec<WrappedKey>, KeysAway> {
        let mut all = Vec::with_capacity(keys.len());
        for portion in keys.chunks(BATCH) {
            let given: Vec<Given<DataKey>> = portion
                .iter()
                .map(|(user, key)| Given {
                    text: key.clone(),
                    associated_data: associated_data(*user, key.number()),
                })
                .collect();
            let items = self.ask(move |transit| transit.encrypt(&given)).await?;
            for ((user, key), item) in portion.iter().zip(items) {
                all.push(self.wrapped(*user, key.number(), item)?);
            }
        }
        Ok(all)
    }

    async fn unwrap(
        &self,
        wrapped: &[&WrappedKey],
    ) -> Result<Vec<Result<DataKey, KeysAway>>, KeysAway> {
        // What is no ciphertext of that version is not sent: all of it must be one for the question to be understood.
        let (right, _): (Vec<_>, Vec<_>) =
            wrapped.iter().enumerate().partition(|(_, key)| is_named_right(&self.prefix, key));
        let asked: Vec<&WrappedKey> = right.iter().map(|(_, key)| **key).collect();
        let items = self.decrypt(&asked).await?;
        let mut items: BTreeMap<usize, Item<DataKey>> =
            right.iter().map(|(place, _)| *place).zip(items).collect();
        let unwrapped = wrapped.iter().enumerate().map(|(place, key)| {
            let item = items.remove(&place).unwrap_or_else(|| Err("it was changed".to_owned()));
            item.map_err(|problem| {
                let what = format!(
                    "does not unwrap key {} of user number {}, wrapped by {}",
                    key.key_number, key.user.0, key.wrapped_by
                );
                self.transit.refused(&what, &problem)
            })
        });
        Ok(unwrapped.collect())
    }

    async fn check(&self) -> Result<(), KeysAway> {
        // Says it best when the key is not there or is of a kind that does not do.
        self.active().await?;
        let mut bytes = zeroize::Zeroizing::new([0; 32]);
        fill_random(bytes.as_mut()).map_err(|error| KeysAway(error.to_string()))?;
        let wrapped = self.wrap(&[(NOBODY, DataKey::new(&bytes, 1))]).await?;
        let elsewhere = wrapped.iter().map(|key| WrappedKey { key_number: 2, ..key.clone() });
        let all: Vec<WrappedKey> = wrapped.iter().cloned().chain(elsewhere).collect();
        let unwrapped = self.unwrap(&all.iter().collect::<Vec<_>>()).await?;
        let [here, elsewhere] = unwrapped.as_slice() else {
            return Err(self.transit.not_understood());
        };
        match here {
            Err(problem) => return Err(problem.clone()),
            Ok(key) if key.expose() != &*bytes => return Err(self.transit.not_understood()),
            Ok(_) => {}
        }
        if elsewhere.is_ok() {
            return Err(self.transit.refused(
                "is of no use",
                "it ignores associated data, so that nothing binds a wrapped key to its owner; 1.9 or newer is \
                 needed",
            ));
        }
        Ok(())
    }
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Vault").field(&self.prefix).finish()
    }
}

/// Whether a name is that of a version of the key whose names begin with `prefix`.
fn is_version(prefix: &str, name: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|version| version.parse::<u32>().is_ok())
}

/// Whether the name in the row is that of the version that the ciphertext says.
fn is_named_right(prefix: &str, wrapped: &WrappedKey) -> bool {
    let ciphertext = std::str::from_utf8(&wrapped.encrypted_key).ok();
    let version = ciphertext.and_then(version_of);
    version.is_some_and(|version| wrapped.wrapped_by == format!("{prefix}{version}"))
}

/// What a wrapped key is bound to: what it is, its owner and its number. No two of them share an encoding, for numbers
/// have no slash.
fn associated_data(user: UserNumber, key_number: u32) -> String {
    format!("biometric-bridge/encryption_keys/{}/{key_number}", user.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: &str = "vault:transit/bridge:v";

    #[test]
    fn names_are_of_this_key_and_a_version_only() {
        for (name, is_ours) in [
            ("vault:transit/bridge:v1", true),
            ("vault:transit/bridge:v4294967295", true),
            ("vault:transit/bridge:v", false),
            ("vault:transit/bridge:vx", false),
            ("vault:transit/bridge2:v1", false),
            ("vault:transit:v1", false),
            ("kek-a", false),
        ] {
            assert_eq!(is_version(PREFIX, name), is_ours, "{name}");
        }
    }

    #[test]
    fn a_ciphertext_of_another_version_than_its_row_says_is_noticed() {
        let wrapped = |name: &str, ciphertext: &str| WrappedKey {
            user: UserNumber(1),
            key_number: 1,
            encrypted_key: ciphertext.as_bytes().to_vec(),
            wrapped_by: name.to_owned(),
        };
        for (name, ciphertext, is_right) in [
            ("vault:transit/bridge:v2", "vault:v2:AAAA", true),
            ("vault:transit/bridge:v1", "vault:v2:AAAA", false),
            ("vault:transit/bridge:v2", "\"}", false),
        ] {
            assert_eq!(is_named_right(PREFIX, &wrapped(name, ciphertext)), is_right, "{name}");
        }
    }

    #[test]
    fn no_two_keys_share_their_associated_data() {
        let all = [(1, 11), (11, 1), (1, 1), (-1, 1), (111, 0)];
        let bound: std::collections::BTreeSet<String> =
            all.iter().map(|(user, number)| associated_data(UserNumber(*user), *number)).collect();
        assert_eq!(bound.len(), all.len());
    }
}
