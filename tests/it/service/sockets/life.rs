//! How long a socket lives: as long as its client is there, and no longer than the service, which says how it ends.

use std::io::Read as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use tungstenite::Message;

use super::client::{open, request};
use super::doors::office;
use super::following::site;
use crate::service::http::issuer::SigningKey;
use crate::service::http::tls::{issue, show};

/// A ping without anything in it, as it comes.
const PING: [u8; 2] = [0x89, 0];
/// The first byte of a frame that closes.
const CLOSE: u8 = 0x88;

#[test]
fn a_client_that_answers_stays_and_one_of_whom_nothing_is_heard_is_closed() {
    let key = SigningKey::elliptic("e");
    let mut office = office(&key);
    office.set("BRIDGE__HTTP__SOCKET_PING_EVERY", "200ms");
    office.set("BRIDGE__HTTP__SOCKET_SILENCE_MAX", "1s");
    let bridge = office.open();
    let token = key.token("ada", "self");
    let (mut silent, mut present) = (open(&bridge, &token), open(&bridge, &token));
    // Twice as long as anybody may be silent; whoever reads answers.
    for _ in 0..10 {
        let came = present.socket.read().expect("it is open");
        assert_eq!(came, Message::Ping(Vec::new().into()));
    }
    present.socket.send(Message::Ping("there?".into())).expect("sent");
    let answer = loop {
        match present.socket.read().expect("it is open") {
            Message::Ping(_) => {}
            other => break other,
        }
    };
    assert_eq!(answer, Message::Pong("there?".into()), "and is answered");
    assert_eq!(bridge.metric("biometric_sockets_closed_total{code=\"1008\"}"), 1.0);
    // Nobody has read this one, so nobody has answered: all that came is with the kernel.
    let mut came = Vec::new();
    silent.socket.get_mut().read_to_end(&mut came).expect("it is ended");
    let pings = came.chunks(2).take_while(|frame| *frame == PING).count();
    assert!((1..=6).contains(&pings), "{came:?}");
    let code = 1008_u16.to_be_bytes();
    let close = &came[pings * 2..];
    assert_eq!((close[0], &close[2..4]), (CLOSE, &code[..]), "{came:?}");
    bridge.end();
}

#[test]
fn whoever_ends_the_service_by_hand_tells_sockets_that_it_goes_away() {
    let key = SigningKey::elliptic("e");
    let Some(site) = site(&key) else { return };
    let bridge = site.start();
    bridge.wait_ready();
    let mut socket = open(&bridge, &key.token("ada", "self"));
    socket.say(&json!({ "type": "subscribe", "users": ["ada"] }));
    assert_eq!(socket.message()["type"], "snapshot");
    bridge.interrupt();
    assert_eq!(socket.code(), 1001);
    assert_eq!(bridge.wait_ended().code(), Some(0));
}

#[test]
fn over_tls_a_socket_is_the_same() {
    let key = SigningKey::elliptic("e");
    let mut office = office(&key);
    let issued = issue("bridge.example");
    show(&mut office, &issued);
    let bridge = office.open();
    let mut roots = RootCertStore::empty();
    roots.add(issued.certificate.clone()).expect("a certificate");
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .expect("known versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("bridge.example").expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a client");
    let stream = TcpStream::connect(bridge.address()).expect("somebody listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    let bearer = format!("Bearer {}", key.token("ada", "self"));
    let lines = [("authorization", bearer.as_str()), ("sec-websocket-protocol", "neuros.v1")];
    let request = request(&bridge, "/ws", &lines);
    let opened = tungstenite::client(request, StreamOwned::new(connection, stream));
    let (mut socket, _) = opened.unwrap_or_else(|error| panic!("no handshake: {error}"));
    let subscribe = json!({ "type": "subscribe", "users": ["ada"] });
    socket.send(Message::text(subscribe.to_string())).expect("sent");
    let snapshot = socket.read().expect("it is open").into_text().expect("a text");
    let snapshot: Value = serde_json::from_str(&snapshot).expect("JSON");
    assert_eq!((&snapshot["type"], &snapshot["user_id"]), (&json!("snapshot"), &json!("ada")));
    std::thread::scope(|scope| {
        let ending = scope.spawn(|| bridge.end());
        let Message::Close(Some(close)) = socket.read().expect("it says why") else {
            panic!("it is not closed")
        };
        assert_eq!(u16::from(close.code), 1012, "though Kafka was not reached yet");
        // The answer to that goes out with the next look.
        socket.read().expect_err("it has ended");
        ending.join().expect("it ends in order");
    });
}
