//! So many at a time ask the store, and never more; and so many wait for that, and never more. Whoever gives up before
//! their turn leaves nothing behind that still waits: however many come while the store is silent, they do not pile up.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// Who may wait, at most. A turn takes some milliseconds, so the last waits for seconds; each holds a kilobyte or two.
/// Requests are fewer (`http.connections_max`), so it is those who follow many users, and have all missed something,
/// who get there.
const WAITING_MAX: usize = 4_096;

/// Turns, and where whoever has one works.
pub(super) struct Turns {
    free: Arc<Semaphore>,
    /// Places to wait, and one for each who works.
    places: Semaphore,
    runtime: Handle,
}

/// All places to wait are taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Busy;

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotDone {
    /// It takes too long.
    Late,
    /// The service ends.
    Ended,
    /// The work has panicked.
    Panicked,
    /// Too many wait already.
    Busy,
}

impl Turns {
    /// So many at a time, on that runtime.
    pub(super) fn new(count: usize, runtime: Handle) -> Self {
        Self::with_places(count, WAITING_MAX, runtime)
    }

    /// The same, and so many wait.
    fn with_places(count: usize, waiting: usize, runtime: Handle) -> Self {
        let count = count.max(1);
        let free = Arc::new(Semaphore::new(count));
        Self { free, places: Semaphore::new(count + waiting), runtime }
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
        let place = self.place().map_err(|Busy| NotDone::Busy)?;
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
        let done = tokio::time::timeout(patience, all).await;
        drop(place);
        done.unwrap_or(Err(NotDone::Late))
    }

    /// A turn, until it is dropped, for whoever works on that runtime already and waits for as long as it takes.
    ///
    /// # Errors
    ///
    /// When too many do.
    pub(super) async fn wait(&self) -> Result<Turn<'_>, Busy> {
        let place = self.place()?;
        let turn = Arc::clone(&self.free).acquire_owned().await.map_err(|_| Busy)?;
        Ok(Turn { _turn: turn, _place: place })
    }

    fn place(&self) -> Result<SemaphorePermit<'_>, Busy> {
        self.places.try_acquire().map_err(|_| Busy)
    }
}

/// A turn.
pub(super) struct Turn<'t> {
    _turn: OwnedSemaphorePermit,
    _place: SemaphorePermit<'t>,
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
    async fn so_many_wait_and_no_more() {
        let turns = Arc::new(Turns::with_places(1, 2, Handle::current()));
        let turn = turns.wait().await.expect("nobody has it");
        let waiting: Vec<_> = (0..2)
            .map(|_| {
                let turns = Arc::clone(&turns);
                tokio::spawn(async move { turns.take(PATIENCE, async { 7 }).await })
            })
            .collect();
        while turns.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(turns.take(PATIENCE, async { 7 }).await, Err(NotDone::Busy));
        assert!(turns.wait().await.is_err());
        drop(turn);
        for waited in waiting {
            assert_eq!(waited.await.expect("it does not panic"), Ok(7));
        }
        assert_eq!(turns.take(PATIENCE, async { 7 }).await, Ok(7), "places are given back");
    }

    #[tokio::test]
    async fn a_turn_is_given_back_by_work_that_panics() {
        let turns = Turns::new(1, Handle::current());
        let panics = async { panic!("on purpose") };
        assert_eq!(turns.take::<()>(PATIENCE, panics).await, Err(NotDone::Panicked));
        assert_eq!(turns.take(PATIENCE, async { 7 }).await, Ok(7));
    }
}
