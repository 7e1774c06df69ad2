//! Drains: events that lie in Kafka already, until PostgreSQL has them all.

use std::time::{Duration, Instant};

use super::database::Database;
use super::load::{Producer, Rounds, user_id};
use super::profile::Profile;
use super::service::{LANES, Place, Service, all_are_there, progress, watch};
use super::setup::{Setup, say};
use super::{Options, clock};

/// What a drain came to. Rates are events a second.
pub(super) struct Drained {
    pub(super) place: Place,
    pub(super) users: u64,
    pub(super) events: u64,
    pub(super) event_bytes: usize,
    /// See [`Timed`], from when the service had its lanes.
    pub(super) whole: Rated,
    pub(super) known: Rated,
    pub(super) stored: u64,
    pub(super) transitions: u64,
    /// The service's means.
    pub(super) batch_records: f64,
    pub(super) commit_milliseconds: f64,
    pub(super) idle_bytes: u64,
    pub(super) bytes: u64,
    pub(super) checkpoint_bytes: f64,
    /// What an event takes in the database's files, and in its write-ahead log.
    pub(super) stored_bytes: f64,
    pub(super) logged_bytes: f64,
}

/// A stretch of a drain.
#[derive(Clone, Copy)]
pub(super) struct Rated {
    /// Events a second.
    pub(super) rate: f64,
    /// CPU time, microseconds an event.
    pub(super) service: f64,
    pub(super) postgres: f64,
    pub(super) kafka: f64,
}

/// A moment of a drain: when, events read, and CPU time until then.
#[derive(Clone, Copy)]
struct Moment {
    at: Instant,
    events: u64,
    service: Duration,
    postgres: Duration,
    kafka: Duration,
}

impl Moment {
    fn now(setup: &Setup, services: &[Service], events: u64) -> anyhow::Result<Self> {
        let used = services.iter().map(|service| clock::cpu(service.id()));
        Ok(Self {
            at: clock::now(),
            events,
            service: used.sum::<anyhow::Result<Duration>>()?,
            postgres: clock::cpu_of_family(setup.postgres.process.id())?,
            kafka: clock::cpu(setup.kafka.process.id())?,
        })
    }

    fn until(&self, end: &Self) -> Rated {
        let events = (end.events - self.events).max(1) as f64;
        let micros = |from: Duration, to: Duration| to.saturating_sub(from).as_secs_f64() * 1e6;
        Rated {
            rate: events / (end.at - self.at).as_secs_f64(),
            service: micros(self.service, end.service) / events,
            postgres: micros(self.postgres, end.postgres) / events,
            kafka: micros(self.kafka, end.kafka) / events,
        }
    }
}

/// How often lanes are looked at: often enough for a run of seconds, and cheap beside it.
const LOOK: Duration = Duration::from_millis(25);

/// Quiet users' checkpoints are due after five seconds, and what a drain needed for itself is given back.
const SETTLE: Duration = Duration::from_secs(8);

