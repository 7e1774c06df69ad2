//! The service itself, as a child process with topics and a database of its own. What it tells of itself is
//! read from its /metrics.

use std::time::Duration;

use actors::lane::Provenance;
use anyhow::{Context as _, bail};
use biometric_bridge::kafka::topics::{self, Plan};
use biometric_bridge::kafka::{Connection, Limits, TopicNames};
use rustix::process::Signal;

use super::clock;
use super::database::Database;
use super::process::{Process, tied_to_us};
use super::setup::{Setup, free_port};

pub(super) const LANES: i32 = 6;

/// Topics and a database that nobody else uses.
pub(super) struct Place {
    /// What the topics' names begin with; the name of the database and the consumer group.
    pub(super) name: String,
    pub(super) topics: TopicNames,
    pub(super) url: String,
}

impl Place {
    /// `retention_ms` of the events; -1 keeps them.
    pub(super) fn make(setup: &Setup, name: &str, retention_ms: i64) -> anyhow::Result<Self> {
        let names = topics_of(name);
        let connection = Connection {
            bootstrap_servers: setup.kafka.bootstrap.clone(),
            security: Vec::new(),
            limits: Limits::default(),
        };
        let plan = Plan {
            partitions: LANES,
            replication_factor: 1,
            min_insync_replicas: 1,
            retention_ms,
            create_time: false,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let made = runtime.block_on(topics::create(&connection, &names, plan));
        made.map_err(anyhow::Error::msg)?;
        setup.new_database(name)?;
        Ok(Self { name: name.to_owned(), topics: names, url: setup.postgres.url(name) })
    }
}

/// The names of the topics of the place of that name.
pub(super) fn topics_of(place: &str) -> TopicNames {
    let names = TopicNames::default();
    let own = |topic: String| format!("{place}.{topic}");
    TopicNames {
        events: own(names.events),
        by_user: own(names.by_user),
        dead_letters: own(names.dead_letters),
        alerts: own(names.alerts),
        transitions: own(names.transitions),
        audit: own(names.audit),
    }
}

/// The service, running.
pub(super) struct Service {
    process: Process,
    http: String,
}

impl Service {
    /// Starts it; it answers HTTP when this returns.
    pub(super) fn start(
        setup: &Setup,
        settings: &[(String, String)],
        place: &Place,
    ) -> anyhow::Result<Self> {
        let port = free_port()?;
        let folder = setup.folder().join(format!("{}-{port}", place.name));
        std::fs::create_dir_all(&folder)?;
        let http = format!("127.0.0.1:{port}");
        let mut command = tied_to_us(&setup.installed.setpriv, &setup.service, "KILL", &[]);
        let topics = &place.topics;
        command
            .args(["run", "--migrate"])
            .env_clear()
            .env("POSTGRES_URL", &place.url)
            .env("KAFKA_BOOTSTRAP_SERVERS", &setup.kafka.bootstrap)
            .env("KEY_FILE", &setup.key_file)
            .env("HTTP_BIND", &http)
            .env("BRIDGE__SECURITY__ALLOW_PLAINTEXT", "websocket")
            // The benchmark looks at the metrics as often as it likes.
            .env("BRIDGE__HTTP__REQUESTS_PER_ADDRESS", "100000")
            .env("BRIDGE__KAFKA__GROUP_ID", &place.name)
            .env("BRIDGE__KAFKA__TOPICS__EVENTS", &topics.events)
            .env("BRIDGE__KAFKA__TOPICS__BY_USER", &topics.by_user)
            .env("BRIDGE__KAFKA__TOPICS__DEAD_LETTERS", &topics.dead_letters)
            .env("BRIDGE__KAFKA__TOPICS__ALERTS", &topics.alerts)
            .env("BRIDGE__KAFKA__TOPICS__TRANSITIONS", &topics.transitions)
            .env("BRIDGE__KAFKA__TOPICS__AUDIT", &topics.audit)
            .envs(settings.iter().map(|(name, value)| (name, value)));
        let is_ready = || metrics(&http).is_ok();
        let process = Process::start("service", command, &folder, Signal::TERM, is_ready)?;
        Ok(Self { process, http })
    }

    /// Waits until it owns all lanes.
    pub(super) fn wait_for_lanes(&self) -> anyhow::Result<()> {
        self.wait_for_so_many_lanes(LANES)
    }

