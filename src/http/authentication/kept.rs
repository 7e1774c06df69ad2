//! An identity as bytes, for a ticket that another process may be shown. Of a token it says no more than its digest.

use std::collections::BTreeSet;

use neuros::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::operators::Digest;
use super::{Identity, Scopes};

/// What is kept of somebody.
#[derive(Serialize, Deserialize)]
struct Kept {
    name: String,
    subject: Option<String>,
    own: bool,
    cares: BTreeSet<String>,
    operator: bool,
    /// Microseconds since 1970.
    until: Option<i64>,
    digest: Option<Digest>,
}

impl Identity {
    /// As bytes.
    pub(in crate::http) fn to_bytes(&self) -> Vec<u8> {
        let Self { name, subject, scopes, until, digest } = self.clone();
        let Scopes { own, cares, operator } = scopes;
        let until = until.map(Timestamp::as_micros);
        let kept = Kept { name, subject, own, cares, operator, until, digest };
        serde_json::to_vec(&kept).unwrap_or_default()
    }

    /// From those bytes.
    pub(in crate::http) fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let Kept { name, subject, own, cares, operator, until, digest } =
            serde_json::from_slice(bytes).ok()?;
        let scopes = Scopes { own, cares, operator };
        let until = until.map(Timestamp::from_micros);
        Some(Self { name, subject, scopes, until, digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_comes_back_as_it_was() {
        let identity = Identity {
            name: "subject ada".to_owned(),
            subject: Some("ada".to_owned()),
            scopes: Scopes::of(["self", "care:bob"].into_iter()),
            until: Some(Timestamp::from_micros(7)),
            digest: Some([7; 32]),
        };
        assert!(Identity::of_bytes(&identity.to_bytes()) == Some(identity));
        assert!(Identity::of_bytes(b"{}").is_none());
    }
}
