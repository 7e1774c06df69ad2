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

/// Of three brokers each keeps what Kafka itself has to remember.
const KEPT_BY_THREE: [&str; 5] = [
    "offsets.topic.replication.factor=3",
    "transaction.state.log.replication.factor=3",
    "transaction.state.log.min.isr=2",
    "share.coordinator.state.topic.replication.factor=3",
    "share.coordinator.state.topic.min.isr=2",
];

/// A Kafka broker.
pub(crate) struct Kafka {
    process: Process,
    port: Port,
    /// What only it itself and instances elsewhere use.
    _ports: Vec<Port>,
}

impl Kafka {
    /// Starts three brokers that keep copies of each other's topics.
    pub(crate) fn start_three() -> Vec<Self> {
        Self::try_start_three().unwrap_or_else(|reason| panic!("{reason}"))
    }

    fn try_start_three() -> Result<Vec<Self>, String> {
        let ports: Result<Vec<Port>, _> = (0..3).map(|_| Port::new()).collect();
        let ports = ports.map_err(|error| format!("Kafka does not start: {error}"))?;
        let voters: Vec<String> = (1..).zip(&ports).map(|(n, its)| voter(n, its.number)).collect();
        let voters = voters.join(",");
        let start = |number, controller| {
            let node = Node { number, controller, voters: voters.clone() };
            Self::try_start_node(node, &KEPT_BY_THREE, Vec::new())
        };
        std::thread::scope(|scope| {
            // None is ready before two of them are.
            let nodes =
                (1..).zip(ports).map(|(number, port)| scope.spawn(move || start(number, port)));
            let nodes: Vec<_> = nodes.collect();
            let ended =
                nodes.into_iter().map(|node| node.join().map_err(|_| "Kafka's start panicked")?);
            ended.collect()
        })
    }

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
        let controller = Port::new().map_err(|error| format!("Kafka does not start: {error}"))?;
        let voters = voter(1, controller.number);
        Self::try_start_node(Node { number: 1, controller, voters }, properties, also)
    }

    fn try_start_node(
        node: Node,
        properties: &[&str],
        also: Vec<Elsewhere>,
    ) -> Result<Self, String> {
        let told = |error| format!("Kafka does not start: {error}");
        let folder = Folder::new("kafka").map_err(told)?;
        let port = Port::new().map_err(told)?;
        let data = folder.path().join("data");
        copy_formatted(&data, node.number).map_err(told)?;
        let configured = configuration(port.number, &node, &also, &data, properties);
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
        let ports = also.into_iter().map(|its| its.port);
        let ports = [node.controller].into_iter().chain(ports).collect();
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

/// A node of a cluster.
struct Node {
    number: u32,
    controller: Port,
    /// All of its nodes, as Kafka wants them named.
    voters: String,
}

fn voter(number: u32, controller: u16) -> String {
    format!("{number}@127.0.0.1:{controller}")
}

/// Formatting takes a start of Java; the installer did it once, for node 1, and nothing else in it depends on
/// the place.
fn copy_formatted(data: &Path, node: u32) -> std::io::Result<()> {
    std::fs::create_dir(data)?;
    for entry in std::fs::read_dir(installed("kafka").join("formatted"))? {
        let entry = entry?;
        std::fs::copy(entry.path(), data.join(entry.file_name()))?;
    }
    if node == 1 {
        return Ok(());
    }
    let file = data.join("meta.properties");
    let lines = std::fs::read_to_string(&file)?;
    // A folder is known by an id of its own: 128 bits in 22 letters, of which the first may be any.
    let other = |line: &str| match line.split_once('=') {
        Some(("node.id", _)) => format!("node.id={node}\n"),
        Some(("directory.id", id)) => format!("directory.id={node}{}\n", &id[1..]),
        _ => format!("{line}\n"),
    };
    std::fs::write(&file, lines.lines().map(other).collect::<String>())
}

fn configuration(
    port: u16,
    node: &Node,
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
    let (number, controller, voters) = (node.number, node.controller.number, &node.voters);
    let own = [
        format!("node.id={number}"),
        format!("controller.quorum.voters={voters}"),
        format!("listeners={listener},CONTROLLER://127.0.0.1:{controller}"),
        format!("advertised.listeners={listener}"),
        format!("log.dirs={}", data.display()),
        format!("listener.security.protocol.map={protocols}"),
    ];
    let lines = own.iter().map(String::as_str).chain(properties.iter().copied());
    lines.for_each(|line| writeln!(text, "{line}").expect("a string takes any text"));
    text
}
