//! Three instances and twelve partitions: who owns how many lanes, and for how long a lane rests when an instance
//! leaves, joins or dies. `docs/scaling.md` has the figures.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use actors::home::home;
use actors::lane::Lane;
use jiff::Timestamp;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::servers::{Bridge, Server as _, Servers};
use crate::service::check;
use crate::service::feed::Event;
use crate::service::site::Site;

/// Lanes of this installation.
const LANES: i32 = 12;
const INSTANCES: usize = 3;

/// How often an event is sent to each lane.
const BEAT: Duration = Duration::from_millis(50);

/// For how long a lane may rest when an instance ends in order or comes, milliseconds: where nothing else runs on
/// the machine ([`ALONE`]), and beside other tests.
const WANTED: i64 = 2_000;
const BEARABLE: i64 = 10_000;
/// When an instance was killed: its session of 6 s comes first.
const BEARABLE_AFTER_DEATH: i64 = 36_000;
const ALONE: &str = "RESTARTS_ALONE";

/// One user for each lane, whose events never end.
struct Pulse {
    users: Vec<String>,
    over: AtomicBool,
}

impl Pulse {
    fn new() -> Self {
        let lives_in = |lane, user: &String| home(user, LANES) == Lane(lane);
        let of_lane = |lane| (0..).map(|it| format!("p-{it}")).find(|user| lives_in(lane, user));
        let users = (0..LANES).filter_map(of_lane).collect();
        Self { users, over: AtomicBool::new(false) }
    }

    /// Sends until it is over, each straight to its lane; gives how many there were.
    fn run(&self, site: &Site<'_>) -> usize {
        let mut client = site.kafka.client();
        client.set("enable.idempotence", "true").set("linger.ms", "0");
        let producer: BaseProducer = client.create().expect("a producer can be made");
        let mut sent = 0;
        while !self.over.load(Ordering::Relaxed) {
            for (lane, user) in (0..).zip(&self.users) {
                let event = Event::of(user, 1, sent / self.users.len());
                let record: BaseRecord<'_, str, str> = BaseRecord::to(&site.topics.events)
                    .key(user.as_str())
                    .payload(event.value.as_str())
                    .partition(lane)
                    .timestamp(event.record_time);
                producer.send(record).unwrap_or_else(|(error, _)| panic!("sending: {error}"));
                sent += 1;
            }
            producer.poll(Duration::ZERO);
            sleep(BEAT);
        }
        producer.flush(Duration::from_secs(30)).expect("the broker acknowledges in time");
        sent
    }
}

/// Ends it, also when its test fails.
struct Ended<'p>(&'p Pulse);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

/// The lanes that an instance runs.
fn lanes_of(instance: &Bridge) -> Vec<String> {
    let (_, body) = instance.http("/ready").unwrap_or_default();
    let body: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
    let lanes = body["lanes"].as_object().into_iter().flatten();
    lanes.filter(|(_, doing)| *doing == "running").map(|(lane, _)| lane.clone()).collect()
}

/// Waits until each of these instances runs so many lanes, and no lane is run by two.
fn wait_shares(instances: &[&Bridge], shares: &[usize]) {
    let mut last = Vec::new();
    for _ in 0..600 {
        let mut all: Vec<String> = Vec::new();
        last = instances
            .iter()
            .map(|instance| {
                let lanes = lanes_of(instance);
                let count = lanes.len();
                all.extend(lanes);
                count
            })
            .collect();
        all.sort_unstable();
        all.dedup();
        if last == shares && all.len() == LANES as usize {
            return;
        }
        sleep(Duration::from_millis(100));
    }
    panic!("the lanes are not shared as {shares:?}: {last:?}");
}

/// How long lanes rested at most while something was done: those that changed hands, and those that did not.
struct Rest {
    what: &'static str,
    moved: i64,
    stayed: i64,
    lanes_moved: usize,
}

