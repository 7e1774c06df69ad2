//! Logs that are not what the store knows any more: retention has passed a lane, or topics were made anew. The
//! lane stops and says the cure; nothing is skipped that `gaps list` does not show.

use std::time::Duration;

use actors::home::home;
use actors::lane::Lane;
use serde_json::{Value, json};

use super::check;
use super::feed::{Event, crowd, stream};
use super::site::{LANES, Site, Stamps};
use crate::servers::{Outgoing, Server as _};

const HALTED: &str = "biometric_lanes{condition=\"halted\"}";
const WHY: &str = "cluster rebuilt";

/// Events and by-user positions of each lane, in order.
fn positions(site: &Site<'_>) -> Vec<(i64, i64)> {
    let rows = site.sql("SELECT events_position, by_user_position FROM lanes ORDER BY lane");
    let number = |text: &str| text.parse::<i64>().expect("a number");
    let pairs = rows.lines().filter_map(|row| row.split_once('|'));
    pairs.map(|(events, by_user)| (number(events), number(by_user))).collect()
}

/// The gaps as JSON, without when they were written down.
fn gaps(site: &Site<'_>) -> Vec<Value> {
    let listed = site.run(&["gaps", "list", "--json"]);
    let gap = |line: &str| {
        let mut gap: Value = serde_json::from_str(line).expect("JSON");
        let at = gap.as_object_mut().expect("an object").remove("recorded_at");
        assert!(at.is_some_and(|at| at.as_str().is_some_and(|at| at.ends_with('Z'))), "{line}");
        gap
    };
    listed.lines().map(gap).collect()
}

/// The same as text, each with its time before it.
fn told(site: &Site<'_>) -> Vec<String> {
    let listed = site.run(&["gaps", "list"]);
    let without_time = |line: &str| line.split_once("  ").expect("a time").1.to_owned();
    listed.lines().map(without_time).collect()
}

fn states_agree(site: &Site<'_>, users: usize) {
    let expected = format!("{users} users: {users} agree\n");
    assert_eq!(site.run(&["state", "scrub", "--all", "--rate", "1000"]), expected);
}

#[test]
fn what_retention_took_stops_the_lane_until_the_setting_lets_it_pass_and_then_is_on_the_list() {
    let Some(mut site) = Site::shared(Stamps::Producer) else { return };
    let topic = site.topics.events.clone();
    let events = crowd(20, 12);
    let bridge = site.start();
    stream(site.kafka, &topic, &events[..120], 120);
    site.wait_caught_up();
    bridge.end();
    let (position, _) = positions(&site)[0];
    let start = position + 5;
    stream(site.kafka, &topic, &events[120..], 120);
    site.kafka.delete_records(&topic, 0, start);
    let bridge = site.start();
    let said = bridge.wait_until("halted", |status, body| {
        status == 503 && body["failing"] == "lanes" && body["lanes"]["0"] == "halted"
    });
    let problem = said["parts"]["lanes"]["problem"].as_str().expect("a problem");
    let begins = format!("{topic}/0: the log begins at {start}, above the position {position}");
    assert!(problem.contains(&begins), "{problem}");
    assert!(problem.contains("with `kafka.below_start: earliest` the lane goes on"), "{problem}");
    bridge.wait_metric(HALTED, |lanes| lanes == 1.0);
    bridge.wait_part("lanes", false);
    // The others go on, and nothing is skipped.
    let ends = site.kafka.ends(&topic);
    let read = "SELECT bool_and(events_position = (ARRAY";
    site.wait_sql(&format!("{read}{ends:?}::bigint[])[lane + 1]) FROM lanes WHERE lane > 0"));
    assert_eq!(positions(&site)[0].0, position);
    assert_eq!(site.run(&["gaps", "list"]), "nothing was ever skipped\n");
    bridge.end();

    site.set("BRIDGE__KAFKA__BELOW_START", "earliest");
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    bridge.wait_part("lanes", true);
    assert_eq!(bridge.metric(HALTED), 0.0);
    site.wait_caught_up();
    let reason = "retention has removed records before they were applied";
    let expected = format!("{topic}/0, generation 1: {position} to {start} ({reason})");
    assert_eq!(told(&site), [expected]);
    let expected = json!({
        "topic": topic, "partition": 0, "generation": 1, "from": position, "to": start,
        "reason": reason,
    });
    assert_eq!(gaps(&site), [expected]);
    assert_eq!(site.number("SELECT count(*) FROM event_records"), 240 - 5);
    bridge.end();
    states_agree(&site, 20);
}

