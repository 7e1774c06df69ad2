//! Reads lanes: one client for each, with both of its partitions assigned by hand, exactly at the
//! positions that the store gave.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use actors::incoming::Incoming;
use actors::lane::{Lane, Positions, Source};
use actors::log::{LaneReader, Log, LogError, Take};
use async_trait::async_trait;
use futures_util::{FutureExt as _, StreamExt as _};
use neuros::time::Timestamp;
use rdkafka::consumer::{BaseConsumer, Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::connection::Connection;
use super::group::Positioned;
use super::topics::{TopicNames, stamps_on_arrival};

/// The lanes' log in Kafka.
pub struct KafkaLog {
    connection: Connection,
    topics: TopicNames,
    /// Asks for watermarks; reads nothing.
    watcher: Arc<BaseConsumer>,
    /// Where positions are noted for the group's own tools.
    positioned: Arc<Positioned>,
    /// Whether records are stamped when they arrive, and when that was asked.
    stamps: Mutex<Option<(Instant, Option<bool>)>>,
}

/// Offsets at the end of a log that may all be of something else than records; where there are more, nobody looks.
const NO_RECORDS_MAX: i64 = 16;

/// How long an answer about the topics' settings holds: each costs a connection.
const STAMPS_HOLD: Duration = Duration::from_mins(1);

const ASK_TIMEOUT: Duration = Duration::from_secs(5);

const DROPPED: &str = "the question was dropped";

impl KafkaLog {
    /// The log behind `connection`; opens no connection yet.
    ///
    /// # Errors
    ///
    /// When librdkafka refuses the configuration.
    pub fn new(
        connection: Connection,
        topics: TopicNames,
        positioned: Arc<Positioned>,
    ) -> Result<Self, KafkaError> {
        let watcher = Arc::new(lane_config(&connection, "watcher").create()?);
        Ok(Self { connection, topics, watcher, positioned, stamps: Mutex::default() })
    }

    /// Whether records are stamped when they arrive, as was found within the last minute.
    async fn stamps(&self) -> Option<bool> {
        let mut known = self.stamps.lock().await;
        match *known {
            Some((found_at, found)) if found_at.elapsed() < STAMPS_HOLD => found,
            _ => {
                let found = stamps_on_arrival(&self.connection, &self.topics).await;
                *known = Some((Instant::now(), found));
                found
            }
        }
    }

    /// The offsets at which a lane's log begins and at which the next record will lie.
    ///
    /// # Errors
    ///
    /// When the brokers do not answer.
    pub async fn watermarks(&self, lane: Lane, source: Source) -> Result<(i64, i64), LogError> {
        let (watcher, topic) = (Arc::clone(&self.watcher), self.topics.of(source).to_owned());
        let asked = tokio::task::spawn_blocking(move || {
            watcher.fetch_watermarks(&topic, lane.0, ASK_TIMEOUT)
        });
        match asked.await {
            Ok(Ok(watermarks)) => Ok(watermarks),
            Ok(Err(error)) => Err(LogError::Away(error.to_string())),
            Err(_) => Err(LogError::Away(DROPPED.to_owned())),
        }
    }

    /// Where both of a lane's logs end: the offsets that the next records will have.
    ///
    /// # Errors
    ///
    /// When the brokers do not answer.
    pub async fn ends(&self, lane: Lane) -> Result<Positions, LogError> {
        let (_, events) = self.watermarks(lane, Source::Events).await?;
        let (_, by_user) = self.watermarks(lane, Source::ByUser).await?;
        Ok(Positions { events, by_user })
    }

    /// Whether there is a record at `from` or above: a log may end in what is none, such as the marker of a
    /// transaction, which no position ever passes.
    ///
    /// # Errors
    ///
    /// When the brokers do not answer.
    pub async fn has_records(
        &self,
        lane: Lane,
        source: Source,
        from: i64,
    ) -> Result<bool, LogError> {
        let mut assignment = TopicPartitionList::new();
        let topic = self.topics.of(source);
        let placed = assignment.add_partition_offset(topic, lane.0, Offset::Offset(from));
        placed.map_err(broken)?;
        let mut config = lane_config(&self.connection, "prober");
        let consumer: BaseConsumer =
            config.set("enable.partition.eof", "true").create().map_err(broken)?;
        let asked = tokio::task::spawn_blocking(move || {
            consumer.assign(&assignment)?;
            match consumer.poll(ASK_TIMEOUT) {
                Some(Err(KafkaError::PartitionEOF(_))) => Ok(false),
                // Whoever does not answer, or not in time, has perhaps more to say.
                Some(Ok(_) | Err(_)) | None => Ok(true),
            }
        });
        match asked.await {
            Ok(found) => found.map_err(broken),
            Err(_) => Err(LogError::Away(DROPPED.to_owned())),
        }
    }

    async fn check(&self, lane: Lane, source: Source, position: i64) -> Result<(), LogError> {
        let (start, end) = self.watermarks(lane, source).await?;
        let topic = self.topics.of(source).to_owned();
        if position < start {
            return Err(LogError::BelowStart { topic, lane, position, start });
        }
        if position > end {
            return Err(LogError::AboveEnd { topic, lane, position, end });
        }
        Ok(())
    }
}

/// Messages that a lane's client fetches ahead: two of the largest batches that there are by default.
/// librdkafka's own default, 100,000, would wait in memory, at half a kilobyte each beside their bytes.
const QUEUED_MIN: usize = 32_768;

fn lane_config(connection: &Connection, name: &str) -> rdkafka::ClientConfig {
    let mut config = connection.client(name);
    let limits = &connection.limits;
    config
        // Manual assignment asks for a group; nothing is ever committed to this one.
        .set("group.id", "biometric-bridge.lane-readers")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("fetch.wait.max.ms", limits.fetch_wait.as_millis().to_string())
        // The default, a second, stalls a consumer that is slower than its broker.
        .set("fetch.queue.backoff.ms", "5")
        .set("queued.min.messages", QUEUED_MIN.to_string())
        .set("queued.max.messages.kbytes", (limits.queue_bytes_max / 1_024).max(1).to_string())
        .set("fetch.message.max.bytes", limits.message_bytes_max().to_string());
    config
}

#[async_trait(?Send)]
impl Log for KafkaLog {
    async fn open(
        &self,
        lane: Lane,
        positions: Positions,
    ) -> Result<Box<dyn LaneReader>, LogError> {
        let mut assignment = TopicPartitionList::new();
        for source in Source::ALL {
            let position = *positions.of(source);
            self.check(lane, source, position).await?;
            assignment
                .add_partition_offset(self.topics.of(source), lane.0, Offset::Offset(position))
                .map_err(broken)?;
        }
        let config = lane_config(&self.connection, &format!("lane-{lane}"));
        let consumer: StreamConsumer = config.create().map_err(broken)?;
        consumer.assign(&assignment).map_err(broken)?;
        let (consumer, events) = (Arc::new(consumer), self.topics.events.clone());
        Ok(Box::new(KafkaReader { lane, consumer, events, holds_events: false }))
    }

    async fn starts(&self, lane: Lane) -> Result<Positions, LogError> {
        let (events, _) = self.watermarks(lane, Source::Events).await?;
        let (by_user, _) = self.watermarks(lane, Source::ByUser).await?;
        Ok(Positions { events, by_user })
    }

    async fn by_user_end(&self, lane: Lane) -> Result<i64, LogError> {
        Ok(self.watermarks(lane, Source::ByUser).await?.1)
    }

    async fn stamps_on_arrival(&self) -> bool {
        self.stamps().await == Some(true)
    }

    async fn has_read_all(&self, lane: Lane, positions: Positions) -> Result<bool, LogError> {
        for source in Source::ALL {
            let (position, end) = (*positions.of(source), self.watermarks(lane, source).await?.1);
            let is_far = end - position > NO_RECORDS_MAX;
            if position < end && (is_far || self.has_records(lane, source, position).await?) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn note_position(&self, lane: Lane, next: i64) {
        self.positioned.note(lane, next);
    }
}

/// Reads one lane.
struct KafkaReader {
    lane: Lane,
    consumer: Arc<StreamConsumer>,
    events: String,
    holds_events: bool,
}

impl Drop for KafkaReader {
    /// Closing a client blocks for a while, which the thread of a lane must not.
    fn drop(&mut self) {
        let consumer = Arc::clone(&self.consumer);
        let closing = std::thread::Builder::new().name("kafka-close".to_owned());
        // Without a thread it is closed here.
        drop(closing.spawn(move || drop(consumer)));
    }
}

#[async_trait(?Send)]
impl LaneReader for KafkaReader {
    fn hold_events(&mut self) -> Result<(), LogError> {
        if std::mem::replace(&mut self.holds_events, true) {
            return Ok(());
        }
        let mut events = TopicPartitionList::new();
        events.add_partition(&self.events, self.lane.0);
        self.consumer.pause(&events).map_err(broken)
    }

    async fn read(&mut self, take: &mut Take<'_>) -> Result<(), LogError> {
        let consumer = Arc::clone(&self.consumer);
        let mut messages = consumer.stream();
        // The stream has no end.
        let mut received = messages.next().await;
        while let Some(next) = received {
            match next {
                Ok(message) => {
                    if self.give(&message, take).is_break() {
                        break;
                    }
                }
                Err(error) => judge(&error)?,
            }
            received = messages.next().now_or_never().flatten();
        }
        Ok(())
    }
}

impl KafkaReader {
    fn give(&self, message: &BorrowedMessage<'_>, take: &mut Take<'_>) -> ControlFlow<()> {
        let source = if message.topic() == self.events { Source::Events } else { Source::ByUser };
        if source == Source::Events && self.holds_events {
            return ControlFlow::Continue(());
        }
        let headers = headers(message);
        take(Incoming {
            source,
            offset: message.offset(),
            record_time: message.timestamp().to_millis().map(Timestamp::from_millis),
            key: message.key(),
            value: message.payload(),
            headers: &headers,
        })
    }
}

/// The headers; one whose name is not UTF-8 cannot be read through the client library, which panics
/// over it, and is left out: nothing that a producer sends may stop a lane.
fn headers<'m>(message: &'m BorrowedMessage<'_>) -> Vec<(&'m str, Option<&'m [u8]>)> {
    let Some(headers) = message.headers() else { return Vec::new() };
    (0..headers.count())
        .filter_map(|place| {
            let read = catch_unwind(AssertUnwindSafe(|| headers.try_get(place)));
            read.ok().flatten().map(|header| (header.key, header.value))
        })
        .collect()
}

/// Whether an error of the client is one that it does not recover from by itself.
fn judge(error: &KafkaError) -> Result<(), LogError> {
    match error.rdkafka_error_code() {
        // The position was checked when the lane was opened, so the log has changed since: opening it
        // again tells how.
        Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
            Err(LogError::Away(error.to_string()))
        }
        Some(RDKafkaErrorCode::Fatal) => Err(LogError::Away(error.to_string())),
        _ => {
            tracing::debug!(%error, "the client of a lane goes on after an error");
            Ok(())
        }
    }
}

fn broken(error: KafkaError) -> LogError {
    LogError::Broken(error.to_string())
}
