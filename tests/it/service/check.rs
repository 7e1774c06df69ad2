//! What holds of every installation whose work is done, whatever happened on the way: by SQL over its
//! tables, by its topics, and by replaying what it stored and what it was sent.

use std::collections::{BTreeMap, BTreeSet};

use neuros::time::Timestamp;
use neuros::wire::{Headers, Intake, Message, decode};
use neuros::{Explain, Kind, Policy, State, step};

use super::site::{Site, WAITING};
use super::{accounts, dead_letters, messages};
use crate::servers;
use crate::support::{stderr, stdout};

/// Waits until the work is done, and checks everything.
pub(crate) fn all(site: &Site<'_>) {
    all_under(site, &Policy::default());
}

/// The same for another policy than the built-in one.
pub(crate) fn all_under(site: &Site<'_>, policy: &Policy) {
    site.wait_caught_up();
    tables(site);
    topics_and_replays(site, policy);
}

/// Checks the tables against each other.
pub(crate) fn tables(site: &Site<'_>) {
    for (fact, against) in FACTS {
        let found = site.sql(against);
        assert_eq!(found, "", "not so: {fact}");
    }
}

/// Checks that the lanes' counts add up, also where users were erased.
pub(crate) fn counts(site: &Site<'_>) {
    for (fact, against) in &FACTS[..2] {
        assert_eq!(site.sql(against), "", "not so: {fact}");
    }
}

/// Checks the tables against the topics and against what replays come to.
pub(crate) fn topics_and_replays(site: &Site<'_>, policy: &Policy) {
    messages::all_left(site);
    but_messages(site, policy);
}

/// Waits until the work is done, and checks everything but the messages on the topics of mode changes and
/// alerts: of a store that was restored, some have come twice.
pub(crate) fn all_but_messages(site: &Site<'_>) {
    site.wait_caught_up();
    tables(site);
    but_messages(site, &Policy::default());
}

fn but_messages(site: &Site<'_>, policy: &Policy) {
    let states = site.run(&["export", "states"]);
    stored_records_lead_to(site, &states);
    the_log_leads_to(site, policy, &states);
    dead_letters::all_left(site);
    accounts::all(site);
    // Rows of all those who have written meanwhile, and of those who were killed while they wrote.
    site.run(&["audit", "verify"]);
}

/// Checks states and mode changes against the log alone, for stored records that may be gone.
pub(crate) fn log_leads_to_states(site: &Site<'_>) {
    the_log_leads_to(site, &Policy::default(), &site.run(&["export", "states"]));
}

/// Checks that states are what the stored records come to: of whoever had letters applied out of their places,
/// the log itself has no order.
pub(crate) fn records_lead_to_states(site: &Site<'_>) {
    stored_records_lead_to(site, &site.run(&["export", "states"]));
}

/// What tests write where a checkpoint was, as PostgreSQL wants it.
pub(crate) const SPOILT: &str = "\\x00ff";

/// Checks what must hold besides once every instance has ended in order: all states are written, all
/// messages have left, and every checkpoint opens that no test has spoilt.
pub(crate) fn at_rest(site: &Site<'_>) {
    let behind = "SELECT u.user_number FROM users u
         LEFT JOIN (SELECT user_number, count(*) AS stored FROM event_records GROUP BY 1) r
             USING (user_number)
         WHERE u.record_number <> coalesce(r.stored, 0)
            OR u.message_number <> (SELECT count(*) FROM mode_transitions t
                                    WHERE t.user_number = u.user_number)
                + (SELECT count(*) FROM alert_changes a WHERE a.user_number = u.user_number)";
    assert_eq!(site.sql(behind), "", "every state is written");
    assert_eq!(site.number(WAITING), 0, "every message has left");
    checkpoints_alone_lead_to(site);
}

/// Each checkpoint that is there and that no test has spoilt is its user's whole state: in a copy of the
/// database without any record the states are the same.
fn checkpoints_alone_lead_to(site: &Site<'_>) {
    let lost = format!("checkpoint IS NULL OR checkpoint = '{SPOILT}'");
    let without = site.sql(&format!("SELECT user_id FROM users WHERE {lost}"));
    let without: BTreeSet<&str> = without.lines().collect();
    let copy = site.postgres.copy(&site.database);
    let forget = format!("DELETE FROM users WHERE {lost}; TRUNCATE event_records");
    site.postgres.psql(&copy, &forget);
    let output = site.output_from(&copy, &["export", "states"], "");
    site.postgres.remove(&copy);
    assert!(output.status.success(), "every checkpoint opens: {}", stderr(&output));
    let states = site.run(&["export", "states"]);
    let has_one = |line: &&str| {
        let state: serde_json::Value = serde_json::from_str(line).expect("JSON");
        !without.contains(state["user_id"].as_str().expect("a user"))
    };
    let expected: Vec<&str> = states.lines().filter(has_one).collect();
    same_lines(stdout(&output), &expected.join("\n"), "the states of checkpoints alone");
}

