//! The users of a lane that are in memory: who they are, where their actors are, and how far their
//! stored checkpoints lag behind them. Nobody whose steps are not safely written leaves.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use neuros::time::{Micros, Timestamp};
use tokio::time::Instant;

use crate::batch::End;
use crate::capacity::{IDLE_CHECKPOINTS, QUIET_CHECKPOINTS};
use crate::defect::Defect;
use crate::gather::Gathering;
use crate::inquiry::Presence;
use crate::lane::{Lane, Progress, UserNumber};
use crate::live::{Live, Resident, Seat};
use crate::person::Person;
use crate::ports::{Ports, Rules};
use crate::restore::{RestoreError, Restorer};
use crate::router::{LOST, Sample};
use crate::seal::{DataKey, KeysAway};
use crate::store::{Asked, StoreError, StoredUser};
use crate::user::{BatchContext, User};

/// The users of one lane that are in memory.
pub(crate) struct Residents {
    pub(crate) lane: Lane,
    pub(crate) ports: Ports,
    pub(crate) rules: Arc<Rules>,
    pub(crate) restorer: Restorer,
    /// How far the lane has come with the newest decided batch.
    pub(crate) progress: Progress,
    pub(crate) service_key: DataKey,
    pub(crate) live: Live,
    /// Users with records that their stored checkpoint has not, by when that began, as a stamp and on
    /// this process's own clock; entries that no longer hold are passed over.
    pub(crate) unwritten: VecDeque<(Timestamp, Instant, Seat)>,
    /// Of users whom this release cannot restore the oldest record in no checkpoint: nobody may take it
    /// for written.
    pub(crate) withheld: BTreeMap<String, Timestamp>,
    /// Users who are known by number alone: nothing of theirs is evaluated.
    pub(crate) outsiders: HashMap<Arc<str>, UserNumber, RandomState>,
    /// Since when the first of `unwritten` is there, for ingest.
    pub(crate) oldest_unwritten: Rc<Cell<Option<Instant>>>,
    /// The stamp of the newest committed batch.
    pub(crate) committed: Rc<Cell<Timestamp>>,
    pub(crate) swept: Instant,
}

/// A user as their lane holds them.
pub(crate) struct Sampled {
    pub(crate) user_id: Arc<str>,
    pub(crate) user: UserNumber,
    pub(crate) person: Person,
    /// The stamp of the newest batch with something of theirs: committed, or on its way.
    pub(crate) touched: Timestamp,
}

impl Residents {
    /// A copy of somebody in memory.
    pub(crate) fn sample(&self, sample: &Sample) -> Option<Sampled> {
        let resident = match sample {
            Sample::Of(user_id) => self.live.find(user_id)?,
            Sample::Ahead(number) => {
                let place = number.checked_rem(self.unwritten.len())?;
                self.unwritten.get(place).and_then(|(_, _, seat)| self.live.get(*seat))?
            }
        };
        let person = resident.actor.person().clone();
        let (user, touched) = (resident.user, resident.touched);
        Some(Sampled { user_id: Arc::clone(&resident.user_id), user, person, touched })
    }

    /// A user's actor, if it is there.
    pub(crate) fn presence(&self, user_id: &str) -> Option<Presence> {
        let resident = self.live.find(user_id)?;
        Some(Presence { age: resident.began.elapsed() })
    }

    /// What the users of a batch share.
    pub(crate) fn context(&self, stamp: Timestamp, users: usize) -> BatchContext {
        BatchContext {
            lane: self.lane,
            stamp,
            policy: Arc::clone(&self.rules.policy),
            policy_number: self.rules.policy_number,
            evaluate: self.rules.evaluate,
            seal: Arc::clone(&self.ports.seal),
            checkpoint_every: self.rules.checkpoint.every_records.max(1),
            base_every: self.rules.checkpoint.base_every.max(1),
            states: self.rules.cache && users <= CACHED_USERS,
        }
    }

    /// Finds the numbers of users of whom nothing is evaluated; gives back those whom the store does
    /// not know yet, who get a row with this batch.
    pub(crate) async fn identify(
        &mut self,
        mentioned: &[Arc<str>],
    ) -> Result<Vec<(Arc<str>, UserNumber)>, End> {
        let unknown: Vec<&Arc<str>> = mentioned
            .iter()
            .filter(|id| self.live.seat_of(id).is_none() && !self.outsiders.contains_key(&***id))
            .collect();
        if unknown.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<&str> = unknown.iter().map(|user_id| &***user_id).collect();
        let known = self.ports.store.users(Asked::Ids(&ids)).await.map_err(store_end)?;
        let mut new = Vec::new();
        for user_id in unknown {
            let stored = known.iter().find(|stored| stored.user_id == **user_id);
            let user = match stored {
                Some(stored) => stored.user,
                None => {
                    let user = self.progress.number_user(self.lane);
                    new.push((Arc::clone(user_id), user));
                    user
                }
            };
            self.outsiders.insert(Arc::clone(user_id), user);
        }
        Ok(new)
    }

