//! Development mode: it is asked for, it serves this machine alone, and it says so.

use std::net::TcpListener;
use std::time::Duration;

use super::issuer::{SigningKey, trust};
use super::office::{Answer, Office, ask, ask_with, send, state_of};
use crate::servers::Bridge;
use crate::support::{bridge, stderr};

fn open(office: &Office) -> Bridge {
    let bridge = Bridge::start(&["--migrate", "--development"], office.environment());
    bridge.wait_until("at its store", |_, body| body["parts"]["keys"]["ok"] == true);
    bridge
}

#[test]
fn in_development_whoever_is_on_this_machine_sees_everything_and_the_log_says_so() {
    let mut office = Office::new();
    office.unset("BRIDGE__SECURITY__ALLOW_PLAINTEXT");
    let bridge = open(&office);
    assert_eq!(
        ask_with(&bridge, &state_of("ada"), &[]).status,
        404,
        "nobody was asked who they are"
    );
    // A page of somebody else in a browser of this machine has another name.
    let page =
        "GET /api/v1/users/ada/state HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    let answer = Answer::of(&send(bridge.address(), page.as_bytes())).expect("an answer");
    assert_eq!((answer.status, answer.detail().contains("localhost")), (401, true));
    let log = bridge.log();
    for said in ["only this machine is served", "may see everybody's health data"] {
        let line = log.lines().find(|line| line.contains(said)).expect("said");
        assert!(line.contains("WARN"), "{line}");
    }
    bridge.end();
}

#[test]
fn in_development_too_a_token_is_asked_for_where_there_are_tokens() {
    let mut office = Office::new();
    let key = SigningKey::elliptic("e");
    trust(&mut office, &[&key]);
    let bridge = open(&office);
    assert_eq!(ask_with(&bridge, &state_of("ada"), &[]).status, 401);
    assert_eq!(ask(&bridge, &state_of("ada"), &key.token("ada", "self")).status, 404);
    assert!(!bridge.log().contains("may see everybody's health data"));
    bridge.end();
}

#[test]
fn development_listens_on_this_machine_alone_whatever_it_is_told() {
    let mut office = Office::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    office.set("HTTP_BIND", &format!("0.0.0.0:{port}"));
    let run = |arguments: &[&str]| {
        let mut run = bridge(arguments);
        run.env_clear().envs(office.environment().iter().map(|(name, value)| (name, value)));
        let output = run.timeout(Duration::from_secs(60)).output().expect("it starts");
        assert_eq!(output.status.code(), Some(78), "{}", stderr(&output));
        stderr(&output).to_owned()
    };
    let said = run(&["run", "--development"]);
    assert!(said.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{said}");
    let said = run(&["demo", "--http", "0.0.0.0:0"]);
    assert!(said.contains("is no address of this machine alone"), "{said}");
}
