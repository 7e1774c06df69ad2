//! Rotel, a collector by others: what it takes it sends on, by its own hand.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use rustix::process::Signal;

use super::process::{Process, Recipe, Server, tied_to_us};
use super::scratch::{Folder, Port};
use super::{are_there, installed};

/// What the collector is called in the installer's list.
const NAME: &str = "rotel";

/// A collector that runs.
pub(crate) struct Rotel {
    process: Process,
    port: Port,
    _grpc: Port,
}

impl Rotel {
    /// Whether the tests can have one; see [`super::Servers::available`].
    pub(crate) fn available() -> bool {
        are_there(&[NAME, "setpriv"])
    }

    /// Starts one that sends on to this address.
    pub(crate) fn start(onward: &str) -> Self {
        let (port, grpc) =
            (Port::new().expect("a port is free"), Port::new().expect("a port is free"));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.number));
        let other = SocketAddr::from((Ipv4Addr::LOCALHOST, grpc.number));
        let onward = onward.to_owned();
        let command = move || {
            let mut command = tied_to_us(installed(NAME), "KILL", &[]);
            command.arg("start").env_clear();
            command.args(["--otlp-http-endpoint", &address.to_string()]);
            command.args(["--otlp-grpc-endpoint", &other.to_string()]);
            command.args(["--exporter", "otlp", "--otlp-exporter-endpoint", &onward]);
            command.args(["--otlp-exporter-protocol", "http", "--batch-timeout", "100ms"]);
            command
        };
        let recipe = Recipe {
            name: "Rotel",
            command: Box::new(command),
            is_ready: Box::new(move || {
                TcpStream::connect_timeout(&address, Duration::from_millis(50)).is_ok()
            }),
            stop: Signal::TERM,
            end: Signal::KILL,
        };
        let folder = Folder::new("rotel").expect("there can be a folder");
        let process = Process::new(recipe, folder).unwrap_or_else(|reason| panic!("{reason}"));
        Self { process, port, _grpc: grpc }
    }

    /// Where it takes OTLP over HTTP.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.number)
    }
}

impl Server for Rotel {
    fn process(&self) -> &Process {
        &self.process
    }
}
