//! Statements that others must be able to check: signed by a key, checked with its public half. A statement of one kind
//! is never taken for one of another.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use super::{PublicKey, SigningKey};

/// Why a statement is not what it was when it was signed.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// It is no signed statement.
    #[error("it is no signed {0}")]
    NotSigned(String),
    /// It was changed since it was signed, or another key has signed it.
    #[error("it was changed since it was signed, or another key has signed it")]
    NotAuthentic,
}

impl SigningKey {
    /// A statement of this kind with its signature: an object with both.
    ///
    /// The signature is over the kind, a line feed, and the statement as JSON with sorted names and nothing
    /// between the parts. A statement has no numbers but whole ones, so that this form is the one of RFC 8785.
    pub fn state(&self, kind: &str, statement: Value) -> Value {
        let signature = self.sign(&signed_bytes(kind, &statement));
        json!({
            "kind": kind,
            "statement": statement,
            "signature": {
                "algorithm": "Ed25519",
                "public_key": BASE64_STANDARD.encode(self.public().bytes()),
                "value": BASE64_STANDARD.encode(signature),
            },
        })
    }
}

impl PublicKey {
    /// The statement in what [`SigningKey::state`] gave for this kind.
    ///
    /// # Errors
    ///
    /// When it is none, was changed, or another key has signed it.
    pub fn statement(&self, kind: &str, signed: &Value) -> Result<Value, StatementError> {
        let none = || StatementError::NotSigned(kind.to_owned());
        if signed.get("kind").and_then(Value::as_str) != Some(kind) {
            return Err(none());
        }
        let statement = signed.get("statement").ok_or_else(none)?;
        let value = signed.pointer("/signature/value").and_then(Value::as_str).ok_or_else(none)?;
        let value = BASE64_STANDARD.decode(value).map_err(|_| none())?;
        if self.has_signed(&signed_bytes(kind, statement), &value) {
            Ok(statement.clone())
        } else {
            Err(StatementError::NotAuthentic)
        }
    }
}

/// With its kind in front, no statement is ever taken for one of another kind.
fn signed_bytes(kind: &str, statement: &Value) -> Vec<u8> {
    format!("{kind}\n{}", sorted(statement)).into_bytes()
}

/// With names sorted, in whatever order a library has kept them.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut names: Vec<&String> = object.keys().collect();
            names.sort_unstable();
            let mut copy = Map::new();
            for name in names {
                copy.insert(name.clone(), object.get(name).map(sorted).unwrap_or_default());
            }
            Value::Object(copy)
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_authentic_until_anything_of_it_is_changed() {
        let key = SigningKey::generate().expect("a key");
        let public = key.public();
        let statement = json!({ "b": [1, { "z": null, "a": "x" }], "a": true });
        let signed = key.state("receipt", statement.clone());
        let text = serde_json::to_string_pretty(&signed).expect("JSON");
        let read: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(public.statement("receipt", &read).expect("authentic"), statement);
        for (path, value) in [
            ("/statement/a", json!(false)),
            ("/statement/b/1/a", json!("y")),
            ("/signature/value", json!(BASE64_STANDARD.encode([0; 64]))),
        ] {
            let mut changed = signed.clone();
            *changed.pointer_mut(path).expect("it is there") = value;
            let said = public.statement("receipt", &changed);
            assert!(matches!(said, Err(StatementError::NotAuthentic)), "{path}");
        }
        let said = public.statement("another", &signed);
        assert!(matches!(said, Err(StatementError::NotSigned(_))));
        let mut renamed = signed;
        renamed["kind"] = json!("another");
        let said = public.statement("another", &renamed);
        assert!(matches!(said, Err(StatementError::NotAuthentic)));
    }
}
