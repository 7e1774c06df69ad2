//! A proxy in front of PostgreSQL that can cut a connection around a COMMIT, so that who sent it cannot know
//! what became of it, and that can fall silent: then nothing passes, and nothing is closed.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use super::plan::Cut;

/// The proxy; ends when it is dropped.
pub(super) struct Cutter {
    pub(super) port: u16,
    orders: Arc<Orders>,
    _runtime: Runtime,
}

/// What to do with the next commits, and how many have been cut.
#[derive(Default)]
struct Orders {
    cuts: Mutex<VecDeque<Cut>>,
    done: AtomicUsize,
    /// Connections from before this number never pass anything again; so those that are made meanwhile.
    silent_below: watch::Sender<usize>,
    silent: AtomicBool,
    connections: AtomicUsize,
}

impl Orders {
    /// Waits until the connection with this number is to be silent for ever.
    async fn silenced(&self, number: usize) {
        let mut below = self.silent_below.subscribe();
        // It ends with the proxy only.
        below.wait_for(|below| number < *below).await.map(|_| ()).ok();
    }

    fn next(&self) -> Option<Cut> {
        let cut = self.cuts.lock().unwrap_or_else(PoisonError::into_inner).pop_front()?;
        self.done.fetch_add(1, Ordering::Relaxed);
        Some(cut)
    }
}

impl Cutter {
    /// A proxy at `address` to the PostgreSQL on this port of our machine.
    pub(super) fn start(address: Ipv4Addr, server: u16) -> Self {
        let mut builder = Builder::new_multi_thread();
        let runtime =
            builder.worker_threads(1).enable_all().build().expect("a runtime can be made");
        let listener = runtime.block_on(TcpListener::bind((address, 0)));
        let listener = listener.expect("a port is free");
        let port = listener.local_addr().expect("it has an address").port();
        let orders = Arc::new(Orders::default());
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, server));
        let known = Arc::clone(&orders);
        runtime.spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else { continue };
                // A connection that breaks is what both sides expect.
                let orders = Arc::clone(&known);
                let number = orders.connections.fetch_add(1, Ordering::SeqCst);
                if orders.silent.load(Ordering::SeqCst) {
                    orders.silent_below.send_replace(number + 1);
                }
                tokio::spawn(async move { pass(client, server, &orders, number).await.ok() });
            }
        });
        Self { port, orders, _runtime: runtime }
    }

    /// Cuts the next commits.
    pub(super) fn cut(&self, cut: Cut, count: usize) {
        let mut cuts = self.orders.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        cuts.extend(std::iter::repeat_n(cut, count));
    }

    /// How many commits have been cut.
    pub(super) fn done(&self) -> usize {
        self.orders.done.load(Ordering::Relaxed)
    }

    /// Lets nothing pass from now on. What is connected then stays so and never hears anything again, as
    /// when something between forgets connections; what connects meanwhile, likewise.
    pub(super) fn fall_silent(&self) {
        self.orders.silent.store(true, Ordering::SeqCst);
        let connections = self.orders.connections.load(Ordering::SeqCst);
        self.orders.silent_below.send_replace(connections);
    }

    /// Lets pass what connects from now on.
    pub(super) fn speak(&self) {
        self.orders.silent.store(false, Ordering::SeqCst);
    }

    /// Cuts nothing from now on.
    pub(super) fn rest(&self) {
        self.speak();
        self.orders.cuts.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// How long a silenced connection stays open.
const FORGOTTEN: Duration = Duration::from_secs(90);

async fn pass(
    client: TcpStream,
    server: SocketAddr,
    orders: &Orders,
    number: usize,
) -> io::Result<()> {
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let swallow = AtomicBool::new(false);
    // Whichever ends first ends both directions.
    let passing = async {
        tokio::select! {
            ended = asks(from_client, to_server, orders, &swallow) => ended,
            ended = answers(from_server, to_client, &swallow) => ended,
        }
    };
    tokio::pin!(passing);
    tokio::select! {
        biased;
        () = orders.silenced(number) => {}
        ended = &mut passing => return ended,
    }
    // Both ends stay open and unread, whatever they do, for longer than anybody may wait for them.
    tokio::time::sleep(FORGOTTEN).await;
    Ok(())
}

/// What a client says first has no type: a wish for encryption, and its name once that is settled.
const FIRST_VERSION: u32 = 3 << 16;

async fn asks(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    orders: &Orders,
    swallow: &AtomicBool,
) -> io::Result<()> {
    loop {
        let length = client.read_u32().await?;
        let body = body(&mut client, length).await?;
        server.write_all(&[&length.to_be_bytes()[..], &body].concat()).await?;
        if body.starts_with(&FIRST_VERSION.to_be_bytes()) {
            break;
        }
    }
    loop {
        let kind = client.read_u8().await?;
        let length = client.read_u32().await?;
        let body = body(&mut client, length).await?;
        let cut = if kind == b'Q' && body == b"COMMIT\0" { orders.next() } else { None };
        if cut == Some(Cut::Before) {
            return Ok(());
        }
        swallow.store(cut == Some(Cut::Answered), Ordering::SeqCst);
        server.write_all(&[&[kind][..], &length.to_be_bytes(), &body].concat()).await?;
        if cut == Some(Cut::Behind) {
            return Ok(());
        }
    }
}

/// The rest of a message, whose length counts itself.
async fn body(client: &mut OwnedReadHalf, length: u32) -> io::Result<Vec<u8>> {
    let length = usize::try_from(length).ok().and_then(|length| length.checked_sub(4));
    let mut body = vec![0; length.ok_or(io::ErrorKind::InvalidData)?];
    client.read_exact(&mut body).await?;
    Ok(body)
}

async fn answers(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    swallow: &AtomicBool,
) -> io::Result<()> {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let count = server.read(&mut bytes).await?;
        if count == 0 || swallow.load(Ordering::SeqCst) {
            return Ok(());
        }
        client.write_all(&bytes[..count]).await?;
    }
}

