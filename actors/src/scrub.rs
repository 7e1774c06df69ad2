//! The scrub: one user of the lane after the other, slowly and for as long as the lane is ours, is compared
//! with what their stored records make of them: in memory when they are there, and in their checkpoint. It
//! changes nothing; a difference is an alarm.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use neuros::time::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::compare::{Comparison, Finding};
use crate::defect::Defect;
use crate::home::home;
use crate::lane::{Lane, UserNumber};
use crate::observe::Looked;
use crate::ports::{Ports, Rules};
use crate::residents::Sampled;
use crate::restore::{RestoreError, Restorer};
use crate::router::{Router, Sample};
use crate::seal::DataKey;
use crate::store::StoredUser;

/// A user with more records than this after their base is passed over: the database has other work.
const RECORDS_MAX: i64 = 10_000;

/// Stored users that are looked at once for one whose home this is.
const USERS_MAX: i64 = 64;

/// How long a step may take to its commit until somebody else is looked at.
const PATIENCE: Duration = Duration::from_mins(1);

/// How often the commit is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A base, or what is in memory, may have moved on while it was looked at: then it is looked at once more.
const ATTEMPTS: usize = 2;

/// Scrubs one lane while it is owned.
pub(crate) struct Scrub {
    pub(crate) lane: Lane,
    pub(crate) ports: Ports,
    pub(crate) rules: Arc<Rules>,
    pub(crate) restorer: Restorer,
    pub(crate) router: Addr<Router>,
    /// The stamp of the newest committed batch.
    pub(crate) committed: Rc<Cell<Timestamp>>,
    /// The stored user whose turn was last.
    pub(crate) after: UserNumber,
}

