//! A proxy in front of PostgreSQL that can cut a connection around a COMMIT, so that who sent it cannot know
//! what became of it.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

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
}

impl Orders {
    fn next(&self) -> Option<Cut> {
        let cut = self.cuts.lock().unwrap_or_else(PoisonError::into_inner).pop_front()?;
        self.done.fetch_add(1, Ordering::Relaxed);
        Some(cut)
    }
}

impl Cutter {
    /// A proxy to the PostgreSQL on this port of our machine.
    pub(super) fn start(server: u16) -> Self {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_io().build().expect("a runtime can be made");
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
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
                tokio::spawn(async move { pass(client, server, &orders).await.ok() });
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

    /// Cuts nothing from now on.
    pub(super) fn rest(&self) {
        self.orders.cuts.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

async fn pass(client: TcpStream, server: SocketAddr, orders: &Orders) -> io::Result<()> {
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let swallow = AtomicBool::new(false);
    // Whichever ends first ends both directions.
    tokio::select! {
        ended = asks(from_client, to_server, orders, &swallow) => ended,
        ended = answers(from_server, to_client, &swallow) => ended,
    }
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
