//! Mode changes as they left: each that is stored is on its topic at least once with the same words, in
//! order per user, and nothing else is.

use std::collections::BTreeMap;

use serde_json::Value;

use super::site::Site;

/// Checks the topic of mode changes against the tables.
pub(crate) fn all_left(site: &Site<'_>) {
    let exported = site.run(&["export", "transitions"]);
    let stored: BTreeMap<(String, i64), Value> =
        exported.lines().map(|line| sent_of(parse(line))).collect();
    assert_eq!(exported.lines().count(), stored.len(), "no message number is there twice");
    let mut seen: BTreeMap<(String, i64), Value> = BTreeMap::new();
    let mut newest: BTreeMap<String, i64> = BTreeMap::new();
    for sent in site.messages(&site.topics.transitions) {
        let message = parse(sent.text());
        let (user_id, n) = place(&message);
        assert_eq!(sent.key.as_deref(), Some(user_id.as_bytes()), "the key is the user");
        if let Some(before) = seen.get(&(user_id.clone(), n)) {
            assert_eq!(before, &message, "a message that comes again is the same");
            continue;
        }
        let before = newest.insert(user_id.clone(), n);
        assert!(before < Some(n), "first occurrences are in order");
        seen.insert((user_id, n), message);
    }
    assert_eq!(seen.len(), stored.len(), "messages on the topic and in the tables");
    for (place, message) in &seen {
        assert_eq!(Some(message), stored.get(place), "a message is as it is stored");
    }
    // Alerts come with a later release: whatever is on their topic must be in the tables.
    let alerts = site.number("SELECT count(*) FROM alert_changes");
    let sent = site.kafka.read_all(&site.topics.alerts).len();
    assert!(i64::try_from(sent).expect("few") >= alerts && (alerts > 0 || sent == 0));
}

/// A stored mode change as it leaves: without what led to it.
fn sent_of(mut stored: Value) -> ((String, i64), Value) {
    let why = stored.as_object_mut().and_then(|fields| fields.remove("explanation"));
    assert!(why.is_some_and(|why| why.is_object()), "what led to it is stored");
    (place(&stored), stored)
}

/// The modes that each user was changed to, in order.
pub(crate) fn modes(site: &Site<'_>) -> BTreeMap<String, Vec<String>> {
    let mut modes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in site.run(&["export", "transitions"]).lines() {
        let message = parse(line);
        let mode = message["mode"].as_str().expect("a mode").to_owned();
        modes.entry(place(&message).0).or_default().push(mode);
    }
    modes
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).expect("JSON")
}

fn place(message: &Value) -> (String, i64) {
    let user_id = message["user_id"].as_str().expect("a user").to_owned();
    (user_id, message["n"].as_i64().expect("a number"))
}