impl Scrub {
    /// Looks at one user in each turn, until `stop`. All lanes together have one turn each time that
    /// `scrub_every` has passed.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let lanes = u32::try_from(self.rules.routing.partition_count).unwrap_or(1).max(1);
        let every = self.rules.checkpoint.scrub_every.saturating_mul(lanes);
        if every.is_zero() {
            return;
        }
        // Alternately: somebody whose checkpoint is behind them, and the next of all who are stored.
        let mut turn = 0;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(every) => {}
            }
            turn += 1;
            let look = async {
                let ahead = turn % 2 == 1 && self.look_ahead(turn / 2).await?;
                if ahead { Ok(()) } else { self.look_at_next().await }
            };
            let looked = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                looked = look => looked,
            };
            if let Err(error) = looked {
                // A store that is away is told about by others.
                tracing::debug!(lane = self.lane.0, %error, "nobody was scrubbed");
            }
        }
    }

    /// Looks at one of those who are ahead of their checkpoint; says whether there was somebody.
    async fn look_ahead(&self, turn: usize) -> Result<bool, RestoreError> {
        let Some(sampled) = self.sample(Sample::Ahead(turn)).await else { return Ok(false) };
        self.look_at_live(sampled).await?;
        Ok(true)
    }

    /// Looks at the next stored user whose home is here.
    async fn look_at_next(&mut self) -> Result<(), RestoreError> {
        let count = self.rules.routing.partition_count;
        let limit = i64::from(count).clamp(1, USERS_MAX);
        let page = self.ports.store.users_after(self.after, limit).await?;
        self.after = page.last().map_or(UserNumber(i64::MIN), |last| last.user);
        let mut page = page.into_iter();
        let Some(stored) = page.find(|stored| home(&stored.user_id, count) == self.lane) else {
            return Ok(());
        };
        self.after = stored.user;
        if stored.erased {
            return Ok(());
        }
        let user_id = stored.user_id.as_str().into();
        if let Some(sampled) = self.sample(Sample::Of(user_id)).await {
            self.look_at_live(sampled).await?;
        }
        self.look_at_stored(&stored).await
    }

    /// Asks the lane, between two batches, for who somebody is in memory.
    async fn sample(&self, sample: Sample) -> Option<Sampled> {
        self.router.send(sample).await.ok().flatten()
    }

    async fn look_at_live(&self, mut sampled: Sampled) -> Result<(), RestoreError> {
        for attempt in 1..=ATTEMPTS {
            if !Defect::ScrubInFlight.is_on() && !self.is_committed(sampled.touched).await {
                return Ok(());
            }
            let user = sampled.user;
            let Some((stored, key)) = self.stored(user).await? else { return Ok(()) };
            let live = sampled.person;
            // Erased since they were sampled, and perhaps let in again: nobody is that person any more.
            if stored.erased || live.record_number <= stored.start.record_number {
                return Ok(());
            }
            if self.is_too_long(&stored, live.record_number).await? {
                return Ok(());
            }
            match self.restorer.compare_live(live, &stored, &key).await {
                Err(RestoreError::Unreadable { .. }) if attempt < ATTEMPTS => {}
                compared => return self.tell(&stored, Of::Memory, compared),
            }
            let Some(again) = self.sample(Sample::Of(sampled.user_id)).await else { return Ok(()) };
            sampled = again;
        }
        Ok(())
    }

    async fn look_at_stored(&self, stored: &StoredUser) -> Result<(), RestoreError> {
        if self.is_too_long(stored, stored.record_number).await? {
            return Ok(());
        }
        let Some(key) = self.key(stored.user).await? else { return Ok(()) };
        let compared = self.restorer.compare(stored, &key).await;
        self.tell(stored, Of::Checkpoint, compared)
    }

    /// Waits until a batch of that stamp is committed, but not for ever.
    async fn is_committed(&self, stamp: Timestamp) -> bool {
        let committed = async {
            while self.committed.get() < stamp {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(PATIENCE, committed).await.is_ok()
    }

    async fn stored(
        &self,
        user: UserNumber,
    ) -> Result<Option<(StoredUser, DataKey)>, RestoreError> {
        Ok(self.restorer.again(user).await?.zip(self.key(user).await?))
    }

    async fn key(&self, user: UserNumber) -> Result<Option<DataKey>, RestoreError> {
        Ok(self.ports.keys.keys_of(&[user]).await?.into_iter().next().flatten())
    }

    async fn is_too_long(&self, stored: &StoredUser, upto: i64) -> Result<bool, RestoreError> {
        let bases = self.ports.store.bases(stored.user, upto).await?;
        let base = bases.first().map(|base| base.record_number);
        Ok(upto - base.unwrap_or_default() > RECORDS_MAX)
    }

    fn tell(
        &self,
        stored: &StoredUser,
        of: Of,
        compared: Result<Comparison, RestoreError>,
    ) -> Result<(), RestoreError> {
        let (lane, user) = (self.lane.0, self.ports.keys.tag_of(&stored.user_id));
        let looked = match compared.map(|comparison| (of, comparison.finding())) {
            Ok((_, Finding::Nothing)) => return Ok(()),
            Ok((_, Finding::Agrees)) => Looked::Agrees,
            Ok((Of::Memory, _)) => {
                tracing::error!(lane, %user, "{MEMORY_DIFFERS}");
                Looked::MemoryDiffers
            }
            Ok((Of::Checkpoint, Finding::Differs)) => {
                tracing::error!(lane, %user, "{CHECKPOINT_DIFFERS}");
                Looked::CheckpointDiffers
            }
            Ok((Of::Checkpoint, Finding::Unreadable)) => {
                tracing::warn!(lane, %user, "{CHECKPOINT_UNREADABLE}");
                Looked::CheckpointUnreadable
            }
            Err(RestoreError::Unreadable { problem, .. }) => {
                tracing::warn!(lane, %user, %problem, "a user's stored records cannot be replayed");
                Looked::Unreplayable
            }
            Err(error) => return Err(error),
        };
        self.ports.observer.scrubbed(self.lane, looked);
        Ok(())
    }
}

/// What was compared.
#[derive(Clone, Copy)]
enum Of {
    Memory,
    Checkpoint,
}

const MEMORY_DIFFERS: &str = "a state in memory is not what the user's stored records make of it: \
                              `state rebuild` puts it right";
const CHECKPOINT_DIFFERS: &str = "a checkpoint is not what the user's stored records make of it: \
                                  `state show`, then `state rebuild`";
const CHECKPOINT_UNREADABLE: &str = "a checkpoint does not open; it is rebuilt when its user comes";

/// Where a scrub begins that has just started: lanes that are claimed again and again must not always look
/// at the same users.
pub(crate) fn somewhere(lane: Lane, users: i64, now: Timestamp) -> UserNumber {
    UserNumber::of(now.as_micros().rem_euclid(users + 1), lane)
}
