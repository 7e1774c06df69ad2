//! What is stored of people. A [`Reader`](super::Reader) alone can open it, for nothing else of this is visible to
//! anybody else, and each access is in `phi_access_log` before anything is shown.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actors::phi::Phi;
use actors::restore::Restorer;
use actors::seal::{DataKey, KeyRing, Place, Seal};
use actors::store::{Asked, Store as _, StoredUser};
use neuros::time::Micros;
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ended::Ended;
use super::hub::{self, Hub};
use super::shares::Shares;
use super::statuses;
use super::turns::{NotDone, Turns};
use super::unread::{Unread, told};
use crate::hints::Hints;
use crate::http::problem::Problem;
use crate::http::refusals::Unwritten;
use crate::retrace::Source;
use crate::store::{Access, Administration as _, SqlStore};

/// What is stored, once the service has reached it.
#[derive(Default)]
pub struct Archive {
    opened: OnceLock<Arc<Opened>>,
    /// The sockets that are open, with what is written down of their ends.
    pub(super) sockets: TaskTracker,
    /// Sockets are to end.
    ending: CancellationToken,
    /// See `ending`.
    how: OnceLock<Ending>,
}

/// How the service ends for whoever follows somebody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// It goes on, here in another process or at another instance.
    #[default]
    Restart,
    /// Nobody knows that it does.
    Away,
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
    pub(super) seal: Arc<dyn Seal>,
    pub(super) keys: Arc<dyn KeyRing>,
    /// Where the store's connections live.
    pub(super) runtime: Handle,
    /// So many read at a time there: the lanes need connections too.
    pub(super) turns: Turns,
    /// Nobody has all of them.
    shares: Arc<Shares>,
    /// What is no read is written down one after the other.
    writing: Turns,
    pub(super) hub: Hub,
    pub(super) ended: Ended,
    pub(super) fresh_for: Micros,
}

/// A person's row and the key to what is theirs.
pub(super) struct File {
    pub(super) stored: StoredUser,
    pub(super) key: DataKey,
}

impl Opened {
    /// The records of whose file this is.
    pub(super) fn source<'s>(&'s self, File { stored, key }: &'s File) -> Source<'s> {
        Source { store: &self.store, restorer: &self.restorer, stored, key }
    }

    /// Opens something of whose file this is.
    pub(super) async fn open(
        &self,
        file: &File,
        place: Place,
        sealed: &[u8],
    ) -> Result<Phi<Vec<u8>>, Unread> {
        let opened = self.restorer.open(file.stored.user, &file.key, place, sealed).await?;
        opened.map_err(|error| super::unread(place, &error.to_string()))
    }
}

/// How long reading may take, with waiting for a turn.
const PATIENCE: Duration = Duration::from_secs(15);
/// Of what one subject asks so much is read at a time; there are turns for as many as half of the connections.
const READS_OF_ONE: usize = 2;
/// How often somebody looks whether a command is carried out.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long whoever is refused waits until that is written down.
pub(super) const LOG_PATIENCE: Duration = Duration::from_secs(2);
/// How long sockets may take to end when the service does.
const SOCKETS_PATIENCE: Duration = Duration::from_secs(8);

impl Archive {
    /// From now on there is something to read, and to follow until `stop`.
    pub(crate) fn open(&self, opening: Opening, hints: Hints, stop: &CancellationToken) {
        let Opening { store, keys, seal, runtime, readers, fresh_for } = opening;
        let restorer = Restorer::new(Arc::clone(&store) as _, Arc::clone(&seal), Arc::clone(&keys));
        let turns = Turns::new(readers, runtime.clone());
        let writing = Turns::new(1, runtime.clone());
        let (shares, hub, ended) = (Shares::new(READS_OF_ONE), Hub::default(), Ended::default());
        let opened = Opened {
            store,
            restorer,
            seal,
            keys,
            runtime,
            turns,
            shares,
            writing,
            hub,
            ended,
            fresh_for,
        };
        // Whoever was first has the same.
        let opened = self.opened.get_or_init(|| Arc::new(opened));
        opened.runtime.spawn(hub::run(Arc::clone(opened), hints, stop.clone()));
        opened.runtime.spawn(statuses::run(Arc::clone(opened), stop.clone()));
    }

    /// Resolves when sockets are to end.
    pub(in crate::http) fn ending(&self) -> &CancellationToken {
        &self.ending
    }

    /// How they end then.
    pub(in crate::http) fn how_it_ends(&self) -> Ending {
        self.how.get().copied().unwrap_or_default()
    }

    /// Ends all sockets, and waits a while until that is written down.
    pub async fn end_sockets(&self, how: Ending) {
        self.how.get_or_init(|| how);
        self.ending.cancel();
        self.sockets.close();
        if tokio::time::timeout(SOCKETS_PATIENCE, self.sockets.wait()).await.is_err() {
            tracing::warn!(left = self.sockets.len(), "sockets did not end in time");
        }
        self.log_ends().await;
    }

