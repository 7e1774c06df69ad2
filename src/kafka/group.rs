//! Membership in the consumer group: which lanes are ours to claim. It fetches nothing, and what it
//! commits only tells lag tools how far the store has come.

use std::collections::BTreeMap;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use actors::lane::Lane;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;

use super::connection::Connection;

/// Is told which lanes come and go; called on the group's own thread.
pub trait Member: Send + Sync + 'static {
    /// These lanes are ours to claim.
    fn assigned(&self, lanes: Vec<Lane>);
    /// These lanes are ours no longer; returns when what was in flight is done or dropped.
    fn revoked(&self, lanes: Vec<Lane>);
}

/// How far lanes have come, for the group's tools.
#[derive(Default)]
pub struct Positioned(Mutex<BTreeMap<Lane, i64>>);

impl Positioned {
    /// Notes that a lane reads on at `next`.
    pub fn note(&self, lane: Lane, next: i64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(lane, next);
    }

    fn take(&self) -> BTreeMap<Lane, i64> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A membership that lasts until it is left.
pub struct Group {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

/// How often positions are told to the group, and how long a poll waits.
const COMMIT_EVERY: u32 = 10;
const POLL: Duration = Duration::from_millis(100);

impl Group {
    /// Joins `group_id` for the lanes of `topic`.
    ///
    /// # Errors
    ///
    /// When librdkafka refuses the configuration, or there can be no thread.
    pub fn join(
        connection: &Connection,
        group_id: &str,
        topic: &str,
        positioned: Arc<Positioned>,
        member: Arc<dyn Member>,
    ) -> Result<Self, KafkaError> {
        let session = connection.limits.session_timeout.as_millis();
        let mut config = connection.client("group");
        config
            .set("group.id", group_id)
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", session.to_string())
            // A member learns of a change with its next heartbeat: of a rolling restart most is this.
            .set("heartbeat.interval.ms", (session / 4).clamp(100, 500).to_string())
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "latest")
            .set("queued.max.messages.kbytes", "1");
        let consumer: BaseConsumer<Context> =
            config.create_with_context(Context { topic: topic.to_owned(), member })?;
        consumer.subscribe(&[topic])?;
        let stop = CancellationToken::new();
        let (stopped, topic) = (stop.clone(), topic.to_owned());
        let (started, wait) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("kafka-group".to_owned())
            .spawn(move || attend(&consumer, &topic, &positioned, &stopped, &started))
            .map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
        // A thread that does not get to its first line has ended.
        let _ended = wait.recv();
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Leaves the group: all lanes are revoked first. Blocks for as long as that takes.
    pub fn leave(mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // A thread that has panicked has left as well.
            let _panicked = thread.join();
        }
    }
}

fn attend(
    consumer: &BaseConsumer<Context>,
    topic: &str,
    positioned: &Positioned,
    stop: &CancellationToken,
    started: &SyncSender<()>,
) {
    // Whoever waits for this may have gone.
    let _gone = started.send(());
    let mut polls = 0_u32;
    while !stop.is_cancelled() {
        match consumer.poll(POLL) {
            // Fetching is paused; what slipped through before is read by the lane's own client.
            None | Some(Ok(_)) => {}
            Some(Err(error)) => {
                tracing::debug!(%error, "the group's client goes on after an error");
            }
        }
        polls = polls.wrapping_add(1);
        if polls.is_multiple_of(COMMIT_EVERY) {
            commit(consumer, topic, positioned, CommitMode::Async);
        }
    }
    commit(consumer, topic, positioned, CommitMode::Sync);
    // Revokes what is held, through the same callback as a rebalance.
    consumer.unsubscribe();
    let held = || consumer.assignment().is_ok_and(|held| held.count() > 0);
    let mut patience = 100;
    while held() && patience > 0 {
        // Whatever comes now is read by the next owner.
        let _late = consumer.poll(POLL);
        patience -= 1;
    }
}

fn commit(
    consumer: &BaseConsumer<Context>,
    topic: &str,
    positioned: &Positioned,
    mode: CommitMode,
) {
    let mut offsets = TopicPartitionList::new();
    for (lane, next) in positioned.take() {
        if offsets.add_partition_offset(topic, lane.0, Offset::Offset(next)).is_err() {
            return;
        }
    }
    if offsets.count() > 0
        && let Err(error) = consumer.commit(&offsets, mode)
    {
        tracing::debug!(%error, "positions could not be told to the group");
    }
}

struct Context {
    topic: String,
    member: Arc<dyn Member>,
}

impl ClientContext for Context {}

impl Context {
    fn lanes(&self, list: &TopicPartitionList) -> Vec<Lane> {
        list.elements_for_topic(&self.topic).iter().map(|e| Lane(e.partition())).collect()
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(list) = rebalance {
            let lanes = self.lanes(list);
            if !lanes.is_empty() {
                self.member.revoked(lanes);
            }
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => {
                if let Err(error) = consumer.pause(list) {
                    tracing::debug!(%error, "fetching could not be paused");
                }
                let lanes = self.lanes(list);
                if !lanes.is_empty() {
                    self.member.assigned(lanes);
                }
            }
            Rebalance::Revoke(_) => {}
            Rebalance::Error(error) => tracing::warn!(%error, "a rebalance failed"),
        }
    }
}