/// Does something, waits until lanes are shared as told, and says how long lanes rested.
fn rest(
    site: &Site<'_>,
    what: &'static str,
    doing: impl FnOnce(),
    (instances, shares): (&[&Bridge], &[usize]),
) -> Rest {
    let epochs = || site.sql("SELECT lane, epoch FROM lanes ORDER BY 1");
    let (before, began) = (epochs(), Timestamp::now().as_millisecond());
    doing();
    wait_shares(instances, shares);
    // What waited meanwhile comes too.
    sleep(Duration::from_secs(2));
    let ended = Timestamp::now().as_millisecond();
    let after = epochs();
    let changed: Vec<bool> = before.lines().zip(after.lines()).map(|(a, b)| a != b).collect();
    let gaps = site.sql(&format!(
        "SELECT lane, max(gap) FROM (
             SELECT lane, at - lag(at) OVER (PARTITION BY lane ORDER BY at) AS gap, at FROM (
                 SELECT DISTINCT lane,
                     (1000 * extract(epoch FROM pg_xact_commit_timestamp(xmin)))::bigint AS at
                 FROM event_records) AS commits) AS gaps
         WHERE at >= {began} AND at - gap <= {ended} GROUP BY lane ORDER BY lane"
    ));
    let gaps = gaps.lines().filter_map(|line| line.split_once('|')?.1.parse::<i64>().ok());
    let gaps: Vec<i64> = gaps.collect();
    assert_eq!(gaps.len(), LANES as usize, "every lane has committed meanwhile");
    let longest = |moved| {
        let of = gaps.iter().zip(&changed).filter(|(_, changed)| **changed == moved);
        of.map(|(gap, _)| *gap).max().unwrap_or_default()
    };
    let lanes_moved = changed.iter().filter(|changed| **changed).count();
    let (moved, stayed) = (longest(true), longest(false));
    let said = format!(
        "{what}: {lanes_moved} of {LANES} lanes moved; the longest rest of a lane was {moved} ms of those, and \
         {stayed} ms of the others"
    );
    writeln!(std::io::stderr(), "{said}").expect("there is a standard error");
    Rest { what, moved, stayed, lanes_moved }
}

fn installation() -> Option<Site<'static>> {
    Servers::available().then(|| {
        let servers = Servers::shared();
        let site = Site::bare(&servers.kafka, &servers.postgres, &servers.redis);
        site.run(&["keys", "generate", "--output", site.key_file.to_str().expect("a path")]);
        let create = ["topics", "create", "--replication-factor", "1", "--retention", "0s"];
        site.run(&[&create[..], &["--create-time", "--partitions", "12"]].concat());
        site.run(&["migrate", "up"]);
        site
    })
}

#[test]
fn three_instances_share_twelve_lanes_evenly_and_lanes_that_move_rest_shortly() {
    let Some(site) = installation() else { return };
    let instances: Vec<Bridge> = (0..INSTANCES).map(|_| site.start()).collect();
    let [first, second, third] = &instances[..] else { panic!("there are three") };
    wait_shares(&[first, second, third], &[4, 4, 4]);
    let pulse = Pulse::new();
    assert_eq!(pulse.users.len(), LANES as usize, "every lane has a user");
    let (rests, sent) = std::thread::scope(|scope| {
        let sending = scope.spawn(|| pulse.run(&site));
        let ended = Ended(&pulse);
        site.wait_sql("SELECT count(DISTINCT lane) = 12 FROM event_records");
        sleep(Duration::from_secs(2));
        let (two, three) = ([first, second], [first, second, third]);
        let rests = [
            rest(&site, "one leaves", || third.end(), (&two, &[6, 6])),
            rest(&site, "one joins", || third.start_again(), (&three, &[4, 4, 4])),
            rest(&site, "one is killed", || third.kill(), (&two, &[6, 6])),
        ];
        drop(ended);
        (rests, sending.join().expect("sending does not panic"))
    });
    check::all(&site);
    assert_eq!(site.sql("SELECT count(*) FROM event_records"), sent.to_string());
    for instance in [first, second] {
        instance.end();
    }
    let bound = if std::env::var_os(ALONE).is_some() { WANTED } else { BEARABLE };
    for (rest, bound) in rests.iter().zip([bound, bound, BEARABLE_AFTER_DEATH]) {
        let Rest { what, moved, stayed, lanes_moved } = rest;
        assert!(*lanes_moved >= 4, "{what}: {lanes_moved} lanes moved");
        assert!(*moved < bound && *stayed < bound, "{what}: {moved} and {stayed} ms");
    }
}
