//! Kafka: one node that is broker and controller.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use super::installed;
use super::process::{Process, Recipe, Server, tied_to_us};
use super::scratch::{Folder, Port};

/// A further place where a broker is found.
struct Elsewhere {
    address: Ipv4Addr,
    port: Port,
    /// With TLS: a file with key and certificate, PEM.
    key_store: Option<PathBuf>,
}

impl Elsewhere {
    fn place(&self) -> String {
        format!("{}:{}", self.address, self.port.number)
    }
}

/// A Kafka broker.
pub(crate) struct Kafka {
    process: Process,
    port: Port,
    /// What only it itself and instances elsewhere use.
    _ports: Vec<Port>,
}

impl Kafka {
    /// Starts a broker of the test's own.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with lines of `server.properties`, which override the usual ones.
    pub(crate) fn start_with(properties: &[&str]) -> Self {
        Self::try_start(properties).unwrap_or_else(|reason| panic!("{reason}"))
    }

    /// The same; it is also found, under another port, at an address of ours. Gives its name there.
    pub(crate) fn start_at(address: Ipv4Addr) -> (Self, String) {
        let port = Port::new().expect("a port is free");
        let elsewhere = Elsewhere { address, port, key_store: None };
        let place = elsewhere.place();
        let started = Self::try_start_at(&[], vec![elsewhere]);
        (started.unwrap_or_else(|reason| panic!("{reason}")), place)
    }

    /// One that is also found with TLS under a port for each of the key stores (PEM); gives the ports.
    pub(crate) fn start_tls<const N: usize>(key_stores: [&Path; N]) -> (Self, [u16; N]) {
        let elsewhere = key_stores.map(|key_store| Elsewhere {
            address: Ipv4Addr::LOCALHOST,
            port: Port::new().expect("a port is free"),
            key_store: Some(key_store.to_owned()),
        });
        let ports = elsewhere.each_ref().map(|its| its.port.number);
        let started = Self::try_start_at(&[], elsewhere.into());
        (started.unwrap_or_else(|reason| panic!("{reason}")), ports)
    }

    pub(super) fn try_start(properties: &[&str]) -> Result<Self, String> {
        Self::try_start_at(properties, Vec::new())
    }

    fn try_start_at(properties: &[&str], also: Vec<Elsewhere>) -> Result<Self, String> {
        let told = |error| format!("Kafka does not start: {error}");
        let folder = Folder::new("kafka").map_err(told)?;
        let port = Port::new().map_err(told)?;
        let controller = Port::new().map_err(told)?;
        let data = folder.path().join("data");
        copy_formatted(&data).map_err(told)?;
        let ports = (port.number, controller.number);
        let configured = configuration(ports, &also, &data, properties);
        let configuration = folder.path().join("server.properties");
        std::fs::write(&configuration, configured).map_err(told)?;
        let scratch = folder.path().to_owned();
        let command = move || {
            let mut command = tied_to_us(installed("java"), "KILL", &[]);
            let arguments = installed("kafka").join("java.args");
            command.arg(format!("@{}", arguments.display()));
            // Libraries that the broker unpacks go away with its folder.
            command.arg(format!("-Djava.io.tmpdir={}", scratch.display()));
            command.arg("kafka.Kafka").arg(&configuration);
            command
        };
        let number = port.number;
        let recipe = Recipe {
            name: "Kafka",
            command: Box::new(command),
            // The broker listens last of all.
            is_ready: Box::new(move || TcpStream::connect((Ipv4Addr::LOCALHOST, number)).is_ok()),
            stop: Signal::TERM,
            end: Signal::KILL,
        };
        let ports = [controller].into_iter().chain(also.into_iter().map(|its| its.port)).collect();
        Ok(Self { process: Process::new(recipe, folder)?, port, _ports: ports })
    }

    /// All that the broker has logged.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// Where it is, as clients want it.
    pub(crate) fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port.number)
    }
}

impl Server for Kafka {
    fn process(&self) -> &Process {
        &self.process
    }
}

/// Formatting takes a start of Java; the installer did it once, and nothing in it depends on the place.
fn copy_formatted(data: &Path) -> std::io::Result<()> {
    std::fs::create_dir(data)?;
    for entry in std::fs::read_dir(installed("kafka").join("formatted"))? {
        let entry = entry?;
        std::fs::copy(entry.path(), data.join(entry.file_name()))?;
    }
    Ok(())
}

fn configuration(
    (port, controller): (u16, u16),
    also: &[Elsewhere],
    data: &Path,
    properties: &[&str],
) -> String {
    let mut text = include_str!("../../servers/server.properties").to_owned();
    let mut listener = format!("PLAINTEXT://127.0.0.1:{port}");
    let mut protocols = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SSL:SSL,\
                         SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL"
        .to_owned();
    for (number, its) in also.iter().enumerate() {
        let protocol = if its.key_store.is_some() { "SSL" } else { "PLAINTEXT" };
        write!(listener, ",ELSEWHERE{number}://{}", its.place()).expect("a string takes any text");
        write!(protocols, ",ELSEWHERE{number}:{protocol}").expect("a string takes any text");
        if let Some(key_store) = &its.key_store {
            let name = format!("listener.name.elsewhere{number}.ssl.keystore");
            let lines = format!("{name}.type=PEM\n{name}.location={}\n", key_store.display());
            text.push_str(&lines);
        }
    }
    let own = [
        format!("controller.quorum.voters=1@127.0.0.1:{controller}"),
        format!("listeners={listener},CONTROLLER://127.0.0.1:{controller}"),
        format!("advertised.listeners={listener}"),
        format!("log.dirs={}", data.display()),
        format!("listener.security.protocol.map={protocols}"),
    ];
    let lines = own.iter().map(String::as_str).chain(properties.iter().copied());
    lines.for_each(|line| writeln!(text, "{line}").expect("a string takes any text"));
    text
}
