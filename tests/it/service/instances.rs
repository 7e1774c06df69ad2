//! Several instances share the lanes; whoever comes and goes, each event is applied once.

use super::site::{LANES, Site, Stamps};
use super::{check, feed};
use crate::servers::Server as _;

#[test]
fn instances_that_join_and_leave_in_mid_stream_share_the_work() {
    let Some(site) = Site::shared(Stamps::Producer) else { return };
    let events = feed::crowd(250, 60);
    let total = events.len();
    let first = site.start();
    first.wait_lanes(LANES);
    std::thread::scope(|scope| {
        scope.spawn(|| feed::stream(site.kafka, &site.topics.events, &events, 150));
        site.wait_read(total / 10);
        let second = site.start();
        second.wait_until("an owner of some lanes", |_, body| {
            body["lanes"]["0"].is_string()
                || body["lanes"]["1"].is_string()
                || body["lanes"]["2"].is_string()
        });
        site.wait_read(total / 5);
        first.end();
        second.wait_lanes(LANES);
        site.wait_read(total / 3);
        first.start_again();
        first.wait_until("an owner of some lanes", |_, body| {
            body["lanes"].as_object().is_some_and(|lanes| !lanes.is_empty())
        });
        second.kill();
        first.wait_lanes(LANES);
    });
    check::all(&site);
    assert_eq!(site.number("SELECT count(*) FROM event_records"), 15_000);
    first.end();
}
