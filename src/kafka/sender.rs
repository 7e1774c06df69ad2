//! Sends events as a producer would: keyed by user, so that each lands on its user's home partition.

use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::attended::{Fate, Producer, Record};
use super::connection::Connection;
use super::producer::headers_of;

/// An event to be sent.
#[derive(Clone, Copy, Default)]
pub struct Event<'e> {
    /// The key; the user id, when it is known.
    pub key: Option<&'e [u8]>,
    /// The message.
    pub value: &'e [u8],
    /// Headers, in order.
    pub headers: &'e [(&'e str, &'e [u8])],
    /// The timestamp, ms since 1970; `None` for now.
    pub timestamp_ms: Option<i64>,
    /// The partition; `None` for the key's.
    pub partition: Option<i32>,
}

/// Sends events to `biometric.events`.
#[derive(Clone)]
pub struct Sender {
    producer: Producer,
    topic: String,
}

impl Sender {
    /// A sender; opens connections in the background.
    ///
    /// # Errors
    ///
    /// When librdkafka refuses the configuration.
    pub fn new(connection: &Connection, topic: &str) -> Result<Self, KafkaError> {
        Self::with_timeout(connection, topic, Duration::from_secs(30))
    }

    /// The same, that gives an event up which no broker has taken after `timeout`.
    ///
    /// # Errors
    ///
    /// As [`Sender::new`].
    pub fn with_timeout(
        connection: &Connection,
        topic: &str,
        timeout: Duration,
    ) -> Result<Self, KafkaError> {
        let mut config = connection.client("sender");
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("linger.ms", "2")
            // The Java client's, so that a keyed event need not be forwarded.
            .set("partitioner", "murmur2_random")
            .set("message.max.bytes", connection.limits.message_bytes_max().to_string())
            .set("message.timeout.ms", timeout.as_millis().to_string());
        Ok(Self { producer: Producer::new(&config)?, topic: topic.to_owned() })
    }

    /// Puts an event in the way; what comes back ends when it is safe, or says why it is not.
    ///
    /// # Errors
    ///
    /// When it cannot be sent at all.
    pub async fn send(&self, event: Event<'_>) -> Result<Sent, KafkaError> {
        let headers = event.headers.iter();
        let headers = headers_of(headers.map(|(name, value)| (*name, Some(*value))));
        let mut record = Record::to(&self.topic).payload(event.value).headers(headers);
        record.key = event.key;
        record.timestamp = event.timestamp_ms;
        record.partition = event.partition;
        self.producer.enqueue(record).await.map(Sent)
    }

    /// Waits until everything that was put in the way is safe or given up.
    ///
    /// # Errors
    ///
    /// When that takes longer than `timeout`.
    pub fn flush(&self, timeout: Duration) -> Result<(), KafkaError> {
        self.producer.flush(timeout)
    }
}

/// An event on its way.
pub struct Sent(Fate);

impl Sent {
    /// Partition and offset of the event, once it is safe.
    ///
    /// # Errors
    ///
    /// Why it is not.
    pub async fn delivered(self) -> Result<(i32, i64), String> {
        match self.0.await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(error)) => Err(undelivered(&error)),
            Err(_) => Err("the producer was closed".to_owned()),
        }
    }
}

/// Why an event is not delivered, in words.
fn undelivered(error: &KafkaError) -> String {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageTimedOut) => "no broker has taken it in time".to_owned(),
        Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
            "it is larger than the topic's max.message.bytes".to_owned()
        }
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
            "we may not write to the topic; the brokers' administrator can grant it".to_owned()
        }
        Some(
            RDKafkaErrorCode::NotEnoughReplicas | RDKafkaErrorCode::NotEnoughReplicasAfterAppend,
        ) => "fewer copies than the topic's min.insync.replicas are there".to_owned(),
        _ => error.to_string(),
    }
}
