//! The ingest actor: reads a lane in micro-batches, judges each record, sends on those that live
//! elsewhere, and hands the rest to the router. It holds no user's state.

use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorContext as _, ActorFutureExt as _, Addr, AsyncContext as _, Context, Handler,
    WrapFuture as _,
};
use neuros::time::Micros;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::batch::{End, EndGuard, Passport, Read};
use crate::command::{Command, Orders};
use crate::defect::Defect;
use crate::filling::Filling;
use crate::incoming::Incoming;
use crate::intake::{Forward, Intake};
use crate::lane::{FenceToken, Lane, Progress};
use crate::log::{LaneReader, LogError};
use crate::obey::{Commanded, Done};
use crate::ports::{BatchRules, Ports, Rules};
use crate::router::Router;
use crate::suspects::Suspects;
use crate::turns::Turns;

/// Reads one lane.
pub(crate) struct Ingest {
    work: Option<Work>,
    end: mpsc::Sender<End>,
}

/// The lane must be claimed anew.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub(crate) struct ClaimAnew {
    /// The store says that it has another owner.
    pub(crate) fenced: bool,
}

impl Handler<ClaimAnew> for Ingest {
    type Result = ();

    fn handle(&mut self, anew: ClaimAnew, _: &mut Self::Context) {
        // The first reason to end counts.
        let _later = self.end.try_send(End::Claim { fenced: anew.fenced });
    }
}

/// All that the reading needs.
pub(crate) struct Work {
    pub(crate) lane: Lane,
    pub(crate) token: FenceToken,
    pub(crate) ports: Ports,
    pub(crate) rules: Arc<Rules>,
    pub(crate) reader: Box<dyn LaneReader>,
    pub(crate) progress: Progress,
    /// The same as the newest batch has it.
    pub(crate) closed: Progress,
    pub(crate) suspects: Suspects,
    pub(crate) router: Addr<Router>,
    pub(crate) permits: Arc<Semaphore>,
    /// Since when the stored checkpoint of somebody is behind them.
    pub(crate) oldest_unwritten: Rc<Cell<Option<Instant>>>,
    /// What forwarded records wait for.
    pub(crate) turns: Rc<RefCell<Turns>>,
    /// What operators ask for.
    pub(crate) orders: Rc<Orders>,
    /// From which offset on no more events are read.
    pub(crate) events_stop: Rc<Cell<Option<i64>>>,
    pub(crate) end: mpsc::Sender<End>,
    pub(crate) stop: CancellationToken,
}

impl Ingest {
    pub(crate) fn new(work: Work) -> Self {
        let end = work.end.clone();
        Self { work: Some(work), end }
    }
}

impl Actor for Ingest {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        let Some(work) = self.work.take() else { return };
        let stop_when_done = |(), _: &mut Self, context: &mut Context<Self>| context.stop();
        context.spawn(work.run().into_actor(self).map(stop_when_done));
    }
}

impl Work {
    async fn run(mut self) {
        let _guard = EndGuard(self.end.clone());
        let end = match self.read_all().await {
            Ok(()) => End::Stopped,
            Err(end) => end,
        };
        // The first reason to end counts; a lane that ends already needs no second.
        let _first = self.end.try_send(end);
    }

    async fn read_all(&mut self) -> Result<(), End> {
        let intake = Intake::new(
            self.lane,
            self.rules.routing.clone(),
            self.rules.wire.clone(),
            self.ports.forwarder.bytes_max(),
        );
        let stop = self.stop.clone();
        let (mut obeyed, mut expected, mut most) = (false, 0, FIRST_RECORDS);
        while let Some(permit) = self.permit(&stop).await {
            // Between two parts of a command the records that wait have their turn.
            if !std::mem::take(&mut obeyed)
                && let Some(command) = self.orders.next()
            {
                self.obey(command, permit).await?;
                obeyed = true;
                continue;
            }
            let filled = tokio::select! {
                biased;
                () = stop.cancelled() => return self.give_up(permit).await,
                filled = self.fill(&intake, expected, most) => filled.map_err(End::Log)?,
            };
            expected = filled.applications.len();
            if filled.records >= most {
                most *= 2;
            }
            let read = self.close(filled, permit).await?;
            self.router.try_send(read).map_err(|_| End::Stopped)?;
        }
        match Arc::clone(&self.permits).acquire_owned().await {
            Ok(permit) => self.give_up(permit).await,
            // The semaphore is closed when the lane ends.
            Err(_) => Ok(()),
        }
    }

