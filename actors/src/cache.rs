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

    /// Forgets a user's state.
    ///
    /// # Errors
    ///
    /// When it cannot: the state stays until it expires, and opens for nobody once its key is destroyed.
    async fn forget(&self, user_id: &str) -> Result<(), CacheAway>;
}

/// What the cache is asked for, in order.
pub(crate) enum CacheWork {
    /// Keep these.
    Keep(Vec<CachedState>),
    /// Forget this user.
    Forget(String),
}

impl CacheWork {
    /// Has it done.
    pub(crate) async fn run(self, cache: &dyn Cache) -> Result<(), CacheAway> {
        match self {
            Self::Keep(states) => cache.keep(states).await,
            Self::Forget(user_id) => cache.forget(&user_id).await,
        }
    }
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

    async fn forget(&self, _: &str) -> Result<(), CacheAway> {
        Ok(())
    }
}
