//! The server's side of the store: transactions that go on when who sent them is gone. A stalled one keeps
//! the lane's row until it is done or somebody ends it.

use std::sync::Arc;
use std::time::Duration;

use actors::defect::Defect;
use actors::lane::{FenceToken, Lane, Routing};
use actors::rows::Sink;
use actors::store::{Claim, CommitError, StoreError};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::locks::Use;
use super::tables::Written;
use super::{Fault, MemoryStore, Part, away};
use crate::world::witness::Happening;

/// How long a claim waits before it ends whoever has the row, then again, and at most.
const PATIENCE: Duration = Duration::from_secs(3);
const AGAIN: Duration = Duration::from_secs(1);
const LOCK_TIMEOUT: Duration = Duration::from_secs(15);

/// The server as a connection of one process has it.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) store: Arc<MemoryStore>,
    pub(super) process: usize,
}

/// The backend of a transaction was ended while it waited or worked.
struct Ended;

type Answer = oneshot::Sender<Result<(), CommitError>>;

fn told_so() -> String {
    "told so".to_owned()
}

impl Server {
    pub(super) fn happened(&self, what: Happening, lane: Lane, text: &str) {
        let text = format!("process {} lane {lane} {text}", self.process);
        self.store.witness.happened(what, text);
    }

    pub(super) fn is_away(&self, part: Part) -> bool {
        let until = self.store.weather.lock().unwrap().away.get(&part).copied();
        let is_away = until.is_some_and(|until| Instant::now() < until);
        if is_away {
            self.store.witness.happened(part.met(), format!("process {}", self.process));
        }
        is_away
    }

