//! What the clients make of being sent away by a real bridge, and of a token that ends.

use serde_json::json;

use super::follower::{Given, Kind, renew, snapshots, token_file};
use crate::servers::Servers;
use crate::service::http::issuer::{SigningKey, claims, now, trust};
use crate::service::http::office::Office;

const KINDS: [Kind; 3] = [Kind::Python, Kind::Node, Kind::Browser];

fn office(key: &SigningKey) -> Office {
    let mut office = Office::new();
    trust(&mut office, &[key]);
    office.set("BRIDGE__AUTH__LEEWAY", "0s");
    office.set("BRIDGE__HTTP__SOCKET_USERS_MAX", "2");
    office
}

#[test]
fn a_client_that_may_not_or_cannot_be_understood_gives_up_and_says_why() {
    if !Servers::available_for_examples() {
        return;
    }
    let key = SigningKey::elliptic("e");
    let bridge = office(&key).open();
    let url = format!("http://{}", bridge.address());
    let stranger = SigningKey::elliptic("e").token("ada", "self");
    let (own, all) = (key.token("ada", "self"), key.token("ops", "operator"));
    for (token, users, why) in [
        (&own, &["bob"][..], "given up: we may not see one of these users"),
        (&all, &["a", "b", "c"], "given up: the bridge does not understand what we ask"),
        (&stranger, &["ada"], "given up: the bridge does not know our token"),
    ] {
        let token_file = token_file(token);
        let given = Given { bridge: &url, token_file: &token_file, users };
        for client in KINDS.map(|kind| kind.start(&given)) {
            let status = client.wait_ended();
            let complaints = client.complaints();
            assert_eq!((status.code(), client.lines().len()), (Some(77), 0), "{complaints}");
            let last = complaints.lines().last().unwrap_or_default();
            assert!(last.starts_with(why), "{complaints}");
            assert!(!complaints.contains(token.as_str()), "nothing tells a token");
        }
    }
    bridge.end();
}

#[test]
fn a_client_whose_token_has_ended_goes_on_with_the_next_one() {
    if !Servers::available_for_examples() {
        return;
    }
    let key = SigningKey::elliptic("e");
    let bridge = office(&key).open();
    let url = format!("http://{}", bridge.address());
    let mut short = claims("ada", "self");
    short["exp"] = json!(now() + 10);
    let token_file = token_file(&key.sign(&short));
    let given = Given { bridge: &url, token_file: &token_file, users: &["ada"] };
    let clients = KINDS.map(|kind| kind.start(&given));
    for client in &clients {
        client.wait_lines("a snapshot", |lines| snapshots(lines) == 1);
    }
    renew(&token_file, &key.token("ada", "self"));
    for client in &clients {
        client.wait_lines("another snapshot", |lines| snapshots(lines) == 2);
        assert!(client.complaints().starts_with("the bridge does not know our token"));
    }
    bridge.end();
}

#[test]
fn every_client_explains_itself() {
    if !Servers::available_for_examples() {
        return;
    }
    for kind in KINDS {
        let help = kind.help();
        for option in ["--bridge", "--token-file", "--positions", "--all", "--json"] {
            assert!(help.contains(option), "{option}: {help}");
        }
    }
}
