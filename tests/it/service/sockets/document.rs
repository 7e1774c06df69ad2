//! What docs/asyncapi.yaml says of messages is what is sent.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::client::{Came, open};
use super::following::site;
use crate::service::feed::{crowd, stream};
use crate::service::http::issuer::SigningKey;

/// The schemas of what the service sends, by the type that they name.
fn schemas() -> Vec<(String, Value)> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/asyncapi.yaml");
    let text = std::fs::read_to_string(file).expect("a document");
    let document: Value = serde_saphyr::from_str(&text).expect("YAML");
    let messages = document["components"]["messages"].as_object().expect("messages");
    let named = messages.values().map(|message| {
        let schema = message["payload"].clone();
        let kind = schema["properties"]["type"]["const"].as_str().expect("a type").to_owned();
        (kind, schema)
    });
    named.collect()
}

fn is_of(value: &Value, kind: &str) -> bool {
    match kind {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        other => panic!("{other}"),
    }
}

/// Holds a message against its schema, as far as these documents say anything.
fn fits(message: &Value, schema: &Value) {
    let fields = message.as_object().expect("an object");
    for name in schema["required"].as_array().expect("a list") {
        assert!(
            fields.contains_key(name.as_str().expect("a name")),
            "{name} is missing: {message}"
        );
    }
    for (name, value) in fields {
        let said = &schema["properties"][name];
        let kinds = match &said["type"] {
            Value::String(kind) => vec![kind.as_str()],
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => panic!("nothing is said of {name}"),
        };
        assert!(kinds.iter().any(|kind| is_of(value, kind)), "{name}: {value}");
        assert!(said["const"].is_null() || said["const"] == *value, "{name}: {value}");
        let words = said["enum"].as_array();
        assert!(words.is_none_or(|words| words.contains(value)), "{name}: {value}");
    }
}

#[test]
fn every_kind_of_message_is_as_the_document_says() {
    let key = SigningKey::elliptic("e");
    let Some(site) = site(&key) else { return };
    let bridge = site.start();
    bridge.wait_lanes(3);
    stream(site.kafka, &site.topics.events, &crowd(20, 40), 100);
    site.wait_caught_up();
    let schemas = schemas();
    let mut seen = BTreeSet::new();
    let operator = key.token("ops", "operator");
    let asked = [
        json!({ "type": "subscribe", "users": "*", "after": "MQ", "snapshot": true }),
        json!({ "type": "subscribe", "users": ["user-1", "nobody"], "after": { "user-1": 0 } }),
    ];
    for subscribe in asked {
        let (_, schema) = schemas.iter().find(|(kind, _)| kind == "subscribe").expect("one");
        for name in subscribe.as_object().expect("an object").keys() {
            assert!(schema["properties"][name].is_object(), "{name}");
        }
        let mut socket = open(&bridge, &operator);
        socket.say(&subscribe);
        while let Came::Message(message) =
            socket.next_within(std::time::Duration::from_millis(1_500))
        {
            let kind = message["type"].as_str().expect("a type").to_owned();
            let schema = schemas.iter().find(|(its, _)| *its == kind);
            fits(&message, &schema.unwrap_or_else(|| panic!("{kind}")).1);
            seen.insert(kind);
        }
    }
    let all = ["alert", "mode_switch", "snapshot", "status"].map(str::to_owned);
    assert_eq!(seen, BTreeSet::from(all));
    bridge.end();
}
