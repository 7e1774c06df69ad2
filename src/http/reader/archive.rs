//! What is stored of people. A [`Reader`](super::Reader) alone can open it, for nothing else of this is visible to
//! anybody else, and each access is in `phi_access_log` before anything is shown.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actors::restore::{RestoreError, Restorer};
use actors::seal::{DataKey, KeyRing, KeysAway, Seal};
use actors::store::{Asked, Store as _, StoreError, StoredUser};
use neuros::time::Micros;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::hub::{self, Hub};
use super::statuses;
use crate::hints::Hints;
use crate::http::problem::Problem;
use crate::store::{Access, Administration as _, SqlStore};

/// What is stored, once the service has reached it.
#[derive(Default)]
pub struct Archive {
    opened: OnceLock<Arc<Opened>>,
    /// The sockets that are open, with what is written down of their ends.
    pub(super) sockets: TaskTracker,
    /// Sockets are to end.
    ending: CancellationToken,
}

/// What is needed to read what is stored.
pub struct Opening {
    /// The store.
    pub store: Arc<SqlStore>,
    /// What opens what is in it.
    pub keys: Arc<dyn KeyRing>,
    /// See `keys`.
    pub seal: Arc<dyn Seal>,
    /// Where the store's connections live.
    pub runtime: Handle,
    /// So many read at a time.
    pub readers: usize,
    /// How long what was evaluated of a user counts as fresh.
    pub fresh_for: Micros,
}

/// The store, and what opens what is in it.
pub(super) struct Opened {
    pub(super) store: Arc<SqlStore>,
    pub(super) restorer: Restorer,
    pub(super) keys: Arc<dyn KeyRing>,
    pub(super) seal: Arc<dyn Seal>,
    /// Where the store's connections live.
    pub(super) runtime: Handle,
    /// So many read at a time: the lanes need connections too.
    pub(super) turns: Semaphore,
    pub(super) hub: Hub,
    pub(super) fresh_for: Micros,
}

/// A person's row and the key to what is theirs.
pub(super) struct File {
    pub(super) stored: StoredUser,
    pub(super) key: DataKey,
}

/// Why nothing is shown.
pub(super) enum Unread {
    /// There is no such person.
    Nobody,
    /// It cannot be written down who reads.
    NotLogged(StoreError),
    /// Store or keys are away.
    Away(String),
    /// What is stored does not open.
    Broken(String),
}

/// How long reading may take, with waiting for a turn.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long whoever is refused waits until that is written down.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(2);
/// How long sockets may take to end when the service does.
const SOCKETS_PATIENCE: Duration = Duration::from_secs(8);

impl Archive {
    /// From now on there is something to read, and to follow until `stop`.
    pub(crate) fn open(&self, opening: Opening, hints: Hints, stop: &CancellationToken) {
        let Opening { store, keys, seal, runtime, readers, fresh_for } = opening;
        let restorer = Restorer::new(Arc::clone(&store) as _, Arc::clone(&seal), Arc::clone(&keys));
        let turns = Semaphore::new(readers.max(1));
        let hub = Hub::default();
        let opened = Opened { store, restorer, keys, seal, runtime, turns, hub, fresh_for };
        // Whoever was first has the same.
        let opened = self.opened.get_or_init(|| Arc::new(opened));
        opened.runtime.spawn(hub::run(Arc::clone(opened), hints, stop.clone()));
        opened.runtime.spawn(statuses::run(Arc::clone(opened), stop.clone()));
    }

    /// Resolves when sockets are to end.
    pub(in crate::http) fn ending(&self) -> &CancellationToken {
        &self.ending
    }

    /// Ends all sockets, and waits a while until that is written down.
    pub async fn end_sockets(&self) {
        self.ending.cancel();
        self.sockets.close();
        if tokio::time::timeout(SOCKETS_PATIENCE, self.sockets.wait()).await.is_err() {
            tracing::warn!(left = self.sockets.len(), "sockets did not end in time");
        }
    }

    /// Writes `access` down, durably, and only then reads what is stored of whom it is about.
    pub(super) async fn read<T, F>(
        &self,
        access: Access,
        user_id: String,
        read: impl FnOnce(Arc<Opened>, File) -> F + Send + 'static,
    ) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Unread>> + Send,
    {
        let opened = self.opened()?;
        let runtime = opened.runtime.clone();
        // On the runtime of the connections, to its end: who asked may have gone.
        let work = runtime.spawn(async move {
            let _turn = opened.turns.acquire().await;
            opened.store.log_access(&access).await.map_err(Unread::NotLogged)?;
            let users = opened.store.users(Asked::Ids(&[&user_id])).await?;
            // Whoever was erased is nobody.
            let stored = users.into_iter().find(|stored| !stored.erased).ok_or(Unread::Nobody)?;
            let keys = opened.keys.keys_of(&[stored.user]).await?;
            let key = keys.into_iter().next().flatten().ok_or(Unread::Nobody)?;
            read(Arc::clone(&opened), File { stored, key }).await
        });
        match tokio::time::timeout(PATIENCE, work).await {
            Ok(Ok(done)) => done.map_err(told),
            Ok(Err(error)) if error.is_panic() => Err(Problem::broken()),
            Ok(Err(_)) => Err(Problem::unavailable("the service is ending")),
            Err(_) => Err(Problem::unavailable("the store takes too long to answer")),
        }
    }

    /// Writes down that somebody was refused.
    pub(super) async fn log_refusal(&self, access: Access) {
        let Ok(opened) = self.opened() else { return };
        let runtime = opened.runtime.clone();
        let written = runtime.spawn(async move { opened.store.log_access(&access).await });
        let problem = match tokio::time::timeout(REFUSAL_PATIENCE, written).await {
            Ok(Ok(Ok(()))) => return,
            Ok(Ok(Err(error))) => error.to_string(),
            Ok(Err(_)) | Err(_) => "no answer".to_owned(),
        };
        tracing::warn!(%problem, "a refusal could not be written to phi_access_log");
    }

    pub(super) fn opened(&self) -> Result<Arc<Opened>, Problem> {
        let opened = self.opened.get().cloned();
        opened.ok_or_else(|| Problem::unavailable("the service has not reached its store yet"))
    }
}

pub(super) fn told(unread: Unread) -> Problem {
    match unread {
        Unread::Nobody => Problem::not_found(),
        Unread::NotLogged(error) => {
            tracing::error!(%error, "nothing is shown: phi_access_log takes no rows");
            Problem::unavailable("it cannot be written down who reads, so nothing is shown")
        }
        Unread::Away(problem) => {
            tracing::warn!(%problem, "a read is not answered");
            Problem::unavailable("the store is away")
        }
        Unread::Broken(problem) => {
            tracing::error!(%problem, "what is stored cannot be shown");
            Problem::broken()
        }
    }
}

impl From<StoreError> for Unread {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Away(_) | StoreError::NotYet(_) | StoreError::Denied(_) => {
                Self::Away(error.to_string())
            }
            StoreError::Refused(_) | StoreError::Outdated(_) => Self::Broken(error.to_string()),
        }
    }
}

impl From<KeysAway> for Unread {
    fn from(error: KeysAway) -> Self {
        Self::Away(error.to_string())
    }
}

impl From<RestoreError> for Unread {
    fn from(error: RestoreError) -> Self {
        match error {
            RestoreError::Store(error) => error.into(),
            RestoreError::Keys(error) => error.into(),
            // Its text says nothing of whom.
            RestoreError::Unreadable { .. } => Self::Broken(error.to_string()),
        }
    }
}
