//! From the settings to the parts: what each of them is told.

use std::sync::Arc;
use std::time::Duration;

use actors::lane::{ROUTING_VERSION, Routing};
use actors::person::Person;
use actors::ports::{BASE_EVERY, BatchRules, BelowStart, CheckpointRules, Ports, Rules, UserRules};
use actors::rows::Sink;
use neuros::Policy;
use neuros::time::Micros;
use neuros::wire::Intake;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::connect::SystemClock;
use super::{Broken, Starting, broken};
use crate::cache;
use crate::hints::Hints;
use crate::http::Opening;
use crate::kafka::topics::Found;
use crate::kafka::{
    Connection, KafkaForwarder, KafkaLog, KafkaPublisher, Limits, Membership, Positioned,
    TopicNames,
};
use crate::push::{Outputs, Peer};
use crate::seal::Sealer;
use crate::seal::key_ring::StoredKeyRing;
use crate::settings::{self, KeyWrapper, Settings};
use crate::store::{Administration as _, Options, SqlStore};
use crate::telemetry::traces;

/// How the brokers are reached.
pub fn connection_of(settings: &Settings) -> Connection {
    let kafka = &settings.kafka;
    let mut security = vec![("security.protocol", kafka.security_protocol.to_string())];
    let mut set = |name, value: Option<String>| {
        if let Some(value) = value {
            security.push((name, value));
        }
    };
    let path = |path: &Option<std::path::PathBuf>| {
        path.as_ref().map(|path| path.to_string_lossy().into_owned())
    };
    set("sasl.mechanism", kafka.sasl_mechanism.map(|mechanism| mechanism.to_string()));
    set("sasl.username", kafka.sasl_username.clone());
    let password = kafka.sasl_password.as_ref();
    set("sasl.password", password.map(|p| secrecy::ExposeSecret::expose_secret(p).to_owned()));
    set("ssl.ca.location", path(&kafka.ca_file));
    set("ssl.certificate.location", path(&kafka.certificate_file));
    set("ssl.key.location", path(&kafka.key_file));
    Connection {
        bootstrap_servers: kafka.bootstrap_servers.to_string(),
        security,
        limits: Limits {
            event_bytes_max: settings.events.max_bytes.0,
            fetch_wait: kafka.fetch_wait,
            queue_bytes_max: kafka.queue_bytes_max.0,
            session_timeout: kafka.session_timeout,
        },
    }
}

/// Which consumer group, and as whom.
pub fn membership_of(settings: &Settings) -> Membership {
    let kafka = &settings.kafka;
    Membership { group_id: kafka.group_id.clone(), instance_id: kafka.group_instance_id.clone() }
}

/// The names of the topics.
pub fn topics_of(settings: &Settings) -> TopicNames {
    let topics = &settings.kafka.topics;
    TopicNames {
        events: topics.events.clone(),
        by_user: topics.by_user.clone(),
        dead_letters: topics.dead_letters.clone(),
        alerts: topics.alerts.clone(),
        transitions: topics.transitions.clone(),
        audit: topics.audit.clone(),
    }
}

/// How the store is opened.
pub fn store_options(settings: &Settings) -> Options {
    Options {
        connections: settings.store.connections_max,
        sinks: sinks_of(settings),
        ..Options::default()
    }
}

/// Who takes what is committed: the topics, and the peer where there is one.
fn sinks_of(settings: &Settings) -> Vec<Sink> {
    let peer = settings.push.websocket_url.as_ref().map(|_| Sink::Peer);
    Sink::TOPICS.into_iter().chain(peer).collect()
}

/// How users map to lanes by the topics as they were found, in a first generation.
pub fn routing_of(settings: &Settings, found: &Found) -> Routing {
    Routing {
        generation: 1,
        partition_count: found.events,
        version: ROUTING_VERSION,
        bytes_max: i64::try_from(settings.events.max_bytes.0).unwrap_or(i64::MAX),
        log_id: found.cluster_id.clone(),
        expanding: false,
    }
}

const PING_EVERY: Duration = Duration::from_secs(2);
/// Vault writes each question down.
const KEYS_EVERY: Duration = Duration::from_secs(5);

