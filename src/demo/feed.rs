//! The mode changes of the demo, read back from the topic on which everybody gets them.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A mode change, as far as the demo shows it.
#[derive(Clone, Deserialize)]
pub struct ModeChange {
    /// Whose.
    pub user_id: String,
    /// Numbers the user's messages.
    pub n: i64,
    /// Before.
    pub previous_mode: String,
    /// After.
    pub mode: String,
    /// Why.
    pub reason_text: String,
    /// Event time.
    pub time: String,
}

/// Follows `topic` from its beginning until `stop`; the channel's other end gets every change.
///
/// # Errors
///
/// When librdkafka refuses the configuration, or there can be no thread.
pub fn follow(
    bootstrap_servers: &str,
    topic: &str,
    partitions: i32,
    stop: CancellationToken,
) -> Result<mpsc::Receiver<ModeChange>, KafkaError> {
    let consumer: BaseConsumer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", bootstrap_servers)
        .set("group.id", "biometric-bridge.demo-view")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("fetch.wait.max.ms", "20")
        .create()?;
    let mut all = TopicPartitionList::new();
    for partition in 0..partitions {
        all.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&all)?;
    let (changes, received) = mpsc::channel(256);
    std::thread::Builder::new()
        .name("demo-feed".to_owned())
        .spawn(move || {
            while !stop.is_cancelled() {
                let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
                let change = message.payload().and_then(|json| serde_json::from_slice(json).ok());
                if let Some(change) = change
                    && changes.blocking_send(change).is_err()
                {
                    return;
                }
            }
        })
        .map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
    Ok(received)
}
