//! The recorded logs through the whole service: what it stores and says is what the specification of
//! the engine gives for them.

use std::collections::BTreeMap;

use biometric_bridge::replay::Line;
use neuros::Policy;
use neuros::policy::Loaded;
use serde_json::Value;

use super::site::{Site, Stamps};
use super::{check, messages};
use crate::golden::equal;
use crate::servers::Outgoing;
use crate::support::{read, root};

const NO_TIMESTAMP: i64 = -1;

/// Seconds.
const A_MONTH: f64 = 30.0 * 86_400.0;

fn file(name: &str) -> String {
    read(&root().join("tests/data/golden").join(name))
}

/// The headers of a message.
type Headers<'a> = Vec<(&'a str, Option<&'a [u8]>)>;

/// Sends a log, each key's records to one partition in the order of the log; gives where they lie.
fn send(site: &Site<'_>, log: &str) -> Vec<(i32, i64)> {
    let parsed: Vec<(String, Line<'_>)> = log
        .lines()
        .map(|line| {
            let key: Value = serde_json::from_str(line).expect("JSON");
            let key = key["key"].as_str().unwrap_or_default().to_owned();
            (key, Line::parse(line.as_bytes()).expect("a line of a log"))
        })
        .collect();
    let values: Vec<_> = parsed.iter().map(|(_, line)| line.value()).collect();
    let headers: Vec<Headers<'_>> = parsed
        .iter()
        .map(|(_, line)| line.headers().map(|(name, value)| (name, Some(value))).collect())
        .collect();
    let messages: Vec<Outgoing<'_>> = parsed
        .iter()
        .zip(&values)
        .zip(&headers)
        .map(|(((key, line), value), headers)| Outgoing {
            key: Some(key.as_bytes()),
            value: Some(value.as_bytes()),
            headers,
            // Any rule will do that knows nothing of homes, so that two of three are forwarded.
            partition: Some(key.bytes().map(i32::from).sum::<i32>() % 3),
            timestamp: Some(line.record_time_ms().unwrap_or(NO_TIMESTAMP)),
        })
        .collect();
    site.kafka.produce(&site.topics.events, &messages)
}

/// Lines of expected outcomes, parsed.
fn outcomes(name: &str) -> Vec<Value> {
    file(name).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn is_kind(outcome: &Value, kind: &str) -> bool {
    outcome["kind"] == kind
}

/// Stored mode changes and dead letters are the ones that the log should give.
fn decided_as_expected(site: &Site<'_>, places: &[(i32, i64)], expected: &[Value]) {
    let mut modes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for outcome in expected.iter().filter(|outcome| is_kind(outcome, "switched")) {
        let text = |field: &str| outcome[field].as_str().expect("a text").to_owned();
        modes.entry(text("user_id")).or_default().push(text("mode"));
    }
    assert!(!modes.is_empty());
    assert_eq!(messages::modes(site), modes);
    let mut letters: BTreeMap<(i32, i64), String> = BTreeMap::new();
    for outcome in expected.iter().filter(|outcome| is_kind(outcome, "rejected")) {
        let line = usize::try_from(outcome["i"].as_u64().expect("a number")).expect("few");
        let reason = outcome["reason"].as_str().expect("why").to_owned();
        letters.insert(places[line], reason);
    }
    let sent = super::dead_letters::published_by_origin(site).into_iter();
    let sent: BTreeMap<(i32, i64), String> = sent
        .map(|(place, letter)| (place, letter.header("dlq.reason").expect("why").to_owned()))
        .collect();
    assert_eq!(sent, letters);
}

fn replays(log: &str, expected: &str, states: Option<&str>, policy: Option<&str>) {
    let Some(mut site) = Site::shared(Stamps::Producer) else { return };
    let mut rules = Policy::default();
    if let Some(policy) = policy {
        let path = root().join("tests/data/golden").join(policy);
        site.set("BRIDGE__POLICY__FILE", path.to_str().expect("a path"));
        rules = Loaded::from_yaml(&read(&path)).expect("a policy").policy;
    }
    let bridge = site.start();
    bridge.wait_ready();
    let places = send(&site, &file(log));
    check::all_under(&site, &rules);
    // By the logs' clock it is long ago, by ours now, as after a clock has jumped: that shows in one metric, and
    // neither in what is decided nor in whether the service is ready.
    bridge.wait_metric("biometric_event_age_seconds_sum", |age| age > A_MONTH);
    bridge.wait_ready();
    decided_as_expected(&site, &places, &outcomes(expected));
    if let Some(states) = states {
        let (got, states) = (site.run(&["export", "states"]), file(states));
        assert_eq!(got.lines().count(), states.lines().count(), "states");
        for (got, expected) in got.lines().zip(states.lines()) {
            let parsed = |text| serde_json::from_str::<Value>(text).expect("JSON");
            assert!(equal(&parsed(got), &parsed(expected)), "     got {got}\nexpected {expected}");
        }
    }
    bridge.end();
}

#[test]
fn the_edges_come_to_the_expected_states_and_dead_letters() {
    replays("edges.ndjson", "edges.outcomes.ndjson", Some("edges.states.ndjson"), None);
}

#[test]
fn the_edges_under_another_policy_come_to_the_expected_mode_changes() {
    replays("edges.ndjson", "edges.policy2.outcomes.ndjson", None, Some("policy2.yaml"));
}

#[test]
fn twenty_people_come_to_the_expected_states() {
    replays("people.ndjson", "people.outcomes.ndjson", Some("people.states.ndjson"), None);
}
