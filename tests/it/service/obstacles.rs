//! What gets in the way of more partitions: commands that are killed or run twice, marks that nothing can
//! move any more, users whom nobody can restore, and letters that were read where nobody lives now.

use std::time::Duration;

use actors::home::home;

use super::check;
use super::expand::{MORE, again};
use super::feed::{Event, crowd, stream};
use super::site::{LANES, Site, Stamps};
use crate::servers::{Outgoing, Server as _, folder};
use crate::support::{stderr, stdout};

const EXPAND: [&str; 6] = ["topics", "expand", "--partitions", "5", "--metadata-age", "0s"];

/// As if a user were in quarantine, with a record that waits: lanes come to no rest.
const WAITING: &str = "INSERT INTO dead_letters (lane, outbox, source, log_offset, reason, detail,
         user_number, failed_at, body)
     SELECT 0, 1000000, 0, 1000000, 'quarantined', 'put there', min(user_number), now(), 'x' FROM users";

fn send(site: &Site<'_>, user: &str) {
    let event = Event::of(user, 1, 9);
    let mut message = event.keyed();
    message.partition = Some(1);
    site.kafka.produce(&site.topics.events, &[message]);
}

#[test]
fn lanes_read_on_when_an_expansion_was_killed_and_only_one_is_under_way_at_once() {
    let Some(site) = Site::shared(Stamps::Producer) else { return };
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    stream(site.kafka, &site.topics.events, &crowd(20, 3), 20);
    site.wait_caught_up();
    site.sql(WAITING);
    let mut killed = site.spawn(&EXPAND);
    site.wait_sql("SELECT count(events_stop) = 3 FROM lanes");
    let second = site.output(&EXPAND, "");
    assert_eq!(second.status.code(), Some(69), "{}", stderr(&second));
    let said = stderr(&second);
    assert!(said.contains("another `topics expand` is under way, until 2"), "{said}");
    // Owners learn within two seconds where to stop.
    std::thread::sleep(Duration::from_secs(3));
    send(&site, "user-1");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(site.sql("SELECT count(*) FROM event_records"), "60", "the lanes do not stand");
    killed.kill().expect("it can be killed");
    killed.wait().expect("it has ended");
    site.wait_sql("SELECT count(*) = 61 FROM event_records");
    bridge.wait_until("ready", |status, _| status == 200);
    site.sql("DELETE FROM dead_letters WHERE outbox = 1000000");
    let output = site.output(&EXPAND, "");
    assert!(output.status.success(), "{}", stderr(&output));
    again(&bridge);
    bridge.wait_lanes(MORE);
    check::all(&site);
    bridge.end();
}

#[test]
fn what_retention_took_before_its_home_had_it_does_not_stand_in_the_way_for_ever() {
    let Some(site) = Site::shared(Stamps::Producer) else { return };
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    stream(site.kafka, &site.topics.events, &crowd(20, 3), 20);
    site.wait_caught_up();
    bridge.end();
    // As it is when the newest of what lane 0 has forwarded was skipped by lane 1.
    site.sql(
        "UPDATE lanes SET forwarded =
             jsonb_set(forwarded::jsonb, '{1}', to_jsonb(events_position - 1))::text
         WHERE lane = 0",
    );
    site.sql("UPDATE lanes SET marks = jsonb_set(marks::jsonb, '{0}', '-2')::text WHERE lane = 1");
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    let output = site.output(&[&EXPAND[..], &["--rest-at-most", "30s"]].concat(), "");
    assert!(output.status.success(), "{}", stderr(&output));
    again(&bridge);
    bridge.wait_lanes(MORE);
    check::tables(&site);
    bridge.end();
}

