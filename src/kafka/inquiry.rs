//! Asks the brokers once, and says in words why they do not answer. Changes nothing there.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use tokio::time::Instant;

use super::connection::Connection;

/// How long one attempt takes before it is looked why it failed.
const ATTEMPT: Duration = Duration::from_millis(500);

/// The brokers that answer, as they name themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Its id.
    pub id: Option<String>,
    /// Host and port of each.
    pub brokers: Vec<(String, u16)>,
}

/// What became of looking for a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    /// It is there.
    Found {
        /// Its partitions.
        partitions: i32,
        /// The copies of that partition which has the fewest.
        copies: usize,
    },
    /// There is no such topic.
    Missing,
    /// It may not be looked at, or cannot now.
    Refused(RDKafkaErrorCode),
}

/// Asks brokers; each question blocks.
pub struct Inquiry {
    asker: BaseConsumer<Listener>,
    patience: Duration,
}

impl Inquiry {
    /// Somebody who asks, and waits so long for each answer.
    ///
    /// # Errors
    ///
    /// When librdkafka refuses the configuration.
    pub fn new(connection: &Connection, patience: Duration) -> Result<Self, KafkaError> {
        let mut config = connection.client("asker");
        config.set("allow.auto.create.topics", "false");
        let asker = config.create_with_context(Listener::default())?;
        Ok(Self { asker, patience })
    }

    /// Which brokers there are.
    ///
    /// # Errors
    ///
    /// Why none answers.
    pub fn cluster(&self) -> Result<Cluster, String> {
        let metadata = self.ask(None)?;
        let brokers = metadata.brokers().iter();
        let brokers = brokers.map(|broker| {
            (broker.host().to_owned(), u16::try_from(broker.port()).unwrap_or_default())
        });
        let brokers = brokers.collect();
        Ok(Cluster { id: self.asker.client().fetch_cluster_id(ATTEMPT), brokers })
    }

    /// Whether a topic is there.
    ///
    /// # Errors
    ///
    /// Why no broker answers.
    pub fn topic(&self, name: &str) -> Result<Looked, String> {
        let metadata = self.ask(Some(name))?;
        let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else {
            return Ok(Looked::Missing);
        };
        Ok(match topic.error().map(RDKafkaErrorCode::from) {
            None if topic.partitions().is_empty() => Looked::Missing,
            None => Looked::Found {
                partitions: i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX),
                copies: topic
                    .partitions()
                    .iter()
                    .map(|its| its.replicas().len())
                    .min()
                    .unwrap_or(0),
            },
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                Looked::Missing
            }
            Some(code) => Looked::Refused(code),
        })
    }

    fn ask(&self, topic: Option<&str>) -> Result<Metadata, String> {
        let deadline = Instant::now() + self.patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let error = match self.asker.fetch_metadata(topic, left.min(ATTEMPT)) {
                Ok(metadata) => return Ok(metadata),
                Err(error) => error,
            };
            // Nobody listens to a client's errors unless it is polled, and each poll gives one.
            for _ in 0..64 {
                drop(self.asker.poll(Duration::ZERO));
            }
            let heard = self.asker.context().heard();
            let is_final = heard.as_ref().is_some_and(|heard| heard.is_final);
            if is_final || left <= ATTEMPT {
                return Err(heard.map_or_else(|| error.to_string(), |heard| heard.reason));
            }
        }
    }
}

/// Keeps the last thing that a client said about a connection.
#[derive(Default)]
struct Listener {
    heard: Mutex<Option<Heard>>,
}

#[derive(Clone)]
struct Heard {
    reason: String,
    /// Trying again gives the same.
    is_final: bool,
}

impl Listener {
    fn heard(&self) -> Option<Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Listener {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        // It follows each of the others and says less.
        if code == Some(RDKafkaErrorCode::AllBrokersDown) {
            return;
        }
        let is_final = matches!(
            code,
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed)
        );
        // How long it was in which state is of no use to an operator.
        let reason = reason.split(" (after ").next().unwrap_or_default();
        let heard = Heard { reason: crate::telemetry::escaped(reason), is_final };
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(heard);
    }
}

impl ConsumerContext for Listener {}
