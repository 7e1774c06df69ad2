//! What is committed arrives: all of it, as it is stored, in order for each user, and by whom it was sent is known.

use super::peer::{Manners, Order, Peer};
use crate::servers::{Server as _, folder};
use crate::service::check;
use crate::service::feed::{Event, Flow, crowd, stream};
use crate::service::links::world;
use crate::service::site::{LANES, Site, Stamps};
use crate::service::sockets::client::{Known, stored};

/// Rows of mode changes and alerts in front of the peer's cursor.
const WAITING: &str = "SELECT count(*) FROM outbox o
    LEFT JOIN relay_cursors c ON c.lane = o.lane AND c.sink = 3
    WHERE o.sink < 2 AND o.number > coalesce(c.number, 0)";

/// An installation that pushes to this peer, which has a short time to answer.
pub(super) fn site(peer: &Peer, require_ack: bool, timeout: &str) -> Option<Site<'static>> {
    let mut site = Site::shared(Stamps::Producer)?;
    site.set("WEBSOCKET_URL", &peer.url());
    site.set("BRIDGE__PUSH__REQUIRE_ACK", &require_ack.to_string());
    site.set("BRIDGE__PUSH__TIMEOUT", timeout);
    Some(site)
}

/// Waits until nothing waits for the peer, and holds what it knows against the store.
pub(super) fn all_arrived(site: &Site<'_>, peer: &Peer) -> Known {
    site.wait_caught_up();
    site.wait_sql(&format!("SELECT ({WAITING}) = 0"));
    let known = known(peer);
    known.equals_store(site, |_| true);
    known
}

/// What a client knows that was sent what the peer was sent.
pub(super) fn known(peer: &Peer) -> Known {
    let mut known = Known::default();
    peer.seen(|seen| seen.messages.iter().for_each(|(_, message)| known.take(message.clone())));
    known
}

/// How far the peer's cursors are.
pub(super) fn cursors(site: &Site<'_>) -> i64 {
    site.number("SELECT coalesce(sum(number), 0) FROM relay_cursors WHERE sink = 3")
}

fn file(name: &str, text: &str) -> String {
    let path = folder().join(format!("{}.{name}", uuid::Uuid::new_v4().simple()));
    std::fs::write(&path, text).expect("written");
    path.to_str().expect("a path").to_owned()
}

fn delivers(mut site: Site<'_>, peer: &Peer) {
    let token_file = file("token", "hunter2\n");
    site.set("WEBSOCKET_TOKEN_FILE", &token_file);
    site.set("LOG_LEVEL", "trace");
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    bridge.wait_metric("biometric_push_connected", |connected| connected == 1.0);
    stream(site.kafka, &site.topics.events, &crowd(10, 20), 20);
    let known = all_arrived(&site, peer);
    assert_eq!(known.repeated, 0, "nothing went wrong");
    bridge.wait_metric("biometric_push_unacknowledged", |count| count == 0.0);
    bridge.wait_metric("biometric_outbox_waiting{sink=\"push\"}", |count| count == 0.0);
    let count = known.messages.len();
    assert_eq!(bridge.metric("biometric_published_total{sink=\"push\"}"), count as f64);
    check::all(&site);
    // Another token is shown with the next connection.
    std::fs::write(&token_file, "hunter3").expect("written");
    peer.order(Order::Reset);
    peer.wait("it comes back", |seen| seen.opened == 2);
    stream(site.kafka, &site.topics.events, &[Event::of("late", 1, 1)], 1);
    all_arrived(&site, peer);
    bridge.end();
    peer.wait("it takes leave", |seen| seen.closed == [1001]);
    let shown = peer.seen(|seen| seen.authorizations.clone());
    let shown: Vec<Option<&str>> = shown.iter().map(Option::as_deref).collect();
    assert_eq!(shown, [Some("Bearer hunter2"), Some("Bearer hunter3")]);
    for secret in ["hunter", "\"mode_switch\"", "reason_text"] {
        assert!(!bridge.log().contains(secret), "{secret} is in the log");
    }
    let rows = "SELECT access_type, sum(records), bool_and(user_id IS NULL), max(record_id)
         FROM phi_access_log WHERE accessor_id LIKE 'push/127.0.0.1:%' GROUP BY 1 ORDER BY 1";
    let went = stored(&site);
    assert_eq!(site.sql(rows), format!("PUSH|0|t|everybody\nPUSHED|{went}|t|everybody"));
    assert_eq!(
        site.number("SELECT count(*) FROM phi_access_log WHERE access_type = 'PUSH'"),
        2,
        "one for each connection"
    );
}

#[test]
fn all_that_is_committed_arrives_in_order_and_moves_the_cursor_with_a_pong() {
    let peer = Peer::start(Manners { acknowledges: false, ..Manners::default() });
    let Some(site) = site(&peer, false, "20s") else { return };
    delivers(site, &peer);
}

#[test]
fn all_that_is_committed_arrives_in_order_and_moves_the_cursor_with_acknowledgements_over_tls() {
    let world = world();
    let peer = Peer::start_tls(Manners::default(), &world.good.certificate, &world.good.key);
    let Some(mut site) = site(&peer, true, "20s") else { return };
    let authority = world.authority.file.to_str().expect("a path");
    site.set("BRIDGE__PUSH__CA_FILE", authority);
    delivers(site, &peer);
}

#[test]
fn an_instance_that_is_killed_in_mid_stream_loses_nothing() {
    let peer = Peer::start(Manners::default());
    let Some(site) = site(&peer, true, "20s") else { return };
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    let flow = Flow::default();
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| flow.run(&site, 50));
        let ends = flow.ends();
        for _ in 0..3 {
            let before = peer.seen(|seen| seen.messages.len());
            peer.wait("messages come", |seen| seen.messages.len() > before + 50);
            bridge.kill();
            bridge.start_again();
            bridge.wait_lanes(LANES);
        }
        drop(ends);
        sending.join().expect("sending does not panic");
    });
    all_arrived(&site, &peer);
    check::all(&site);
    bridge.end();
}

#[test]
fn lanes_that_move_between_instances_and_a_peer_that_breaks_off_lose_nothing() {
    let peer = Peer::start(Manners::default());
    let Some(site) = site(&peer, true, "20s") else { return };
    let first = site.start();
    first.wait_lanes(LANES);
    let flow = Flow::default();
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| flow.run(&site, 50));
        let ends = flow.ends();
        let more = || {
            let before = peer.seen(|seen| seen.messages.len());
            peer.wait("messages come", |seen| seen.messages.len() > before + 50);
        };
        more();
        let second = site.start();
        second.wait_some_lanes();
        more();
        peer.order(Order::Reset);
        more();
        first.end();
        second.wait_lanes(LANES);
        more();
        first.start_again();
        first.wait_some_lanes();
        peer.order(Order::Reset);
        more();
        second.kill();
        first.wait_lanes(LANES);
        more();
        drop(ends);
        sending.join().expect("sending does not panic");
    });
    assert!(peer.seen(|seen| seen.opened) >= 5);
    all_arrived(&site, &peer);
    check::all(&site);
    first.end();
}
