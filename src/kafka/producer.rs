//! Writing to Kafka: forwarding to other lanes, and publishing what is committed. Both wait for all
//! replicas that must have a record, never give up, and never leave a gap.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use actors::incoming::{Origin, Raw};
use actors::lane::Lane;
use actors::log::{Forwarder, LogError, Outgoing, Publisher, Unpublished};
use actors::phi::Phi;
use actors::rows::Sink;
use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};

use super::attended::{Fate, Producer, Record};
use super::connection::Connection;
use super::topics::TopicNames;

/// Bytes that the log's format may add to a message.
const FRAMING: usize = 4_096;

fn producer(connection: &Connection, name: &str) -> Result<Producer, KafkaError> {
    let bytes_max = connection.limits.message_bytes_max();
    let mut config = connection.client(name);
    config
        .set("acks", "all")
        .set("enable.idempotence", "true")
        // A message that failed for good would otherwise be followed by the next one.
        .set("enable.gapless.guarantee", "true")
        .set("message.timeout.ms", "0")
        .set("message.max.bytes", bytes_max.to_string())
        .set("queue.buffering.max.kbytes", (64 << 10).to_string())
        .set("linger.ms", "0");
    Producer::new(&config)
}

pub(super) fn headers_of<'h>(
    headers: impl Iterator<Item = (&'h str, Option<&'h [u8]>)>,
) -> OwnedHeaders {
    headers.fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value }))
}

fn delivered(fate: Fate) -> impl Future<Output = Result<(), LogError>> + Send + 'static {
    fate.map(|fate| match fate {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(LogError::Broken(error.to_string())),
        Err(_) => Err(LogError::Broken("the producer was closed".to_owned())),
    })
}

async fn put(producer: &Producer, record: Record<'_>) -> Result<Fate, LogError> {
    producer.enqueue(record).await.map_err(|error| {
        // A producer that has failed for good, or a message that never fits, does not heal.
        let never = producer.has_failed()
            || error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge);
        let problem = error.to_string();
        if never { LogError::Broken(problem) } else { LogError::Away(problem) }
    })
}

/// Sends records on to their user's home lane.
pub struct KafkaForwarder {
    producer: Producer,
    topic: String,
    bytes_max: usize,
}

impl KafkaForwarder {
    /// A forwarder; opens connections in the background.
    ///
    /// # Errors
    ///
    /// When librdkafka refuses the configuration.
    pub fn new(connection: &Connection, topics: &TopicNames) -> Result<Self, KafkaError> {
        Ok(Self {
            producer: producer(connection, "forwarder")?,
            topic: topics.by_user.clone(),
            bytes_max: connection.limits.message_bytes_max() - FRAMING,
        })
    }
}

#[async_trait]
impl Forwarder for KafkaForwarder {
    fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    async fn forward(
        &self,
        home: Lane,
        record: &Phi<Raw>,
        origin: Origin,
    ) -> Result<BoxFuture<'static, Result<(), LogError>>, LogError> {
        let (record, added) = (record.expose(), origin.to_headers());
        let own = record.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
        let added = added.iter().map(|(name, value)| (*name, Some(value.as_bytes())));
        let mut message =
            Record::to(&self.topic).partition(home.0).headers(headers_of(own.chain(added)));
        if let Some(value) = &record.value {
            message = message.payload(value);
        }
        if let Some(key) = &record.key {
            message = message.key(key);
        }
        let delivery = put(&self.producer, message).await?;
        Ok(delivered(delivery).boxed())
    }
}

/// Publishes what is committed, each sink by a producer of its own: one that is down delays no other.
pub struct KafkaPublisher {
    connection: Connection,
    topics: TopicNames,
    producers: BTreeMap<Sink, Mutex<Option<Producer>>>,
}

impl KafkaPublisher {
    /// A publisher; opens connections in the background. A producer needs half a second to get its
    /// number from the broker, for which no mode change should wait.
    ///
    /// # Errors
    ///
    /// When librdkafka refuses the configuration.
    pub fn new(connection: Connection, topics: TopicNames) -> Result<Self, KafkaError> {
        let made = |sink: Sink| {
            let made = producer(&connection, sink.as_str())?;
            Ok((sink, Mutex::new(Some(made))))
        };
        let producers = Sink::TOPICS.into_iter().map(made).collect::<Result<_, KafkaError>>()?;
        Ok(Self { connection, topics, producers })
    }

    /// A topic's producer that has not failed.
    fn producer(&self, sink: Sink) -> Result<Producer, LogError> {
        let place = self.producers.get(&sink).ok_or_else(no_topic)?;
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*place
            && !known.has_failed()
        {
            return Ok(known.clone());
        }
        let new = producer(&self.connection, sink.as_str());
        let new = new.map_err(|error| LogError::Broken(error.to_string()))?;
        if let Some(failed) = place.replace(new.clone()) {
            failed.retire();
        }
        Ok(new)
    }

    /// After a failure nothing that still waits in the producer may follow later: the relay sends all
    /// of it anew.
    fn forget(&self, sink: Sink, failed: Producer) {
        if let Some(place) = self.producers.get(&sink) {
            let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
            if place.as_ref().is_some_and(|known| known.is(&failed)) {
                *place = None;
            }
        }
        failed.retire();
    }

    async fn send(
        &self,
        producer: &Producer,
        sink: Sink,
        messages: &[Outgoing],
    ) -> Result<(), LogError> {
        let topic = self.topics.of_sink(sink).ok_or_else(no_topic)?;
        let mut deliveries = Vec::with_capacity(messages.len());
        for message in messages {
            let headers = message.headers.iter();
            let headers = headers.map(|(name, value)| (name.as_str(), value.as_deref()));
            let mut record = Record::to(topic).headers(headers_of(headers));
            if let Some(value) = &message.value {
                record = record.payload(value.expose());
            }
            if let Some(key) = &message.key {
                record = record.key(key);
            }
            deliveries.push(put(producer, record).await?);
        }
        for delivery in deliveries {
            delivered(delivery).await?;
        }
        Ok(())
    }
}

fn no_topic() -> LogError {
    LogError::Broken("this sink is no topic".to_owned())
}

#[async_trait]
impl Publisher for KafkaPublisher {
    fn bytes_max(&self, _: Sink) -> usize {
        self.connection.limits.message_bytes_max() - FRAMING
    }

    async fn publish(&self, sink: Sink, messages: Vec<Outgoing>) -> Result<(), Unpublished> {
        let producer = self.producer(sink)?;
        let sent = self.send(&producer, sink, &messages).await;
        if sent.is_err() {
            self.forget(sink, producer);
        }
        Ok(sent?)
    }
}
