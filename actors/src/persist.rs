//! The persist actor: commits a lane's batches, one after the other, and releases their effects after
//! that and never before. It retries what certainly failed, and never guesses at what is unknown.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use actix::{
    Actor, ActorContext as _, ActorFutureExt as _, Addr, AtomicResponse, Context, Handler,
    WrapFuture as _,
};
use neuros::time::Timestamp;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::batch::{Audited, Committed, Effects, End, Passport};
use crate::cache::CacheWork;
use crate::capacity::BATCH_MAILBOX;
use crate::defect::Defect;
use crate::lane::{Counts, PerSource, Progress, Source};
use crate::observe::{BatchReport, CommitFailure, Condition, Observer};
use crate::ports::Ports;
use crate::push::Push;
use crate::rows::Batch;
use crate::store::CommitError;

/// Commits the batches of one lane.
pub(crate) struct Persist {
    /// Away while a batch is being committed.
    desk: Option<Desk>,
    end: mpsc::Sender<End>,
}

/// What a commit needs.
pub(crate) struct Desk {
    pub(crate) ports: Ports,
    pub(crate) push: Addr<Push>,
    pub(crate) cache: mpsc::Sender<CacheWork>,
    pub(crate) committed: Rc<Cell<Timestamp>>,
    /// The lane ends: what has not been committed by now is read anew.
    pub(crate) drop_rest: CancellationToken,
    /// Batches between ingest and commit, at most; with the semaphore, how many wait.
    pub(crate) in_flight_max: usize,
    pub(crate) permits: std::sync::Arc<tokio::sync::Semaphore>,
    /// The batch of which nobody knows whether it was committed; the next claim finds out.
    pub(crate) unsettled: Rc<RefCell<Option<Unsettled>>>,
}

/// A batch whose commit was never answered.
pub(crate) struct Unsettled {
    /// Where the lane is if it was the last to be committed.
    pub(crate) after: Progress,
    /// What is told then.
    pub(crate) report: BatchReport,
}

impl Unsettled {
    /// It has landed when the lane is found exactly where it would be, and is counted then. Once another
    /// owner has gone on from there nobody can tell any more.
    pub(crate) fn settle(self, found: &Progress, observer: &dyn Observer) {
        if self.after == *found {
            observer.committed(&self.report);
        }
    }
}

impl Persist {
    pub(crate) fn new(desk: Desk, end: mpsc::Sender<End>) -> Self {
        Self { desk: Some(desk), end }
    }
}

impl Actor for Persist {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(BATCH_MAILBOX);
    }
}

impl Handler<Audited> for Persist {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, audited: Audited, _: &mut Self::Context) -> Self::Result {
        let desk = self.desk.take();
        let work = async move {
            let desk = desk?;
            let persisted = desk.persist(audited).await;
            Some((desk, persisted))
        };
        AtomicResponse::new(Box::pin(work.into_actor(self).map(|done, persist, context| {
            let Some((desk, persisted)) = done else { return context.stop() };
            if let Err(end) = persisted {
                // The first reason to end counts. Batches behind this one are dropped with the desk.
                let _later = persist.end.try_send(end);
                context.stop();
            } else {
                persist.desk = Some(desk);
            }
        })))
    }
}

impl Desk {
    async fn persist(&self, audited: Audited) -> Result<(), End> {
        let Audited { mut passport, batch, effects } = audited;
        if !Defect::ForwardedNotAwaited.is_on() {
            self.await_forwarded(&mut passport).await?;
        }
        let began = Instant::now();
        if Defect::EffectsBeforeCommit.is_on() {
            self.release(
                &batch,
                Effects { messages: effects.messages.clone(), states: Vec::new(), forgotten: None },
            );
        }
        if let Err(failed) = passport.trail.committing(self.commit(&batch)).await {
            if matches!(failed, Failed::Unknown) {
                let report = self.report(&passport, &batch, began.elapsed());
                *self.unsettled.borrow_mut() = Some(Unsettled { after: batch.after, report });
            }
            return Err(failed.into());
        }
        let commit_time = began.elapsed();
        self.committed.set(passport.stamp);
        let report = self.report(&passport, &batch, commit_time);
        let states = effects.states.len();
        self.release(&batch, effects);
        self.ports.observer.committed(&report);
        self.ports.log.note_position(batch.lane, batch.after.positions.events);
        tracing::trace!(lane = batch.lane.0, batch = batch.after.batch, states, "committed");
        Ok(())
    }

    /// A batch is committed only when all that it has forwarded is safe at its home.
    async fn await_forwarded(&self, passport: &mut Passport) -> Result<(), End> {
        for sent in std::mem::take(&mut passport.forwarded) {
            if let Err(error) = sent.await {
                let problem = format!("a forwarded record was not accepted: {error}");
                // Records behind it may be in the way already: only a new process begins cleanly.
                let _full = self.ports.fatal.try_send(problem.clone());
                return Err(End::Halted { problem });
            }
        }
        Ok(())
    }

