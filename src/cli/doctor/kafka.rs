//! Kafka, as far as it lets itself be looked at: reached, spoken with, its topics as we need them.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;

use crate::app::{connection_of, topics_of};
use crate::kafka::topics::{TopicSettings, settings as settings_of};
use crate::kafka::{Cluster, Connection, Inquiry, Looked, TopicNames};
use crate::settings::Settings;
use crate::telemetry::UNFINISHED;

use super::finding::Findings;
use super::reach::{note, reach};

/// How long each answer may take.
const PATIENCE: Duration = Duration::from_secs(4);
const CREATE: &str = "`biometric-bridge topics create` makes what is missing";

pub(super) async fn look(settings: &Settings, findings: &Findings) {
    if !reach_any(settings, findings).await {
        return;
    }
    let place = Place {
        connection: connection_of(settings),
        names: topics_of(settings),
        development: settings.development,
        event_bytes_max: settings.events.max_bytes.0,
    };
    let (connection, names) = (place.connection.clone(), place.names.clone());
    let asked = tokio::task::spawn_blocking(move || ask(&connection, &names));
    let told = match asked.await {
        Ok(Ok(told)) => told,
        Ok(Err(problem)) => {
            let asked = format!("speak {}", settings.kafka.security_protocol);
            return findings.fail(asked, problem, cure_of_silence());
        }
        Err(_) => return findings.fail("ask", UNFINISHED, "try again"),
    };
    let brokers = told.cluster.brokers.len();
    let id = told.cluster.id.as_deref().unwrap_or("without an id");
    findings.ok(
        format!("speak {}", settings.kafka.security_protocol),
        format!("cluster {id}, {brokers} broker{}", if brokers == 1 { "" } else { "s" }),
    );
    advertised(settings, &told.cluster, findings).await;
    let there = place.topics(&told.topics, findings);
    if there.is_empty() {
        return;
    }
    match settings_of(&place.connection, &there, PATIENCE).await {
        Ok(set) => place.settings(&set, &told.topics, findings),
        Err(problem) => findings.warn(
            "settings of the topics",
            problem,
            "not checked; brokers tell them to who may describe topics (ACL DescribeConfigs)",
        ),
    }
}

fn cure_of_silence() -> &'static str {
    "look at `kafka.security_protocol` and the `kafka.sasl_*` and certificate settings, and at the \
     brokers' log"
}

/// Of servers that only show the way to the cluster one is enough.
async fn reach_any(settings: &Settings, findings: &Findings) -> bool {
    let places: Vec<_> = settings.kafka.bootstrap_servers.places().collect();
    let outcomes = join_all(places.iter().map(|(host, port)| reach(host, *port))).await;
    let any = outcomes.iter().any(Result::is_ok);
    for ((host, port), outcome) in places.iter().zip(&outcomes) {
        note(findings, host, *port, outcome, !any);
    }
    any
}

/// Brokers send clients on to the addresses that they give themselves, which may be of another network.
async fn advertised(settings: &Settings, cluster: &Cluster, findings: &Findings) {
    let known: Vec<_> = settings.kafka.bootstrap_servers.places().collect();
    let others =
        cluster.brokers.iter().filter(|(host, port)| !known.contains(&(host.as_str(), *port)));
    let others: Vec<_> = others.collect();
    let outcomes = join_all(others.iter().map(|(host, port)| reach(host, *port))).await;
    for ((host, port), outcome) in others.iter().zip(&outcomes) {
        if !note(findings, host, *port, outcome, true) {
            findings.fail(
                "addresses of the brokers",
                format!("the cluster sends us to {host}:{port}"),
                "set advertised.listeners of that broker to an address that we reach",
            );
        }
    }
}

/// What the brokers told.
struct Told {
    cluster: Cluster,
    topics: BTreeMap<String, Looked>,
}

fn ask(connection: &Connection, names: &TopicNames) -> Result<Told, String> {
    let inquiry = Inquiry::new(connection, PATIENCE).map_err(|error| error.to_string())?;
    let cluster = inquiry.cluster()?;
    let mut topics = BTreeMap::new();
    for name in all(names) {
        topics.insert(name.to_owned(), inquiry.topic(name)?);
    }
    Ok(Told { cluster, topics })
}

fn all(names: &TopicNames) -> [&str; 6] {
    let TopicNames { events, by_user, dead_letters, alerts, transitions, audit } = names;
    [events, by_user, dead_letters, alerts, transitions, audit]
}

struct Place {
    connection: Connection,
    names: TopicNames,
    development: bool,
    event_bytes_max: usize,
}

