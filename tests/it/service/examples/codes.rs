//! What the clients make of each code that a bridge may close with, said by a stand-in that says nothing else wrong:
//! a real bridge closes by most of them only under loads and faults.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::http::HeaderValue;
use tungstenite::protocol::CloseFrame;
use tungstenite::{Message, WebSocket};

use super::follower::{Given, Kind, messages, token_file};
use crate::servers::{Program, Server as _, Servers};

/// How often it is looked whether a client comes, and how long somebody may say nothing.
const LOOK: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(40);

/// How a connection ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// With a code.
    Code(u16),
    /// It breaks off.
    Broken,
    /// It does not become a socket.
    Status(&'static str),
}

/// After all but the last a client comes again.
const ENDS: [End; 11] = [
    End::Code(1012),
    End::Broken,
    End::Code(4008),
    End::Status("429 Too Many Requests\r\nRetry-After: 2"),
    End::Code(1013),
    End::Code(4001),
    End::Code(1011),
    End::Status("503 Service Unavailable"),
    End::Code(1008),
    End::Code(1001),
    End::Code(4009),
];

/// The next connection of a client, which must not have ended; it is looked for so often.
fn accept(listener: &TcpListener, client: &Program, look: Duration) -> TcpStream {
    loop {
        if let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(false).expect("set");
            stream.set_read_timeout(Some(PATIENCE)).expect("set");
            return stream;
        }
        assert!(client.runs(), "it comes no more:\n{}", client.complaints());
        std::thread::sleep(look);
    }
}

/// The next connection that asks for a socket; tickets are given out before.
fn next(listener: &TcpListener, client: &Program) -> TcpStream {
    loop {
        let mut stream = accept(listener, client, LOOK);
        let mut head = [0; 4];
        // Whoever hangs up without a word was nobody; whoever speaks says more than that at once.
        if stream.peek(&mut head).is_ok_and(|length| length < head.len()) {
            continue;
        }
        if &head != b"POST" {
            return stream;
        }
        let mut bytes = [0; 4_096];
        let length = stream.read(&mut bytes).expect("they ask");
        assert!(bytes[..length].starts_with(b"POST /api/v1/tickets HTTP/1.1\r\n"));
        let body = r#"{"ticket":"once","expires_in":30}"#;
        let answer = format!(
            "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).expect("they listen");
    }
}

#[expect(clippy::result_large_err, clippy::unnecessary_wraps, reason = "so the library has it")]
fn speak(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let asked = request.headers()["sec-websocket-protocol"].to_str().expect("a text");
    let asked: Vec<&str> = asked.split(',').map(str::trim).collect();
    assert!(matches!(asked[..], ["neuros.v1"] | ["neuros.v1", "ticket.once"]), "{asked:?}");
    let protocol = HeaderValue::from_static("neuros.v1");
    response.headers_mut().insert("sec-websocket-protocol", protocol);
    Ok(response)
}

fn say(socket: &mut WebSocket<TcpStream>, message: &Value) {
    socket.send(Message::text(message.to_string())).expect("they listen");
}

/// A change of Ada's, as far as anybody looks at it.
fn change(n: usize) -> Value {
    json!({ "type": "mode_switch", "user_id": "ada", "n": n, "message_id": format!("m{n}"), "mode": "reflex" })
}

/// Holds one connection to its end; by now the client has had `newest` changes.
fn hold(listener: &TcpListener, client: &Program, newest: usize, end: End) {
    let mut stream = next(listener, client);
    if let End::Status(status) = end {
        let mut bytes = [0; 4_096];
        assert!(stream.read(&mut bytes).expect("they ask") > 0);
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        stream.write_all(answer.as_bytes()).expect("they listen");
        return;
    }
    let mut socket = tungstenite::accept_hdr(stream, speak).expect("a handshake");
    let said = socket.read().expect("they subscribe").into_text().expect("text");
    let said: Value = serde_json::from_str(&said).expect("JSON");
    let wanted = json!({ "type": "subscribe", "users": ["ada"], "after": { "ada": newest } });
    assert_eq!(said, wanted, "before {end:?}");
    say(&mut socket, &json!({ "type": "status", "user_id": null, "status": "fresh" }));
    say(
        &mut socket,
        &json!({ "type": "snapshot", "user_id": "ada", "n": newest, "seq": newest, "mode": "reflex", "status": "fresh" }),
    );
    say(&mut socket, &json!({ "type": "of a later version", "n": 1_000 }));
    // What was there before comes once more, as it may.
    for n in 1..=newest + 1 {
        say(&mut socket, &change(n));
    }
    if let End::Code(code) = end {
        let frame = CloseFrame { code: code.into(), reason: "because".into() };
        socket.close(Some(frame)).expect("they listen");
        while socket.read().is_ok() {}
    }
}

/// A client, and where it comes to.
fn started(kind: Kind) -> (TcpListener, Program) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    listener.set_nonblocking(true).expect("set");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let token_file = token_file("a token");
    let client = kind.start(&Given { bridge: &url, token_file: &token_file, users: &["ada"] });
    (listener, client)
}

