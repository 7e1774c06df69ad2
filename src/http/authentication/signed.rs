//! Tokens that an issuer has signed (JWT, RFC 7519), held against RFC 8725. The key comes from the issuer's
//! set alone, never from the token; the algorithm is one that was allowed and that fits the key.

use std::collections::BTreeMap;
use std::fmt;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header};
use neuros::time::Timestamp;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;

use super::keys::Keys;
use super::{Change, Identity, Refused, Scopes};
use crate::settings::{Auth, SigningAlgorithm};

/// A longer token is none that an issuer makes.
const TOKEN_BYTES_MAX: usize = 8 << 10;
const SUBJECT_BYTES_MAX: usize = 255;

/// Knows people by signed tokens.
pub(super) struct Signed {
    keys: Keys,
    algorithms: Vec<Algorithm>,
    /// What holds for every token; its algorithm comes with each.
    rules: Validation,
    scope_claim: String,
}

impl Signed {
    /// What the settings say, if they say where keys are.
    ///
    /// # Errors
    ///
    /// One sentence that names the file of keys and what is wrong with it.
    pub(super) fn of(settings: &Auth) -> Result<Option<Self>, String> {
        let (Some(keys), Some(issuer), Some(audience)) =
            (Keys::of(settings)?, &settings.issuer, &settings.audience)
        else {
            return Ok(None);
        };
        let mut rules = Validation::new(Algorithm::RS256);
        rules.set_issuer(&[issuer]);
        rules.set_audience(&[audience]);
        rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        rules.validate_nbf = true;
        rules.leeway = settings.leeway.as_secs();
        let algorithms = settings.algorithms.iter().copied().map(algorithm).collect();
        let scope_claim = settings.scope_claim.clone();
        Ok(Some(Self { keys, algorithms, rules, scope_claim }))
    }

    /// Whom a token names.
    ///
    /// # Errors
    ///
    /// What is wrong with it, checked in the order of the RFCs: form, algorithm, key, signature, claims.
    pub(super) async fn identify(&self, token: &str) -> Result<Identity, Refused> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refused::Unknown);
        }
        let header = decode_header(token).map_err(|_| Refused::Unknown)?;
        self.check(&header)?;
        let key = self.keys.find(header.kid.as_deref(), header.alg).await?;
        let rules = Validation { algorithms: vec![header.alg], ..self.rules.clone() };
        let claims =
            decode::<Members>(token, &key, &rules).map_err(|error| refused(error.kind()))?;
        self.identity(claims.claims)
    }

    /// Fetches the keys anew when it is time.
    pub(super) async fn refresh(&self, is_written: impl AsyncFn(Change) -> bool) {
        self.keys.refresh(is_written).await;
    }

    fn check(&self, header: &Header) -> Result<(), Refused> {
        if !self.algorithms.contains(&header.alg) {
            return Err(Refused::Algorithm);
        }
        // RFC 7515, section 4.1.11: whoever does not understand all of them must refuse; we know none.
        if header.crit.is_some() {
            return Err(Refused::Critical);
        }
        // RFC 8725, section 3.11: another kind of token of the same issuer is no token for us.
        let kind = header.typ.as_deref().map(str::to_ascii_lowercase);
        match kind.as_deref().map(|kind| kind.strip_prefix("application/").unwrap_or(kind)) {
            None | Some("jwt" | "at+jwt") => Ok(()),
            Some(_) => Err(Refused::Type),
        }
    }

    /// When a token ends, with the difference between clocks that is allowed. It was there, and a number.
    fn end_of(&self, claims: &BTreeMap<String, Value>) -> Option<Timestamp> {
        let end = claims.get("exp").and_then(Value::as_f64)?.clamp(0.0, LAST_SECOND);
        #[expect(clippy::cast_possible_truncation, reason = "it was clamped")]
        let millis = (end * 1e3) as i64;
        let leeway = i64::try_from(self.rules.leeway).unwrap_or(0);
        Some(Timestamp::from_millis(millis + leeway * 1_000))
    }

    fn identity(&self, Members(claims): Members) -> Result<Identity, Refused> {
        // The library takes a list of issuers for one; RFC 7519 knows no such list.
        let text = |name: &str| claims.get(name).and_then(Value::as_str).ok_or(Refused::Claims);
        text("iss")?;
        let subject = text("sub")?;
        let is_fit =
            (1..=SUBJECT_BYTES_MAX).contains(&subject.len()) && !subject.contains(char::is_control);
        if !is_fit {
            return Err(Refused::Claims);
        }
        let scopes = match claims.get(&self.scope_claim) {
            None | Some(Value::Null) => Scopes::default(),
            Some(Value::String(words)) => Scopes::of_text(words),
            Some(Value::Array(words)) => Scopes::of(words.iter().filter_map(Value::as_str)),
            Some(_) => return Err(Refused::Claims),
        };
        let subject = subject.to_owned();
        let name = format!("subject {subject}");
        let until = self.end_of(&claims);
        Ok(Identity { name, subject: Some(subject), scopes, until, digest: None })
    }
}

/// Seconds of the last moment that is counted.
const LAST_SECOND: f64 = 9.0e11;

fn refused(error: &ErrorKind) -> Refused {
    match error {
        ErrorKind::InvalidSignature => Refused::Signature,
        ErrorKind::ExpiredSignature => Refused::Expired,
        ErrorKind::ImmatureSignature => Refused::NotYetValid,
        ErrorKind::InvalidIssuer => Refused::Issuer,
        ErrorKind::InvalidAudience => Refused::Audience,
        ErrorKind::InvalidAlgorithm => Refused::Algorithm,
        ErrorKind::MissingRequiredClaim(_)
        | ErrorKind::InvalidClaimFormat(_)
        | ErrorKind::Json(_) => Refused::Claims,
        _ => Refused::Unknown,
    }
}

fn algorithm(allowed: SigningAlgorithm) -> Algorithm {
    match allowed {
        SigningAlgorithm::Rs256 => Algorithm::RS256,
        SigningAlgorithm::Rs384 => Algorithm::RS384,
        SigningAlgorithm::Rs512 => Algorithm::RS512,
        SigningAlgorithm::Ps256 => Algorithm::PS256,
        SigningAlgorithm::Ps384 => Algorithm::PS384,
        SigningAlgorithm::Ps512 => Algorithm::PS512,
        SigningAlgorithm::Es256 => Algorithm::ES256,
        SigningAlgorithm::Es384 => Algorithm::ES384,
        SigningAlgorithm::EdDsa => Algorithm::EdDSA,
    }
}

/// The members of a JSON object, each there once: of two claims of one name nobody could say which holds
/// (RFC 7519, section 4).
struct Members(BTreeMap<String, Value>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(AnyMembers)
    }
}

struct AnyMembers;

impl<'de> Visitor<'de> for AnyMembers {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Members, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((name, value)) = entries.next_entry()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a claim is there twice"));
            }
        }
        Ok(Members(members))
    }
}