/// Facts, each with a query for what speaks against it.
const FACTS: [(&str, &str); 20] = [
    (
        "a lane's counts add up to what it has read of events",
        "SELECT lane FROM lanes WHERE events_position <> events_new + events_duplicate
             + events_dead_letter + events_forwarded + events_skipped",
    ),
    (
        "a lane's counts add up to what it has read of forwarded events",
        "SELECT lane FROM lanes WHERE by_user_position <> by_user_new + by_user_duplicate
             + by_user_dead_letter + by_user_forwarded + by_user_skipped",
    ),
    (
        "each record that counts as new is stored, and each dead letter that was applied after all",
        "SELECT lane FROM (
             SELECT lane, 0 AS source, events_new AS new FROM lanes
             UNION ALL SELECT lane, 1, by_user_new FROM lanes) AS counts
         WHERE new + (SELECT count(*) FROM dead_letters d
                          WHERE d.source = counts.source AND d.fate = 'applied'
                              -- Where its user lived by then, with the batch that released it: as a rule
                              -- where it failed. Batches of two lanes may be of the same time.
                              AND counts.lane = coalesce((SELECT r.lane FROM event_records r
                                  WHERE r.time = d.released_at AND r.source = d.source
                                      AND r.log_offset = d.log_offset
                                  ORDER BY r.lane <> d.lane, r.lane DESC LIMIT 1), d.lane))
             <> (SELECT count(*) FROM event_records r
                 WHERE r.lane = counts.lane AND r.source = counts.source)",
    ),
    (
        "each record that counts as a dead letter is one",
        "SELECT l.lane FROM lanes l LEFT JOIN dead_letters d USING (lane)
         GROUP BY l.lane, l.events_dead_letter, l.by_user_dead_letter
         HAVING l.events_dead_letter <> count(*) FILTER (WHERE d.source = 0)
             OR l.by_user_dead_letter <> count(*) FILTER (WHERE d.source = 1)",
    ),
    (
        "no position of the log is stored twice",
        "SELECT lane, source, log_offset FROM (
             SELECT lane, source, log_offset FROM event_records WHERE source <> 2
             UNION ALL SELECT lane, source, log_offset FROM dead_letters
                       WHERE fate IS DISTINCT FROM 'applied') AS stored
         GROUP BY lane, source, log_offset HAVING count(*) > 1",
    ),
    (
        "what was forwarded came to something at its home once",
        "SELECT forwarded, arrived FROM (
             SELECT sum(events_forwarded) AS forwarded,
                    sum(by_user_new + by_user_duplicate + by_user_dead_letter) AS arrived
             FROM lanes) AS sums
         WHERE forwarded <> arrived",
    ),
    (
        "a user's records are numbered from 1 without gap or repeat",
        "SELECT user_number FROM event_records GROUP BY user_number
         HAVING min(number) <> 1 OR max(number) <> count(*)
             OR count(DISTINCT number) <> count(*)",
    ),
    (
        "each record leads to the one before it",
        "SELECT user_number FROM (
             SELECT user_number, previous_time, previous_lane, previous_position,
                 lag(time) OVER w AS time, lag(lane) OVER w AS lane, lag(position) OVER w AS position
             FROM event_records WINDOW w AS (PARTITION BY user_number ORDER BY number)) AS records
         WHERE (previous_time, previous_lane, previous_position)
             IS DISTINCT FROM (time, lane, position)",
    ),
    (
        "each checkpoint leads to its newest record",
        "SELECT u.user_number FROM users u
         LEFT JOIN event_records r
             ON r.user_number = u.user_number AND r.number = u.record_number
         WHERE (u.newest_time, u.newest_lane, u.newest_position)
             IS DISTINCT FROM (r.time, r.lane, r.position)",
    ),
    (
        "a checkpoint is not ahead of its user's records and messages",
        "SELECT u.user_number FROM users u
         LEFT JOIN (SELECT user_number, count(*) AS stored FROM event_records GROUP BY 1) r
             USING (user_number)
         WHERE u.record_number > coalesce(r.stored, 0)
             OR u.message_number > (SELECT count(*) FROM mode_transitions t
                                    WHERE t.user_number = u.user_number)
                 + (SELECT count(*) FROM alert_changes a WHERE a.user_number = u.user_number)",
    ),
    (
        "a user's mode changes are numbered from 1 without gap or repeat",
        "SELECT user_number FROM mode_transitions GROUP BY user_number
         HAVING min(seq) <> 1 OR max(seq) <> count(*)",
    ),
    (
        "a user's messages are numbered from 1 without gap or repeat",
        "SELECT user_number FROM (
             SELECT user_number, n FROM mode_transitions
             UNION ALL SELECT user_number, n FROM alert_changes) AS messages
         GROUP BY user_number
         HAVING min(n) <> 1 OR max(n) <> count(*) OR count(DISTINCT n) <> count(*)",
    ),
    (
        "the outbox holds the mode changes, alert changes and dead letters, and nothing else",
        "SELECT * FROM (
             SELECT (SELECT count(*) FROM outbox WHERE sink = 0)
                        - (SELECT count(*) FROM mode_transitions) AS transitions,
                    (SELECT count(*) FROM outbox WHERE sink = 1)
                        - (SELECT count(*) FROM alert_changes) AS alerts,
                    (SELECT count(*) FROM outbox WHERE sink = 2)
                        - (SELECT count(*) FROM dead_letters) AS dead_letters) AS surplus
         WHERE transitions <> 0 OR alerts <> 0 OR dead_letters <> 0",
    ),
    (
        "each of them is lined up for its own topic, with its batch",
        "SELECT user_number, n FROM (
             SELECT 0 AS sink, user_number, n, recorded_at FROM mode_transitions
             UNION ALL SELECT 1, user_number, n, recorded_at FROM alert_changes) AS messages
         FULL JOIN (SELECT * FROM outbox WHERE sink <> 2) AS lined_up USING (sink, user_number, n)
         WHERE messages.recorded_at IS DISTINCT FROM lined_up.recorded_at",
    ),
    (
        "an alert changes with a record of its user, and with that record's batch",
        "SELECT a.user_number, a.n FROM alert_changes a LEFT JOIN event_records r
             ON r.user_number = a.user_number AND r.number = a.record_number
         WHERE r.time IS DISTINCT FROM a.recorded_at",
    ),
    (
        "an alert is named by the first message about it, and by nothing of what it is about",
        "SELECT user_number, n FROM (
             SELECT user_number, n, alert_id, first_value(message_id) OVER w AS first
             FROM alert_changes WINDOW w AS (PARTITION BY user_number, alert_id ORDER BY n)) AS changes
         WHERE alert_id <> first",
    ),
    (
        "an alert that begins with a mode change is of that change's record",
        "SELECT a.user_number, a.n FROM alert_changes a JOIN mode_transitions t
             ON t.user_number = a.user_number AND t.n = a.n - 1 AND t.recorded_at = a.recorded_at
                 AND t.time = a.started_at
         WHERE a.record_number <> t.record_number",
    ),
    (
        "a lane's outbox is numbered from 1 without gap",
        "SELECT l.lane FROM lanes l LEFT JOIN outbox o USING (lane) GROUP BY l.lane, l.outbox
         HAVING count(o.number) <> l.outbox OR coalesce(max(o.number), 0) <> l.outbox",
    ),
    (
        "no sink is further than what there is to take",
        "SELECT c.lane, c.sink FROM relay_cursors c LEFT JOIN lanes l USING (lane)
         WHERE c.number > coalesce(l.outbox, 0)",
    ),
    (
        "every user is in one mode",
        // Over all lanes: whoever has a new home since there are more of them changes there.
        "SELECT in_modes FROM (
             SELECT sum(reflex + guardian + pattern + hypothesis) AS in_modes FROM lanes) AS sums
         WHERE in_modes <> (SELECT count(*) FROM users WHERE erased_at IS NULL)",
    ),
];