    /// The time that the network takes.
    pub(super) async fn pause(&self) {
        let most = self.store.weather.lock().unwrap().latency_max;
        if most == 0 {
            tokio::task::yield_now().await;
        } else {
            let pause = self.store.chance.below(most + 1);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    /// Waits for the row.
    async fn lock(&self, lane: Lane, number: u64) -> Result<(), Ended> {
        loop {
            let changed = self.store.changed.notified();
            {
                let locks = self.store.locks.lock().unwrap();
                if locks.is_ended(lane, number) {
                    return Err(Ended);
                }
                if locks.has(lane, number) {
                    return Ok(());
                }
            }
            changed.await;
        }
    }

    /// Works on for so long, with the row; stands still with its process.
    async fn work(&self, lane: Lane, number: u64, time: Duration) -> Result<(), Ended> {
        let until = Instant::now() + time;
        loop {
            let changed = self.store.changed.notified();
            if self.store.locks.lock().unwrap().is_ended(lane, number) {
                return Err(Ended);
            }
            let frozen = self.store.weather.lock().unwrap().frozen.contains(&self.process);
            if !frozen && Instant::now() >= until {
                return Ok(());
            }
            if frozen {
                changed.await;
            } else {
                // Either is a reason to look again.
                let _woken = tokio::time::timeout_at(until, changed).await;
            }
        }
    }

    pub(super) fn begin(&self, lane: Lane, of: Use) -> u64 {
        self.store.locks.lock().unwrap().begin(lane, self.process, of)
    }

    pub(super) fn end(&self, lane: Lane, number: u64) {
        self.store.locks.lock().unwrap().end(lane, number);
        self.store.changed.notify_waiters();
    }

    fn next_fault(&self, lane: Lane) -> Option<Fault> {
        let mut weather = self.store.weather.lock().unwrap();
        let of_lane = |(of, _): &(Option<Lane>, Fault)| of.is_none_or(|of| of == lane);
        let place = weather.faults.iter().position(of_lane)?;
        weather.faults.remove(place).map(|(_, fault)| fault)
    }

    pub(super) async fn commit(self, written: Written, answer: Answer) {
        let (lane, number) = (written.lane, written.after.batch);
        self.pause().await;
        loop {
            let changed = self.store.changed.notified();
            if !self.store.weather.lock().unwrap().held {
                break;
            }
            changed.await;
        }
        let fault = self.next_fault(lane);
        if let Some(fault) = fault {
            self.happened(fault.met(), lane, &format!("batch {number}"));
        }
        if fault == Some(Fault::Away) || self.is_away(Part::Commits) {
            let _gone = answer.send(Err(CommitError::Away(told_so())));
            return;
        }
        let mut answer = Some(answer);
        if let Some(Fault::Late(..)) = fault {
            self.happened(Happening::AnswerLost, lane, &format!("batch {number} is still open"));
            drop(answer.take());
        }
        let transaction = self.begin(lane, Use::Batch);
        let done = self.transact(&written, fault, transaction).await;
        self.end(lane, transaction);
        let done = self.told(lane, number, fault, done, answer.is_none());
        self.pause().await;
        if let Some(answer) = answer {
            let _gone = answer.send(done);
        }
    }

    /// What is answered, and what is told of it.
    fn told(
        &self,
        lane: Lane,
        number: i64,
        fault: Option<Fault>,
        done: Result<(), CommitError>,
        is_late: bool,
    ) -> Result<(), CommitError> {
        let what = match &done {
            Ok(()) if is_late => Happening::GhostLanded,
            Ok(()) => Happening::Committed,
            Err(_) if is_late => Happening::GhostVanished,
            Err(CommitError::Fenced) => Happening::Fenced,
            Err(CommitError::OutOfStep) => Happening::OutOfStep,
            Err(CommitError::Refused(_)) => Happening::Refused,
            Err(_) => Happening::GhostVanished,
        };
        self.happened(what, lane, &format!("batch {number}"));
        if let Err(CommitError::Refused(problem)) = &done {
            self.store.witness.violated(format!("lane {lane} batch {number}: {problem}"));
        }
        match (fault, &done) {
            (Some(Fault::Ghost), Ok(())) | (Some(Fault::Lost), _) => {
                self.happened(Happening::AnswerLost, lane, &format!("batch {number}"));
                Err(CommitError::Unknown(told_so()))
            }
            _ => done,
        }
    }

    async fn transact(
        &self,
        written: &Written,
        fault: Option<Fault>,
        transaction: u64,
    ) -> Result<(), CommitError> {
        let lane = written.lane;
        if !written.follows() {
            return Err(CommitError::Refused("it does not follow on the one before".to_owned()));
        }
        let broke = |Ended| CommitError::Away("the backend was ended".to_owned());
        self.lock(lane, transaction).await.map_err(broke)?;
        self.store.tables.lock().unwrap().compare(written)?;
        let most = self.store.weather.lock().unwrap().latency_max;
        let time = match fault {
            Some(Fault::Stall(time) | Fault::Late(time, _)) => time,
            _ => self.store.chance.below(most + 1),
        };
        if self.work(lane, transaction, Duration::from_millis(time)).await.is_err() {
            // Ended before COMMIT or in the middle of it.
            return Err(match self.store.chance.one_in(2) {
                true => CommitError::Away("the backend was ended".to_owned()),
                false => CommitError::Unknown("the backend was ended".to_owned()),
            });
        }
        if let Some(Fault::Lost | Fault::Late(_, false)) = fault {
            return Err(CommitError::Unknown(told_so()));
        }
        let mut tables = self.store.tables.lock().unwrap();
        tables.check(written)?;
        self.store.witness.writes(&tables, written, self.process);
        tables.write(written)
    }

    pub(super) async fn claim(self, lane: Lane, wanted: Routing) -> Result<Claim, StoreError> {
        self.pause().await;
        if self.is_away(Part::Claims) {
            return Err(away());
        }
        self.agree(lane, &wanted)?;
        let transaction = self.begin(lane, Use::Claim);
        let claimed = self.take(lane, transaction, &wanted).await;
        self.end(lane, transaction);
        self.pause().await;
        let mut weather = self.store.weather.lock().unwrap();
        if claimed.is_ok() && weather.lost_claims > 0 {
            weather.lost_claims -= 1;
            drop(weather);
            self.happened(Happening::ClaimAnswerLost, lane, "");
            return Err(away());
        }
        claimed
    }

    /// Waits for the row; whoever holds it for too long is ended.
    pub(super) async fn wait_for(&self, lane: Lane, transaction: u64) -> Result<(), StoreError> {
        let began = Instant::now();
        let mut patience = PATIENCE;
        while !Defect::ClaimWithoutWaiting.is_on() {
            match tokio::time::timeout(patience, self.lock(lane, transaction)).await {
                Ok(locked) => {
                    locked.map_err(|Ended| away())?;
                    break;
                }
                Err(_) => {
                    let ended = self.store.locks.lock().unwrap().end_blockers(lane, transaction);
                    if ended > 0 {
                        self.happened(Happening::BackendEnded, lane, &format!("{ended}"));
                    }
                    self.store.changed.notify_waiters();
                    patience = AGAIN;
                }
            }
            if began.elapsed() >= LOCK_TIMEOUT {
                return Err(away());
            }
        }
        Ok(())
    }

    async fn take(
        &self,
        lane: Lane,
        transaction: u64,
        wanted: &Routing,
    ) -> Result<Claim, StoreError> {
        let began = Instant::now();
        self.wait_for(lane, transaction).await?;
        // Users may have found new homes while it waited.
        self.agree(lane, wanted)?;
        if began.elapsed() > Duration::ZERO {
            self.happened(Happening::ClaimWaited, lane, &format!("{:?}", began.elapsed()));
        }
        let most = self.store.weather.lock().unwrap().latency_max;
        let time = Duration::from_millis(self.store.chance.below(most + 1));
        self.work(lane, transaction, time).await.map_err(|Ended| away())?;
        let mut tables = self.store.tables.lock().unwrap();
        let row = tables.lanes.get_mut(&lane).unwrap();
        let token = self.store.chance.token();
        row.token = Some(token);
        row.epoch += 1;
        let (epoch, progress) = (row.epoch, row.progress.clone());
        let claim = Claim { token, epoch, progress, audited: row.audited };
        drop(tables);
        self.store.witness.claimed(lane, token);
        self.happened(Happening::Claimed, lane, &format!("epoch {}", claim.epoch));
        Ok(claim)
    }

    pub(super) async fn move_cursor(
        self,
        lane: Lane,
        token: FenceToken,
        sink: Sink,
        to: i64,
    ) -> Result<bool, StoreError> {
        self.pause().await;
        if self.is_away(Part::Cursors) {
            return Err(away());
        }
        let transaction = self.begin(lane, Use::Cursor);
        let moved = self.move_up(lane, token, sink, to, transaction).await;
        self.end(lane, transaction);
        self.pause().await;
        moved.map_err(|Ended| away())
    }

    async fn move_up(
        &self,
        lane: Lane,
        token: FenceToken,
        sink: Sink,
        to: i64,
        transaction: u64,
    ) -> Result<bool, Ended> {
        self.lock(lane, transaction).await?;
        let owner = self.store.tables.lock().unwrap().lanes[&lane].token;
        if owner != Some(token) && !Defect::CursorUnfenced.is_on() {
            self.happened(Happening::FencedCursor, lane, sink.as_str());
            return Ok(false);
        }
        let most = self.store.weather.lock().unwrap().latency_max;
        let time = Duration::from_millis(self.store.chance.below(most + 1));
        self.work(lane, transaction, time).await?;
        let mut tables = self.store.tables.lock().unwrap();
        let number = tables.cursors.entry((lane, sink)).or_insert(0);
        *number = to.max(*number);
        drop(tables);
        self.store.witness.moved(lane, token, sink, to);
        Ok(true)
    }
}
