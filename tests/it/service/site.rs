//! An installation of the bridge: its topics, database, keys and environment, which its instances share.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use uuid::Uuid;

use crate::servers::{Bridge, Kafka, Link, Message, Postgres, Redis, Servers, folder};
use crate::support::{bridge, stderr, stdout};

/// Lanes of every installation.
pub(crate) const LANES: usize = 3;

/// How often a wait looks again, and how often at most.
const LOOK: Duration = Duration::from_millis(100);
const LOOKS_MAX: u32 = 1_800;

/// The names of the topics of an installation.
#[derive(Clone)]
pub(crate) struct Topics {
    pub(crate) events: String,
    pub(crate) by_user: String,
    pub(crate) dead_letters: String,
    pub(crate) alerts: String,
    pub(crate) transitions: String,
    pub(crate) audit: String,
}

/// An installation of the bridge.
pub(crate) struct Site<'s> {
    pub(crate) kafka: &'s Kafka,
    pub(crate) postgres: &'s Postgres,
    pub(crate) redis: &'s Redis,
    pub(crate) database: String,
    pub(crate) topics: Topics,
    pub(crate) group: String,
    pub(crate) key_file: PathBuf,
    environment: Vec<(String, String)>,
    /// What topics held that were deleted, each message once.
    kept: Mutex<BTreeMap<String, Vec<Message>>>,
}

/// Who says when a record entered the log.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stamps {
    /// Its producer, as in recorded logs.
    Producer,
    /// The broker, as in operation.
    Broker,
}

impl Site<'static> {
    /// One on the shared servers; `None` when tests may be skipped and there are no servers.
    pub(crate) fn shared(stamps: Stamps) -> Option<Self> {
        Servers::available().then(|| {
            let servers = Servers::shared();
            Site::new(&servers.kafka, &servers.postgres, &servers.redis, stamps)
        })
    }
}

impl<'s> Site<'s> {
    /// Makes key file, topics and schema by the program's own commands.
    pub(crate) fn new(
        kafka: &'s Kafka,
        postgres: &'s Postgres,
        redis: &'s Redis,
        stamps: Stamps,
    ) -> Self {
        let site = Self::bare(kafka, postgres, redis);
        let mut create = vec!["topics", "create", "--replication-factor", "1", "--retention", "0s"];
        if stamps == Stamps::Producer {
            create.push("--create-time");
        }
        site.run(&["keys", "generate", "--output", site.key_file.to_str().expect("a path")]);
        site.run(&create);
        site.run(&["migrate", "up"]);
        site
    }

    /// One for which nothing has been made yet.
    pub(crate) fn bare(kafka: &'s Kafka, postgres: &'s Postgres, redis: &'s Redis) -> Self {
        let name = format!("t{}", Uuid::new_v4().simple());
        let topic = |ending: &str| format!("{name}.{ending}");
        let topics = Topics {
            events: topic("events"),
            by_user: topic("events.by-user"),
            dead_letters: topic("events.dlq"),
            alerts: topic("alerts"),
            transitions: topic("transitions"),
            audit: topic("audit"),
        };
        let key_file = folder().join(format!("{name}.keys"));
        let database = postgres.database();
        let group = format!("{name}-group");
        let environment = [
            ("POSTGRES_URL", database.as_str()),
            ("KAFKA_BOOTSTRAP_SERVERS", &kafka.bootstrap()),
            ("REDIS_URL", &redis.url()),
            ("KEY_FILE", key_file.to_str().expect("a path")),
            ("BRIDGE__SECURITY__ALLOW_PLAINTEXT", "websocket"),
            ("BRIDGE__KAFKA__GROUP_ID", &group),
            ("BRIDGE__KAFKA__TOPICS__EVENTS", &topics.events),
            ("BRIDGE__KAFKA__TOPICS__BY_USER", &topics.by_user),
            ("BRIDGE__KAFKA__TOPICS__DEAD_LETTERS", &topics.dead_letters),
            ("BRIDGE__KAFKA__TOPICS__ALERTS", &topics.alerts),
            ("BRIDGE__KAFKA__TOPICS__TRANSITIONS", &topics.transitions),
            ("BRIDGE__KAFKA__TOPICS__AUDIT", &topics.audit),
            // A killed instance's lanes are free after the shortest time that brokers allow.
            ("BRIDGE__KAFKA__SESSION_TIMEOUT", "6s"),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let environment = environment.to_vec();
        let kept = Mutex::default();
        Self { kafka, postgres, redis, database, topics, group, key_file, environment, kept }
    }

    /// Somebody else with the same installation, whose environment changes apart from this one's.
    pub(crate) fn twin(&self) -> Self {
        Self {
            database: self.database.clone(),
            topics: self.topics.clone(),
            group: self.group.clone(),
            key_file: self.key_file.clone(),
            environment: self.environment.clone(),
            kept: Mutex::default(),
            ..*self
        }
    }

    /// Sets a variable for all that is started from now on.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.retain(|(its, _)| its != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Takes a variable away.
    pub(crate) fn unset(&mut self, name: &str) {
        self.environment.retain(|(its, _)| its != name);
    }

    /// What a variable is set to.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        let found = self.environment.iter().find(|(its, _)| its == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Starts an instance.
    pub(crate) fn start(&self) -> Bridge {
        Bridge::start(&[], &self.environment)
    }

    /// Starts one behind a link of its own.
    pub(crate) fn start_on(&self, link: Option<&Link>) -> Bridge {
        Bridge::start_on(link, &[], &self.environment)
    }

    /// Starts one with a name of its own in the group: a static member.
    pub(crate) fn start_named(&self, instance_id: &str) -> Bridge {
        let name = ("BRIDGE__KAFKA__GROUP_INSTANCE_ID".to_owned(), instance_id.to_owned());
        Bridge::start(&[], &[self.environment.as_slice(), &[name]].concat())
    }

    /// Runs a command to its end, with something on its standard input.
    pub(crate) fn output(&self, arguments: &[&str], input: &str) -> Output {
        let database = self.variable("POSTGRES_URL").expect("there is a database");
        self.output_from(database, arguments, input)
    }

    /// The same with another database.
    pub(crate) fn output_from(&self, database: &str, arguments: &[&str], input: &str) -> Output {
        let mut command = bridge(arguments);
        command.env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.env("POSTGRES_URL", database);
        command.timeout(Duration::from_secs(600)).write_stdin(input);
        command.output().expect("the program starts")
    }

    /// Begins a command that goes on beside the test.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_biometric-bridge"));
        self.tell(&mut command);
        command.args(arguments).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("the program starts")
    }

