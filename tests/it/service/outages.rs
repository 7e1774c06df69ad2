//! Each server goes away and comes back while events flow: `/ready` names it, and nothing is lost.

use super::site::{Site, Stamps};
use super::{check, feed};
use crate::servers::{Bridge, Kafka, Postgres, Redis, Server as _, Servers};

#[test]
fn nothing_is_lost_when_each_server_in_turn_goes_away() {
    if !Servers::available() {
        return;
    }
    let (kafka, postgres, redis) = std::thread::scope(|scope| {
        let kafka = scope.spawn(Kafka::start);
        let postgres = scope.spawn(|| Postgres::start(true));
        let redis = Redis::start();
        let joined = "the server starts";
        (kafka.join().expect(joined), postgres.join().expect(joined), redis)
    });
    let site = Site::new(&kafka, &postgres, &redis, Stamps::Producer);
    let events = feed::crowd(100, 60);
    let mut portions = events.chunks(1_000);
    let mut send = || {
        let portion = portions.next().expect("a portion");
        feed::stream(&kafka, &site.topics.events, portion, 200);
    };
    postgres.stop();
    let bridge = site.start();
    bridge.wait_failing("postgres");
    postgres.start_again();
    bridge.wait_ready();
    send();
    without_postgres(&bridge, &postgres, &mut send);
    without_redis(&bridge, &redis, &mut send);
    // Events on their way are caught by the stop.
    send();
    kafka.stop();
    bridge.wait_failing("kafka");
    kafka.start_again();
    bridge.wait_ready();
    send();
    check::all(&site);
    assert_eq!(site.number("SELECT count(*) FROM event_records"), 6_000);
    bridge.end();
}

fn without_postgres(bridge: &Bridge, postgres: &Postgres, send: &mut impl FnMut()) {
    postgres.kill();
    send();
    bridge.wait_failing("postgres");
    postgres.start_again();
    bridge.wait_ready();
}

fn without_redis(bridge: &Bridge, redis: &Redis, send: &mut impl FnMut()) {
    redis.stop();
    send();
    let said =
        bridge.wait_until("degraded", |status, body| status == 200 && body["status"] == "degraded");
    assert_eq!(said["parts"]["redis"]["ok"], false);
    assert_eq!(said["failing"], serde_json::Value::Null);
    redis.start_again();
    send();
    bridge.wait_until("whole again", |_, body| body["status"] == "ready");
}
