//! TLS on our own port: 1.3 and nothing older, with the certificate that the files hold now.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

use super::office::{Answer, Office, send, state_of};
use crate::servers::Bridge;
use crate::support::{bridge, stderr, stdout};

/// A certificate for this name, and its key, as PEM.
pub(crate) struct Issued {
    pub(crate) certificate: CertificateDer<'static>,
    certificate_text: String,
    key_text: String,
}

/// Makes one.
pub(crate) fn issue(name: &str) -> Issued {
    let issued = generate_simple_self_signed(vec![name.to_owned()]).expect("a certificate");
    let CertifiedKey { cert, signing_key } = issued;
    Issued {
        certificate: cert.der().clone(),
        certificate_text: cert.pem(),
        key_text: signing_key.serialize_pem(),
    }
}

/// Puts a certificate where the service looks for it.
pub(crate) fn show(office: &mut Office, issued: &Issued) {
    let certificate = office.file("server.crt", &issued.certificate_text);
    let key = office.file("server.key", &issued.key_text);
    office.set("BRIDGE__HTTP__TLS__CERTIFICATE_FILE", &certificate);
    office.set("BRIDGE__HTTP__TLS__KEY_FILE", &key);
    office.unset("BRIDGE__SECURITY__ALLOW_PLAINTEXT");
}

/// How somebody connects.
struct Client<'c> {
    trusts: &'c CertificateDer<'static>,
    name: &'c str,
    versions: &'c [&'static SupportedProtocolVersion],
    protocols: &'c [&'c str],
}

impl Client<'_> {
    /// Connects and asks for a path; gives the answer, and what was agreed on.
    fn ask(&self, bridge: &Bridge, path: &str) -> Result<(Answer, Option<Vec<u8>>), String> {
        let mut roots = RootCertStore::empty();
        roots.add(self.trusts.clone()).expect("a certificate");
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(self.versions)
            .expect("known versions");
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols =
            self.protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(self.name.to_owned()).expect("a name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("a client");
        let stream = TcpStream::connect(bridge.address()).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
        let mut stream = StreamOwned::new(connection, stream);
        let request = format!("GET {path} HTTP/1.1\r\nHost: bridge\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
        let mut answer = String::new();
        // Not everybody says goodbye.
        drop(stream.read_to_string(&mut answer));
        let agreed = stream.conn.alpn_protocol().map(<[u8]>::to_vec);
        let version = stream.conn.protocol_version();
        assert_eq!(version, Some(rustls::ProtocolVersion::TLSv1_3));
        Answer::of(&answer).map(|answer| (answer, agreed)).ok_or(answer)
    }
}

#[test]
fn our_port_speaks_tls_1_3_and_nothing_older_and_no_other_protocol() {
    let mut office = Office::new();
    let (issued, stranger) = (issue("bridge.example"), issue("bridge.example"));
    show(&mut office, &issued);
    let bridge = office.open();
    let client = Client {
        trusts: &issued.certificate,
        name: "bridge.example",
        versions: &[&TLS13],
        protocols: &["h2", "http/1.1"],
    };
    let (answer, agreed) = client.ask(&bridge, "/health").expect("TLS 1.3");
    assert_eq!((answer.status, agreed), (200, Some(b"http/1.1".to_vec())));
    let (answer, _) = client.ask(&bridge, &state_of("ada")).expect("TLS 1.3");
    assert_eq!(answer.status, 401, "who asks is asked for a token");
    let older = Client { versions: &[&TLS12], ..client };
    let said = older.ask(&bridge, "/health").expect_err("TLS 1.2");
    assert!(said.contains("ProtocolVersion"), "{said}");
    let said = Client { name: "other.example", ..client }.ask(&bridge, "/health");
    let said = said.expect_err("another name");
    assert!(said.contains("not valid for name"), "{said}");
    let said = Client { trusts: &stranger.certificate, ..client }.ask(&bridge, "/health");
    assert!(said.expect_err("another authority").contains("certificate"));
    let said = Client { protocols: &["h2"], ..client }.ask(&bridge, "/health");
    assert!(said.expect_err("another protocol").contains("NoApplicationProtocol"));
    let plain =
        send(bridge.address(), b"GET /health HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n");
    assert!(!plain.contains("HTTP"), "in the clear nothing is said: {plain:?}");
    bridge.end();
}

#[test]
fn a_certificate_is_renewed_without_a_restart() {
    let mut office = Office::new();
    let (old, new) = (issue("bridge.example"), issue("bridge.example"));
    show(&mut office, &old);
    let bridge = office.open();
    let trusting = |issued: &Issued| {
        let client = Client {
            trusts: &issued.certificate,
            name: "bridge.example",
            versions: &[&TLS13],
            protocols: &[],
        };
        client.ask(&bridge, "/health").is_ok()
    };
    assert!(trusting(&old) && !trusting(&new));
    office.file("server.crt", &new.certificate_text);
    office.file("server.key", &new.key_text);
    let renewed = (0..300).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        trusting(&new)
    });
    assert!(renewed && !trusting(&old), "{}", bridge.log());
    bridge.end();
}

#[test]
fn the_health_check_asks_over_tls_where_the_service_speaks_it() {
    let mut office = Office::new();
    show(&mut office, &issue("bridge.example"));
    let service = office.open();
    let mut check = bridge(&["healthcheck"]);
    check.env_clear().envs(office.environment().iter().map(|(name, value)| (name, value)));
    check.env("HTTP_BIND", service.address().to_string());
    let output = check.output().expect("it starts");
    let expected = format!("https://{}/health: ok\n", service.address());
    assert_eq!(stdout(&output), expected, "{}", stderr(&output));
    service.end();
}

#[test]
fn without_a_certificate_that_can_be_shown_the_service_does_not_start() {
    let mut office = Office::new();
    let (issued, other) = (issue("bridge.example"), issue("bridge.example"));
    show(&mut office, &issued);
    office.set("HTTP_BIND", "127.0.0.1:0");
    let refused = |office: &Office| {
        let mut run = bridge(&["run", "--migrate"]);
        run.env_clear().envs(office.environment().iter().map(|(name, value)| (name, value)));
        let output = run.timeout(Duration::from_secs(60)).output().expect("it starts");
        assert_eq!(output.status.code(), Some(78), "{}", stderr(&output));
        stderr(&output).lines().last().expect("a line").to_owned()
    };
    office.file("server.key", &other.key_text);
    let said = refused(&office);
    assert!(said.contains("server.key, which is not the key of the certificate"), "{said}");
    office.file("server.crt", "nothing of the kind");
    let said = refused(&office);
    assert!(said.contains("server.crt, which holds no certificate"), "{said}");
    office.unset("BRIDGE__HTTP__TLS__CERTIFICATE_FILE");
    office.unset("BRIDGE__HTTP__TLS__KEY_FILE");
    let said = refused(&office);
    assert!(said.contains("add websocket to `security.allow_plaintext`"), "{said}");
}