/// States are what a replay of the stored records comes to, to the byte.
fn stored_records_lead_to(site: &Site<'_>, states: &str) {
    let log = site.run(&["export", "log"]);
    let mut replay = vec!["replay", "--state"];
    let policy = site.variable("BRIDGE__POLICY__FILE");
    if let Some(policy) = policy {
        replay.extend(["--policy", policy]);
    }
    let replayed = site.output(&replay, &log);
    assert!(replayed.status.success(), "{}", stderr(&replayed));
    same_lines(stdout(&replayed), states, "the replay of the stored records");
}

/// States and mode changes are what a replay of the log itself comes to, of every user whose events
/// came in on one partition: for others the log has no one order.
fn the_log_leads_to(site: &Site<'_>, policy: &Policy, states: &str) {
    let intake = Intake { future_max: policy.clock.max_future, ..Intake::default() };
    let mut replayed: BTreeMap<String, Box<State>> = BTreeMap::new();
    let mut switches: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut partitions: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
    let mut numbers: BTreeMap<String, i64> = BTreeMap::new();
    let mut outcomes = Vec::new();
    for message in site.kafka.read_all(&site.topics.events) {
        let headers: Headers<'_> = message.headers.iter().map(header).collect();
        let value = message.value.as_deref().unwrap_or_default();
        let record_time = message.timestamp.map(Timestamp::from_millis);
        let Ok(record) = decode(&Message { value, headers, record_time }, &intake) else {
            continue;
        };
        let user_id = record.user_id.as_str();
        partitions.entry(user_id.to_owned()).or_default().insert(message.partition);
        let state = replayed.entry(user_id.to_owned());
        let state = state.or_insert_with(|| Box::new(State::born(&record)));
        outcomes.clear();
        step(policy, state, &record, Explain::Switches, &mut outcomes);
        let is_new = outcomes.iter().any(|outcome| outcome.kind != Kind::Duplicate);
        *numbers.entry(user_id.to_owned()).or_default() += i64::from(is_new);
        let switched = outcomes.iter().filter(|outcome| outcome.kind == Kind::Switched);
        let modes = switched.map(|outcome| outcome.mode.as_str().to_owned());
        switches.entry(user_id.to_owned()).or_default().extend(modes);
    }
    let in_order = |user_id: &str| partitions.get(user_id).is_some_and(|its| its.len() == 1);
    let expected: Vec<String> = replayed
        .iter()
        .filter(|(user_id, _)| in_order(user_id))
        .map(|(user_id, state)| serde_json::to_string(&state.summary(user_id)).expect("JSON"))
        .collect();
    let stored: Vec<&str> = states
        .lines()
        .filter(|line| {
            let state: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let user_id = state["user_id"].as_str().expect("a user");
            assert!(partitions.contains_key(user_id), "nothing was sent of this state's user");
            in_order(user_id)
        })
        .collect();
    same_lines(&stored.join("\n"), &expected.join("\n"), "the states");
    for (user_id, stored) in messages::modes(site) {
        if in_order(&user_id) {
            assert_eq!(stored, switches[&user_id], "the mode changes of {user_id}");
        }
    }
    let changes: usize = switches.iter().filter(|(id, _)| in_order(id)).map(|(_, s)| s.len()).sum();
    let stored = messages::modes(site).into_iter().filter(|(id, _)| in_order(id));
    assert_eq!(stored.map(|(_, modes)| modes.len()).sum::<usize>(), changes);
    let orders = site.sql(
        "SELECT count(*) || ' ' || user_id FROM event_records JOIN users USING (user_number)
         WHERE source = 2 GROUP BY user_id",
    );
    let orders: BTreeMap<String, i64> = pairs(&orders).into_iter().collect();
    for (user_id, newest) in newest_numbers(site) {
        if in_order(&user_id) {
            let orders = orders.get(&user_id).copied().unwrap_or_default();
            let due = numbers[&user_id] + orders;
            assert_eq!(newest, due, "the records of {user_id} that are no repeats");
        }
    }
}

