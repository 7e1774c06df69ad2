//! A collector's stand-in: takes spans by OTLP over HTTP, keeps them as sent, and treats whoever sends as it is told.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span as Sent;
use prost::Message as _;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::scratch::Port;
use super::vault::who_shows;

/// How long spans are waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// How whoever sends is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Their spans are taken.
    Takes,
    /// Their spans are taken but for one, and they are told so.
    TakesAllButOne,
    /// They are told that it is too much.
    Refuses,
    /// They are told nothing, until that changes.
    Hangs,
}

/// A span that was taken.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) trace: String,
    pub(crate) id: String,
    /// Empty when it has none.
    pub(crate) parent: String,
    pub(crate) name: String,
    /// As the protocol numbers them: 1 internal, 2 server, 3 client, 4 producer, 5 consumer.
    pub(crate) kind: i32,
    pub(crate) attributes: BTreeMap<String, String>,
    /// Traces and spans that it is linked with.
    pub(crate) links: Vec<(String, String)>,
    pub(crate) began: u64,
    pub(crate) ended: u64,
    pub(crate) failed: bool,
    /// Who has made it.
    pub(crate) resource: BTreeMap<String, String>,
}

impl Span {
    /// An attribute, which must be there.
    pub(crate) fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    /// How it is named by whoever continues it.
    pub(crate) fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.trace, self.id)
    }
}

/// A stand-in.
pub(crate) struct Collector {
    url: String,
    shared: Arc<Shared>,
    _port: Port,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    manner: Manner,
    spans: Vec<Span>,
    bytes: Vec<u8>,
    requests: usize,
}

impl Default for State {
    fn default() -> Self {
        Self { manner: Manner::Takes, spans: Vec::new(), bytes: Vec::new(), requests: 0 }
    }
}

impl Collector {
    /// Begins to listen.
    pub(crate) fn start() -> Self {
        Self::listen(None)
    }

    /// One that speaks TLS.
    pub(crate) fn start_tls(certificate: &Path, key: &Path) -> Self {
        Self::listen(Some(who_shows(certificate, key)))
    }

    fn listen(tls: Option<Arc<ServerConfig>>) -> Self {
        let port = Port::new().expect("a port is free");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.number));
        let listener = TcpListener::bind(address).expect("it listens");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let shared = Arc::<Shared>::default();
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, tls) = (Arc::clone(&serving), tls.clone());
                // A connection that breaks off has said what it had to say.
                std::thread::spawn(move || match tls {
                    None => shared.serve(stream),
                    Some(config) => {
                        let session = ServerConnection::new(config).expect("a session");
                        shared.serve(StreamOwned::new(session, stream))
                    }
                });
            }
        });
        Self { url: format!("{scheme}://{address}"), shared, _port: port }
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    /// Treats whoever sends so from now on.
    pub(crate) fn turns(&self, manner: Manner) {
        self.shared.state().manner = manner;
        self.shared.changed.notify_all();
    }

    /// All spans that were taken.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.shared.state().spans.clone()
    }

    /// All bytes that were sent, headers included.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.shared.state().bytes.clone()
    }

    /// How often somebody has sent something.
    pub(crate) fn requests(&self) -> usize {
        self.shared.state().requests
    }

    /// Waits until the spans are as wanted, and gives them.
    pub(crate) fn wait(&self, what: &str, is_so: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        let state = self.shared.state();
        let waited =
            self.shared.changed.wait_timeout_while(state, PATIENCE, |state| !is_so(&state.spans));
        let (state, late) = waited.unwrap_or_else(PoisonError::into_inner);
        let names: Vec<(&str, &str)> =
            state.spans.iter().map(|span| (span.trace.as_str(), span.name.as_str())).collect();
        assert!(!late.timed_out(), "no {what} in time: {names:?}");
        state.spans.clone()
    }

    /// Waits until somebody has sent something so often.
    pub(crate) fn wait_requests(&self, count: usize) {
        let state = self.shared.state();
        let waited =
            self.shared.changed.wait_timeout_while(state, PATIENCE, |state| state.requests < count);
        let (state, late) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(!late.timed_out(), "only {} requests", state.requests);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve<S: Read + Write>(&self, stream: S) -> Option<()> {
        let mut reader = BufReader::new(stream);
        loop {
            let (head, body) = read(&mut reader)?;
            let manner = {
                let mut state = self.state();
                state.requests += 1;
                state.bytes.extend_from_slice(head.as_bytes());
                state.bytes.extend_from_slice(&body);
                self.changed.notify_all();
                while state.manner == Manner::Hangs {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                state.manner
            };
            assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
            let status = match manner {
                Manner::Refuses => "503 Service Unavailable",
                _ => {
                    self.take(&body);
                    "200 OK"
                }
            };
            let part = ExportTracePartialSuccess { rejected_spans: 1, ..Default::default() };
            let partial_success = (manner == Manner::TakesAllButOne).then_some(part);
            // Without a partial success it is empty.
            let said = ExportTraceServiceResponse { partial_success }.encode_to_vec();
            let head = "Content-Type: application/x-protobuf\r\nContent-Length";
            let head = format!("HTTP/1.1 {status}\r\n{head}: {}\r\n\r\n", said.len());
            let answers = reader.get_mut();
            answers.write_all(&[head.as_bytes(), &said].concat()).ok()?;
            answers.flush().ok()?;
        }
    }

    fn take(&self, body: &[u8]) {
        let request = ExportTraceServiceRequest::decode(body).expect("it is the protocol's");
        let mut state = self.state();
        for of_resource in request.resource_spans {
            let resource = of_resource.resource.map(|resource| resource.attributes);
            let resource = attributes(resource.unwrap_or_default());
            let sent = of_resource.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans);
            state.spans.extend(sent.map(|sent| span(sent, &resource)));
        }
        self.changed.notify_all();
    }
}

/// The head and the body of a request; `None` when there is none.
fn read<S: Read>(reader: &mut BufReader<S>) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let lower = head.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length:"))?;
    let mut body = vec![0; length.trim().parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    // Rotel compresses what it sends on, whatever it is told.
    let is_compressed = lower.lines().any(|line| line.trim() == "content-encoding: gzip");
    Some((head, if is_compressed { unpacked(body) } else { body }))
}

fn unpacked(body: Vec<u8>) -> Vec<u8> {
    let mut command = Command::new("gzip");
    command.arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut gzip = command.spawn().expect("Debian always has gzip");
    let mut input = gzip.stdin.take().expect("a pipe");
    let given = std::thread::spawn(move || input.write_all(&body));
    let output = gzip.wait_with_output().expect("it ends");
    given.join().expect("no panic").expect("it takes all");
    output.stdout
}

fn span(sent: Sent, resource: &BTreeMap<String, String>) -> Span {
    Span {
        trace: hex::encode(&sent.trace_id),
        id: hex::encode(&sent.span_id),
        parent: hex::encode(&sent.parent_span_id),
        name: sent.name,
        kind: sent.kind,
        attributes: attributes(sent.attributes),
        links: sent
            .links
            .iter()
            .map(|link| (hex::encode(&link.trace_id), hex::encode(&link.span_id)))
            .collect(),
        began: sent.start_time_unix_nano,
        ended: sent.end_time_unix_nano,
        failed: sent.status.is_some_and(|status| status.code == 2),
        resource: resource.clone(),
    }
}

fn attributes(sent: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Option<Value>| match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(is)) => is.to_string(),
        other => format!("{other:?}"),
    };
    sent.into_iter()
        .map(|pair| (pair.key, text(pair.value.and_then(|value| value.value))))
        .collect()
}
