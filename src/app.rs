//! The service: the only place where the parts are joined. It starts them in order, waits for what is
//! away, and ends them in order.

mod audit;
mod coach;
mod connect;
mod housekeeping;
mod key_usage;
pub(crate) mod keys;
mod parts;

use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actors::ports::Rules;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::audit::Auditing;
use self::housekeeping::House;
use self::key_usage::KeyUsage;
use crate::http::{Archive, Ending, Listener};
use crate::kafka::{Connection, Group, Health, Lost, Membership, TopicNames};
use crate::lanes::Lanes;
use crate::push::{self, Keeper, Peer};
use crate::retention::Retention;
use crate::seal::key_file::KeyFile;
use crate::settings::Settings;
use crate::store::SqlStore;
use crate::watch::Watch;

pub use connect::now;
pub use keys::StoredKeys;
pub use parts::{connection_of, instance, membership_of, routing_of, store_options, topics_of};

/// What a service is made of before it is started.
pub struct Setup {
    /// How it is configured.
    pub settings: Settings,
    /// The key-encryption keys of a file, if there is one.
    pub key_file: Option<KeyFile>,
    /// The policy.
    pub policy: neuros::Policy,
    /// The bound socket of the HTTP server, and by what whoever connects is met.
    pub listener: Listener,
    /// Bring the schema up first.
    pub migrate: bool,
    /// The log may be another one than the store knows: adopt it as a new generation.
    pub adopt: bool,
}

/// Why a service cannot start, or has to end: one sentence with the cure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub String);

/// Why a service that runs has to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fatal {
    /// Only a new process gets over it.
    Process(String),
    /// What it is told cannot work beside what others are told.
    Told(String),
}

impl Fatal {
    /// How the service ends for whoever follows somebody.
    pub fn ending(&self) -> Ending {
        match self {
            Self::Process(_) => Ending::Restart,
            Self::Told(_) => Ending::Away,
        }
    }
}

/// A service that runs.
pub struct Service {
    watch: Arc<Watch>,
    store: Arc<SqlStore>,
    archive: Arc<Archive>,
    membership: Membership,
    audit: Auditing,
    http: ServerHandle,
    lanes: Joined,
    stop: CancellationToken,
    deadline: Duration,
    /// Where connections live; the last to go.
    runtime: Runtime,
}

/// How long what was sent last may take to be known to be safe.
const RELAYED: Duration = Duration::from_secs(3);

/// How long connections to the database may take to end.
const CLOSING: Duration = Duration::from_secs(2);

/// How the service ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything in flight was committed or given back in time.
    InTime,
    /// The deadline came first.
    TooLate,
}

impl Service {
    /// Starts everything; must be called within an actix system. Waits for servers that are away, for
    /// as long as it takes, unless `stop` is cancelled: then there is no service.
    ///
    /// # Errors
    ///
    /// When something cannot heal by waiting.
    pub async fn start(setup: Setup, stop: CancellationToken) -> Result<Option<Self>, Broken> {
        let Setup { settings, key_file, policy, listener, migrate, adopt } = setup;
        let runtime = connect::runtime()?;
        let connection = connection_of(&settings);
        let topics = topics_of(&settings);
        let health = Arc::new(Health::default());
        let watch = Arc::new(Watch::new(Arc::clone(&health)).map_err(broken)?);
        let archive = Arc::<Archive>::default();
        let http = serve(listener, &watch, &topics, &archive, &policy, &stop)?;
        let starting = Starting {
            settings: &settings,
            connection: &connection,
            topics: &topics,
            watch: &watch,
            archive: &archive,
            runtime: &runtime,
            stop: &stop,
        };
        let joined = starting.join(key_file, policy, migrate, adopt, &health).await;
        match joined {
            Ok(Some(Running { store, audit, lanes })) => {
                let deadline = settings.shutdown.deadline;
                let membership = membership_of(&settings);
                Ok(Some(Self {
                    watch,
                    store,
                    archive,
                    membership,
                    audit,
                    http,
                    lanes,
                    stop,
                    deadline,
                    runtime,
                }))
            }
            other => {
                // The store may have been reached already, and users be followed.
                archive.end_sockets(Ending::Restart).await;
                http.stop(false).await;
                stop.cancel();
                runtime.shutdown_background();
                other.map(|_| None)
            }
        }
    }

