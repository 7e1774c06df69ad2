//! What the service knows about itself: conditions of its lanes and parts, and its metrics. Numbers only,
//! and no label that says whose.

mod audit;
mod coach;
mod gauges;
mod metrics;
mod readiness;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actors::inquiry::{Inquiry, Presence};
use actors::lane::{Lane, ModeCounts};
use actors::observe::{BatchReport, CommitFailure, Condition, Looked, Observer, Published};
use actors::rows::Sink;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use self::gauges::Behind;
use crate::kafka::Health;
use crate::store::Audited;
pub use metrics::Metrics;
pub use readiness::{Part, Readiness};

/// How long a lane may take to answer: it does so between two batches.
const ANSWER_PATIENCE: Duration = Duration::from_secs(1);
/// The part of `/ready` that is the peer; without it nothing is lost.
const PUSH: &str = "push";

/// Watches the lanes of this process.
pub struct Watch {
    metrics: Metrics,
    kafka: Arc<Health>,
    state: Mutex<State>,
    /// Told when something was committed that people may follow.
    commits: Arc<Notify>,
}

#[derive(Default)]
struct State {
    lanes: BTreeMap<Lane, Condition>,
    doors: BTreeMap<Lane, mpsc::Sender<Inquiry>>,
    modes: BTreeMap<Lane, ModeCounts>,
    live_users: BTreeMap<Lane, usize>,
    queued: BTreeMap<Lane, usize>,
    sinks: BTreeMap<(Lane, Sink), Published>,
    /// Parts that are asked from time to time: what they said last.
    parts: BTreeMap<&'static str, Result<(), String>>,
    cache: Option<bool>,
    draining: bool,
}

impl Watch {
    /// A watch over nothing yet.
    ///
    /// # Errors
    ///
    /// When two metrics have one name.
    pub fn new(kafka: Arc<Health>) -> Result<Self, prometheus::Error> {
        let (state, commits) = (Mutex::default(), Arc::default());
        Ok(Self { metrics: Metrics::new()?, kafka, state, commits })
    }

    /// A part was asked, and said this.
    pub fn part(&self, part: &'static str, said: Result<(), String>) {
        self.change(|state| {
            state.parts.insert(part, said);
        });
    }

    /// So much of what one data key may seal is used up, of the key that has sealed most.
    pub fn key_usage(&self, ratio: f64) {
        self.metrics.key_usage(ratio);
    }

    /// Whose rows of the log of accesses are counted.
    pub fn count_audited(&self, audited: Arc<Audited>) {
        self.metrics.audit.count(audited);
    }

    /// From now on checkpoints of the log of accesses are due at `sink`.
    pub fn expect_checkpoints(&self, sink: &'static str) {
        self.metrics.audit.expect(sink);
    }

    /// A checkpoint is safe at `sink`, signed then; or why it is not.
    pub fn checkpointed(&self, sink: &'static str, safe: Result<Instant, String>) {
        if let Err(problem) = &safe {
            tracing::warn!(sink, %problem, "a checkpoint of the log of accesses waits");
        }
        self.metrics.audit.checkpointed(sink, safe.ok());
    }

    /// The service ends: nothing new should be sent to it.
    pub fn drain(&self) {
        self.change(|state| state.draining = true);
    }

    /// Whether the service does its work, and if not, what is missing.
    pub fn readiness(&self) -> Readiness {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.readiness_of(&state)
    }

