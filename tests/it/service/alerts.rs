//! What holds of alerts whatever happened: their ids and numbers, the ways that an episode may go, and that whoever
//! enters acute strain or depletion has an open one from then on. It never calls what the service makes
//! alerts with.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use uuid::{Uuid, uuid};

/// The name space of all ids.
const NAMESPACE: Uuid = uuid!("e008323a-b960-50ac-9291-583f77b5308a");

/// The id of a user's message of that number.
pub(super) fn message_id(user_id: &str, n: i64) -> Value {
    json!(Uuid::new_v5(&NAMESPACE, format!("{n}/{user_id}").as_bytes()))
}

/// Checks all changes of alerts against the mode changes; both as they are exported, each user's in order.
pub(super) fn all(changes: &[Value], alerts: &[Value]) {
    let mut people: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for message in changes.iter().chain(alerts) {
        people.entry(text(message, "user_id")).or_default().push(message);
    }
    for (user_id, mut messages) in people {
        messages.sort_by_key(|message| message["n"].as_i64());
        one(user_id, &messages);
    }
}

/// An episode that is not over.
struct Open<'m> {
    rule: &'m str,
    severity: usize,
    newest: &'m Value,
}

fn one(user_id: &str, messages: &[&Value]) {
    let mut open: BTreeMap<&str, Open<'_>> = BTreeMap::new();
    for (place, message) in messages.iter().enumerate() {
        if message["type"] == "alert" {
            change(user_id, message, &mut open);
            continue;
        }
        // What the change has led to stands behind it.
        let its = messages[place + 1..].iter();
        let its = its.take_while(|next| {
            next["type"] == "alert" && next["recorded_at"] == message["recorded_at"]
        });
        let (rule, severity) = match text(message, "mode") {
            "reflex" if message["confidence"].as_f64() >= Some(0.85) => ("mode_reflex", "high"),
            "reflex" => ("mode_reflex", "medium"),
            "guardian" => ("mode_guardian", ""),
            _ => continue,
        };
        let entered = &message["explanation"]["evaluated_at"];
        let fires =
            its.clone().find(|alert| alert["rule"] == rule && alert["started_at"] == *entered);
        let lasts = open.values().find(|open| open.rule == rule);
        assert!(
            fires.is_some() || lasts.is_some(),
            "{user_id}: entered {rule}, and no alert is open"
        );
        if let Some(fires) = fires {
            let first = severity.is_empty() || fires["severity"] == severity;
            assert!(first, "{user_id}: {rule} is {} where {severity} is due", fires["severity"]);
        }
    }
}

/// A change of an alert follows on what was said of it before.
fn change<'m>(user_id: &str, message: &'m Value, open: &mut BTreeMap<&'m str, Open<'m>>) {
    let (id, rule) = (text(message, "id"), text(message, "rule"));
    let severities = ["low", "medium", "high", "critical"];
    let severity = severities.iter().position(|name| message["severity"] == *name);
    let severity = severity.expect("a severity");
    let status = text(message, "status");
    let is_over = matches!(status, "resolved" | "expired");
    assert_eq!(message["ended_at"].is_null(), !is_over, "an end, if it has ended: {message}");
    assert!(!(is_over && message["notify"] == true), "nobody is told of an end");
    let Some(before) = open.get(id) else {
        let episode = &message["n"];
        let due = Uuid::new_v5(&NAMESPACE, format!("{rule}/{episode}/{user_id}").as_bytes());
        assert_eq!(id, due.to_string(), "the id of rule, episode and user");
        assert_eq!(status, "firing", "an episode begins with that");
        let same = open.values().any(|other| other.rule == rule);
        assert!(!same, "{user_id}: two episodes of {rule} at once");
        open.insert(id, Open { rule, severity, newest: message });
        return;
    };
    assert_eq!(before.rule, rule);
    assert_eq!(before.newest["started_at"], message["started_at"], "it began once");
    assert!(severity >= before.severity, "it only becomes more serious");
    let suppressed = |message: &Value| message["suppressed_count"].as_i64();
    assert!(suppressed(message) >= suppressed(before.newest));
    let told_again = message["notify"] == true && before.newest["notify"] == true;
    let reminds = message["detail"] == "It still lasts.";
    assert!(!told_again || severity > before.severity || reminds, "told twice: {message}");
    if is_over {
        open.remove(id);
    } else {
        open.insert(id, Open { rule, severity, newest: message });
    }
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().expect("a text")
}
