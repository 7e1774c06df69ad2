//! Those who may see somebody are shown them by every route, on a stream and over sockets. What they are shown is theirs;
//! what is said beside it is evidence.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use biometric_bridge::http::{Audience, ROUTES};
use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest as _;
use tungstenite::{Message, WebSocket};

use super::evidence::Evidence;
use super::plants::{TEXTS, person};
use crate::servers::Bridge;
use crate::service::http::issuer::SigningKey;
use crate::service::http::office::{ask, ask_as, ask_saying};

const PATIENCE: Duration = Duration::from_secs(40);

/// Asks for everything of somebody as they may: each route that shows health data must show it.
pub(super) fn shown(bridge: &Bridge, key: &SigningKey, evidence: &mut Evidence) {
    let user = person(1);
    let token = key.token(&user, "self");
    evidence.secret(&token);
    let line = [format!("Authorization: Bearer {token}")];
    let debug = [format!("Authorization: Bearer {}", key.token(&user, "self operator"))];
    for route in ROUTES.iter().filter(|route| route.audience == Audience::Readers) {
        let (mut path, mut body) = (route.pattern.replace("{user_id}", &user), "");
        if path.contains("{id}") {
            path = path.replace("{id}", &open_alert(bridge, &user, &token));
        }
        let line = if path.starts_with("/debug") { &debug } else { &line };
        match route.pattern.rsplit('/').next() {
            Some("timeline") => path += "?from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00Z",
            Some("snooze") => body = "{\"until\":\"2100-01-01T00:00:00Z\"}",
            Some("live") => {
                streamed(bridge, &path, &line[0]);
                continue;
            }
            _ => {}
        }
        let answer = ask_saying(bridge, route.method, &path, line, body);
        assert!([200, 202].contains(&answer.status), "{}: {answer:?}", route.pattern);
        evidence.answer(&format!("{} {}", route.method, route.pattern), &answer, true);
    }
}

/// The id of an alert that is open; there is one as long as somebody is strained.
fn open_alert(bridge: &Bridge, user: &str, token: &str) -> String {
    let path = format!("/api/v1/users/{user}/alerts?open=true");
    let answer = ask(bridge, &path, token);
    assert_eq!(answer.status, 200, "{answer:?}");
    let alerts = answer.json()["alerts"].clone();
    let newest = alerts.as_array().and_then(|alerts| alerts.last()).expect("one is open");
    newest["id"].as_str().expect("an id").to_owned()
}

/// Reads a stream until it has shown something, and breaks it off.
fn streamed(bridge: &Bridge, path: &str, line: &str) {
    let address = bridge.address();
    let mut stream = TcpStream::connect(address).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{line}\r\nLast-Event-ID: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("taken");
    let (mut read, mut piece) = (Vec::new(), [0; 4_096]);
    while !String::from_utf8_lossy(&read).contains("data: {") {
        let count = stream.read(&mut piece).expect("it goes on");
        assert!(count > 0, "{}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&piece[..count]);
    }
}

/// A socket, and the newest message that came by it.
pub(super) struct Follower {
    socket: WebSocket<TcpStream>,
    newest: i64,
}

impl Follower {
    /// Follows somebody from their first message on, and waits until one has come.
    pub(super) fn of(bridge: &Bridge, key: &SigningKey, user: &str) -> Self {
        let token = key.token(user, "self");
        let mut follower = Self::over(open(bridge, "/ws", Some(&token)));
        follower.say(&json!({ "type": "subscribe", "users": [user], "after": { user: 0 } }));
        follower.wait_for("mode_switch");
        follower
    }

    fn over(socket: WebSocket<TcpStream>) -> Self {
        Self { socket, newest: 0 }
    }

    fn say(&mut self, message: &Value) {
        self.socket.send(Message::text(message.to_string())).expect("sent");
    }

    /// Reads until all messages up to this number have come.
    pub(super) fn wait_up_to(&mut self, n: i64) {
        while self.newest < n {
            self.wait(|message| message["n"].is_i64());
        }
    }

    /// Reads until a message of this type comes.
    fn wait_for(&mut self, kind: &str) {
        self.wait(|message| message["type"] == kind);
    }

    fn wait(&mut self, is_it: impl Fn(&Value) -> bool) {
        loop {
            match self.socket.read().expect("it goes on") {
                Message::Text(text) => {
                    let message: Value = serde_json::from_str(&text).expect("JSON");
                    if message["type"] != "snapshot" {
                        self.newest = message["n"].as_i64().unwrap_or(self.newest);
                    }
                    if is_it(&message) {
                        return;
                    }
                }
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Why it is closed, in the other side's words.
    fn reason(mut self) -> String {
        loop {
            match self.socket.read() {
                Ok(Message::Close(Some(frame))) => {
                    return format!("{} {}", u16::from(frame.code), frame.reason);
                }
                Ok(_) => {}
                Err(error) => panic!("closed without a word: {error}"),
            }
        }
    }
}

/// Opens sockets in every way there is, says what is wrong in every way, and listens to why they are closed.
pub(super) fn closed(bridge: &Bridge, key: &SigningKey, evidence: &mut Evidence) {
    let (first, second) = (person(1), person(2));
    let token = key.token(&first, "self");
    let line = format!("Authorization: Bearer {token}\r\nContent-Length: 0");
    let given = ask_as(bridge, "POST", "/api/v1/tickets", &[line]);
    assert_eq!(given.status, 201, "{given:?}");
    let ticket = given.json()["ticket"].as_str().expect("a ticket").to_owned();
    evidence.secret(&ticket);
    let path = format!("/ws?ticket={ticket}");
    let subscribe = |users: Value| json!({ "type": "subscribe", "users": users });
    let planted = format!("{TEXTS}said");
    let wrong = [
        (subscribe(json!([second])), "4003"),
        (subscribe(json!("*")), "4003"),
        (json!({ "type": planted }), "4009"),
        (json!({ "type": "subscribe", "users": [first], "after": { &first: planted } }), "4009"),
        (
            json!({ "type": "subscribe", "users": [first], "after": { &second: 43.219_871 } }),
            "4009",
        ),
        (json!({ "type": "subscribe", "users": "*", "after": planted }), "4009"),
        (json!({ planted.clone(): first }), "4009"),
    ];
    let mut reasons = Vec::new();
    for (message, code) in wrong {
        let mut follower = Follower::over(open(bridge, "/ws", Some(&token)));
        follower.say(&message);
        let reason = follower.reason();
        assert!(reason.starts_with(code), "{code} {message}: {reason}");
        reasons.push(reason);
    }
    let mut by_ticket = Follower::over(open(bridge, &path, None));
    by_ticket.say(&subscribe(json!([first])));
    by_ticket.wait_for("snapshot");
    by_ticket.say(&json!({ "type": planted }));
    reasons.push(by_ticket.reason());
    for path in [path, format!("/ws?ticket={planted}"), "/ws".to_owned()] {
        reasons.push(Follower::over(open(bridge, &path, None)).reason());
    }
    evidence.said("why sockets were closed", reasons.join("\n"));
}

fn open(bridge: &Bridge, path: &str, token: Option<&str>) -> WebSocket<TcpStream> {
    let url = format!("ws://{}{path}", bridge.address());
    let mut request = url.into_client_request().expect("a request");
    let headers = request.headers_mut();
    headers.append("sec-websocket-protocol", "neuros.v1".parse().expect("a value"));
    if let Some(token) = token {
        headers.append("authorization", format!("Bearer {token}").parse().expect("a value"));
    }
    let stream = TcpStream::connect(bridge.address()).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    tungstenite::client(request, stream).expect("a socket").0
}
