//! Drains: events that lie in Kafka already, until PostgreSQL has them all.

use std::time::{Duration, Instant};

use super::database::Database;
use super::load::{Producer, Rounds, user_id};
use super::service::{LANES, Place, Service, progress, watch};
use super::setup::{Setup, say};
use super::{Options, clock};

/// What a drain came to. Rates are events a second.
pub(super) struct Drained {
    pub(super) place: Place,
    pub(super) users: u64,
    pub(super) events: u64,
    pub(super) event_bytes: usize,
    pub(super) seconds: f64,
    pub(super) rate: f64,
    /// After every user was met once.
    pub(super) rate_of_known: Option<f64>,
    pub(super) cpu: Cpu,
    pub(super) transitions: u64,
    /// The service's means.
    pub(super) batch_records: f64,
    pub(super) commit_milliseconds: f64,
    pub(super) idle_bytes: u64,
    pub(super) bytes: u64,
    pub(super) checkpoint_bytes: f64,
}

/// CPU time of the three.
#[derive(Clone, Copy)]
pub(super) struct Cpu {
    pub(super) service: Duration,
    pub(super) postgres: Duration,
    pub(super) kafka: Duration,
}

impl Cpu {
    fn now(setup: &Setup, service: &Service) -> anyhow::Result<Self> {
        Ok(Self {
            service: clock::cpu(service.id())?,
            postgres: clock::cpu_of_family(setup.postgres.process.id())?,
            kafka: clock::cpu(setup.kafka.process.id())?,
        })
    }

    fn since(self, before: Self) -> Self {
        Self {
            service: self.service.saturating_sub(before.service),
            postgres: self.postgres.saturating_sub(before.postgres),
            kafka: self.kafka.saturating_sub(before.kafka),
        }
    }
}

/// How often lanes are looked at: often enough for a run of seconds, and cheap beside it.
const LOOK: Duration = Duration::from_millis(25);

/// Quiet users' checkpoints are due after five seconds, and what a drain needed for itself is given back.
const SETTLE: Duration = Duration::from_secs(8);

pub(super) fn run(setup: &Setup, options: &Options, users: u64) -> anyhow::Result<Drained> {
    let place = Place::make(setup, &format!("drain_{users}"), -1)?;
    // A first start without events: it brings up the schema, and shows what the service takes when idle.
    let service = Service::start(setup, &options.settings, &place)?;
    service.wait_for_lanes()?;
    std::thread::sleep(Duration::from_secs(2));
    let idle_bytes = clock::resident(service.id())?;
    drop(service);
    let events = options.events;
    say(&format!("{users} users: sending {events} events"))?;
    let event_bytes = fill(setup, &place, users, events)?;
    say(&format!("{users} users: draining"))?;
    let mut database = Database::connect(&place.url)?;
    database.run("CHECKPOINT")?;
    let mut service = Service::start(setup, &options.settings, &place)?;
    if let Some(folder) = &options.profiles {
        std::fs::create_dir_all(folder)?;
        service.profile(folder.join(format!("drain-{users}.perf")))?;
    }
    // Getting ready is no part of the drain: it begins with the last look that found nothing stored.
    let (before, began) = loop {
        let seen = (Cpu::now(setup, &service)?, clock::now());
        service.must_run()?;
        std::thread::sleep(LOOK);
        if progress(&mut database)?.1 > 0 {
            break seen;
        }
    };
    let looks = watch(&mut service, &mut database, events, LOOK)?;
    let cpu = Cpu::now(setup, &service)?.since(before);
    service.end_profile();
    let ended = looks.last().map_or(began, |(time, _)| *time);
    let seconds = (ended - began).as_secs_f64();
    let stored = database.number("SELECT count(*) FROM event_records")?.cast_unsigned();
    anyhow::ensure!(stored == events, "of {events} events {stored} are stored");
    say(&format!("{users} users: {:.0} events/s; waiting for quiet", events as f64 / seconds))?;
    std::thread::sleep(SETTLE);
    let (records, batches) = service.histogram("biometric_batch_records")?;
    let (commits, _) = service.histogram("biometric_commit_seconds")?;
    let mean = "SELECT coalesce(avg(length(checkpoint)) * 100, 0)::bigint FROM users";
    Ok(Drained {
        users,
        events,
        event_bytes,
        seconds,
        rate: events as f64 / seconds,
        rate_of_known: rate_after(&looks, users),
        cpu,
        transitions: database.number("SELECT count(*) FROM mode_transitions")?.cast_unsigned(),
        batch_records: records / batches,
        commit_milliseconds: commits / batches * 1_000.0,
        idle_bytes,
        bytes: clock::resident(service.id())?,
        checkpoint_bytes: database.number(mean)? as f64 / 100.0,
        place,
    })
}

/// Sends all events of a drain; gives the mean size of their values.
fn fill(setup: &Setup, place: &Place, users: u64, events: u64) -> anyhow::Result<usize> {
    let rounds = Rounds { users, events, until: clock::micros() };
    let (bootstrap, topic) = (&setup.kafka.bootstrap, &place.topics.events);
    let producer = Producer::new(bootstrap, topic, Duration::from_millis(20))?;
    let (mut text, mut bytes) = (String::new(), 0);
    for i in 0..events {
        rounds.write(i, &mut text)?;
        bytes += text.len();
        producer.send(Some(&user_id(i % users)), &text)?;
    }
    producer.flush()?;
    Ok(bytes / usize::try_from(events)?.max(1))
}

/// The rate from when every user has been met, and whatever was in flight then is stored, to the end.
fn rate_after(looks: &[(Instant, u64)], users: u64) -> Option<f64> {
    // Lanes come along at different speeds: a third more, and a lane's largest batches in flight.
    let met = users + users / 3 + u64::from(LANES.unsigned_abs()) * 8_192;
    let (began, first) = looks.iter().find(|(_, stored)| *stored >= met)?;
    let (ended, last) = looks.last()?;
    let seconds = (*ended - *began).as_secs_f64();
    (seconds > 1.0).then(|| (last - first) as f64 / seconds)
}
