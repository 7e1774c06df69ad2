//! One connection to the peer, from its opening to its end: pages go out in order, what comes back says what is safe.
//! It never waits for the peer for longer than the settings say.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Page;
use super::handshake::{MESSAGE_BYTES_MAX, Socket};
use super::trail::Trail;
use super::window::{Late, Window};
use crate::telemetry::escaped;
use crate::watch::Watch;

/// How often it is looked whether the peer still answers.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the peer may take to answer a close.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// What goes out.
pub(super) type Outward = SplitSink<Socket, Message>;
/// What comes in.
pub(super) type Inward = SplitStream<Socket>;

/// How a connection ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Ended {
    #[error("the service is ending")]
    Here,
    #[error("the peer has closed the connection ({0})")]
    Closed(u16),
    #[error("the connection broke: {0}")]
    Lost(String),
    #[error("the peer does not keep to the protocol")]
    Broken,
    #[error("the peer has sent a message of more than {MESSAGE_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the peer takes no message")]
    Stuck,
    #[error("the peer answers no ping")]
    Silent,
    #[error("the peer does not acknowledge what it was sent")]
    Unacknowledged,
}

impl Ended {
    /// Every name that [`Ended::as_str`] gives.
    pub(super) const NAMES: [&'static str; 8] =
        ["ended", "closed", "lost", "protocol", "too_large", "stuck", "silent", "unacknowledged"];

    /// Its name in metrics.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Here => "ended",
            Self::Closed(_) => "closed",
            Self::Lost(_) => "lost",
            Self::Broken => "protocol",
            Self::TooLarge => "too_large",
            Self::Stuck => "stuck",
            Self::Silent => "silent",
            Self::Unacknowledged => "unacknowledged",
        }
    }

    /// Whether the peer has asked to be left alone for a while: it restarts, or has too much to do.
    pub(super) fn leaves_alone(&self) -> bool {
        matches!(self, Self::Closed(1012 | 1013))
    }

    /// The code by which we close, when the peer is there to read it.
    fn code(&self) -> Option<CloseCode> {
        match self {
            Self::Here => Some(CloseCode::Away),
            Self::Broken => Some(CloseCode::Protocol),
            Self::TooLarge => Some(CloseCode::Size),
            Self::Silent | Self::Unacknowledged => Some(CloseCode::Policy),
            Self::Closed(_) | Self::Lost(_) | Self::Stuck => None,
        }
    }

    fn of(error: Error) -> Self {
        match error {
            Error::Capacity(_) => Self::TooLarge,
            Error::Io(error) => Self::Lost(escaped(&error.to_string())),
            Error::Protocol(_) | Error::Utf8(_) | Error::AttackAttempt => Self::Broken,
            // Others may hold a message.
            _ => Self::Lost("it is closed".to_owned()),
        }
    }
}

/// One connection.
pub(super) struct Conversation<'a> {
    watch: &'a Watch,
    trail: &'a Trail,
    require_ack: bool,
    patience: Duration,
    window: Mutex<Window>,
    /// When something was heard of the peer.
    heard: Mutex<Instant>,
    /// It is time to ask for a sign of life.
    ask: Notify,
}

/// What a peer says.
#[derive(Deserialize)]
struct Said {
    r#type: String,
    message_id: Option<Uuid>,
}

impl<'a> Conversation<'a> {
    pub(super) fn new(
        watch: &'a Watch,
        trail: &'a Trail,
        require_ack: bool,
        patience: Duration,
    ) -> Self {
        Self {
            watch,
            trail,
            require_ack,
            patience,
            window: Mutex::new(Window::new(require_ack)),
            heard: Mutex::new(Instant::now()),
            ask: Notify::new(),
        }
    }

    /// Holds it until it ends. Relays then know what is safe of what they gave.
    pub(super) async fn hold(
        &self,
        (outward, inward): (&mut Outward, &mut Inward),
        mut pages: mpsc::Receiver<Page>,
        ending: &CancellationToken,
    ) -> Ended {
        let ended = tokio::select! {
            biased;
            () = ending.cancelled() => Ended::Here,
            ended = self.read(inward) => ended,
            ended = self.write(outward, &mut pages) => ended,
            ended = self.look() => ended,
            never = self.trail.keep() => match never {},
        };
        self.window().fail(&ended.to_string());
        self.watch.push_unanswered(0);
        ended
    }

