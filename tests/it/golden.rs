//! The recorded logs and what the specification says of them, line by line.

use serde_json::Value;

use crate::support::{read, root, run, stderr, stdout};

/// Replays a recorded log and compares what comes out with `expected`, field by field.
fn reproduces(log: &str, expected: &str, options: &[&str]) {
    let folder = root().join("tests/data/golden");
    let log = folder.join(log);
    let mut arguments = vec!["replay", log.to_str().expect("a readable path")];
    arguments.extend_from_slice(options);
    let output = run(&arguments, "");
    assert!(output.status.success(), "{}", stderr(&output));
    let (got, expected) = (stdout(&output), read(&folder.join(expected)));
    assert_eq!(got.lines().count(), expected.lines().count(), "lines");
    for (number, (got, expected)) in got.lines().zip(expected.lines()).enumerate() {
        let parsed = |text| serde_json::from_str::<Value>(text).expect("JSON");
        assert!(
            equal(&parsed(got), &parsed(expected)),
            "line {}\n     got {got}\nexpected {expected}",
            number + 1
        );
    }
}

/// Equal in every field; numbers with a fraction within 1e-12.
pub(crate) fn equal(got: &Value, expected: &Value) -> bool {
    match (got, expected) {
        (Value::Number(got), Value::Number(expected)) if got.is_f64() || expected.is_f64() => {
            let distance = got.as_f64().zip(expected.as_f64()).map(|(got, other)| got - other);
            distance.is_some_and(|distance| distance.abs() <= 1e-12)
        }
        (Value::Array(got), Value::Array(expected)) => {
            got.len() == expected.len()
                && got.iter().zip(expected).all(|(got, other)| equal(got, other))
        }
        (Value::Object(got), Value::Object(expected)) => {
            got.len() == expected.len()
                && got.iter().all(|(key, got)| expected.get(key).is_some_and(|e| equal(got, e)))
        }
        (got, expected) => got == expected,
    }
}

#[test]
fn the_edges_have_the_expected_outcomes() {
    reproduces("edges.ndjson", "edges.outcomes.ndjson", &[]);
}

#[test]
fn the_edges_end_in_the_expected_states() {
    reproduces("edges.ndjson", "edges.states.ndjson", &["--state"]);
}

#[test]
fn the_edges_have_the_expected_outcomes_under_another_policy() {
    let policy = ["--policy", "tests/data/golden/policy2.yaml"];
    reproduces("edges.ndjson", "edges.policy2.outcomes.ndjson", &policy);
}

#[test]
fn twenty_people_have_the_expected_outcomes() {
    reproduces("people.ndjson", "people.outcomes.ndjson", &[]);
}

#[test]
fn twenty_people_end_in_the_expected_states() {
    reproduces("people.ndjson", "people.states.ndjson", &["--state"]);
}

#[test]
fn twenty_people_have_the_expected_outcomes_under_another_policy() {
    let policy = ["--policy", "tests/data/golden/policy2.yaml"];
    reproduces("people.ndjson", "people.policy2.outcomes.ndjson", &policy);
}

#[test]
fn explanations_change_no_outcome() {
    let people = ["replay", "tests/data/golden/people.ndjson"];
    let plain = run(&people, "");
    let explained = run(&[people[0], "--explain", people[1]], "");
    let bare = |line: &str| {
        let mut line = serde_json::from_str::<Value>(line).expect("JSON");
        let fields = line.as_object_mut().expect("an object");
        fields.remove("text").filter(|text| text.as_str() != Some("")).expect("a text");
        let explanation = fields.remove("explanation");
        assert!(fields["kind"] == "rejected" || explanation.is_some());
        line
    };
    let explained: Vec<Value> = stdout(&explained).lines().map(bare).collect();
    let plain: Vec<Value> =
        stdout(&plain).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(explained, plain);
}

/// Reviewed by a person: whom somebody is told of, how often, and what is said.
#[test]
fn recorded_people_have_the_expected_alerts_and_no_more_notifications() {
    let folder = root().join("tests/data/people");
    let mut logs: Vec<_> = std::fs::read_dir(&folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "ndjson"))
        .collect();
    logs.sort();
    let mut got = String::new();
    for log in &logs {
        let output = run(&["replay", "--alerts", log.to_str().expect("a path")], "");
        assert!(output.status.success(), "{}", stderr(&output));
        got.push_str(stdout(&output));
    }
    let expected = read(&folder.join("alerts.golden"));
    for (number, (got, expected)) in got.lines().zip(expected.lines()).enumerate() {
        assert_eq!(got, expected, "line {}", number + 1);
    }
    assert_eq!(got.lines().count(), expected.lines().count(), "lines");
    let summary = |line: &&str| line.contains("\"type\":\"summary\"");
    got.lines().filter(summary).for_each(|line| println!("{line}"));
}
