//! Sealing: nothing about a person's body leaves the service in the clear. What seals is behind a
//! port; here is only what is sealed, for whom and where it will lie.

use async_trait::async_trait;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::lane::UserNumber;

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

/// A key that seals one person's data (or the service's own), in the clear; forgotten with zeros.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct DataKey {
    bytes: [u8; 32],
    #[zeroize(skip)]
    number: u32,
}

impl DataKey {
    /// The key numbered `number` among its owner's.
    pub fn new(bytes: [u8; 32], number: u32) -> Self {
        Self { bytes, number }
    }

    /// The key itself.
    pub fn expose(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// Its number among its owner's keys, from 1; stands in every envelope.
    pub fn number(&self) -> u32 {
        self.number
    }
}

impl std::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataKey").finish_non_exhaustive()
    }
}

/// Seals and opens with a key at hand; no I/O.
pub trait Seal: Send + Sync {
    /// Seals `plaintext` for its place.
    fn seal(&self, key: &DataKey, place: Place, plaintext: &[u8]) -> Sealed;

    /// Opens what [`Seal::seal`] gave.
    ///
    /// # Errors
    ///
    /// When the bytes are damaged, belong elsewhere or were sealed with another key.
    fn open(&self, key: &DataKey, place: Place, sealed: &[u8]) -> Result<Vec<u8>, Unopened>;
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
    /// The newest key of each user, in the order asked for; made and kept safe first for a user who
    /// has none. Asking twice gives the same key, whoever asks.
    ///
    /// # Errors
    ///
    /// When the key store or the key-encryption key cannot be reached, or a key does not unwrap.
    async fn keys_of(&self, users: &[UserNumber]) -> Result<Vec<DataKey>, KeysAway>;

    /// The same for users whose numbers have just been given, in ascending order: as a rule they have no key
    /// yet, and nobody need look for one.
    ///
    /// # Errors
    ///
    /// As [`KeyRing::keys_of`].
    async fn first_keys_of(&self, users: &[UserNumber]) -> Result<Vec<DataKey>, KeysAway> {
        self.keys_of(users).await
    }

    /// The service's own key, for what belongs to nobody.
    ///
    /// # Errors
    ///
    /// As [`KeyRing::keys_of`].
    async fn service_key(&self) -> Result<DataKey, KeysAway>;
}

/// The keys cannot be had; the text names what is away and quotes no key.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct KeysAway(pub String);
