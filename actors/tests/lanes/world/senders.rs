//! The producers of one process: what is forwarded goes out in order, and after an error nothing more;
//! what is published lands message by message. They stand still with their process and end with it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actors::incoming::{Origin, Raw};
use actors::lane::Lane;
use actors::log::{Forwarder, LogError, Outgoing, Publisher, Unpublished};
use actors::phi::Phi;
use actors::rows::Sink;
use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, oneshot};

use super::log::MemoryLog;
use super::witness::Happening;

/// A record in the way to its home.
struct Sent {
    home: Lane,
    raw: Raw,
    origin: Origin,
    answer: oneshot::Sender<Result<(), LogError>>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Sent>,
    runs: bool,
    /// The next record is not delivered; says how many behind it are nevertheless.
    fails: Option<usize>,
    has_failed: bool,
}

/// The producers of one process.
pub(crate) struct Senders {
    log: Arc<MemoryLog>,
    process: usize,
    queue: Arc<Mutex<Queue>>,
    grown: Arc<Notify>,
    pub forward_bytes_max: usize,
    pub letter_bytes_max: usize,
}

impl Senders {
    pub(crate) fn new(log: Arc<MemoryLog>, process: usize) -> Self {
        let (queue, grown) = (Arc::default(), Arc::default());
        let (forward_bytes_max, letter_bytes_max) = (4 << 20, 4 << 20);
        Self { log, process, queue, grown, forward_bytes_max, letter_bytes_max }
    }

    /// The next forwarded record is not delivered, `landing` behind it are; that is for good.
    pub(crate) fn fail(&self, landing: usize) {
        self.queue.lock().unwrap().fails = Some(landing);
    }

    /// The process stands still: its first `landing` records are in the network already.
    pub(crate) fn freeze(&self, landing: usize) {
        self.land(landing);
        self.log.weather.lock().unwrap().frozen.insert(self.process);
    }

    pub(crate) fn thaw(&self) {
        self.log.weather.lock().unwrap().frozen.remove(&self.process);
        self.log.changed.notify_waiters();
    }

    /// The process is gone: its first `landing` records are in the network already.
    pub(crate) fn die(&self, landing: usize) {
        self.land(landing);
        self.log.weather.lock().unwrap().dead.insert(self.process);
        self.queue.lock().unwrap().waiting.clear();
        self.log.changed.notify_waiters();
    }

    fn land(&self, count: usize) {
        for _ in 0..count {
            let sent = self.queue.lock().unwrap().waiting.pop_front();
            let Some(sent) = sent else { return };
            self.log.append_forwarded(sent.home, &sent.raw, sent.origin);
            let _gone = sent.answer.send(Ok(()));
        }
    }
}

impl MemoryLog {
    /// Waits until a process may send; says whether it lives.
    async fn may_send(&self, process: usize) -> bool {
        loop {
            let changed = self.changed.notified();
            {
                let weather = self.weather.lock().unwrap();
                if weather.dead.contains(&process) {
                    return false;
                }
                if !weather.frozen.contains(&process) {
                    return true;
                }
            }
            changed.await;
        }
    }

    async fn pause(&self) {
        let most = self.weather.lock().unwrap().latency_max;
        if most > 0 {
            tokio::time::sleep(Duration::from_millis(self.chance.below(most + 1))).await;
        }
    }
}

/// Sends what waits, in order, until the process is gone.
async fn send_on(
    log: Arc<MemoryLog>,
    process: usize,
    queue: Arc<Mutex<Queue>>,
    grown: Arc<Notify>,
) {
    loop {
        if queue.lock().unwrap().waiting.is_empty() {
            grown.notified().await;
            continue;
        }
        log.pause().await;
        if queue.lock().unwrap().fails.is_some() {
            // A delivery fails after many tries; meanwhile others line up behind it.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        if !log.may_send(process).await {
            return;
        }
        let (sent, fails) = {
            let mut queue = queue.lock().unwrap();
            let Some(sent) = queue.waiting.pop_front() else { continue };
            (sent, queue.fails.take())
        };
        let Some(landing) = fails else {
            log.append_forwarded(sent.home, &sent.raw, sent.origin);
            let _gone = sent.answer.send(Ok(()));
            continue;
        };
        log.witness.happened(Happening::DeliveryError, format!("process {process}"));
        let behind = {
            let mut queue = queue.lock().unwrap();
            queue.has_failed = true;
            std::mem::take(&mut queue.waiting)
        };
        let _gone = sent.answer.send(broken());
        for (place, sent) in behind.into_iter().enumerate() {
            if place < landing {
                log.append_forwarded(sent.home, &sent.raw, sent.origin);
            }
            let _gone = sent.answer.send(broken());
        }
        return;
    }
}

