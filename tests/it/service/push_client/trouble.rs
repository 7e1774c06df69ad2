//! Peers that are away, dead, deaf or silent: they delay themselves alone, and nothing is lost to them.

use serde_json::{Value, json};

use super::delivery::{all_arrived, cursors, known, site};
use super::peer::{Manners, Order, Peer, Seen};
use crate::servers::folder;
use crate::service::check;
use crate::service::feed::{Flow, crowd, stream};
use crate::service::site::{LANES, Site};
use crate::service::sockets::client::stored;

/// Events come, and everything else takes them.
fn all_else_goes_on(site: &Site<'_>) {
    stream(site.kafka, &site.topics.events, &crowd(10, 20), 50);
    site.wait_caught_up();
    assert!(stored(site) > 10);
}

#[test]
fn what_lies_in_the_socket_of_a_peer_that_dies_comes_again() {
    for require_ack in [false, true] {
        let peer = Peer::start(Manners { reads: false, ..Manners::default() });
        let Some(site) = site(&peer, require_ack, "60s") else { return };
        let bridge = site.start();
        bridge.wait_lanes(LANES);
        all_else_goes_on(&site);
        bridge.wait_metric("biometric_push_unacknowledged", |count| count > 0.0);
        bridge.wait_metric("biometric_outbox_waiting{sink=\"push\"}", |count| count > 0.0);
        peer.order(Order::Reset);
        peer.wait("it comes back", |seen| seen.opened == 2);
        assert_eq!(cursors(&site), 0, "what was only written is not safe");
        assert_eq!(peer.seen(|seen| seen.messages.len()), 0);
        peer.change(|manners| manners.reads = true);
        all_arrived(&site, &peer);
        check::all(&site);
        bridge.end();
    }
}

#[test]
fn a_peer_that_answers_nothing_is_given_up_and_tried_again() {
    for (require_ack, manners, reason) in [
        (true, Manners { acknowledges: false, ..Manners::default() }, "unacknowledged"),
        (false, Manners { reads: false, ..Manners::default() }, "silent"),
    ] {
        let peer = Peer::start(manners);
        let Some(site) = site(&peer, require_ack, "1s") else { return };
        let bridge = site.start();
        bridge.wait_lanes(LANES);
        all_else_goes_on(&site);
        let series = format!("biometric_push_disconnects_total{{reason=\"{reason}\"}}");
        bridge.wait_metric(&series, |count| count >= 2.0);
        assert_eq!(cursors(&site), 0);
        let ready = bridge.wait_ready();
        assert!(ready["failing"].is_null(), "{ready}");
        peer.change(|manners| *manners = Manners::default());
        let known = all_arrived(&site, &peer);
        assert!(known.repeated > 0, "what was read and not known to be comes again");
        bridge.wait_part("push", true);
        check::all(&site);
        bridge.end();
    }
}

#[test]
fn a_message_that_is_never_acknowledged_comes_again_though_other_lanes_go_on() {
    let left_out = ("user-3", 1);
    let peer = Peer::start(Manners { leaves_out: Some(left_out), ..Manners::default() });
    let Some(site) = site(&peer, true, "10s") else { return };
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    let times = |seen: &Seen| {
        let is_it =
            |message: &Value| (&message["user_id"], &message["n"]) == (&json!("user-3"), &json!(1));
        seen.messages.iter().filter(|(_, message)| is_it(message)).count()
    };
    // Something is acknowledged all the time.
    let flow = Flow::default();
    std::thread::scope(|scope| {
        let _ends = flow.ends();
        scope.spawn(|| flow.run(&site, 10));
        peer.wait("it is sent", |seen| times(seen) == 1);
        peer.wait("it comes again", |seen| times(seen) == 2);
        let given_up = peer.seen(|seen| seen.messages.last().expect("one").0);
        assert_eq!(given_up, 2, "over another connection");
        peer.change(|manners| manners.leaves_out = None);
    });
    assert!(bridge.metric("biometric_push_disconnects_total{reason=\"unacknowledged\"}") >= 1.0);
    all_arrived(&site, &peer);
    check::all(&site);
    bridge.end();
}

#[test]
fn a_peer_of_whom_nothing_is_heard_is_asked_and_given_up_though_there_is_nothing_to_send() {
    let peer = Peer::start(Manners { reads: false, ..Manners::default() });
    let Some(site) = site(&peer, true, "500ms") else { return };
    let bridge = site.start();
    peer.wait("it is tried again", |seen| seen.opened >= 2);
    peer.change(|manners| manners.reads = true);
    bridge.wait_metric("biometric_push_disconnects_total{reason=\"silent\"}", |count| count > 0.0);
    let opened = peer.seen(|seen| seen.opened);
    bridge.wait_part("push", true);
    stream(site.kafka, &site.topics.events, &crowd(3, 10), 30);
    all_arrived(&site, &peer);
    assert!(peer.seen(|seen| seen.opened) <= opened + 1, "who answers is kept");
    bridge.end();
}

#[test]
fn a_peer_that_is_away_delays_nothing_but_itself_and_is_told_in_health_and_metrics() {
    let mut peer = Peer::start(Manners::default());
    peer.stop();
    let Some(site) = site(&peer, true, "5s") else { return };
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    all_else_goes_on(&site);
    let ready = bridge.wait_until("degraded", |status, body| {
        status == 200 && body["status"] == "degraded" && body["parts"]["push"]["ok"] == false
    });
    let problem = ready["parts"]["push"]["problem"].as_str().expect("a text");
    assert!(problem.contains("cannot be reached"), "{problem}");
    bridge.wait_metric("biometric_outbox_waiting{sink=\"push\"}", |count| count > 0.0);
    bridge.wait_metric("biometric_outbox_waiting_seconds{sink=\"push\"}", |age| age > 0.0);
    assert_eq!(bridge.metric("biometric_push_connected"), 0.0);
    assert_eq!(cursors(&site), 0);
    peer.start_again();
    let known = all_arrived(&site, &peer);
    assert_eq!(known.repeated, 0);
    bridge.wait_until("ready", |_, body| body["status"] == "ready");
    bridge.wait_metric("biometric_outbox_waiting_seconds{sink=\"push\"}", |age| age == 0.0);
    bridge.end();
    check::all(&site);
}

#[test]
fn whoever_is_erased_while_the_peer_is_away_is_not_told_of_and_holds_up_nobody() {
    let mut peer = Peer::start(Manners::default());
    peer.stop();
    let Some(mut site) = site(&peer, false, "5s") else { return };
    let key = folder().join(format!("{}.pem", site.group));
    let key = key.to_str().expect("a path");
    site.run(&["audit", "init", "--output", key]);
    site.set("BRIDGE__AUDIT__SIGNING_KEY_FILE", key);
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    all_else_goes_on(&site);
    bridge.wait_metric("biometric_outbox_waiting{sink=\"push\"}", |count| count > 0.0);
    site.run(&["erase", "user-3"]);
    peer.start_again();
    site.wait_caught_up();
    bridge.wait_metric("biometric_outbox_waiting{sink=\"push\"}", |count| count == 0.0);
    let known = known(&peer);
    assert!(!known.newest.contains_key("user-3"));
    known.equals_store(&site, |user_id| user_id != "user-3");
    assert!(bridge.metric("biometric_outbox_unopened_total{sink=\"push\"}") > 0.0);
    bridge.end();
}
