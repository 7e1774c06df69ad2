//! Keeps a connection to the peer: opens it, again and again, and says how it stands. It never gives up, and never
//! hurries a peer that has gone.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Page;
use super::backoff::Backoff;
use super::conversation::{Conversation, Ended, close};
use super::handshake::{Socket, Target, Unconnected};
use super::trail::Trail;
use crate::settings::Push;
use crate::watch::Watch;

/// Pages that wait to be written: each lane has one on its way at most. Full: its relay waits.
const PAGES: usize = 16;

/// A connection that held for so long was a good one, though nothing went over it.
const STEADY: Duration = Duration::from_secs(30);

/// How things stand with the peer.
pub(super) enum State {
    /// Pages may go there.
    Up(mpsc::Sender<Page>),
    /// None may, for this reason.
    Away(String),
}

impl State {
    /// Why no page may go there.
    pub(super) fn problem(&self) -> String {
        match self {
            Self::Up(_) => "the connection has just ended".to_owned(),
            Self::Away(problem) => problem.clone(),
        }
    }
}

/// The connection to one peer.
pub(super) struct Link {
    target: Target,
    require_ack: bool,
    patience: Duration,
    watch: Arc<Watch>,
    trail: Trail,
    state: watch::Sender<State>,
}

impl Link {
    /// A connection that nobody keeps yet, and how it stands.
    pub(super) fn new(
        target: Target,
        settings: &Push,
        watch: Arc<Watch>,
        trail: Trail,
    ) -> (Self, watch::Receiver<State>) {
        let problem = "not connected yet".to_owned();
        watch.push_away(problem.clone());
        let (state, seen) = watch::channel(State::Away(problem));
        let (require_ack, patience) = (settings.require_ack, settings.timeout);
        (Self { target, require_ack, patience, watch, trail, state }, seen)
    }

    /// Keeps it until `ending`.
    pub(super) async fn keep(self, ending: CancellationToken) {
        let mut backoff = Backoff::default();
        loop {
            let socket = tokio::select! {
                biased;
                () = ending.cancelled() => return,
                socket = self.connect() => socket,
            };
            let leave_alone = match socket {
                Ok(socket) => self.converse(socket, &mut backoff, &ending).await.leaves_alone(),
                Err(problem) => {
                    self.is_away(problem.as_str(), problem.to_string());
                    false
                }
            };
            let pause = backoff.pause(leave_alone, |least, most| rand::random_range(least..=most));
            tokio::select! {
                biased;
                () = ending.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn connect(&self) -> Result<Socket, Unconnected> {
        let socket = self.target.connect().await?;
        // Nothing goes to anybody of whom that cannot be written down.
        self.trail.open().await.map_err(Unconnected::Unwritten)?;
        Ok(socket)
    }

    async fn converse(
        &self,
        socket: Socket,
        backoff: &mut Backoff,
        ending: &CancellationToken,
    ) -> Ended {
        let opened = Instant::now();
        tracing::info!(peer = %self.target, "connected");
        self.watch.push_connected();
        let (give, pages) = mpsc::channel(PAGES);
        self.state.send_replace(State::Up(give));
        let (mut outward, mut inward) = socket.split();
        let conversation =
            Conversation::new(&self.watch, &self.trail, self.require_ack, self.patience);
        let ended = conversation.hold((&mut outward, &mut inward), pages, ending).await;
        if conversation.has_taken() || opened.elapsed() >= STEADY {
            backoff.reset();
        }
        self.is_away(ended.as_str(), ended.to_string());
        close(outward, inward, &ended).await;
        self.trail.note().await;
        ended
    }

    /// Says, once, why there is no connection.
    fn is_away(&self, kind: &'static str, problem: String) {
        let is_known = matches!(&*self.state.borrow(), State::Away(known) if *known == problem);
        if kind == "ended" {
            tracing::info!(peer = %self.target, "disconnected");
        } else if is_known {
            tracing::debug!(peer = %self.target, %problem, "still not connected");
        } else {
            tracing::warn!(peer = %self.target, %problem, "not connected; it is tried again and again");
        }
        self.watch.push_failed(kind);
        self.watch.push_away(problem.clone());
        self.state.send_replace(State::Away(problem));
    }
}
