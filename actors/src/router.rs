//! The router: brings each record of a batch to its user's actor, loads those who are not in memory, and
//! gathers what the users answer into one decided batch. It decides nothing about anybody itself.

use std::sync::Arc;

use actix::{Actor, ActorContext as _, ActorFutureExt as _, AtomicResponse, Context, Handler};
use actix::{Addr, WrapFuture as _};
use tokio::sync::mpsc;

use crate::alert::Alerts;
use crate::batch::{Decided, End, Read};
use crate::capacity::{BATCH_MAILBOX, INQUIRIES, SCRUB_QUESTIONS, USERS_AT_ONCE};
use crate::decide::{Sum, Worked};
use crate::gather::Arranged;
use crate::lane::Provenance;
use crate::live::Seat;
use crate::obey::{Commanded, Obeyed};
use crate::residents::{Residents, Sampled};
use crate::taken::Panicked;
use crate::user::BatchContext;

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
    type Result = Option<Sampled>;

    /// Between two batches, when no user has a step in work.
    fn handle(&mut self, sample: Sample, _: &mut Self::Context) -> Self::Result {
        self.residents()?.sample(&sample)
    }
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
        let (stamp, records) = (passport.stamp, applications.len());
        let gathered = self.residents.gather(applications, &dead_letters, stamp);
        let mut gathering = gathered.await?;
        let outsiders = self.residents.identify(&gathering.mentioned).await?;
        self.residents.add_due_checkpoints(&mut gathering, stamp, last);
        let context = self.residents.context(stamp, gathering.len());
        let mut arranged = gathering.arrange();
        let mut sum = Sum::after(&self.residents.progress, records);
        self.work(&mut arranged, &context, obeyed.as_mut(), &mut sum).await?;
        let worked = Worked { sum, quarantine, outsiders, obeyed };
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

    /// Hands each user what is theirs, one user after the other, and sums up what they make of it.
    async fn work(
        &mut self,
        arranged: &mut Arranged,
        context: &BatchContext,
        mut obeyed: Option<&mut Obeyed>,
        sum: &mut Sum,
    ) -> Result<(), End> {
        for place in 0..arranged.len() {
            if place % USERS_AT_ONCE == USERS_AT_ONCE - 1 {
                // Whoever shares the thread has a turn: what is committed meanwhile leaves.
                tokio::task::yield_now().await;
            }
            let (work, records) = arranged.work(place);
            let resident = self.residents.live.get_mut(work.seat).ok_or(LOST)?;
            let steps = resident.actor.apply(records, work.checkpoint, context, &mut sum.added);
            let steps = steps.map_err(|panicked| self.failed(panicked, work.seat))?;
            // Released records were counted when they were read, as dead letters.
            match &mut obeyed {
                None => sum.count(&steps),
                Some(obeyed) => obeyed.refused(&steps),
            }
            self.residents.add(work.seat, steps, context.stamp, sum)?;
        }
        Ok(())
    }

    /// A record is put aside, and the user with it; of an order nobody knows which, so only the user is.
    fn failed(&self, panicked: Panicked, seat: Seat) -> End {
        match (panicked.provenance, self.residents.live.get(seat)) {
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
