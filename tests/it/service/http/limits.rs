//! How much anybody may ask: whoever asks too much, too slowly or too long is told so, and nobody else waits.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tokio::net::TcpSocket;

use super::issuer::{SigningKey, trust};
use super::office::{Answer, Office, ask, ask_with, send, state_of};
use crate::servers::Bridge;

fn health(bridge: &Bridge) -> u16 {
    ask_with(bridge, "/health", &[]).status
}

/// Connects from another address than everybody else.
fn connect_from(local: &str, remote: SocketAddr) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let stream = runtime.expect("a runtime").block_on(async {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::new(local.parse().expect("an address"), 0)).expect("bound");
        socket.connect(remote).await.expect("somebody listens").into_std().expect("a stream")
    });
    stream.set_nonblocking(false).expect("set");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    stream
}

/// What somebody is told who asks on a connection that is there already.
fn told(stream: &mut TcpStream, path: &str) -> Option<Answer> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Answer::of(&answer)
}

#[test]
fn who_sends_a_request_byte_by_byte_is_hung_up_on_and_keeps_nobody_waiting() {
    let mut office = Office::new();
    office.set("BRIDGE__HTTP__HEAD_TIMEOUT", "1s");
    let bridge = office.open();
    let slow: Vec<_> = (0..40)
        .map(|_| {
            let address = bridge.address();
            std::thread::spawn(move || {
                let mut stream = TcpStream::connect(address).expect("somebody listens");
                stream.set_read_timeout(Some(Duration::from_millis(100))).expect("set");
                let mut answer = Vec::new();
                for byte in
                    b"GET /health HTTP/1.1\r\nHost: b\r\nX-Slow: ".iter().chain([&b'x'; 160])
                {
                    let mut buffer = [0; 1_024];
                    match (stream.write_all(&[*byte]), stream.read(&mut buffer)) {
                        (Err(_), _) | (_, Ok(0)) => break,
                        (_, Ok(read)) => answer.extend_from_slice(&buffer[..read]),
                        (_, Err(_)) => {}
                    }
                }
                answer
            })
        })
        .collect();
    for _ in 0..10 {
        assert_eq!(health(&bridge), 200, "others are answered meanwhile");
        std::thread::sleep(Duration::from_millis(50));
    }
    for thread in slow {
        let answer = String::from_utf8(thread.join().expect("ended")).expect("UTF-8");
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer:?}");
    }
    bridge.end();
}

#[test]
fn one_address_never_has_all_connections() {
    let mut office = Office::new();
    office.set("BRIDGE__HTTP__CONNECTIONS_MAX", "16");
    office.set("BRIDGE__HTTP__CONNECTIONS_PER_ADDRESS", "8");
    let bridge = office.open();
    let mut greedy: Vec<TcpStream> =
        (0..12).map(|_| connect_from("127.0.0.7", bridge.address())).collect();
    assert_eq!(health(&bridge), 200, "another address has its own");
    let answered = greedy.iter_mut().filter_map(|stream| told(stream, "/health")).count();
    assert_eq!(answered, 8);
    drop(greedy);
    let mut again = connect_from("127.0.0.7", bridge.address());
    assert_eq!(told(&mut again, "/health").expect("an answer").status, 200);
    bridge.end();
}

