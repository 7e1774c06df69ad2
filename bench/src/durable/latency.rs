//! Latency: from the moment an event is handed to a producer to the moment its mode change is with a consumer
//! of `neuros.mode.transitions`, at a steady rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::database::Database;
use super::load::{self, Producer, user_id};
use super::service::{Place, Service, watch};
use super::setup::{Setup, say};
use super::{Options, clock, report};
use crate::table::Table;

/// The producer's, as `bootstrap` and every client of the service have it.
const LINGER: Duration = Duration::from_millis(1);
/// What a fetch may wait. The service lets it wait longer (`kafka.fetch_wait`), since Kafka answers at once when
/// a record comes; the floor does not rise with that.
const FETCH_WAIT: Duration = Duration::from_millis(5);
/// Of so many events one changes its user's mode.
const STRAINED: u64 = 25;
/// Each rate is kept up for so long before anything is measured: a broker compiles its code as it runs.
const WARM_UP_SECONDS: u64 = 5;
/// Partitions of the topic of mode changes.
const PARTITIONS: i32 = 3;

/// What a paced run came to.
pub(super) struct Paced {
    pub(super) rate: u64,
    /// Produce to receipt, microseconds.
    pub(super) seen: Histogram<u64>,
    /// Single-row commits on a connection of their own meanwhile, microseconds.
    pub(super) commits: Histogram<u64>,
    pub(super) commit_milliseconds: f64,
    pub(super) batch_records: f64,
}

impl Paced {
    /// Milliseconds below which nobody can be: fetch wait, a commit's p99, and the producer's linger.
    pub(super) fn floor(&self) -> f64 {
        (FETCH_WAIT + LINGER).as_secs_f64() * 1_000.0
            + self.commits.value_at_quantile(0.99) as f64 / 1_000.0
    }
}

pub(super) fn run(setup: &Setup, options: &Options, table: &mut Table) -> anyhow::Result<()> {
    let place = Place::make(setup, "paced", -1)?;
    let mut service = Service::start(setup, &options.settings, &place)?;
    service.wait_for_lanes()?;
    let producer = Producer::new(&setup.kafka.bootstrap, &place.topics.events, LINGER)?;
    let mut database = Database::connect(&place.url)?;
    database.run("CREATE TABLE single (n bigint)")?;
    // Everybody is known before the clock runs: a first event of a user costs more, and once only.
    let seconds = WARM_UP_SECONDS + options.paced_seconds;
    let changing: u64 = options.rates.iter().map(|rate| rate * seconds / STRAINED).sum();
    let calm = 5_000;
    say(&format!("paced: {} users", calm + changing))?;
    let mut text = String::new();
    for user in 0..calm + changing {
        load::write(user, clock::micros(), load::mixed(user), false, &mut text)?;
        producer.send(Some(&user_id(user)), &text)?;
    }
    producer.flush()?;
    let mut sent = calm + changing;
    watch(std::slice::from_mut(&mut service), &mut database, sent, Duration::from_millis(50))?;
    let follower = Follower::start(setup, &place)?;
    std::thread::sleep(Duration::from_secs(6));
    // As on a server that has been up for a while, segments of the log are there to be used again: to make
    // one holds up every commit.
    database.run("CHECKPOINT")?;
    let mut next_user = calm;
    for rate in options.rates.iter().copied() {
        say(&format!("paced: {rate} events/s"))?;
        let mut paced = |seconds| {
            let events = rate * seconds;
            let run = Run { producer: &producer, rate, events, calm, first: next_user };
            let changes = run.send()?;
            next_user += changes.len() as u64;
            sent += events;
            anyhow::Ok(changes)
        };
        let warm_up = paced(WARM_UP_SECONDS)?;
        follower.collect(&warm_up, calm)?;
        let before = means(&service)?;
        let single = SingleCommits::start(&place);
        let changes = paced(options.paced_seconds)?;
        let commits = single.end()?;
        let seen = follower.collect(&changes, calm)?;
        watch(std::slice::from_mut(&mut service), &mut database, sent, Duration::from_millis(50))?;
        let after = means(&service)?;
        let run = Paced {
            rate,
            seen,
            commits,
            commit_milliseconds: (after.1 - before.1) / (after.2 - before.2) * 1_000.0,
            batch_records: (after.0 - before.0) / (after.2 - before.2),
        };
        report::paced(table, &run);
    }
    Ok(())
}

