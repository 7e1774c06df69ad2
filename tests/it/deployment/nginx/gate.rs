//! nginx with the configuration of its container, and whoever speaks TLS to it. Only places, ports and the bridge's address are others.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::TLS13;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    SupportedProtocolVersion,
};
use uuid::Uuid;

use crate::deployment::docker::trial::{free_port, secrets, wait_port};
use crate::servers::{Program, Server as _, Servers, folder, tool};
use crate::service::http::issuer::{SigningKey, trust};
use crate::service::http::office::{Answer, Office};
use crate::support::{read, root};

pub(in crate::deployment) fn available() -> bool {
    Servers::available() && Servers::available_with(&["nginx", "openssl"])
}

fn secret(name: &str) -> String {
    secrets().join(name).to_str().expect("a path").to_owned()
}

/// A bridge with the trial's certificate, which knows an issuer.
pub(in crate::deployment) fn bridge_behind(key: &SigningKey) -> Office {
    let mut office = Office::new();
    trust(&mut office, &[key]);
    office.set("BRIDGE__HTTP__TLS__CERTIFICATE_FILE", &secret("bridge_certificate"));
    office.set("BRIDGE__HTTP__TLS__KEY_FILE", &secret("bridge_key"));
    office.unset("BRIDGE__SECURITY__ALLOW_PLAINTEXT");
    office
}

/// nginx.
pub(super) struct Gate {
    program: Program,
    configuration: String,
    pub(super) port: u16,
}

impl Gate {
    /// Starts it in front of a bridge at this address.
    pub(super) fn to(bridge: SocketAddr) -> Self {
        let place = folder().join(format!("nginx-{}", Uuid::new_v4().simple()));
        std::fs::create_dir(&place).expect("there can be a folder");
        let port = free_port();
        let mut text = read(&root().join("docker/nginx/nginx.conf"));
        for (there, here) in [
            (" /tmp/", format!(" {}/", place.display())),
            ("/run/secrets/", format!("{}/", secrets().display())),
            ("listen 8443 ", format!("listen 127.0.0.1:{port} ")),
            ("listen 127.0.0.1:8081;", format!("listen 127.0.0.1:{};", free_port())),
            ("bridge:8002", bridge.to_string()),
            ("worker_processes auto;", "worker_processes 1;".to_owned()),
        ] {
            assert!(text.contains(there), "nginx.conf says {there} no more");
            text = text.replace(there, &here);
        }
        Self::run(place.join("nginx.conf"), text, port)
    }

    fn run(file: PathBuf, configuration: String, port: u16) -> Self {
        std::fs::write(&file, &configuration).expect("written");
        // As the compose file starts it.
        let arguments = ["-e", "stderr", "-g", "daemon off;", "-c", file.to_str().expect("a path")];
        let program = Program::start("nginx", tool("nginx"), &arguments.map(str::to_owned), &[]);
        wait_port(port, &program);
        Self { program, configuration, port }
    }

    /// Another one after this was stopped, with a changed configuration.
    pub(super) fn again(&self, change: impl Fn(&str) -> String) -> Self {
        let changed = change(&self.configuration);
        assert_ne!(changed, self.configuration);
        let file = folder().join(format!("nginx-{}.conf", Uuid::new_v4().simple()));
        Self::run(file, changed, self.port)
    }

    pub(super) fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Asks on a connection of its own.
    pub(super) fn ask(&self, method: &str, path: &str, lines: &[String], body: &str) -> Answer {
        ask_at(self.port, method, path, lines, body)
    }

    pub(super) fn stop(&self) {
        self.program.stop();
    }

    /// Its access log.
    pub(super) fn log(&self) -> String {
        self.program.lines().join("\n")
    }

    /// Its error log.
    pub(super) fn complaints(&self) -> String {
        self.program.complaints()
    }
}