#[test]
fn a_user_whom_nobody_can_restore_is_named_with_the_cure() {
    let Some(mut site) = Site::shared(Stamps::Producer) else { return };
    // Nobody's checkpoint is written but at the end.
    site.set("BRIDGE__CHECKPOINT__EVERY", "10m");
    site.set("BRIDGE__CHECKPOINT__EVERY_RECORDS", "1000");
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    stream(site.kafka, &site.topics.events, &crowd(4, 3), 20);
    site.wait_caught_up();
    bridge.kill();
    let of_user = "user_number = (SELECT user_number FROM users WHERE user_id = 'user-1')";
    site.sql(&format!("UPDATE event_records SET engine = engine + 1 WHERE {of_user}"));
    site.unset("BRIDGE__CHECKPOINT__EVERY");
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    let output = site.output(&[&EXPAND[..], &["--rest-at-most", "12s"]].concat(), "");
    assert_eq!(output.status.code(), Some(69));
    let said = stderr(&output);
    assert!(said.contains("no checkpoint: of user-1;"), "{said}");
    assert!(said.contains("`biometric-bridge state rebuild user-1`"), "{said}");
    assert!(!bridge.log().contains("user-1"), "a log names nobody");
    // What is stored is mended, and the cure works without a restart.
    site.sql(&format!("UPDATE event_records SET engine = engine - 1 WHERE {of_user}"));
    let rebuilt = site.run(&["state", "rebuild", "user-1"]);
    assert!(rebuilt.contains("rebuilt from stored records"), "{rebuilt}");
    let output = site.output(&EXPAND, "");
    assert!(output.status.success(), "{}", stderr(&output));
    again(&bridge);
    bridge.wait_lanes(MORE);
    check::all(&site);
    bridge.end();
}

#[test]
fn a_letter_from_before_an_expansion_is_tried_again_where_its_user_lives_now() {
    let Some(mut site) = Site::shared(Stamps::Producer) else { return };
    let moves = |user: &String| home(user, 3) != home(user, 5);
    let user = (0..).map(|number| format!("ada-{number}")).find(moves).expect("there is one");
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    let good = Event::of(&user, 1, 0);
    let of_user = |value| Outgoing {
        key: Some(user.as_bytes()),
        value: Some(value),
        timestamp: Some(good.record_time),
        partition: Some(home(&user, 3).0),
        ..Outgoing::default()
    };
    let ahead = |minute: u32| {
        format!(
            "{{\"user_id\":\"{user}\",\"device_id\":\"d\",\"event_type\":\"vitals\",\
             \"timestamp\":\"2025-03-03T09:{minute:02}:00Z\",\"metrics\":{{\"hrv\":45}}}}"
        )
    };
    let (first, second) = (ahead(0), ahead(1));
    let messages =
        [first.as_bytes(), second.as_bytes(), b"no event".as_slice(), good.value.as_bytes()];
    site.kafka.produce(&site.topics.events, &messages.map(of_user));
    site.wait_read(messages.len());
    site.wait_caught_up();
    let output = site.output(&EXPAND, "");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(bridge.wait_ended().code(), Some(70));
    let policy = folder().join(format!("{}.yaml", site.group));
    std::fs::write(&policy, "version: lenient\nclock: {max_future: 2h}\n").expect("a policy");
    site.set("BRIDGE__POLICY__FILE", policy.to_str().expect("a path"));
    let bridge = site.start();
    bridge.wait_lanes(MORE);
    let old = home(&user, 3).to_string();
    let output = site.output(&["dlq", "redrive", "--lane", &old], "");
    assert!(output.status.success(), "{}", stderr(&output));
    let mut said: Vec<&str> = stdout(&output).lines().collect();
    said.sort_unstable();
    let mut expected = [
        format!("lane {}: 2 applied, 0 stay", home(&user, 5)),
        format!("lane {old}: 0 applied, 1 stay"),
    ];
    expected.sort_unstable();
    assert_eq!(said, expected);
    let fates = "SELECT string_agg(fate, ',') FROM dead_letters WHERE released_at IS NOT NULL";
    assert_eq!(site.sql(fates), "applied,applied");
    let offsets = "SELECT string_agg(log_offset::text, ',' ORDER BY number) FROM event_records";
    assert_eq!(site.sql(offsets), "3,0,1", "in their order");
    check::tables(&site);
    bridge.end();
}
