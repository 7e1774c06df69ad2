//! The router: brings each record of a batch to its user's actor, loads those who are not in memory, and
//! gathers what the users answer into one decided batch. It decides nothing about anybody itself.

use std::sync::Arc;

use actix::{Actor, ActorContext as _, ActorFutureExt as _, AtomicResponse, Context, Handler};
use actix::{Addr, WrapFuture as _};
use smallvec::SmallVec;
use tokio::sync::mpsc;

use crate::alert::Alerts;
use crate::batch::{Decided, End, Read};
use crate::capacity::{BATCH_MAILBOX, INQUIRIES, SCRUB_QUESTIONS};
use crate::decide::Worked;
use crate::lane::Provenance;
use crate::live::Seat;
use crate::obey::Commanded;
use crate::residents::{Residents, Sampled};
use crate::taken::{Panicked, Taken};
use crate::user::{Apply, BatchContext, Stepped, Steps};

/// Routes the batches of one lane, one at a time and in order.
pub(crate) struct Router {
    /// Away while a batch is being worked on.
    desk: Option<Desk>,
    end: mpsc::Sender<End>,
}

/// What the router works with.
pub(crate) struct Desk {
    pub(crate) residents: Residents,
    pub(crate) alerts: Addr<Alerts>,
}

impl Router {
    pub(crate) fn new(desk: Desk, end: mpsc::Sender<End>) -> Self {
        Self { desk: Some(desk), end }
    }

    /// Those who are in memory; `None` once the lane has ended.
    pub(crate) fn residents(&self) -> Option<&Residents> {
        self.desk.as_ref().map(|desk| &desk.residents)
    }
}

impl Actor for Router {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(BATCH_MAILBOX + SCRUB_QUESTIONS + INQUIRIES);
    }
}

impl Handler<Read> for Router {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, read: Read, _: &mut Self::Context) -> Self::Result {
        let desk = self.desk.take();
        let work = async move {
            let mut desk = desk?;
            let routed = desk.route(read).await;
            Some((desk, routed))
        };
        AtomicResponse::new(Box::pin(work.into_actor(self).map(|done, router, context| {
            let Some((desk, routed)) = done else { return context.stop() };
            router.desk = Some(desk);
            if let Err(end) = routed {
                // The first reason to end counts.
                let _later = router.end.try_send(end);
                router.desk = None;
                context.stop();
            }
        })))
    }
}

/// Who is somebody, as the lane holds them now? `None` when they are not in memory.
#[derive(actix::Message)]
#[rtype(result = "Option<Sampled>")]
pub(crate) enum Sample {
    /// This user.
    Of(Arc<str>),
    /// Any whose checkpoint is behind them: another with each number.
    Ahead(usize),
}

impl Handler<Sample> for Router {
    type Result = AtomicResponse<Self, Option<Sampled>>;

    /// Between two batches, when no user has a step in work.
    fn handle(&mut self, sample: Sample, _: &mut Self::Context) -> Self::Result {
        let desk = self.desk.take();
        let work = async move {
            let desk = desk?;
            let sampled = desk.residents.sample(&sample).await;
            Some((desk, sampled))
        };
        AtomicResponse::new(Box::pin(work.into_actor(self).map(|done, router, _| {
            let (desk, sampled) = done?;
            router.desk = Some(desk);
            sampled
        })))
    }
}

/// A user's part of a batch.
pub(crate) struct UserWork {
    pub(crate) seat: Seat,
    pub(crate) records: SmallVec<[Taken; 1]>,
    /// Write a checkpoint even if nothing is new.
    pub(crate) checkpoint: bool,
}

impl Desk {
    async fn route(&mut self, read: Read) -> Result<(), End> {
        let Read { passport, dead_letters, quarantine, last, progress, commanded, .. } = read;
        let (mut applications, mut obeyed, mut tell) = (read.applications, None, None);
        if let Some(Commanded { command, suspects, done }) = commanded {
            let plan = self.residents.plan(command, &suspects, passport.stamp).await?;
            (applications, obeyed) = (plan.taken, Some(plan.obeyed));
            tell = Some((done, plan.done));
        }
        let stamp = passport.stamp;
        let gathered = self.residents.gather(applications, &dead_letters, quarantine, stamp);
        let mut gathering = gathered.await?;
        let outsiders = self.residents.identify(&gathering.mentioned).await?;
        self.residents.add_due_checkpoints(&mut gathering, stamp, last);
        let context = self.residents.context(stamp, gathering.works.len());
        let answers = self.ask(&mut gathering.works, context).await?;
        let worked = Worked { gathering, answers, outsiders, obeyed };
        let decided = self.residents.decide(passport, worked, dead_letters, progress)?;
        if let Some(decided) = decided {
            self.pass_on(decided)?;
        }
        if let Some((ingest, done)) = tell {
            // Ingest waits, unless the lane has ended.
            let _gone = ingest.send(done);
        }
        Ok(())
    }

    /// Hands each user their records, then waits for all answers; in the order of `works`.
    async fn ask(
        &self,
        works: &mut [UserWork],
        context: BatchContext,
    ) -> Result<Vec<Box<Steps>>, End> {
        let context = Arc::new(context);
        let (reply, mut answers) = mpsc::channel(works.len().max(1));
        for (slot, work) in works.iter_mut().enumerate() {
            let apply = Apply {
                slot,
                records: std::mem::take(&mut work.records),
                checkpoint: work.checkpoint,
                context: Arc::clone(&context),
                reply: reply.clone(),
            };
            let resident = self.residents.live.get(work.seat).ok_or(LOST)?;
            resident.address.try_send(apply).map_err(|_| LOST)?;
        }
        drop(reply);
        let mut steps: Vec<Option<Box<Steps>>> = Vec::new();
        steps.resize_with(works.len(), || None);
        while let Some(Stepped { slot, result }) = answers.recv().await {
            let place = steps.get_mut(slot).ok_or(LOST)?;
            *place = Some(result.map_err(|panicked| self.failed(panicked, works, slot))?);
        }
        steps.into_iter().collect::<Option<Vec<_>>>().ok_or(LOST)
    }

    /// A record is put aside, and the user with it; of an order nobody knows which, so only the user is.
    fn failed(&self, panicked: Panicked, works: &[UserWork], slot: usize) -> End {
        let of_work = works.get(slot).and_then(|work| self.residents.live.get(work.seat));
        match (panicked.provenance, of_work) {
            (Provenance::Order(_), Some(resident)) => End::Unreadable {
                user_id: resident.user_id.as_ref().to_owned(),
                problem: "an order about the user's alerts cannot be carried out".to_owned(),
            },
            (_, resident) => End::Panicked {
                user: resident.map(|resident| self.residents.ports.keys.tag_of(&resident.user_id)),
                panicked,
            },
        }
    }

    fn pass_on(&self, decided: Decided) -> Result<(), End> {
        self.alerts.try_send(decided).map_err(|_| LOST)
    }
}

/// An actor that should be there is not, or has no room that it should have: what is committed is the
/// truth, so the lane starts anew from there.
pub(crate) const LOST: End = End::Claim { fenced: false };
