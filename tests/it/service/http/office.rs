//! A service on a SQLite file that never finds its topics: enough for whoever only asks it. And a client that
//! sends what it is told, well-formed or not.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use crate::servers::{Bridge, folder};
use crate::support::bridge;

/// What a service is started with.
pub(crate) struct Office {
    pub(crate) folder: PathBuf,
    environment: Vec<(String, String)>,
}

impl Office {
    /// One with a key file and a database of its own, which speaks in the clear.
    pub(crate) fn new() -> Self {
        let folder = folder().join(format!("office-{}", Uuid::new_v4().simple()));
        std::fs::create_dir(&folder).expect("there can be a folder");
        let keys = folder.join("keys.txt");
        let keys = keys.to_str().expect("a path");
        let made = bridge(&["keys", "generate", "--output", keys]).output().expect("it starts");
        assert!(made.status.success());
        let database = format!("sqlite:{}?mode=rwc", folder.join("bridge.db").display());
        let mut office = Self { folder, environment: Vec::new() };
        office.set("POSTGRES_URL", &database);
        office.set("KEY_FILE", keys);
        office.set("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1");
        office.set("BRIDGE__SECURITY__ALLOW_PLAINTEXT", "websocket");
        office
    }

    /// Sets a variable for what is started from now on.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.retain(|(its, _)| its != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Takes one away.
    pub(crate) fn unset(&mut self, name: &str) {
        self.environment.retain(|(its, _)| its != name);
    }

    /// The variables.
    pub(crate) fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    /// A file in its folder.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("a path").to_owned()
    }

    /// Starts the service, and waits until it can be asked.
    pub(crate) fn open(&self) -> Bridge {
        let bridge = Bridge::start(&["--migrate"], &self.environment);
        bridge.wait_until("at its store", |_, body| body["parts"]["keys"]["ok"] == true);
        bridge
    }
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// By name, in lower case; without the date, which says nothing.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Answer {
    /// The answer as it came over the wire, all of it.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        let headers = headers.filter(|(name, _)| name != "date").collect();
        Some(Self { status, headers, body: body.to_owned() })
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// What a problem document says.
    pub(crate) fn detail(&self) -> String {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{self:?}");
        assert_eq!(problem["type"], "about:blank");
        assert!(problem["title"].is_string());
        problem["detail"].as_str().expect("a detail").to_owned()
    }
}

/// Sends bytes as they are and gives what comes back until the other side ends.
pub(crate) fn send(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).expect("somebody listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    stream.write_all(bytes).expect("taken");
    let mut answer = Vec::new();
    // A connection that is reset has said what it had to say.
    drop(stream.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

/// Asks for a path, with these lines in the head.
pub(crate) fn ask_with(bridge: &Bridge, path: &str, lines: &[String]) -> Answer {
    ask_as(bridge, "GET", path, lines)
}

/// The same with another method.
pub(crate) fn ask_as(bridge: &Bridge, method: &str, path: &str, lines: &[String]) -> Answer {
    ask_saying(bridge, method, path, lines, "")
}

/// The same with a body.
pub(crate) fn ask_saying(
    bridge: &Bridge,
    method: &str,
    path: &str,
    lines: &[String],
    body: &str,
) -> Answer {
    let address = bridge.address();
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n");
    for line in lines {
        request.push_str(line);
        request.push_str("\r\n");
    }
    if !body.is_empty() {
        request.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    request.push_str("Connection: close\r\n\r\n");
    request.push_str(body);
    let answer = send(address, request.as_bytes());
    Answer::of(&answer).unwrap_or_else(|| panic!("no answer: {answer:?}"))
}

/// Asks for a path with a token.
pub(crate) fn ask(bridge: &Bridge, path: &str, token: &str) -> Answer {
    ask_with(bridge, path, &[format!("Authorization: Bearer {token}")])
}

/// The path of a user's state.
pub(crate) fn state_of(user_id: &str) -> String {
    format!("/api/v1/users/{user_id}/state")
}