#[test]
fn a_head_or_a_body_that_is_too_long_is_refused() {
    let office = Office::new();
    let bridge = office.open();
    let path = state_of("ada");
    let long = ask_with(&bridge, &path, &[format!("X-Long: {}", "x".repeat(20 << 10))]);
    assert_eq!((long.status, long.detail().as_str()), (431, "the head of the request is too long"));
    let long = ask_with(&bridge, &format!("{path}?{}", "x".repeat(20 << 10)), &[]);
    assert_eq!(long.status, 431);
    // So long a head is not even read.
    let huge = ask_with(&bridge, &path, &[format!("X-Long: {}", "x".repeat(200 << 10))]);
    assert_eq!(huge.status, 431);
    let many: Vec<String> = (0..200).map(|number| format!("X-{number}: x")).collect();
    assert_eq!(ask_with(&bridge, &path, &many).status, 431);
    let body = ask_with(&bridge, &path, &["Content-Length: 1000000".to_owned()]);
    assert_eq!((body.status, body.detail().as_str()), (413, "the body of the request is too long"));
    for garbage in
        [&b"\x16\x03\x01\x00\xa5"[..], b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\r\n\r\n\0"]
    {
        let said = send(bridge.address(), &[garbage, b"\r\n\r\n"].concat());
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 400"), "{said:?}");
    }
    assert_eq!(health(&bridge), 200);
    bridge.end();
}

#[test]
fn who_asks_too_often_is_told_when_to_ask_again_and_probes_go_on() {
    let mut office = Office::new();
    office.set("BRIDGE__HTTP__REQUESTS_PER_ADDRESS", "8");
    let bridge = office.open();
    std::thread::sleep(Duration::from_secs(2));
    let path = state_of("ada");
    let answers: Vec<Answer> = (0..100).map(|_| ask_with(&bridge, &path, &[])).collect();
    let refused: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(!refused.is_empty() && refused.len() < 100, "{}", refused.len());
    for answer in refused {
        assert_eq!(answer.headers["retry-after"], "1");
        assert_eq!(answer.detail(), "too many requests; ask again later");
    }
    assert!(answers.iter().all(|answer| [401, 429].contains(&answer.status)));
    assert_eq!(health(&bridge), 200, "probes are counted apart");
    let mut other = connect_from("127.0.0.7", bridge.address());
    assert_eq!(told(&mut other, &path).expect("an answer").status, 401);
    // Probes too have a limit.
    let probes: Vec<u16> = (0..100).map(|_| health(&bridge)).collect();
    assert!(probes.contains(&429) && probes.contains(&200));
    bridge.end();
}

#[test]
fn one_subject_asks_so_often_wherever_they_are() {
    let mut office = Office::new();
    let key = SigningKey::elliptic("e");
    trust(&mut office, &[&key]);
    office.set("BRIDGE__HTTP__REQUESTS_PER_ADDRESS", "100000");
    office.set("BRIDGE__HTTP__REQUESTS_PER_SUBJECT", "4");
    let bridge = office.open();
    let statuses: Vec<u16> = (0..60)
        .map(|number| {
            // Each time with another token.
            let mut claims = super::issuer::claims("ada", "self");
            claims["jti"] = number.into();
            ask(&bridge, &state_of("ada"), &key.sign(&claims)).status
        })
        .collect();
    assert!(statuses.contains(&404) && statuses.contains(&429), "{statuses:?}");
    assert_eq!(ask(&bridge, &state_of("eve"), &key.token("eve", "self")).status, 404);
    bridge.end();
}

#[test]
fn requests_are_counted_by_the_pattern_of_their_route_and_by_nothing_of_anybody() {
    let office = Office::new();
    let bridge = office.open();
    assert_eq!(ask_with(&bridge, &state_of("canary-user"), &[]).status, 401);
    assert_eq!(ask_with(&bridge, "/canary-path", &[]).status, 404);
    let route = "route=\"/api/v1/users/{user_id}/state\",status=\"401\"";
    bridge.wait_metric(&format!("biometric_http_requests_total{{{route}}}"), |count| count == 1.0);
    let metrics = bridge.http("/metrics").expect("an answer").1;
    assert!(!metrics.contains("canary"), "{metrics}");
    assert!(metrics.contains("biometric_http_requests_total{route=\"none\",status=\"404\"} 1"));
    let away = "biometric_authentication_failures_total{reason=\"expired\"} 0";
    assert!(metrics.contains(away), "a reason that was never met is there too");
    bridge.end();
}
