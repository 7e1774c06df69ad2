//! Somebody who issues tokens: keys of each kind, the set of their public halves, tokens as they should be
//! and as nobody should take them, and a server for the set.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use rcgen::{KeyPair, RsaKeySize};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::office::Office;

pub(crate) const ISSUER: &str = "https://issuer.example/";
pub(crate) const AUDIENCE: &str = "biometric-bridge";

/// A key that signs.
pub(crate) struct SigningKey {
    pub(crate) id: String,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl SigningKey {
    pub(crate) fn rsa(id: &str) -> Self {
        let pair = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048);
        let pair = pair.expect("a key");
        // The library wants PKCS#1, which PKCS#8 has inside, behind its head of 26 bytes.
        let inner = pair.serialize_der().split_off(26);
        Self {
            id: id.to_owned(),
            algorithm: Algorithm::RS256,
            key: EncodingKey::from_rsa_der(&inner),
        }
    }

    pub(crate) fn elliptic(id: &str) -> Self {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
        let key = EncodingKey::from_ec_der(&pair.serialize_der());
        Self { id: id.to_owned(), algorithm: Algorithm::ES256, key }
    }

    pub(crate) fn edwards(id: &str) -> Self {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
        // The library wants the private half alone (RFC 8410, section 7).
        let head = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
        let key = EncodingKey::from_ed_der(&[head, &pair.serialize_der()[16..48]].concat());
        Self { id: id.to_owned(), algorithm: Algorithm::EdDSA, key }
    }

    /// Its public half.
    pub(crate) fn public(&self) -> Value {
        let jwk = Jwk::from_encoding_key(&self.key, self.algorithm).expect("a public key");
        let mut jwk = serde_json::to_value(jwk).expect("JSON");
        jwk["kid"] = json!(self.id);
        jwk["use"] = json!("sig");
        jwk
    }

    /// The head that its tokens have.
    pub(crate) fn header(&self) -> Value {
        json!({ "alg": format!("{:?}", self.algorithm), "typ": "JWT", "kid": self.id })
    }

    /// A token with these claims.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_with(&self.header().to_string(), &claims.to_string())
    }

    /// A token of these texts, whatever they are.
    pub(crate) fn sign_with(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = crypto::sign(message.as_bytes(), &self.key, self.algorithm);
        format!("{message}.{}", signature.expect("signed"))
    }

    /// A token for a subject with scopes, as it should be.
    pub(crate) fn token(&self, subject: &str, scope: &str) -> String {
        self.sign(&claims(subject, scope))
    }
}

/// The claims of a token as it should be.
pub(crate) fn claims(subject: &str, scope: &str) -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": subject, "scope": scope,
        "iat": now(), "nbf": now() - 10, "exp": now() + 86_400,
    })
}

pub(crate) fn encode(text: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(text)
}

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "tokens are good at a time of the real clock")]
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_secs()).expect("a time")
}

/// The set of the public halves of these keys.
pub(crate) fn set_of(keys: &[&SigningKey]) -> String {
    json!({ "keys": keys.iter().map(|key| key.public()).collect::<Vec<_>>() }).to_string()
}

/// Lets a service know this issuer by a file.
pub(crate) fn trust(office: &mut Office, keys: &[&SigningKey]) {
    trust_set(office, &set_of(keys));
}

/// The same with a set, whatever is in it.
pub(crate) fn trust_set(office: &mut Office, set: &str) {
    let file = office.file("jwks.json", set);
    office.set("BRIDGE__AUTH__JWKS_FILE", &file);
    name(office);
}

/// Says who issues, and for whom.
pub(crate) fn name(office: &mut Office) {
    office.set("BRIDGE__AUTH__ISSUER", ISSUER);
    office.set("BRIDGE__AUTH__AUDIENCE", AUDIENCE);
}

/// A server that gives a set of keys, and counts how often it is asked.
pub(crate) struct SetServer {
    address: SocketAddr,
    is_secure: bool,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    answer: Mutex<String>,
    asked: AtomicUsize,
    is_away: AtomicBool,
}

impl SetServer {
    pub(crate) fn start(set: &str) -> Self {
        Self::start_with(set, None)
    }

    /// One that shows this certificate (PEM), whose key this is.
    pub(crate) fn start_tls(set: &str, certificate: &str, key: &str) -> Self {
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM");
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("known versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key);
        Self::start_with(set, Some(Arc::new(config.expect("a pair"))))
    }

    fn start_with(set: &str, tls: Option<Arc<ServerConfig>>) -> Self {
        let is_secure = tls.is_some();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared { answer: Mutex::new(set.to_owned()), ..Shared::default() });
        let serving = Arc::clone(&shared);
        // It ends with the test process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                drop(stream.set_read_timeout(Some(Duration::from_secs(5))));
                serving.asked.fetch_add(1, Ordering::SeqCst);
                match &tls {
                    None => serving.serve(stream),
                    Some(tls) => {
                        let connection = ServerConnection::new(Arc::clone(tls)).expect("a server");
                        serving.serve(StreamOwned::new(connection, stream));
                    }
                }
            }
        });
        Self { address, is_secure, shared }
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.is_secure { "https" } else { "http" };
        format!("{scheme}://{}/jwks.json", self.address)
    }

    /// Gives another set from now on.
    pub(crate) fn give(&self, set: &str) {
        set.clone_into(&mut self.shared.answer.lock().expect("whole"));
    }

    /// Hangs up on everybody, or no more.
    pub(crate) fn away(&self, is_away: bool) {
        self.shared.is_away.store(is_away, Ordering::SeqCst);
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn serve(&self, mut stream: impl Read + Write) {
        if self.is_away.load(Ordering::SeqCst) {
            return;
        }
        let mut request = [0; 4_096];
        if stream.read(&mut request).is_err() {
            return;
        }
        let body = self.answer.lock().expect("whole").clone();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
        let answer = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        // Whoever has hung up needs no answer.
        drop(stream.write_all(answer.as_bytes()));
    }
}
