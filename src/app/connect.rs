//! Reaching the servers at start: each is waited for with growing pauses, and `/ready` says for what.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use actors::lane::{Lane, Positions, Routing};
use actors::ports::Ports;
use actors::seal::{KeyRing, KeysAway};
use actors::store::{Store as _, StoreError};
use neuros::Policy;
use neuros::time::{Micros, Timestamp};
use tokio::runtime::Runtime;

use super::keys::{key_encryptions, keys_are_moved, keys_belong, open_key_store};
use super::{Broken, Starting, StoredKeys, broken, routing_of, store_options};
use crate::kafka::topics::{self, Found};
use crate::seal::key_file::KeyFile;
use crate::seal::key_ring::StoredKeyRing;
use crate::store::{Administration as _, Adoption, Options, SqlStore};
use crate::telemetry::UNFINISHED;

/// Pauses between attempts, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// The runtime on which connections live: apart from the lanes' threads, which compute.
pub(super) fn runtime() -> Result<Runtime, Broken> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("connections")
        .enable_all()
        .build()
        .map_err(broken)
}

/// An attempt that may be worth another.
pub(super) enum Attempt {
    /// It may work later.
    Later(String),
    /// It will not.
    Never(String),
}

impl From<StoreError> for Attempt {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Away(problem) | StoreError::NotYet(problem) => Self::Later(problem),
            StoreError::Denied(_) => Self::Never(format!("{error}; correct POSTGRES_URL")),
            StoreError::Refused(problem) | StoreError::Outdated(problem) => Self::Never(problem),
        }
    }
}

/// What a key store says; whoever reads it must not take it for the other database.
fn of_keys(error: StoreError) -> Attempt {
    match Attempt::from(error) {
        Attempt::Later(problem) => Attempt::Later(format!("the key store (keys.url): {problem}")),
        Attempt::Never(problem) => Attempt::Never(format!(
            "the key store (keys.url): {}",
            problem.replace("POSTGRES_URL", "KEYS_URL")
        )),
    }
}

