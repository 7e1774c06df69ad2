//! The issuer's public keys (JWKS, RFC 7517), from its server or from a file. What was known stays known when
//! the server is away; nobody's tokens can make us ask it more often than the settings say.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Refused;
use crate::http::client;
use crate::http::watched::Watched;
use crate::settings::{Auth, SecretUrl};

/// Bytes of a set, at most: one has a few thousand.
const SET_BYTES_MAX: u64 = 256 << 10;
/// How long the server may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The keys that tokens may be signed with.
pub(super) struct Keys {
    known: RwLock<Option<Arc<KeySet>>>,
    source: Source,
    /// When they were asked for last, whatever came of it.
    asked: Mutex<Option<Instant>>,
    every: Duration,
    floor: Duration,
}

enum Source {
    File(Watched),
    Server(SecretUrl),
}

impl Keys {
    /// Where the settings say that keys are. Those of a server are fetched later.
    ///
    /// # Errors
    ///
    /// One sentence that names the file and what is wrong with it.
    pub(super) fn of(settings: &Auth) -> Result<Option<Self>, String> {
        let source = match (&settings.jwks_file, &settings.jwks_url) {
            (Some(path), _) => Source::File(Watched::new("auth.jwks_file", path.clone())),
            (None, Some(url)) => Source::Server(url.clone()),
            (None, None) => return Ok(None),
        };
        let known = match &source {
            Source::File(file) => Some(Arc::new(read(file)?)),
            Source::Server(_) => None,
        };
        Ok(Some(Self {
            known: RwLock::new(known),
            source,
            asked: Mutex::default(),
            every: settings.refresh_every,
            floor: settings.refresh_floor,
        }))
    }

    /// The key of that id for that algorithm; the source is asked again for one that is not known.
    ///
    /// # Errors
    ///
    /// [`Refused::Key`] when there is none, [`Refused::KeysAway`] when there are none at all.
    pub(super) async fn find(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<DecodingKey, Refused> {
        if let Some(key) = self.known().and_then(|known| known.find(id, algorithm)) {
            return Ok(key);
        }
        self.ask_after(self.floor).await;
        let known = self.known().ok_or(Refused::KeysAway)?;
        known.find(id, algorithm).ok_or(Refused::Key)
    }

    /// Asks the source again when it is time.
    pub(super) async fn refresh(&self) {
        let pause = match &self.source {
            Source::File(_) => Duration::ZERO,
            Source::Server(_) if self.known().is_none() => self.floor,
            Source::Server(_) => self.every,
        };
        self.ask_after(pause).await;
    }

    fn known(&self) -> Option<Arc<KeySet>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks the source unless it was asked within `pause`. Whoever comes meanwhile waits for what comes of it.
    async fn ask_after(&self, pause: Duration) {
        let mut asked = self.asked.lock().await;
        if asked.is_some_and(|asked| asked.elapsed() < pause) {
            return;
        }
        *asked = Some(Instant::now());
        let found = match &self.source {
            Source::File(file) if !file.look() => return,
            Source::File(file) => read(file),
            Source::Server(url) => fetch(url.clone()).await,
        };
        match found {
            Ok(found) => {
                *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(found));
            }
            Err(problem) => tracing::warn!(%problem, "the keys for tokens stay as they are"),
        }
    }
}

fn read(file: &Watched) -> Result<KeySet, String> {
    let told = |problem: String| file.told(&format!("which is no set of keys: {problem}"));
    KeySet::parse(&file.content()?).map_err(told)
}

async fn fetch(url: SecretUrl) -> Result<KeySet, String> {
    let shown = url.to_string();
    let told = |problem: String| format!("{shown}: {problem}");
    let fetched =
        tokio::task::spawn_blocking(move || client::get(url.expose(), TIMEOUT, SET_BYTES_MAX));
    let (status, body) = fetched.await.map_err(|error| told(error.to_string()))?.map_err(told)?;
    if status != 200 {
        return Err(told(format!("it answered {status}")));
    }
    KeySet::parse(&body).map_err(|problem| told(format!("this is no set of keys: {problem}")))
}

/// Keys of an issuer.
struct KeySet(Vec<Key>);

struct Key {
    jwk: Jwk,
    key: DecodingKey,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a set. Keys of kinds that are of no use to us are left out, as RFC 7517, section 5 wants it, and
    /// symmetric ones with them: what everybody can read proves nothing.
    fn parse(text: &[u8]) -> Result<Self, String> {
        let document: Document = serde_json::from_slice(text)
            .map_err(|_| "wanted is {\"keys\": […]} (RFC 7517)".to_owned())?;
        let usable = document.keys.into_iter().filter_map(|value| {
            let jwk: Jwk = serde_json::from_value(value).ok()?;
            let is_public = !matches!(jwk.algorithm, AlgorithmParameters::OctetKey(_));
            let key = is_public.then(|| DecodingKey::from_jwk(&jwk).ok()).flatten()?;
            Some(Key { jwk, key })
        });
        Ok(Self(usable.collect()))
    }