    /// Waits until it owns that many lanes.
    pub(super) fn wait_for_so_many_lanes(&self, lanes: i32) -> anyhow::Result<()> {
        let running = format!("biometric_lanes{{condition=\"running\"}} {lanes}\n");
        let deadline = clock::now() + Duration::from_secs(60);
        while !self.metrics()?.contains(&running) {
            anyhow::ensure!(clock::now() < deadline, "the service does not get its lanes");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Where it is asked.
    pub(super) fn address(&self) -> &str {
        &self.http
    }

    /// Its /metrics.
    pub(super) fn metrics(&self) -> anyhow::Result<String> {
        metrics(&self.http)
    }

    /// All that it has said.
    pub(super) fn said(&self) -> anyhow::Result<String> {
        self.process.said()
    }

    /// Ends it without a word (SIGKILL).
    pub(super) fn kill(mut self) -> anyhow::Result<()> {
        self.process.kill()
    }

    /// Halts it (SIGSTOP).
    pub(super) fn halt(&self) -> anyhow::Result<()> {
        self.process.halt()
    }

    /// Lets it go on (SIGCONT).
    pub(super) fn go_on(&self) -> anyhow::Result<()> {
        self.process.go_on()
    }

    pub(super) fn must_run(&mut self) -> anyhow::Result<()> {
        self.process.must_run()
    }

    /// Sum and count of one of its histograms.
    pub(super) fn histogram(&self, name: &str) -> anyhow::Result<(f64, f64)> {
        let text = self.metrics()?;
        let value = |suffix: &str| -> anyhow::Result<f64> {
            let wanted = format!("{name}_{suffix} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&wanted));
            Ok(line.with_context(|| format!("there is no metric {name}"))?.parse()?)
        };
        Ok((value("sum")?, value("count")?))
    }
}

fn metrics(http: &str) -> anyhow::Result<String> {
    let mut answer = ureq::get(format!("http://{http}/metrics")).call()?;
    Ok(answer.body_mut().read_to_string()?)
}

/// How far all lanes have come: records read, and those of them that are stored.
pub(super) fn progress(database: &mut Database) -> anyhow::Result<(u64, u64)> {
    let sums = database.numbers(
        "SELECT coalesce(sum(events_position), 0)::bigint, coalesce(sum(events_new), 0)::bigint \
         FROM lanes",
    )?;
    let [read, new] = sums.as_slice() else { bail!("lanes cannot be summed") };
    Ok(((*read).cast_unsigned(), (*new).cast_unsigned()))
}

/// Waits until so many records are read and committed, looking every `pause`; gives each look's time and
/// count.
pub(super) fn watch(
    services: &mut [Service],
    database: &mut Database,
    events: u64,
    pause: Duration,
) -> anyhow::Result<Vec<(std::time::Instant, u64)>> {
    const STANDSTILL: Duration = Duration::from_secs(60);
    let mut looks: Vec<(std::time::Instant, u64)> = Vec::new();
    let mut moved = clock::now();
    loop {
        let (read, _) = progress(database)?;
        let now = clock::now();
        if looks.last().is_none_or(|(_, before)| *before < read) {
            moved = now;
        }
        looks.push((now, read));
        if read >= events {
            return Ok(looks);
        }
        services.iter_mut().try_for_each(Service::must_run)?;
        anyhow::ensure!(now < moved + STANDSTILL, "the service stands still after {read} events");
        std::thread::sleep(pause);
    }
}

/// That each of so many events is either stored or a repeat of one that is. What time has done to alerts meanwhile is
/// stored too, and is no event.
pub(super) fn all_are_there(database: &mut Database, events: u64) -> anyhow::Result<()> {
    let sums = database.numbers(&format!(
        "SELECT sum(events_new)::bigint, sum(events_duplicate)::bigint, \
             (SELECT count(*) FROM event_records WHERE source <> {}) FROM lanes",
        Provenance::Order(0).number()
    ))?;
    let [new, repeated, stored] = sums.as_slice() else { bail!("lanes cannot be summed") };
    anyhow::ensure!(
        new == stored && (new + repeated).cast_unsigned() == events,
        "of {events} events {new} were new, {repeated} repeats, and {stored} are stored"
    );
    Ok(())
}
