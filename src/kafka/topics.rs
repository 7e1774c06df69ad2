//! The topics of the bridge: their names, how they must be made, and what is there.

use std::collections::BTreeMap;
use std::time::Duration;

use actors::lane::{PerSource, Source};
use actors::rows::Sink;
use rdkafka::admin::{
    AdminClient, AdminOptions, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::connection::Connection;

/// The names of the topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicNames {
    /// What producers write.
    pub events: String,
    /// What lanes forward to each other.
    pub by_user: String,
    /// What could not be applied.
    pub dead_letters: String,
    /// Changes of alerts.
    pub alerts: String,
    /// Mode changes.
    pub transitions: String,
    /// Checkpoints of the log of accesses.
    pub audit: String,
}

impl Default for TopicNames {
    fn default() -> Self {
        Self {
            events: "biometric.events".to_owned(),
            by_user: "biometric.events.by-user".to_owned(),
            dead_letters: "biometric.events.dlq".to_owned(),
            alerts: "biometric.alerts".to_owned(),
            transitions: "neuros.mode.transitions".to_owned(),
            audit: "biometric.audit.checkpoints".to_owned(),
        }
    }
}

impl TopicNames {
    /// The topic of a lane's source.
    pub fn of(&self, source: Source) -> &str {
        match source {
            Source::Events => &self.events,
            Source::ByUser => &self.by_user,
        }
    }

    /// The topic of a sink, when it is one.
    pub fn of_sink(&self, sink: Sink) -> Option<&str> {
        match sink {
            Sink::Transitions => Some(&self.transitions),
            Sink::Alerts => Some(&self.alerts),
            Sink::DeadLetters => Some(&self.dead_letters),
            Sink::Peer => None,
        }
    }

    /// The topics of a lane.
    pub fn sources(&self) -> PerSource<String> {
        PerSource { events: self.events.clone(), by_user: self.by_user.clone() }
    }
}

/// How topics are to be made.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Partitions of `biometric.events` and `biometric.events.by-user`.
    pub partitions: i32,
    /// Copies of every topic.
    pub replication_factor: i32,
    /// Copies that must have a message before it counts as written.
    pub min_insync_replicas: i32,
    /// How long events are kept, ms; -1 for ever.
    pub retention_ms: i64,
    /// Keep the producers' timestamps (`CreateTime`), for recorded logs and tests.
    pub create_time: bool,
}

/// What became of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// It was made.
    New,
    /// It was there.
    Existed,
}

const ADMIN_TIMEOUT: Duration = Duration::from_secs(15);

/// Makes the topics that are missing; each with what became of it.
///
/// # Errors
///
/// When the brokers cannot be reached or refuse one; the text names it.
pub async fn create(
    connection: &Connection,
    names: &TopicNames,
    plan: Plan,
) -> Result<Vec<(String, Created)>, String> {
    let admin = admin(connection).map_err(|error| error.to_string())?;
    let message_bytes = connection.limits.message_bytes_max().to_string();
    let event_bytes = (connection.limits.event_bytes_max + (64 << 10)).to_string();
    let min_insync = plan.min_insync_replicas.to_string();
    let retention = plan.retention_ms.to_string();
    let time = if plan.create_time { "CreateTime" } else { "LogAppendTime" };
    let topic = |name, partitions| {
        NewTopic::new(name, partitions, TopicReplication::Fixed(plan.replication_factor))
            .set("min.insync.replicas", &min_insync)
            .set("cleanup.policy", "delete")
    };
    let topics = [
        topic(&names.events, plan.partitions)
            .set("message.timestamp.type", time)
            .set("max.message.bytes", &event_bytes)
            .set("retention.ms", &retention),
        // Kept for at least as long as the events, and never compacted.
        topic(&names.by_user, plan.partitions)
            .set("message.timestamp.type", "CreateTime")
            .set("max.message.bytes", &message_bytes)
            .set("retention.ms", &retention),
        topic(&names.dead_letters, 1).set("max.message.bytes", &message_bytes),
        topic(&names.alerts, 1),
        topic(&names.transitions, 3),
        // Evidence: kept for ever, with the brokers' own times beside the signers'.
        topic(&names.audit, 1)
            .set("message.timestamp.type", "LogAppendTime")
            .set("retention.ms", "-1"),
    ];
    let options = AdminOptions::new().operation_timeout(Some(ADMIN_TIMEOUT));
    let made = admin.create_topics(&topics, &options).await;
    let made = made.map_err(|error| format!("the brokers cannot be asked: {error}"))?;
    made.into_iter()
        .map(|made| match made {
            Ok(name) => Ok((name, Created::New)),
            Err((name, RDKafkaErrorCode::TopicAlreadyExists)) => Ok((name, Created::Existed)),
            Err((name, code)) => Err(format!("the brokers refuse to make {name}: {code}")),
        })
        .collect()
}

