//! The process ends, in order or without warning, while events keep coming: nothing is lost or done twice.

use super::site::{LANES, Site, Stamps};
use super::{check, feed};
use crate::servers::Server as _;

#[test]
fn an_instance_killed_twice_in_mid_stream_loses_nothing() {
    let Some(site) = Site::shared(Stamps::Producer) else { return };
    let events = feed::crowd(500, 40);
    let bridge = site.start();
    std::thread::scope(|scope| {
        scope.spawn(|| feed::stream(site.kafka, &site.topics.events, &events, 500));
        for share in [4, 2] {
            site.wait_read(events.len() / share);
            bridge.kill();
            let read = site.number("SELECT sum(events_position) FROM lanes");
            assert!(read < 20_000, "killed in mid-stream");
            bridge.start_again();
        }
    });
    check::all(&site);
    assert_eq!(site.number("SELECT count(*) FROM event_records"), 20_000);
    bridge.end();
}

#[test]
fn the_lanes_of_a_killed_instance_are_claimed_by_who_is_left_and_it_shows() {
    let Some(site) = Site::shared(Stamps::Producer) else { return };
    let events = feed::crowd(100, 60);
    let first = site.start();
    first.wait_lanes(LANES);
    let second = site.start();
    second.wait_some_lanes();
    let claimed = second.metric(CLAIMS);
    let had = second.metric(RUNNING);
    assert!(claimed >= had && had < 3.0, "{had} lanes of {LANES}, claimed {claimed} times");
    std::thread::scope(|scope| {
        scope.spawn(|| feed::stream(site.kafka, &site.topics.events, &events, 200));
        site.wait_read(events.len() / 4);
        first.kill();
    });
    // Ready all the while for what it has; then it has all.
    let ready = second.wait_lanes(LANES);
    assert_eq!(ready["failing"], serde_json::Value::Null, "{ready}");
    second.wait_metric(RUNNING, |running| running == 3.0);
    assert!(second.metric(CLAIMS) >= claimed + 3.0 - had, "each was claimed");
    check::all(&site);
    second.wait_metric("kafka_consumer_lag", |lag| lag == 0.0);
    assert_eq!(site.number("SELECT count(*) FROM event_records"), 6_000);
    second.end();
}

const CLAIMS: &str = "biometric_lane_claims_total";
const RUNNING: &str = "biometric_lanes{condition=\"running\"}";

#[test]
fn an_instance_told_to_end_under_load_ends_in_order_and_loses_nothing() {
    let Some(site) = Site::shared(Stamps::Producer) else { return };
    let events = feed::crowd(200, 40);
    let bridge = site.start();
    std::thread::scope(|scope| {
        scope.spawn(|| feed::stream(site.kafka, &site.topics.events, &events, 200));
        site.wait_read(events.len() / 4);
        bridge.end();
        assert!(site.number("SELECT sum(events_position) FROM lanes") < 8_000, "in mid-stream");
        bridge.start_again();
        site.wait_read(events.len() / 2);
        bridge.end();
    });
    bridge.start_again();
    check::all(&site);
    assert_eq!(site.number("SELECT count(*) FROM event_records"), 8_000);
    bridge.end();
}
