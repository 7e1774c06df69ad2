//! docker/nginx as it is, run by the real nginx in front of the real bridge: what it lets through, what it refuses, and what its logs
//! do not say.

pub(super) mod gate;

use std::net::SocketAddr;

use rustls::version::{TLS12, TLS13};
use serde_json::json;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::{Message, WebSocket};

use crate::service::http::issuer::SigningKey;
use gate::{Gate, Stand, Tls, ask_at, available, bridge_behind};

#[test]
fn nginx_speaks_tls_1_3_and_nothing_older() {
    if !available() {
        return;
    }
    let key = SigningKey::elliptic("e");
    let office = bridge_behind(&key);
    let bridge = office.open();
    let gate = Gate::to(bridge.address());
    let answer = gate.ask("GET", "/api/biometric/health", &[], "");
    assert_eq!((answer.status, &answer.json()["status"]), (200, &json!("ok")), "{answer:?}");
    let older = Tls::open(gate.port, &[&TLS12]).map(|_| ()).expect_err("TLS 1.2");
    assert!(older.contains("ProtocolVersion"), "{older}");
    assert!(Tls::open(gate.port, &[&TLS13]).is_ok());
    let clear = crate::service::http::office::send(
        gate.address(),
        b"GET /api/biometric/health HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n",
    );
    assert!(!clear.contains("\"status\""), "in the clear nothing is told: {clear}");
    // That this looks: nginx would.
    gate.stop();
    let lax =
        gate.again(|text| text.replace("ssl_protocols TLSv1.3;", "ssl_protocols TLSv1.2 TLSv1.3;"));
    Tls::open(lax.port, &[&TLS12]).expect("TLS 1.2");
    bridge.end();
}

