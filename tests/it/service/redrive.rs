//! Dead letters that are tried again or given up from the command line: while records stream in, as a dry run, by
//! time, and with a progress that counts letters. Never how a lane does it.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use super::check;
use super::feed::{Event, Flow, MORNING};
use super::site::{LANES, Site, Stamps};
use crate::servers::{Outgoing, folder, python};

const USERS: usize = 12;
const LETTERS_EACH: usize = 20;

/// An event whose time is an hour ahead of its record's: refused, unless a policy allows two.
fn ahead(user: usize, number: usize) -> Event {
    let at = MORNING + i64::try_from(number).expect("few") * 60;
    // Never the time of another event of the user, who would have repeated it.
    let event = Event::at(&format!("user-{user}"), user, number, at + 3_607);
    Event { record_time: at * 1_000 + 123, ..event }
}

fn refuse(site: &Site<'_>, letters: &[Event]) {
    let messages: Vec<Outgoing<'_>> = letters.iter().map(Event::keyed).collect();
    site.kafka.produce(&site.topics.events, &messages);
    site.wait_caught_up();
}

/// Lets events be two hours ahead from now on.
fn be_lenient(site: &mut Site<'_>) {
    let policy = folder().join(format!("{}.yaml", site.group));
    std::fs::write(&policy, "version: lenient\nclock: {max_future: 2h}\n").expect("a policy");
    site.set("BRIDGE__POLICY__FILE", policy.to_str().expect("a path"));
}

/// By user, the numbers and record times (milliseconds) of their records, in order: of letters, or of all others.
fn stored(site: &Site<'_>, letters: bool) -> BTreeMap<String, Vec<(i64, i64)>> {
    let is_letter = if letters { "" } else { "NOT" };
    let rows = site.sql(&format!(
        "SELECT u.user_id, r.number, round(extract(epoch FROM r.record_time) * 1000)::bigint
         FROM event_records r JOIN users u ON u.user_number = r.user_number
         WHERE {is_letter} EXISTS (SELECT 1 FROM dead_letters d
             WHERE (d.lane, d.source, d.log_offset) = (r.lane, r.source, r.log_offset))
         ORDER BY r.user_number, r.number"
    ));
    let mut found: BTreeMap<String, Vec<(i64, i64)>> = BTreeMap::new();
    for row in rows.lines() {
        let columns: Vec<&str> = row.split('|').collect();
        let number = |column: usize| columns[column].parse::<i64>().expect("a number");
        found.entry(columns[0].to_owned()).or_default().push((number(1), number(2)));
    }
    found
}

#[test]
fn letters_are_applied_in_order_and_with_their_times_while_new_records_stream_in() {
    let Some(mut site) = Site::shared(Stamps::Producer) else { return };
    let bridge = site.start();
    let letters: Vec<Event> = (0..LETTERS_EACH)
        .flat_map(|number| (0..USERS).map(move |user| ahead(user, number)))
        .collect();
    refuse(&site, &letters);
    let open = "SELECT count(*) FROM dead_letters WHERE released_at IS NULL";
    assert_eq!(site.number(open), i64::try_from(letters.len()).expect("few"));
    bridge.end();
    be_lenient(&mut site);
    let bridge = site.start();
    bridge.wait_lanes(LANES);

    let flow = Flow::default();
    let (sent, outcomes) = std::thread::scope(|scope| {
        let sending = scope.spawn(|| flow.run(&site, USERS));
        let ends = flow.ends();
        let everybody_has = |more_than: &str| {
            site.wait_sql(&format!(
                "SELECT count(*) = {USERS} FROM (SELECT user_number FROM event_records
                 GROUP BY user_number HAVING {more_than}) AS users"
            ));
        };
        everybody_has("count(*) >= 3");
        let outcomes = site.run(&["dlq", "redrive", "--reason", "timestamp_in_future"]);
        everybody_has(
            "max(number) > max(number) FILTER (WHERE EXISTS (SELECT 1 FROM dead_letters d
                 WHERE d.lane = event_records.lane AND d.source = event_records.source
                     AND d.log_offset = event_records.log_offset))",
        );
        drop(ends);
        (sending.join().expect("sending does not panic"), outcomes)
    });
    site.wait_caught_up();
    let count = |line: &str| {
        let (_, outcome) = line.split_once(": ").expect("a lane and what came of it");
        let applied = outcome.strip_suffix(" applied, 0 stay");
        applied.and_then(|count| count.parse::<usize>().ok()).expect("all are applied")
    };
    assert_eq!(outcomes.lines().map(count).sum::<usize>(), letters.len(), "{outcomes}");

    let (applied, streamed) = (stored(&site, true), stored(&site, false));
    assert_eq!((applied.len(), streamed.len()), (USERS, USERS));
    let times = |records: &[(i64, i64)]| records.iter().map(|(_, time)| *time).collect::<Vec<_>>();
    for user in 0..USERS {
        let user_id = format!("user-{user}");
        let (letters, others) = (&applied[&user_id], &streamed[&user_id]);
        let expected = (0..LETTERS_EACH).map(|number| ahead(user, number).record_time);
        assert_eq!(times(letters), expected.collect::<Vec<_>>(), "the letters of {user_id}");
        let expected =
            (0..sent / USERS).map(|number| Event::of(&user_id, user, number).record_time);
        assert_eq!(times(others), expected.collect::<Vec<_>>(), "the others of {user_id}");
        let (first, last) = (letters[0].0, letters[LETTERS_EACH - 1].0);
        assert!(others[0].0 < first && last < others[others.len() - 1].0, "in the middle");
    }
    check::tables(&site);
    check::records_lead_to_states(&site);
    assert_eq!(site.number(open), 0);
    bridge.wait_metric("biometric_dead_letters_released_total{fate=\"applied\"}", |applied| {
        applied == 240.0
    });
    bridge.end();
}