fn broken<T>() -> Result<T, LogError> {
    Err(LogError::Broken("a record was not delivered".to_owned()))
}

#[async_trait]
impl Forwarder for Senders {
    fn bytes_max(&self) -> usize {
        self.forward_bytes_max
    }

    async fn forward(
        &self,
        home: Lane,
        record: &Phi<Raw>,
        origin: Origin,
    ) -> Result<BoxFuture<'static, Result<(), LogError>>, LogError> {
        if std::mem::take(&mut *self.log.loses_next.lock().unwrap()) {
            return Ok(async { Ok(()) }.boxed());
        }
        let (answer, answered) = oneshot::channel();
        let mut queue = self.queue.lock().unwrap();
        if queue.has_failed {
            return broken();
        }
        queue.waiting.push_back(Sent { home, raw: record.expose().clone(), origin, answer });
        if !std::mem::replace(&mut queue.runs, true) {
            let (log, process) = (Arc::clone(&self.log), self.process);
            tokio::spawn(send_on(log, process, Arc::clone(&self.queue), Arc::clone(&self.grown)));
        }
        self.grown.notify_one();
        Ok(answered.map(|answer| answer.unwrap_or_else(|_| broken())).boxed())
    }
}

fn down() -> LogError {
    LogError::Away("down".to_owned())
}

/// Sends messages one after the other; where the sink fails, what went before stays. The peer says of some of that
/// that it has it.
async fn send_all(
    log: Arc<MemoryLog>,
    process: usize,
    sink: Sink,
    messages: Vec<Outgoing>,
) -> Result<(), Unpublished> {
    let fails_after = log.weather.lock().unwrap().fails_after.remove(&sink);
    for (place, outgoing) in messages.into_iter().enumerate() {
        log.pause().await;
        if !log.may_send(process).await {
            return Err(down().into());
        }
        if fails_after == Some(place) {
            // It fails after many tries; meanwhile more is committed that must leave.
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let is_down = log.down.lock().unwrap().contains(&sink);
        if is_down || fails_after == Some(place) {
            let what = if is_down { Happening::SinkDown } else { Happening::PublishFailed };
            log.witness.happened(what, sink.as_str().to_owned());
            let sent = if sink == Sink::Peer { place as u64 } else { 0 };
            let safe = usize::try_from(log.chance.below(sent + 1)).unwrap();
            return Err(Unpublished { safe, problem: down() });
        }
        log.witness.published(sink, &outgoing);
        log.published.lock().unwrap().push((sink, outgoing));
    }
    log.pause().await;
    Ok(())
}

#[async_trait]
impl Publisher for Senders {
    fn bytes_max(&self, sink: Sink) -> usize {
        if sink == Sink::DeadLetters { self.letter_bytes_max } else { 4 << 20 }
    }

    async fn ready(&self, sink: Sink) -> Result<(), LogError> {
        if sink == Sink::Peer && self.log.down.lock().unwrap().contains(&sink) {
            self.log.witness.happened(Happening::SinkDown, sink.as_str().to_owned());
            tokio::time::sleep(Duration::from_millis(500)).await;
            return Err(down());
        }
        Ok(())
    }

    async fn publish(&self, sink: Sink, messages: Vec<Outgoing>) -> Result<(), Unpublished> {
        let log = Arc::clone(&self.log);
        let sent = tokio::spawn(send_all(log, self.process, sink, messages)).await;
        sent.unwrap_or_else(|_| broken().map_err(Unpublished::from))
    }
}
