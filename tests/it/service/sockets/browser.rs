//! What pages in browsers can do: ask for a ticket across origins, and open a socket with it. A page of an origin that
//! the settings do not name can do neither.

use serde_json::json;

use super::client::{open_with, request};
use super::doors::{SPOKEN, office, ticket};
use crate::service::http::issuer::SigningKey;
use crate::service::http::office::{Answer, ask_as};

const TICKETS: &str = "/api/v1/tickets";
const PAGE: &str = "https://app.example";
const STRANGE: [&str; 5] = [
    "https://evil.example",
    "http://app.example",
    "https://app.example.evil",
    "https://app.example:8443",
    "null",
];

/// The page that a browser lets read an answer.
fn reader(answer: &Answer) -> Option<&str> {
    assert!(!answer.headers.contains_key("access-control-allow-credentials"), "{answer:?}");
    answer.headers.get("access-control-allow-origin").map(String::as_str)
}

#[test]
fn a_page_that_the_settings_name_may_ask_for_a_ticket_and_no_other_page_may() {
    let key = SigningKey::elliptic("e");
    let bridge = office(&key).open();
    let preflight = |path: &str, origin: &str| {
        let lines = [
            format!("Origin: {origin}"),
            "Access-Control-Request-Method: POST".to_owned(),
            "Access-Control-Request-Headers: authorization".to_owned(),
        ];
        ask_as(&bridge, "OPTIONS", path, &lines)
    };
    let may = preflight(TICKETS, PAGE);
    assert_eq!((may.status, may.body.as_str(), reader(&may)), (204, "", Some(PAGE)));
    assert_eq!(may.headers["access-control-allow-methods"], "POST");
    assert_eq!(may.headers["access-control-allow-headers"], "authorization, content-type");
    assert_eq!(may.headers["vary"], "Origin");
    for origin in STRANGE {
        let may = preflight(TICKETS, origin);
        assert_eq!((may.status, reader(&may)), (403, None), "{origin}");
        assert_eq!(may.headers["vary"], "Origin", "a cache gives that to nobody else");
    }
    for path in ["/api/v1/users/ada/state", "/api/v1/policy", "/metrics", "/ws"] {
        let may = preflight(path, PAGE);
        assert_eq!((may.status, reader(&may)), (405, None), "{path}");
    }
    let no_page = ask_as(&bridge, "OPTIONS", TICKETS, &[]);
    assert_eq!((no_page.status, no_page.headers["allow"].as_str()), (405, "POST"));

    let token = format!("Authorization: Bearer {}", key.token("ada", "self"));
    let ask = |query: &str, lines: &[&str]| {
        let lines: Vec<String> =
            lines.iter().chain(&["Content-Length: 0"]).map(|&line| line.to_owned()).collect();
        ask_as(&bridge, "POST", &format!("{TICKETS}{query}"), &lines)
    };
    let origin = format!("Origin: {PAGE}");
    let given = ask("", &[&token, &origin]);
    assert_eq!((given.status, reader(&given)), (201, Some(PAGE)));
    assert_eq!(given.headers["vary"], "Origin");
    let unknown = ask("", &[&origin]);
    assert_eq!((unknown.status, reader(&unknown)), (401, Some(PAGE)), "it is told why");
    let strange = ask("", &[&token, "Origin: https://evil.example"]);
    assert_eq!((strange.status, reader(&strange)), (201, None), "its browser keeps that from it");
    let no_page = ask("", &[&token]);
    assert_eq!((no_page.status, reader(&no_page)), (201, None));
    assert_eq!(no_page.headers["vary"], "Origin");
    let twice = ask("", &[&token, &origin, &origin]);
    assert_eq!(reader(&twice), None);
    let misspelt = ask("?users=ada", &[&token]);
    assert_eq!(misspelt.status, 400);
    assert_eq!(misspelt.detail(), "only these fields are known here: none");
    bridge.end();
}

#[test]
fn a_ticket_among_the_subprotocols_opens_a_socket_and_is_said_nowhere() {
    let key = SigningKey::elliptic("e");
    let bridge = office(&key).open();
    let enter = |path: &str, spoken: &str| {
        let lines = [("sec-websocket-protocol", spoken), ("origin", PAGE)];
        open_with(request(&bridge, path, &lines), bridge.address())
    };
    let given = ticket(&bridge, &key.token("ada", "self"));
    let spoken = format!("neuros.v1, ticket.{given}");
    let mut socket = enter("/ws", &spoken).expect("a socket");
    socket.say(&json!({ "type": "subscribe", "users": ["ada"] }));
    assert_eq!(socket.message()["type"], "snapshot");
    assert_eq!(enter("/ws", &spoken).expect("a socket").code(), 4001, "it was used");
    let other = ticket(&bridge, &key.token("ada", "self"));
    let mut socket = enter("/ws", &format!("ticket.{other}, neuros.v1")).expect("a socket");
    socket.say(&json!({ "type": "subscribe", "users": ["bob"] }));
    assert_eq!(socket.code(), 4003, "it opens no more than her token does");
    let both = format!("/ws?ticket={other}");
    for (path, spoken, status) in [
        (both.as_str(), spoken.as_str(), 400),
        ("/ws", "neuros.v1, ticket.a, ticket.b", 400),
        ("/ws?tiket=a", SPOKEN.1, 400),
        ("/ws", "ticket.a", 400),
    ] {
        assert_eq!(enter(path, spoken).err(), Some(status), "{path} {spoken}");
    }
    assert!(!bridge.log().contains(&given), "nothing tells a ticket");
    bridge.end();
}
