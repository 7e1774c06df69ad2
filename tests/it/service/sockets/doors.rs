//! Who is let in, by what, and with what code everybody else is sent away.

use std::time::Duration;

use serde_json::{Value, json};

use super::client::{Came, Known, open, open_with, request};
use super::following::site;
use crate::servers::Bridge;
use crate::service::http::issuer::{self, SigningKey, trust};
use crate::service::http::office::{Office, ask_as};

/// An installation that knows an issuer, and one page.
pub(super) fn office(key: &SigningKey) -> Office {
    let mut office = Office::new();
    trust(&mut office, &[key]);
    office.set("BRIDGE__HTTP__ORIGINS", "https://app.example");
    office.set("BRIDGE__AUTH__LEEWAY", "0s");
    office
}

pub(super) const SPOKEN: (&str, &str) = ("sec-websocket-protocol", "neuros.v1");

/// A ticket for whom a token names.
pub(super) fn ticket(bridge: &Bridge, token: &str) -> String {
    let line = format!("Authorization: Bearer {token}\r\nContent-Length: 0");
    let answer = ask_as(bridge, "POST", "/api/v1/tickets", &[line]);
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.json()["expires_in"], 30);
    answer.json()["ticket"].as_str().expect("a ticket").to_owned()
}

#[test]
fn a_ticket_opens_one_socket_for_whom_it_was_given() {
    let key = SigningKey::elliptic("e");
    let office = office(&key);
    let bridge = office.open();
    let given = ticket(&bridge, &key.token("ada", "self"));
    let path = format!("/ws?ticket={given}");
    let enter = |path: &str| {
        let lines = [SPOKEN, ("origin", "https://app.example")];
        open_with(request(&bridge, path, &lines), bridge.address()).expect("a socket")
    };
    let mut socket = enter(&path);
    socket.say(&json!({ "type": "subscribe", "users": ["ada"] }));
    assert_eq!(socket.message()["type"], "snapshot");
    assert_eq!(enter(&path).code(), 4001, "it was used");
    assert_eq!(enter("/ws?ticket=canary").code(), 4001);
    let other = ticket(&bridge, &key.token("ada", "self"));
    let mut socket = enter(&format!("/ws?ticket={other}"));
    socket.say(&json!({ "type": "subscribe", "users": ["bob"] }));
    assert_eq!(socket.code(), 4003, "it opens no more than her token does");
    let nobody = ask_as(&bridge, "POST", "/api/v1/tickets", &["Content-Length: 0".to_owned()]);
    assert_eq!(nobody.status, 401);
    assert!(!bridge.log().contains(&given), "nothing tells a ticket");
    bridge.end();
}

#[test]
fn a_ticket_is_good_for_half_a_minute_and_kept_sealed() {
    let key = SigningKey::elliptic("e");
    let Some(site) = site(&key) else { return };
    let bridge = site.start();
    bridge.wait_ready();
    let given = ticket(&bridge, &key.token("ada", "self"));
    let lasts = "SELECT expires_at BETWEEN now() + interval '25 s' AND now() + interval '30 s'
                 FROM socket_tickets";
    assert_eq!(site.sql(lasts), "t");
    let clear = "SELECT position('ada'::bytea IN identity) + position('subject'::bytea IN identity)
                 FROM socket_tickets";
    assert_eq!(site.sql(clear), "0", "for whom it is, is sealed");
    site.sql("UPDATE socket_tickets SET expires_at = now() - interval '1 s'");
    let path = format!("/ws?ticket={given}");
    let mut socket = open_with(request(&bridge, &path, &[SPOKEN]), bridge.address()).expect("open");
    assert_eq!(socket.code(), 4001);
    ticket(&bridge, &key.token("ada", "self"));
    assert_eq!(site.sql("SELECT count(*) FROM socket_tickets"), "1", "old ones are forgotten");
    bridge.end();
}

#[test]
fn whoever_has_no_ticket_asks_the_store_for_nothing_and_nobody_waits_for_it_for_long() {
    let key = SigningKey::elliptic("e");
    let Some(site) = site(&key) else { return };
    let bridge = site.start();
    bridge.wait_ready();
    let given = ticket(&bridge, &key.token("ada", "self"));
    let enter = |ticket: &str| {
        let path = format!("/ws?ticket={ticket}");
        open_with(request(&bridge, &path, &[SPOKEN]), bridge.address())
    };
    let mut session = site.postgres.session(&site.database);
    session.run("BEGIN; LOCK TABLE socket_tickets IN ACCESS EXCLUSIVE MODE");
    for made_up in ["x", &given[1..], &format!("{given}AAAA")] {
        assert_eq!(enter(made_up).expect("open").code(), 4001, "without the store");
    }
    let asked = issuer::now();
    assert_eq!(enter(&given).err(), Some(503));
    let waited = issuer::now() - asked;
    assert!(waited < 9, "the store itself is given up after 20 s: {waited}");
    session.run("ROLLBACK");
    bridge.end();
}