    /// The number of a user in memory, or of one who is known by number alone.
    pub(crate) fn number_of(&self, user_id: &str) -> Option<UserNumber> {
        let resident = self.live.find(user_id).map(|resident| resident.user);
        resident.or_else(|| self.outsiders.get(user_id).copied())
    }

    /// Brings users into memory: those whom the store knows, and those who are new.
    pub(crate) async fn load(&mut self, absent: &[Arc<str>], stamp: Timestamp) -> Result<(), End> {
        let ids: Vec<&str> = absent.iter().map(|user_id| &**user_id).collect();
        let known = self.ports.store.users(Asked::Ids(&ids)).await.map_err(store_end)?;
        let known: HashMap<&str, &StoredUser, RandomState> =
            known.iter().map(|stored| (stored.user_id.as_str(), stored)).collect();
        let (mut old, mut new) = (Vec::new(), Vec::new());
        for user_id in absent {
            match known.get(&**user_id) {
                Some(stored) => old.push((user_id, *stored)),
                None => new.push(user_id),
            }
        }
        let users: Vec<UserNumber> = old.iter().map(|(_, stored)| stored.user).collect();
        let keys = self.ports.keys.keys_of(&users).await.map_err(keys_end)?;
        let mut rebuilt = 0;
        for ((user_id, stored), key) in old.into_iter().zip(keys) {
            // Ingest lets nothing through of somebody who was erased: what it knows is out of date.
            let key = key.filter(|_| !stored.erased).ok_or(LOST)?;
            let (person, anew) = self.restorer.person(stored, &key).await.map_err(end)?;
            rebuilt += usize::from(anew);
            self.settle(Arc::clone(user_id), stored.user, key, person, true, stamp, 0);
        }
        while !new.is_empty() {
            let users: Vec<UserNumber> =
                new.iter().map(|_| self.progress.number_user(self.lane)).collect();
            let keys = self.ports.keys.first_keys_of(&users).await.map_err(keys_end)?;
            let mut again = Vec::new();
            for ((user_id, user), key) in new.into_iter().zip(users).zip(keys) {
                match key {
                    Some(key) => {
                        let (user_id, nobody) = (Arc::clone(user_id), Person::default());
                        self.settle(user_id, user, key, nobody, false, stamp, 0);
                    }
                    // It was given to somebody who was erased, behind the backup from which the store is.
                    None => again.push(user_id),
                }
            }
            new = again;
        }
        if rebuilt > 0 {
            self.ports.observer.rebuilt(self.lane, rebuilt);
        }
        Ok(())
    }

    /// Gives a person an actor.
    #[expect(clippy::too_many_arguments, reason = "all of them are the new resident's own facts")]
    pub(crate) fn settle(
        &mut self,
        user_id: Arc<str>,
        user: UserNumber,
        key: DataKey,
        person: Person,
        is_stored: bool,
        touched: Timestamp,
        unwritten: u32,
    ) -> Seat {
        let actor = Box::new(User::new(user, key, person, unwritten));
        let now = Instant::now();
        self.live.seat(Resident {
            user_id,
            user,
            actor,
            is_stored,
            touched,
            seen: now,
            began: now,
            unwritten_since: None,
            work: None,
        })
    }

    /// A user's records of the batch stamped `since` are not in their stored checkpoint.
    pub(crate) fn lags(&mut self, seat: Seat, since: Timestamp) {
        if let Some(resident) = self.live.get_mut(seat)
            && resident.unwritten_since.is_none()
        {
            resident.unwritten_since = Some(since);
            self.unwritten.push_back((since, resident.seen, seat));
            self.oldest_unwritten.set(self.oldest_unwritten.get().or(Some(resident.seen)));
        }
    }

    /// A user's checkpoint is written with the batch stamped `stamp`: until that is committed, the
    /// user stays.
    pub(crate) fn written(&mut self, seat: Seat, stamp: Timestamp) {
        if let Some(resident) = self.live.get_mut(seat) {
            resident.touched = resident.touched.max(stamp);
            resident.unwritten_since = None;
        }
    }