/// Asks whoever has a certificate of the trial and listens there, on a connection of its own.
pub(super) fn ask_at(port: u16, method: &str, path: &str, lines: &[String], body: &str) -> Answer {
    let mut tls = Tls::open(port, &[&TLS13]).expect("TLS 1.3");
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    for line in lines {
        head += &format!("{line}\r\n");
    }
    if !body.is_empty() {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    tls.say(&format!("{head}\r\n{body}"));
    let answer = tls.rest();
    let answer = Answer::of(&whole(&answer)).unwrap_or_else(|| panic!("no answer: {answer:?}"));
    assert!(!answer.headers.contains_key("x-powered-by"));
    answer
}

/// An answer whose body comes in pieces, in one.
fn whole(answer: &str) -> String {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return answer.to_owned() };
    if !head.to_lowercase().contains("transfer-encoding: chunked") {
        return answer.to_owned();
    }
    let (mut rest, mut joined) = (body, String::new());
    while let Some((size, piece)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a size");
        joined += &piece[..size];
        rest = piece[size..].trim_start_matches("\r\n");
    }
    format!("{head}\r\n\r\n{joined}")
}

/// A connection to it.
#[derive(Debug)]
pub(super) struct Tls(pub(super) StreamOwned<ClientConnection, TcpStream>);

impl Tls {
    /// Shakes hands with the certificate of the trial; the error says why not.
    pub(super) fn open(
        port: u16,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_slice(read(&secrets().join("ca")).as_bytes());
        roots.add(authority.expect("PEM")).expect("a certificate");
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let config = builder.with_protocol_versions(versions).expect("known versions");
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a name");
        let mut connection = ClientConnection::new(Arc::new(config), name).expect("a client");
        let mut stream =
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
        while connection.is_handshaking() {
            connection.complete_io(&mut stream).map_err(|error| error.to_string())?;
        }
        Ok(Self(StreamOwned::new(connection, stream)))
    }

    pub(super) fn say(&mut self, text: &str) {
        // An answer may come before all is said, and end it.
        self.0.write_all(text.as_bytes()).ok();
        self.0.flush().ok();
    }

    /// All that comes until the other side ends.
    fn rest(&mut self) -> String {
        let mut said = Vec::new();
        self.0.read_to_end(&mut said).ok();
        String::from_utf8_lossy(&said).into_owned()
    }

    /// What comes up to this text.
    pub(super) fn until(&mut self, wanted: &str) -> String {
        let (mut said, mut bytes) = (String::new(), [0; 4_096]);
        while !said.contains(wanted) {
            let count = self.0.read(&mut bytes).unwrap_or(0);
            assert!(count > 0, "{wanted:?} never came: {said}");
            said.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        said
    }
}

/// Somebody in the bridge's place who sends an event, and another one when told.
pub(super) struct Stand {
    pub(super) address: SocketAddr,
    next: mpsc::Sender<()>,
}

impl Stand {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("an address");
        let certificate =
            CertificateDer::from_pem_slice(read(&secrets().join("bridge_certificate")).as_bytes());
        let key = PrivateKeyDer::from_pem_slice(read(&secrets().join("bridge_key")).as_bytes());
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let config = builder
            .with_protocol_versions(&[&TLS13])
            .expect("a known version")
            .with_no_client_auth();
        let config = config.with_single_cert(vec![certificate.expect("PEM")], key.expect("PEM"));
        let config = Arc::new(config.expect("a certificate and its key"));
        let (next, told) = mpsc::channel();
        std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("somebody comes");
            let connection = ServerConnection::new(config).expect("a server");
            let mut stream = StreamOwned::new(connection, stream);
            let mut head = [0; 4_096];
            assert!(stream.read(&mut head).expect("a request") > 0);
            let begin = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
            let mut say = |text: &str| {
                stream.write_all(text.as_bytes()).expect("taken");
                stream.flush().expect("taken");
            };
            say(begin);
            say("data: 1\n\n");
            told.recv().expect("the test goes on");
            say("data: 2\n\n");
        });
        Self { address, next }
    }

    /// Has it send the other one.
    pub(super) fn go_on(&self) {
        self.next.send(()).expect("it is there");
    }
}
