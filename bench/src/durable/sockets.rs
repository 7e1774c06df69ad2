//! Sockets: what one takes while nothing is sent on it, how many messages a second go out to a thousand of them, and
//! how long a mode change takes from its event's producer to all of them. Beside a program that sends the same bytes
//! to as many sockets and does nothing else.

mod bare;
mod crowd;

use std::net::TcpStream;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tungstenite::Message;
use tungstenite::client::IntoClientRequest as _;

use self::bare::Bare;
use self::crowd::Crowd;
use super::database::Database;
use super::load::{self, Producer, user_id};
use super::service::{Place, Service, watch};
use super::setup::{Setup, say};
use super::{Options, clock, middle, report};
use crate::table::Table;

pub use self::bare::{Broadcast, run as run_bare};

/// Sockets that are there before memory is looked at: what the first ones bring in, they bring in once.
const WARM: usize = 200;
/// For so long the allocator keeps pages that are free, at most, and something beside.
const SETTLED: Duration = Duration::from_secs(12);
/// Users whom somebody follows by name while nothing is sent.
const CALM: u64 = 50;
/// Mode changes that come at once. With the alerts that they lead to they have room in the queue of a socket
/// (`http.socket_queue_bytes_max`): it is measured how quickly they leave, and not who is cut off.
const BURST: u64 = 400;
const BURSTS: usize = 5;
/// Mode changes a second, and for how long, when it is measured how long one takes.
const PACED_RATE: u64 = 20;
const PACED_SECONDS: u64 = 20;
/// The producer's, as every client of the service has it.
const LINGER: Duration = Duration::from_millis(1);

/// What was measured.
pub(super) struct Sockets {
    /// Sockets on which nothing was sent.
    pub(super) idle: usize,
    /// Who followed everybody.
    pub(super) subscribers: usize,
    /// Bytes of the service for each idle socket.
    pub(super) idle_bytes: f64,
    /// Messages a second of each burst, and of the same bytes from the bare program.
    pub(super) rate: f64,
    pub(super) bare_rate: f64,
    /// The mean message.
    pub(super) message_bytes: f64,
    /// CPU of the service, microseconds a message.
    pub(super) micros: f64,
    /// From producer to each subscriber, microseconds.
    pub(super) seen: Histogram<u64>,
}

pub(super) fn run(setup: &Setup, options: &Options, table: &mut Table) -> anyhow::Result<()> {
    let (idle, subscribers) = (options.sockets, options.sockets.div_ceil(5));
    allow_files(idle)?;
    let place = Place::make(setup, "sockets", -1)?;
    let token = setup.token()?;
    let mut settings = options.settings.clone();
    settings.push(("BRIDGE__AUTH__TOKENS_FILE".to_owned(), token.file));
    for name in [
        "CONNECTIONS_MAX",
        "CONNECTIONS_PER_ADDRESS",
        "SOCKETS_PER_SUBJECT",
        "REQUESTS_PER_SUBJECT",
    ] {
        settings.push((format!("BRIDGE__HTTP__{name}"), "60000".to_owned()));
    }
    let service = Service::start(setup, &settings, &place)?;
    service.wait_for_lanes()?;
    let producer = Producer::new(&setup.kafka.bootstrap, &place.topics.events, LINGER)?;
    let database = Database::connect(&place.url)?;
    let bursts = BURSTS as u64 * BURST;
    let users = CALM + bursts + PACED_RATE * PACED_SECONDS;
    let mut measured = Stage {
        service,
        database,
        producer,
        bearer: token.bearer,
        subscribers,
        sent: 0,
        next: CALM,
    };
    say(&format!("sockets: {users} users"))?;
    measured.meet(users)?;
    let idle_bytes = measured.idle(idle)?;
    let (rates, micros, kept) = measured.bursts()?;
    let seen = measured.paced()?;
    say("sockets: bare")?;
    let bare_rate = bare(setup, &kept, subscribers)?;
    let bytes: usize = kept.iter().map(String::len).sum();
    let message_bytes = bytes as f64 / kept.len() as f64;
    let rate = middle(rates);
    report::sockets(
        table,
        &Sockets { idle, subscribers, idle_bytes, rate, bare_rate, message_bytes, micros, seen },
    );
    Ok(())
}

/// Everything that a measurement uses.
struct Stage {
    service: Service,
    database: Database,
    producer: Producer,
    bearer: String,
    /// Who follows everybody.
    subscribers: usize,
    /// Events so far.
    sent: u64,
    /// The next user whose mode has not changed yet.
    next: u64,
}

impl Stage {
    /// A first event of each, for that costs more.
    fn meet(&mut self, users: u64) -> anyhow::Result<()> {
        let mut text = String::new();
        for user in 0..users {
            load::write(user, clock::micros(), load::mixed(user), false, &mut text)?;
            self.producer.send(Some(&user_id(user)), &text)?;
        }
        self.sent += users;
        self.wait()
    }

    /// Waits until everything that was sent is committed.
    fn wait(&mut self) -> anyhow::Result<()> {
        self.producer.flush()?;
        let service = std::slice::from_mut(&mut self.service);
        watch(service, &mut self.database, self.sent, Duration::from_millis(20))?;
        Ok(())
    }

