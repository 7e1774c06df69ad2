//! What the guide's topics are for: with three copies, two in sync, any one broker may be lost while events flow.

use crate::servers::{Kafka, Server as _, Servers};
use crate::service::check;
use crate::service::feed::Flow;
use crate::service::site::{LANES, Site};

#[test]
fn the_loss_of_any_one_broker_of_three_loses_nothing() {
    if !Servers::available() {
        return;
    }
    let servers = Servers::shared();
    let brokers = Kafka::start_three();
    let mut site = Site::bare(&brokers[0], &servers.postgres, &servers.redis);
    let all: Vec<String> = brokers.iter().map(Kafka::bootstrap).collect();
    site.set("KAFKA_BOOTSTRAP_SERVERS", &all.join(","));
    site.run(&["keys", "generate", "--output", site.key_file.to_str().expect("a path")]);
    site.run(&["topics", "create", "--retention", "0s", "--create-time"]);
    site.run(&["migrate", "up"]);
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    let flow = Flow::default();
    let sent = std::thread::scope(|scope| {
        let sending = scope.spawn(|| flow.run(&site, 60));
        let ends = flow.ends();
        // The first of them is where this test itself looks for the cluster.
        for lost in &brokers[1..] {
            site.wait_more(500);
            lost.kill();
            site.wait_more(1_000);
            lost.start_again();
        }
        site.wait_more(500);
        drop(ends);
        sending.join().expect("sending does not panic")
    });
    check::all(&site);
    assert_eq!(site.number("SELECT count(*) FROM event_records"), sent as i64);
    bridge.end();
}