    /// The metrics in the text format of Prometheus.
    ///
    /// # Errors
    ///
    /// When a metric cannot be written.
    pub fn exposition(
        &self,
        topics: &crate::kafka::TopicNames,
    ) -> Result<String, prometheus::Error> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let behind = Behind { lags: self.kafka.lags(), waiting: self.kafka.waiting() };
        self.metrics.exposition(&state, &self.readiness_of(&state), &behind, topics)
    }

    /// A request to that route was answered so.
    pub fn answered(&self, route: &str, status: u16) {
        self.metrics.answered(route, status);
    }

    /// Nobody knows who asked, for that reason.
    pub fn authentication_failed(&self, reason: &'static str) {
        self.metrics.authentication_failed(reason);
    }

    /// Tells when something was committed here that people may follow.
    pub(crate) fn commits(&self) -> &Arc<Notify> {
        &self.commits
    }

    /// Counts what the coach does.
    pub(crate) fn coach(&self) -> &coach::CoachMetrics {
        &self.metrics.coach
    }

    /// A socket was opened.
    pub(crate) fn socket_opened(&self) {
        self.metrics.sockets.open.inc();
    }

    /// It has gone.
    pub(crate) fn socket_closed(&self) {
        self.metrics.sockets.open.dec();
    }

    /// A socket ends with that code.
    pub(crate) fn socket_ended(&self, code: u16) {
        self.metrics.sockets.closed.with_label_values(&[&code.to_string()]).inc();
    }

    /// A message was sent on a socket.
    pub(crate) fn socket_sent(&self) {
        self.metrics.sockets.sent.inc();
    }

    /// What a lane of ours says of a user's actor; `None` when that is not in memory.
    ///
    /// # Errors
    ///
    /// Why it is not known.
    pub(crate) async fn presence(
        &self,
        lane: Lane,
        user_id: &str,
    ) -> Result<Option<Presence>, &'static str> {
        const SILENT: &str = "the lane did not answer in time";
        let door = {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let door = state.lanes.contains_key(&lane).then(|| state.doors.get(&lane).cloned());
            door.ok_or("this process does not own the lane")?.ok_or("the lane does not run yet")?
        };
        let (answer, answered) = oneshot::channel();
        let inquiry = Inquiry { user_id: user_id.into(), answer };
        door.try_send(inquiry).map_err(|_| SILENT)?;
        let answered = tokio::time::timeout(ANSWER_PATIENCE, answered).await;
        answered.ok().and_then(Result::ok).ok_or(SILENT)
    }

    /// There is a connection to the peer.
    pub(crate) fn push_connected(&self) {
        self.metrics.pushes.connected.set(1);
        self.metrics.pushes.connections.inc();
        self.part(PUSH, Ok(()));
    }

    /// There is none to it, for this reason.
    pub(crate) fn push_away(&self, problem: String) {
        self.metrics.pushes.connected.set(0);
        self.part(PUSH, Err(problem));
    }

    /// A connection to it has ended, or was not opened, for a reason of that kind.
    pub(crate) fn push_failed(&self, reason: &str) {
        self.metrics.pushes.failures.with_label_values(&[reason]).inc();
    }

    /// So many messages were written to it that it is not known to have read.
    pub(crate) fn push_unanswered(&self, count: usize) {
        self.metrics.pushes.unanswered.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// It has said something of that kind for which nobody waits.
    pub(crate) fn push_ignored(&self, kind: &str) {
        self.metrics.pushes.ignored.with_label_values(&[kind]).inc();
    }

    fn readiness_of(&self, state: &State) -> Readiness {
        Readiness::of(state, self.kafka.check(), self.kafka.membership())
    }

    /// Changes what is known of a lane of ours. What is told of one that has left, by a commit that took
    /// longer than the lane was ours, is not about us any more.
    fn change_of(&self, lane: Lane, change: impl FnOnce(&mut State)) {
        self.change(|state| {
            if state.lanes.contains_key(&lane) {
                change(state);
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Observer for Watch {
    fn lane(&self, lane: Lane, condition: Condition) {
        tracing::info!(lane = lane.0, condition = condition.as_str(), "lane");
        self.change(|state| {
            if condition == Condition::Left {
                state.lanes.remove(&lane);
                state.doors.remove(&lane);
                state.modes.remove(&lane);
                state.live_users.remove(&lane);
                state.queued.remove(&lane);
                state.sinks.retain(|(of, _), _| *of != lane);
                self.kafka.left(lane);
            } else if condition == Condition::Claiming || state.lanes.contains_key(&lane) {
                state.lanes.insert(lane, condition);
            }
        });
    }

    fn committed(&self, report: &BatchReport) {
        self.metrics.committed(report);
        if report.transitions > 0 || !report.alerts.is_empty() {
            self.commits.notify_one();
        }
        self.change_of(report.lane, |state| {
            self.kafka.moved(report.lane, report.positions);
            state.modes.insert(report.lane, report.modes);
            state.queued.insert(report.lane, report.queued);
        });
    }

    fn claimed(&self, lane: Lane, modes: ModeCounts, positions: actors::lane::Positions) {
        self.metrics.claimed();
        self.kafka.moved(lane, positions);
        self.change(|state| {
            state.modes.insert(lane, modes);
        });
    }

    fn commit_failed(&self, _: Lane, kind: CommitFailure) {
        self.metrics.commit_failed(kind);
    }

    fn rebuilt(&self, _: Lane, users: usize) {
        self.metrics.rebuilt(users);
    }

    fn live_users(&self, lane: Lane, users: usize) {
        self.change_of(lane, |state| {
            state.live_users.insert(lane, users);
        });
    }

    fn published(&self, lane: Lane, sink: Sink, report: &Published) {
        self.metrics.published(sink, report);
        let mut before = None;
        self.change_of(lane, |state| before = state.sinks.insert((lane, sink), report.clone()));
        // Once, however long it goes on.
        if let Some(problem) = &report.problem
            && before.is_none_or(|before| before.problem.as_ref() != Some(problem))
        {
            tracing::warn!(lane = lane.0, sink = sink.as_str(), %problem, "a sink waits");
        }
    }

    fn may_be_asked(&self, lane: Lane, door: mpsc::Sender<Inquiry>) {
        self.change_of(lane, |state| {
            state.doors.insert(lane, door);
        });
    }

    fn cached(&self, available: bool) {
        self.metrics.cached(available);
        self.change(|state| state.cache = Some(available));
    }

    fn quarantined(&self, _: Lane) {
        self.metrics.quarantined();
    }

    fn scrubbed(&self, _: Lane, looked: Looked) {
        self.metrics.scrubbed(looked);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use actors::lane::{Counts, PerSource, Positions};

    use super::*;
    use crate::kafka::TopicNames;

    fn report(lane: Lane) -> BatchReport {
        BatchReport {
            lane,
            counts: PerSource::<Counts>::default(),
            refused: PerSource::default(),
            evaluations: 0,
            transitions: 0,
            alerts: Vec::new(),
            held: Default::default(),
            dead_letters: Vec::new(),
            released: Vec::new(),
            commands: 0,
            positions: Positions::default(),
            modes: ModeCounts::new([7, 0, 0, 0]),
            commit_time: Duration::ZERO,
            event_age: None,
            checkpoints: 0,
            queued: 3,
        }
    }

    #[test]
    fn who_is_no_member_of_the_group_is_not_ready_and_a_member_without_lanes_is() {
        let kafka = Arc::<Health>::default();
        let watch = Watch::new(Arc::clone(&kafka)).expect("names are unique");
        let group = || watch.readiness().parts["group"].ok;
        assert!(!group(), "not joined yet");
        kafka.member(true);
        assert!(group());
        kafka.member(false);
        assert!(!group(), "its lanes were given to others");
    }

    #[test]
    fn what_is_told_of_a_lane_that_has_left_shows_nowhere() {
        let watch = Watch::new(Arc::default()).expect("names are unique");
        let lane = Lane(4);
        let tell = || {
            let problem = "away".to_owned();
            watch.committed(&report(lane));
            watch.live_users(lane, 5);
            let published =
                Published { problem: Some(problem.clone()), waiting: 9, ..Published::default() };
            watch.published(lane, Sink::Alerts, &published);
            watch.lane(lane, Condition::Waiting { part: "postgres", problem });
        };
        let shows = || {
            let text = watch.exposition(&TopicNames::default()).expect("written");
            let seven = text.contains("cognitive_mode_current{mode=\"reflex\"} 7");
            let parts = watch.readiness().parts;
            (seven, text.contains("biometric_users_live 5"), parts.contains_key("postgres"))
        };
        watch.lane(lane, Condition::Claiming);
        tell();
        assert_eq!(shows(), (true, true, true));
        watch.lane(lane, Condition::Left);
        tell();
        assert_eq!(shows(), (false, false, false));
    }
}
