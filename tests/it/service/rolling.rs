//! Instances that are restarted one after the other, as a new release does it, and how long people wait
//! meanwhile: a probe user of each lane sends on without a pause, whatever the service does.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use jiff::Timestamp;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::check;
use super::feed::{self, Event, Flow, MORNING};
use super::site::{LANES, Site, Stamps};
use crate::servers::{Bridge, Server as _};

/// How often each probe sends.
const BEAT: Duration = Duration::from_millis(50);
/// Events of a probe say that they lie so far apart: then each of them changes the mode.
const SECONDS_BETWEEN: i64 = 600;

/// What one restart of a dynamic member may hold its lanes' people up, milliseconds. With [`ALONE`] each must
/// be below it; beside other tests the median, for one of them may meet a busy machine, and must be bearable
/// still.
const WANTED: i64 = 2_000;
const BEARABLE: i64 = 10_000;
/// The variable that says that nothing else runs on this machine.
const ALONE: &str = "RESTARTS_ALONE";
/// How long an instance is away in the second phase.
const AWAY: Duration = Duration::from_secs(3);

/// One user of each lane.
struct Probes {
    users: Vec<(i32, String)>,
    /// When the second and each later event of them was sent, milliseconds since 1970.
    sent: Mutex<Vec<i64>>,
    over: AtomicBool,
}

impl Probes {
    /// Finds users who are at home in each lane: one event of each of some, and where it was applied.
    fn find(site: &Site<'_>) -> Self {
        let events: Vec<Event> = (0..30).map(|its| event(&format!("probe-{its}"), 0)).collect();
        feed::stream(site.kafka, &site.topics.events, &events, events.len());
        site.wait_caught_up();
        let homes = "SELECT DISTINCT ON (r.lane) r.lane, u.user_id
            FROM event_records r JOIN users u USING (user_number) ORDER BY r.lane, u.user_id";
        let homes = site.sql(homes);
        let users = homes.lines().filter_map(|line| line.split_once('|'));
        let users = users.map(|(lane, user)| (lane.parse().expect("a lane"), user.to_owned()));
        let users: Vec<(i32, String)> = users.collect();
        assert_eq!(users.len(), LANES, "every lane has a probe");
        Self { users, sent: Mutex::default(), over: AtomicBool::new(false) }
    }

    /// Sends until the end, each straight to its lane.
    fn run(&self, site: &Site<'_>) {
        let mut client = site.kafka.client();
        client.set("enable.idempotence", "true").set("linger.ms", "0");
        let producer: BaseProducer = client.create().expect("a producer can be made");
        for number in 1.. {
            if self.over.load(Ordering::Relaxed) {
                break;
            }
            self.sent().push(Timestamp::now().as_millisecond());
            for (lane, user) in &self.users {
                let event = event(user, number);
                let record: BaseRecord<'_, str, str> = BaseRecord::to(&site.topics.events)
                    .key(user.as_str())
                    .payload(event.value.as_str())
                    .partition(*lane)
                    .timestamp(event.record_time);
                producer.send(record).unwrap_or_else(|(error, _)| panic!("sending: {error}"));
            }
            producer.poll(Duration::ZERO);
            sleep(BEAT);
        }
        producer.flush(Duration::from_secs(30)).expect("the broker acknowledges in time");
    }

    fn sent(&self) -> MutexGuard<'_, Vec<i64>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When what has this record number was sent, if it was within a phase.
    fn sent_within(&self, phase: &Phase, record_number: usize) -> Option<i64> {
        let sent = self.sent().get(record_number.checked_sub(2)?).copied();
        sent.filter(|moment| (phase.began..=phase.ended).contains(moment))
    }
}

/// Ends the probes, also when their test fails.
struct Ended<'p>(&'p Probes);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

/// A probe's event: calm and strained in turn.
fn event(user: &str, number: usize) -> Event {
    let seconds = MORNING + i64::try_from(number).expect("few events") * SECONDS_BETWEEN;
    let (hrv, heart_rate, stress) =
        if number.is_multiple_of(2) { (65, 60, "0.05") } else { (20, 120, "0.97") };
    let value = format!(
        "{{\"user_id\":\"{user}\",\"device_id\":\"d\",\"event_type\":\"vitals\",\
         \"timestamp\":{seconds},\"metrics\":{{\"hrv\":{hrv},\"heart_rate\":{heart_rate},\
         \"stress_level\":{stress}}}}}"
    );
    Event { user: user.to_owned(), value, record_time: (seconds + 1) * 1_000 }
}

