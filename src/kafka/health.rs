//! Whether the brokers answer, whether the group has us, and how far lanes are behind: asked by a thread of its
//! own, so that nobody who looks has to wait.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actors::lane::{Lane, PerSource, Positions, Source};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use tokio::time::Instant;
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
    /// Where lanes have stood since when, that have something to read.
    waiting: BTreeMap<Lane, (Positions, Instant)>,
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

    /// Of all lanes, the longest that one has had something to read and has read nothing.
    pub fn waiting(&self) -> Duration {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = state.waiting.values().map(|(_, since)| since.elapsed()).max();
        oldest.unwrap_or_default()
    }

    /// A lane reads on at `positions`.
    pub fn moved(&self, lane: Lane, positions: Positions) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).positions.insert(lane, positions);
    }

    /// A lane is somebody else's.
    pub fn left(&self, lane: Lane) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.positions.remove(&lane);
        state.found(lane, None);
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
            let lags = lags.map(|(events, by_user)| PerSource { events, by_user });
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.found(lane, lags);
        }
    }
}

impl State {
    /// A lane was so far behind the end; `None` when nobody knows.
    fn found(&mut self, lane: Lane, lags: Option<PerSource<i64>>) {
        let now_at = self.positions.get(&lane).copied();
        let Some((lags, positions)) = lags.zip(now_at) else {
            self.lags.remove(&lane);
            self.waiting.remove(&lane);
            return;
        };
        if lags.events + lags.by_user == 0 {
            self.waiting.remove(&lane);
        } else {
            let here = (positions, Instant::now());
            let waiting = self.waiting.entry(lane).or_insert(here);
            if waiting.0 != positions {
                *waiting = here;
            }
        }
        self.lags.insert(lane, lags);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_waits_while_it_has_something_to_read_and_stands_still() {
        let (health, lane) = (Health::default(), Lane(3));
        let found = |events: Option<i64>| {
            let lags = events.map(|events| PerSource { events, by_user: 0 });
            health.state.lock().unwrap_or_else(PoisonError::into_inner).found(lane, lags);
            std::thread::sleep(Duration::from_millis(2));
            health.waiting()
        };
        let moved = |events| health.moved(lane, PerSource { events, by_user: 0 });
        assert_eq!(found(Some(5)), Duration::ZERO, "it is none of ours");
        moved(10);
        let first = found(Some(5));
        assert!(first > Duration::ZERO && found(Some(7)) > first, "it stands still");
        moved(11);
        found(Some(6));
        let since = |health: &Health| {
            let state = health.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.waiting.get(&lane).map(|(at, _)| at.events)
        };
        assert_eq!(since(&health), Some(11), "it has moved, and waits anew");
        assert_eq!(found(Some(0)), Duration::ZERO, "it has read everything");
        found(Some(1));
        assert_eq!(found(None), Duration::ZERO, "nobody knows");
        found(Some(1));
        health.left(lane);
        assert_eq!(health.waiting(), Duration::ZERO, "it is somebody else's");
    }
}
