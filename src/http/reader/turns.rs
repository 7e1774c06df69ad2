//! So many at a time ask the store, and never more. Whoever gives up before their turn leaves nothing behind that
//! still waits: however many come while the store is silent, they do not pile up.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Turns, and where whoever has one works.
pub(super) struct Turns {
    free: Arc<Semaphore>,
    runtime: Handle,
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotDone {
    /// It takes too long.
    Late,
    /// The service ends.
    Ended,
    /// The work has panicked.
    Panicked,
}

impl Turns {
    /// So many at a time, on that runtime.
    pub(super) fn new(count: usize, runtime: Handle) -> Self {
        Self { free: Arc::new(Semaphore::new(count.max(1))), runtime }
    }

    /// Does `work` when its turn comes, and waits for that and for its end no longer than `patience`. Once begun it
    /// is done to its end: who asked may have gone.
    ///
    /// # Errors
    ///
    /// Why nothing is known of what came of it.
    pub(super) async fn take<T: Send + 'static>(
        &self,
        patience: Duration,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, NotDone> {
        let all = async {
            let turn = Arc::clone(&self.free).acquire_owned().await;
            let turn = turn.map_err(|_| NotDone::Ended)?;
            let work = self.runtime.spawn(async move {
                let done = work.await;
                drop(turn);
                done
            });
            work.await.map_err(|error| match error.is_panic() {
                true => NotDone::Panicked,
                false => NotDone::Ended,
            })
        };
        tokio::time::timeout(patience, all).await.unwrap_or(Err(NotDone::Late))
    }

    /// A turn, until it is dropped, for whoever works on that runtime already and waits for as long as it takes.
    pub(super) async fn wait(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).acquire_owned().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(15);
    const LITTLE: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn whoever_gives_up_before_their_turn_leaves_nothing_behind() {
        let (begun, answers) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let turns = Arc::new(Turns::new(2, Handle::current()));
        let asked = (0..500).map(|_| {
            let (turns, begun) = (Arc::clone(&turns), Arc::clone(&begun));
            let answers = Arc::clone(&answers);
            tokio::spawn(async move {
                let work = async move {
                    begun.fetch_add(1, Ordering::Relaxed);
                    answers.notified().await;
                };
                turns.take(LITTLE, work).await
            })
        });
        for asked in asked.collect::<Vec<_>>() {
            assert_eq!(asked.await.expect("it does not panic"), Err(NotDone::Late));
        }
        assert_eq!(begun.load(Ordering::Relaxed), 2);
        let alive = Handle::current().metrics().num_alive_tasks();
        assert_eq!(alive, 2, "those whose turn it is, and nobody else");
        // The silence ends: whoever comes now is answered, and nobody who has given up is before them.
        answers.notify_waiters();
        assert_eq!(turns.take(PATIENCE, async { 7 }).await, Ok(7));
        assert_eq!(begun.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_turn_is_given_back_by_work_that_panics() {
        let turns = Turns::new(1, Handle::current());
        let panics = async { panic!("on purpose") };
        assert_eq!(turns.take::<()>(PATIENCE, panics).await, Err(NotDone::Panicked));
        assert_eq!(turns.take(PATIENCE, async { 7 }).await, Ok(7));
    }
}
