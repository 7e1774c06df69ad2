//! Several instances share the lanes; whoever comes and goes, each event is applied once.

use super::check;
use super::feed::Flow;
use super::site::{LANES, Site, Stamps};
use crate::servers::{Bridge, Server as _};

/// Waits until an instance owns some lanes.
fn wait_some_lanes(bridge: &Bridge) {
    bridge.wait_until("an owner of lanes", |status, body| {
        let lanes = body["lanes"].as_object();
        status == 200 && lanes.is_some_and(|lanes| lanes.values().any(|doing| doing == "running"))
    });
}

#[test]
fn instances_that_join_and_leave_in_mid_stream_share_the_work() {
    let Some(site) = Site::shared(Stamps::Producer) else { return };
    let first = site.start();
    first.wait_lanes(LANES);
    let flow = Flow::default();
    let sent = std::thread::scope(|scope| {
        let sending = scope.spawn(|| flow.run(&site, 150));
        let ends = flow.ends();
        site.wait_more(500);
        let second = site.start();
        wait_some_lanes(&second);
        site.wait_more(500);
        first.end();
        second.wait_lanes(LANES);
        site.wait_more(500);
        first.start_again();
        wait_some_lanes(&first);
        site.wait_more(500);
        second.kill();
        first.wait_lanes(LANES);
        site.wait_more(500);
        drop(ends);
        sending.join().expect("sending does not panic")
    });
    check::all(&site);
    assert_eq!(site.sql("SELECT count(*) FROM event_records"), sent.to_string());
    first.end();
}

#[test]
fn a_rolling_restart_holds_nobody_up_for_long() {
    let Some(site) = Site::shared(Stamps::Producer) else { return };
    let instances: Vec<Bridge> = (0..3).map(|_| site.start()).collect();
    for instance in &instances {
        wait_some_lanes(instance);
    }
    let flow = Flow::default();
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| flow.run(&site, 30));
        let ends = flow.ends();
        site.wait_more(500);
        for instance in &instances {
            instance.end();
            site.wait_more(300);
            instance.start_again();
            wait_some_lanes(instance);
            site.wait_more(300);
        }
        drop(ends);
        sending.join().expect("sending does not panic");
    });
    check::all(&site);
    // Records come without a pause, so between two batches of a lane there is nothing but the handover.
    let longest = "SELECT (1000 * max(extract(epoch FROM pause)))::bigint FROM (
        SELECT time - lag(time) OVER (PARTITION BY lane ORDER BY time) AS pause
        FROM event_records) AS pauses";
    let longest = site.number(longest);
    eprintln!("rolling restart: longest pause of a lane {longest} ms");
    // Two seconds are aimed at; a machine that is busy with other tests may take longer.
    assert!(longest < 10_000, "a lane stood still for {longest} ms");
    for instance in &instances {
        instance.end();
    }
}
