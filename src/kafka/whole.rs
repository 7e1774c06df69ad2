//! Reads a topic as a whole, from its beginning to where it ends now. Joins no group and commits nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use super::connection::Connection;
use super::context::Logged;

/// Gives every message that `topic` holds, in order of each partition; blocks.
///
/// # Errors
///
/// When there is no such topic, or the brokers are silent for longer than `patience`.
pub fn read_whole(
    connection: &Connection,
    topic: &str,
    patience: Duration,
    mut each: impl FnMut(&[u8]),
) -> Result<(), String> {
    let mut config = connection.client("reader");
    config.set("group.id", "biometric-bridge.reader").set("enable.auto.commit", "false");
    config.set("allow.auto.create.topics", "false").set("enable.partition.eof", "false");
    let consumer: BaseConsumer<Logged> =
        config.create_with_context(Logged).map_err(|error| error.to_string())?;
    let told = |error: rdkafka::error::KafkaError| format!("topic {topic}: {error}");
    let metadata = consumer.fetch_metadata(Some(topic), patience).map_err(told)?;
    let found = metadata.topics().iter().find(|its| its.name() == topic && its.error().is_none());
    let partitions = found.map(rdkafka::metadata::MetadataTopic::partitions).unwrap_or_default();
    if partitions.is_empty() {
        return Err(format!(
            "there is no topic {topic}; `biometric-bridge topics create` makes it"
        ));
    }
    let (mut assignment, mut left) = (TopicPartitionList::new(), BTreeMap::new());
    for partition in partitions {
        let id = partition.id();
        let (start, end) = consumer.fetch_watermarks(topic, id, patience).map_err(told)?;
        if start < end {
            assignment.add_partition_offset(topic, id, Offset::Offset(start)).map_err(told)?;
            left.insert(id, end);
        }
    }
    consumer.assign(&assignment).map_err(told)?;
    while !left.is_empty() {
        let Some(message) = consumer.poll(patience) else {
            return Err(format!("topic {topic}: no more of it came within {patience:?}"));
        };
        let message = message.map_err(told)?;
        let (partition, offset) = (message.partition(), message.offset());
        if left.get(&partition).is_some_and(|end| offset < *end) {
            each(message.payload().unwrap_or_default());
        }
        if left.get(&partition).is_some_and(|end| offset + 1 >= *end) {
            left.remove(&partition);
        }
    }
    Ok(())
}