/// What a list says of letters: names, and when they failed.
fn listed(site: &Site<'_>, arguments: &[&str]) -> Vec<(String, String)> {
    let lines = site.run(&[&["dlq", "list", "--json"], arguments].concat());
    let letter = |line: &str| {
        let letter: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let text = |field: &str| letter[field].as_str().expect("a text").to_owned();
        (text("letter"), text("failed_at"))
    };
    lines.lines().map(letter).collect()
}

#[test]
fn a_dry_run_names_the_letters_and_a_time_chooses_those_since() {
    let Some(site) = Site::shared(Stamps::Producer) else { return };
    let bridge = site.start();
    refuse(&site, &[ahead(1, 0)]);
    let before = listed(&site, &[]);
    let later: Vec<Event> = (1..31).map(|number| ahead(1, number)).collect();
    refuse(&site, &later);
    bridge.end();
    let all = listed(&site, &[]);
    assert_eq!((all.len(), &all[..1]), (31, &before[..]));
    let since = &all[1].1;
    assert_eq!(listed(&site, &["--since", since]), all[1..], "at or after that time");

    let lane = all[0].0.split_once('/').expect("a lane").0;
    let names: Vec<&str> = all[1..21].iter().map(|(name, _)| name.as_str()).collect();
    let expected = format!(
        "lane {lane}: 30 dead letters: {} and 10 more\n30 dead letters; nothing was changed\n",
        names.join(" ")
    );
    for command in ["redrive", "discard"] {
        let dry = site.run(&["dlq", command, "--since", since, "--dry-run"]);
        assert_eq!(dry, expected);
        let one = site.run(&["dlq", command, &all[0].0, "--dry-run"]);
        let said = format!("lane {lane}: 1 dead letters: {}\n", all[0].0);
        assert_eq!(one, format!("{said}1 dead letters; nothing was changed\n"));
    }
    assert_eq!(listed(&site, &[]), all);
    assert_eq!(site.number("SELECT count(*) FROM lane_commands"), 0, "nobody was asked");

    let bridge = site.start();
    let discarded = site.run(&["dlq", "discard", "--since", since]);
    assert_eq!(discarded, format!("lane {lane}: 30 discarded\n"));
    assert_eq!(listed(&site, &[]), before);
    check::all(&site);
    bridge.end();
}

/// Runs the program on a terminal of its own.
const ON_A_TERMINAL: &str = "import pty, sys; pty.spawn(sys.argv[1:])";

/// Shows what a command says on a terminal until it has said all of that, in this order; between them something is
/// done.
fn watched(site: &Site<'_>, arguments: &[&str], first: &str, done: impl FnOnce(), then: &str) {
    let mut command = Command::new(python());
    site.tell(&mut command);
    command.args(["-c", ON_A_TERMINAL, env!("CARGO_BIN_EXE_biometric-bridge")]).args(arguments);
    command.env("TERM", "xterm").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("Python starts");
    let mut output = child.stdout.take().expect("a pipe");
    let (says, said) = channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 4_096];
        while let Ok(count @ 1..) = output.read(&mut bytes) {
            if says.send(String::from_utf8_lossy(&bytes[..count]).into_owned()).is_err() {
                return;
            }
        }
    });
    let mut text = String::new();
    let mut until = |wanted: &str| {
        while !text.contains(wanted) {
            let more = said.recv_timeout(Duration::from_secs(60));
            text.push_str(&more.unwrap_or_else(|_| panic!("it never says {wanted}: {text}")));
        }
        text.clear();
    };
    until(first);
    done();
    until(then);
    child.kill().expect("it can be ended");
    child.wait().expect("it has ended");
}

#[test]
fn progress_counts_letters_and_not_commands() {
    let Some(site) = Site::shared(Stamps::Producer) else { return };
    let bridge = site.start();
    // Whoever was only refused is nobody, and is in no quarantine.
    site.kafka.produce(&site.topics.events, &[Event::of("user-1", 1, 0).keyed()]);
    let letters: Vec<Event> = (0..30).map(|number| ahead(1, number)).collect();
    refuse(&site, &letters);
    bridge.end();
    // Nobody carries the commands out: what they come to is put there.
    let first = |count: usize| {
        site.sql(&format!(
            "UPDATE dead_letters SET released_at = now(), fate = 'discarded'
             WHERE outbox IN (SELECT outbox FROM dead_letters WHERE released_at IS NULL
                 ORDER BY outbox LIMIT {count})"
        ));
    };
    let redrive = ["dlq", "redrive", "--reason", "timestamp_in_future"];
    watched(&site, &redrive, "0 of 30 letters", || first(12), "12 of 30 letters");
    let quarantined = "UPDATE users SET quarantined_at = now();
         UPDATE dead_letters SET reason = 'quarantined', user_number = (SELECT user_number FROM users)";
    site.sql(quarantined);
    let release = ["quarantine", "release", "user-1"];
    watched(&site, &release, "0 of 18 letters", || first(7), "7 of 18 letters");
}
