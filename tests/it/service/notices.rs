//! The check of the promises itself: it sees each kind of wrong that the tests rely on it to see.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::site::{Site, Stamps};
use super::{check, feed};
use crate::servers::Outgoing;

/// What goes wrong, and SQL that does it.
const WRONGS: [(&str, &str); 8] = [
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
    ("a position too far", "UPDATE lanes SET events_position = events_position + 1"),
    ("a count that is wrong", "UPDATE lanes SET events_new = events_new + 1"),
    ("a lost mode change", "DELETE FROM mode_transitions WHERE seq = 1"),
    ("a mode change with another number", "UPDATE mode_transitions SET n = n + 1"),
    ("a lost message", "DELETE FROM outbox WHERE number = 1"),
    ("a lost dead letter", "DELETE FROM dead_letters"),
];

/// What the wrongs are done to.
const TABLES: [&str; 5] = ["event_records", "lanes", "mode_transitions", "outbox", "dead_letters"];

fn is_noticed(site: &Site<'_>) -> bool {
    let check = || {
        check::tables(site);
        check::topics_and_replays(site, &neuros::Policy::default());
    };
    catch_unwind(AssertUnwindSafe(check)).is_err()
}

#[test]
fn the_check_notices_each_kind_of_wrong() {
    let Some(site) = Site::shared(Stamps::Producer) else { return };
    let bridge = site.start();
    let events = feed::crowd(10, 12);
    feed::stream(site.kafka, &site.topics.events, &events, 120);
    let refused = Outgoing { value: Some(b"no JSON"), ..Outgoing::default() };
    site.kafka.produce(&site.topics.events, &[refused]);
    check::all(&site);
    bridge.end();
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
    let user = br#"{"user_id":"user-1","n":1000}"#;
    let message = Outgoing { key: Some(b"user-1"), value: Some(user), ..Outgoing::default() };
    assert!(!is_noticed(&site), "all is as it was");
    site.kafka.produce(&site.topics.transitions, &[message]);
    assert!(is_noticed(&site), "a message of nothing is not noticed");
}