impl Starting<'_> {
    pub(super) fn ports(
        &self,
        store: &Arc<SqlStore>,
        keys: Arc<StoredKeyRing>,
        positioned: &Arc<Positioned>,
        fatal: mpsc::Sender<String>,
        peer: Option<Peer>,
    ) -> Result<Ports, Broken> {
        let (connection, topics) = (self.connection.clone(), self.topics.clone());
        let forwarder = KafkaForwarder::new(&connection, &topics).map_err(broken)?;
        let log = KafkaLog::new(connection.clone(), topics.clone(), Arc::clone(positioned));
        let topics = KafkaPublisher::new(connection, topics).map_err(broken)?;
        Ok(Ports {
            log: Arc::new(log.map_err(broken)?),
            forwarder: Arc::new(forwarder),
            publisher: Arc::new(Outputs { topics, peer }),
            store: Arc::clone(store) as _,
            cache: cache::open(&self.settings.redis, self.runtime.handle()).map_err(broken)?,
            seal: Arc::new(Sealer::new(self.settings.keys.algorithm.into()).map_err(broken)?),
            keys,
            clock: Arc::new(SystemClock),
            observer: Arc::clone(self.watch) as _,
            tracer: Arc::new(traces().clone()),
            fatal,
            relays: TaskTracker::new(),
        })
    }

    /// From now on what is stored can be asked for.
    pub(super) fn show(
        &self,
        store: &Arc<SqlStore>,
        keys: &Arc<StoredKeyRing>,
        fresh_for: Micros,
    ) -> Result<(), Broken> {
        let seal = Arc::new(Sealer::new(self.settings.keys.algorithm.into()).map_err(broken)?);
        let (store, keys) = (Arc::clone(store), Arc::clone(keys));
        let readers = usize::try_from(self.settings.store.connections_max / 2).unwrap_or(1);
        let runtime = self.runtime.handle().clone();
        let commits = Arc::clone(self.watch.commits());
        let hints = Hints::exchange(commits, &self.settings.redis, &runtime, self.stop.clone());
        let opening = Opening { store, keys, seal, runtime, readers, fresh_for };
        self.archive.open(opening, hints, self.stop);
        Ok(())
    }

    pub(super) fn rules(&self, routing: Routing, policy: Policy, policy_number: i32) -> Rules {
        let settings = self.settings;
        let wire = Intake {
            bytes_max: settings.events.max_bytes.0,
            future_max: policy.clock.max_future,
            naive_zones: settings.events.naive_timestamps.clone(),
        };
        let lanes = usize::try_from(routing.partition_count).unwrap_or(1).max(1);
        Rules {
            owner: owner(),
            routing,
            wire,
            policy: Arc::new(policy),
            policy_number,
            evaluate: Person::apply,
            batch: BatchRules {
                records_max: settings.batch.records_max,
                bytes_max: settings.batch.bytes_max.0,
                linger: settings.batch.linger,
                in_flight_max: settings.batch.in_flight_max,
                ..BatchRules::default()
            },
            checkpoint: CheckpointRules {
                every_records: settings.checkpoint.every_records,
                every: settings.checkpoint.every,
                base_every: BASE_EVERY,
                scrub_every: settings.checkpoint.scrub_every,
            },
            users: UserRules {
                live_max: settings.users.live_max.div_ceil(lanes),
                idle_after: settings.users.idle_after,
            },
            quarantines_per_minute: usize::try_from(settings.quarantine.users_per_minute)
                .unwrap_or(usize::MAX),
            below_start: match settings.kafka.below_start {
                settings::BelowStart::Stop => BelowStart::Stop,
                settings::BelowStart::Earliest => BelowStart::Earliest,
            },
            drain: settings.shutdown.deadline.mul_f64(0.6),
            cache: settings.redis.url.is_some(),
            sinks: sinks_of(settings),
            topics: self.topics.sources(),
        }
    }

    /// As many threads for lanes as configured, or as there are cores.
    pub(super) fn threads(&self) -> usize {
        match self.settings.workers {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            workers => workers,
        }
    }

    /// Asks the store from time to time whether it is there.
    pub(super) fn watch_parts(&self, store: &Arc<SqlStore>) {
        let (store, watch, stop) = (Arc::clone(store), Arc::clone(self.watch), self.stop.clone());
        self.runtime.spawn(async move {
            loop {
                let said = store.ping().await.map_err(|error| error.to_string());
                watch.part("postgres", said);
                tokio::select! {
                    () = tokio::time::sleep(PING_EVERY) => {}
                    () = stop.cancelled() => return,
                }
            }
        });
    }

    /// Asks from time to time whether the keys could be had, where they are with somebody else.
    pub(super) fn watch_keys(&self, key_store: &Arc<SqlStore>, keys: &Arc<StoredKeyRing>) {
        let settings = &self.settings.keys;
        let key_store = settings.url.is_some().then(|| Arc::clone(key_store));
        let keys = (settings.wrapper == KeyWrapper::Vault).then(|| Arc::clone(keys));
        if key_store.is_none() && keys.is_none() {
            return;
        }
        let (watch, stop) = (Arc::clone(self.watch), self.stop.clone());
        self.runtime.spawn(async move {
            loop {
                watch.part("keys", reached(key_store.as_deref(), keys.as_deref()).await);
                tokio::select! {
                    () = tokio::time::sleep(KEYS_EVERY) => {}
                    () = stop.cancelled() => return,
                }
            }
        });
    }
}

async fn reached(key_store: Option<&SqlStore>, keys: Option<&StoredKeyRing>) -> Result<(), String> {
    if let Some(key_store) = key_store {
        key_store.ping().await.map_err(|error| error.to_string())?;
    }
    if let Some(keys) = keys {
        keys.encryptions().wraps().active().await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// This process, in claims and audit rows: the service, the machine (in a cluster the pod), the process.
pub(super) fn owner() -> String {
    format!("biometric-bridge/{}", instance())
}

/// This process among all that are this service: the machine and the process.
pub fn instance() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{host}/{}", std::process::id())
}