pub(super) fn run(
    setup: &Setup,
    options: &Options,
    users: u64,
    events: u64,
) -> anyhow::Result<(Drained, Service)> {
    let place = Place::make(setup, &format!("drain_{users}"), -1)?;
    // A first start without events: it brings up the schema, and shows what the service takes when idle.
    let service = Service::start(setup, &options.settings, &place)?;
    service.wait_for_lanes()?;
    std::thread::sleep(Duration::from_secs(2));
    let idle_bytes = clock::resident(service.id())?;
    drop(service);
    say(&format!("{users} users: sending {events} events"))?;
    let event_bytes = fill(setup, &place, users, events)?;
    say(&format!("{users} users: draining"))?;
    let mut database = Database::connect(&place.url)?;
    database.run("CHECKPOINT")?;
    let before = disk(&mut database)?;
    let mut service = Service::start(setup, &options.settings, &place)?;
    let profile = Profile::begin(options, &format!("drain-{users}"), &mut database)?;
    service.wait_for_lanes()?;
    let services = std::slice::from_mut(&mut service);
    let Timed { whole, known, .. } = timed(setup, services, &mut database, events, met(users))?;
    profile.map(|profile| profile.end(&mut database)).transpose()?;
    let after = disk(&mut database)?;
    let an_event = |after: i64, before: i64| (after - before) as f64 / events as f64;
    all_are_there(&mut database, events)?;
    say(&format!("{users} users: {:.0} events/s; waiting for quiet", whole.rate))?;
    std::thread::sleep(SETTLE);
    let (records, batches) = service.histogram("biometric_batch_records")?;
    let (commits, _) = service.histogram("biometric_commit_seconds")?;
    let mean = "SELECT coalesce(avg(length(checkpoint)) * 100, 0)::bigint FROM users";
    let drained = Drained {
        users,
        events,
        event_bytes,
        whole,
        known,
        stored: progress(&mut database)?.1,
        transitions: database.number("SELECT count(*) FROM mode_transitions")?.cast_unsigned(),
        batch_records: records / batches,
        commit_milliseconds: commits / batches * 1_000.0,
        idle_bytes,
        bytes: clock::resident(service.id())?,
        checkpoint_bytes: database.number(mean)? as f64 / 100.0,
        stored_bytes: an_event(after.0, before.0),
        logged_bytes: an_event(after.1, before.1),
        place,
    };
    Ok((drained, service))
}

/// Bytes of the database's files, and of the write-ahead log since its beginning.
fn disk(database: &mut Database) -> anyhow::Result<(i64, i64)> {
    let files = database.number("SELECT pg_database_size(current_database())")?;
    let log = database.number("SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint")?;
    Ok((files, log))
}

/// How a drain went.
pub(super) struct Timed {
    /// From the call to the last event.
    pub(super) whole: Rated,
    /// After every user was met, and while as much as at its beginning was in flight: what is in flight has been
    /// worked on already, and would count for nothing. The whole when there is too little left.
    pub(super) known: Rated,
    /// Seconds from the call to the first new rows.
    pub(super) first: f64,
}

/// Waits until so many events are committed; `met` of them have brought every user.
pub(super) fn timed(
    setup: &Setup,
    services: &mut [Service],
    database: &mut Database,
    events: u64,
    met: u64,
) -> anyhow::Result<Timed> {
    let before = progress(database)?.0;
    let began = Moment::now(setup, services, before)?;
    watch(services, database, before + 1, LOOK / 2)?;
    let first = began.at.elapsed().as_secs_f64();
    let mut look = |events: u64| -> anyhow::Result<Moment> {
        let looks = watch(services, database, events, LOOK)?;
        Moment::now(setup, services, looks.last().map_or(events, |(_, read)| *read))
    };
    let steady = look(met.min(events))?;
    let ebbing = look(events.saturating_sub(IN_FLIGHT).max(met).min(events))?;
    let end = look(events)?;
    let whole = began.until(&end);
    // Of less than a second nothing can be said.
    let is_long = ebbing.at - steady.at > Duration::from_secs(1);
    let known = if is_long { steady.until(&ebbing) } else { whole };
    Ok(Timed { whole, known, first })
}

/// What all lanes have in flight at most: three batches each. Of settings that change that it knows nothing; larger
/// batches or more of them make the figures better than they are.
const IN_FLIGHT: u64 = 3 * BATCHES;

/// The largest batch of each lane.
const BATCHES: u64 = LANES.unsigned_abs() as u64 * RECORDS_MAX;

/// The largest batch.
pub(super) const RECORDS_MAX: u64 = 16_384;

/// How many events are read when surely every user has been met, and what was in flight then is stored.
fn met(users: u64) -> u64 {
    // Lanes come along at different speeds: a third more, and a lane's largest batches in flight.
    users + users / 3 + BATCHES
}

/// Sends all events of a drain; gives the mean size of their values.
pub(super) fn fill(setup: &Setup, place: &Place, users: u64, events: u64) -> anyhow::Result<usize> {
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
