//! Connections on their way from one commit to the next. The pool asks a connection that comes back whether it still
//! answers, and so do we, lest it ask for ever: that is a third of all that a small batch asks of the server. Only a
//! few wait here, for everybody else needs connections too.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::Postgres;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgPool};
use tokio::time::Instant;

use crate::store::postgres::IN_USE;

/// One that was away from the pool for so long goes back to it, which ends old ones.
const AWAY_MAX: Duration = Duration::from_mins(1);

/// The pool, and who waits in front of it.
#[derive(Clone)]
pub(in super::super) struct Connections {
    pool: PgPool,
    waiting: Arc<Waiting>,
}

struct Waiting {
    /// None once the pool ends.
    connections: Mutex<Option<Vec<Kept>>>,
    max: usize,
}

/// A connection that commits.
pub(super) struct Kept {
    connection: PoolConnection<Postgres>,
    /// When the pool gave it.
    given: Instant,
    /// When its last commit ended.
    left: Instant,
}

impl Connections {
    /// Of `pool`, which has `connections` at most: a quarter of them may wait here.
    pub(in super::super) fn of(pool: PgPool, connections: u32) -> Self {
        let max = usize::try_from(connections / 4).unwrap_or_default();
        let connections = Mutex::new(Some(Vec::new()));
        Self { pool, waiting: Arc::new(Waiting { connections, max }) }
    }

    /// One that a commit has left just now, or else one of the pool's.
    pub(super) async fn get(&self) -> Result<Kept, sqlx::Error> {
        if let Some(kept) = self.waiting.take() {
            return Ok(kept);
        }
        let (connection, given) = (self.pool.acquire().await?, Instant::now());
        Ok(Kept { connection, given, left: given })
    }

    /// For the next commit, or back to the pool.
    pub(super) fn keep(&self, kept: Kept) {
        let mut waiting = self.waiting.lock();
        if let Some(waiting) = &mut *waiting
            && waiting.len() < self.waiting.max
            && kept.given.elapsed() < AWAY_MAX
        {
            waiting.push(Kept { left: Instant::now(), ..kept });
        }
    }

    /// Gives all back, for the pool ends.
    pub(in super::super) fn give_back(&self) {
        drop(self.waiting.lock().take());
    }
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Option<Vec<Kept>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one that came last, if that was just now; otherwise all go back, for the others have waited longer still.
    fn take(&self) -> Option<Kept> {
        let mut waiting = self.lock();
        let waiting = waiting.as_mut()?;
        let last = waiting.pop()?;
        if last.left.elapsed() < IN_USE {
            return Some(last);
        }
        waiting.clear();
        None
    }
}

impl Drop for Waiting {
    /// What goes back to a pool needs a runtime, which may be over.
    fn drop(&mut self) {
        let waiting = self.lock().take();
        waiting.into_iter().flatten().for_each(Kept::end);
    }
}

impl Kept {
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Without its goodbye, which could wait for ever: the server rolls back when it notices.
    pub(super) fn end(self) {
        drop(self.connection.detach());
    }
}
