//! Whether the brokers answer, whether the group has us, and how far lanes are behind: asked by a thread of its
//! own, so that nobody who looks has to wait.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actors::lane::{Lane, PerSource, Positions, Source};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::topics::TopicNames;

/// Records behind the end of the log, by lane; a lane that nobody could ask about is absent.
pub type Lags = BTreeMap<Lane, PerSource<i64>>;

/// What is known of the brokers.
#[derive(Default)]
pub struct Health {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// `None` before the first answer.
    problem: Option<Result<(), String>>,
    /// Whether we are a member of the group; `None` before it has answered for the first time.
    is_member: Option<bool>,
    positions: BTreeMap<Lane, Positions>,
    lags: Lags,
}

const ASK_EVERY: Duration = Duration::from_secs(2);
const ASK_TIMEOUT: Duration = Duration::from_secs(3);

impl Health {
    /// Why the brokers count as away; `Ok` when they answer.
    ///
    /// # Errors
    ///
    /// What they said, or that they were not asked yet.
    pub fn check(&self) -> Result<(), String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.problem.clone().unwrap_or_else(|| Err("not asked yet".to_owned()))
    }

    /// Whether the group has us. A member may well have no lane.
    ///
    /// # Errors
    ///
    /// Why it has not.
    pub fn membership(&self) -> Result<(), &'static str> {
        match self.state.lock().unwrap_or_else(PoisonError::into_inner).is_member {
            Some(true) => Ok(()),
            Some(false) => Err("the group took this instance for gone, which joins it again"),
            None => Err("the group has not been joined yet"),
        }
    }

    /// The group has taken us in, or has given our lanes to others.
    pub fn member(&self, is_member: bool) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).is_member = Some(is_member);
    }

    /// How far lanes are behind.
    pub fn lags(&self) -> Lags {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).lags.clone()
    }

    /// A lane reads on at `positions`.
    pub fn moved(&self, lane: Lane, positions: Positions) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).positions.insert(lane, positions);
    }

    /// A lane is somebody else's.
    pub fn left(&self, lane: Lane) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.positions.remove(&lane);
        state.lags.remove(&lane);
    }

    /// Asks until `stop`.
    ///
    /// # Errors
    ///
    /// When librdkafka refuses the configuration, or there can be no thread.
    pub fn watch(
        self: &Arc<Self>,
        connection: &Connection,
        topics: TopicNames,
        stop: CancellationToken,
    ) -> Result<(), KafkaError> {
        let asker: BaseConsumer =
            connection.client("health").set("allow.auto.create.topics", "false").create()?;
        let health = Arc::clone(self);
        std::thread::Builder::new()
            .name("kafka-health".to_owned())
            .spawn(move || {
                while !stop.is_cancelled() {
                    health.ask(&asker, &topics);
                    std::thread::sleep(ASK_EVERY);
                }
            })
            .map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
        Ok(())
    }

    fn ask(&self, asker: &BaseConsumer, topics: &TopicNames) {
        let answer = asker.fetch_metadata(Some(&topics.events), ASK_TIMEOUT);
        let problem = Some(answer.map(|_| ()).map_err(|error| error.to_string()));
        let positions = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.problem = problem;
            state.positions.clone()
        };
        for (lane, positions) in positions {
            let end = |source| asker.fetch_watermarks(topics.of(source), lane.0, ASK_TIMEOUT);
            let lag = |source: Source| {
                end(source).ok().map(|(_, end)| (end - positions.of(source)).max(0))
            };
            let lags = lag(Source::Events).zip(lag(Source::ByUser));
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            match lags {
                Some((events, by_user)) if state.positions.contains_key(&lane) => {
                    state.lags.insert(lane, PerSource { events, by_user });
                }
                _ => {
                    state.lags.remove(&lane);
                }
            }
        }
    }
}