    /// Writes down that somebody follows no more.
    pub(super) fn log_end(&self, rows: Vec<Access>) {
        let Ok(opened) = self.opened() else { return };
        if rows.is_empty() {
            return;
        }
        let (runtime, token) = (opened.runtime.clone(), self.sockets.token());
        runtime.spawn(async move {
            opened.log_ends(rows).await;
            drop(token);
        });
    }

    /// Tries again to write down what ended and was not written; does not wait for long.
    pub(in crate::http) async fn log_ends(&self) {
        let Ok(opened) = self.opened() else { return };
        if opened.ended.is_empty() {
            return;
        }
        let again = Arc::clone(&opened);
        let work = async move { again.log_ends_again().await };
        if opened.writing.take(LOG_PATIENCE, work).await.is_err() {
            tracing::warn!("ends of subscriptions are still to be written down");
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
        self.carry(access.accessor_id.clone(), Some(access), user_id, read).await
    }

    /// Goes on reading what it was written down that `accessor_id` reads.
    pub(super) async fn read_on<T, F>(
        &self,
        accessor_id: String,
        user_id: String,
        read: impl FnOnce(Arc<Opened>, File) -> F + Send + 'static,
    ) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Unread>> + Send,
    {
        self.carry(accessor_id, None, user_id, read).await
    }

    async fn carry<T, F>(
        &self,
        accessor_id: String,
        access: Option<Access>,
        user_id: String,
        read: impl FnOnce(Arc<Opened>, File) -> F + Send + 'static,
    ) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Unread>> + Send,
    {
        let archive = self.opened()?;
        let opened = Arc::clone(&archive);
        let end = Instant::now() + PATIENCE;
        let share = tokio::time::timeout_at(end, archive.shares.take(&accessor_id)).await;
        let share = share.map_err(|_| undone(NotDone::Late))?;
        let work = async move {
            // Whoever asks and goes away still has it, until the work is done.
            let _share = share;
            if let Some(access) = access {
                opened.store.log_access(&access).await.map_err(Unread::NotLogged)?;
            }
            let users = opened.store.users(Asked::Ids(&[&user_id])).await?;
            // Whoever was erased is nobody.
            let stored = users.into_iter().find(|stored| !stored.erased).ok_or(Unread::Nobody)?;
            let keys = opened.keys.keys_of(&[stored.user]).await?;
            let key = keys.into_iter().next().flatten().ok_or(Unread::Nobody)?;
            read(Arc::clone(&opened), File { stored, key }).await
        };
        match archive.turns.take(end.saturating_duration_since(Instant::now()), work).await {
            Ok(done) => done.map_err(told),
            Err(not_done) => Err(undone(not_done)),
        }
    }

    /// What came of a command; `None` when it is not carried out within `patience`.
    pub(super) async fn outcome(
        &self,
        command: i64,
        patience: Duration,
    ) -> Result<Option<String>, Problem> {
        let archive = self.opened()?;
        let look = async || {
            let opened = Arc::clone(&archive);
            let work = async move { opened.store.outcome(command).await };
            archive.turns.take(patience, work).await.ok().and_then(Result::ok).flatten()
        };
        let waited = tokio::time::timeout(patience, async {
            loop {
                if let Some(outcome) = look().await {
                    return outcome;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        Ok(waited.await.ok())
    }

    /// Writes down what is no read; `then` happens once that is committed.
    ///
    /// # Errors
    ///
    /// Why that is not known, or is not so.
    pub(super) async fn log(
        &self,
        access: Access,
        then: impl FnOnce() + Send + 'static,
    ) -> Result<(), String> {
        let archive = self.opened().map_err(|_| "the store is not reached yet".to_owned())?;
        let opened = Arc::clone(&archive);
        let work = async move {
            let written = opened.store.log_access(&access).await;
            written.map(|()| then()).map_err(|error| error.to_string())
        };
        let written = archive.writing.take(LOG_PATIENCE, work).await;
        written.unwrap_or_else(|_| Err("no answer".to_owned()))
    }

    /// Writes down that somebody was refused; says whether that is known to be written.
    pub(super) async fn log_refusal(&self, access: Access, unwritten: Unwritten) -> bool {
        let written = self.log(access, move || unwritten.written()).await;
        if let Err(problem) = &written {
            tracing::warn!(%problem, "a refusal is not in phi_access_log yet");
        }
        written.is_ok()
    }

    pub(super) fn opened(&self) -> Result<Arc<Opened>, Problem> {
        let opened = self.opened.get().cloned();
        opened.ok_or_else(|| Problem::unavailable("the service has not reached its store yet"))
    }
}

pub(super) fn undone(not_done: NotDone) -> Problem {
    match not_done {
        NotDone::Panicked => Problem::broken(),
        NotDone::Ended => Problem::unavailable("the service is ending"),
        NotDone::Late => Problem::unavailable("the store takes too long to answer"),
        NotDone::Busy => told(Unread::Busy),
    }
}