    /// Places of all batches but one.
    fn others(&self) -> u32 {
        u32::try_from(self.rules.batch.in_flight_max.max(1) - 1).unwrap_or(u32::MAX)
    }

    /// A place for a batch; `None` when the lane is to end.
    async fn permit(&self, stop: &CancellationToken) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            biased;
            () = stop.cancelled() => None,
            permit = Arc::clone(&self.permits).acquire_owned() => permit.ok(),
        }
    }

    /// The last batch has no records, but everybody's checkpoint: so the next owner need not restore.
    async fn give_up(&mut self, permit: OwnedSemaphorePermit) -> Result<(), End> {
        if self.oldest_unwritten.get().is_none() {
            return Ok(());
        }
        // What a batch that was being filled had taken is read anew.
        self.progress = self.closed.clone();
        let read = self.close(Filling::default(), permit).await?;
        self.router.try_send(Read { last: true, ..read }).map_err(|_| End::Stopped)
    }

    /// Has a command carried out, or a part of it, when all before it is committed: what it is about may
    /// be in flight.
    async fn obey(&mut self, command: Command, permit: OwnedSemaphorePermit) -> Result<(), End> {
        let others = if Defect::ReleaseMissesInFlight.is_on() { 0 } else { self.others() };
        let all = Arc::clone(&self.permits).acquire_many_owned(others).await;
        // The semaphore is closed when the lane ends.
        let Ok(others) = all else { return Ok(()) };
        let (done, told) = oneshot::channel();
        let commanded = Commanded { command, suspects: self.suspects.clone(), done };
        let read = self.close(Filling::default(), permit).await?;
        let read = Read { commanded: Some(commanded), ..read };
        self.router.try_send(read).map_err(|_| End::Stopped)?;
        // Without an answer the lane has ended, and the first reason counts.
        let done = told.await.map_err(|_| End::Stopped)?;
        drop(others);
        match done {
            Done::Whole(Some(freed)) => {
                self.suspects.quarantined.remove(&freed);
            }
            Done::Whole(None) => {}
            Done::Part(rest) => self.orders.put_back(rest),
            Done::Erased(user_id, rest) => {
                self.suspects.erase(user_id);
                self.orders.put_back(rest);
            }
            Done::Readmitted(user_id) => {
                self.suspects.erased.remove(&user_id);
            }
        }
        Ok(())
    }

    /// Reads until the batch is full or has `most` records, the linger is over or, without records, a quiet user's
    /// checkpoint is due. Without a linger a small batch is filled for as long as others are in flight. What was taken
    /// when the future is dropped is read anew by the next owner.
    async fn fill(
        &mut self,
        intake: &Intake,
        expected: usize,
        most: usize,
    ) -> Result<Filling, LogError> {
        let (rules, others) = (self.rules.batch, self.others());
        let rules = BatchRules { records_max: rules.records_max.min(most), ..rules };
        let every = self.rules.checkpoint.every;
        let mut filling = Filling::default();
        // A lane that catches up fills one like the one before: to grow would move all that is there again and again.
        filling.applications.reserve(expected);
        let mut until = self.next_look();
        loop {
            if self.events_stop.get().is_some_and(|stop| self.progress.positions.events >= stop) {
                self.reader.hold_events()?;
            }
            let waits = filling.records > 0 && rules.linger.is_zero();
            let (progress, suspects) = (&mut self.progress, &mut self.suspects);
            let tracer = &*self.ports.tracer;
            let mut take = |incoming: Incoming<'_>| {
                filling.take(&incoming, intake, tracer, progress, suspects);
                if filling.is_full(&rules) {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            };
            let read = tokio::select! {
                biased;
                read = self.reader.read(&mut take) => Some(read),
                () = self.orders.arrived() => return Ok(filling),
                () = tokio::time::sleep_until(until), if !waits => None,
                () = alone(&self.permits, others), if waits => return Ok(filling),
            };
            match read {
                Some(read) => read?,
                None if filling.records > 0 => return Ok(filling),
                None => {
                    let oldest = self.oldest_unwritten.get();
                    if oldest.is_some_and(|oldest| oldest.elapsed() >= every) {
                        return Ok(filling);
                    }
                    until = self.next_look();
                    continue;
                }
            }
            let is_large = rules.linger.is_zero() && filling.records >= rules.pipelined_from;
            if is_large || filling.is_full(&rules) {
                return Ok(filling);
            }
            until = until.min(Instant::now() + rules.linger);
        }
    }

    /// When a lane without records looks after checkpoints.
    fn next_look(&self) -> Instant {
        let now = Instant::now();
        let oldest = self.oldest_unwritten.get().unwrap_or(now);
        (oldest + self.rules.checkpoint.every).max(now + QUIET_MIN)
    }

    /// Puts what lives elsewhere in the way and stamps the batch.
    async fn close(&mut self, filling: Filling, permit: OwnedSemaphorePermit) -> Result<Read, End> {
        let mut forwarded = Vec::with_capacity(filling.forwards.len());
        for Forward { home, raw, origin } in &filling.forwards {
            let sent = self.ports.forwarder.forward(*home, raw, *origin).await;
            forwarded.push(sent.map_err(|error| self.not_sent(error))?);
        }
        let mut turns = self.turns.borrow_mut();
        for (origin, previous) in filling.out_of_turn {
            turns.wait_for(origin, previous);
        }
        turns.moved(&self.progress);
        drop(turns);
        let now = self.ports.clock.now();
        // Stamps order a lane's batches for ever, so a clock that was set back must not repeat one.
        self.progress.stamp = now.max(self.progress.stamp + Micros(1));
        self.closed = self.progress.clone();
        let mut trail = filling.trail;
        trail.close(&*self.ports.tracer, self.lane, filling.records);
        Ok(Read {
            passport: Passport {
                lane: self.lane,
                token: self.token,
                permit,
                stamp: self.progress.stamp,
                oldest: filling.oldest,
                held: Default::default(),
                evaluations: 0,
                refused: filling.refused,
                forwarded,
                trail,
            },
            applications: filling.applications,
            dead_letters: filling.dead_letters,
            quarantine: filling.quarantine,
            last: false,
            progress: self.progress.clone(),
            commanded: None,
        })
    }

    fn not_sent(&self, error: LogError) -> End {
        let problem = error.to_string();
        if let LogError::Away(_) = error {
            return End::Away { part: "kafka", problem };
        }
        // A forwarder that has failed for good lets nothing through any more: only a new process does.
        let _full = self.ports.fatal.try_send(problem.clone());
        End::Halted { problem }
    }
}

/// Waits until no batch is in flight but the one that has a place already.
async fn alone(permits: &Semaphore, others: u32) {
    // The semaphore is closed when the lane ends.
    drop(permits.acquire_many(others).await);
}

/// Records of a lane's first batch, at most; each that is full lets the next have twice as many. Of whoever comes first
/// the state has to be brought back, and nobody sees anything of the batch before all of it is stored.
const FIRST_RECORDS: usize = 1_024;

/// How often, at most, a lane without records looks after checkpoints.
const QUIET_MIN: Duration = Duration::from_millis(10);
