//! What it costs to look into a single user who has few events, and into one who has very many: time, and rows of
//! records that the database reads for it.

use std::time::Duration;

use anyhow::Context as _;

use super::database::Database;
use super::load::{self, Producer, user_id};
use super::service::{Place, Service, watch};
use super::setup::{Setup, say};
use super::{Options, clock, middle, report};
use crate::table::Table;

/// Events of the user who has few.
const FEW: u64 = 1_000;
/// Looks into each, in turn; the middle one counts.
const LOOKS: usize = 51;
/// Event times lie so far apart.
const STEP_MICROS: i64 = 1_000_000;
/// Of so many events one is strained enough to change the mode, as in drains.
const STRAINED: u64 = 64;
const LINGER: Duration = Duration::from_millis(5);
/// What stands before the time at which a record was stored.
const STORED: &str = "\"recorded_at\":\"";
/// Backends of PostgreSQL tell what they have read after so long, at most.
const TOLD: Duration = Duration::from_secs(3);

/// What was measured of a user with so many events.
pub(super) struct Look {
    pub(super) events: u64,
    /// When, if it was not now.
    pub(super) when: &'static str,
    pub(super) milliseconds: f64,
    /// Rows of records that one look reads.
    pub(super) rows: f64,
}

pub(super) fn run(setup: &Setup, options: &Options, table: &mut Table) -> anyhow::Result<()> {
    let place = Place::make(setup, "looks", -1)?;
    let token = setup.token()?;
    let mut settings = options.settings.clone();
    for (name, value) in [
        ("BRIDGE__AUTH__TOKENS_FILE", token.file.as_str()),
        ("BRIDGE__HTTP__DEBUG", "true"),
        ("BRIDGE__HTTP__REQUESTS_PER_SUBJECT", "100000"),
    ] {
        settings.push((name.to_owned(), value.to_owned()));
    }
    let mut service = Service::start(setup, &settings, &place)?;
    service.wait_for_lanes()?;
    let mut database = Database::connect(&place.url)?;
    let most = options.looks;
    say(&format!("looks: {most} events of one user"))?;
    let producer = Producer::new(&setup.kafka.bootstrap, &place.topics.events, LINGER)?;
    for (user, events) in [(0, FEW), (1, most)] {
        fill(&producer, user, events)?;
    }
    producer.flush()?;
    let pause = Duration::from_millis(100);
    watch(std::slice::from_mut(&mut service), &mut database, FEW + most, pause)?;
    say("looks")?;
    let url = |user| format!("http://{}/debug/users/{}", service.address(), user_id(user));
    let ask = |url: &str, wanted: &str| -> anyhow::Result<(String, f64)> {
        let bearer = format!("Bearer {}", token.bearer);
        let began = clock::now();
        let mut answer = ureq::get(url).header("Authorization", &bearer).call()?;
        let text = answer.body_mut().read_to_string()?;
        let took = began.elapsed();
        anyhow::ensure!(text.contains(wanted), "nothing is told at {url}");
        Ok((text, took.as_secs_f64() * 1_000.0))
    };
    let (few, many) = (url(0), url(1));
    let (middle_one, _) = ask(&format!("{many}/events?limit=1&after={}", most / 2), STORED)?;
    let (_, behind) = middle_one.split_once(STORED).context("a record says when it was stored")?;
    let half = behind.split('"').next().unwrap_or_default();
    let then = format!("{many}?as_of={half}");
    let places = [(&few, FEW, ""), (&many, most, ""), (&then, most, ", half of them ago")];
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..LOOKS {
        for ((url, ..), times) in places.iter().zip(&mut times) {
            times.push(ask(url, "\"why\"")?.1);
        }
    }
    let times = times.map(middle);
    for ((url, events, when), milliseconds) in places.into_iter().zip(times) {
        let before = rows_read(&mut database)?;
        ask(url, "\"why\"")?;
        let rows = rows_read(&mut database)?.checked_sub(before).context("counted back")?;
        report::look(table, &Look { events, when, milliseconds, rows: rows as f64 });
    }
    let [few, many, then] = times;
    report::looks(table, most, [many / few, then / few]);
    Ok(())
}

/// Events of a user, the last of this moment.
fn fill(producer: &Producer, user: u64, events: u64) -> anyhow::Result<()> {
    let (until, mut text) = (clock::micros(), String::new());
    for i in 0..events {
        let time = until - (events - i).cast_signed() * STEP_MICROS;
        let scattered = load::mixed(i);
        load::write(user, time, scattered, scattered.is_multiple_of(STRAINED), &mut text)?;
        producer.send(Some(&user_id(user)), &text)?;
    }
    Ok(())
}

/// Rows of records that PostgreSQL has read so far.
fn rows_read(database: &mut Database) -> anyhow::Result<i64> {
    std::thread::sleep(TOLD);
    database.number(
        "SELECT (idx_tup_fetch + seq_tup_read)::bigint FROM pg_stat_user_tables \
         WHERE relname = 'event_records'",
    )
}
