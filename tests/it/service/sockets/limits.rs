//! What one client can take from others: nothing. And what a socket costs while nothing is sent on it.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::Message;

use super::client::{Came, Known, open, open_with, request, stored};
use super::following::site;
use crate::service::feed::{crowd, stream};
use crate::service::http::issuer::{SigningKey, now, trust};
use crate::service::http::office::Office;

#[test]
fn a_client_that_does_not_read_is_closed_and_goes_on_where_it_was() {
    let key = SigningKey::elliptic("e");
    let Some(mut site) = site(&key) else { return };
    site.set("BRIDGE__HTTP__SOCKET_QUEUE_BYTES_MAX", "16KiB");
    let bridge = site.start();
    bridge.wait_lanes(3);
    let operator = key.token("ops", "operator");
    let mut slow = open(&bridge, &operator);
    slow.say(&json!({ "type": "subscribe", "users": "*" }));
    let mut known = Known::default();
    known.take(slow.message());
    let mut quick = open(&bridge, &operator);
    quick.say(&json!({ "type": "subscribe", "users": "*", "after": known.cursor }));
    let mut seen = Known::default();
    // More than all buffers between us hold.
    let events = crowd(300, 80);
    std::thread::scope(|scope| {
        scope.spawn(|| stream(site.kafka, &site.topics.events, &events, 300));
        let slow_ends = "biometric_sockets_closed_total{code=\"4008\"}";
        while bridge.metric(slow_ends) < 1.0 {
            if let Came::Message(message) = quick.next_within(Duration::from_millis(200)) {
                seen.take(message);
            }
        }
    });
    // What was sent before it was closed is good, and the code comes behind it.
    let code = loop {
        match slow.next() {
            Came::Message(message) => known.take(message),
            Came::Closed(code, _) => break code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(code, 4008);
    site.wait_caught_up();
    let mut again = open(&bridge, &operator);
    again.say(&json!({ "type": "subscribe", "users": "*", "after": known.cursor }));
    let all = stored(&site);
    assert!(known.messages.len() < all, "some were not sent");
    while known.messages.len() < all {
        known.take(again.message());
    }
    known.equals_store(&site, |_| true);
    bridge.end();
}

#[test]
fn a_subject_has_so_many_sockets_and_gets_them_back() {
    let key = SigningKey::elliptic("e");
    let Some(mut site) = site(&key) else { return };
    site.set("BRIDGE__HTTP__SOCKETS_PER_SUBJECT", "2");
    let bridge = site.start();
    bridge.wait_ready();
    let bearer = |subject: &str| format!("Bearer {}", key.token(subject, "self"));
    let enter = |bearer: &str| {
        let lines = [("authorization", bearer), ("sec-websocket-protocol", "neuros.v1")];
        open_with(request(&bridge, "/ws", &lines), bridge.address())
    };
    let (ada, bob) = (bearer("ada"), bearer("bob"));
    let held = [enter(&ada).expect("one"), enter(&ada).expect("two")];
    assert_eq!(enter(&ada).err(), Some(429));
    enter(&bob).expect("nobody else waits");
    drop(held);
    bridge.wait_metric("biometric_sockets ", |open| open == 0.0);
    enter(&ada).expect("as before");
    bridge.end();
}

#[test]
fn a_client_that_says_too_much_is_closed_and_a_stranger_says_next_to_nothing() {
    let key = SigningKey::elliptic("e");
    let mut office = Office::new();
    trust(&mut office, &[&key]);
    // So long a connection lingers that is closed with something unread.
    office.set("BRIDGE__HTTP__HEAD_TIMEOUT", "1s");
    let bridge = office.open();
    let mut socket = open(&bridge, &key.token("ada", "self"));
    for _ in 0..1_000 {
        // It may be closed already.
        drop(socket.socket.send(Message::Ping("there?".into())));
    }
    let said = "too many messages; come again later".to_owned();
    assert_eq!(socket.next(), Came::Closed(1013, said));

    let lines = [("sec-websocket-protocol", "neuros.v1")];
    let stranger = open_with(request(&bridge, "/ws", &lines), bridge.address());
    let mut stream = stranger.expect("open").socket.get_ref().try_clone().expect("a stream");
    // The beginning of a text that goes on, and goes on: masked with zeros (RFC 6455, section 5.2).
    for opcode in [1, 0] {
        let length = 3_000_u16.to_be_bytes();
        let head = [opcode, 0x80 | 126, length[0], length[1], 0, 0, 0, 0];
        stream.write_all(&[&head[..], &[b'x'; 3_000]].concat()).expect("sent");
    }
    let began = now();
    let mut came = Vec::new();
    // A connection that is reset has ended, too.
    drop(stream.read_to_end(&mut came));
    let waited = now() - began;
    assert!(waited < 4, "five are left to who says nothing: {waited}");
    bridge.end();
}

/// Sockets that are opened; each has a file at both ends.
const SOCKETS: usize = 5_000;

#[test]
fn thousands_of_sockets_are_open_at_once_and_cost_little_while_nothing_is_sent() {
    let key = SigningKey::elliptic("e");
    let Some(mut site) = site(&key) else { return };
    for (name, value) in [
        ("BRIDGE__HTTP__CONNECTIONS_MAX", "20000"),
        ("BRIDGE__HTTP__CONNECTIONS_PER_ADDRESS", "20000"),
        ("BRIDGE__HTTP__SOCKETS_PER_SUBJECT", "20000"),
        ("BRIDGE__HTTP__REQUESTS_PER_ADDRESS", "1000000"),
        ("BRIDGE__HTTP__REQUESTS_PER_SUBJECT", "1000000"),
    ] {
        site.set(name, value);
    }
    let bridge = site.start();
    bridge.wait_lanes(3);
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let count = files.map_or(SOCKETS, |most| SOCKETS.min(usize::try_from(most / 2).expect("fits")));
    let memory = || bridge.metric("process_resident_memory_bytes");
    let operator = key.token("ops", "operator");
    let follow = |number: usize| {
        let mut socket = open(&bridge, &operator);
        let user = format!("user-{}", number % 50);
        socket.say(&json!({ "type": "subscribe", "users": [user] }));
        assert_eq!(socket.message()["type"], "snapshot");
        socket
    };
    let warm: Vec<_> = (0..100).map(follow).collect();
    let before = memory();
    let mut sockets: Vec<_> = (0..count - warm.len()).map(follow).collect();
    let after = memory();
    let each = (after - before) / sockets.len() as f64;
    eprintln!("{count} sockets, {each:.0} bytes each while idle");
    assert_eq!(bridge.metric("biometric_sockets "), count as f64);
    assert!(each <= 24_576.0, "{each} bytes for a socket");
    stream(site.kafka, &site.topics.events, &crowd(50, 10), 100);
    site.wait_caught_up();
    let messages = |user: usize| {
        let of = format!("user_id = 'user-{user}'");
        site.number(&format!(
            "SELECT (SELECT count(*) FROM cognitive_mode_transitions WHERE {of})
                  + (SELECT count(*) FROM biometric_alerts WHERE {of})"
        ))
    };
    let counts: Vec<i64> = (0..50).map(messages).collect();
    for (number, socket) in sockets.iter_mut().enumerate() {
        for n in 1..=counts[number % 50] {
            let mut message = socket.message();
            while message["type"] == "status" {
                message = socket.message();
            }
            assert_eq!(message["n"], Value::from(n));
        }
    }
    drop((warm, sockets));
    bridge.wait_metric("biometric_sockets ", |open| open == 0.0);
    bridge.end();
}
