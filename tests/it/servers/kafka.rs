//! Kafka: one node that is broker and controller.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;

use rustix::process::Signal;

use super::installed;
use super::process::{Process, Recipe, Server, tied_to_us};
use super::scratch::{Folder, Port};

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
        Self::try_start(properties, None).unwrap_or_else(|reason| panic!("{reason}"))
    }

    /// The same; it is also found, under another port, at an address of ours. Gives its name there.
    pub(crate) fn start_at(address: Ipv4Addr) -> (Self, String) {
        let port = Port::new().expect("a port is free");
        let place = format!("{address}:{}", port.number);
        let started = Self::try_start(&[], Some((address, port)));
        (started.unwrap_or_else(|reason| panic!("{reason}")), place)
    }

    pub(super) fn try_start(
        properties: &[&str],
        also_at: Option<(Ipv4Addr, Port)>,
    ) -> Result<Self, String> {
        let told = |error| format!("Kafka does not start: {error}");
        let folder = Folder::new("kafka").map_err(told)?;
        let port = Port::new().map_err(told)?;
        let controller = Port::new().map_err(told)?;
        let data = folder.path().join("data");
        copy_formatted(&data).map_err(told)?;
        let also = also_at.as_ref().map(|(address, port)| format!("{address}:{}", port.number));
        let ports = (port.number, controller.number);
        let configured = configuration(ports, also.as_deref(), &data, properties);
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
        let ports = [controller].into_iter().chain(also_at.map(|(_, port)| port)).collect();
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
    also: Option<&str>,
    data: &Path,
    properties: &[&str],
) -> String {
    let mut text = include_str!("../../servers/server.properties").to_owned();
    let mut listener = format!("PLAINTEXT://127.0.0.1:{port}");
    if let Some(place) = also {
        write!(listener, ",ELSEWHERE://{place}").expect("a string takes any text");
    }
    let own = [
        format!("controller.quorum.voters=1@127.0.0.1:{controller}"),
        format!("listeners={listener},CONTROLLER://127.0.0.1:{controller}"),
        format!("advertised.listeners={listener}"),
        format!("log.dirs={}", data.display()),
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,ELSEWHERE:PLAINTEXT,\
         CONTROLLER:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL"
            .to_owned(),
    ];
    let lines = own.iter().map(String::as_str).chain(properties.iter().copied());
    lines.for_each(|line| writeln!(text, "{line}").expect("a string takes any text"));
    text
}
