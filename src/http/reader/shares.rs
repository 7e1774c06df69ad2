//! So many of each subject read at a time, and never more: nobody takes all turns. Whoever has theirs keeps nobody
//! waiting but themselves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What each subject has a part in.
pub(super) struct Shares {
    most: usize,
    /// Of those who read, or wait to.
    of: Mutex<BTreeMap<String, Arc<Semaphore>>>,
}

impl Shares {
    /// So many at a time of each.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, of: Mutex::default() })
    }

    /// A share of this one's, once it is free.
    pub(super) async fn take(self: &Arc<Self>, whose: &str) -> Share {
        let free = Arc::clone(
            self.lock()
                .entry(whose.to_owned())
                .or_insert_with(|| Arc::new(Semaphore::new(self.most))),
        );
        let place = Place { whose: whose.to_owned(), free, shares: Arc::clone(self) };
        let turn = Arc::clone(&place.free).acquire_owned().await.ok();
        Share { _turn: turn, _place: place }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Semaphore>>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A share, until it is dropped.
pub(super) struct Share {
    /// Given back before the place is.
    _turn: Option<OwnedSemaphorePermit>,
    _place: Place,
}

/// Somebody who reads or waits to; with the last of a subject's, the subject is forgotten.
struct Place {
    whose: String,
    free: Arc<Semaphore>,
    shares: Arc<Shares>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut of = self.shares.lock();
        // Of these one is in the list, and one is this place's.
        if Arc::strong_count(&self.free) == 2 {
            of.remove(&self.whose);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_has_their_share_waits_and_nobody_else_does() {
        let shares = Shares::new(2);
        let held = [shares.take("greedy").await, shares.take("greedy").await];
        let waiting = tokio::spawn({
            let shares = Arc::clone(&shares);
            async move { shares.take("greedy").await }
        });
        drop(shares.take("other").await);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(held);
        drop(waiting.await.expect("its turn comes"));
        assert!(shares.lock().is_empty(), "nobody is remembered who reads nothing");
    }

    #[tokio::test]
    async fn whoever_gives_up_leaves_nothing_behind() {
        let shares = Shares::new(1);
        let held = shares.take("greedy").await;
        let late = tokio::time::timeout(std::time::Duration::ZERO, shares.take("greedy"));
        assert!(late.await.is_err());
        drop(held);
        assert!(shares.lock().is_empty());
        drop(shares.take("greedy").await);
    }
}
