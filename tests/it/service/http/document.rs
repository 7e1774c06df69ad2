//! The document says what is answered, and a program that reads it finds nothing else.

use std::collections::BTreeSet;
use std::process::Command;

use biometric_bridge::http::{Audience, ROUTES};
use serde_json::{Value, json};

use super::issuer::{SigningKey, set_of, trust};
use super::office::{Answer, Office, ask, ask_as, ask_saying, ask_with};
use super::people::trust_at;
use crate::servers::{Servers, folder, python};
use crate::service::feed::{Event, stream};
use crate::service::site::{Site, Stamps};

/// Whether the document has this answer.
fn has(document: &Value, pattern: &str, method: &str, answer: &Answer) -> bool {
    let operation = &document["paths"][pattern][method.to_lowercase()];
    let response = &operation["responses"][answer.status.to_string()];
    let kind = answer.headers.get("content-type").map(|kind| kind.split(';').next().unwrap_or(""));
    match (response["content"].as_object(), kind) {
        (Some(kinds), Some(kind)) => kinds.contains_key(kind),
        (None, None) => response.is_object(),
        (None, Some(_)) => false,
        (Some(_), None) => answer.body.is_empty(),
    }
}

#[test]
fn every_route_answers_as_its_document_says() {
    let key = SigningKey::elliptic("e");
    let mut office = Office::new();
    trust(&mut office, &[&key]);
    let bridge = office.open();
    let document = ask_with(&bridge, "/api/openapi.json", &[]).json();
    assert_eq!(document["openapi"].as_str().map(|version| &version[..3]), Some("3.1"));
    let token = format!("Authorization: Bearer {}", key.token("ops", "operator"));
    let mut met = BTreeSet::new();
    for route in ROUTES {
        let path = route.pattern.replace("{user_id}", "ada").replace("{file}", "index.html");
        let path = path.replace("{id}", "e008323a-b960-50ac-9291-583f77b5308a");
        let lines = std::slice::from_ref(&token);
        for (query, lines) in [("", &[][..]), ("", lines), ("?canary=1", lines)] {
            let answer = ask_as(&bridge, route.method, &(path.clone() + query), lines);
            let is_said = has(&document, route.pattern, route.method, &answer);
            assert!(is_said, "{} {path}{query}: {answer:?}", route.method);
            met.insert(answer.status);
        }
        if route.audience == Audience::Readers && route.method == "POST" {
            let long = "x".repeat(100_000);
            let answer = ask_saying(&bridge, "POST", &path, lines, &long);
            assert!(has(&document, route.pattern, "POST", &answer), "{answer:?}");
            met.insert(answer.status);
        }
        let other = if route.method == "GET" { "POST" } else { "GET" };
        let answer = ask_as(&bridge, other, &path, &[]);
        assert_eq!((answer.status, &*answer.headers["allow"]), (405, route.method), "{path}");
    }
    assert_eq!(met, BTreeSet::from([200, 201, 302, 400, 401, 404, 413, 426, 503]));
    bridge.end();
}

#[test]
fn the_pages_for_people_come_from_here() {
    let office = Office::new();
    let bridge = office.open();
    assert_eq!(ask_with(&bridge, "/api/docs", &[]).headers["location"], "docs/index.html");
    let index = ask_with(&bridge, "/api/docs/index.html", &[]);
    assert_eq!(index.headers["content-type"], "text/html");
    assert!(index.headers["content-security-policy"].starts_with("default-src 'self';"));
    for (part, kind) in
        [("swagger-ui.css", "text/css"), ("swagger-ui-bundle.js", "text/javascript")]
    {
        assert!(index.body.contains(part), "{}", index.body);
        let answer = ask_with(&bridge, &format!("/api/docs/{part}"), &[]);
        assert_eq!((answer.status, &*answer.headers["content-type"]), (200, kind));
        assert!(answer.body.len() > 10_000);
    }
    let start = ask_with(&bridge, "/api/docs/swagger-initializer.js", &[]);
    assert!(start.body.contains("../openapi.json"), "{}", start.body);
    assert_eq!(ask_with(&bridge, "/api/docs/passwd", &[]).status, 404);
    bridge.end();
}

#[test]
fn schemathesis_finds_nothing() {
    let Some(mut site) = Site::shared(Stamps::Producer) else { return };
    assert!(Servers::available());
    let key = SigningKey::elliptic("e");
    trust_at(&mut site, &set_of(&[&key]));
    for limit in ["REQUESTS_PER_ADDRESS", "REQUESTS_PER_SUBJECT"] {
        site.set(&format!("BRIDGE__HTTP__{limit}"), "100000");
    }
    site.set("BRIDGE__HTTP__DEBUG", "true");
    let events: Vec<Event> = (0..40).map(|number| Event::of("ada", 3, number)).collect();
    let bridge = site.start();
    stream(site.kafka, &site.topics.events, &events, 100);
    site.wait_caught_up();
    let token = key.token("ops", "operator");
    let alerts = ask(&bridge, "/api/v1/users/ada/alerts", &token).json();
    let alert = alerts["alerts"][0]["id"].as_str().expect("there is one").to_owned();
    let url = format!("http://{}/api/openapi.json", bridge.address());
    // Whoever is asked about is there, or anybody.
    let known = json!({"path.user_id": "ada", "path.id": alert}).to_string();
    let known = known.trim_matches(['{', '}']).replace("\":", "\"=").replace(',', "\n");
    for (name, parameters, phases) in
        [("known", known.as_str(), "coverage,fuzzing"), ("anybody", "", "fuzzing")]
    {
        let config = folder().join(format!("{}-{name}.toml", site.group));
        // Which of two times is the later one no schema says; a command may come to nothing.
        let text = format!(
            "[checks.positive_data_acceptance]\n\
             expected-statuses = [\"2xx\", \"302\", \"304\", \"404\", \"409\", \"422\"]\n\
             [parameters]\n{parameters}\n"
        );
        std::fs::write(&config, text).expect("written");
        let mut command = Command::new(python());
        command.args(["-m", "schemathesis.cli", "--config-file"]).arg(&config);
        command.args(["run", &url, "--checks", "all", "--seed", "1", "--max-examples", "10"]);
        command.args(["--phases", phases, "--no-color", "--workers", "1"]);
        command.args(["--header", &format!("Authorization: Bearer {token}")]);
        // It goes on for minutes, and is asked elsewhere.
        command.args(["--exclude-path", "/debug/users/{user_id}/live"]);
        // A socket is no request with an answer.
        command.args(["--exclude-path", "/ws"]);
        let output = command.current_dir(folder()).output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    }
    bridge.end();
}
