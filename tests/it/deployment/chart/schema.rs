//! `values.schema.json`: what it says of the service's settings is made from their table, and it describes every value.

use biometric_bridge::settings::{KEYS, Key, Settings};
use serde_json::{Number, Value, json};

use super::manifests::{chart, values};
use super::rules::secret_variables;
use super::{as_text, available, run};
use crate::support::{read, stderr};

/// Settings that other values of the chart set.
const OF_OTHER_VALUES: [&str; 20] = [
    "store.url",
    "redis.url",
    "kafka.bootstrap_servers",
    "kafka.group_instance_id",
    "kafka.sasl_password",
    "kafka.certificate_file",
    "kafka.key_file",
    "http.bind",
    "http.tls.certificate_file",
    "http.tls.key_file",
    "auth.tokens_file",
    "keys.file",
    "keys.url",
    "audit.signing_key_file",
    "policy.file",
    "push.websocket_url",
    "push.token_file",
    "coach.enabled",
    "coach.openai_api_key",
    "coach.base_url",
];

/// The schema as it should be.
fn current() -> Value {
    let text = read(&chart().join("values.schema.json"));
    let mut schema: Value = serde_json::from_str(&text).expect("JSON");
    schema["properties"]["config"] = config();
    schema["properties"]["extraEnv"] = extra_env();
    let told = descriptions(&read(&chart().join("values.yaml")));
    for (path, description) in told {
        let pointer = format!("/properties/{}", path.replace('.', "/properties/"));
        let value = schema.pointer_mut(&pointer);
        value.unwrap_or_else(|| panic!("the schema has no {path}"))["description"] =
            json!(description);
    }
    schema
}

/// What `config` may hold: every setting that no other value sets.
fn config() -> Value {
    let mut root = section("The service's settings, as in config/bridge.yaml.");
    for key in KEYS.iter().filter(|key| !OF_OTHER_VALUES.contains(&key.path)) {
        let (sections, name) = key.path.rsplit_once('.').unwrap_or(("", key.path));
        let mut place = &mut root;
        for part in sections.split('.').filter(|part| !part.is_empty()) {
            let properties = place["properties"].as_object_mut().expect("properties");
            let about = || section(&format!("The settings of the section {sections}."));
            place = properties.entry(part).or_insert_with(about);
        }
        place["properties"][name] = setting(key);
    }
    root
}

fn section(description: &str) -> Value {
    json!({
        "type": "object", "description": description, "additionalProperties": false, "properties": {},
    })
}

fn setting(key: &Key) -> Value {
    let wanted = key.wanted();
    let shown = key.show(&Settings::default());
    let default: Value = serde_saphyr::from_str(&shown).unwrap_or_default();
    let kinds = match &default {
        Value::Bool(_) => json!("boolean"),
        Value::Number(number) if number.is_f64() => json!("number"),
        Value::Number(_) => json!("integer"),
        Value::Array(_) => json!("array"),
        Value::Object(_) => json!("object"),
        Value::Null => json!(["string", "null"]),
        Value::String(_) => json!("string"),
    };
    let words: Vec<&str> = key.doc.split_whitespace().collect();
    let mut schema =
        json!({ "type": kinds, "description": format!("{} [{wanted}]", words.join(" ")) });
    let more = match &default {
        Value::Array(_) => json!({ "items": { "type": "string" } }),
        Value::Object(_) => json!({ "additionalProperties": { "type": "string" } }),
        Value::Number(_) => bounds(&wanted),
        _ if key.is_secret => json!({ "pattern": "^[^@\\s]*$" }),
        _ if wanted.starts_with("a duration") => json!({ "pattern": "^([0-9]+(ms|d|h|m|s))+$" }),
        _ => json!({}),
    };
    let Value::Object(more) = more else { unreachable!("it is one") };
    schema.as_object_mut().expect("an object").extend(more);
    schema
}

/// The bounds in "a whole number from 1 to 16", if it has some.
fn bounds(wanted: &str) -> Value {
    let numbers = wanted.split(' ').filter_map(|word| serde_json::from_str(word).ok());
    match numbers.collect::<Vec<Number>>().as_slice() {
        [least, most] => json!({ "minimum": least, "maximum": most }),
        _ => json!({}),
    }
}

fn extra_env() -> Value {
    let secrets: Vec<String> = secret_variables().into_iter().collect();
    let source =
        json!({ "type": "object", "description": "Where in it.", "additionalProperties": true });
    json!({
        "type": "array",
        "description": "",
        "items": {
            "type": "object",
            "additionalProperties": false,
            "required": ["name"],
            "properties": {
                "name": { "type": "string", "description": "Its name.", "pattern": "^[A-Z][A-Z0-9_]*$" },
                "value": { "type": "string", "description": "Its value; not of a secret." },
                "valueFrom": {
                    "type": "object",
                    "description": "Where its value is.",
                    "additionalProperties": false,
                    "minProperties": 1,
                    "properties": {
                        "secretKeyRef": source, "configMapKeyRef": source, "fieldRef": source,
                        "resourceFieldRef": source,
                    },
                },
            },
            "if": { "properties": { "name": { "enum": secrets } } },
            "then": { "not": { "required": ["value"] } },
        },
    })
}

