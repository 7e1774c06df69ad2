//! The real servers that tests talk to: Kafka, PostgreSQL and Redis, as `tests/servers/install.sh` installs them.
//!
//! [`Servers::shared`] has one of each for the whole test process. A test that stops, kills or pauses a
//! server starts its own ([`Kafka::start`], [`Postgres::start`], [`Redis::start`]), and [`Server`] does it.
//! All end with the test process, also when that is killed; nothing is left on disk.

mod bridge;
mod collector;
mod disk;
mod kafka;
mod memory;
mod messages;
mod model;
mod network;
mod postgres;
mod process;
mod program;
mod prometheus;
mod redis;
mod rotel;
mod scratch;
mod vault;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, OnceLock};

pub(crate) use bridge::Bridge;
pub(crate) use collector::{Collector, Manner, Span};
pub(crate) use kafka::Kafka;
pub(crate) use messages::{Message, Outgoing};
pub(crate) use model::{Answer, Model, completion};
pub(crate) use network::{Link, Network};
pub(crate) use postgres::Postgres;
pub(crate) use process::{Server, spawn};
pub(crate) use program::Program;
pub(crate) use prometheus::{Prometheus, promtool};
pub(crate) use redis::Redis;
pub(crate) use rotel::Rotel;
pub(crate) use scratch::{Port, folder};
pub(crate) use vault::{Fault, Vault};

/// What the servers and clients are called in the installer's list.
const NEEDED: [&str; 7] =
    ["java", "kafka", "kcat", "postgres", "python", "redis-server", "setpriv"];

/// What the examples are run with, beside these.
const EXAMPLES: [&str; 3] = ["examples-python", "examples-typescript", "node"];

/// What watches the service.
const WATCHERS: [&str; 2] = ["prometheus", "promtool"];

/// What the operators' guide uses, beside these.
const GUIDE: [&str; 5] = ["curl", "jq", "openssl", "promtool", "redis-cli"];

/// When set, tests that need what is missing are skipped instead of failing.
const ALLOW_MISSING: &str = "BRIDGE_ALLOW_MISSING_SERVERS";

/// One server of each kind, which all tests of this process share.
pub(crate) struct Servers {
    pub(crate) kafka: Kafka,
    pub(crate) postgres: Postgres,
    pub(crate) redis: Redis,
}

impl Servers {
    /// The shared servers; the first caller starts them, and who comes meanwhile waits.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Result<Servers, String>> = OnceLock::new();
        // A failed start is remembered: every test then fails with the reason, and at once.
        SHARED.get_or_init(Self::start).as_ref().unwrap_or_else(|reason| panic!("{reason}"))
    }

    /// Whether the tests can have servers. If not, it says that the test is skipped when that is
    /// allowed, and fails the test otherwise.
    pub(crate) fn available() -> bool {
        are_there(&NEEDED)
    }

    /// The same of servers, and of what runs the examples.
    pub(crate) fn available_for_examples() -> bool {
        are_there(&[&NEEDED[..], &EXAMPLES].concat())
    }

    /// The same of servers, and of what watches.
    pub(crate) fn available_to_be_watched() -> bool {
        are_there(&[&NEEDED[..], &WATCHERS].concat())
    }

    /// The same of servers, and of what the operators' guide uses.
    pub(crate) fn available_for_the_guide() -> bool {
        are_there(&[&NEEDED[..], &GUIDE].concat())
    }

    /// The same of tools of these names alone.
    pub(crate) fn available_with(tools: &[&str]) -> bool {
        are_there(tools)
    }

    fn start() -> Result<Self, String> {
        // Checked once, so that one sentence names all that is missing.
        look_for(&NEEDED)?;
        std::thread::scope(|scope| {
            let kafka = scope.spawn(|| Kafka::try_start(&[]));
            let postgres = scope.spawn(|| Postgres::try_start(false));
            let redis = scope.spawn(|| Redis::try_start(None));
            Ok(Self {
                kafka: kafka.join().map_err(|_| "Kafka's start panicked")??,
                postgres: postgres.join().map_err(|_| "PostgreSQL's start panicked")??,
                redis: redis.join().map_err(|_| "Redis's start panicked")??,
            })
        })
    }
}

/// Whether the tests can have what watches, without servers.
pub(crate) fn watchers_are_there() -> bool {
    are_there(&WATCHERS)
}

/// Whether these are there; if not, the test is skipped when that is allowed, and fails otherwise.
pub(crate) fn are_there(names: &[&str]) -> bool {
    let Err(reason) = look_for(names) else { return true };
    assert!(std::env::var_os(ALLOW_MISSING).is_some_and(|set| set == "1"), "{reason}");
    skipped(&reason);
    false
}

/// Says so past the test harness, which keeps what a passing test prints to itself: a skipped test must
/// not look like one that passed.
fn skipped(reason: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    writeln!(std::io::stderr(), "skipped {test}: {reason}").expect("there is a standard error");
}

/// The Python that has kafka-python and confluent-kafka.
pub(crate) fn python() -> &'static Path {
    installed("python")
}

/// The folders of the programs that the operators' guide uses, as far as they are in folders of their own.
pub(crate) fn guide_programs() -> [&'static Path; 3] {
    let of = |name| installed(name).parent().expect("a program is in a folder");
    [installed("postgres"), of("promtool"), of("python")]
}

/// The command-line client of Kafka.
pub(crate) fn kcat() -> &'static Path {
    installed("kcat")
}

/// A tool, by its name in the installer's list.
pub(crate) fn tool(name: &str) -> &'static Path {
    installed(name)
}

/// The Python that has what the examples need.
pub(crate) fn examples_python() -> &'static Path {
    installed("examples-python")
}

/// What the example in TypeScript needs, as npm laid it down.
pub(crate) fn examples_node_modules() -> &'static Path {
    installed("examples-typescript")
}

/// Node, which runs it.
pub(crate) fn node() -> &'static Path {
    installed("node")
}

static INSTALLED: LazyLock<BTreeMap<String, PathBuf>> = LazyLock::new(find);

/// Where the installer put a thing.
pub(crate) fn installed(name: &str) -> &'static Path {
    let found = INSTALLED.get(name);
    found.unwrap_or_else(|| panic!("{}", look_for(&[name]).expect_err("it is not there")))
}

/// The folder that the installer fills.
fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    std::env::var_os("BRIDGE_SERVERS")
        .filter(|folder| !folder.is_empty())
        .map_or_else(|| home().join(".cache/biometric-bridge-servers"), PathBuf::from)
}

fn find() -> BTreeMap<String, PathBuf> {
    let list = std::fs::read_to_string(cache().join("found")).unwrap_or_default();
    let entries = list.lines().filter_map(|line| line.split_once('='));
    entries
        .map(|(name, path)| (name.to_owned(), PathBuf::from(path)))
        .filter(|(_, path)| path.exists())
        .collect()
}

/// Whether all of these are there; the error is one sentence that names what is not.
fn look_for(names: &[&str]) -> Result<(), String> {
    let missing: Vec<&str> =
        names.iter().copied().filter(|name| !INSTALLED.contains_key(*name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "the tests need {}, which tests/servers/install.sh installs (`make servers`); with \
         {ALLOW_MISSING}=1 such tests are skipped",
        missing.join(", ")
    ))
}
