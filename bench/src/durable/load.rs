//! The events of the durable benchmark, and how they get into the topic: as a producer would send them, keyed
//! by user.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};

/// Of so many events of a drain one is strained enough to change its user's mode.
const STRAINED: u64 = 64;

/// Event times of a drain end before the drain begins, and span less than the time for which a reading can
/// still change the mode.
const SPAN_MICROS: i64 = 10 * 60 * 1_000_000;

/// A user's id.
pub(super) fn user_id(user: u64) -> String {
    format!("user_{user:06}")
}

/// Of so many events one is the user's event before once more, as devices send them that heard no answer.
const REPEATED: u64 = 50;
/// Of so many events one is older than the user's event before.
const LATE: u64 = 50;
/// Of so many events one is in the shape E2, the rest in E1.
const SECOND_SHAPE: u64 = 3;
/// Of so many events of a user one is from the other device.
const OTHER_DEVICE: u64 = 4;

/// Events of a drain: each user in turn, each again some time later.
pub(super) struct Rounds {
    pub(super) users: u64,
    pub(super) events: u64,
    /// Microseconds since 1970 of the last event.
    pub(super) until: i64,
}

impl Rounds {
    /// Writes event number `i`.
    pub(super) fn write(&self, i: u64, text: &mut String) -> std::fmt::Result {
        let is_repeat = mixed(i.wrapping_mul(31)).is_multiple_of(REPEATED);
        let i = if is_repeat { i.checked_sub(self.users).unwrap_or(i) } else { i };
        let (user, round) = (i % self.users, i / self.users);
        let rounds = self.events.div_ceil(self.users).max(1);
        let step = SPAN_MICROS / rounds.cast_signed();
        let back = (rounds - round).cast_signed() * step;
        let scattered = mixed(i);
        let within = (scattered % step.unsigned_abs().max(2) / 2).cast_signed();
        let is_late = (scattered >> 24).is_multiple_of(LATE);
        let time = self.until - back + within - if is_late { 2 * step } else { 0 };
        let is_strained = scattered.is_multiple_of(STRAINED);
        write(user, time, scattered, is_strained, text)
    }
}

/// Writes one event of some 190 to 400 bytes.
pub(super) fn write(
    user: u64,
    micros: i64,
    scattered: u64,
    is_strained: bool,
    text: &mut String,
) -> std::fmt::Result {
    text.clear();
    let time = Timestamp::from_microsecond(micros).unwrap_or_default();
    let (hrv, beats) = (40 + scattered % 37, 58 + (scattered >> 8) % 29);
    let stress = if is_strained { 95 } else { 10 + (scattered >> 16) % 45 };
    let device = if (scattered >> 32).is_multiple_of(OTHER_DEVICE) { "watch" } else { "ring" };
    if (scattered >> 40).is_multiple_of(SECOND_SHAPE) {
        return write!(
            text,
            r#"{{"device_type":"{device}_{user:06}","user_id":"user_{user:06}","timestamp":"{time:.6}","readings":[{{"metric":"hrv","value":{hrv},"timestamp":"{time:.6}","confidence":0.9}},{{"metric":"heart_rate","value":{beats},"timestamp":"{time:.6}","confidence":0.95}},{{"metric":"stress_level","value":0.{stress},"timestamp":"{time:.6}","confidence":0.8}}]}}"#
        );
    }
    write!(
        text,
        r#"{{"user_id":"user_{user:06}","device_id":"{device}_{user:06}","event_type":"heart_rate","timestamp":"{time:.6}","metrics":{{"hrv":{hrv},"heart_rate":{beats},"stress_level":0.{stress}}}}}"#
    )
}

/// The finaliser of SplitMix64: neighbours come out far apart, and the same on every run.
pub(super) fn mixed(i: u64) -> u64 {
    let x = (i ^ i >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// Sends events.
pub(super) struct Producer {
    producer: ThreadedProducer<DefaultProducerContext>,
    topic: String,
}

impl Producer {
    pub(super) fn new(bootstrap: &str, topic: &str, linger: Duration) -> anyhow::Result<Self> {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            // As the Java client has it by default. Without it this one sends every small batch at once, and
            // they queue at a broker that takes one request of a connection at a time.
            .set("enable.idempotence", "true")
            .set("linger.ms", linger.as_millis().to_string())
            .set("queue.buffering.max.messages", "500000")
            .set("batch.num.messages", "10000")
            // The Java client's, so that a keyed event need not be forwarded.
            .set("partitioner", "murmur2_random")
            .create()?;
        Ok(Self { producer, topic: topic.to_owned() })
    }

    pub(super) fn send(&self, key: Option<&str>, value: &str) -> anyhow::Result<()> {
        let mut record: BaseRecord<'_, str, str> = BaseRecord::to(&self.topic).payload(value);
        record.key = key;
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err((error, _)) => return Err(error).context("Kafka does not take an event"),
            }
        }
    }

    /// Waits until all is safe.
    pub(super) fn flush(&self) -> anyhow::Result<()> {
        self.producer.flush(Duration::from_secs(60)).context("Kafka does not take the events")
    }
}