/// The number of each user's newest record, which may be gone from the store.
fn newest_numbers(site: &Site<'_>) -> Vec<(String, i64)> {
    let numbers = site.sql(
        "SELECT greatest(u.record_number, max(r.number),
             (SELECT max(record_number) FROM base_checkpoints b
              WHERE b.user_number = u.user_number)) || ' ' || u.user_id
         FROM users u LEFT JOIN event_records r USING (user_number)
         GROUP BY u.user_number, u.user_id, u.record_number",
    );
    pairs(&numbers)
}

/// Lines of a number and a name.
fn pairs(lines: &str) -> Vec<(String, i64)> {
    let pairs = lines.lines().filter_map(|line| line.split_once(' '));
    pairs.map(|(number, id)| (id.to_owned(), number.parse().expect("a number"))).collect()
}

fn header(header: &(String, Option<Vec<u8>>)) -> (&str, &[u8]) {
    (&header.0, header.1.as_deref().unwrap_or_default())
}

/// Compares line by line, so that a failure shows the first difference and not everything.
pub(crate) fn same_lines(got: &str, expected: &str, what: &str) {
    for (number, (got, expected)) in got.lines().zip(expected.lines()).enumerate() {
        assert_eq!(got, expected, "{what}, line {}", number + 1);
    }
    assert_eq!(got.lines().count(), expected.lines().count(), "lines of {what}");
}

/// The messages of a topic as they were sent, by partition and offset.
pub(crate) fn by_place(site: &Site<'_>, topic: &str) -> BTreeMap<(i32, i64), servers::Message> {
    let messages = site.kafka.read_all(topic).into_iter();
    messages.map(|message| ((message.partition, message.offset), message)).collect()
}
