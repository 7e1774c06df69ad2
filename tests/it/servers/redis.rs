//! Redis, with every write on disk before it is answered.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use super::installed;
use super::process::{Process, Recipe, Server, tied_to_us};
use super::scratch::{Folder, Port};

/// A Redis server.
pub(crate) struct Redis {
    process: Process,
    port: Port,
    /// Where it is found with TLS.
    _tls: Option<Port>,
}

impl Redis {
    /// Starts a server of the test's own.
    pub(crate) fn start() -> Self {
        Self::try_start(None).unwrap_or_else(|reason| panic!("{reason}"))
    }

    /// The same; it is also found at an address of ours.
    pub(crate) fn start_at(address: Ipv4Addr) -> Self {
        Self::try_start(Some(address)).unwrap_or_else(|reason| panic!("{reason}"))
    }

    /// One that is also found with TLS, under a port that it gives.
    pub(crate) fn start_tls(certificate: &Path, key: &Path, authority: &Path) -> (Self, u16) {
        let port = Port::new().expect("a port is free");
        let (number, asked) = (port.number, port.number.to_string());
        let files = [certificate, key, authority].map(|path| path.display().to_string());
        let [certificate, key, authority] = files.each_ref().map(String::as_str);
        let options = [
            ["--tls-port", &asked],
            ["--tls-cert-file", certificate],
            ["--tls-key-file", key],
            ["--tls-ca-cert-file", authority],
            ["--tls-auth-clients", "no"],
        ];
        let started = Self::try_start_with(None, &options.concat());
        let started = started.unwrap_or_else(|reason| panic!("{reason}"));
        (Self { _tls: Some(port), ..started }, number)
    }

    pub(super) fn try_start(also_at: Option<Ipv4Addr>) -> Result<Self, String> {
        Self::try_start_with(also_at, &[])
    }

    fn try_start_with(also_at: Option<Ipv4Addr>, options: &[&str]) -> Result<Self, String> {
        let told = |error| format!("Redis does not start: {error}");
        let folder = Folder::new("redis").map_err(told)?;
        let port = Port::new().map_err(told)?;
        let number = port.number;
        let data = folder.path().to_owned();
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let command = move || {
            let mut command = tied_to_us(installed("redis-server"), "KILL", &[]);
            command.args(["--protected-mode", "no", "--port", &number.to_string()]);
            command.args(["--bind", "127.0.0.1"]).args(also_at.map(|also| also.to_string()));
            command.args(["--save", "", "--appendonly", "yes", "--appendfsync", "always"]);
            command.arg("--dir").arg(&data).args(&options);
            command
        };
        let recipe = Recipe {
            name: "Redis",
            command: Box::new(command),
            is_ready: Box::new(move || pong(number).is_some()),
            stop: Signal::TERM,
            end: Signal::KILL,
        };
        Ok(Self { process: Process::new(recipe, folder)?, port, _tls: None })
    }

    /// Shows another certificate from now on.
    pub(crate) fn show_certificate(&self, certificate: &Path, key: &Path) {
        let client = redis::Client::open(self.url()).expect("the address is one");
        let mut connection = client.get_connection().expect("Redis takes the connection");
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg("tls-cert-file").arg(certificate.display().to_string());
        set.arg("tls-key-file").arg(key.display().to_string());
        set.exec(&mut connection).expect("Redis answers");
    }

    /// Forgets what is in the service's database, as the guide cures a cache (FLUSHDB).
    pub(crate) fn flush_database(&self) {
        self.tell("FLUSHDB");
    }

    /// Forgets everything (FLUSHALL).
    pub(crate) fn flush(&self) {
        self.tell("FLUSHALL");
    }

    /// All that the server has logged.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    fn tell(&self, command: &str) {
        let client = redis::Client::open(self.url()).expect("the address is one");
        let mut connection = client.get_connection().expect("Redis takes the connection");
        redis::cmd(command).exec(&mut connection).expect("Redis answers");
    }

    /// Where it is, as clients want it.
    pub(crate) fn url(&self) -> String {
        self.url_at(Ipv4Addr::LOCALHOST)
    }

    /// The same, as clients want it that find it at an address of ours.
    pub(crate) fn url_at(&self, address: Ipv4Addr) -> String {
        format!("redis://{address}:{}/", self.port.number)
    }
}

impl Server for Redis {
    fn process(&self) -> &Process {
        &self.process
    }
}

/// Asks for a sign of life. A server that still reads its files takes the connection, but says no.
fn pong(port: u16) -> Option<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    stream.write_all(b"PING\r\n").ok()?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).ok()?;
    (&answer == b"+PONG").then_some(())
}
