//! `healthcheck` says in one line whether a service is well.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Output;

use super::bare;
use crate::support::{stderr, stdout};

/// Answers one request with this status and body; gives the port, and later the request's first line.
fn service(status: &str, body: &str) -> (u16, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a request");
        let mut request = [0; 4_096];
        let length = stream.read(&mut request).expect("a request");
        stream.write_all(answer.as_bytes()).expect("the answer is read");
        String::from_utf8_lossy(&request[..length]).lines().next().unwrap_or_default().to_owned()
    });
    (port, served)
}

fn check(arguments: &[&str], port: u16) -> Output {
    let bind = format!("0.0.0.0:{port}");
    let mut command = bare(&[&["healthcheck"], arguments].concat());
    // What is asked for is near, whatever the environment says.
    command.env("HTTP_BIND", bind).env("http_proxy", "http://127.0.0.1:9");
    command.output().expect("the program starts")
}

#[test]
fn a_service_that_is_well_ends_with_0_and_one_line() {
    let (port, served) = service("200 OK", r#"{"status":"ok","version":"1"}"#);
    let output = check(&[], port);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stdout(&output), format!("http://127.0.0.1:{port}/health: ok\n"));
    assert_eq!(served.join().expect("served"), "GET /health HTTP/1.1");
}

#[test]
fn a_service_that_is_not_ready_ends_with_1_and_the_part_that_fails() {
    let body = r#"{"status":"unready","failing":"postgres","parts":{"kafka":{"ok":true},
        "postgres":{"ok":false,"problem":"no connection\u001b[31m"}},"lanes":{}}"#;
    let (port, served) = service("503 Service Unavailable", body);
    let output = check(&["--ready"], port);
    assert_eq!(output.status.code(), Some(1));
    let line = "unready: postgres: no connection\\u{1b}[31m\n";
    let expected = format!("biometric-bridge: unhealthy: http://127.0.0.1:{port}/ready: {line}");
    assert_eq!((stdout(&output), stderr(&output)), ("", expected.as_str()));
    assert_eq!(served.join().expect("served"), "GET /ready HTTP/1.1");
}

#[test]
fn a_service_that_is_degraded_is_well_and_says_why() {
    let body =
        r#"{"status":"degraded","failing":null,"parts":{"redis":{"ok":false,"problem":"away"}}}"#;
    let (port, _) = service("200 OK", body);
    let url = format!("http://127.0.0.1:{port}/ready");
    let output = bare(&["healthcheck", "--url", &url]).output().expect("the program starts");
    assert!(output.status.success());
    assert_eq!(stdout(&output), format!("{url}: degraded: redis: away\n"));
}

#[test]
fn who_does_not_answer_is_not_well() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let output = check(&[], port);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no answer within 3 s"), "{}", stderr(&output));
    drop(listener);
    let output = check(&[], port);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
    let output = check(&["--set", "http.bind=nowhere"], port);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
}
