//! The peer at `push.websocket_url`, the AUREN API: mode changes and alerts go to it over one WebSocket that we open
//! and keep open. It decides nothing about what is sent: relays do, and move their cursors only behind what the peer
//! has read.

mod backoff;
mod conversation;
mod handshake;
mod link;
mod trail;
mod window;

use std::sync::Arc;
use std::time::Duration;

use actors::log::{LogError, Outgoing, Publisher, Unpublished};
use actors::phi::Phi;
use actors::rows::Sink;
use async_trait::async_trait;
use serde::Deserialize;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use handshake::{Target, Unconnected};

use crate::kafka::KafkaPublisher;
use crate::settings::Push;
use crate::store::SqlStore;
use crate::watch::Watch;
use conversation::Ended;
use link::{Link, State};
use trail::Trail;

/// In one word each, how connections to the peer end, or why there is none.
pub(crate) fn disconnects() -> impl Iterator<Item = &'static str> {
    Ended::NAMES.into_iter().chain(Unconnected::NAMES)
}

/// Where committed messages go: the topics, and the peer where there is one.
pub struct Outputs {
    /// The topics.
    pub topics: KafkaPublisher,
    /// The peer.
    pub peer: Option<Peer>,
}

/// The peer, as relays see it.
#[derive(Clone)]
pub struct Peer {
    state: watch::Receiver<State>,
}

/// Keeps the peer connected, until it is ended.
pub struct Keeper {
    ending: CancellationToken,
    task: JoinHandle<()>,
}

/// Messages of one lane on their way to the peer: they are safe together.
struct Page {
    messages: Vec<(Uuid, Phi<String>)>,
    answer: oneshot::Sender<Result<(), Unpublished>>,
}

/// How long a relay waits for a connection before it tells that there is none.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a connection may take to end.
const CLOSING: Duration = Duration::from_secs(4);

/// Connects to the peer that the settings name, if they name one, again and again, on `runtime`.
///
/// # Errors
///
/// One sentence that says which setting names what cannot be read.
pub fn open(
    settings: &Push,
    store: &Arc<SqlStore>,
    watch: &Arc<Watch>,
    runtime: &Handle,
) -> Result<Option<(Peer, Keeper)>, String> {
    let Some(target) = Target::of(settings)? else { return Ok(None) };
    let trail = Trail::new(Arc::clone(store), &target);
    let (link, state) = Link::new(target, settings, Arc::clone(watch), trail);
    let ending = CancellationToken::new();
    let task = runtime.spawn(link.keep(ending.clone()));
    Ok(Some((Peer { state }, Keeper { ending, task })))
}

impl Keeper {
    /// Takes leave of the peer. What was sent should have been answered by now.
    pub async fn end(self) {
        self.ending.cancel();
        let abort = self.task.abort_handle();
        if tokio::time::timeout(CLOSING, self.task).await.is_err() {
            tracing::warn!("the peer of `push.websocket_url` does not answer the close");
            abort.abort();
        }
    }
}

impl Peer {
    /// Waits for a connection, for a while.
    async fn ready(&self) -> Result<(), LogError> {
        let mut state = self.state.clone();
        let is_up = state.wait_for(|state| matches!(state, State::Up(_)));
        let is_up = tokio::time::timeout(PATIENCE, is_up).await.map(|up| up.map(drop));
        match is_up {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => {
                // Nobody keeps the connection any more: the service ends.
                tokio::time::sleep(PATIENCE).await;
                Err(LogError::Away("the connection is closed".to_owned()))
            }
            Err(_) => Err(LogError::Away(self.state.borrow().problem())),
        }
    }

    async fn send(&self, messages: Vec<Outgoing>) -> Result<(), Unpublished> {
        let messages = messages.into_iter().map(named).collect::<Result<_, _>>()?;
        let pages = match &*self.state.borrow() {
            State::Up(pages) => pages.clone(),
            away @ State::Away(_) => return Err(LogError::Away(away.problem()).into()),
        };
        let (answer, answered) = oneshot::channel();
        let lost = || LogError::Away("the connection has ended".to_owned());
        pages.send(Page { messages, answer }).await.map_err(|_| lost())?;
        answered.await.unwrap_or_else(|_| Err(lost().into()))
    }
}

/// A message as the peer gets it, with the name by which it acknowledges it.
fn named(outgoing: Outgoing) -> Result<(Uuid, Phi<String>), LogError> {
    #[derive(Deserialize)]
    struct Named {
        message_id: Uuid,
    }
    let text = outgoing.value.and_then(|value| String::from_utf8(value.into_inner()).ok());
    let text = text.map(Phi::new);
    let named = text.as_ref().and_then(|text| serde_json::from_str(text.expose()).ok());
    match (named, text) {
        (Some(Named { message_id }), Some(text)) => Ok((message_id, text)),
        // Its error would quote it.
        _ => Err(LogError::Broken("a message has no message_id".to_owned())),
    }
}

#[async_trait]
impl Publisher for Outputs {
    fn bytes_max(&self, sink: Sink) -> usize {
        self.topics.bytes_max(sink)
    }

    async fn ready(&self, sink: Sink) -> Result<(), LogError> {
        match (sink, &self.peer) {
            (Sink::Peer, Some(peer)) => peer.ready().await,
            _ => Ok(()),
        }
    }

    async fn publish(&self, sink: Sink, messages: Vec<Outgoing>) -> Result<(), Unpublished> {
        match (sink, &self.peer) {
            (Sink::Peer, Some(peer)) => peer.send(messages).await,
            _ => self.topics.publish(sink, messages).await,
        }
    }
}
