//! A client of `/ws` that keeps what it was sent, and sees that no number is missing and none comes back.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest as _;
use tungstenite::handshake::client::Request;
use tungstenite::{Error, Message, WebSocket};

use crate::servers::Bridge;
use crate::service::site::Site;

/// How long something is waited for.
const PATIENCE: Duration = Duration::from_secs(40);

/// A socket.
pub(in crate::service) struct Socket {
    pub(in crate::service) socket: WebSocket<TcpStream>,
}

/// What a socket has come to.
#[derive(Debug, PartialEq)]
pub(in crate::service) enum Came {
    Message(Value),
    Closed(u16, String),
    /// The connection broke off.
    Broken,
    /// Nothing, for as long as was waited.
    Nothing,
}

/// The request of a handshake, with these lines in its head.
pub(in crate::service) fn request(
    bridge: &Bridge,
    path: &str,
    lines: &[(&'static str, &str)],
) -> Request {
    let url = format!("ws://{}{path}", bridge.address());
    let mut request = url.into_client_request().expect("a request");
    for (name, value) in lines {
        request.headers_mut().append(*name, value.parse().expect("a value"));
    }
    request
}

/// Opens a socket; the error is the status of the answer that refuses it.
pub(in crate::service) fn open_with(
    request: Request,
    address: std::net::SocketAddr,
) -> Result<Socket, u16> {
    let stream = TcpStream::connect(address).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    match tungstenite::client(request, stream) {
        Ok((socket, answer)) => {
            let spoken = &answer.headers()["sec-websocket-protocol"];
            assert_eq!(spoken, "neuros.v1");
            Ok(Socket { socket })
        }
        Err(tungstenite::HandshakeError::Failure(Error::Http(answer))) => {
            Err(answer.status().as_u16())
        }
        Err(error) => panic!("no handshake: {error}"),
    }
}

/// Opens one with a token.
pub(in crate::service) fn open(bridge: &Bridge, token: &str) -> Socket {
    let bearer = format!("Bearer {token}");
    let lines = [("authorization", bearer.as_str()), ("sec-websocket-protocol", "neuros.v1")];
    open_with(request(bridge, "/ws", &lines), bridge.address()).expect("a socket")
}

impl Socket {
    pub(in crate::service) fn say(&mut self, message: &Value) {
        self.socket.send(Message::text(message.to_string())).expect("sent");
    }

    /// What comes next, within a time.
    pub(in crate::service) fn next_within(&mut self, patience: Duration) -> Came {
        #[expect(clippy::disallowed_methods, reason = "somebody waits for a real socket")]
        let until = Instant::now() + patience;
        loop {
            // Pings come all the time, and must not make it wait for ever.
            #[expect(clippy::disallowed_methods, reason = "somebody waits for a real socket")]
            let left = until.saturating_duration_since(Instant::now());
            let left = left.max(Duration::from_millis(1));
            self.socket.get_ref().set_read_timeout(Some(left)).expect("set");
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    return Came::Message(serde_json::from_str(&text).expect("JSON"));
                }
                Ok(Message::Close(Some(frame))) => {
                    return Came::Closed(frame.code.into(), frame.reason.to_string());
                }
                Ok(Message::Ping(_) | Message::Pong(_)) if left.as_millis() > 1 => {}
                Ok(Message::Ping(_) | Message::Pong(_)) => return Came::Nothing,
                Ok(other) => panic!("{other:?}"),
                Err(Error::Io(error))
                    if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) =>
                {
                    return Came::Nothing;
                }
                Err(_) => return Came::Broken,
            }
        }
    }

    /// What comes next.
    pub(in crate::service) fn next(&mut self) -> Came {
        self.next_within(PATIENCE)
    }

    /// The next message.
    pub(in crate::service) fn message(&mut self) -> Value {
        match self.next() {
            Came::Message(message) => message,
            other => panic!("no message: {other:?}"),
        }
    }

    /// The code that it is closed with, whatever comes before.
    pub(in crate::service) fn code(&mut self) -> u16 {
        self.closed().0
    }

    /// The same, and why.
    pub(in crate::service) fn closed(&mut self) -> (u16, String) {
        loop {
            match self.next() {
                Came::Message(_) => {}
                Came::Closed(code, why) => return (code, why),
                other => panic!("not closed: {other:?}"),
            }
        }
    }
}

/// What a client knows of users, over any number of sockets.
#[derive(Default)]
pub(crate) struct Known {
    /// By user and number.
    pub(crate) messages: BTreeMap<(String, i64), Value>,
    pub(crate) newest: BTreeMap<String, i64>,
    pub(crate) cursor: Option<String>,
    pub(crate) repeated: usize,
}

impl Known {
    /// Takes a message, which must follow on what is known of its user, or be known.
    pub(crate) fn take(&mut self, mut message: Value) {
        let kind = message["type"].as_str().expect("a type").to_owned();
        if let Some(cursor) = message.as_object_mut().and_then(|fields| fields.remove("cursor")) {
            self.cursor = Some(cursor.as_str().expect("a text").to_owned());
        }
        if kind == "snapshot" || kind == "status" {
            return;
        }
        let user_id = message["user_id"].as_str().expect("a user").to_owned();
        let n = message["n"].as_i64().expect("a number");
        let newest = self.newest.entry(user_id.clone()).or_default();
        if n <= *newest {
            self.repeated += 1;
            assert_eq!(self.messages.get(&(user_id, n)), Some(&message), "a repeat is the same");
            return;
        }
        assert_eq!(n, *newest + 1, "a hole before {n} of {user_id}");
        *newest = n;
        self.messages.insert((user_id, n), message);
    }

    /// What to ask for to go on with these users.
    pub(crate) fn after(&self, users: &[&str]) -> Value {
        let after = users
            .iter()
            .map(|user| ((*user).to_owned(), json!(self.newest.get(*user).copied().unwrap_or(0))));
        Value::Object(after.collect())
    }

    /// Checks that all is known that the store holds of these users, and nothing else.
    pub(crate) fn equals_store(&self, site: &Site<'_>, is_theirs: impl Fn(&str) -> bool) {
        let stored = all_stored(site, is_theirs);
        assert_eq!(self.messages.len(), stored.len(), "messages known and stored");
        assert!(self.messages == stored, "each as it is stored");
    }
}

/// All messages that the store holds of these users, by user and number.
pub(crate) fn all_stored(
    site: &Site<'_>,
    is_theirs: impl Fn(&str) -> bool,
) -> BTreeMap<(String, i64), Value> {
    let mut stored = BTreeMap::new();
    for what in ["transitions", "alerts"] {
        for line in site.run(&["export", what]).lines() {
            let mut message: Value = serde_json::from_str(line).expect("JSON");
            if what == "transitions" {
                message.as_object_mut().expect("an object").remove("explanation");
            }
            let user_id = message["user_id"].as_str().expect("a user").to_owned();
            if is_theirs(&user_id) {
                let n = message["n"].as_i64().expect("a number");
                stored.insert((user_id, n), message);
            }
        }
    }
    assert!(!stored.is_empty());
    stored
}

/// How many messages the store holds.
pub(crate) fn stored(site: &Site<'_>) -> usize {
    let count =
        "SELECT (SELECT count(*) FROM mode_transitions) + (SELECT count(*) FROM alert_changes)";
    usize::try_from(site.number(count)).expect("a count")
}