#[test]
fn every_answer_has_the_headers_that_protect_a_page_and_metrics_stay_inside() {
    if !available() {
        return;
    }
    let key = SigningKey::elliptic("e");
    let office = bridge_behind(&key);
    let bridge = office.open();
    let gate = Gate::to(bridge.address());
    for (path, status) in [
        ("/api/biometric/health", 200),
        ("/api/biometric/api/v1/users/ada/state", 401),
        ("/api/biometric/nowhere", 404),
        ("/api/biometric/metrics", 404),
        ("/api/biometric/x/../metrics", 404),
        ("/api/biometric/%6Detrics", 404),
        ("/api//biometric/health", 404),
        ("/metrics", 404),
        ("/", 404),
    ] {
        let answer = gate.ask("GET", path, &[], "");
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        for (name, value) in [
            ("strict-transport-security", "max-age=31536000"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
        ] {
            let said = answer.headers.get(name).map(String::as_str);
            assert_eq!(said, Some(value), "{path}: {name}");
        }
        assert_eq!(answer.headers["server"], "nginx", "no version");
        assert!(!answer.body.contains("biometric_"), "{path}");
        assert!(status == 200 || answer.json()["status"] == status, "{path}: {answer:?}");
    }
    let pages = gate.ask("GET", "/api/biometric/api/docs/index.html", &[], "");
    assert_eq!(pages.status, 200);
    assert!(
        pages.headers["content-security-policy"].starts_with("default-src 'self'"),
        "the bridge's own"
    );
    bridge.end();
}

#[test]
fn a_socket_passes_and_gets_its_first_message() {
    if !available() {
        return;
    }
    let key = SigningKey::elliptic("e");
    let office = bridge_behind(&key);
    let bridge = office.open();
    let gate = Gate::to(bridge.address());
    let url = format!("wss://localhost:{}/api/biometric/ws", gate.port);
    let mut request = url.into_client_request().expect("a request");
    let bearer = format!("Bearer {}", key.token("ada", "self"));
    for (name, value) in
        [("authorization", bearer.as_str()), ("sec-websocket-protocol", "neuros.v1")]
    {
        request.headers_mut().append(name, value.parse().expect("a value"));
    }
    let tls = Tls::open(gate.port, &[&TLS13]).expect("TLS");
    let (mut socket, answer): (WebSocket<_>, _) = tungstenite::client(request, tls.0)
        .unwrap_or_else(|error| panic!("{error}\n{}", gate.complaints()));
    assert_eq!(answer.headers()["sec-websocket-protocol"], "neuros.v1");
    let subscribe = json!({ "type": "subscribe", "users": ["ada"] });
    socket.send(Message::text(subscribe.to_string())).expect("sent");
    let first = socket.read().expect("a message").into_text().expect("text");
    let first: serde_json::Value = serde_json::from_str(&first).expect("JSON");
    assert_eq!((&first["type"], &first["user_id"]), (&json!("snapshot"), &json!("ada")));
    bridge.end();
}

#[test]
fn a_users_id_arrives_as_it_was_sent() {
    if !available() {
        return;
    }
    let key = SigningKey::elliptic("e");
    let office = bridge_behind(&key);
    let bridge = office.open();
    let gate = Gate::to(bridge.address());
    let bearer = format!("Authorization: Bearer {}", key.token("ops", "operator"));
    let known = ["ada", "a%2Fb", "a%20%25%3F%23b", "%C3%A9", "a%2F..%2Fb", "u+1"];
    for user in known {
        let path = format!("/api/v1/users/{user}/state");
        let direct =
            ask_at(bridge.address().port(), "GET", &path, std::slice::from_ref(&bearer), "");
        let through =
            gate.ask("GET", &format!("/api/biometric{path}"), std::slice::from_ref(&bearer), "");
        assert_eq!((through.status, through.body), (direct.status, direct.body), "{user}");
    }
    bridge.end();
    let database = rusty(
        &office,
        "SELECT user_id FROM phi_access_log WHERE accessor_id LIKE '%ops%' ORDER BY id",
    );
    let twice =
        ["ada", "a/b", "a %?#b", "é", "a/../b", "u+1"].into_iter().flat_map(|user| [user, user]);
    assert_eq!(database, twice.collect::<Vec<_>>(), "as the log of accesses has it");
}

/// What the SQLite database of an office says to a question, a line a row.
fn rusty(office: &crate::service::http::office::Office, sql: &str) -> Vec<String> {
    let script = "import sqlite3, sys\nfor row in sqlite3.connect(sys.argv[1]).execute(sys.argv[2]): print(row[0])";
    let mut command = std::process::Command::new(crate::servers::python());
    let output =
        command.args(["-c", script]).arg(office.folder.join("bridge.db")).arg(sql).output();
    let output = output.expect("python runs");
    assert!(output.status.success(), "{}", crate::support::stderr(&output));
    crate::support::stdout(&output).lines().map(str::to_owned).collect()
}

#[test]
fn no_log_of_nginx_says_of_whom_was_asked_or_by_what_token() {
    if !available() {
        return;
    }
    let key = SigningKey::elliptic("e");
    let office = bridge_behind(&key);
    let bridge = office.open();
    let gate = Gate::to(bridge.address());
    let token = key.token("canary-nurse", "operator");
    let lines = [
        format!("Authorization: Bearer {token}"),
        "Referer: https://app.example/people/canary-user".to_owned(),
        "User-Agent: canary-agent".to_owned(),
        "X-Forwarded-For: canary-address".to_owned(),
    ];
    let state = "/api/biometric/api/v1/users/canary-user/state";
    assert_eq!(gate.ask("GET", state, &lines, "").status, 404);
    assert_eq!(gate.ask("GET", "/api/biometric/ws?ticket=canary-ticket", &lines, "").status, 426);
    let order = "/api/biometric/api/v1/users/canary-user/alerts/canary-alert/ack?canary-query";
    let large = gate.ask("POST", order, &lines, &"canary".repeat(11_000));
    assert_eq!((large.status, large.json()["title"].as_str()), (413, Some("Payload Too Large")));
    for odd in [
        "/api/biometric/canary-path",
        "//api/biometric/api/v1/users/canary-user/state",
        "/canary-place",
    ] {
        assert_eq!(gate.ask("GET", odd, &lines, "").status, 404, "{odd}");
    }
    // Nobody is behind it any more: nginx has most to complain of then.
    bridge.end();
    let away = gate.ask("GET", state, &lines, "");
    assert_eq!((away.status, away.json()["title"].as_str()), (502, Some("Bad Gateway")));
    gate.stop();
    let said = gate.log();
    for wanted in [
        "\"route\":\"/api/v1/users/{user_id}/state\",\"status\":404",
        "\"route\":\"/api/v1/users/{user_id}/alerts/{id}/ack\",\"status\":413",
        "\"route\":\"/ws\",\"status\":426",
        "\"route\":\"other\",\"status\":404",
        "\"route\":\"/api/v1/users/{user_id}/state\",\"status\":502,\"bridge\":\"502\"",
        "\"tls\":\"TLSv1.3\"",
    ] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    for line in said.lines() {
        let line: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        assert!(line["request"].as_str().is_some_and(|id| id.len() == 32));
    }
    for text in [&said, &gate.complaints()] {
        assert!(!text.contains("canary"), "{text}");
        assert!(!text.contains(&token[..20]), "{text}");
    }
    // That this looks: nginx by its own habits tells.
    let talkative = gate.again(|text| {
        text.replace("error_log stderr emerg;", "error_log stderr error;").replace(
            "$request_method\",\"route\":\"$route",
            "$request_method\",\"route\":\"$request_uri",
        )
    });
    assert_eq!(talkative.ask("GET", state, &lines, "").status, 502);
    talkative.stop();
    assert!(
        talkative.log().contains("canary-user") && talkative.complaints().contains("canary-user")
    );
}

#[test]
fn events_that_a_server_sends_arrive_when_they_are_sent() {
    if !available() {
        return;
    }
    let stand = Stand::start();
    let gate = Gate::to(stand.address);
    let mut tls = Tls::open(gate.port, &[&TLS13]).expect("TLS");
    tls.say("GET /api/biometric/debug/users/ada/live HTTP/1.1\r\nHost: b\r\n\r\n");
    tls.until("data: 1\n\n");
    // Not before the first one is here, the second leaves.
    stand.go_on();
    tls.until("data: 2\n\n");
}

#[test]
fn a_bridge_that_cannot_prove_who_it_is_is_told_nothing() {
    if !available() {
        return;
    }
    let mut office = bridge_behind(&SigningKey::elliptic("e"));
    let stranger = crate::service::http::tls::issue("bridge");
    crate::service::http::tls::show(&mut office, &stranger);
    let bridge = office.open();
    let gate = Gate::to(bridge.address());
    assert_eq!(gate.ask("GET", "/api/biometric/health", &[], "").status, 502);
    assert_eq!(bridge.http("/health").map(|(status, _)| status), Some(200), "it is well");
    bridge.end();
}

#[test]
fn whoever_asks_too_often_is_told_to_wait() {
    if !available() {
        return;
    }
    // Nobody is behind it, which is the quickest answer.
    let gate = Gate::to(SocketAddr::from(([127, 0, 0, 1], 1)));
    let mut tls = Tls::open(gate.port, &[&TLS13]).expect("TLS");
    tls.say(&"GET /api/biometric/health HTTP/1.1\r\nHost: b\r\n\r\n".repeat(400));
    let said = tls.until(" 429 ");
    assert!(said.contains(" 502 "), "the first were let through: {said}");
}
