//! The check of the promises itself: it sees each kind of wrong that the tests rely on it to see.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::feed::Event;
use super::site::{Site, Stamps};
use super::{check, feed};
use crate::servers::{Message, Outgoing};

/// What goes wrong, and SQL that does it.
const WRONGS: [(&str, &str); 26] = [
    (
        "a lost record",
        "DELETE FROM event_records WHERE (user_number, number) IN
             (SELECT user_number, max(number) FROM event_records GROUP BY 1 LIMIT 1);
         UPDATE lanes SET events_new = stored, events_duplicate = events_duplicate + events_new - stored
         FROM (SELECT lane, count(*) AS stored FROM event_records WHERE source = 0 GROUP BY 1) AS r
         WHERE r.lane = lanes.lane",
    ),
    (
        "a record applied twice",
        "INSERT INTO event_records
         SELECT time, lane, position + 100000, user_number, number + 1, source, log_offset,
                record_time, policy, engine, device_id, event_type, body
         FROM event_records ORDER BY number DESC LIMIT 1",
    ),
    (
        "two records with each other's number",
        "UPDATE event_records SET number = -number WHERE number <= 2;
         UPDATE event_records SET number = 3 + number WHERE number < 0",
    ),
    (
        "two records of a partition in the wrong order",
        "UPDATE event_records a SET log_offset = b.log_offset FROM event_records b
         WHERE a.source = 0 AND b.source = 0 AND a.user_number = b.user_number
             AND a.number <= 2 AND b.number = 3 - a.number",
    ),
    (
        "two forwarded records in the wrong order",
        "UPDATE event_records a SET log_offset = b.log_offset FROM event_records b
         WHERE a.source = 1 AND b.source = 1 AND a.user_number = b.user_number
             AND a.number <= 2 AND b.number = 3 - a.number",
    ),
    (
        "a record from where none lies",
        "UPDATE event_records SET log_offset = log_offset + 1000000 WHERE (user_number, number) IN
             (SELECT user_number, number FROM event_records WHERE source = 1 LIMIT 1)",
    ),
    ("a position too far", "UPDATE lanes SET events_position = events_position + 1"),
    ("a count that is wrong", "UPDATE lanes SET events_new = events_new + 1"),
    (
        "a new record that counts as a repeat",
        "UPDATE lanes SET by_user_skipped = by_user_skipped + 1, by_user_position = by_user_position + 1",
    ),
    ("a user too many in a mode", "UPDATE lanes SET guardian = guardian + 1"),
    ("a lost mode change", "DELETE FROM mode_transitions WHERE seq = 1"),
    (
        "a gap in the mode changes",
        "UPDATE mode_transitions SET seq = seq + 1 WHERE (user_number, seq) IN
             (SELECT user_number, max(seq) FROM mode_transitions GROUP BY 1 LIMIT 1)",
    ),
    ("a mode change with another number", "UPDATE mode_transitions SET n = n + 1"),
    (
        "a gap in the messages",
        "UPDATE mode_transitions SET n = n + 1 WHERE (user_number, n) IN
             (SELECT user_number, max(n) FROM mode_transitions GROUP BY 1 LIMIT 1)",
    ),
    (
        "a lost alert that nothing counts or numbers",
        "CREATE TEMP TABLE lost AS
             SELECT lane, number, user_number, n FROM outbox
             JOIN (SELECT user_number, max(n) AS n FROM outbox GROUP BY 1) AS newest
                 USING (user_number, n)
             WHERE sink = 1 LIMIT 1;
         DELETE FROM alert_changes a USING lost
         WHERE (a.user_number, a.n) = (lost.user_number, lost.n);
         DELETE FROM outbox o USING lost WHERE (o.lane, o.number) = (lost.lane, lost.number);
         UPDATE outbox o SET number = -o.number FROM lost
         WHERE o.lane = lost.lane AND o.number > lost.number;
         UPDATE outbox SET number = -number - 1 WHERE number < 0;
         UPDATE lanes l SET outbox = outbox - 1 FROM lost WHERE l.lane = lost.lane;
         UPDATE relay_cursors c SET number = c.number - 1 FROM lost
         WHERE c.lane = lost.lane AND c.number >= lost.number;
         UPDATE users u SET message_number = message_number - 1 FROM lost
         WHERE u.user_number = lost.user_number",
    ),
    (
        "an alert of nothing",
        "INSERT INTO alert_changes
         SELECT user_number, n + 1, record_number, alert_id, gen_random_uuid(), status, started_at,
                updated_at, ended_at, recorded_at, body
         FROM alert_changes ORDER BY n DESC LIMIT 1",
    ),
    (
        "an alert that only looks as if it were over",
        "UPDATE alert_changes SET status = 'resolved' WHERE (user_number, n) IN
             (SELECT user_number, n FROM alert_changes WHERE status = 'firing' LIMIT 1)",
    ),
    (
        "an alert of another record",
        "UPDATE alert_changes SET record_number = record_number + 1 WHERE (user_number, n) IN
             (SELECT a.user_number, a.n FROM alert_changes a JOIN mode_transitions t
                 ON t.user_number = a.user_number AND t.n = a.n - 1 AND t.time = a.started_at
              LIMIT 1)",
    ),
    (
        "two messages lined up for each other's topic",
        "UPDATE outbox SET sink = 1 - sink WHERE (lane, number) IN (
             (SELECT lane, number FROM outbox WHERE sink = 0 LIMIT 1)
             UNION ALL (SELECT lane, number FROM outbox WHERE sink = 1 LIMIT 1))",
    ),
    ("a lost message", "DELETE FROM outbox WHERE number = 1"),
    ("a lost dead letter", "DELETE FROM dead_letters"),
    ("a dead letter for another reason", "UPDATE dead_letters SET reason = 'not_an_object'"),
    ("a cursor beyond what there is", "UPDATE relay_cursors SET number = number + 1000"),
    ("a cursor behind what has left", "UPDATE relay_cursors SET number = 0"),
    (
        "a changed checkpoint",
        "UPDATE users SET checkpoint = set_byte(checkpoint, 40, get_byte(checkpoint, 40) # 1)
         WHERE user_number IN (SELECT user_number FROM users WHERE checkpoint IS NOT NULL LIMIT 1)",
    ),
    (
        "a checkpoint that is not the newest",
        "UPDATE users SET record_number = record_number - 1
         WHERE user_number IN (SELECT max(user_number) FROM users WHERE record_number > 1)",
    ),
];

