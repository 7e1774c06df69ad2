//! Vault: a stand-in for its transit engine in this process, which also does what a Vault should not, or a real one where
//! `BRIDGE_VAULT` names its program. The stand-in answers as Vault 1.21.0 does, but enciphers nothing: it remembers.

mod real;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use uuid::Uuid;

use super::scratch::{Folder, Port};
use real::Real;

/// The name of the key in the transit engine.
const KEY: &str = "biometric-bridge";

/// What a stand-in does instead of answering as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Closed,
    Sealed,
    Forbidden,
    Missing,
    Elsewhere,
    Slow,
    Garbage,
    Huge,
    Fewer,
    ShortKeys,
    /// As before Vault 1.9.
    Unbound,
    /// Repeats our token.
    Echo,
    /// A key that encrypts by RSA.
    OtherKind,
}

/// A Vault with one key.
pub(crate) struct Vault {
    url: String,
    folder: Folder,
    kind: Kind,
    _port: Port,
}

enum Kind {
    StandIn(Arc<StandIn>),
    Real(Real),
}

#[derive(Default)]
struct StandIn(Mutex<State>);

#[derive(Default)]
struct State {
    version: u32,
    token: String,
    fault: Option<Fault>,
    /// Ciphertexts, with what they stand for and what they are bound to.
    kept: BTreeMap<String, (Value, Value)>,
    /// How many elements each question had.
    sizes: Vec<usize>,
}

/// How a stand-in speaks TLS that shows this certificate.
pub(super) fn who_shows(certificate: &Path, key: &Path) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(certificate).expect("PEM");
    let chain: Vec<_> = chain.collect::<Result<_, _>>().expect("certificates");
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = ServerConfig::builder_with_provider(provider.into());
    let config = config.with_safe_default_protocol_versions().expect("versions");
    let config = config.with_no_client_auth().with_single_cert(chain, key).expect("they fit");
    Arc::new(config)
}

impl Vault {
    /// A stand-in.
    pub(crate) fn stand_in() -> Self {
        Self::listen(None)
    }

    /// One that speaks TLS.
    pub(crate) fn stand_in_tls(certificate: &Path, key: &Path) -> Self {
        Self::listen(Some(who_shows(certificate, key)))
    }

    /// A real one when `BRIDGE_VAULT` names its program, else a stand-in.
    pub(crate) fn start() -> Self {
        let Some(program) = std::env::var_os("BRIDGE_VAULT").filter(|named| !named.is_empty())
        else {
            return Self::stand_in();
        };
        let (folder, port) = (folder(), Port::new().expect("a port is free"));
        let real = Real::start(&PathBuf::from(program), port.number, KEY);
        let (url, token) = (real.url().to_owned(), real.token().to_owned());
        let vault = Self { url, folder, kind: Kind::Real(real), _port: port };
        vault.write_token(&token);
        vault
    }

