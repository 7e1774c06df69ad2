//! Each thing that the service needs goes away and comes back while events flow: `/ready` and the metrics say
//! so, and nothing is lost.

use jiff::Timestamp;

use super::site::{Site, Stamps, WAITING as OUTBOX_WAITING};
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
    bridge.wait_part("postgres", false);
    postgres.start_again();
    bridge.wait_ready();
    bridge.wait_part("postgres", true);
    send();
    without_postgres(&bridge, &postgres, &mut send);
    without_redis(&bridge, &redis, &mut send);
    // Events on their way are caught by the stop.
    send();
    kafka.stop();
    bridge.wait_failing("kafka");
    bridge.wait_part("kafka", false);
    kafka.start_again();
    bridge.wait_ready();
    bridge.wait_part("kafka", true);
    send();
    check::all(&site);
    bridge.wait_metric("kafka_consumer_lag", |lag| lag == 0.0);
    assert_eq!(site.number("SELECT count(*) FROM event_records"), 6_000);
    bridge.end();
}

fn without_postgres(bridge: &Bridge, postgres: &Postgres, send: &mut impl FnMut()) {
    postgres.kill();
    send();
    bridge.wait_failing("postgres");
    bridge.wait_part("postgres", false);
    bridge.wait_metric(FAILURES, |count| count > 0.0);
    postgres.start_again();
    bridge.wait_ready();
    bridge.wait_part("postgres", true);
}

const FAILURES: &str = "biometric_commit_failures_total";
const WAITING: &str = "biometric_outbox_waiting";

#[test]
fn with_a_full_disk_the_service_waits_and_goes_on_when_there_is_room() {
    let Some(servers) = Servers::available().then(Servers::shared) else { return };
    let postgres = Postgres::start_on_small_disk();
    let Some(disk) = postgres.disk() else { return };
    let site = Site::new(&servers.kafka, &postgres, &servers.redis, Stamps::Producer);
    let events = feed::crowd(100, 60);
    let bridge = site.start();
    feed::stream(site.kafka, &site.topics.events, &events[..500], 100);
    site.wait_caught_up();
    disk.fill();
    feed::stream(site.kafka, &site.topics.events, &events[500..], 500);
    bridge.wait_failing("postgres");
    bridge.wait_part("postgres", false);
    bridge.wait_metric(FAILURES, |count| count > 0.0);
    disk.free();
    // Without room for its log the database may have ended itself.
    if !postgres.runs() {
        postgres.kill();
        postgres.start_again();
    }
    bridge.wait_ready();
    bridge.wait_part("postgres", true);
    check::all(&site);
    assert_eq!(site.number("SELECT count(*) FROM event_records"), 6_000);
    bridge.end();
}

#[test]
fn while_an_output_topic_is_away_its_messages_wait_and_then_go_on() {
    let Some(site) = Site::shared(Stamps::Producer) else { return };
    let events = feed::crowd(50, 60);
    let bridge = site.start();
    let topics = &site.topics;
    feed::stream(site.kafka, &topics.events, &events[..1_000], 500);
    for (sink, topic, partitions, portion) in
        [(0, &topics.transitions, 3, 1), (1, &topics.alerts, 1, 2)]
    {
        site.wait_caught_up();
        site.keep_messages(topic);
        site.kafka.delete_topic(topic);
        let sent = portion * 1_000;
        feed::stream(site.kafka, &topics.events, &events[sent..sent + 1_000], 500);
        let said = bridge
            .wait_until("degraded", |status, body| status == 200 && body["status"] == "degraded");
        assert_eq!(said["parts"]["outputs"]["ok"], false, "{said}");
        bridge.wait_part("outputs", false);
        bridge.wait_metric(WAITING, |count| count > 0.0);
        // Nothing waits but what is for this topic.
        site.wait_read(sent + 1_000);
        site.wait_sql(&format!("SELECT ({OUTBOX_WAITING} AND sink <> {sink}) = 0"));
        assert!(site.number(OUTBOX_WAITING) > 0);
        site.kafka.topic(topic, partitions, &[]);
        bridge.wait_until("whole again", |_, body| body["status"] == "ready");
        bridge.wait_part("outputs", true);
        bridge.wait_metric(WAITING, |count| count == 0.0);
    }
    check::all(&site);
    assert_eq!(site.number("SELECT count(*) FROM event_records"), 3_000);
    bridge.end();
}

#[test]
fn without_the_key_that_sealed_the_service_waits_and_says_for_what() {
    let Some(mut site) = Site::shared(Stamps::Producer) else { return };
    let events = feed::crowd(20, 20);
    let bridge = site.start();
    feed::stream(site.kafka, &site.topics.events, &events[..200], 200);
    site.wait_caught_up();
    bridge.end();
    let right = site.key_file.clone();
    let wrong = right.with_extension("other");
    site.run(&["keys", "generate", "--output", wrong.to_str().expect("a path")]);
    site.set("KEY_FILE", wrong.to_str().expect("a path"));
    let bridge = site.start();
    feed::stream(site.kafka, &site.topics.events, &events[200..], 200);
    bridge.wait_failing("keys");
    bridge.wait_part("keys", false);
    assert!(bridge.metric("biometric_events_processed_total") == 0.0, "nothing is applied");
    bridge.end();
    site.set("KEY_FILE", right.to_str().expect("a path"));
    let bridge = site.start();
    bridge.wait_ready();
    bridge.wait_part("keys", true);
    check::all(&site);
    assert_eq!(site.number("SELECT count(*) FROM event_records"), 400);
    bridge.end();
}

#[test]
fn told_to_end_while_kafka_is_away_an_instance_ends_within_its_deadline() {
    let Some(servers) = Servers::available().then(Servers::shared) else { return };
    let kafka = Kafka::start();
    let mut site = Site::new(&kafka, &servers.postgres, &servers.redis, Stamps::Producer);
    site.set("BRIDGE__SHUTDOWN__DEADLINE", "5s");
    let bridges = [site.start(), site.start()];
    for bridge in &bridges {
        bridge.wait_some_lanes();
    }
    let events = feed::crowd(50, 40);
    feed::stream(&kafka, &site.topics.events, &events[..1_000], 100);
    // Both with positions that the group does not know yet.
    kafka.stop();
    bridges[0].wait_failing("kafka");
    for bridge in &bridges {
        let told = Timestamp::now();
        let status = bridge.ends();
        let took = Timestamp::now().duration_since(told);
        assert!(matches!(status.code(), Some(0 | 1)), "{status}\n{}", bridge.log());
        // Five seconds, and what a busy machine adds.
        assert!(took.as_secs() < 20, "it took {took:#}");
    }
    kafka.start_again();
    bridges.iter().for_each(Bridge::start_again);
    feed::stream(&kafka, &site.topics.events, &events[1_000..], 500);
    check::all(&site);
    assert_eq!(site.number("SELECT count(*) FROM event_records"), 2_000);
    bridges.iter().for_each(Bridge::end);
}

fn without_redis(bridge: &Bridge, redis: &Redis, send: &mut impl FnMut()) {
    redis.stop();
    send();
    let said =
        bridge.wait_until("degraded", |status, body| status == 200 && body["status"] == "degraded");
    assert_eq!(said["parts"]["redis"]["ok"], false);
    assert_eq!(said["failing"], serde_json::Value::Null);
    bridge.wait_part("redis", false);
    bridge.wait_metric("biometric_cache_failures_total", |count| count > 0.0);
    redis.start_again();
    send();
    bridge.wait_until("whole again", |_, body| body["status"] == "ready");
    bridge.wait_part("redis", true);
}
