//! Peers that refuse, chatter or send us away: each is met as it should be, said clearly and without a secret, and
//! tried again.

use std::time::Duration;

use serde_json::json;
use tungstenite::Message;
use uuid::Uuid;

use super::delivery::{all_arrived, site};
use super::peer::{Manners, Order, Peer};
use crate::service::feed::{crowd, stream};
use crate::service::site::LANES;

#[test]
fn a_peer_that_opens_no_socket_is_named_by_its_answer_alone_and_tried_again() {
    let peer = Peer::start(Manners { refuses: Some((401, None)), ..Manners::default() });
    let Some(mut site) = site(&peer, true, "5s") else { return };
    let secret = format!("{}?token=hunter2", peer.url());
    site.set("WEBSOCKET_URL", &secret);
    let bridge = site.start();
    for (refusal, speaks, said) in [
        (Some((401, None)), true, "401: it does not take our token"),
        (Some((403, None)), true, "403: it does not take our token"),
        (Some((302, Some("wss://hunter2.example/"))), true, "302, a redirection"),
        (Some((503, None)), true, "503 and opens no WebSocket"),
        (None, false, "it does not speak `neuros.v1`"),
    ] {
        peer.change(|manners| (manners.refuses, manners.speaks) = (refusal, speaks));
        bridge.wait_until(said, |status, body| {
            let problem = body["parts"]["push"]["problem"].as_str().unwrap_or_default();
            status == 200 && problem.contains(said)
        });
    }
    peer.change(|manners| manners.speaks = true);
    bridge.wait_part("push", true);
    let log = bridge.log();
    assert!(log.contains("401: it does not take our token"), "the log says so too");
    assert!(!log.contains("hunter2"), "{log}");
    bridge.end();
}

#[test]
fn what_a_peer_says_and_nobody_waits_for_is_counted_and_too_much_of_it_ends_the_connection() {
    let unknown = json!({ "type": "ack", "message_id": Uuid::new_v4() }).to_string();
    let says = [
        Message::text(unknown),
        Message::text("no JSON"),
        Message::text(json!({ "type": "subscribe", "users": "*" }).to_string()),
        Message::text(json!({ "type": "ack", "message_id": 7 }).to_string()),
        Message::binary(vec![0_u8; 9]),
        Message::Pong(vec![1, 2, 3].into()),
    ];
    let peer = Peer::start(Manners { says: says.to_vec(), ..Manners::default() });
    let Some(site) = site(&peer, true, "20s") else { return };
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    for (kind, count) in [("unknown_ack", 1.0), ("unknown_message", 4.0), ("unknown_pong", 1.0)] {
        let series = format!("biometric_push_ignored_total{{kind=\"{kind}\"}}");
        bridge.wait_metric(&series, |counted| counted == count);
    }
    stream(site.kafka, &site.topics.events, &crowd(4, 10), 40);
    all_arrived(&site, &peer);
    assert_eq!(peer.seen(|seen| seen.opened), 1, "the connection goes on");
    peer.change(|manners| manners.says = vec![Message::text("x".repeat(100_000))]);
    peer.order(Order::Reset);
    peer.wait("it is closed", |seen| seen.closed.first() == Some(&1009));
    peer.change(|manners| manners.says.clear());
    stream(site.kafka, &site.topics.events, &crowd(8, 10), 40);
    all_arrived(&site, &peer);
    bridge.end();
}

#[test]
fn a_peer_that_restarts_is_left_alone_for_five_seconds() {
    let peer = Peer::start(Manners::default());
    let Some(site) = site(&peer, true, "20s") else { return };
    let bridge = site.start();
    peer.wait("it is connected", |seen| seen.opened == 1);
    #[expect(clippy::disallowed_methods, reason = "how long a client waits is measured")]
    let since = std::time::Instant::now();
    peer.order(Order::Close(1012));
    bridge.wait_until("told why", |_, body| {
        let problem = body["parts"]["push"]["problem"].as_str().unwrap_or_default();
        problem.contains("closed the connection (1012)")
    });
    peer.wait("it comes back", |seen| seen.opened == 2);
    let came = peer.seen(|seen| seen.handshakes[1]);
    let waited = came.duration_since(since);
    assert!(waited >= Duration::from_secs(5), "{waited:?}");
    bridge.end();
}
