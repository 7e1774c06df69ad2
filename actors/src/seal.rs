//! Sealing: nothing about a person's body leaves the service in the clear. What seals is behind a
//! port; here is only what is sealed, for whom and where it will lie.

use std::sync::Arc;

use async_trait::async_trait;
use zeroize::Zeroizing;

use crate::lane::UserNumber;
use crate::phi::Phi;

/// Sealed bytes with their envelope: version, algorithm, key number, nonce, ciphertext, tag.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(pub Vec<u8>);

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}

/// Where sealed bytes belong: they open nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The table, or another store's name for the kind of thing.
    pub table: &'static str,
    /// The column.
    pub column: &'static str,
    /// Whose row; 0 for the service's own.
    pub user: i64,
    /// Which of their rows: the record number, message number or the like.
    pub record: i64,
}

/// A key that seals one person's data (or the service's own), in the clear, with the keys before it, which
/// only open. However often it is handed on, it is in memory once, and forgotten with zeros: what is moved
/// would leave copies behind.
#[derive(Clone)]
pub struct DataKey(Arc<Kept>);

struct Kept {
    bytes: Zeroizing<[u8; 32]>,
    number: u32,
    /// Empty for nearly everybody: keys are rotated once in years.
    older: Vec<DataKey>,
}

impl DataKey {
    /// The key numbered `number` among its owner's.
    pub fn new(bytes: &[u8; 32], number: u32) -> Self {
        Self::with_older(bytes, number, Vec::new())
    }

    /// The same, with the keys that its owner had before.
    pub fn with_older(bytes: &[u8; 32], number: u32, older: Vec<Self>) -> Self {
        let mut kept = Arc::new(Kept { bytes: Zeroizing::default(), number, older });
        // Copied to where it stays, and nowhere in between. Nobody else has it yet.
        if let Some(kept) = Arc::get_mut(&mut kept) {
            kept.bytes.copy_from_slice(bytes);
        }
        Self(kept)
    }

    /// That one of its owner's keys, if it is at hand.
    pub fn numbered(&self, number: u32) -> Option<&Self> {
        if self.number() == number {
            return Some(self);
        }
        self.0.older.iter().find(|key| key.number() == number)
    }

    /// The key itself.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0.bytes
    }

    /// Its number among its owner's keys, from 1; stands in every envelope.
    pub fn number(&self) -> u32 {
        self.0.number
    }
}

impl std::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataKey").finish_non_exhaustive()
    }
}

/// What log lines call a user: the same for as long as the key is the same under which it is made, and
/// without that key nobody finds out whose it is, not even by trying all ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UserTag(pub [u8; 8]);

impl std::fmt::Display for UserTag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

/// Seals with a key that is ready, as [`Seal::seal`] does.
pub type Sealing<'s> = Box<dyn Fn(Place, &Phi<Vec<u8>>) -> Sealed + 's>;

/// Seals and opens with a key at hand; no I/O.
pub trait Seal: Send + Sync {
    /// Seals `plaintext` for its place.
    fn seal(&self, key: &DataKey, place: Place, plaintext: &Phi<Vec<u8>>) -> Sealed;

    /// The same for one thing after the other with one key, which is made ready once.
    fn with<'s>(&'s self, key: &'s DataKey) -> Sealing<'s> {
        Box::new(move |place, plaintext| self.seal(key, place, plaintext))
    }

    /// Opens what [`Seal::seal`] gave for this key or one before it.
    ///
    /// # Errors
    ///
    /// When the bytes are damaged, belong elsewhere or were sealed with another key.
    fn open(&self, key: &DataKey, place: Place, sealed: &[u8]) -> Result<Phi<Vec<u8>>, Unopened>;
}

