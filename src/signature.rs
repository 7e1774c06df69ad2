//! Statements that others must be able to check: signed by a key from a file, checked with its public half. No
//! private key is ever shown or put into an error.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

/// A private key for signatures (Ed25519, RFC 8032).
pub struct SigningKey(Ed25519KeyPair);

/// The public half of a signing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

/// Why there is no key, or a statement is not what it was when it was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// The file cannot be read.
    #[error("cannot read the key {}: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is no private key of this kind.
    #[error(
        "{} is no private key for signatures (Ed25519, PKCS#8, PEM); `openssl genpkey -algorithm \
         ed25519` makes one",
        .0.display()
    )]
    NoPrivateKey(PathBuf),
    /// The file is no public key of this kind.
    #[error(
        "{} is no public key for signatures (Ed25519, PEM); `openssl pkey -in PRIVATE -pubout` shows it",
        .0.display()
    )]
    NoPublicKey(PathBuf),
    /// It is no signed statement.
    #[error("it is no signed {0}")]
    NotSigned(String),
    /// It was changed since it was signed, or another key has signed it.
    #[error("it was changed since it was signed, or another key has signed it")]
    NotAuthentic,
}

/// What stands in front of the public key in its encoding (RFC 8410).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

impl SigningKey {
    /// Reads a key.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is no such key.
    pub fn read(path: &Path) -> Result<Self, SignatureError> {
        let text = Zeroizing::new(read(path)?);
        let der = PrivatePkcs8KeyDer::from_pem_slice(&text);
        let none = || SignatureError::NoPrivateKey(path.to_owned());
        let der = der.map_err(|_| none())?;
        let pair = Ed25519KeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| none())?;
        Ok(Self(pair))
    }

    /// A statement of this kind with its signature: an object with both.
    ///
    /// The signature is over the kind, a line feed, and the statement as JSON with sorted names and nothing
    /// between the parts. A statement has no numbers but whole ones, so that this form is the one of RFC 8785.
    pub fn sign(&self, kind: &str, statement: Value) -> Value {
        let signature = self.0.sign(&signed_bytes(kind, &statement));
        json!({
            "kind": kind,
            "statement": statement,
            "signature": {
                "algorithm": "Ed25519",
                "public_key": BASE64_STANDARD.encode(self.0.public_key().as_ref()),
                "value": BASE64_STANDARD.encode(signature.as_ref()),
            },
        })
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").finish_non_exhaustive()
    }
}

impl PublicKey {
    /// Reads a key.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is no such key.
    pub fn read(path: &Path) -> Result<Self, SignatureError> {
        let none = || SignatureError::NoPublicKey(path.to_owned());
        let der = SubjectPublicKeyInfoDer::from_pem_slice(&read(path)?).map_err(|_| none())?;
        let key = der.as_ref().strip_prefix(&SPKI).ok_or_else(none)?;
        Ok(Self(key.try_into().map_err(|_| none())?))
    }

    /// The statement in what [`SigningKey::sign`] gave for this kind.
    ///
    /// # Errors
    ///
    /// When it is none, was changed, or another key has signed it.
    pub fn verify(&self, kind: &str, signed: &Value) -> Result<Value, SignatureError> {
        let none = || SignatureError::NotSigned(kind.to_owned());
        if signed.get("kind").and_then(Value::as_str) != Some(kind) {
            return Err(none());
        }
        let statement = signed.get("statement").ok_or_else(none)?;
        let value = signed.pointer("/signature/value").and_then(Value::as_str).ok_or_else(none)?;
        let value = BASE64_STANDARD.decode(value).map_err(|_| none())?;
        let key = UnparsedPublicKey::new(&ED25519, &self.0);
        let bytes = signed_bytes(kind, statement);
        key.verify(&bytes, &value).map_err(|_| SignatureError::NotAuthentic)?;
        Ok(statement.clone())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, SignatureError> {
    fs::read(path).map_err(|source| SignatureError::Unreadable { path: path.to_owned(), source })
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

    /// The first test vector of RFC 8032, as `openssl` writes it.
    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g
-----END PRIVATE KEY-----
";
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
-----END PUBLIC KEY-----
";

    fn keys() -> (SigningKey, PublicKey) {
        let folder = tempfile::tempdir().expect("a folder");
        let [private, public] = ["private", "public"].map(|name| folder.path().join(name));
        fs::write(&private, PRIVATE).expect("written");
        fs::write(&public, PUBLIC).expect("written");
        (SigningKey::read(&private).expect("a key"), PublicKey::read(&public).expect("a key"))
    }

    #[test]
    fn a_statement_is_signed_as_rfc_8032_says() {
        let (key, public) = keys();
        let signed = key.0.sign(b"");
        let due = "5VZDAMNgrHKQhuLMgG6CioSHfx645dl02HPgZSJJAVVf\
                   uIIVkKM7rMYeOXAc+bRr0lv18FlbviRlUUFDjnoQCw==";
        assert_eq!(BASE64_STANDARD.encode(signed.as_ref()), due);
        assert_eq!(key.0.public_key().as_ref(), public.0);
    }

    #[test]
    fn a_statement_is_authentic_until_anything_of_it_is_changed() {
        let (key, public) = keys();
        let statement = json!({ "b": [1, { "z": null, "a": "x" }], "a": true });
        let signed = key.sign("receipt", statement.clone());
        let text = serde_json::to_string_pretty(&signed).expect("JSON");
        let read: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(public.verify("receipt", &read).expect("authentic"), statement);
        for (path, value) in [
            ("/statement/a", json!(false)),
            ("/statement/b/1/a", json!("y")),
            ("/signature/value", json!(BASE64_STANDARD.encode([0; 64]))),
        ] {
            let mut changed = signed.clone();
            *changed.pointer_mut(path).expect("it is there") = value;
            let said = public.verify("receipt", &changed);
            assert!(matches!(said, Err(SignatureError::NotAuthentic)), "{path}");
        }
        let said = public.verify("another", &signed);
        assert!(matches!(said, Err(SignatureError::NotSigned(_))));
        let mut renamed = signed;
        renamed["kind"] = json!("another");
        let said = public.verify("another", &renamed);
        assert!(matches!(said, Err(SignatureError::NotAuthentic)));
    }

    #[test]
    fn a_file_that_is_no_key_is_named_and_nothing_of_it_is_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        let said = SigningKey::read(&path).expect_err("there is none").to_string();
        assert!(said.contains("cannot read the key"), "{said}");
        for text in ["", "SECRET", PUBLIC, &PRIVATE.replace("MC4CAQ", "MC4CAX")] {
            fs::write(&path, text).expect("written");
            let said = SigningKey::read(&path).expect_err("no key").to_string();
            assert!(said.contains("openssl genpkey") && !said.contains("SECRET"), "{said}");
        }
        fs::write(&path, PRIVATE).expect("written");
        let said = PublicKey::read(&path).expect_err("no public key").to_string();
        assert!(said.contains("-pubout"), "{said}");
    }
}
