//! Mode changes and alerts as they left: each that is stored is on its topic at least once with the same
//! words, in order per user, and nothing else is; and alerts are what the mode changes lead to.

use std::collections::BTreeMap;

use serde_json::Value;

use super::alerts;
use super::site::Site;

/// Whose a message is, and its number.
type Place = (String, i64);

/// Checks the topics of mode changes and alerts against the tables, and the alerts against the changes.
pub(crate) fn all_left(site: &Site<'_>) {
    let changes = exported(site, "transitions");
    let stored = exported(site, "alerts");
    alerts::all(&changes, &stored);
    let changes = by_place(changes.into_iter().map(sent_of));
    let stored = by_place(stored);
    said_in_the_clear(site, &MODE_CHANGES, &changes);
    said_in_the_clear(site, &ALERTS, &stored);
    left(site, &site.topics.transitions, &changes);
    left(site, &site.topics.alerts, &stored);
}

/// Checks what is on a topic against what should be.
fn left(site: &Site<'_>, topic: &str, stored: &BTreeMap<Place, Value>) {
    let mut seen: BTreeMap<Place, Value> = BTreeMap::new();
    let mut newest: BTreeMap<String, i64> = BTreeMap::new();
    for sent in site.messages(topic) {
        let message = parse(sent.text());
        let (user_id, n) = place(&message);
        assert_eq!(sent.key.as_deref(), Some(user_id.as_bytes()), "the key is the user");
        if let Some(before) = seen.get(&(user_id.clone(), n)) {
            assert_eq!(before, &message, "a message that comes again is the same");
            continue;
        }
        assert_eq!(message["message_id"], alerts::message_id(&user_id, n), "the id of user and n");
        let before = newest.insert(user_id.clone(), n);
        let (partition, offset) = (sent.partition, sent.offset);
        assert!(
            before < Some(n),
            "first occurrences are in order: {user_id}'s {n} lies at {partition}/{offset} of {topic}, \
             behind {before:?}"
        );
        seen.insert((user_id, n), message);
    }
    assert_eq!(seen.len(), stored.len(), "messages on the topic and in the tables");
    for (place, message) in &seen {
        assert_eq!(Some(message), stored.get(place), "a message is as it is stored");
    }
}

/// A table of messages, and what it says in the clear: the field of the message, and the column.
struct Table {
    name: &'static str,
    plain: &'static [(&'static str, &'static str)],
    times: &'static [&'static str],
}

const MODE_CHANGES: Table = Table {
    name: "mode_transitions",
    plain: &[("seq", "seq"), ("n", "n"), ("message_id", "message_id")],
    times: &["time", "recorded_at"],
};

const ALERTS: Table = Table {
    name: "alert_changes",
    plain: &[("n", "n"), ("message_id", "message_id"), ("status", "status")],
    times: &["started_at", "updated_at", "ended_at", "recorded_at"],
};

/// What columns say of a message is what the sealed message says.
fn said_in_the_clear(site: &Site<'_>, table: &Table, stored: &BTreeMap<Place, Value>) {
    const AS_SENT: &str = r#"YYYY-MM-DD"T"HH24:MI:SS.US"Z""#;
    let plain = table.plain.iter().map(|(field, column)| format!("'{field}', {column}"));
    let times = table.times.iter();
    let times = times.map(|it| format!("'{it}', to_char({it} AT TIME ZONE 'UTC', '{AS_SENT}')"));
    let fields: Vec<String> = plain.chain(times).collect();
    let rows = site.sql(&format!(
        "SELECT json_build_object('user_id', user_id, {}) FROM {} JOIN users USING (user_number)",
        fields.join(", "),
        table.name
    ));
    let rows = by_place(rows.lines().map(parse));
    assert_eq!(rows.len(), stored.len(), "rows of {}", table.name);
    for (place, row) in rows {
        for (field, value) in row.as_object().expect("an object") {
            assert_eq!(*value, stored[&place][field], "{field} in {}", table.name);
        }
    }
}

/// A stored mode change as it leaves: without what led to it.
fn sent_of(mut stored: Value) -> Value {
    let why = stored.as_object_mut().and_then(|fields| fields.remove("explanation"));
    assert!(why.is_some_and(|why| why.is_object()), "what led to it is stored");
    stored
}

/// The modes that each user was changed to, in order.
pub(crate) fn modes(site: &Site<'_>) -> BTreeMap<String, Vec<String>> {
    let mut modes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for message in exported(site, "transitions") {
        let mode = message["mode"].as_str().expect("a mode").to_owned();
        modes.entry(place(&message).0).or_default().push(mode);
    }
    modes
}

fn exported(site: &Site<'_>, what: &str) -> Vec<Value> {
    site.run(&["export", what]).lines().map(parse).collect()
}

fn by_place(messages: impl IntoIterator<Item = Value>) -> BTreeMap<Place, Value> {
    let mut by_place = BTreeMap::new();
    for message in messages {
        let before = by_place.insert(place(&message), message);
        assert_eq!(before, None, "no message number is there twice");
    }
    by_place
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).expect("JSON")
}

fn place(message: &Value) -> Place {
    let user_id = message["user_id"].as_str().expect("a user").to_owned();
    (user_id, message["n"].as_i64().expect("a number"))
}