    /// Gives a command the environment of this installation, and no other.
    pub(crate) fn tell(&self, command: &mut Command) {
        command.env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
    }

    /// What a command prints that must succeed.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments, "");
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        stdout(&output).to_owned()
    }

    /// Remembers what a topic holds that is about to be deleted.
    pub(crate) fn keep_messages(&self, topic: &str) {
        let messages = self.kafka.read_all(topic);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.entry(topic.to_owned()).or_default().extend(messages);
    }

    /// Everything that was ever on a topic, each partition's messages in order.
    pub(crate) fn messages(&self, topic: &str) -> Vec<Message> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut messages = kept.get(topic).cloned().unwrap_or_default();
        messages.extend(self.kafka.read_all(topic));
        messages
    }

    /// Records of both topics of events that are not committed yet; without those of partitions that are
    /// only being added, which nobody reads yet.
    pub(crate) fn lag(&self) -> i64 {
        let topics = [&self.topics.events, &self.topics.by_user];
        let lanes = usize::try_from(self.number("SELECT count(*) FROM lanes")).expect("few");
        let ends =
            topics.into_iter().flat_map(|topic| self.kafka.ends(topic).into_iter().take(lanes));
        let ends: i64 = ends.sum();
        ends - self.number("SELECT sum(events_position + by_user_position) FROM lanes")
    }

    /// Rows as lines, columns split by `|`.
    pub(crate) fn sql(&self, sql: &str) -> String {
        self.postgres.psql(&self.database, sql)
    }

    /// A number that SQL gives.
    pub(crate) fn number(&self, sql: &str) -> i64 {
        self.sql(sql).parse().unwrap_or_else(|_| panic!("{sql} gives no number"))
    }

    /// Waits until a query gives `true`.
    pub(crate) fn wait_sql(&self, sql: &str) {
        self.wait_sql_or(sql, || false);
    }

    fn wait_sql_or(&self, sql: &str, enough: impl Fn() -> bool) {
        for _ in 0..LOOKS_MAX {
            if enough() || self.sql(sql) == "t" {
                return;
            }
            sleep(LOOK);
        }
        panic!("not in time: {sql}");
    }

    /// Waits until so many records have been read from the topic of events and committed.
    pub(crate) fn wait_read(&self, count: usize) {
        self.wait_read_or(count, || false);
    }

    /// The same, or until it need not be.
    pub(crate) fn wait_read_or(&self, count: usize, enough: impl Fn() -> bool) {
        let read = format!("SELECT coalesce(sum(events_position), 0) >= {count} FROM lanes");
        self.wait_sql_or(&read, enough);
    }

    /// Waits until so many more records have been read than now.
    pub(crate) fn wait_more(&self, count: i64) {
        let read = self.number("SELECT coalesce(sum(events_position), 0) FROM lanes");
        self.wait_sql(&format!("SELECT sum(events_position) >= {} FROM lanes", read + count));
    }

    /// Waits until all that the topics hold is committed, and all that must leave has left.
    pub(crate) fn wait_caught_up(&self) {
        let mut last = String::new();
        for _ in 0..LOOKS_MAX {
            // The events' ends first: whatever is forwarded later is behind them.
            let events = self.kafka.ends(&self.topics.events);
            let by_user = self.kafka.ends(&self.topics.by_user);
            let ends = events.iter().zip(&by_user).enumerate();
            let wanted: Vec<String> = ends
                .map(|(lane, (events, by_user))| format!("{lane}|{events}|{by_user}"))
                .collect();
            last = self.sql("SELECT lane, events_position, by_user_position FROM lanes ORDER BY 1");
            if last == wanted.join("\n") && self.number(WAITING) == 0 {
                return;
            }
            sleep(LOOK);
        }
        panic!("not caught up in time: {last}; {} messages wait", self.number(WAITING));
    }
}

/// Outbox rows in front of their sink's cursor.
pub(crate) const WAITING: &str =
    "SELECT count(*) FROM outbox o LEFT JOIN relay_cursors c USING (lane, sink)
    WHERE o.number > coalesce(c.number, 0)";
