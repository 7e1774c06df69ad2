//! The alerts that mode changes lead to, by a model of its own: whoever enters acute strain or depletion has
//! an alert until they leave it. It never calls what the service makes alerts with.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use uuid::{Uuid, uuid};

/// The name space of all ids.
const NAMESPACE: Uuid = uuid!("e008323a-b960-50ac-9291-583f77b5308a");

/// The id of a user's message of that number.
pub(super) fn message_id(user_id: &str, n: i64) -> Value {
    json!(Uuid::new_v5(&NAMESPACE, format!("{n}/{user_id}").as_bytes()))
}

/// Where a user stands.
struct Standing<'c> {
    mode: &'c str,
    /// The alert that lasts, but for what each change of it says anew.
    alert: Option<Map<String, Value>>,
}

/// The changes of alerts after mode changes as they are exported, each user's in order.
pub(super) fn after(changes: &[Value]) -> Vec<Value> {
    let mut standings: BTreeMap<&str, Standing<'_>> = BTreeMap::new();
    let mut due = Vec::new();
    for change in changes {
        let user_id = text(change, "user_id");
        let begins = Standing { mode: "pattern", alert: None };
        let standing = standings.entry(user_id).or_insert(begins);
        assert_eq!(text(change, "previous_mode"), standing.mode, "modes follow each other");
        standing.mode = text(change, "mode");
        let mut n = change["n"].as_i64().expect("a number");
        if let Some(alert) = standing.alert.take() {
            n += 1;
            due.push(changed(alert, "resolved", n, change));
        }
        standing.alert = entered(change);
        if let Some(alert) = &standing.alert {
            n += 1;
            due.push(changed(alert.clone(), "firing", n, change));
        }
    }
    due
}

/// What stays the same of the alert that begins with a mode change, if one does.
fn entered(change: &Value) -> Option<Map<String, Value>> {
    let (rule, severity, title) = match text(change, "mode") {
        "reflex" => ("mode_reflex", "high", "Acute strain"),
        "guardian" => ("mode_guardian", "medium", "Depleted, needs protection"),
        "pattern" | "hypothesis" => return None,
        other => panic!("{other} is no mode"),
    };
    let user_id = text(change, "user_id");
    let name = format!("{rule}/{}/{user_id}", change["seq"]);
    let alert = json!({
        "id": Uuid::new_v5(&NAMESPACE, name.as_bytes()),
        "type": "alert",
        "snoozed_until": null,
        "user_id": user_id,
        "rule": rule,
        "severity": severity,
        "title": title,
        "started_at": change["explanation"]["evaluated_at"],
        "suppressed_count": 0,
    });
    alert.as_object().cloned()
}

/// An alert as a mode change leaves it.
fn changed(mut alert: Map<String, Value>, status: &str, n: i64, change: &Value) -> Value {
    let at = &change["explanation"]["evaluated_at"];
    let said = json!({
        "message_id": message_id(text(change, "user_id"), n),
        "n": n,
        "status": status,
        "detail": change["reason_text"],
        "updated_at": at,
        "ended_at": (status == "resolved").then_some(at),
        "mode": change["mode"],
        "evidence": {
            "seq": change["seq"],
            "reason": change["reason"],
            "reason_text": change["reason_text"],
        },
        "policy_version": change["policy_version"],
        "recorded_at": change["recorded_at"],
    });
    alert.extend(said.as_object().cloned().into_iter().flatten());
    alert.into()
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().expect("a text")
}