    /// What the service knows about itself.
    pub fn watch(&self) -> &Arc<Watch> {
        &self.watch
    }

    /// Waits until something happens that this process does not get over.
    pub async fn broken(&mut self) -> Fatal {
        let lost = tokio::select! {
            problem = self.lanes.fatal.recv() => {
                let problem = problem.unwrap_or_else(|| "the lanes' threads have ended".to_owned());
                return Fatal::Process(problem);
            }
            lost = self.lanes.group.lost() => lost,
        };
        let Membership { group_id, instance_id } = &self.membership;
        match lost {
            Lost::Replaced => Fatal::Told(format!(
                "another instance has joined the group `{group_id}` with our \
                 `kafka.group_instance_id`, `{}`, and has our lanes; give each instance an id of its \
                 own, or none",
                instance_id.as_deref().unwrap_or_default()
            )),
            Lost::Failed(problem) => Fatal::Process(format!("group `{group_id}`: {problem}")),
        }
    }

    /// Ends the service within its deadline: first no new work, then what is in flight, then the rest. Whoever
    /// follows somebody is told `how`.
    pub async fn end(self, how: Ending) -> Ended {
        let Self { watch, store, archive, lanes, audit, http, stop, deadline, runtime, .. } = self;
        let Joined { group, relays, peer, .. } = lanes;
        watch.drain();
        let left = tokio::task::spawn_blocking(move || group.leave());
        let left = tokio::time::timeout(deadline, left);
        // Whoever follows somebody goes on at another instance.
        let (left, ()) = tokio::join!(left, archive.end_sockets(how));
        // Nothing more is sent; what was may still be answered, and then need not be sent again.
        relays.close();
        if tokio::time::timeout(RELAYED, relays.wait()).await.is_err() {
            tracing::warn!("what was sent last may be sent again");
        }
        if let Some(peer) = peer {
            peer.end().await;
        }
        stop.cancel();
        http.stop(true).await;
        audit.end().await;
        // The lanes have left, so nothing that is to be written is on its way: who waits for a connection that
        // hears nothing any more is no reason to be late.
        if tokio::time::timeout(CLOSING, store.close()).await.is_err() {
            tracing::warn!("connections to the database that do not answer are dropped");
        }
        runtime.shutdown_background();
        if left.is_ok() { Ended::InTime } else { Ended::TooLate }
    }
}

fn serve(
    listener: Listener,
    watch: &Arc<Watch>,
    topics: &TopicNames,
    archive: &Arc<Archive>,
    policy: &neuros::Policy,
    stop: &CancellationToken,
) -> Result<ServerHandle, Broken> {
    let (watch, archive) = (Arc::clone(watch), Arc::clone(archive));
    let stop = stop.clone();
    let server = crate::http::server(listener, watch, topics.clone(), archive, policy, stop);
    let server = server.map_err(broken)?;
    let handle = server.handle();
    actix::spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "the HTTP server has ended");
        }
    });
    Ok(handle)
}

/// A service on its way.
struct Starting<'s> {
    settings: &'s Settings,
    connection: &'s Connection,
    topics: &'s TopicNames,
    watch: &'s Arc<Watch>,
    archive: &'s Arc<Archive>,
    runtime: &'s Runtime,
    stop: &'s CancellationToken,
}

/// A service that is there.
struct Running {
    store: Arc<SqlStore>,
    audit: Auditing,
    lanes: Joined,
}

