//! The service's lanes in a process of this program's own, with one part replaced: what that part costs is
//! the difference. And beside them a consumer that does nothing with what it reads.

mod parts;

use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use actors::lane::{Lane, Positions, ROUTING_VERSION, Routing};
use actors::person::Person;
use actors::ports::{BatchRules, BelowStart, CheckpointRules, Ports, Rules, UserRules};
use actors::rows::Sink;
use actors::seal::{KeyRing, Seal};
use actors::store::Store;
use anyhow::Context as _;
use biometric_bridge::app::StoredKeys;
use biometric_bridge::kafka::{
    Connection, KafkaForwarder, KafkaLog, KafkaPublisher, Limits, Member as _, Positioned,
    TopicNames,
};
use biometric_bridge::lanes::Lanes;
use biometric_bridge::seal::file_encryption::FileEncryption;
use biometric_bridge::seal::key_encryption::KeyEncryptions;
use biometric_bridge::seal::key_file::KeyFile;
use biometric_bridge::seal::key_ring::StoredKeyRing;
use biometric_bridge::seal::{Algorithm, Sealer};
use biometric_bridge::store::{self, Administration as _};
use clap::{Args, ValueEnum};
use neuros::Policy;
use neuros::wire::Intake;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use self::parts::{Counter, Forgetful, Nowhere, OneKey, Open, SystemClock};
use super::clock;
use super::service::{LANES, Place, topics_of};
use super::setup::Setup;

/// What runs inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Inside {
    /// A consumer that drops what it reads.
    Consumer,
    /// The lanes with a store that forgets everything.
    Unstored,
    /// The lanes with the store, sealing and audit as in operation.
    Sealed,
    /// The same, and nothing is sealed or audited.
    Open,
}

/// Where and how far.
#[derive(Args, Clone, Debug)]
pub struct Task {
    /// What runs.
    #[arg(long)]
    inside: Inside,
    /// The brokers.
    #[arg(long)]
    bootstrap: String,
    /// What the topics' names begin with.
    #[arg(long)]
    prefix: String,
    /// Events on the topic.
    #[arg(long)]
    events: u64,
    /// An empty database, where there is a store.
    #[arg(long, requires = "key_file")]
    database: Option<String>,
    /// Its key-encryption keys.
    #[arg(long)]
    key_file: Option<PathBuf>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Told {
    /// Events a second, from the first batch to the last.
    pub(super) rate: f64,
    /// CPU of the process meanwhile, microseconds an event.
    pub(super) micros: f64,
}

/// Lets a process of this program drain a place's events once more; the database is new.
pub(super) fn drain(
    setup: &Setup,
    place: &Place,
    inside: Inside,
    events: u64,
) -> anyhow::Result<Told> {
    let name = inside.to_possible_value().map(|value| value.get_name().to_owned());
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("inside").arg("--inside").arg(name.unwrap_or_default());
    command.args(["--bootstrap", &setup.kafka.bootstrap, "--prefix", &place.name]);
    command.args(["--events", &events.to_string()]);
    if matches!(inside, Inside::Sealed | Inside::Open) {
        let database = setup.new_database(&format!("inside_{}", clock::micros()))?;
        command.args(["--database", &database]).arg("--key-file").arg(&setup.key_file);
    }
    let output = command.stdin(Stdio::null()).output()?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let line = output.stdout.lines().last().context("no answer from inside")??;
    Ok(serde_json::from_str(&line)?)
}

/// Runs inside this process, and prints what came of it.
///
/// # Errors
///
/// When a server is away, or events do not come.
pub fn run(task: &Task) -> anyhow::Result<()> {
    let told = match task.inside {
        Inside::Consumer => consume(task)?,
        _ => actix::System::new().block_on(lanes(task))?,
    };
    Ok(writeln!(std::io::stdout(), "{}", serde_json::to_string(&told)?)?)
}

/// Events of the bare consumer that are counted, and timed, together.
const COUNTED_TOGETHER: u64 = 1_000;

/// How long nothing may come.
const STANDSTILL: Duration = Duration::from_secs(60);

fn consume(task: &Task) -> anyhow::Result<Told> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &task.bootstrap)
        .set("group.id", "biometric-bridge.bench")
        .set("enable.auto.commit", "false")
        .set("fetch.queue.backoff.ms", "5")
        .create()?;
    let topics = topics_of(&task.prefix);
    let mut all = TopicPartitionList::new();
    for partition in 0..LANES {
        all.add_partition_offset(&topics.events, partition, Offset::Beginning)?;
    }
    consumer.assign(&all)?;
    let mut counter = Counter::default();
    let (mut bytes, mut uncounted) = (0, 0);
    // The time is not asked for at each: that would be work that the lanes do not have.
    while counter.count() + uncounted < task.events {
        let message = consumer.poll(STANDSTILL).context("events do not come")??;
        bytes += message.payload_len();
        uncounted += 1;
        if uncounted == COUNTED_TOGETHER {
            counter.add(std::mem::take(&mut uncounted));
        }
    }
    counter.add(uncounted);
    anyhow::ensure!(bytes > 0, "the events are empty");
    counter.told()
}