fn answers(kind: Kind) {
    if !Servers::available_for_examples() {
        return;
    }
    let (listener, client) = started(kind);
    let mut newest = 0;
    for end in ENDS {
        hold(&listener, &client, newest, end);
        newest += usize::from(!matches!(end, End::Status(_)));
    }
    assert_eq!(client.wait_ended().code(), Some(77), "{}", client.complaints());
    let lines = client.lines();
    let changes: Vec<Value> =
        messages(&lines).filter(|message| message["type"] == "mode_switch").collect();
    assert_eq!(changes, (1..=newest).map(change).collect::<Vec<Value>>(), "each once");
    assert!(messages(&lines).all(|message| message["type"] != "of a later version"));
    let complaints = client.complaints();
    for why in
        ["restarted", "too slowly", "no room", "our token", "stored", "nothing of us for 60 s"]
    {
        assert!(complaints.contains(why), "{why}: {complaints}");
    }
    // Whoever is asked to wait does; all that go away by themselves have a part of a second more by chance.
    let waits =
        complaints.lines().filter_map(|line| line.split_once(": again in ")?.1.split(' ').next());
    let waits: Vec<f64> = waits.map(|wait| wait.parse().expect("seconds")).collect();
    assert_eq!(waits.len(), ENDS.len() - 1);
    if kind != Kind::Browser {
        assert!(waits[3] >= 2.0, "Retry-After: {waits:?}");
    }
    assert!(waits[4] >= 1.0 && waits.iter().all(|wait| *wait <= 6.0), "{waits:?}");
}

#[test]
fn the_client_in_python_does_what_each_code_asks() {
    answers(Kind::Python);
}

#[test]
fn the_client_in_typescript_does_what_each_code_asks() {
    answers(Kind::Node);
}

#[test]
fn the_client_that_enters_like_a_browser_does_what_each_code_asks() {
    answers(Kind::Browser);
}

/// As a proxy does with nobody behind it: `fetch` in Node must not lose sight of it, which it can for a millisecond of
/// its first connection.
#[test]
fn a_client_that_is_hung_up_on_without_a_word_comes_again() {
    if !Servers::available_for_examples() {
        return;
    }
    for kind in [Kind::Python, Kind::Node, Kind::Browser] {
        let (listener, client) = started(kind);
        drop(accept(&listener, &client, Duration::from_micros(50)));
        hold(&listener, &client, 0, End::Code(4009));
        assert_eq!(client.wait_ended().code(), Some(77), "{kind:?}: {}", client.complaints());
    }
}

#[test]
fn a_client_whose_ticket_breaks_off_asks_for_another() {
    if !Servers::available_for_examples() {
        return;
    }
    let (listener, client) = started(Kind::Browser);
    let mut stream = accept(&listener, &client, LOOK);
    let mut bytes = [0; 4_096];
    assert!(stream.read(&mut bytes).expect("they ask") > 0);
    let half = "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 33\r\n\r\n{\"tick";
    stream.write_all(half.as_bytes()).expect("they listen");
    drop(stream);
    hold(&listener, &client, 0, End::Code(4009));
    assert_eq!(client.wait_ended().code(), Some(77), "{}", client.complaints());
}