#[test]
fn who_opens_a_socket_says_who_they_are_what_they_speak_and_from_where() {
    let key = SigningKey::elliptic("e");
    let office = office(&key);
    let bridge = office.open();
    let bearer = format!("Bearer {}", key.token("ada", "self"));
    let known = ("authorization", bearer.as_str());
    let status = |lines: &[(&'static str, &str)]| {
        open_with(request(&bridge, "/ws", lines), bridge.address()).err()
    };
    assert_eq!(status(&[known, SPOKEN]), None);
    assert_eq!(status(&[known, SPOKEN, ("origin", "https://app.example")]), None);
    for origin in ["https://evil.example", "null", "http://app.example", "https://app.example.evil"]
    {
        assert_eq!(status(&[known, SPOKEN, ("origin", origin)]), Some(403), "{origin}");
    }
    assert_eq!(status(&[known, ("sec-websocket-protocol", "graphql")]), Some(400));
    let stranger = format!("Bearer {}", SigningKey::elliptic("e").token("ada", "self"));
    for lines in [&[SPOKEN][..], &[SPOKEN, ("authorization", &stranger)]] {
        let mut socket = open_with(request(&bridge, "/ws", lines), bridge.address()).expect("open");
        assert_eq!(socket.code(), 4001);
    }
    let plain = ask_as(&bridge, "GET", "/ws", &[format!("Authorization: {bearer}")]);
    assert_eq!((plain.status, plain.headers["upgrade"].as_str()), (426, "websocket"));
    assert_eq!(bridge.metric("biometric_sockets_closed_total{code=\"4001\"}"), 2.0);
    bridge.end();
}

#[test]
fn whoever_asks_for_what_they_may_not_see_or_for_nothing_that_can_be_is_closed() {
    let key = SigningKey::elliptic("e");
    let mut office = office(&key);
    office.set("BRIDGE__HTTP__SOCKET_USERS_MAX", "3");
    let bridge = office.open();
    let said = |scope: &str, message: &str| {
        let mut socket = open(&bridge, &key.token("ada", scope));
        socket.socket.send(tungstenite::Message::text(message.to_owned())).expect("sent");
        match socket.next() {
            Came::Closed(code, said) => {
                assert!(!said.contains("canary"), "{said}");
                code
            }
            Came::Message(_) => 0,
            other => panic!("{other:?}"),
        }
    };
    for (scope, users, code) in [
        ("self", json!(["ada"]), 0),
        ("self", json!(["canary"]), 4003),
        ("self", json!(["ada", "canary"]), 4003),
        ("self", json!("*"), 4003),
        ("care:bob", json!(["bob"]), 0),
        ("care:bob", json!("*"), 4003),
        ("auditor", json!(["ada"]), 4003),
        ("operator", json!("*"), 0),
        ("operator", json!(["a", "b", "c"]), 0),
        ("operator", json!(["a", "b", "c", "d"]), 4009),
        ("operator", json!([]), 4009),
        ("operator", json!([""]), 4009),
        ("operator", json!(["n".repeat(256)]), 4009),
    ] {
        let message = json!({ "type": "subscribe", "users": users });
        assert_eq!(said(scope, &message.to_string()), code, "{scope}: {message}");
    }
    for message in ["", "canary", "{}", "[1]", r#"{"type":"canary"}"#, "\u{0}"] {
        assert_eq!(said("operator", message), 4009, "{message}");
    }
    assert_eq!(said("operator", &"x".repeat(600 << 10)), 4009, "longer than any that can be");
    let mut socket = open(&bridge, &key.token("ada", "self"));
    socket.socket.send(tungstenite::Message::binary(vec![1, 2])).expect("sent");
    assert_eq!(socket.code(), 4009);
    bridge.end();
}

const EXPIRED: &str = "the token has expired, or was withdrawn";

#[test]
fn a_socket_ends_when_a_token_of_our_own_is_withdrawn() {
    let mut office = Office::new();
    let make = |name: &str| {
        let made = crate::support::bridge(&["tokens", "new", name, "operator"]).output();
        let said = String::from_utf8(made.expect("it starts").stdout).expect("text");
        let lines: Vec<String> = said.lines().map(|line| line.trim().to_owned()).collect();
        (lines[1].clone(), format!("{}\n", lines[3]))
    };
    let (mut token, line) = make("night-shift");
    let file = office.file("tokens", &line);
    office.set("BRIDGE__AUTH__TOKENS_FILE", &file);
    let bridge = office.open();
    // By a token of the same name and scopes, by a token of another name, and by none.
    let next = [make("night-shift"), make("day-shift"), (String::new(), String::new())];
    for (after, line) in next {
        let given = ticket(&bridge, &token);
        let path = format!("/ws?ticket={given}");
        let by_ticket = open_with(request(&bridge, &path, &[SPOKEN]), bridge.address());
        let mut sockets = [open(&bridge, &token), by_ticket.expect("a socket")];
        for socket in &mut sockets {
            socket.say(&json!({ "type": "subscribe", "users": "*" }));
            assert_eq!(socket.message()["type"], "status");
        }
        std::fs::write(&file, &line).expect("written");
        for mut socket in sockets {
            assert_eq!(socket.next(), Came::Closed(4001, EXPIRED.to_owned()));
        }
        token = after;
    }
    bridge.end();
}

#[test]
fn a_socket_ends_with_its_token() {
    let key = SigningKey::elliptic("e");
    let bridge = office(&key).open();
    let mut claims = issuer::claims("ada", "self");
    claims["exp"] = json!(issuer::now() + 3);
    let mut socket = open(&bridge, &key.sign(&claims));
    socket.say(&json!({ "type": "subscribe", "users": ["ada"] }));
    assert_eq!(socket.message()["type"], "snapshot");
    assert_eq!(socket.next(), Came::Closed(4001, EXPIRED.to_owned()));
    bridge.end();
}

#[test]
fn a_ticket_opens_nothing_once_the_token_has_ended_for_which_it_was_given() {
    let key = SigningKey::elliptic("e");
    let bridge = office(&key).open();
    let mut claims = issuer::claims("ada", "self");
    let end = issuer::now() + 2;
    claims["exp"] = json!(end);
    let given = ticket(&bridge, &key.sign(&claims));
    while issuer::now() <= end {
        std::thread::sleep(Duration::from_millis(50));
    }
    let path = format!("/ws?ticket={given}");
    let mut socket = open_with(request(&bridge, &path, &[SPOKEN]), bridge.address()).expect("open");
    let said = "the token is not accepted: unknown".to_owned();
    assert_eq!(socket.next(), Came::Closed(4001, said), "before anything is asked");
    bridge.end();
}

#[test]
fn nobody_follows_whom_it_cannot_be_written_down_that_they_follow() {
    let key = SigningKey::elliptic("e");
    let Some(site) = site(&key) else { return };
    let bridge = site.start();
    bridge.wait_ready();
    let mut known = Known::default();
    site.sql("ALTER TABLE phi_access_log RENAME TO elsewhere");
    let mut socket = open(&bridge, &key.token("ada", "self"));
    socket.say(&json!({ "type": "subscribe", "users": ["ada"], "after": { "ada": 0 } }));
    let ended = socket.next();
    assert_eq!(ended, Came::Closed(1013, "it cannot be written down who follows".to_owned()));
    site.sql("ALTER TABLE elsewhere RENAME TO phi_access_log");
    let mut socket = open(&bridge, &key.token("ada", "self"));
    socket.say(&json!({ "type": "subscribe", "users": ["ada"], "after": { "ada": 0 } }));
    known.take(socket.message());
    bridge.end();
}

#[test]
fn that_a_socket_has_ended_is_written_down_once_it_can_be() {
    let key = SigningKey::elliptic("e");
    let Some(site) = site(&key) else { return };
    let bridge = site.start();
    bridge.wait_ready();
    let mut socket = open(&bridge, &key.token("ops", "operator"));
    socket.say(&json!({ "type": "subscribe", "users": ["ada", "bob"] }));
    for _ in 0..2 {
        assert_eq!(socket.message()["type"], "snapshot");
    }
    site.sql("ALTER TABLE phi_access_log RENAME TO elsewhere");
    drop(socket);
    bridge.wait_log("ends of subscriptions are not in phi_access_log yet");
    site.sql("ALTER TABLE elsewhere RENAME TO phi_access_log");
    site.wait_sql(
        "SELECT count(*) = 2 AND count(DISTINCT user_id) = 2 FROM phi_access_log
         WHERE access_type = 'SUBSCRIPTION ENDED'",
    );
    bridge.end();
}

#[test]
fn a_service_that_ends_tells_every_socket_to_come_again() {
    let key = SigningKey::elliptic("e");
    let Some(site) = site(&key) else { return };
    let bridge = site.start();
    bridge.wait_ready();
    let mut sockets: Vec<_> = (0..5).map(|_| open(&bridge, &key.token("ada", "self"))).collect();
    for socket in &mut sockets {
        socket.say(&json!({ "type": "subscribe", "users": ["ada"] }));
        assert_eq!(socket.message()["mode"], Value::Null);
    }
    std::thread::scope(|scope| {
        let ending = scope.spawn(|| bridge.end());
        for socket in &mut sockets {
            assert_eq!(socket.code(), 1012);
        }
        ending.join().expect("it ends in order");
    });
    let ended = "SELECT count(*) FROM phi_access_log WHERE access_type = 'SUBSCRIPTION ENDED'";
    assert_eq!(site.number(ended), 5, "that they ended is written down before the service is gone");
}