/// What values.yaml says of each value: its path, and the text of the comment above it.
fn descriptions(yaml: &str) -> Vec<(String, String)> {
    let mut told = Vec::new();
    let mut path: Vec<(usize, String)> = Vec::new();
    let mut comment: Option<String> = None;
    for line in yaml.lines() {
        let words = line.trim_start();
        let depth = line.len() - words.len();
        if let Some(text) = words.strip_prefix("# -- ") {
            comment = Some(text.to_owned());
        } else if let Some(text) = words.strip_prefix("# ") {
            comment = comment.map(|before| format!("{before} {text}"));
        } else if let Some((name, _)) = words.split_once(':').filter(|_| !words.starts_with('-')) {
            path.retain(|(above, _)| *above < depth);
            path.push((depth, name.to_owned()));
            let names: Vec<&str> = path.iter().map(|(_, name)| name.as_str()).collect();
            told.extend(comment.take().map(|text| (names.join("."), text)));
        }
    }
    told
}

/// Properties without a description, and objects that take anything and do not say so.
fn vague(path: &str, schema: &Value, found: &mut Vec<String>) {
    let properties = schema["properties"].as_object();
    if schema["type"] == json!("object") && schema["additionalProperties"].is_null() {
        found.push(format!("{path} takes any property"));
    }
    for (name, value) in properties.into_iter().flatten() {
        let path = format!("{path}/{name}");
        let description = value["description"].as_str().unwrap_or_default();
        if description.is_empty() {
            found.push(format!("{path} is not described"));
        }
        vague(&path, value, found);
    }
    if schema["items"].is_object() {
        vague(&format!("{path}[]"), &schema["items"], found);
    }
}

#[test]
fn the_schema_knows_every_setting() {
    let path = chart().join("values.schema.json");
    let current = serde_json::to_string_pretty(&current()).expect("JSON") + "\n";
    if std::env::var_os("CHART_UPDATE").is_some_and(|set| set == "1") {
        std::fs::write(&path, &current).expect("written");
    }
    assert!(read(&path) == current, "run charts/update.sh (`make chart-update`)");
    for path in OF_OTHER_VALUES {
        assert!(KEYS.iter().any(|key| key.path == path), "there is no setting {path}");
    }
}

#[test]
fn the_schema_is_strict_and_describes_every_value() {
    let mut found = Vec::new();
    vague("", &current(), &mut found);
    assert_eq!(found, [""; 0]);
    let mut vaguer = current();
    vaguer["properties"]["image"]["properties"]["tag"]["description"] = json!("");
    vaguer["properties"]["redis"]["additionalProperties"] = Value::Null;
    vague("", &vaguer, &mut found);
    assert_eq!(found, ["/image/tag is not described", "/redis takes any property"]);
    let told = descriptions(&read(&chart().join("values.yaml")));
    let values: Value = serde_saphyr::from_str(&read(&chart().join("values.yaml"))).expect("YAML");
    let told: Vec<&str> = told.iter().map(|(path, _)| path.as_str()).collect();
    let mut leaves = Vec::new();
    undescribed("", &values, &told, &mut leaves);
    assert_eq!(leaves, [""; 0], "values.yaml says of each value what it is");
}

/// Values without a comment, neither of their own nor of what they are in.
fn undescribed(path: &str, value: &Value, told: &[&str], found: &mut Vec<String>) {
    if told.contains(&path) {
        return;
    }
    match value.as_object() {
        Some(values) => {
            for (name, value) in values {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                undescribed(&path, value, told, found);
            }
        }
        None => found.push(path.to_owned()),
    }
}

#[test]
fn values_that_are_none_are_refused() {
    if !available() {
        return;
    }
    let (chart, minimal) = (chart(), values("minimal"));
    for (wrong, told) in [
        ("replicaCuont=3", "replicaCuont"),
        ("config.kafka.group_id=x,config.kafka.group=x", "group"),
        ("config.kafka.group_instance_id=bridge-0", "group_instance_id"),
        ("config.store.url=postgresql://a:b@c/d", "url"),
        ("config.auth.jwks_url=https://a:b@c/d", "jwks_url"),
        ("config.store.connections_max=1", "connections_max"),
        ("config.shutdown.deadline=soon", "deadline"),
        ("extraEnv[0].name=OPENAI_API_KEY,extraEnv[0].value=sk-1", "extraEnv"),
        ("extraEnv[0].name=OTEL_EXPORTER_OTLP_HEADERS,extraEnv[0].value=k", "extraEnv"),
        ("extraVolumes[0].name=x,extraVolumes[0].hostPath.path=/", "extraVolumes"),
        ("resources.limits=null", "resources"),
        ("runAsUser=0", "runAsUser"),
        ("topologySpread.whenUnsatisfiable=Never", "topologySpread"),
    ] {
        let flags = ["template", "x", as_text(&chart), "-f", as_text(&minimal), "--set", wrong];
        let refused = run("helm", &flags);
        assert!(!refused.status.success(), "{wrong} is taken");
        let problem = stderr(&refused);
        assert!(problem.contains("schema") && problem.contains(told), "{wrong}: {problem}");
    }
}