#[test]
fn topics_that_were_made_anew_stop_the_lanes_until_they_are_adopted() {
    let Some(site) = Site::shared(Stamps::Producer) else { return };
    let topics = [&site.topics.events, &site.topics.by_user];
    let events = crowd(20, 12);
    let bridge = site.start();
    stream(site.kafka, topics[0], &events[..160], 160);
    site.wait_caught_up();
    bridge.end();
    let before = positions(&site);
    assert!(before.iter().all(|(events, by_user)| *events > 0 && *by_user > 0), "{before:?}");
    for topic in topics {
        site.kafka.delete_topic(topic);
    }
    let create = ["topics", "create", "--replication-factor", "1", "--retention", "0s"];
    site.run(&[&create[..], &["--create-time"]].concat());
    stream(site.kafka, topics[0], &events[160..200], 40);
    let bridge = site.start();
    let said = bridge.wait_until("halted", |status, body| {
        let lanes = body["lanes"].as_object();
        let all = lanes.is_some_and(|lanes| {
            lanes.len() == LANES && lanes.values().all(|lane| lane == "halted")
        });
        status == 503 && body["failing"] == "lanes" && all
    });
    let problem = said["parts"]["lanes"]["problem"].as_str().expect("a problem");
    assert!(problem.contains("the topic was made anew; `biometric-bridge topics adopt`"));
    bridge.wait_metric(HALTED, |lanes| lanes == 3.0);
    bridge.wait_part("lanes", false);
    assert_eq!(positions(&site), before, "nothing is skipped by itself");

    let adopted = site.run(&["topics", "adopt", "--reason", WHY, "--yes"]);
    assert_eq!(adopted, "generation 2 begins with 3 lanes\n");
    let written = "SELECT record_id FROM phi_access_log WHERE access_type = 'CONFIGURE'";
    assert_eq!(site.sql(written), "topics adopted with 3 partitions");
    // A new process goes on, which is the platform's to start.
    assert_eq!(bridge.wait_ended().code(), Some(70), "{}", bridge.log());
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    bridge.wait_part("lanes", true);
    stream(site.kafka, topics[0], &events[200..], 40);
    site.wait_caught_up();
    let mut expected = Vec::new();
    let mut lines = Vec::new();
    for (lane, (events, by_user)) in before.into_iter().enumerate() {
        for (topic, from) in topics.into_iter().zip([events, by_user]) {
            lines.push(format!("{topic}/{lane}, generation 1: {from} to 0 ({WHY})"));
            expected.push(json!({
                "topic": topic, "partition": lane, "generation": 1, "from": from, "to": 0,
                "reason": WHY,
            }));
        }
    }
    assert_eq!(told(&site), lines);
    assert_eq!(gaps(&site), expected);
    assert_eq!(site.number("SELECT count(*) FROM event_records"), 240);
    bridge.end();
    states_agree(&site, 20);
}

/// Holds the row of a lane: its batches wait, and what they have forwarded before does not.
fn hold(lane: i32) -> String {
    format!("UPDATE lanes SET epoch = epoch WHERE lane = {lane}")
}

/// What was on its way between two lanes when the topics were adopted: applied once each, whether its origin had
/// committed past it or reads it once more.
#[test]
fn records_under_way_when_the_topics_are_adopted_are_applied_once_and_in_order() {
    let Some(mut site) = Site::shared(Stamps::Producer) else { return };
    // However many batches what is sent at once becomes.
    site.set("BRIDGE__BATCH__IN_FLIGHT_MAX", "16");
    let at_home = |user: &String| home(user, 3) == Lane(1);
    let users: Vec<String> =
        (0..).map(|number| format!("ada-{number}")).filter(at_home).take(5).collect();
    let send = |rounds: std::ops::Range<usize>| {
        let events: Vec<Event> = rounds
            .flat_map(|round| users.iter().zip(0..).map(move |(user, seed)| (user, seed, round)))
            .map(|(user, seed, round)| Event::of(user, seed, round))
            .collect();
        let messages: Vec<Outgoing<'_>> =
            events.iter().map(|event| Outgoing { partition: Some(0), ..event.keyed() }).collect();
        site.kafka.produce(&site.topics.events, &messages);
    };
    let forwarded = |count: i64| {
        for _ in 0..600 {
            if site.kafka.ends(&site.topics.by_user)[1] >= count {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{count} records are not forwarded in time");
    };
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    let mut session = site.postgres.session(&site.database);
    session.run(&format!("BEGIN; {}", hold(1)));
    send(0..8);
    // Lane 0 has committed past these, and lane 1 cannot apply them.
    site.wait_sql("SELECT events_position = 40 FROM lanes WHERE lane = 0");
    session.run(&hold(0));
    send(8..12);
    // These are at their home already, and lane 0 cannot commit past them.
    forwarded(60);
    bridge.kill();
    session.run("ROLLBACK");
    let adopted = site.run(&["topics", "adopt", "--reason", WHY, "--yes"]);
    assert_eq!(adopted, "generation 2 begins with 3 lanes\n");
    assert_eq!(site.number("SELECT count(*) FROM event_records"), 0, "all was under way");
    assert_eq!(positions(&site), [(40, 0), (0, 0), (0, 0)]);
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    send(12..16);
    check::all(&site);
    assert_eq!(site.number("SELECT count(*) FROM event_records"), 80);
    let again = site.number("SELECT by_user_skipped FROM lanes WHERE lane = 1");
    assert_eq!(again, 20, "of what was forwarded twice only the later was taken");
    assert_eq!(site.run(&["gaps", "list"]), "nothing was ever skipped\n");
    bridge.end();
}