    /// Bytes of the service for each socket on which nothing is sent.
    fn idle(&self, count: usize) -> anyhow::Result<f64> {
        say(&format!("sockets: {count} idle"))?;
        let crowd = Crowd::new()?;
        let add = |count: usize| {
            for number in 0..count {
                let user = user_id(number as u64 % CALM);
                let subscribe = format!(r#"{{"type":"subscribe","users":["{user}"]}}"#);
                crowd.add(open(self.service.address(), &self.bearer, &subscribe)?)?;
            }
            std::thread::sleep(SETTLED);
            clock::resident(self.service.id())
        };
        let before = add(WARM)?;
        let after = add(count)?;
        anyhow::ensure!(crowd.is_whole(), "sockets were closed");
        Ok((after as f64 - before as f64) / count as f64)
    }

    /// Messages a second of each burst, CPU of the service for each message of all of them, and the texts that one
    /// subscriber had of the last.
    fn bursts(&mut self) -> anyhow::Result<(Vec<f64>, f64, Vec<String>)> {
        let crowd = self.crowd()?;
        let mut rates = Vec::new();
        let (before, mut messages, mut kept) = (clock::cpu(self.service.id())?, 0, Vec::new());
        for burst in 1..=BURSTS {
            say(&format!("sockets: burst {burst} of {BURSTS}"))?;
            crowd.forget()?;
            for _ in 0..BURST {
                self.change_one()?;
            }
            self.producer.flush()?;
            crowd.wait(BURST * self.subscribers as u64)?;
            // What alerts there are came between.
            self.wait()?;
            let came = crowd.came()?;
            messages += came.messages;
            rates.push(came.rate());
            kept = came.kept;
        }
        let used = clock::cpu(self.service.id())?.saturating_sub(before);
        Ok((rates, used.as_secs_f64() * 1e6 / messages as f64, kept))
    }

    /// How long mode changes take to each subscriber, at a steady rate.
    fn paced(&mut self) -> anyhow::Result<Histogram<u64>> {
        say(&format!("sockets: {PACED_RATE} mode changes/s"))?;
        let crowd = self.crowd()?;
        crowd.forget()?;
        crowd.time_from(self.next);
        let began = clock::now();
        let events = PACED_RATE * PACED_SECONDS;
        for i in 0..events {
            let due = began + Duration::from_nanos(i * 1_000_000_000 / PACED_RATE);
            std::thread::sleep(due.saturating_duration_since(clock::now()));
            // Who sends late must not make it look quick.
            crowd.is_sent(due.min(clock::now()));
            self.change_one()?;
        }
        crowd.wait(events * self.subscribers as u64)?;
        Ok(crowd.came()?.times)
    }

    fn crowd(&self) -> anyhow::Result<Crowd> {
        let crowd = Crowd::new()?;
        for _ in 0..self.subscribers {
            let subscribe = r#"{"type":"subscribe","users":"*"}"#;
            crowd.add(open(self.service.address(), &self.bearer, subscribe)?)?;
        }
        Ok(crowd)
    }

    /// Sends an event that changes the mode of a user whose mode has not changed yet.
    fn change_one(&mut self) -> anyhow::Result<()> {
        let (user, mut text) = (self.next, String::new());
        load::write(user, clock::micros(), load::mixed(user), true, &mut text)?;
        self.producer.send(Some(&user_id(user)), &text)?;
        (self.next, self.sent) = (user + 1, self.sent + 1);
        Ok(())
    }
}

/// Messages a second of the bare program, the middle of as many bursts.
fn bare(setup: &Setup, texts: &[String], subscribers: usize) -> anyhow::Result<f64> {
    let mut bare = Bare::start(&setup.folder().join("texts"), texts, subscribers)?;
    let crowd = Crowd::new()?;
    for _ in 0..subscribers {
        crowd.add(open(bare.address(), "", "{}")?)?;
    }
    let changes = texts.iter().filter(|text| crowd::is_change(text)).count();
    let mut rates = Vec::new();
    for _ in 0..BURSTS {
        crowd.forget()?;
        bare.go()?;
        crowd.wait((changes * subscribers) as u64)?;
        rates.push(crowd.came()?.rate());
    }
    Ok(middle(rates))
}

/// Opens a socket, says something, and waits for what is said to that.
fn open(address: &str, bearer: &str, said: &str) -> anyhow::Result<TcpStream> {
    let mut request = format!("ws://{address}/ws").into_client_request()?;
    request.headers_mut().insert("sec-websocket-protocol", "neuros.v1".parse()?);
    request.headers_mut().insert("authorization", format!("Bearer {bearer}").parse()?);
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let opened = tungstenite::client(request, stream);
    let (mut socket, _) = opened.map_err(|error| anyhow::anyhow!("no handshake: {error}"))?;
    socket.send(Message::text(said))?;
    socket.read()?;
    Ok(socket.get_ref().try_clone()?)
}

/// Lets this process, and those that it starts, have as many files as sockets need.
fn allow_files(idle: usize) -> anyhow::Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let needed = (idle + WARM) as u64 + 1_000;
    if limit.current.is_some_and(|current| current < needed) {
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit)?;
    }
    let most = getrlimit(Resource::Nofile).current;
    anyhow::ensure!(most.is_none_or(|most| most >= needed), "{needed} open files are not allowed");
    Ok(())
}

/// How many a second.
fn a_second(count: u64, first: Instant, last: Instant) -> f64 {
    count as f64 / last.saturating_duration_since(first).as_secs_f64()
}