impl Starting<'_> {
    /// Tries until it works, it can never work, or the service is to stop (`None`).
    pub(super) async fn patiently<T, F: Future<Output = Result<T, Attempt>>>(
        &self,
        part: &'static str,
        mut attempt: impl FnMut() -> F,
    ) -> Result<Option<T>, Broken> {
        let mut pause = PAUSE.0;
        loop {
            let problem = match attempt().await {
                Ok(done) => {
                    self.watch.part(part, Ok(()));
                    return Ok(Some(done));
                }
                Err(Attempt::Never(problem)) => return Err(Broken(problem)),
                Err(Attempt::Later(problem)) => problem,
            };
            tracing::warn!(part, %problem, "waiting");
            self.watch.part(part, Err(problem));
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE.1),
                () = self.stop.cancelled() => return Ok(None),
            }
        }
    }

    pub(super) async fn store(&self, migrate: bool) -> Result<Option<Arc<SqlStore>>, Broken> {
        self.watch.part("postgres", Err("not connected yet".to_owned()));
        let url = self.settings.store.url.expose().to_owned();
        let writer = format!("service/{}", uuid::Uuid::new_v4());
        let options = Options { writer, ..store_options(self.settings) };
        let opened = self.runtime.spawn(async move { crate::store::open(&url, &options).await });
        let store = opened.await.map_err(|_| broken(UNFINISHED))?.map_err(broken)?;
        let ready = self
            .patiently("postgres", || {
                let store = Arc::clone(&store);
                self.carry(async move {
                    let status = store.schema_status().await?;
                    if migrate && status.unknown.is_empty() && !status.pending.is_empty() {
                        store.migrate_up().await?;
                        return Ok(());
                    }
                    Ok(status.check()?)
                })
            })
            .await?;
        Ok(ready.map(|()| store))
    }

    /// Where the keys are: the store itself, or a database of their own, whose schema must be this program's.
    pub(super) async fn key_store(
        &self,
        store: &Arc<SqlStore>,
        migrate: bool,
    ) -> Result<Option<Arc<SqlStore>>, Broken> {
        let opened = self
            .patiently("postgres", || {
                let (settings, own) = (self.settings.clone(), Arc::clone(store));
                self.carry(async move { Ok(open_key_store(&settings, &own).await?) })
            })
            .await?;
        let Some(key_store) = opened else { return Ok(None) };
        if self.settings.keys.url.is_none() {
            return Ok(Some(key_store));
        }
        let ready = self
            .patiently("keys", || {
                let (store, key_store) = (Arc::clone(store), Arc::clone(&key_store));
                self.carry(async move {
                    let status = key_store.key_schema_status().await.map_err(of_keys)?;
                    if migrate && status.unknown.is_empty() && !status.pending.is_empty() {
                        key_store.migrate_keys_up().await.map_err(of_keys)?;
                    } else {
                        status.check().map_err(of_keys)?;
                    }
                    Ok(keys_are_moved(&store).await?)
                })
            })
            .await?;
        Ok(ready.map(|()| key_store))
    }

    /// Does something on the runtime of the connections.
    async fn carry<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Attempt>> + Send + 'static,
    ) -> Result<T, Attempt> {
        let done = self.runtime.spawn(work).await;
        done.unwrap_or_else(|_| Err(Attempt::Never(UNFINISHED.to_owned())))
    }

    pub(super) async fn keys(
        &self,
        store: &Arc<SqlStore>,
        key_store: &Arc<SqlStore>,
        key_file: Option<KeyFile>,
        fresh_for: Micros,
    ) -> Result<Option<Arc<StoredKeyRing>>, Broken> {
        let runtime = self.runtime.handle();
        let stored = StoredKeys::new(Arc::clone(key_store), runtime.clone());
        let encryptions = key_encryptions(self.settings, key_file, runtime).map_err(Broken)?;
        let ring = Arc::new(StoredKeyRing::new(Arc::new(stored), encryptions));
        self.show(store, &ring, fresh_for)?;
        let ready = self
            .patiently("keys", || {
                let (store, key_store) = (Arc::clone(store), Arc::clone(key_store));
                let ring = Arc::clone(&ring);
                async move {
                    keys_belong(&store, &key_store).await.map_err(of_keys)?;
                    let later = |error: KeysAway| Attempt::Later(error.to_string());
                    ring.encryptions().wraps().check().await.map_err(later)?;
                    ring.service_key().await.map(|_| ()).map_err(later)
                }
            })
            .await?;
        Ok(ready.map(|()| ring))
    }

    pub(super) async fn topics(&self) -> Result<Option<Found>, Broken> {
        self.patiently("topics", || {
            let (connection, names) = (self.connection.clone(), self.topics.clone());
            async move {
                let (asker, asked) = (connection.clone(), names.clone());
                let asked =
                    tokio::task::spawn_blocking(move || topics::find(&asker, &asked, ASK_TIMEOUT));
                let asked = asked.await.map_err(|_| Attempt::Never(UNFINISHED.to_owned()))?;
                let found = asked.map_err(|error| Attempt::Later(error.to_string()))?;
                let make = "`biometric-bridge topics create` makes what is missing";
                for (name, partitions) in
                    [(&names.events, found.events), (&names.by_user, found.by_user)]
                {
                    if partitions == 0 {
                        return Err(Attempt::Later(format!("there is no topic {name}; {make}")));
                    }
                }
                if found.events != found.by_user {
                    return Err(Attempt::Later(format!(
                        "{} has {} partitions and {} has {}; both must have the same number",
                        names.events, found.events, names.by_user, found.by_user
                    )));
                }
                for missing in &found.missing {
                    tracing::warn!(topic = missing, "there is no such topic; {make}");
                }
                Ok(found)
            }
        })
        .await
    }

    /// Says so when records keep their producers' timestamps; nobody waits for it.
    pub(super) fn look_at_timestamps(&self) {
        let (connection, names) = (self.connection.clone(), self.topics.clone());
        self.runtime.spawn(async move {
            if topics::stamps_on_arrival(&connection, &names).await == Some(false) {
                tracing::warn!(
                    topic = names.events,
                    "records keep their producers' timestamps, which judge what is live: set \
                     message.timestamp.type=LogAppendTime, except for recorded logs"
                );
            }
        });
    }

    /// How users map to lanes, as the store says; written when this is the first start ever, or the
    /// log is to be adopted.
    pub(super) async fn routing(
        &self,
        store: &Arc<SqlStore>,
        ports: &Ports,
        found: &Found,
        adopt: bool,
    ) -> Result<Option<Routing>, Broken> {
        let wanted = routing_of(self.settings, found);
        self.patiently("postgres", || {
            let (store, ports, wanted) = (Arc::clone(store), ports.clone(), wanted.clone());
            async move {
                let stored = store.routing().await?;
                let Some(stored) = stored.filter(|_| !adopt) else {
                    let positions = starts(&ports, wanted.partition_count).await?;
                    let (at, reason) = (ports.clock.now(), "the log was made anew".to_owned());
                    let adoption = Adoption { routing: wanted.clone(), positions, reason, at };
                    return Ok(begin(&store, adopt, adoption).await?);
                };
                // While it expands, homes are where they were; whatever else differs is told by every
                // claim, with the cure.
                let (expanding, generation) = (stored.expanding, stored.generation);
                let partition_count =
                    if expanding { stored.partition_count } else { wanted.partition_count };
                Ok(Routing { partition_count, expanding, generation, ..wanted })
            }
        })
        .await
    }

    pub(super) async fn policy(
        &self,
        store: &Arc<SqlStore>,
        policy: &Policy,
    ) -> Result<Option<i32>, Broken> {
        self.patiently("postgres", || {
            let (store, text, version) =
                (Arc::clone(store), policy.to_yaml(), policy.version.clone());
            async move { Ok(store.keep_policy(&version, &text).await?) }
        })
        .await
    }
}

async fn begin(store: &SqlStore, adopt: bool, adoption: Adoption) -> Result<Routing, StoreError> {
    if adopt {
        store.adopt(&adoption).await
    } else {
        store.begin(&adoption.routing, &adoption.positions).await
    }
}

/// Where the log of each lane begins.
async fn starts(ports: &Ports, lanes: i32) -> Result<Vec<(Lane, Positions)>, Attempt> {
    let mut positions = Vec::new();
    for lane in (0..lanes).map(Lane) {
        let starts = ports.log.starts(lane).await;
        positions.push((lane, starts.map_err(|error| Attempt::Later(error.to_string()))?));
    }
    Ok(positions)
}

/// The system's clock, for lanes.
pub(super) struct SystemClock;

impl actors::clock::Clock for SystemClock {
    fn now(&self) -> Timestamp {
        now()
    }
}

/// The time, by the system's clock.
#[expect(clippy::disallowed_methods, reason = "this is the outermost edge")]
pub fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let micros = since.map_or(0, |since| since.as_micros());
    Timestamp::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
}
