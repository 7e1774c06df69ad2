//! The bridge itself as a child process, like the servers that it talks to.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::network::Link;
use super::process::{Process, Recipe, Server, tied_to_us};
use super::scratch::{Folder, Port};

/// An instance of the service.
pub(crate) struct Bridge {
    process: Process,
    address: SocketAddr,
    /// It speaks TLS.
    is_secure: bool,
    _port: Port,
}

/// How often a wait looks again, and how often at most.
const LOOK: Duration = Duration::from_millis(50);
const LOOKS_MAX: u32 = 1_800;

impl Bridge {
    /// Starts an instance that knows this environment and nothing else, and waits until it has its port.
    pub(crate) fn start(arguments: &[&str], environment: &[(String, String)]) -> Self {
        Self::start_on(None, arguments, environment)
    }

    /// The same behind a link of its own.
    pub(crate) fn start_on(
        link: Option<&Link>,
        arguments: &[&str],
        environment: &[(String, String)],
    ) -> Self {
        let folder = Folder::new("bridge").expect("there can be a folder");
        let port = Port::new().expect("a port is free");
        let host = link.map_or(Ipv4Addr::LOCALHOST, Link::address);
        let address = SocketAddr::from((host, port.number));
        let namespace = link.map(Link::namespace);
        let arguments: Vec<String> =
            arguments.iter().map(|&argument| argument.to_owned()).collect();
        let environment = environment.to_vec();
        let is_secure =
            environment.iter().any(|(name, _)| name == "BRIDGE__HTTP__TLS__CERTIFICATE_FILE");
        let command = move || {
            let program = Path::new(env!("CARGO_BIN_EXE_biometric-bridge"));
            let mut command = match &namespace {
                None => tied_to_us(program, "KILL", &[]),
                Some(namespace) => {
                    let mut command = tied_to_us(Path::new("nsenter"), "KILL", &[]);
                    command.arg(format!("--net={namespace}")).arg("--").arg(program);
                    command
                }
            };
            command.arg("run").args(&arguments).env_clear();
            command.env("HTTP_BIND", address.to_string()).envs(environment.clone());
            command
        };
        let recipe = Recipe {
            name: "the bridge",
            command: Box::new(command),
            is_ready: Box::new(move || TcpStream::connect_timeout(&address, LOOK).is_ok()),
            stop: Signal::TERM,
            end: Signal::KILL,
        };
        let process = Process::new(recipe, folder).unwrap_or_else(|reason| panic!("{reason}"));
        Self { process, address, is_secure, _port: port }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Status and body of a page; `None` while there is nobody who answers.
    pub(crate) fn http(&self, path: &str) -> Option<(u16, String)> {
        // Whose certificate it shows is looked at where that is the question.
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let tls = ureq::tls::TlsConfig::builder().disable_verification(true);
        let tls = tls.unversioned_rustls_crypto_provider(provider.into()).build();
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(5)))
            .tls_config(tls)
            .build();
        let scheme = if self.is_secure { "https" } else { "http" };
        let url = format!("{scheme}://{}{path}", self.address);
        let mut answer = ureq::Agent::new_with_config(config).get(&url).call().ok()?;
        Some((answer.status().as_u16(), answer.body_mut().read_to_string().ok()?))
    }

    /// Waits until `/ready` is as wanted, and gives what it says.
    pub(crate) fn wait_until(&self, wanted: &str, is_so: impl Fn(u16, &Value) -> bool) -> Value {
        let mut last = None;
        for _ in 0..LOOKS_MAX {
            assert!(!self.process.has_ended(), "the bridge has ended:\n{}", self.last_words());
            if let Some((status, body)) = self.http("/ready") {
                let body = serde_json::from_str(&body).expect("/ready speaks JSON");
                if is_so(status, &body) {
                    return body;
                }
                last = Some(body);
            }
            std::thread::sleep(LOOK);
        }
        panic!("not {wanted} in time: {last:?}\n{}", self.last_words());
    }

    /// Waits until it is ready for work, and gives what `/ready` says.
    pub(crate) fn wait_ready(&self) -> Value {
        self.wait_until("ready", |status, _| status == 200)
    }

    /// Waits until `/ready` says 503 and names that part.
    pub(crate) fn wait_failing(&self, part: &str) -> Value {
        self.wait_until(part, |status, body| status == 503 && body["failing"] == part)
    }

    /// Waits until it owns so many lanes, all running.
    pub(crate) fn wait_lanes(&self, count: usize) -> Value {
        self.wait_until("an owner of lanes", |status, body| {
            let lanes = body["lanes"].as_object();
            let running = lanes.into_iter().flatten().filter(|(_, doing)| *doing == "running");
            status == 200 && running.count() == count
        })
    }

    /// Waits until it owns some lanes, one of them running.
    pub(crate) fn wait_some_lanes(&self) {
        self.wait_until("an owner of lanes", |status, body| {
            let lanes = body["lanes"].as_object();
            status == 200 && lanes.is_some_and(|lanes| lanes.values().any(|its| its == "running"))
        });
    }

    /// Waits until it has ended by itself; says how.
    pub(crate) fn wait_ended(&self) -> ExitStatus {
        for _ in 0..LOOKS_MAX {
            if let Some(status) = self.ended() {
                return status;
            }
            std::thread::sleep(LOOK);
        }
        panic!("it does not end in time:\n{}", self.last_words());
    }

    /// Ends it in order (SIGTERM); it must say that it did.
    pub(crate) fn end(&self) {
        let status = self.process.stop();
        assert_eq!(status.code(), Some(0), "{}", self.last_words());
    }

    /// Ends it in order; says how it ended, however that was.
    pub(crate) fn ends(&self) -> ExitStatus {
        self.process.stop()
    }

    /// A metric summed over all series that begin so; 0 while there is nobody who answers.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let text = self.http("/metrics").map(|(_, text)| text).unwrap_or_default();
        let lines = text.lines().filter(|line| line.starts_with(series));
        let values = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
        values.sum()
    }

    /// Waits until a metric is as wanted.
    pub(crate) fn wait_metric(&self, series: &str, is_so: impl Fn(f64) -> bool) {
        for _ in 0..LOOKS_MAX {
            if is_so(self.metric(series)) {
                return;
            }
            std::thread::sleep(LOOK);
        }
        panic!("{series} stays at {}\n{}", self.metric(series), self.last_words());
    }

    /// Waits until its metrics say of a part that it is up, or that it is not: a series that is absent says neither.
    pub(crate) fn wait_part(&self, part: &str, is_up: bool) {
        let line = format!("biometric_part_up{{part=\"{part}\"}} {}", u8::from(is_up));
        for _ in 0..LOOKS_MAX {
            let text = self.http("/metrics").map(|(_, text)| text).unwrap_or_default();
            if text.lines().any(|its| its == line) {
                return;
            }
            std::thread::sleep(LOOK);
        }
        panic!("the metrics never say {line}\n{}", self.last_words());
    }

    /// All that it has said.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// Waits until it has said something.
    pub(crate) fn wait_log(&self, said: &str) {
        for _ in 0..LOOKS_MAX {
            if self.log().contains(said) {
                return;
            }
            std::thread::sleep(LOOK);
        }
        panic!("it never says {said:?}\n{}", self.last_words());
    }

    fn last_words(&self) -> String {
        self.process.last_words()
    }
}

impl Server for Bridge {
    fn process(&self) -> &Process {
        &self.process
    }
}