/// Records, seconds of commits and batches so far.
fn means(service: &Service) -> anyhow::Result<(f64, f64, f64)> {
    let (records, batches) = service.histogram("biometric_batch_records")?;
    let (seconds, _) = service.histogram("biometric_commit_seconds")?;
    Ok((records, seconds, batches))
}

struct Run<'r> {
    producer: &'r Producer,
    rate: u64,
    events: u64,
    /// Users below this are always calm.
    calm: u64,
    /// The first user whose mode is to change.
    first: u64,
}

impl Run<'_> {
    /// Sends events at the rate; gives the users whose mode changes, each with the moment of sending.
    fn send(&self) -> anyhow::Result<Vec<(u64, Instant)>> {
        let mut changes = Vec::new();
        let mut text = String::new();
        let began = clock::now();
        for i in 0..self.events {
            let due = began + Duration::from_nanos(i * 1_000_000_000 / self.rate);
            // Timers are no finer than this; what is due by then goes together.
            let early = due.saturating_duration_since(clock::now());
            if early > Duration::from_micros(500) {
                std::thread::sleep(early);
            }
            let is_strained = i % STRAINED == STRAINED / 2;
            let user = if is_strained { self.first + changes.len() as u64 } else { i % self.calm };
            load::write(user, clock::micros(), load::mixed(i), is_strained, &mut text)?;
            // Who sends late must not make it look quick.
            let at = clock::now().min(due);
            self.producer.send(Some(&user_id(user)), &text)?;
            if is_strained {
                changes.push((user, at));
            }
        }
        Ok(changes)
    }
}

/// Reads mode changes as they come.
struct Follower {
    stop: Arc<AtomicBool>,
    seen: Receiver<(u64, Instant)>,
}

impl Follower {
    fn start(setup: &Setup, place: &Place) -> anyhow::Result<Self> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &setup.kafka.bootstrap)
            .set("group.id", "biometric-bridge.bench")
            .set("enable.auto.commit", "false")
            .set("fetch.wait.max.ms", "5")
            .create()?;
        let mut all = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            let topic = &place.topics.transitions;
            all.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&all)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (tell, seen) = channel();
        let stopped = Arc::clone(&stop);
        std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
                let at = clock::now();
                let key = message.key().and_then(|key| std::str::from_utf8(key).ok());
                let user = key.and_then(|key| key.strip_prefix("user_")?.parse().ok());
                if user.is_some_and(|user| tell.send((user, at)).is_err()) {
                    return;
                }
            }
        });
        Ok(Self { stop, seen })
    }

    /// How long each change took, in microseconds, once all are there.
    fn collect(&self, changes: &[(u64, Instant)], calm: u64) -> anyhow::Result<Histogram<u64>> {
        let mut times = Histogram::new(3)?;
        let first = changes.first().map_or(calm, |(user, _)| *user);
        let mut missing = changes.len();
        while missing > 0 {
            let next = self.seen.recv_timeout(Duration::from_secs(30));
            let (user, at) = next.with_context(|| format!("{missing} mode changes do not come"))?;
            // In the order in which users were sent, so that the place follows from the user.
            let place = user.checked_sub(first).and_then(|place| usize::try_from(place).ok());
            let Some((_, sent)) = place.and_then(|place| changes.get(place)) else { continue };
            let took = at.saturating_duration_since(*sent).as_micros();
            times.record(u64::try_from(took)?)?;
            missing -= 1;
        }
        Ok(times)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Commits of a single row, fifty a second, while something else goes on; each timed from when it was due, so
/// that a server that stands still is not asked less often for it.
struct SingleCommits {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<anyhow::Result<Histogram<u64>>>,
}

impl SingleCommits {
    fn start(place: &Place) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, url) = (Arc::clone(&stop), place.url.clone());
        let thread = std::thread::spawn(move || {
            let mut database = Database::connect(&url)?;
            let mut times = Histogram::new(3)?;
            let mut due = clock::now();
            while !stopped.load(Ordering::Relaxed) {
                database.run("INSERT INTO single VALUES (1)")?;
                times.record(u64::try_from(due.elapsed().as_micros())?)?;
                due += Duration::from_millis(20);
                std::thread::sleep(due.saturating_duration_since(clock::now()));
            }
            Ok(times)
        });
        Self { stop, thread }
    }

    fn end(self) -> anyhow::Result<Histogram<u64>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the single commits panicked"))?
    }
}
