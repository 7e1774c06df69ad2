//! The cache: users' newest states for readers in a hurry. It may be flushed or away at any moment, and
//! nothing is decided by what it holds.

use async_trait::async_trait;

use crate::seal::Sealed;

/// A user's state after a committed batch.
#[derive(Clone)]
pub struct CachedState {
    /// Whose.
    pub user_id: String,
    /// The number of the newest record in it: an older state never replaces a newer one.
    pub version: i64,
    /// The state, a sealed checkpoint.
    pub body: Sealed,
}

/// Keeps the newest states.
#[async_trait]
pub trait Cache: Send + Sync {
    /// Keeps those that are newer than what is there.
    ///
    /// # Errors
    ///
    /// When it cannot; the caller goes on without.
    async fn keep(&self, states: Vec<CachedState>) -> Result<(), CacheAway>;
}

/// The cache cannot be had; the text quotes no key.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the cache is away: {0}")]
pub struct CacheAway(pub String);

/// No cache at all.
pub struct NoCache;

#[async_trait]
impl Cache for NoCache {
    async fn keep(&self, _: Vec<CachedState>) -> Result<(), CacheAway> {
        Ok(())
    }
}