    async fn commit(&self, batch: &Batch) -> Result<(), Failed> {
        let mut pause = PAUSE_MIN;
        let mut waiting = false;
        loop {
            let observer = &self.ports.observer;
            match self.ports.store.commit(batch).await {
                Ok(()) => {
                    if waiting {
                        self.condition(batch, Condition::Running);
                    }
                    return Ok(());
                }
                Err(CommitError::Fenced) => {
                    observer.commit_failed(batch.lane, CommitFailure::Fenced);
                    return Err(Failed::Known(End::Claim { fenced: true }));
                }
                Err(CommitError::OutOfStep) => {
                    return Err(Failed::Known(End::Claim { fenced: false }));
                }
                Err(CommitError::Unknown(problem)) => {
                    tracing::warn!(lane = batch.lane.0, %problem, "the outcome of a commit is unknown");
                    observer.commit_failed(batch.lane, CommitFailure::Unknown);
                    return Err(Failed::Unknown);
                }
                Err(CommitError::Refused(problem)) => {
                    observer.commit_failed(batch.lane, CommitFailure::Refused);
                    return Err(Failed::Known(End::Halted { problem }));
                }
                Err(CommitError::Away(problem)) => {
                    tracing::warn!(lane = batch.lane.0, %problem, "a commit is tried again");
                    observer.commit_failed(batch.lane, CommitFailure::Away);
                    let part = "postgres";
                    self.condition(batch, Condition::Waiting { part, problem });
                    waiting = true;
                }
            }
            tokio::select! {
                biased;
                () = self.drop_rest.cancelled() => return Err(Failed::Known(End::Stopped)),
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
            }
        }
    }

    /// A commit may take longer than its lane is ours; then the owner has had the last word.
    fn condition(&self, batch: &Batch, condition: Condition) {
        if !self.drop_rest.is_cancelled() {
            self.ports.observer.lane(batch.lane, condition);
        }
    }

    fn release(&self, batch: &Batch, effects: Effects) {
        let Effects { messages, states, forgotten } = effects;
        let (head, erased) = (batch.after.outbox, forgotten.is_some());
        let committed = Committed { messages, head, erased };
        let is_told = erased || !committed.messages.is_empty();
        if is_told && self.push.try_send(committed).is_err() {
            // The outbox has them; the next owner's relay finds them there.
            tracing::debug!(lane = batch.lane.0, "the lane's relay has ended already");
        }
        let states = (!states.is_empty()).then_some(CacheWork::Keep(states));
        for work in states.into_iter().chain(forgotten.map(CacheWork::Forget)) {
            if self.cache.try_send(work).is_err() {
                tracing::debug!(lane = batch.lane.0, "the cache is behind and misses a batch");
            }
        }
    }

    fn report(&self, passport: &Passport, batch: &Batch, commit_time: Duration) -> BatchReport {
        let mut counts = PerSource::<Counts>::default();
        for source in Source::ALL {
            let (after, before) = (batch.after.counts.of(source), batch.before.counts.of(source));
            *counts.of_mut(source) = after.since(before);
        }
        let reasons = batch.dead_letters.iter().map(|dead| dead.reason);
        let fates = batch.released.iter().map(|released| released.fate.as_str());
        let age = passport.oldest.map(|oldest| (self.ports.clock.now() - oldest).0);
        BatchReport {
            lane: batch.lane,
            counts,
            refused: passport.refused,
            evaluations: passport.evaluations,
            transitions: batch.transitions.len() as u64,
            dead_letters: counted(reasons),
            released: counted(fates),
            commands: batch.commands.len() as u64,
            positions: batch.after.positions,
            modes: batch.after.modes,
            commit_time,
            event_age: age.and_then(|age| u64::try_from(age).ok()).map(Duration::from_micros),
            alerts: counted(batch.alerts.iter().map(|alert| alert.status)),
            held: passport.held,
            checkpoints: batch.users.iter().filter(|row| row.checkpoint.is_some()).count() as u64,
            queued: self.in_flight_max.saturating_sub(self.permits.available_permits() + 1),
        }
    }
}

/// Why a batch is not known to be committed.
enum Failed {
    /// It was not; this is how the lane ends.
    Known(End),
    /// It may have been: only a claim finds out.
    Unknown,
}

impl From<Failed> for End {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Known(end) => end,
            Failed::Unknown => Self::Claim { fenced: false },
        }
    }
}

/// How often each name is there.
fn counted(names: impl Iterator<Item = &'static str>) -> Vec<(&'static str, u64)> {
    let mut counts = std::collections::BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    counts.into_iter().collect()
}

const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
