//! Every instance serves every user, with hints between them and without, and while servers are away.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::{Came, Known, Socket, all_stored, open, stored};
use crate::servers::{Kafka, Postgres, Redis, Server as _, Servers};
use crate::service::feed::{Event, crowd, stream};
use crate::service::http::issuer::{SigningKey, set_of};
use crate::service::http::people::trust_at;
use crate::service::site::{Site, Stamps};

fn follow(socket: &mut Socket) -> Known {
    socket.say(&json!({ "type": "subscribe", "users": "*", "after": null }));
    let mut known = Known::default();
    known.take(socket.message());
    known
}

/// Takes messages until all that are stored are known.
fn take_all(site: &Site<'_>, socket: &mut Socket, known: &mut Known) {
    let all = stored(site);
    while known.messages.len() < all {
        match socket.next() {
            Came::Message(message) => known.take(message),
            other => panic!("{} of {all}: {other:?}", known.messages.len()),
        }
    }
}

#[test]
fn an_instance_without_lanes_serves_every_user_and_a_lost_hint_costs_little() {
    if !Servers::available() {
        return;
    }
    let servers = Servers::shared();
    let redis = Redis::start();
    let key = SigningKey::elliptic("e");
    let mut site = Site::new(&servers.kafka, &servers.postgres, &redis, Stamps::Producer);
    trust_at(&mut site, &set_of(&[&key]));
    let owners = [site.start(), site.start(), site.start()];
    owners.iter().for_each(|owner| owner.wait_some_lanes());
    // There are three lanes, and none is left for the fourth.
    let other = site.start();
    other.wait_ready();
    let operator = key.token("ops", "operator");
    let mut socket = open(&other, &operator);
    let mut known = follow(&mut socket);
    stream(site.kafka, &site.topics.events, &crowd(10, 10), 20);
    site.wait_caught_up();
    take_all(&site, &mut socket, &mut known);
    redis.stop();
    let events: Vec<Event> = (10..20).map(|number| Event::of("user-1", 1, number)).collect();
    for event in &events {
        let before = stored(&site);
        stream(site.kafka, &site.topics.events, std::slice::from_ref(event), 1);
        site.wait_caught_up();
        #[expect(clippy::disallowed_methods, reason = "how long somebody waits is measured")]
        let since = Instant::now();
        take_all(&site, &mut socket, &mut known);
        let waited = since.elapsed();
        assert!(waited < Duration::from_secs(2), "{waited:?} for {}", stored(&site) - before);
    }
    redis.start_again();
    stream(site.kafka, &site.topics.events, &crowd(10, 30)[200..], 20);
    site.wait_caught_up();
    take_all(&site, &mut socket, &mut known);
    known.equals_store(&site, |_| true);
    assert_eq!(known.repeated, 0);
    other.end();
    owners.iter().for_each(|owner| owner.end());
}

#[test]
fn a_socket_stays_open_while_the_database_is_away_and_says_so() {
    if !Servers::available() {
        return;
    }
    let (kafka, postgres) = std::thread::scope(|scope| {
        let kafka = scope.spawn(Kafka::start);
        (Servers::shared(), (kafka.join().expect("starts"), Postgres::start(true))).1
    });
    let key = SigningKey::elliptic("e");
    let mut site = Site::new(&kafka, &postgres, &Servers::shared().redis, Stamps::Producer);
    trust_at(&mut site, &set_of(&[&key]));
    let bridge = site.start();
    bridge.wait_lanes(3);
    let mut socket = open(&bridge, &key.token("ops", "operator"));
    let mut known = follow(&mut socket);
    postgres.kill();
    let status = |socket: &mut Socket| loop {
        let message = socket.message();
        if message["type"] == "status" && message["user_id"] == Value::Null {
            return message["status"].clone();
        }
    };
    assert_eq!(status(&mut socket), "stale");
    let mut late = open(&bridge, &key.token("ops", "operator"));
    assert_eq!(status(&mut late), "stale", "whoever comes meanwhile is told too");
    let mut named = open(&bridge, &key.token("user-1", "self"));
    assert_eq!(status(&mut named), "stale");
    late.say(&json!({ "type": "subscribe", "users": "*", "after": known.cursor }));
    let subscribe = json!({ "type": "subscribe", "users": ["user-1"], "after": { "user-1": 0 } });
    named.say(&subscribe);
    stream(site.kafka, &site.topics.events, &crowd(10, 10), 20);
    // As long as it takes to say that something cannot be written down.
    for socket in [&mut late, &mut named] {
        assert_eq!(socket.next_within(Duration::from_secs(8)), Came::Nothing, "it is held");
    }
    postgres.start_again();
    assert_eq!(status(&mut socket), "fresh");
    site.wait_caught_up();
    take_all(&site, &mut socket, &mut known);
    known.equals_store(&site, |_| true);
    // Who has asked meanwhile gets what they asked for, and it is written down.
    let mut all = Known::default();
    take_all(&site, &mut late, &mut all);
    all.equals_store(&site, |_| true);
    let mut own = Known::default();
    let snapshot = loop {
        let message = named.message();
        if message["type"] == "snapshot" {
            break message;
        }
    };
    assert_eq!(snapshot["user_id"], "user-1");
    let theirs = all_stored(&site, |user_id| user_id == "user-1").len();
    while own.messages.len() < theirs {
        own.take(named.message());
    }
    own.equals_store(&site, |user_id| user_id == "user-1");
    let rows = "SELECT count(*) FROM phi_access_log
         WHERE access_type = 'SUBSCRIBE' AND (user_id = 'user-1' OR record_id = 'everybody')";
    assert_eq!(site.number(rows), 3);
    named.say(&subscribe);
    assert_eq!(named.code(), 4009, "who is followed already");
    bridge.end();
}

#[test]
fn a_peer_that_dies_with_messages_in_its_buffer_loses_none() {
    if !Servers::available() {
        return;
    }
    let key = SigningKey::elliptic("e");
    let Some(mut site) = Site::shared(Stamps::Producer) else { return };
    trust_at(&mut site, &set_of(&[&key]));
    let bridge = site.start();
    bridge.wait_lanes(3);
    let operator = key.token("ops", "operator");
    let mut socket = open(&bridge, &operator);
    let mut known = follow(&mut socket);
    stream(site.kafka, &site.topics.events, &crowd(20, 20), 100);
    site.wait_caught_up();
    // A few are read, the rest is with the kernel when it dies.
    for _ in 0..7 {
        known.take(socket.message());
    }
    drop(socket);
    let mut socket = open(&bridge, &operator);
    socket.say(&json!({ "type": "subscribe", "users": "*", "after": known.cursor }));
    take_all(&site, &mut socket, &mut known);
    known.equals_store(&site, |_| true);
    bridge.end();
}