/// Adds partitions to both topics of the lanes, up to `partitions` of each.
///
/// # Errors
///
/// When the brokers cannot be reached or refuse; the text names the topic.
pub async fn grow(
    connection: &Connection,
    names: &TopicNames,
    found: &Found,
    partitions: i32,
) -> Result<(), String> {
    let admin = admin(connection).map_err(|error| error.to_string())?;
    let options = AdminOptions::new().operation_timeout(Some(ADMIN_TIMEOUT));
    let count = usize::try_from(partitions).unwrap_or(0);
    // Those first to which lanes forward: nobody may find a lane without it.
    for (name, has) in [(&names.by_user, found.by_user), (&names.events, found.events)] {
        if has >= partitions {
            continue;
        }
        let wanted = NewPartitions::new(name, count);
        let grown = admin.create_partitions([&wanted], &options).await;
        let grown = grown.map_err(|error| format!("the brokers cannot be asked: {error}"))?;
        if let Some(Err((name, code))) = grown.into_iter().next() {
            return Err(format!("the brokers refuse to add partitions to {name}: {code}"));
        }
    }
    Ok(())
}

fn admin(connection: &Connection) -> Result<AdminClient<DefaultClientContext>, KafkaError> {
    connection.client("admin").create()
}

/// What the brokers say of the topics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The cluster.
    pub cluster_id: Option<String>,
    /// Partitions of `biometric.events`; 0 when there is no such topic.
    pub events: i32,
    /// Partitions of `biometric.events.by-user`.
    pub by_user: i32,
    /// The other topics that are missing.
    pub missing: Vec<String>,
}

/// Asks the brokers; blocks.
///
/// # Errors
///
/// When they do not answer within `timeout`.
pub fn find(
    connection: &Connection,
    names: &TopicNames,
    timeout: Duration,
) -> Result<Found, KafkaError> {
    let asker: BaseConsumer =
        connection.client("asker").set("allow.auto.create.topics", "false").create()?;
    let count = |name: &str| -> Result<i32, KafkaError> {
        let metadata = asker.fetch_metadata(Some(name), timeout)?;
        let topic = metadata.topics().iter().find(|topic| topic.name() == name);
        let topic = topic.filter(|topic| topic.error().is_none());
        Ok(topic.map_or(0, |topic| i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX)))
    };
    let mut found = Found {
        events: count(&names.events)?,
        by_user: count(&names.by_user)?,
        cluster_id: asker.client().fetch_cluster_id(timeout),
        missing: Vec::new(),
    };
    for name in [&names.dead_letters, &names.alerts, &names.transitions, &names.audit] {
        if count(name)? == 0 {
            found.missing.push(name.clone());
        }
    }
    Ok(found)
}

/// Whether `biometric.events` stamps records on arrival; `None` when the brokers do not say.
pub async fn stamps_on_arrival(connection: &Connection, names: &TopicNames) -> Option<bool> {
    let topic = names.events.as_str();
    let set = settings(connection, &[topic], ADMIN_TIMEOUT).await.ok()?;
    Some(set.get(topic)?.get("message.timestamp.type")? == "LogAppendTime")
}

/// The settings of topics, by topic and name.
pub type TopicSettings = BTreeMap<String, BTreeMap<String, String>>;

/// How these topics are set up.
///
/// # Errors
///
/// When the brokers do not say within `timeout`.
pub async fn settings(
    connection: &Connection,
    topics: &[&str],
    timeout: Duration,
) -> Result<TopicSettings, String> {
    let admin = admin(connection).map_err(|error| error.to_string())?;
    let options = AdminOptions::new().request_timeout(Some(timeout));
    let asked: Vec<_> = topics.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
    let described = admin.describe_configs(&asked, &options).await;
    let described = described.map_err(|error| error.to_string())?;
    let mut settings = TopicSettings::new();
    for (name, config) in topics.iter().zip(described) {
        let config = config.map_err(|code| code.to_string())?;
        let entries =
            config.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?)));
        settings.insert((*name).to_owned(), entries.collect());
    }
    Ok(settings)
}