/// Sealed bytes that do not open; says nothing of what is in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unopened {
    /// It is no envelope.
    #[error("the sealed bytes are damaged")]
    Damaged,
    /// Another release made it.
    #[error("the envelope has version {0}, which this release does not know")]
    UnknownVersion(u8),
    /// Another release made it, with a cipher of its own.
    #[error("it was sealed with algorithm {0}, which this release does not know")]
    UnknownAlgorithm(u8),
    /// It was sealed with another key of its owner.
    #[error("it was sealed with key number {0}, which is not at hand")]
    OtherKey(u32),
    /// Key, place or content is not what was sealed.
    #[error("the sealed bytes do not belong here, or were changed")]
    NotAuthentic,
}

/// Gives the data keys of users, wrapped at rest by a key-encryption key.
#[async_trait]
pub trait KeyRing: Send + Sync {
    /// What log lines call a user; [`UserTag::default`] before the service's own key was asked for.
    fn tag_of(&self, user_id: &str) -> UserTag;

    /// The newest key of each user with those before it, in the order asked for; made and kept safe first for a
    /// user who never had one, and `None` for a user whose keys were destroyed. Asking twice gives the same
    /// keys, whoever asks.
    ///
    /// # Errors
    ///
    /// When the key store or the key-encryption key cannot be reached, or a key does not unwrap.
    async fn keys_of(&self, users: &[UserNumber]) -> Result<Vec<Option<DataKey>>, KeysAway>;

    /// The same for users whose numbers have just been given, in ascending order: as a rule they have no key
    /// yet, and nobody need look for one. `None` for a number whose keys were destroyed: somebody had it of whom
    /// a restored store does not know.
    ///
    /// # Errors
    ///
    /// As [`KeyRing::keys_of`].
    async fn first_keys_of(&self, users: &[UserNumber]) -> Result<Vec<Option<DataKey>>, KeysAway> {
        self.keys_of(users).await
    }

    /// The service's own key, for what belongs to nobody, as this process knows it.
    ///
    /// # Errors
    ///
    /// As [`KeyRing::keys_of`].
    async fn service_key(&self) -> Result<DataKey, KeysAway>;

    /// The same as it is by now: somebody may have made a newer one.
    ///
    /// # Errors
    ///
    /// As [`KeyRing::keys_of`].
    async fn newest_service_key(&self) -> Result<DataKey, KeysAway> {
        self.service_key().await
    }

    /// The number of a user's newest key that is not destroyed, whether it unwraps or not.
    ///
    /// # Errors
    ///
    /// When the key store cannot be reached.
    async fn newest_number(&self, user: UserNumber) -> Result<Option<u32>, KeysAway>;

    /// Makes a user's next key, which seals from now on; also for a user whose keys were destroyed.
    ///
    /// # Errors
    ///
    /// As [`KeyRing::keys_of`].
    async fn renew(&self, user: UserNumber) -> Result<(), KeysAway>;

    /// Destroys all keys of a user with numbers up to `upto`. What they have sealed never opens again, and no
    /// other key is made but by [`KeyRing::renew`].
    ///
    /// # Errors
    ///
    /// When the key store cannot be reached: then some may be left.
    async fn destroy(&self, user: UserNumber, upto: u32) -> Result<(), KeysAway>;

    /// Everybody whose keys were destroyed and who has no new one.
    ///
    /// # Errors
    ///
    /// When the key store cannot be reached.
    async fn destroyed(&self) -> Result<Vec<UserNumber>, KeysAway>;
}

/// Opens what the service's own key has sealed, perhaps a newer one than this process has met.
///
/// # Errors
///
/// When the keys are away; what does not open is the inner error.
pub async fn open_own(
    keys: &dyn KeyRing,
    seal: &dyn Seal,
    place: Place,
    sealed: &[u8],
) -> Result<Result<Phi<Vec<u8>>, Unopened>, KeysAway> {
    match seal.open(&keys.service_key().await?, place, sealed) {
        Err(Unopened::OtherKey(_)) => {
            Ok(seal.open(&keys.newest_service_key().await?, place, sealed))
        }
        opened => Ok(opened),
    }
}

/// The keys cannot be had; the text names what is away and quotes no key.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct KeysAway(pub String);