/// What was done between two moments (milliseconds since 1970), and how often lanes were claimed for it.
struct Phase {
    what: &'static str,
    began: i64,
    ended: i64,
    claims: i64,
    /// When each restart of it began, and when the next thing did.
    restarts: Vec<(i64, i64)>,
}

impl Phase {
    /// Does something that restarts instances and notes when.
    fn of(site: &Site<'_>, what: &'static str, doing: impl FnOnce(&mut Vec<i64>)) -> Self {
        let claims = || site.number("SELECT sum(epoch) FROM lanes");
        let (before, began) = (claims(), Timestamp::now().as_millisecond());
        let mut begun = Vec::new();
        doing(&mut begun);
        site.wait_more(500);
        let ended = Timestamp::now().as_millisecond();
        let until = begun.iter().skip(1).chain([&ended]).copied().collect::<Vec<_>>();
        let restarts = begun.into_iter().zip(until).collect();
        Self { what, began, ended, claims: claims() - before, restarts }
    }

    /// For how long each restart held up the events that were sent meanwhile, at most, by when they were
    /// sent and how long they were on their way.
    fn held_up(&self, ways: &[(i64, i64)]) -> Vec<i64> {
        let longest = |(from, until): &(i64, i64)| {
            let within = ways.iter().filter(|(sent, _)| (from..until).contains(&sent));
            within.map(|(_, took)| *took).max().unwrap_or_default()
        };
        self.restarts.iter().map(longest).collect()
    }

    /// When each event of a probe was sent, and how long it was on its way to the topic of mode changes; in
    /// milliseconds. Says how long that and its commit took at most.
    fn ways(&self, site: &Site<'_>, probes: &Probes) -> Vec<(i64, i64)> {
        let seen = first_seen(site);
        let changes = site.sql(CHANGES);
        let waits: Vec<(i64, i64, i64)> = changes
            .lines()
            .filter_map(|line| {
                let [user, n, number, committed] = line.split('|').collect::<Vec<_>>()[..] else {
                    panic!("{line} has four columns");
                };
                let sent = probes.sent_within(self, number.parse().expect("a number"))?;
                let committed: i64 = committed.parse().expect("a time");
                Some((sent, committed - sent, seen[&format!("{user}|{n}")] - sent))
            })
            .collect();
        let commit = waits.iter().map(|its| its.1).max().expect("modes change");
        let change = waits.iter().map(|its| its.2).max().expect("modes change");
        let (what, count) = (self.what, waits.len());
        let said =
            format!("{commit} ms to the commit, {change} ms to the topic, at most of {count}");
        writeln!(std::io::stderr(), "{what}: {said}").expect("there is a standard error");
        let sent =
            probes.sent().iter().filter(|its| (self.began..=self.ended).contains(its)).count();
        assert_eq!(count, sent * LANES, "every event of a probe changes its mode");
        waits.into_iter().map(|(sent, _, change)| (sent, change)).collect()
    }
}

/// A phase with how long people waited for a mode change, at most, and because of each restart, at most;
/// milliseconds.
struct Waited {
    phase: Phase,
    longest: i64,
    each: Vec<i64>,
}

/// The mode changes of probes, each with the number of its record and the moment of its commit.
const CHANGES: &str = "SELECT u.user_id, t.n, t.record_number,
        (1000 * extract(epoch FROM pg_xact_commit_timestamp(t.xmin)))::bigint
    FROM mode_transitions t JOIN users u USING (user_number) WHERE u.user_id LIKE 'probe-%'";

/// When each mode change came to the topic first, by `user|n`.
fn first_seen(site: &Site<'_>) -> BTreeMap<String, i64> {
    let mut seen = BTreeMap::new();
    for message in site.messages(&site.topics.transitions) {
        let body: serde_json::Value = serde_json::from_str(message.text()).expect("JSON");
        let place = format!("{}|{}", body["user_id"].as_str().expect("a user"), body["n"]);
        seen.entry(place).or_insert(message.timestamp.expect("a time"));
    }
    seen
}