impl Place {
    /// Which topics are there; those that are.
    fn topics<'n>(
        &'n self,
        topics: &BTreeMap<String, Looked>,
        findings: &Findings,
    ) -> Vec<&'n str> {
        let mut there = Vec::new();
        for name in all(&self.names) {
            let asked = format!("topic {name}");
            match topics.get(name) {
                Some(Looked::Found { partitions, copies }) => {
                    there.push(name);
                    self.copies(asked, *partitions, *copies, findings);
                }
                Some(Looked::Refused(code)) => {
                    findings.fail(
                        asked,
                        code.to_string(),
                        "grant us the topic (ACL Describe, Read, Write)",
                    );
                }
                Some(Looked::Missing) | None => findings.fail(asked, "not there", CREATE),
            }
        }
        let count = |name: &str| match topics.get(name) {
            Some(Looked::Found { partitions, .. }) => Some(*partitions),
            _ => None,
        };
        if let (Some(events), Some(by_user)) =
            (count(&self.names.events), count(&self.names.by_user))
        {
            let asked = format!("partitions of {} and {}", self.names.events, self.names.by_user);
            if events == by_user {
                findings.ok(asked, format!("{events} each"));
            } else {
                findings.fail(
                    asked,
                    format!("{events} and {by_user}; a lane is one of each"),
                    "give the one with fewer as many partitions as the other",
                );
            }
        }
        there
    }

    fn copies(&self, asked: String, partitions: i32, copies: usize, findings: &Findings) {
        let answer = format!("partitions {partitions}, copies {copies}");
        if copies < 2 && !self.development {
            let cure = "the loss of one broker loses data: give it 3 copies";
            return findings.warn(asked, answer, cure);
        }
        findings.ok(asked, answer);
    }

    /// How the topics are set up.
    fn settings(
        &self,
        set: &TopicSettings,
        topics: &BTreeMap<String, Looked>,
        findings: &Findings,
    ) {
        let get = |topic: &str, key: &str| set.get(topic)?.get(key).map(String::as_str);
        let TopicNames { events, by_user, dead_letters, audit, .. } = &self.names;
        if let Some(kind) = get(events, "message.timestamp.type") {
            let asked = format!("message.timestamp.type of {events}");
            match kind {
                "LogAppendTime" => findings.ok(asked, kind),
                _ => findings.warn(
                    asked,
                    format!("{kind}: a producer's wrong clock judges what is live"),
                    "set LogAppendTime, unless this is a recorded log or a test",
                ),
            }
        }
        let needed = self.connection.limits.message_bytes_max();
        for (topic, needed, is_ours) in [
            (events, self.event_bytes_max, false),
            (by_user, needed, true),
            (dead_letters, needed, true),
        ] {
            let bytes: Option<usize> =
                get(topic, "max.message.bytes").and_then(|text| text.parse().ok());
            let Some(bytes) = bytes else { continue };
            let asked = format!("max.message.bytes of {topic}");
            let cure = format!("set it to {needed} at least");
            match bytes >= needed {
                true => findings.ok(asked, bytes.to_string()),
                false if is_ours => {
                    findings.fail(
                        asked,
                        format!("{bytes}: a large event would stop its lane"),
                        &cure,
                    );
                }
                false => {
                    let answer = format!("{bytes}, less than `events.max_bytes`");
                    findings.warn(asked, answer, &cure);
                }
            }
        }
        for (topic, lost) in [(events, "events"), (by_user, "events"), (audit, "checkpoints")] {
            let policy = get(topic, "cleanup.policy").unwrap_or("delete");
            if policy.contains("compact") {
                let asked = format!("cleanup.policy of {topic}");
                findings.fail(asked, format!("{policy}: {lost} would be lost"), "set it to delete");
            }
        }
        if let Some(kept) = get(audit, "retention.ms").filter(|kept| *kept != "-1") {
            findings.warn(
                format!("retention.ms of {audit}"),
                format!("{kept}: what checkpoints show goes with them"),
                "set it to -1, or keep the checkpoints elsewhere for as long as the log",
            );
        }
        self.retention(set, findings);
        self.copies_in_sync(set, topics, findings);
    }

    /// How many copies must have a message before it counts as written.
    fn copies_in_sync(
        &self,
        set: &TopicSettings,
        topics: &BTreeMap<String, Looked>,
        findings: &Findings,
    ) {
        let get = |topic: &str, key: &str| set.get(topic)?.get(key).map(String::as_str);
        for topic in all(&self.names) {
            let Some(Looked::Found { copies, .. }) = topics.get(topic) else { continue };
            let least =
                get(topic, "min.insync.replicas").and_then(|text| text.parse::<usize>().ok());
            let Some(least) = least else { continue };
            let asked = format!("min.insync.replicas of {topic}");
            match least {
                1 if *copies > 1 => findings.warn(
                    asked,
                    "1: what one broker alone has counts as written",
                    "set it to 2",
                ),
                least if least > *copies => {
                    findings.fail(
                        asked,
                        format!("{least} of {copies}: nothing can be written"),
                        "lower it",
                    );
                }
                least if least == *copies && *copies > 1 => findings.warn(
                    asked,
                    format!("{least} of {copies}: one broker away stops all writing"),
                    "set it to one less than there are copies",
                ),
                least => findings.ok(asked, format!("{least} of {copies}")),
            }
        }
    }

    /// A forwarded event must not go before the one that it came from.
    fn retention(&self, set: &TopicSettings, findings: &Findings) {
        let TopicNames { events, by_user, .. } = &self.names;
        let kept = |topic: &str| -> Option<i64> {
            let millis: i64 = set.get(topic)?.get("retention.ms")?.parse().ok()?;
            Some(if millis < 0 { i64::MAX } else { millis })
        };
        if let (Some(events_kept), Some(by_user_kept)) = (kept(events), kept(by_user)) {
            let asked = format!("retention.ms of {by_user}");
            if by_user_kept < events_kept {
                let answer = format!("{by_user_kept}, less than that of {events}");
                findings.fail(asked, answer, "set it to that at least");
            } else {
                findings.ok(asked, "at least that of the events");
            }
        }
    }
}
