//! What operators find in the deployment guide works as it stands there.

use std::process::Command;

use super::feed::Event;
use super::site::{Site, Stamps};
use super::{check, feed};
use crate::servers::python;

/// The guide's producer, word for word but for the address and the topic.
const PRODUCER: &str = r#"
from kafka import KafkaProducer
import json
from datetime import datetime

producer = KafkaProducer(
    bootstrap_servers=['localhost:9092'],
    value_serializer=lambda v: json.dumps(v).encode('utf-8')
)

test_event = {
    "user_id": "test_user_123",
    "device_id": "oura_ring_456",
    "event_type": "heart_rate",
    "timestamp": datetime.now().isoformat(),
    "metrics": {
        "hrv": 45,
        "heart_rate": 72,
        "stress_level": 0.7
    }
}

producer.send('biometric.events', test_event)
producer.flush()
print("Test event sent!")
"#;

fn send_as_in_the_guide(site: &Site<'_>) {
    let script = PRODUCER
        .replace("localhost:9092", &site.kafka.bootstrap())
        .replace("biometric.events", &site.topics.events);
    // Local time is read as UTC, unless another zone is configured for it.
    let output = Command::new(python()).args(["-c", &script]).env("TZ", "UTC").output();
    let output = output.expect("Python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "Test event sent!");
}

#[test]
fn an_event_sent_as_in_the_guide_shows_up_in_the_guides_queries() {
    let Some(mut site) = Site::shared(Stamps::Broker) else { return };
    site.set("BRIDGE__CHECKPOINT__EVERY", "100ms");
    let bridge = site.start();
    bridge.wait_ready();
    send_as_in_the_guide(&site);
    site.wait_read(1);
    let recent = "SELECT COUNT(*) FROM biometric_events WHERE time > NOW() - INTERVAL '1 hour';";
    assert_eq!(site.sql(recent), "1");
    site.wait_sql("SELECT count(*) = 1 FROM neuros_checkpoints");
    let states = site.sql("SELECT * FROM neuros_checkpoints ORDER BY created_at DESC LIMIT 5;");
    assert!(states.starts_with("test_user_123|"), "{states}");
    let changes = "SELECT * FROM cognitive_mode_transitions ORDER BY transition_time DESC LIMIT 5;";
    let changes = site.sql(changes);
    assert!(changes.lines().all(|line| line.starts_with("test_user_123|")), "{changes}");
    site.run(&["export", "states", "--user", "test_user_123"]);
    let looks = "SELECT * FROM phi_access_log WHERE access_time > NOW() - INTERVAL '24 hours';";
    assert!(site.sql(looks).contains("|EXPORT|neuros_checkpoints|"), "{}", site.sql(looks));
    let (status, health) = bridge.http("/health").expect("an answer");
    assert_eq!(status, 200, "{health}");
    let (_, metrics) = bridge.http("/metrics").expect("an answer");
    assert!(metrics.contains("# HELP"), "{metrics}");
    check::all(&site);
    // The group's own tools see how far it is once it leaves, at the latest.
    bridge.end();
    assert_eq!(site.kafka.committed(&site.group, &site.topics.events), 1);
}

#[test]
fn deleted_checkpoints_and_a_flushed_cache_do_no_harm() {
    let Some(mut site) = Site::shared(Stamps::Producer) else { return };
    site.set("BRIDGE__CHECKPOINT__EVERY", "100ms");
    let events: Vec<Event> = feed::crowd(5, 30);
    let bridge = site.start();
    feed::stream(site.kafka, &site.topics.events, &events[..75], 75);
    site.wait_caught_up();
    site.wait_sql("SELECT count(*) = 5 FROM neuros_checkpoints");
    let before = site.run(&["export", "states"]);
    site.sql("DELETE FROM neuros_checkpoints WHERE thread_id = 'user-3';");
    site.sql("DELETE FROM neuros_checkpoints;");
    site.redis.flush_database();
    assert_eq!(site.run(&["export", "states"]), before, "a state is rebuilt from its records");
    // One process still has the states in memory, the next has not.
    feed::stream(site.kafka, &site.topics.events, &events[75..100], 25);
    site.wait_caught_up();
    bridge.end();
    site.sql("DELETE FROM neuros_checkpoints;");
    site.redis.flush_database();
    let bridge = site.start();
    feed::stream(site.kafka, &site.topics.events, &events[100..], 50);
    check::all(&site);
    assert!(!site.run(&["export", "transitions"]).is_empty());
    bridge.end();
}

/// The states of users that events no longer come of, and of those that they do.
const COLD: [&str; 4] = ["cold-whole", "cold-deleted", "cold-spoilt", "cold-deleted-later"];
const LIVE: [&str; 3] = ["live-whole", "live-deleted", "live-spoilt"];

fn round(site: &Site<'_>, users: &[&str], number: usize) {
    let of = |(seed, user): (usize, &&str)| Event::of(user, seed, number);
    let events: Vec<Event> = users.iter().enumerate().map(of).collect();
    feed::stream(site.kafka, &site.topics.events, &events, users.len());
}

#[test]
fn states_outlive_their_records_whatever_becomes_of_checkpoints() {
    let Some(mut site) = Site::shared(Stamps::Producer) else { return };
    site.set("BRIDGE__CHECKPOINT__EVERY", "100ms");
    site.set("BRIDGE__STORE__COMPRESS_AFTER", "0s");
    site.set("BRIDGE__STORE__RETAIN", "1m");
    let everybody = [&LIVE[..], &COLD[..]].concat();
    let bridge = site.start();
    for number in 0..12 {
        round(&site, &everybody, number);
    }
    site.wait_caught_up();
    site.wait_sql("SELECT count(*) = 7 AND min(record_number) = 12 FROM neuros_checkpoints");
    let spoil = |like: &str| {
        let spoilt = check::SPOILT;
        site.sql(&format!("UPDATE users SET checkpoint = '{spoilt}' WHERE user_id LIKE '{like}'"));
    };
    site.sql("DELETE FROM neuros_checkpoints WHERE thread_id LIKE '%-deleted';");
    spoil("%-spoilt");
    site.redis.flush_database();
    for number in 12..15 {
        round(&site, &LIVE, number);
    }
    site.wait_caught_up();
    site.wait_sql("SELECT NOT EXISTS (SELECT 1 FROM event_records WHERE number <= 12)");
    check::log_leads_to_states(&site);
    // What is left of anybody now is a base, or what came after it.
    site.sql("DELETE FROM neuros_checkpoints WHERE thread_id LIKE '%-deleted%';");
    spoil("%-spoilt");
    site.redis.flush_database();
    check::log_leads_to_states(&site);
    bridge.end();
    site.sql("DELETE FROM neuros_checkpoints;");
    check::log_leads_to_states(&site);
    let bridge = site.start();
    for number in 15..20 {
        round(&site, &everybody, number);
    }
    site.wait_caught_up();
    check::log_leads_to_states(&site);
    assert_eq!(site.sql("SELECT * FROM dead_letters"), "", "nobody was put aside");
    bridge.end();
}
