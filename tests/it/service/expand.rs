//! More partitions while events come: users find new homes, and nothing is lost on the way.

use std::time::Duration;

use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};

use super::check;
use super::feed::{Event, Flow, crowd, stream};
use super::site::{LANES, Site, Stamps};
use crate::servers::{Bridge, Server as _};
use crate::support::{stderr, stdout};

/// Partitions after the expansion.
pub(crate) const MORE: usize = 5;

fn running(bridge: &Bridge) -> usize {
    let (_, body) = bridge.http("/ready").unwrap_or_default();
    let body: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
    let lanes = body["lanes"].as_object().into_iter().flatten();
    lanes.filter(|(_, doing)| *doing == "running").count()
}

/// Starts an instance again that has ended by itself, as it must when users have found new homes.
pub(crate) fn again(bridge: &Bridge) {
    assert_eq!(bridge.wait_ended().code(), Some(70), "{}", bridge.log());
    bridge.kill();
    bridge.start_again();
}

/// Waits until instances own so many lanes together.
fn wait_lanes_of_all(instances: &[Bridge], count: usize) {
    for _ in 0..600 {
        if instances.iter().map(running).sum::<usize>() == count {
            return;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    panic!("{count} lanes are not owned: {:?}", instances.iter().map(running).collect::<Vec<_>>());
}

#[test]
fn partitions_are_added_in_mid_stream_and_nothing_is_lost() {
    let Some(site) = Site::shared(Stamps::Producer) else { return };
    let instances = [site.start(), site.start()];
    wait_lanes_of_all(&instances, LANES);
    let flow = Flow::default();
    let sent = std::thread::scope(|scope| {
        let sending = scope.spawn(|| flow.run(&site, 150));
        let ends = flow.ends();
        site.wait_more(500);
        let expand = ["topics", "expand", "--partitions", "5", "--metadata-age", "3s"];
        let output = site.output(&expand, "");
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(stdout(&output).contains("generation 2 begins with 5 lanes"));
        instances.iter().for_each(again);
        wait_lanes_of_all(&instances, MORE);
        site.wait_more(1_000);
        drop(ends);
        sending.join().expect("sending does not panic")
    });
    check::all(&site);
    assert_eq!(site.sql("SELECT count(*) FROM event_records"), sent.to_string());
    assert_eq!(site.sql("SELECT count(*) FROM lane_gaps"), "0");
    let written = "SELECT record_id FROM phi_access_log WHERE access_type = 'CONFIGURE'";
    assert_eq!(site.sql(written), "topics expanded from 3 to 5 partitions");
    // Those who moved were there before, and go on in their new homes.
    let moved = "SELECT count(DISTINCT r.user_number) FROM event_records r
                 WHERE r.lane >= 3 AND r.user_number & 16383 < 3 AND r.number > 1";
    assert!(site.number(moved) > 10, "nobody has moved");
    for instance in &instances {
        assert!(instance.log().contains("a new process goes on with them"));
        instance.end();
    }
    check::at_rest(&site);
}

#[test]
fn what_keeps_lanes_from_their_rest_is_named_and_they_read_on() {
    let Some(site) = Site::shared(Stamps::Producer) else { return };
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    stream(site.kafka, &site.topics.events, &crowd(20, 3), 20);
    site.wait_caught_up();
    // As if the user were in quarantine, with a record that waits.
    site.sql(
        "INSERT INTO dead_letters (lane, outbox, source, log_offset, reason, detail, user_number,
             failed_at, body)
         SELECT 0, 1000000, 0, 1000000, 'quarantined', 'put there', min(user_number), now(), 'x'
         FROM users",
    );
    let expand = ["topics", "expand", "--partitions", "5", "--metadata-age", "0s"];
    let output = site.output(&[&expand[..], &["--rest-at-most", "4s"]].concat(), "");
    assert_eq!(output.status.code(), Some(69));
    let said = stderr(&output);
    assert!(said.contains("lane 0 has 1 records of users in quarantine"), "{said}");
    assert!(said.contains("run `biometric-bridge topics expand` again"), "{said}");
    // The instance is as well as before, whoever owns the new lanes, and reads what comes.
    let event = Event::of("user-1", 1, 9);
    let mut message = event.keyed();
    message.partition = Some(1);
    site.kafka.produce(&site.topics.events, &[message]);
    site.wait_sql("SELECT count(*) = 61 FROM event_records");
    bridge.wait_until("ready", |status, _| status == 200);
    site.sql("DELETE FROM dead_letters WHERE outbox = 1000000");
    let output = site.output(&expand, "");
    assert!(output.status.success(), "{}", stderr(&output));
    again(&bridge);
    bridge.wait_lanes(MORE);
    let again = site.run(&expand);
    assert_eq!(again, "there are 5 partitions already\n");
    check::all(&site);
    bridge.end();
}

#[test]
fn a_log_that_ends_in_a_transaction_can_be_expanded() {
    let Some(site) = Site::shared(Stamps::Producer) else { return };
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    let mut client = site.kafka.client();
    let producer: ThreadedProducer<rdkafka::producer::DefaultProducerContext> =
        client.set("transactional.id", &site.group).create().expect("a producer can be made");
    let wait = Duration::from_secs(30);
    producer.init_transactions(wait).expect("the broker knows transactions");
    producer.begin_transaction().expect("it begins");
    let events = crowd(9, 1);
    for event in &events {
        let record = BaseRecord::to(&site.topics.events).key(&event.user).payload(&event.value);
        producer.send(record.timestamp(event.record_time)).expect("it is queued");
    }
    producer.commit_transaction(wait).expect("it is committed");
    site.wait_sql("SELECT count(*) = 9 FROM event_records");
    let expand = ["topics", "expand", "--partitions", "4", "--metadata-age", "0s"];
    let output = site.output(&expand, "");
    assert!(output.status.success(), "{}", stderr(&output));
    again(&bridge);
    bridge.wait_lanes(4);
    bridge.end();
}

#[test]
fn an_expansion_that_cannot_be_is_refused_with_the_reason() {
    let Some(site) = Site::shared(Stamps::Producer) else { return };
    let fails = |arguments: &[&str], code: i32, text: &str| {
        let output = site.output(arguments, "");
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert!(stderr(&output).contains(text), "{}", stderr(&output));
    };
    fails(&["topics", "expand", "--partitions", "5"], 78, "no service has run on this store yet");
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    let below = "there are 3 partitions already, and Kafka takes none away";
    fails(&["topics", "expand", "--partitions", "2"], 64, below);
    fails(&["topics", "expand", "--partitions", "20000"], 64, "below 16384");
    assert_eq!(site.run(&["topics", "expand"]), "there are 3 partitions already\n");
    assert_eq!(site.sql("SELECT expanding FROM routing"), "f");
    bridge.end();
}