/// Restarts every instance under load: at once, after a while, and without warning; says of each phase how
/// long people waited for a mode change, at most, in milliseconds.
fn restarts(site: &Site<'_>, instances: &[Bridge]) -> Vec<Waited> {
    for instance in instances {
        instance.wait_some_lanes();
    }
    let probes = Probes::find(site);
    let flow = Flow::default();
    let phases = std::thread::scope(|scope| {
        let sending = scope.spawn(|| flow.run(site, 30));
        let probing = scope.spawn(|| probes.run(site));
        let (ends, ended) = (flow.ends(), Ended(&probes));
        site.wait_more(500);
        let moment = || Timestamp::now().as_millisecond();
        let rolling = |away, begun: &mut Vec<i64>| {
            for instance in instances {
                begun.push(moment());
                instance.end();
                sleep(away);
                instance.start_again();
                instance.wait_some_lanes();
                site.wait_more(300);
            }
        };
        let killed = |begun: &mut Vec<i64>| {
            begun.push(moment());
            instances[0].kill();
            instances[0].start_again();
            instances[0].wait_some_lanes();
        };
        let phases = vec![
            Phase::of(site, "each restarted at once", |begun| rolling(Duration::ZERO, begun)),
            Phase::of(site, "each away for 3 s", |begun| rolling(AWAY, begun)),
            Phase::of(site, "one killed and started again", killed),
        ];
        drop((ends, ended));
        sending.join().expect("sending does not panic");
        probing.join().expect("probing does not panic");
        phases
    });
    check::all(site);
    instances.iter().for_each(Bridge::end);
    let waited = |phase: Phase| {
        let ways = phase.ways(site, &probes);
        let longest = ways.iter().map(|(_, took)| *took).max().unwrap_or_default();
        let each = phase.held_up(&ways);
        Waited { phase, longest, each }
    };
    phases.into_iter().map(waited).collect()
}

#[test]
fn a_rolling_restart_holds_nobody_up_for_long() {
    let Some(site) = Site::shared(Stamps::Producer) else { return };
    let instances: Vec<Bridge> = (0..3).map(|_| site.start()).collect();
    let phases = restarts(&site, &instances);
    let waits: Vec<i64> = phases.iter().map(|waited| waited.longest).collect();
    assert!(waits[0] < BEARABLE && waits[1] < BEARABLE, "people waited {waits:?} ms");
    let mut each: Vec<i64> =
        phases[..2].iter().flat_map(|waited| waited.each.iter().copied()).collect();
    each.sort_unstable();
    assert_eq!(each.len(), 6);
    let judged = if std::env::var_os(ALONE).is_some() { each[5] } else { each[3] };
    assert!(judged < WANTED, "a restart holds people up for {each:?} ms");
    // Nobody says that a killed one is gone: its lanes wait out the session.
    assert!(waits[2] < 36_000, "people waited {waits:?} ms");
}

#[test]
fn static_members_find_their_lanes_again() {
    let Some(mut site) = Site::shared(Stamps::Producer) else { return };
    site.set("BRIDGE__KAFKA__SESSION_TIMEOUT", "30s");
    let instances: Vec<Bridge> =
        (0..3).map(|number| site.start_named(&format!("bridge-{number}"))).collect();
    let phases = restarts(&site, &instances);
    let waits: Vec<i64> = phases.iter().map(|waited| waited.longest).collect();
    // Lanes stay where they are: only who comes back claims, and its own only.
    let claims: Vec<i64> = phases.iter().map(|waited| waited.phase.claims).collect();
    assert_eq!(claims, [3, 3, 1]);
    assert!(waits[0] < BEARABLE && waits[2] < BEARABLE, "people waited {waits:?} ms");
    // The price: for as long as an instance is away, its lanes wait.
    assert!(waits[1] > 3_000, "people waited {waits:?} ms");
}

#[test]
fn of_two_instances_with_one_name_the_older_ends_and_says_why() {
    let Some(site) = Site::shared(Stamps::Producer) else { return };
    let events = feed::crowd(60, 20);
    let first = site.start_named("bridge-0");
    first.wait_lanes(LANES);
    feed::stream(site.kafka, &site.topics.events, &events[..600], 100);
    site.wait_read(300);
    let second = site.start_named("bridge-0");
    let status = first.wait_ended();
    assert_eq!(status.code(), Some(78), "the configuration cannot work");
    let said = first.log();
    let wanted =
        "`kafka.group_instance_id`, `bridge-0`, and has our lanes; give each instance an id";
    assert!(said.contains(wanted), "{said}");
    second.wait_lanes(LANES);
    feed::stream(site.kafka, &site.topics.events, &events[600..], 100);
    check::all(&site);
    assert_eq!(site.number("SELECT count(*) FROM event_records"), 1_200);
    second.end();
}