    /// All checkpoints hold everything up to this stamp, once the batch stamped `stamp` is committed.
    pub(crate) fn checkpointed(&mut self, stamp: Timestamp) -> Timestamp {
        self.drop_written();
        let oldest = self.unwritten.front().map(|(since, _, _)| *since);
        let oldest = oldest.into_iter().chain(self.withheld.values().copied()).min();
        let oldest = oldest.filter(|_| !Defect::CheckpointsCalledWritten.is_on());
        oldest.map_or(stamp, |since| since + Micros(-1))
    }

    /// Adds those to the batch whose checkpoint has been due for a while and who may not come by
    /// themselves; when the lane is given up, everybody.
    pub(crate) fn add_due_checkpoints(
        &mut self,
        gathering: &mut Gathering,
        stamp: Timestamp,
        everybody: bool,
    ) {
        self.drop_written();
        let (now, every) = (Instant::now(), self.rules.checkpoint.every);
        let limit = match gathering.len() {
            _ if everybody => usize::MAX,
            0 => IDLE_CHECKPOINTS,
            users => QUIET_CHECKPOINTS.max(users / 4),
        };
        let due: Vec<Seat> = self
            .unwritten
            .iter()
            .take_while(|(_, began, _)| everybody || now.duration_since(*began) >= every)
            .take(limit)
            .filter(|(since, _, seat)| self.still_unwritten(*since, *seat))
            .map(|(_, _, seat)| *seat)
            .collect();
        for seat in due {
            gathering.add_checkpoint(seat, stamp, self);
        }
    }

    /// A seat may be somebody else's by now. Whoever is behind keeps theirs, and stamps only grow, so somebody
    /// else is never behind since the same batch.
    fn still_unwritten(&self, since: Timestamp, seat: Seat) -> bool {
        self.live.get(seat).is_some_and(|resident| resident.unwritten_since == Some(since))
    }

    fn drop_written(&mut self) {
        while let Some((since, _, seat)) = self.unwritten.front() {
            if self.still_unwritten(*since, *seat) {
                break;
            }
            self.unwritten.pop_front();
        }
        self.oldest_unwritten.set(self.unwritten.front().map(|(_, began, _)| *began));
    }

    /// Lets go of those who are idle, and of the longest idle when there are too many; never of one
    /// with steps that are not committed or not in a checkpoint.
    pub(crate) fn sweep(&mut self) {
        let (rules, now) = (self.rules.users, Instant::now());
        let too_many = self.live.len() > rules.live_max;
        if !too_many && now.duration_since(self.swept) < SWEEP_EVERY.min(rules.idle_after) {
            return;
        }
        self.swept = now;
        let committed = self.committed.get();
        let may_leave = |resident: &Resident| {
            let is_committed = resident.touched <= committed || Defect::EvictionInFlight.is_on();
            resident.unwritten_since.is_none() && is_committed
        };
        let idle = |resident: &Resident| now.duration_since(resident.seen) >= rules.idle_after;
        self.live.retain(|resident| !(may_leave(resident) && idle(resident)));
        if self.live.len() <= rules.live_max {
            return;
        }
        // Down to nine tenths, so that the next batch does not have to look again.
        let surplus = self.live.len() - rules.live_max / 10 * 9;
        let mut leaving: Vec<Instant> =
            self.live.iter().filter(|(_, it)| may_leave(it)).map(|(_, it)| it.seen).collect();
        leaving.sort_unstable();
        if let Some(newest) = leaving.get(surplus.min(leaving.len()).saturating_sub(1)).copied() {
            self.live.retain(|resident| !may_leave(resident) || resident.seen > newest);
        }
    }
}

/// How often the idle are looked for.
const SWEEP_EVERY: std::time::Duration = std::time::Duration::from_secs(10);

/// Users of a batch up to whom the cache gets every state; larger batches give it checkpoints only.
const CACHED_USERS: usize = 512;

/// How a lane ends when the store does not do its part.
pub(crate) fn store_end(error: StoreError) -> End {
    match error {
        StoreError::Away(problem) | StoreError::Denied(problem) => {
            End::Away { part: "postgres", problem }
        }
        StoreError::Refused(problem) => End::Halted { problem },
        StoreError::NotYet(_) => End::NotYet,
        StoreError::Outdated(problem) => End::Outdated { problem },
    }
}

/// How a lane ends when the keys are away.
pub(crate) fn keys_end(error: KeysAway) -> End {
    End::Away { part: "keys", problem: error.0 }
}

/// How a lane ends when a state cannot be restored.
pub(crate) fn end(error: RestoreError) -> End {
    match error {
        RestoreError::Store(error) => store_end(error),
        RestoreError::Keys(error) => keys_end(error),
        RestoreError::Unreadable { user_id, problem } => End::Unreadable { user_id, problem },
    }
}