    /// The key with just that id, or with none for a token that names none, if it is for that algorithm.
    fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<DecodingKey> {
        let mut found = self
            .0
            .iter()
            .filter(|Key { jwk, .. }| jwk.common.key_id.as_deref() == id && is_for(jwk, algorithm));
        let first = found.next()?;
        // Of two keys nobody could say which was meant.
        found.next().is_none().then(|| first.key.clone())
    }
}

/// Whether a key is one that such a signature can be checked with: a key is used with one algorithm
/// (RFC 8725, section 3.1), and only for what it is for.
fn is_for(jwk: &Jwk, algorithm: Algorithm) -> bool {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    let common = &jwk.common;
    let is_stated =
        common.key_algorithm.is_none_or(|stated| stated == KeyAlgorithm::from(algorithm));
    let signs = common.public_key_use.as_ref().is_none_or(|used| *used == PublicKeyUse::Signature);
    let verifies = common
        .key_operations
        .as_ref()
        .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
    let fits = match (&jwk.algorithm, algorithm) {
        (AlgorithmParameters::RSA(_), RS256 | RS384 | RS512 | PS256 | PS384 | PS512) => true,
        (AlgorithmParameters::EllipticCurve(key), ES256) => key.curve == EllipticCurve::P256,
        (AlgorithmParameters::EllipticCurve(key), ES384) => key.curve == EllipticCurve::P384,
        (AlgorithmParameters::OctetKeyPair(key), EdDSA) => key.curve == EllipticCurve::Ed25519,
        _ => false,
    };
    is_stated && signs && verifies && fits
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Public keys of RFC 7517 (appendix A.1) and RFC 8037 (appendix A.2).
    const RSA: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
    const EDWARDS: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    const X: &str = "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4";
    const Y: &str = "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM";

    fn found(keys: &Value, id: Option<&str>, algorithm: Algorithm) -> bool {
        let set = KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).expect("a set");
        set.find(id, algorithm).is_some()
    }

    #[test]
    fn a_key_is_used_for_what_it_is_for_and_nothing_else() {
        let rsa = |name: &str, value: Value| {
            let mut key = json!({"kty": "RSA", "kid": "k", "n": RSA, "e": "AQAB"});
            key[name] = value;
            json!([key])
        };
        let curve = |name: &str| json!([{"kty": "EC", "crv": name, "kid": "k", "x": X, "y": Y}]);
        let edwards = json!([{"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": EDWARDS}]);
        let secret = json!([{"kty": "oct", "kid": "k", "k": X, "alg": "HS256"}]);
        for (keys, algorithm, is_found) in [
            (rsa("use", json!("sig")), Algorithm::RS256, true),
            (rsa("use", json!("sig")), Algorithm::PS512, true),
            (rsa("use", json!("enc")), Algorithm::RS256, false),
            (rsa("alg", json!("RS256")), Algorithm::RS256, true),
            (rsa("alg", json!("RS256")), Algorithm::PS256, false),
            (rsa("alg", json!("RSA-OAEP")), Algorithm::RS256, false),
            (rsa("key_ops", json!(["verify"])), Algorithm::RS256, true),
            (rsa("key_ops", json!(["encrypt"])), Algorithm::RS256, false),
            (rsa("use", json!("sig")), Algorithm::HS256, false),
            (curve("P-256"), Algorithm::ES256, true),
            (curve("P-384"), Algorithm::ES256, false),
            (curve("P-256"), Algorithm::EdDSA, false),
            (edwards.clone(), Algorithm::EdDSA, true),
            (edwards, Algorithm::ES256, false),
            (secret, Algorithm::HS256, false),
        ] {
            assert_eq!(found(&keys, Some("k"), algorithm), is_found, "{algorithm:?} {keys}");
        }
    }

    #[test]
    fn a_key_is_found_by_just_its_id_and_one_of_two_by_none() {
        let key = |id: Value| json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": EDWARDS});
        for (keys, id, is_found) in [
            (json!([key(json!("a")), key(json!("b"))]), Some("b"), true),
            (json!([key(json!("a")), key(json!("b"))]), Some("c"), false),
            (json!([key(json!("a")), key(json!("b"))]), None, false),
            (json!([key(json!("a")), key(json!("a"))]), Some("a"), false),
            (json!([key(Value::Null)]), None, true),
            (json!([key(Value::Null)]), Some("a"), false),
            // What is of no use, or broken, keeps nobody from using the others.
            (json!([{"kty": "AKP"}, 7, {"kty": "RSA"}, key(json!("a"))]), Some("a"), true),
        ] {
            assert_eq!(found(&keys, id, Algorithm::EdDSA), is_found, "{id:?} in {keys}");
        }
        for garbage in ["", "[]", "{}", "{\"keys\": 1}"] {
            assert!(KeySet::parse(garbage.as_bytes()).is_err(), "{garbage}");
        }
    }
}
