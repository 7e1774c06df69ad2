//! AUREN's stand-in: a WebSocket server that keeps what it was sent, in order, and treats its clients as it is told.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::protocol::CloseFrame;
use tungstenite::{Error, Message, WebSocket};

/// How long something is waited for.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a thread waits for something to come before it looks whether it is told something else.
const LOOK: Duration = Duration::from_millis(20);

/// How clients are treated.
#[derive(Clone)]
pub(crate) struct Manners {
    /// It reads what it is sent, and so answers pings.
    pub(crate) reads: bool,
    /// It acknowledges messages.
    pub(crate) acknowledges: bool,
    /// Except this one, by user and number.
    pub(crate) leaves_out: Option<(&'static str, i64)>,
    /// It opens no socket, but answers with this status and this place to go to.
    pub(crate) refuses: Option<(u16, Option<&'static str>)>,
    /// It speaks `neuros.v1`.
    pub(crate) speaks: bool,
    /// What it says of itself when a socket is open.
    pub(crate) says: Vec<Message>,
}

impl Default for Manners {
    fn default() -> Self {
        let (says, leaves_out) = (Vec::new(), None);
        Self { reads: true, acknowledges: true, leaves_out, refuses: None, speaks: true, says }
    }
}

impl Manners {
    /// Whether this message is acknowledged.
    fn acknowledge(&self, message: &Value) -> bool {
        let is_left_out =
            |(user, n): (&str, i64)| message["user_id"] == user && message["n"].as_i64() == Some(n);
        self.acknowledges && !self.leaves_out.is_some_and(is_left_out)
    }
}

/// What has come.
#[derive(Default)]
pub(crate) struct Seen {
    /// Messages, with the number of the connection that brought each.
    pub(crate) messages: Vec<(usize, Value)>,
    /// When each handshake came, that of a client that is refused too.
    pub(crate) handshakes: Vec<Instant>,
    /// Connections that were opened.
    pub(crate) opened: usize,
    /// The line `Authorization` of each handshake.
    pub(crate) authorizations: Vec<Option<String>>,
    /// The code with which clients have closed.
    pub(crate) closed: Vec<u16>,
}

/// What is done to the connections that are open.
#[derive(Clone, Copy)]
pub(crate) enum Order {
    /// They break off, with what waits in their buffers.
    Reset,
    /// They are closed with this code.
    Close(u16),
}

#[derive(Default)]
struct Shared {
    manners: Mutex<Manners>,
    seen: Mutex<Seen>,
    changed: Condvar,
    orders: Mutex<Vec<Sender<Order>>>,
    is_over: AtomicBool,
}

/// A stand-in.
pub(crate) struct Peer {
    port: u16,
    tls: Option<Arc<ServerConfig>>,
    shared: Arc<Shared>,
    listening: Option<JoinHandle<()>>,
}

impl Peer {
    /// One that listens.
    pub(crate) fn start(manners: Manners) -> Self {
        Self::start_with(manners, None)
    }

    /// The same with TLS.
    pub(crate) fn start_tls(manners: Manners, certificate: &Path, key: &Path) -> Self {
        let certificates = CertificateDer::pem_file_iter(certificate).expect("a file");
        let certificates = certificates.collect::<Result<_, _>>().expect("certificates");
        let key = PrivateKeyDer::from_pem_file(key).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().expect("versions");
        let config = config.with_no_client_auth().with_single_cert(certificates, key);
        Self::start_with(manners, Some(Arc::new(config.expect("a certificate with its key"))))
    }

    fn start_with(manners: Manners, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared { manners: Mutex::new(manners), ..Shared::default() });
        let mut peer = Self { port, tls, shared, listening: None };
        peer.listen(listener);
        peer
    }

    fn listen(&mut self, listener: TcpListener) {
        listener.set_nonblocking(true).expect("set");
        let (shared, tls) = (Arc::clone(&self.shared), self.tls.clone());
        shared.is_over.store(false, Ordering::Relaxed);
        self.listening = Some(std::thread::spawn(move || {
            let mut open = Vec::new();
            while !shared.is_over.load(Ordering::Relaxed) {
                let Ok((stream, _)) = listener.accept() else {
                    std::thread::sleep(LOOK);
                    continue;
                };
                let (shared, tls) = (Arc::clone(&shared), tls.clone());
                open.push(std::thread::spawn(move || receive(&shared, stream, tls)));
            }
            drop(listener);
            open.into_iter().for_each(|thread| thread.join().expect("it does not panic"));
        }));
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "wss" } else { "ws" };
        format!("{scheme}://127.0.0.1:{}/ws", self.port)
    }

    /// Nobody listens any more, and connections break off.
    pub(crate) fn stop(&mut self) {
        self.order(Order::Reset);
        self.shared.is_over.store(true, Ordering::Relaxed);
        if let Some(listening) = self.listening.take() {
            listening.join().expect("it does not panic");
        }
    }

