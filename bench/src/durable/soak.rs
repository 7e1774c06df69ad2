//! The soak: the whole service at a steady rate for half an hour, while old events leave the topics and the
//! store, and a look at what the process holds every few seconds. Unlike the other measurements it judges.

mod feed;
mod halt;
mod plot;
mod sample;
mod verdict;

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use self::feed::Feed;
use self::halt::Halt;
use self::sample::{Sample, Seen, Sizes};
use self::verdict::{End, Verdict};
use super::clock;
use super::database::Database;
use super::service::{LANES, Place, Service};
use super::setup::{ServerSettings, Setup, say};

/// What is to be tried, and how hard.
#[derive(Clone, Debug)]
pub struct Soak {
    /// Length of the load.
    pub minutes: u64,
    /// Events a second.
    pub rate: u64,
    /// Users, each in turn.
    pub users: u64,
    /// How long topics and store keep events, seconds.
    pub keep: u64,
    /// Halts PostgreSQL for so many seconds in the middle; then that is judged, not the steadiness.
    pub stall: Option<u64>,
    /// The run ends when servers and service have more on the disk.
    pub disk_bytes_max: u64,
    /// The service's program.
    pub service: PathBuf,
    /// Settings for the service, each `VARIABLE=VALUE`.
    pub settings: Vec<(String, String)>,
    /// Where the samples go.
    pub csv: PathBuf,
    /// Where they are drawn.
    pub plot: PathBuf,
}

/// How often the process is looked at; with a stall more often, since that is short.
const LOOK: Duration = Duration::from_secs(5);
const LOOK_AT_STALL: Duration = Duration::from_secs(1);
/// How often sizes are measured and a line is printed.
const LINE: Duration = Duration::from_secs(30);
/// How long the rest may take when the load is over.
const REST: Duration = Duration::from_secs(60);

impl Soak {
    fn look(&self) -> Duration {
        if self.stall.is_some() { LOOK_AT_STALL } else { LOOK }
    }

    fn length(&self) -> Duration {
        Duration::from_mins(self.minutes)
    }

    /// Files small enough that old ones are deleted, and a log of PostgreSQL that leaves room on the disk.
    fn servers(&self) -> ServerSettings {
        let own = |settings: &[&str]| settings.iter().map(|&setting| setting.to_owned()).collect();
        let mut kafka: Vec<String> = own(&[
            "log.segment.bytes=16777216",
            "log.retention.check.interval.ms=10000",
            "log.segment.delete.delay.ms=5000",
        ]);
        kafka.push(format!("log.retention.ms={}", self.keep * 1_000));
        ServerSettings { kafka, postgres: own(&["max_wal_size=3GB", "min_wal_size=512MB"]) }
    }

    fn settings(&self) -> Vec<(String, String)> {
        let keep = format!("{}s", self.keep);
        let own = [
            ("BRIDGE__STORE__RETAIN", keep.as_str()),
            ("BRIDGE__STORE__KEEP_OUTBOX", &keep),
            ("BRIDGE__STORE__COMPRESS_AFTER", "0s"),
        ];
        let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
        own.into_iter().chain(self.settings.iter().cloned()).collect()
    }
}

/// Runs it, writes samples and drawing, and prints what came out.
///
/// # Errors
///
/// When something is broken, or when it does not hold what it is to hold.
pub fn run(soak: &Soak) -> anyhow::Result<()> {
    let interrupted = interruption()?;
    let setup = Setup::start(&soak.service, &soak.servers())?;
    let place = Place::make(&setup, "soak", i64::try_from(soak.keep * 1_000)?)?;
    let service = Service::start(&setup, &soak.settings(), &place)?;
    service.wait_for_lanes()?;
    let database = Database::connect(&place.url)?;
    let feed = Feed::start(&setup.kafka.bootstrap, &place.topics.events, soak.rate, soak.users)?;
    say(&format!("{} events/s of {} users for {} min", soak.rate, soak.users, soak.minutes))?;
    let mut trial = Trial {
        soak,
        setup: &setup,
        service,
        database,
        feed,
        interrupted,
        began: clock::now(),
        samples: Vec::new(),
        applied: 0,
        sizes: Sizes::default(),
        halt: None,
    };
    let went = trial.watch();
    // What was seen up to a failure tells why.
    sample::write(&trial.samples, &soak.csv)?;
    went?;
    let end = trial.end(&place)?;
    let verdict = Verdict::of(soak, &trial.samples, &end);
    plot::write(&trial.samples, soak)?;
    verdict.print()
}

