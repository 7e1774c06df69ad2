//! Whoever may not see a user learns nothing of whether there is one: over random pairs and every route.

use std::cell::RefCell;
use std::collections::BTreeSet;

use biometric_bridge::http::{Audience, ROUTES};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::issuer::{SigningKey, set_of};
use super::office::{Answer, Office, ask_as, ask_saying};
use super::people::{encoded, trust_at};
use crate::servers::Bridge;
use crate::service::feed::{Event, stream};
use crate::service::site::{Site, Stamps};

/// Users that there are.
const USERS: usize = 12;

fn user(number: usize) -> String {
    format!("user-{number}")
}

/// Somebody who asks, what else they ask, and for whom.
#[derive(Clone, Debug)]
struct Question {
    /// Who asks: one of the users, or nobody of them.
    asker: Option<usize>,
    scopes: Vec<String>,
    known: usize,
    unknown: String,
    query: String,
    method: &'static str,
}

fn question() -> impl Strategy<Value = Question> {
    let scope = prop_oneof![
        Just("self".to_owned()),
        Just("auditor".to_owned()),
        Just("care:".to_owned()),
        (0..USERS).prop_map(|number| format!("care:{}", user(number))),
        "[a-z:*%_]{1,12}".prop_filter("more than is asked here", |scope| scope != "operator"),
    ];
    let query = prop_oneof![Just(String::new()), "\\?(after|limit|x)=[-0-9a-z%]{0,6}"];
    let asker = proptest::option::of(0..USERS);
    let scopes = proptest::collection::vec(scope, 0..4);
    let methods = prop_oneof![4 => Just("GET"), 1 => Just("POST"), 1 => Just("DELETE")];
    (asker, scopes, 0..USERS, "\\PC{1,30}", query, methods).prop_map(
        |(asker, scopes, known, unknown, query, method)| Question {
            asker,
            scopes,
            known,
            unknown: format!("stranger{unknown}"),
            query,
            method,
        },
    )
}

const SNOOZE: &str = "{\"until\": \"2100-01-01T00:00:00Z\"}";

/// A path with all but the user.
fn filled(pattern: &str) -> String {
    let pattern = pattern.replace("{id}", "e008323a-b960-50ac-9291-583f77b5308a");
    pattern.replace("{file}", "index.html")
}

/// What a route has to be told.
fn needed(pattern: &str) -> &'static str {
    match pattern.ends_with("/timeline") {
        true => "?from=2025-03-03T08:00:00Z&to=2025-03-04T08:00:00Z",
        false => "",
    }
}

impl Question {
    /// What is answered when it is asked about this user.
    fn ask(&self, bridge: &Bridge, pattern: &str, whom: &str, token: &str) -> Answer {
        let path = filled(pattern).replace("{user_id}", &encoded(whom)) + &self.query;
        let path = if self.query.is_empty() { path + needed(pattern) } else { path };
        let token = [format!("Authorization: Bearer {token}")];
        let body = if pattern.ends_with("/snooze") { SNOOZE } else { "" };
        ask_saying(bridge, self.method, &path, &token, body)
    }
}

#[test]
fn a_user_who_may_not_be_seen_and_a_user_who_is_not_there_look_the_same() {
    let Some(mut site) = Site::shared(Stamps::Producer) else { return };
    let key = SigningKey::elliptic("e");
    trust_at(&mut site, &set_of(&[&key]));
    site.set("BRIDGE__HTTP__REQUESTS_PER_ADDRESS", "100000");
    site.set("BRIDGE__HTTP__REQUESTS_PER_SUBJECT", "100000");
    let events: Vec<Event> = (0..USERS).map(|number| Event::of(&user(number), number, 1)).collect();
    let bridge = site.start();
    stream(site.kafka, &site.topics.events, &events, 100);
    site.wait_caught_up();
    assert_eq!(site.number("SELECT count(*) FROM users"), 12);
    // The same questions each time: a failure is a failure for everybody.
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let config = Config { cases: 60, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, random);
    let said = RefCell::new(BTreeSet::new());
    runner
        .run(&question(), |question| {
            let asker = question.asker.map_or_else(|| "nobody".to_owned(), user);
            let sees = |whom: &str| {
                question.scopes.contains(&format!("care:{whom}"))
                    || (question.scopes.contains(&"self".to_owned()) && asker == whom)
            };
            let known = user(question.known);
            prop_assume!(!sees(&known) && !sees(&question.unknown));
            let token = key.token(&asker, &question.scopes.join(" "));
            for route in ROUTES.iter().filter(|route| route.audience == Audience::Readers) {
                let ask = |whom: &str| question.ask(&bridge, route.pattern, whom, &token);
                let (there, not_there) = (ask(&known), ask(&question.unknown));
                prop_assert_eq!(&there, &not_there);
                prop_assert!(!there.body.contains(&known));
                // And so does nobody to whoever may see them.
                let whom = question.unknown.replace(' ', "");
                let careful = key.token(&asker, &format!("care:{whom}"));
                let bare = Question { query: String::new(), ..question.clone() };
                let allowed = bare.ask(&bridge, route.pattern, &whom, &careful);
                prop_assert_eq!(allowed, bare.ask(&bridge, route.pattern, &known, &token));
                said.borrow_mut().insert(there.status);
            }
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(said.into_inner(), BTreeSet::from([404, 405]), "both were asked for");
    bridge.end();
}

#[test]
fn every_route_that_is_not_for_everybody_asks_who_asks() {
    let patterns: Vec<&str> = ROUTES.iter().map(|route| route.pattern).collect();
    assert!(patterns.len() >= 16, "{patterns:?}");
    let office = Office::new();
    let bridge = office.open();
    for route in ROUTES {
        let has_user = route.pattern.contains("{user_id}");
        assert_eq!(route.audience == Audience::Readers, has_user, "{}", route.pattern);
        let path = filled(route.pattern).replace("{user_id}", "ada");
        let answer = ask_as(&bridge, route.method, &path, &[]);
        let is_asked = answer.status == 401;
        // What is no handshake is no socket, whoever sends it.
        let asks = route.audience != Audience::Everybody && route.pattern != "/ws";
        assert_eq!(is_asked, asks, "{}: {answer:?}", route.pattern);
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    }
    bridge.end();
}