/// Its lanes, and what was started with them.
struct Joined {
    group: Group,
    fatal: mpsc::Receiver<String>,
    relays: TaskTracker,
    peer: Option<Keeper>,
}

impl Starting<'_> {
    /// Connects everything in the order in which it is needed; `None` when it was told to stop.
    async fn join(
        &self,
        key_file: Option<KeyFile>,
        policy: neuros::Policy,
        migrate: bool,
        adopt: bool,
        health: &Arc<Health>,
    ) -> Result<Option<Running>, Broken> {
        health.watch(self.connection, self.topics.clone(), self.stop.clone()).map_err(broken)?;
        let Some(store) = self.store(migrate).await? else { return Ok(None) };
        let Some(audit) = self.begin_audit(&store, &policy.version).await? else {
            return Ok(None);
        };
        let stores = (&store, migrate);
        match self.join_lanes(stores, key_file, policy, adopt, health).await {
            Ok(Some(lanes)) => Ok(Some(Running { store, audit, lanes })),
            other => {
                audit.end().await;
                other.map(|_| None)
            }
        }
    }

    /// The same from the keys on.
    async fn join_lanes(
        &self,
        (store, migrate): (&Arc<SqlStore>, bool),
        key_file: Option<KeyFile>,
        policy: neuros::Policy,
        adopt: bool,
        health: &Arc<Health>,
    ) -> Result<Option<Joined>, Broken> {
        let Some(key_store) = self.key_store(store, migrate).await? else { return Ok(None) };
        let fresh_for = policy.fresh_for.default;
        let Some(keys) = self.keys(store, &key_store, key_file, fresh_for).await? else {
            return Ok(None);
        };
        let Some(found) = self.topics().await? else { return Ok(None) };
        let (fatal, told) = mpsc::channel(8);
        let positioned = Arc::new(crate::kafka::Positioned::default());
        let (peer, keeper) = self.peer(store)?.unzip();
        let ports = self.ports(store, Arc::clone(&keys) as _, &positioned, fatal, peer)?;
        let relays = ports.relays.clone();
        let Some(routing) = self.routing(store, &ports, &found, adopt).await? else {
            return Ok(None);
        };
        let Some(policy_number) = self.policy(store, &policy).await? else { return Ok(None) };
        let rules: Arc<Rules> = Arc::new(self.rules(routing, policy, policy_number));
        self.watch_parts(store);
        self.watch_keys(&key_store, &keys);
        let usage = KeyUsage {
            store: Arc::clone(store),
            key_store: Arc::clone(&key_store),
            watch: Arc::clone(self.watch),
        };
        self.runtime.spawn(usage.watch(self.stop.clone()));
        let (keys, seal) = (Arc::clone(&ports.keys), Arc::clone(&ports.seal));
        let retention = Retention::new(Arc::clone(store), keys, seal);
        let house = House::new(Arc::clone(store), retention, self.settings.store.clone());
        self.runtime.spawn(house.keep(self.stop.clone()));
        if !self.coach(store, &ports).await? {
            return Ok(None);
        }
        let lanes = Arc::new(Lanes::new(ports, rules, self.threads()));
        let group = Group::join(
            self.connection,
            &membership_of(self.settings),
            &self.topics.events,
            positioned,
            lanes,
            Arc::clone(health),
        );
        let group = group.map_err(broken)?;
        self.look_at_timestamps();
        self.watch.part("start", Ok(()));
        Ok(Some(Joined { group, fatal: told, relays, peer: keeper }))
    }

    /// Connects to the peer that is to be told, if there is one.
    fn peer(&self, store: &Arc<SqlStore>) -> Result<Option<(Peer, Keeper)>, Broken> {
        let opened = push::open(&self.settings.push, store, self.watch, self.runtime.handle());
        opened.map_err(Broken)
    }
}

fn broken(error: impl std::fmt::Display) -> Broken {
    Broken(error.to_string())
}