/// A run under way.
struct Trial<'t> {
    soak: &'t Soak,
    setup: &'t Setup,
    service: Service,
    database: Database,
    feed: Feed,
    interrupted: Arc<AtomicBool>,
    began: Instant,
    samples: Vec<Sample>,
    /// Events applied, when this was last asked.
    applied: u64,
    sizes: Sizes,
    halt: Option<Halt>,
}

impl Trial<'_> {
    /// Looks until the time is over.
    fn watch(&mut self) -> anyhow::Result<()> {
        let (mut look, mut line) = (self.began, self.began);
        while self.began.elapsed() < self.soak.length() {
            look += self.soak.look();
            self.sleep_until(look)?;
            self.stall()?;
            if clock::now() >= line && !self.is_halted() {
                self.sizes = Sizes::of(self.setup, &mut self.database)?;
            }
            let sample = self.sample()?;
            if clock::now() >= line {
                line += LINE;
                writeln!(std::io::stdout(), "{sample}")?;
            }
            self.samples.push(sample);
            let (used, limit) = (self.sizes.disk, self.soak.disk_bytes_max);
            anyhow::ensure!(used <= limit, "{used} bytes on the disk, of at most {limit}");
        }
        Ok(())
    }

    fn sample(&mut self) -> anyhow::Result<Sample> {
        self.service.must_run()?;
        let halted = self.is_halted();
        if !halted {
            // Not from the metrics: they leave out a batch whose commit went unanswered.
            let new = "SELECT coalesce(sum(events_new + by_user_new), 0)::bigint FROM lanes";
            self.applied = self.database.number(new)?.cast_unsigned();
        }
        let seen = Seen {
            time: self.began.elapsed(),
            sent: self.feed.sent(),
            applied: self.applied,
            halted,
            sizes: self.sizes,
        };
        Sample::take(&self.service, seen)
    }

    fn sleep_until(&self, then: Instant) -> anyhow::Result<()> {
        while clock::now() < then {
            if self.interrupted.load(Ordering::Relaxed) {
                bail!("interrupted");
            }
            let left = then.saturating_duration_since(clock::now());
            std::thread::sleep(left.min(Duration::from_millis(200)));
        }
        Ok(())
    }

    fn is_halted(&self) -> bool {
        self.halt.as_ref().is_some_and(Halt::is_on)
    }

    /// Halts PostgreSQL when it is time.
    fn stall(&mut self) -> anyhow::Result<()> {
        let Some(seconds) = self.soak.stall else { return Ok(()) };
        if self.halt.is_none() && self.began.elapsed() >= self.soak.length() / 2 {
            say(&format!("PostgreSQL is halted for {seconds} s"))?;
            let length = Duration::from_secs(seconds);
            self.halt = Some(Halt::start(self.setup.postgres.process.id(), length)?);
        }
        Ok(())
    }

    /// Ends the load, waits until the service has applied all of it, and counts.
    fn end(&mut self, place: &Place) -> anyhow::Result<End> {
        let paced = self.began.elapsed();
        let sent = self.feed.end()?;
        let deadline = clock::now() + REST;
        let over = clock::now();
        let mut applied = self.applied;
        while applied != sent {
            let late = clock::now() >= deadline;
            anyhow::ensure!(!late, "of {sent} events {applied} are applied, {REST:?} later");
            self.sleep_until(clock::now() + Duration::from_millis(100))?;
            applied = self.sample()?.applied;
        }
        Ok(End {
            sent,
            paced,
            rest: over.elapsed(),
            applied,
            stored: self.database.number("SELECT count(*) FROM event_records")?.cast_unsigned(),
            passed: log_starts(&self.setup.kafka.bootstrap, &place.topics.events)?,
            metrics: self.service.metrics()?,
            said: self.service.said()?,
        })
    }
}

/// How many records the topic's retention has passed.
fn log_starts(bootstrap: &str, topic: &str) -> anyhow::Result<u64> {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create()?;
    let start = |lane| consumer.fetch_watermarks(topic, lane, Duration::from_secs(10));
    (0..LANES).map(|lane| Ok(start(lane)?.0.cast_unsigned())).sum()
}

/// Becomes true when the run is to end early, so that it takes its gigabytes along.
fn interruption() -> anyhow::Result<Arc<AtomicBool>> {
    use tokio::signal::unix::{SignalKind, signal};

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let interrupted = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&interrupted);
    let (mut interrupt, mut terminate) = runtime.block_on(async {
        anyhow::Ok((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))
    })?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        told.store(true, Ordering::Relaxed);
    });
    Ok(interrupted)
}