    /// It listens again.
    pub(crate) fn start_again(&mut self) {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).expect("the port is free");
        self.listen(listener);
    }

    /// From now on, of open connections too, it is otherwise.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Manners)) {
        change(&mut lock(&self.shared.manners));
    }

    /// Does something to all connections that are open.
    pub(crate) fn order(&self, order: Order) {
        for connection in std::mem::take(&mut *lock(&self.shared.orders)) {
            // It may have ended by itself.
            let _gone = connection.send(order);
        }
    }

    /// What has come.
    pub(crate) fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&lock(&self.shared.seen))
    }

    /// Waits until it has seen something.
    pub(crate) fn wait(&self, what: &str, is_so: impl Fn(&Seen) -> bool) {
        let seen = lock(&self.shared.seen);
        let waited = self.shared.changed.wait_timeout_while(seen, PATIENCE, |seen| !is_so(seen));
        let (seen, timed_out) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(
            !timed_out.timed_out(),
            "not in time: {what}; {} messages, {} handshakes, closed {:?}",
            seen.messages.len(),
            seen.handshakes.len(),
            seen.closed
        );
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn lock<T>(place: &Mutex<T>) -> MutexGuard<'_, T> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

fn receive(shared: &Shared, stream: TcpStream, tls: Option<Arc<ServerConfig>>) {
    stream.set_nonblocking(false).expect("set");
    // A handshake is soon over, or the client has gone.
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
    let raw = stream.try_clone().expect("a second handle");
    match tls {
        None => serve(shared, stream, &raw),
        Some(config) => {
            let session = ServerConnection::new(config).expect("a session");
            serve(shared, StreamOwned::new(session, stream), &raw);
        }
    }
}

fn serve<S: Read + Write>(shared: &Shared, stream: S, raw: &TcpStream) {
    #[expect(clippy::result_large_err, reason = "so the library wants it")]
    let greeting = |request: &Request, response: Response| greet(shared, request, response);
    let Ok(mut socket) = tungstenite::accept_hdr(stream, greeting) else { return };
    raw.set_read_timeout(Some(LOOK)).expect("set");
    let orders = open(shared);
    let number = shared.note(|seen| {
        seen.opened += 1;
        seen.opened
    });
    for said in lock(&shared.manners).says.clone() {
        let _gone = socket.send(said);
    }
    while !shared.is_over.load(Ordering::Relaxed) {
        match orders.try_recv() {
            Ok(Order::Reset) => {
                rustix::net::sockopt::set_socket_linger(raw, Some(Duration::ZERO)).expect("set");
                return;
            }
            Ok(Order::Close(code)) => {
                let frame = CloseFrame { code: code.into(), reason: "told so".into() };
                let _gone = socket.close(Some(frame));
            }
            Err(_) => {}
        }
        if !lock(&shared.manners).reads {
            std::thread::sleep(LOOK);
        } else if !read(shared, &mut socket, number) {
            return;
        }
    }
}

fn open(shared: &Shared) -> Receiver<Order> {
    let (told, orders) = channel();
    lock(&shared.orders).push(told);
    orders
}

/// Reads one message; says whether the connection goes on.
fn read<S: Read + Write>(shared: &Shared, socket: &mut WebSocket<S>, number: usize) -> bool {
    match socket.read() {
        Ok(Message::Text(text)) => {
            let message: Value = serde_json::from_str(&text).expect("JSON");
            let ack = json!({ "type": "ack", "message_id": message["message_id"] });
            let acknowledges = lock(&shared.manners).acknowledge(&message);
            shared.note(|seen| seen.messages.push((number, message)));
            !acknowledges || socket.send(Message::text(ack.to_string())).is_ok()
        }
        Ok(Message::Close(frame)) => {
            let code = frame.map_or(1005, |frame| frame.code.into());
            shared.note(|seen| seen.closed.push(code));
            true
        }
        Ok(_) => true,
        Err(Error::Io(error)) => {
            [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind())
        }
        Err(_) => false,
    }
}

#[expect(clippy::result_large_err, reason = "the library's own")]
fn greet(
    shared: &Shared,
    request: &Request,
    mut response: Response,
) -> Result<Response, ErrorResponse> {
    let head = |name: &str| {
        let value = request.headers().get(name)?;
        Some(value.to_str().expect("a text").to_owned())
    };
    assert_eq!(head("sec-websocket-protocol").as_deref(), Some("neuros.v1"));
    #[expect(clippy::disallowed_methods, reason = "how long a client waits is measured")]
    let now = Instant::now();
    shared.note(|seen| {
        seen.handshakes.push(now);
        seen.authorizations.push(head("authorization"));
    });
    let manners = lock(&shared.manners).clone();
    if let Some((status, place)) = manners.refuses {
        let mut refusal = ErrorResponse::new(Some("hunter2 is not let in".to_owned()));
        *refusal.status_mut() = status.try_into().expect("a status");
        if let Some(place) = place {
            refusal.headers_mut().insert("location", place.parse().expect("a value"));
        }
        return Err(refusal);
    }
    if manners.speaks {
        let spoken = "neuros.v1".parse().expect("a value");
        response.headers_mut().insert("sec-websocket-protocol", spoken);
    }
    Ok(response)
}

impl Shared {
    fn note<T>(&self, change: impl FnOnce(&mut Seen) -> T) -> T {
        let done = change(&mut lock(&self.seen));
        self.changed.notify_all();
        done
    }
}
