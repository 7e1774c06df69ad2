//! Membership in the consumer group: which lanes are ours to claim. It fetches nothing, and what it
//! commits only tells lag tools how far the store has come.

use std::collections::BTreeMap;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use actors::lane::Lane;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::health::Health;

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

/// Which group, and as whom.
#[derive(Clone, Debug)]
pub struct Membership {
    /// `group.id`.
    pub group_id: String,
    /// `group.instance.id` of a static member: one that comes back to its lanes.
    pub instance_id: Option<String>,
}

/// Why a membership has ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Another member has come with our instance id; the broker knows only the newer.
    Replaced,
    /// The client cannot go on.
    Failed(String),
}

/// A membership that lasts until it is left, or lost.
pub struct Group {
    stop: CancellationToken,
    lost: oneshot::Receiver<Lost>,
    thread: Option<JoinHandle<()>>,
}

/// How often positions are told to the group, and how long a poll waits.
const COMMIT_EVERY: u32 = 10;
const POLL: Duration = Duration::from_millis(100);

impl Group {
    /// Joins a group for the lanes of `topic`.
    ///
    /// # Errors
    ///
    /// When librdkafka refuses the configuration, or there can be no thread.
    pub fn join(
        connection: &Connection,
        membership: &Membership,
        topic: &str,
        positioned: Arc<Positioned>,
        member: Arc<dyn Member>,
        health: Arc<Health>,
    ) -> Result<Self, KafkaError> {
        let session = connection.limits.session_timeout.as_millis();
        let mut config = connection.client("group");
        config
            .set("group.id", &membership.group_id)
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", session.to_string())
            // A member learns of a change with its next heartbeat: of a rolling restart most is this.
            .set("heartbeat.interval.ms", (session / 4).clamp(100, 500).to_string())
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "latest")
            .set("queued.max.messages.kbytes", "1");
        if let Some(instance_id) = &membership.instance_id {
            config.set("group.instance.id", instance_id);
        }
        let leaves = membership.instance_id.is_none();
        let context = Context { topic: topic.to_owned(), member, health };
        let consumer: BaseConsumer<Context> = config.create_with_context(context)?;
        consumer.subscribe(&[topic])?;
        let stop = CancellationToken::new();
        let (stopped, topic) = (stop.clone(), topic.to_owned());
        let (started, wait) = sync_channel(1);
        let (losing, lost) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("kafka-group".to_owned())
            .spawn(move || {
                // Whoever waits for this may have gone.
                let _gone = started.send(());
                let attending = Attending { consumer, topic, positioned };
                match attending.until(&stopped) {
                    Some(why) => drop(losing.send(why)),
                    None => attending.end(leaves),
                }
            })
            .map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
        // A thread that does not get to its first line has ended.
        let _ended = wait.recv();
        Ok(Self { stop, lost, thread: Some(thread) })
    }

    /// Waits until the membership ends by itself.
    pub async fn lost(&mut self) -> Lost {
        let lost = (&mut self.lost).await;
        lost.unwrap_or_else(|_| Lost::Failed("the group's thread has ended".to_owned()))
    }

    /// Ends the membership: all lanes are revoked first. Blocks for as long as that takes. A static
    /// member stays on the group's list, so that nobody else gets its lanes before it is back.
    pub fn leave(mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // A thread that has panicked has left as well.
            let _panicked = thread.join();
        }
    }
}

/// What the group's thread works with.
struct Attending {
    consumer: BaseConsumer<Context>,
    topic: String,
    positioned: Arc<Positioned>,
}

impl Attending {
    /// Keeps the membership up until it is told to stop (`None`), or cannot go on.
    fn until(&self, stop: &CancellationToken) -> Option<Lost> {
        let mut polls = 0_u32;
        while !stop.is_cancelled() {
            match self.consumer.poll(POLL) {
                // Fetching is paused; what slipped through before is read by the lane's own client.
                None | Some(Ok(_)) => {}
                Some(Err(error)) => {
                    if let Some((code, reason)) = self.consumer.client().fatal_error() {
                        self.give_up();
                        return Some(match code {
                            RDKafkaErrorCode::FencedInstanceId => Lost::Replaced,
                            _ => Lost::Failed(reason),
                        });
                    }
                    tracing::debug!(%error, "the group's client goes on after an error");
                }
            }
            polls = polls.wrapping_add(1);
            if polls.is_multiple_of(COMMIT_EVERY) {
                self.commit(CommitMode::Async);
            }
        }
        None
    }

    /// Ends in order. A client that is only dropped revokes what it holds, through the same callback as a
    /// rebalance; a static one then stays on the group's list, and would leave it by unsubscribing.
    fn end(&self, leaves: bool) {
        self.commit(CommitMode::Sync);
        if leaves {
            self.consumer.unsubscribe();
            self.give_up();
        }
    }

    /// Waits until what is held is revoked.
    fn give_up(&self) {
        let held = || self.consumer.assignment().is_ok_and(|held| held.count() > 0);
        let mut patience = 100;
        while held() && patience > 0 {
            // Whatever comes now is read by the next owner.
            let _late = self.consumer.poll(POLL);
            patience -= 1;
        }
    }

    fn commit(&self, mode: CommitMode) {
        let mut offsets = TopicPartitionList::new();
        for (lane, next) in self.positioned.take() {
            let offset = Offset::Offset(next);
            if offsets.add_partition_offset(&self.topic, lane.0, offset).is_err() {
                return;
            }
        }
        if offsets.count() > 0
            && let Err(error) = self.consumer.commit(&offsets, mode)
        {
            tracing::debug!(%error, "positions could not be told to the group");
        }
    }
}

struct Context {
    topic: String,
    member: Arc<dyn Member>,
    /// Is told whether the group has us.
    health: Arc<Health>,
}

impl ClientContext for Context {}

impl Context {
    fn lanes(&self, list: &TopicPartitionList) -> Vec<Lane> {
        list.elements_for_topic(&self.topic).iter().map(|e| Lane(e.partition())).collect()
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(list) = rebalance {
            // Lanes that only move to others are revoked too, and we stay a member.
            if consumer.assignment_lost() {
                self.health.member(false);
            }
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
                // Told of each rebalance that we take part in, also of one that brings us nothing.
                self.health.member(true);
            }
            Rebalance::Revoke(_) => {}
            Rebalance::Error(error) => tracing::warn!(%error, "a rebalance failed"),
        }
    }
}