    /// Writes pages as they come, each message once, and asks behind them whether they are read.
    async fn write(&self, outward: &mut Outward, pages: &mut mpsc::Receiver<Page>) -> Ended {
        loop {
            let first = tokio::select! {
                biased;
                page = pages.recv() => match page {
                    Some(page) => Some(page),
                    None => return Ended::Here,
                },
                () = self.ask.notified() => None,
            };
            let asks = first.is_none() || !self.require_ack;
            let written = async {
                let mut next = first;
                while let Some(page) = next {
                    self.write_page(outward, page).await?;
                    next = pages.try_recv().ok();
                }
                if asks {
                    let ping = self.window().ping(Instant::now());
                    self.give(outward, Message::Ping(ping.to_vec().into())).await?;
                }
                let flushed = timeout(self.patience, outward.flush()).await;
                flushed.map_err(|_| Ended::Stuck)?.map_err(Ended::of)
            };
            if let Err(ended) = written.await {
                return ended;
            }
        }
    }

    async fn write_page(&self, outward: &mut Outward, page: Page) -> Result<(), Ended> {
        let Page { messages, answer } = page;
        // Whose lane has ended meanwhile: the next owner sends them.
        if answer.is_closed() {
            return Ok(());
        }
        let number = self.window().begin(messages.len(), answer);
        for (message_id, text) in messages {
            self.window().write(number, message_id, Instant::now());
            self.trail.went();
            self.give(outward, Message::Text(text.into_inner().into())).await?;
        }
        self.tell();
        Ok(())
    }

    async fn give(&self, outward: &mut Outward, message: Message) -> Result<(), Ended> {
        let given = timeout(self.patience, outward.feed(message)).await;
        given.map_err(|_| Ended::Stuck)?.map_err(Ended::of)
    }

    async fn read(&self, inward: &mut Inward) -> Ended {
        while let Some(message) = inward.next().await {
            *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            match message {
                Ok(Message::Text(text)) => self.hear(&text),
                Ok(Message::Pong(payload)) => {
                    if !self.window().pong(&payload) {
                        self.watch.push_ignored("unknown_pong");
                    }
                    self.tell();
                }
                // The library answers.
                Ok(Message::Ping(_)) => {}
                Ok(Message::Close(frame)) => {
                    return Ended::Closed(frame.map_or(1005, |frame| frame.code.into()));
                }
                Ok(_) => self.watch.push_ignored("unknown_message"),
                Err(error) => return Ended::of(error),
            }
        }
        Ended::Lost("it is closed".to_owned())
    }

    fn hear(&self, text: &str) {
        let said: Option<Said> = serde_json::from_str(text).ok();
        let acknowledged =
            said.filter(|said| said.r#type == "ack").and_then(|said| said.message_id);
        let Some(message_id) = acknowledged else {
            return self.watch.push_ignored("unknown_message");
        };
        // Where a pong is enough, nobody waits for it.
        if self.require_ack && !self.window().acknowledge(message_id, Instant::now()) {
            self.watch.push_ignored("unknown_ack");
        }
        self.tell();
    }

    /// Looks whether the peer answers; one of whom nothing was heard is asked for a sign of life.
    async fn look(&self) -> Ended {
        loop {
            tokio::time::sleep(LOOK_EVERY.min(self.patience / 4)).await;
            let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            let window = self.window();
            match window.late(Instant::now(), self.patience) {
                Some(Late::Pong) => return Ended::Silent,
                Some(Late::Ack) => return Ended::Unacknowledged,
                None => {}
            }
            if heard.elapsed() >= self.patience && !window.has_ping() {
                self.ask.notify_one();
            }
        }
    }

    /// Whether the peer has taken something.
    pub(super) fn has_taken(&self) -> bool {
        self.window().has_taken()
    }

    fn tell(&self) {
        self.watch.push_unanswered(self.window().unanswered());
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes leave: of a peer that is there with a code, and of one that has closed by letting it read the answer.
pub(super) async fn close(mut outward: Outward, mut inward: Inward, ended: &Ended) {
    let closing = async {
        if let Some(code) = ended.code() {
            let frame = CloseFrame { code, reason: ended.to_string().into() };
            outward.send(Message::Close(Some(frame))).await?;
        } else {
            outward.flush().await?;
        }
        while inward.next().await.transpose()?.is_some() {}
        Ok::<_, Error>(())
    };
    if !matches!(timeout(CLOSE_PATIENCE, closing).await, Ok(Ok(()))) {
        tracing::debug!("the peer did not take leave");
    }
}
