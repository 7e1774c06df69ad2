//! Health data and whose it is stay inside: not in logs, metrics or, in the clear, in the database.

use super::check;
use super::feed::{Event, MORNING};
use super::site::{Site, Stamps};
use crate::servers::Outgoing;

const USER: &str = "canary-user-7f3a";
const READINGS: [f64; 3] = [43.21987, 141.73519, 0.918_273];
const SESSION: &str = "canary-session-51";

/// An event of the canary whose readings no other test has.
fn event(number: i64, user: &str) -> String {
    let [hrv, heart_rate, stress] = READINGS;
    let seconds = MORNING + number * 120;
    format!(
        "{{\"user_id\":\"{user}\",\"device_id\":\"d\",\"session_id\":\"{SESSION}\",\
         \"timestamp\":{seconds},\"metrics\":{{\"hrv\":{hrv},\"heart_rate\":{heart_rate},\
         \"stress_level\":{stress}}}}}"
    )
}

/// A text as PostgreSQL prints bytes.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn neither_logs_nor_metrics_nor_a_dump_tell_a_reading() {
    let Some(mut site) = Site::shared(Stamps::Producer) else { return };
    site.set("LOG_LEVEL", "trace");
    site.set("BRIDGE__CHECKPOINT__EVERY", "100ms");
    let bridge = site.start();
    let canaries: Vec<String> = (0..20).map(|number| event(number, USER)).collect();
    let ordinary: Vec<Event> = (21..40).map(|number| Event::of(USER, 3, number)).collect();
    // One that is refused: what is wrong with it must not be quoted.
    let refused = event(20, "canary\\u0000user-7f3a");
    let values = canaries.iter().chain([&refused]).zip(0..);
    let mut messages: Vec<Outgoing<'_>> = values
        .map(|(value, number)| Outgoing {
            key: Some(USER.as_bytes()),
            value: Some(value.as_bytes()),
            timestamp: Some((MORNING + number * 120 + 1) * 1_000),
            headers: &[("note", Some(b"canary-header"))],
            ..Outgoing::default()
        })
        .collect();
    messages.extend(ordinary.iter().map(Event::keyed));
    site.kafka.produce(&site.topics.events, &messages);
    check::all(&site);
    site.wait_sql("SELECT bool_and(checkpoint IS NOT NULL) FROM users");
    let (_, metrics) = bridge.http("/metrics").expect("an answer");
    let (_, ready) = bridge.http("/ready").expect("an answer");
    bridge.end();
    let changes = site.run(&["export", "transitions"]);
    assert!(changes.contains(USER) && changes.contains("43.2"), "the canary's mode changes");
    let says = |text: &str, secrets: &[String]| {
        secrets.iter().find(|secret| text.contains(secret.as_str())).cloned()
    };
    let mut spoken: Vec<String> = READINGS.iter().map(ToString::to_string).collect();
    spoken.extend([USER, "user-7f3a", SESSION, "canary-header"].map(str::to_owned));
    assert!(bridge.log().contains("TRACE"), "the log says what it can");
    for (place, text) in [
        ("the log", bridge.log()),
        ("/metrics", metrics),
        ("/ready", ready),
        ("the database's log", site.postgres.log()),
    ] {
        assert_eq!(says(&text, &spoken), None, "{place} tells");
    }
    // The database knows who its users are, and the texts of policies name rules and modes; beyond
    // that it holds sealed bytes.
    let dump = ["--data-only", "--inserts", "--exclude-table-data=policies"];
    let dump = site.postgres.dump(&site.database, &dump);
    assert!(dump.contains(USER), "the dump is of this database");
    let mut stored: Vec<String> = READINGS.iter().map(ToString::to_string).collect();
    stored.extend(READINGS.iter().flat_map(|reading| {
        [
            hex(&reading.to_le_bytes()),
            hex(&reading.to_be_bytes()),
            hex(reading.to_string().as_bytes()),
        ]
    }));
    for secret in [SESSION, "canary-header", "user_id", "mode_switch", "heart_rate"] {
        stored.push(hex(secret.as_bytes()));
    }
    for line in changes.lines() {
        let change: serde_json::Value = serde_json::from_str(line).expect("JSON");
        for field in ["reason", "reason_text"] {
            let said = change[field].as_str().expect("a text");
            stored.extend([said.to_owned(), hex(said.as_bytes())]);
        }
        stored.push(hex(change["mode"].as_str().expect("a mode").as_bytes()));
    }
    assert_eq!(says(&dump, &stored), None, "the dump tells");
}