async fn lanes(task: &Task) -> anyhow::Result<Told> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (fatal, mut fatals) = mpsc::channel(8);
    let counter = Arc::new(std::sync::Mutex::new(Counter::default()));
    let (enough, whole) = tokio::sync::oneshot::channel();
    let observer = parts::Watcher::new(Arc::clone(&counter), task.events, enough);
    let (store, keys, seal) = kept(task, &runtime).await?;
    let policy = Policy::default();
    let policy_number = store.keep_policy(&policy.version, &policy.to_yaml()).await?;
    let names = topics_of(&task.prefix);
    let connection = Connection {
        bootstrap_servers: task.bootstrap.clone(),
        security: Vec::new(),
        limits: Limits::default(),
    };
    let log = KafkaLog::new(connection.clone(), names.clone(), Arc::new(Positioned::default()))?;
    let publisher: Arc<dyn actors::log::Publisher> = match task.inside {
        Inside::Unstored => Arc::new(Nowhere),
        _ => Arc::new(KafkaPublisher::new(connection.clone(), names.clone())?),
    };
    let ports = Ports {
        log: Arc::new(log),
        forwarder: Arc::new(KafkaForwarder::new(&connection, &names)?),
        publisher,
        store,
        cache: Arc::new(actors::cache::NoCache),
        seal,
        keys,
        clock: Arc::new(SystemClock),
        observer: Arc::new(observer),
        tracer: Arc::new(actors::trace::Untraced),
        fatal,
        relays: TaskTracker::new(),
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let lanes = Lanes::new(ports, Arc::new(rules(policy, policy_number, &names)), threads);
    let all: Vec<Lane> = (0..LANES).map(Lane).collect();
    lanes.assigned(all.clone());
    tokio::select! {
        whole = tokio::time::timeout(STANDSTILL * 3, whole) => whole.context("the lanes stand still")??,
        problem = fatals.recv() => anyhow::bail!("{}", problem.unwrap_or_default()),
    }
    let told = counter.lock().map_err(|_| anyhow::anyhow!("counting has panicked"))?.told();
    tokio::task::spawn_blocking(move || lanes.revoked(all)).await?;
    runtime.shutdown_background();
    told
}

type Kept = (Arc<dyn Store>, Arc<dyn KeyRing>, Arc<dyn Seal>);

/// The store and what seals for it.
async fn kept(task: &Task, runtime: &Runtime) -> anyhow::Result<Kept> {
    let (Some(url), Some(key_file)) = (task.database.clone(), &task.key_file) else {
        return Ok((Arc::new(Forgetful), Arc::new(OneKey), Arc::new(Open)));
    };
    let opened = runtime.spawn(async move {
        let store = store::open(&url, &store::Options::default()).await?;
        store.migrate_up().await?;
        let positions: Vec<(Lane, Positions)> =
            (0..LANES).map(|lane| (Lane(lane), Positions::default())).collect();
        store.begin(&routing(), &positions).await?;
        anyhow::Ok(store)
    });
    let store = opened.await??;
    if task.inside == Inside::Open {
        return Ok((store, Arc::new(OneKey), Arc::new(Open)));
    }
    let stored = StoredKeys::new(Arc::clone(&store), runtime.handle().clone());
    let algorithm = Algorithm::default();
    let encryption = FileEncryption::new(KeyFile::read(key_file)?, algorithm);
    let encryptions = KeyEncryptions::new(Arc::new(encryption), None);
    let keys = StoredKeyRing::new(Arc::new(stored), encryptions);
    Ok((store, Arc::new(keys), Arc::new(Sealer::new(algorithm)?)))
}

fn routing() -> Routing {
    Routing {
        generation: 1,
        partition_count: LANES,
        version: ROUTING_VERSION,
        bytes_max: 1 << 20,
        log_id: None,
        expanding: false,
    }
}

/// As the settings have it when nothing is set.
fn rules(policy: Policy, policy_number: i32, names: &TopicNames) -> Rules {
    Rules {
        owner: "bench".to_owned(),
        routing: routing(),
        wire: Intake { future_max: policy.clock.max_future, ..Intake::default() },
        policy: Arc::new(policy),
        policy_number,
        evaluate: Person::apply,
        batch: BatchRules::default(),
        checkpoint: CheckpointRules::default(),
        users: UserRules::default(),
        quarantines_per_minute: 100,
        below_start: BelowStart::Stop,
        drain: Duration::from_secs(5),
        cache: false,
        sinks: Sink::TOPICS.to_vec(),
        topics: names.sources(),
    }
}