#[test]
fn connections_that_hear_nothing_any_more_are_given_up_in_time() {
    use super::run::{RECOVERY, now};
    use crate::servers::Servers;
    use crate::service::site::{LANES, Site, Stamps};
    use crate::service::{check, feed};

    let Some(mut site) = Site::shared(Stamps::Producer) else { return };
    let cutter = Cutter::start(Ipv4Addr::LOCALHOST, Servers::shared().postgres.port());
    let direct = format!("127.0.0.1:{}/", Servers::shared().postgres.port());
    let through = format!("127.0.0.1:{}/", cutter.port);
    site.set("POSTGRES_URL", &site.database.replace(&direct, &through));
    let events = feed::crowd(60, 40);
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    feed::stream(site.kafka, &site.topics.events, &events[..600], 200);
    site.wait_read(600);
    // Under way is now at least one commit of each lane.
    cutter.fall_silent();
    feed::stream(site.kafka, &site.topics.events, &events[600..1_200], 200);
    bridge.wait_failing("postgres");
    cutter.speak();
    let since = now();
    site.wait_read(1_200);
    bridge.wait_lanes(LANES);
    let took = since.elapsed();
    assert!(took < RECOVERY, "it took {took:?} until everything was read");
    feed::stream(site.kafka, &site.topics.events, &events[1_200..], 200);
    check::all(&site);
    assert_eq!(site.number("SELECT count(*) FROM event_records"), 2_400);
    bridge.end();
}

#[test]
fn an_expansion_that_hears_nothing_any_more_goes_on_in_time() {
    use super::run::{RECOVERY, now};
    use crate::servers::{Server as _, Servers};
    use crate::service::site::{LANES, Site, Stamps};
    use crate::service::{check, expand, feed};
    use crate::support::{stderr, stdout};

    let Some(site) = Site::shared(Stamps::Producer) else { return };
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    let events = feed::crowd(60, 20);
    feed::stream(site.kafka, &site.topics.events, &events[..600], 200);
    site.wait_read(600);
    // So the lanes do not come to rest, and the command asks again and again.
    bridge.pause();
    let cutter = Cutter::start(Ipv4Addr::LOCALHOST, Servers::shared().postgres.port());
    let direct = format!("127.0.0.1:{}/", Servers::shared().postgres.port());
    let through = format!("127.0.0.1:{}/", cutter.port);
    let url = site.database.replace(&direct, &through);
    feed::stream(site.kafka, &site.topics.events, &events[600..], 200);
    let expansion = {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_biometric-bridge"));
        site.tell(&mut command);
        command.env("POSTGRES_URL", url).stdin(std::process::Stdio::null());
        command.args(["topics", "expand", "--partitions", "5", "--metadata-age", "1s"]);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command.spawn().expect("the program starts")
    };
    site.wait_sql("SELECT count(events_stop) > 0 FROM lanes");
    cutter.fall_silent();
    std::thread::sleep(Duration::from_secs(1));
    cutter.speak();
    let since = now();
    bridge.resume();
    let output = expansion.wait_with_output().expect("it ends");
    let took = since.elapsed();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).contains("generation 2 begins with 5 lanes"));
    assert!(took < RECOVERY, "it took {took:?} until users had new homes: {}", stderr(&output));
    expand::again(&bridge);
    bridge.wait_lanes(expand::MORE);
    check::all(&site);
    bridge.end();
}
