//! The issuer's public keys (JWKS, RFC 7517), from its server or from a file. What was known stays known when
//! the server is away; nobody's tokens can make us ask it more often than the settings say.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse,
    ThumbprintHash,
};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Change, Refused};
use crate::http::client;
use crate::http::watched::Watched;
use crate::settings::{Auth, SecretUrl};
use crate::telemetry::UNFINISHED;

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

    /// Asks the source again when it is time. A file's keys count once it is written down that they do.
    pub(super) async fn refresh(&self, is_written: impl AsyncFn(Change) -> bool) {
        match &self.source {
            Source::File(file) => self.read_again(file, is_written).await,
            Source::Server(_) if self.known().is_none() => self.ask_after(self.floor).await,
            Source::Server(_) => self.ask_after(self.every).await,
        }
    }

    async fn read_again(&self, file: &Watched, is_written: impl AsyncFn(Change) -> bool) {
        if !file.look() {
            return;
        }
        let found = match read(file) {
            Ok(found) => found,
            Err(problem) => return tracing::warn!(%problem, "the keys for tokens stay as they are"),
        };
        let said = found.said();
        let is_same = self.known().is_some_and(|known| known.said() == said);
        if is_same || is_written(Change { setting: file.setting(), now: said }).await {
            self.take(found);
        } else {
            file.look_again();
        }
    }

    fn take(&self, found: KeySet) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(found));
    }

    fn known(&self) -> Option<Arc<KeySet>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks the server unless it was asked within `pause`. Whoever comes meanwhile waits for what comes of it.
    async fn ask_after(&self, pause: Duration) {
        let Source::Server(url) = &self.source else { return };
        let mut asked = self.asked.lock().await;
        if asked.is_some_and(|asked| asked.elapsed() < pause) {
            return;
        }
        *asked = Some(Instant::now());
        match fetch(url.clone()).await {
            Ok(found) => self.take(found),
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
    let (status, body) = fetched.await.map_err(|_| told(UNFINISHED.to_owned()))?.map_err(told)?;
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

    /// Which keys, for the log of accesses: their ids, and how their thumbprints (RFC 7638) begin.
    fn said(&self) -> Vec<String> {
        let one = |Key { jwk, .. }: &Key| {
            let id = jwk.common.key_id.as_deref().unwrap_or("without an id");
            let thumbprint = jwk.thumbprint(ThumbprintHash::SHA256).unwrap_or_default();
            format!("{id} {}", thumbprint.get(..8).unwrap_or("?"))
        };
        self.0.iter().map(one).collect()
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
    use crate::settings::Settings;

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

    #[tokio::test]
    async fn keys_of_a_file_count_once_it_is_written_down_that_they_do() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let put = |id: &str| {
            let keys = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": id, "x": EDWARDS}]});
            std::fs::write(file.path(), keys.to_string()).expect("written");
        };
        put("a");
        let auth = Auth { jwks_file: Some(file.path().into()), ..Settings::default().auth };
        let keys = Keys::of(&auth).expect("valid").expect("there are keys");
        let is_known =
            async |id: &str| keys.find(Some(id), Algorithm::EdDSA).await.map(|_| ()).is_ok();
        put("b");
        assert!(!is_known("b").await, "whoever asks does not make it count");
        keys.refresh(async |_| false).await;
        assert!(is_known("a").await && !is_known("b").await);
        let told = std::cell::RefCell::new(Vec::new());
        let is_written = async |change: Change| {
            told.borrow_mut().push((change.setting, change.now.join(", ")));
            true
        };
        keys.refresh(&is_written).await;
        keys.refresh(&is_written).await;
        assert!(is_known("b").await && !is_known("a").await);
        // The thumbprint of RFC 8037, appendix A.3.
        assert_eq!(told.take(), [("auth.jwks_file", "b kPrK_qmx".to_owned())]);
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