/// What the wrongs are done to.
const TABLES: [&str; 8] = [
    "event_records",
    "lanes",
    "mode_transitions",
    "alert_changes",
    "outbox",
    "dead_letters",
    "relay_cursors",
    "users",
];

fn is_noticed(site: &Site<'_>) -> bool {
    let check = || {
        check::tables(site);
        check::topics_and_replays(site, &neuros::Policy::default());
        check::at_rest(site);
    };
    catch_unwind(AssertUnwindSafe(check)).is_err()
}

#[test]
fn the_check_notices_each_kind_of_wrong() {
    let Some(site) = Site::shared(Stamps::Producer) else { return };
    let bridge = site.start();
    send(&site);
    check::all(&site);
    bridge.end();
    assert!(!is_noticed(&site), "all is as it should be");
    for table in TABLES {
        site.sql(&format!("CREATE TABLE kept_{table} AS TABLE {table}"));
    }
    for (wrong, sql) in WRONGS {
        site.sql(sql);
        assert!(is_noticed(&site), "{wrong} is not noticed");
        for table in TABLES {
            site.sql(&format!("TRUNCATE {table}; INSERT INTO {table} TABLE kept_{table}"));
        }
    }
    assert!(!is_noticed(&site), "all is as it was");
    wrong_topic(&site, &site.topics.transitions);
    wrong_topic(&site, &site.topics.alerts);
}

/// Events of a crowd, each keyed so that it comes in at home, and some that come in elsewhere, and again;
/// and a record that is none.
fn send(site: &Site<'_>) {
    feed::stream(site.kafka, &site.topics.events, &feed::crowd(5, 60), 300);
    let elsewhere: Vec<Event> = (0..60)
        .map(|number| Event::of(&format!("guest-{}", number % 5), number % 5, number / 5))
        .collect();
    for events in [&elsewhere[..], &elsewhere[50..]] {
        let spread = events.iter().map(|event| Outgoing { partition: Some(0), ..event.keyed() });
        site.kafka.produce(&site.topics.events, &spread.collect::<Vec<_>>());
    }
    let refused = Outgoing { value: Some(b"no JSON"), ..Outgoing::default() };
    site.kafka.produce(&site.topics.events, &[refused]);
}

/// What goes wrong on a topic of messages, each step on top of the one before.
fn wrong_topic(site: &Site<'_>, topic: &str) {
    let sent = site.kafka.read_all(topic);
    let user = br#"{"user_id":"user-1","n":1000,
        "message_id":"ea505c6a-f758-5a43-8c77-9f15782449b8"}"#;
    let message = Outgoing { key: Some(b"user-1"), value: Some(user), ..Outgoing::default() };
    site.kafka.produce(topic, &[message]);
    assert!(is_noticed(site), "a message of nothing on {topic} is not noticed");
    let again = |messages: &[Message]| {
        let again = messages.iter().map(|message| Outgoing {
            key: message.key.as_deref(),
            value: message.value.as_deref(),
            partition: Some(message.partition),
            ..Outgoing::default()
        });
        site.kafka.delete_topic(topic);
        site.kafka.topic(topic, 3, &[]);
        site.kafka.produce(topic, &again.collect::<Vec<_>>());
    };
    again(&sent[1..]);
    assert!(is_noticed(site), "a message that is missing on {topic} is not noticed");
    let mut turned = sent.clone();
    turned.reverse();
    again(&turned);
    assert!(is_noticed(site), "messages in the wrong order on {topic} are not noticed");
    let mut altered = sent.clone();
    altered[0].value = Some(sent[0].text().replace("\"n\":", "\"x\":0,\"n\":").into_bytes());
    again(&altered);
    assert!(is_noticed(site), "a message that is altered on {topic} is not noticed");
    again(&sent);
    assert!(!is_noticed(site), "{topic} is as it was");
}