    fn listen(tls: Option<Arc<ServerConfig>>) -> Self {
        let port = Port::new().expect("a port is free");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.number));
        let listener = TcpListener::bind(address).expect("it listens");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let state = State { version: 1, token: "s.first-token".to_owned(), ..State::default() };
        let stand_in = Arc::new(StandIn(Mutex::new(state)));
        let answering = Arc::clone(&stand_in);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (stand_in, tls) = (Arc::clone(&answering), tls.clone());
                std::thread::spawn(move || match tls {
                    None => stand_in.serve(&mut BufReader::new(stream)),
                    Some(config) => {
                        let session = ServerConnection::new(config).expect("a session");
                        stand_in.serve(&mut BufReader::new(StreamOwned::new(session, stream)));
                    }
                });
            }
        });
        let url = format!("{scheme}://{address}");
        let vault = Self { url, folder: folder(), kind: Kind::StandIn(stand_in), _port: port };
        vault.write_token("s.first-token");
        vault
    }

    /// The file with our token.
    pub(crate) fn token_file(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    fn write_token(&self, token: &str) {
        std::fs::write(self.token_file(), format!("{token}\n")).expect("written");
    }

    /// The variables by which the bridge finds it.
    pub(crate) fn variables(&self) -> [(&'static str, String); 2] {
        let token_file = self.token_file().to_str().expect("a path").to_owned();
        [
            ("BRIDGE__KEYS__VAULT__URL", self.url.clone()),
            ("BRIDGE__KEYS__VAULT__TOKEN_FILE", token_file),
        ]
    }

    /// Another token is the right one from now on, and lies in the file.
    pub(crate) fn renew_token(&self, token: &str) {
        self.state().token = token.to_owned();
        self.write_token(token);
    }

    /// Behaves so from now on.
    pub(crate) fn fail(&self, fault: Option<Fault>) {
        self.state().fault = fault;
    }

    /// Gives nothing until it is unsealed.
    pub(crate) fn seal(&self) {
        match &self.kind {
            Kind::StandIn(_) => self.fail(Some(Fault::Sealed)),
            Kind::Real(real) => real.seal(),
        }
    }

    /// Answers again.
    pub(crate) fn unseal(&self) {
        match &self.kind {
            Kind::StandIn(_) => self.fail(None),
            Kind::Real(real) => real.unseal(),
        }
    }

    /// Makes a next version of the key.
    pub(crate) fn rotate(&self) {
        match &self.kind {
            Kind::StandIn(_) => self.state().version += 1,
            Kind::Real(real) => real.rotate(),
        }
    }

    /// What must be in no log: tokens, and keys as they came.
    pub(crate) fn secrets(&self) -> Vec<String> {
        match &self.kind {
            Kind::StandIn(stand_in) => {
                let state = stand_in.state();
                let keys = state.kept.values().filter_map(|(key, _)| key.as_str());
                keys.map(str::to_owned).chain([state.token.clone()]).collect()
            }
            Kind::Real(real) => vec![real.token().to_owned()],
        }
    }

    /// How many elements each question had since this was asked last.
    pub(crate) fn sizes(&self) -> Vec<usize> {
        std::mem::take(&mut self.state().sizes)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        match &self.kind {
            Kind::StandIn(stand_in) => stand_in.state(),
            Kind::Real(_) => panic!("only a stand-in does that"),
        }
    }
}

fn folder() -> Folder {
    Folder::new("vault").expect("there can be a folder")
}

/// A question.
#[derive(Default)]
struct Asked {
    path: String,
    token: String,
    body: Vec<u8>,
}

impl StandIn {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers on one connection for as long as questions come.
    fn serve<S: Read + Write>(&self, stream: &mut BufReader<S>) {
        while let Some(asked) = read(stream) {
            let fault = self.state().fault;
            match fault {
                Some(Fault::Closed) => return,
                Some(Fault::Slow) => std::thread::sleep(Duration::from_secs(3)),
                _ => {}
            }
            let (status, body) = self.answer(&asked, fault);
            let head = format!(
                "HTTP/1.1 {status} told\r\ncontent-length: {}\r\nlocation: /elsewhere\r\n\r\n",
                body.len()
            );
            let stream = stream.get_mut();
            if stream.write_all(&[head.as_bytes(), &body].concat()).is_err() {
                return;
            }
        }
    }

    fn answer(&self, asked: &Asked, fault: Option<Fault>) -> (u16, Vec<u8>) {
        let errors = |status: u16, text: &str| (status, json!({ "errors": [text] }).to_string());
        let (status, text) = match fault {
            Some(Fault::Sealed) => errors(503, "Vault is sealed"),
            Some(Fault::Missing) => errors(404, "no handler for route"),
            Some(Fault::Elsewhere) => (307, String::new()),
            Some(Fault::Garbage) => (200, "<html>welcome</html>".to_owned()),
            Some(Fault::Huge) => (200, " ".repeat(2 << 20)),
            Some(Fault::Echo) => errors(500, &format!("header X-Vault-Token: {}", asked.token)),
            Some(Fault::Forbidden) => errors(403, "permission denied"),
            _ if asked.token != self.state().token => errors(403, "permission denied"),
            _ => self.transit(asked, fault),
        };
        (status, text.into_bytes())
    }

    fn transit(&self, asked: &Asked, fault: Option<Fault>) -> (u16, String) {
        let mut state = self.state();
        let about = || {
            let kind = if fault == Some(Fault::OtherKind) { "rsa-2048" } else { "aes256-gcm96" };
            let version = state.version;
            json!({ "type": kind, "latest_version": version, "derived": false, "name": KEY })
        };
        if asked.path == format!("/v1/transit/keys/{KEY}") {
            return (200, json!({ "data": about() }).to_string());
        }
        let question: Value = serde_json::from_slice(&asked.body).expect("a question in JSON");
        let batch = question["batch_input"].as_array().expect("a batch");
        state.sizes.push(batch.len());
        let mut results: Vec<Value> = match asked.path.as_str() {
            path if path == format!("/v1/transit/encrypt/{KEY}") => {
                batch.iter().map(|element| state.encrypt(element)).collect()
            }
            path if path == format!("/v1/transit/decrypt/{KEY}") => {
                batch.iter().map(|element| state.decrypt(element, fault)).collect()
            }
            _ => return (404, json!({ "errors": [] }).to_string()),
        };
        if fault == Some(Fault::Fewer) {
            results.pop();
        }
        let is_good = results.iter().all(|result| result.get("error").is_none());
        let answer = json!({ "request_id": "x", "data": { "batch_results": results } });
        (if is_good { 200 } else { 400 }, answer.to_string())
    }
}

impl State {
    fn encrypt(&mut self, element: &Value) -> Value {
        let random = [Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()].concat();
        let ciphertext = format!("vault:v{}:{}", self.version, BASE64_STANDARD.encode(random));
        let kept = (element["plaintext"].clone(), element["associated_data"].clone());
        self.kept.insert(ciphertext.clone(), kept);
        json!({ "ciphertext": ciphertext, "key_version": self.version, "reference": "" })
    }

    fn decrypt(&self, element: &Value, fault: Option<Fault>) -> Value {
        let kept = self.kept.get(element["ciphertext"].as_str().unwrap_or_default());
        let is_bound =
            |bound: &Value| fault == Some(Fault::Unbound) || *bound == element["associated_data"];
        match kept {
            Some(_) if fault == Some(Fault::ShortKeys) => {
                json!({ "plaintext": BASE64_STANDARD.encode([7; 16]), "reference": "" })
            }
            Some((plaintext, bound)) if is_bound(bound) => {
                json!({ "plaintext": plaintext, "reference": "" })
            }
            _ => {
                let error = "cipher: message authentication failed";
                json!({ "plaintext": "", "error": error, "reference": "" })
            }
        }
    }
}

/// The next question; none when the other side has gone.
fn read<S: Read>(stream: &mut BufReader<S>) -> Option<Asked> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut asked = Asked { path: line.split(' ').nth(1)?.to_owned(), ..Asked::default() };
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "x-vault-token" => value.clone_into(&mut asked.token),
            _ => {}
        }
    }
    asked.body.resize(length, 0);
    stream.read_exact(&mut asked.body).ok()?;
    Some(asked)
}

/// Whether somebody listens there.
fn listens(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
}
