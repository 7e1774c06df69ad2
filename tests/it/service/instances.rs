//! Several instances share the lanes; whoever comes and goes, each event is applied once.

use super::check;
use super::feed::Flow;
use super::site::{LANES, Site, Stamps};
use crate::servers::Server as _;

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
        second.wait_some_lanes();
        site.wait_more(500);
        first.end();
        second.wait_lanes(LANES);
        site.wait_more(500);
        first.start_again();
        first.wait_some_lanes();
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
