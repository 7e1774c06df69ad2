//! The log as the lanes need it: read a lane, send records on to other lanes, publish what is committed.

use std::ops::ControlFlow;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;

use crate::incoming::{Incoming, Origin, Raw};
use crate::lane::{Lane, Positions};
use crate::phi::Phi;
use crate::rows::Sink;

/// Reads lanes.
#[async_trait(?Send)]
pub trait Log: Send + Sync {
    /// Begins to read a lane, exactly at `positions`.
    ///
    /// # Errors
    ///
    /// When the log does not reach down or up to a position, or cannot be reached.
    async fn open(&self, lane: Lane, positions: Positions)
    -> Result<Box<dyn LaneReader>, LogError>;

    /// Where the log of a lane begins.
    ///
    /// # Errors
    ///
    /// When the log cannot be reached.
    async fn starts(&self, lane: Lane) -> Result<Positions, LogError>;

    /// The offset that the next record forwarded to `lane` will have: everything forwarded before
    /// this question lies below it.
    ///
    /// # Errors
    ///
    /// When the log cannot be reached.
    async fn by_user_end(&self, lane: Lane) -> Result<i64, LogError>;

    /// Whether the log itself says when records came. Where their producers do, time that passes is not theirs.
    async fn stamps_on_arrival(&self) -> bool;

    /// Whether neither of a lane's topics has a record at or above these positions.
    ///
    /// # Errors
    ///
    /// When the log is away.
    async fn has_read_all(&self, lane: Lane, positions: Positions) -> Result<bool, LogError>;

    /// Tells the log's own tools how far a lane has come; nothing depends on it.
    fn note_position(&self, lane: Lane, next: i64);
}

/// Is given records, one after the other, until it breaks.
pub type Take<'t> = dyn FnMut(Incoming<'_>) -> ControlFlow<()> + 't;

/// Reads one lane.
#[async_trait(?Send)]
pub trait LaneReader {
    /// Waits for a record, then gives it and all that are there already to `take`, until `take`
    /// breaks; the record that it breaks on is taken. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// When the log has lost the position, or broke for good.
    async fn read(&mut self, take: &mut Take<'_>) -> Result<(), LogError>;

    /// From now on gives no more records of `biometric.events`, those that it has fetched included.
    ///
    /// # Errors
    ///
    /// When the log's client refuses.
    fn hold_events(&mut self) -> Result<(), LogError>;
}

/// Why a lane cannot be read. Texts name topics and offsets only.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// Retention has passed the position.
    #[error(
        "{topic}/{lane}: the log begins at {start}, above the position {position}: retention has \
         removed records that were not applied; with `kafka.below_start: earliest` the lane goes on \
         from there and records the gap"
    )]
    BelowStart {
        /// The topic.
        topic: String,
        /// The partition.
        lane: Lane,
        /// The stored position.
        position: i64,
        /// The log's first offset.
        start: i64,
    },
    /// The log ends before the position: it is another log.
    #[error(
        "{topic}/{lane}: the log ends at {end}, below the position {position}: the topic was made \
         anew; `biometric-bridge topics adopt` begins a new generation with it"
    )]
    AboveEnd {
        /// The topic.
        topic: String,
        /// The partition.
        lane: Lane,
        /// The stored position.
        position: i64,
        /// The log's next offset.
        end: i64,
    },
    /// It cannot be reached or cannot answer now.
    #[error("the log is away: {0}")]
    Away(String),
    /// It answers, and trying again does not help.
    #[error("{0}")]
    Broken(String),
}

/// Sends records on to their user's home lane.
#[async_trait]
pub trait Forwarder: Send + Sync {
    /// The largest record that can be sent on: bytes of key, value and headers together.
    fn bytes_max(&self) -> usize;

    /// Puts a record in the way to `home`, after all that were put before it; the answer's future
    /// ends when it is safe there. An error of that future is for good: the process must end.
    ///
    /// # Errors
    ///
    /// When it cannot be put in the way at all.
    async fn forward(
        &self,
        home: Lane,
        record: &Phi<Raw>,
        origin: Origin,
    ) -> Result<BoxFuture<'static, Result<(), LogError>>, LogError>;
}

/// A message for one of the output topics.
#[derive(Clone, Default)]
pub struct Outgoing {
    /// The user id, or of a dead letter what it came with.
    pub key: Option<Vec<u8>>,
    /// The message; `None` when a dead letter's value is too large.
    pub value: Option<Phi<Vec<u8>>>,
    /// Headers, in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// The trace that it continues; it becomes a header when the message leaves.
    pub trace: Option<Arc<str>>,
}

impl Outgoing {
    /// Bytes of key, value and headers.
    pub fn bytes(&self) -> usize {
        let length = |part: &Option<Vec<u8>>| part.as_ref().map_or(0, Vec::len);
        let headers = self.headers.iter().map(|(name, value)| name.len() + length(value));
        let value = self.value.as_ref().map_or(0, |value| value.expose().len());
        length(&self.key) + value + headers.sum::<usize>()
    }
}

/// Why not all messages are safe.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{problem}")]
pub struct Unpublished {
    /// So many are, from the first on. Some behind them may be.
    pub safe: usize,
    /// Why the rest is not.
    pub problem: LogError,
}

impl From<LogError> for Unpublished {
    fn from(problem: LogError) -> Self {
        Self { safe: 0, problem }
    }
}

/// Publishes what is committed.
#[async_trait]
pub trait Publisher: Send + Sync {
    /// The largest message that a sink takes: bytes of key, value and headers together.
    fn bytes_max(&self, sink: Sink) -> usize;

    /// Waits until a sink takes messages, for a while.
    ///
    /// # Errors
    ///
    /// Why it takes none yet. This is never said at once: who is told so may ask again.
    async fn ready(&self, _: Sink) -> Result<(), LogError> {
        Ok(())
    }

    /// Sends messages, in order; returns when all of them are safe.
    ///
    /// # Errors
    ///
    /// When one is not.
    async fn publish(&self, sink: Sink, messages: Vec<Outgoing>) -> Result<(), Unpublished>;
}
