//! What commands about a person's keys come to: a rotation, an erasure, a readmission. Nothing here opens what was
//! erased, and nothing is numbered twice.
//!
//! An erasure takes two batches. With the first the user's row becomes a tombstone: the actor is gone, and from
//! there on no record of theirs is let in. Only then are the keys destroyed, and with the second the command is
//! done. In this order the count of users by mode stays right, whenever a process dies: with the key gone
//! first, nobody could tell any more which mode the user leaves.

use neuros::Mode;

use crate::batch::End;
use crate::capacity::USERS_PAGE;
use crate::command::{Command, Order};
use crate::lane::UserNumber;
use crate::live::Seat;
use crate::obey::{Done, Plan};
use crate::residents::{Residents, end, keys_end, store_end};
use crate::restore::RestoreError;
use crate::rows::{Erasure, ErasureRow, LookRow, RecordPlace};
use crate::seal::DataKey;
use crate::store::{Asked, Begin, StoredUser};

/// The outcome of an erasure.
pub const ERASED: &str = "erased: the keys are destroyed, and nothing more is accepted";

/// The outcome of a readmission of somebody whom nobody knows.
pub const NOBODY: &str = "nothing is stored under this id";

/// The outcome of a readmission.
pub const READMITTED: &str = "readmitted: the next record begins a new state";

/// What is said of somebody who was erased.
pub const WAS_ERASED: &str = "the user was erased";

/// The outcome of a readmission of somebody who was not erased.
pub const NOT_ERASED: &str = "the user was not erased";

/// The number of a user's newest record, where it lies, and the mode that the user leaves.
type Leaves = (i64, Option<RecordPlace>, Option<Mode>);

impl Residents {
    /// Everybody in memory, or one of them, takes the newest key there is. Those who are not take it when they
    /// come.
    pub(crate) async fn plan_rekey(&mut self, id: i64, only: Option<&str>) -> Result<Plan, End> {
        let is_meant = |user_id: &str| only.is_none_or(|only| only == user_id);
        let meant = self.live.iter().filter(|(_, resident)| is_meant(&resident.user_id));
        let meant: Vec<(Seat, UserNumber)> = meant.map(|(seat, it)| (seat, it.user)).collect();
        let mut count = 0;
        for page in meant.chunks(USERS_PAGE) {
            let users: Vec<UserNumber> = page.iter().map(|(_, user)| *user).collect();
            for ((seat, _), key) in page.iter().zip(self.newest_keys(&users).await?) {
                if let (Some(resident), Some(key)) = (self.live.get_mut(*seat), key) {
                    resident.actor.take_key(key);
                    count += 1;
                }
            }
        }
        Ok(Plan::nothing(id, &format!("{count} users in memory seal with their newest key")))
    }

    /// The keys of users; `None` for those whose keys do not unwrap. Whoever has a key in memory goes on with
    /// that: what an operator asks for must not stop a lane.
    async fn newest_keys(&self, users: &[UserNumber]) -> Result<Vec<Option<DataKey>>, End> {
        let ring = &self.ports.keys;
        if let Ok(keys) = ring.keys_of(users).await {
            return Ok(keys);
        }
        let mut keys = Vec::with_capacity(users.len());
        for user in users {
            let key = ring.keys_of(&[*user]).await;
            keys.push(match key {
                Ok(key) => key.into_iter().next().flatten(),
                Err(problem) => {
                    // The store answers: it is this key that is wrong. Its text says whose, by number.
                    ring.newest_number(*user).await.map_err(keys_end)?;
                    tracing::warn!(%problem, "a data key is passed over");
                    None
                }
            });
        }
        Ok(keys)
    }

    pub(crate) async fn plan_erase(&mut self, id: i64, user_id: String) -> Result<Plan, End> {
        let known = self.ports.store.users(Asked::Ids(&[&user_id])).await.map_err(store_end)?;
        let mut plan = Plan::nothing(id, ERASED);
        let user = match known.first() {
            Some(stored) => stored.user,
            // Whoever is erased before they are met has a tombstone too, or their next record would be let in.
            None => {
                let user = self.progress.number_user(self.lane);
                plan.obeyed.met = Some((user_id.as_str().into(), user));
                user
            }
        };
        let key_number = self.ports.keys.newest_number(user).await.map_err(keys_end)?.unwrap_or(0);
        let (record_number, newest, mode) = match known.first() {
            // A rotation may have come between: the tombstone must know of that key before it is destroyed.
            Some(stored) if stored.erased && key_number <= stored.start_key_number => {
                self.destroy_keys(stored).await?;
                plan.obeyed.forgotten = Some(user_id);
                return Ok(plan);
            }
            Some(stored) if stored.erased => (stored.record_number, stored.newest, None),
            Some(stored) => self.leaves(stored).await?,
            None => (0, None, None),
        };
        self.live.remove(&user_id);
        self.outsiders.remove(user_id.as_str());
        self.withheld.remove(&user_id);
        plan.obeyed.command = None;
        let change = Erasure::Begins { record_number, newest, key_number };
        plan.obeyed.erasure = Some((ErasureRow { user, change }, mode));
        plan.obeyed.looks.push(LookRow { user, due: None });
        let rest = Command { id, order: Order::Erase { user_id: user_id.clone() } };
        plan.done = Done::Erased(user_id, rest);
        Ok(plan)
    }

    /// Destroys the keys that the tombstone names. An owner that was replaced may wake up here when its successor
    /// has readmitted the user: then the newest key is another person's, so to say.
    async fn destroy_keys(&self, stored: &StoredUser) -> Result<(), End> {
        let (keys, upto) = (&self.ports.keys, stored.start_key_number);
        if upto > 0 {
            return keys.destroy(stored.user, upto).await.map_err(keys_end);
        }
        // Who never had one gets one that is destroyed, and no second: so nobody makes another.
        if !keys.destroyed().await.map_err(keys_end)?.contains(&stored.user) {
            keys.keys_of(&[stored.user]).await.map_err(keys_end)?;
            keys.destroy(stored.user, 1).await.map_err(keys_end)?;
        }
        Ok(())
    }

    /// A user's newest record, and the mode that they are in, if that can still be told.
    async fn leaves(&self, stored: &StoredUser) -> Result<Leaves, End> {
        let person = match self.live.find(&stored.user_id) {
            Some(resident) => Some(resident.actor.person().clone()),
            None => {
                let keys = self.newest_keys(&[stored.user]).await?;
                match keys.into_iter().next().flatten() {
                    None => None,
                    Some(key) => match self.restorer.newest(stored, &key).await {
                        Ok(person) => Some(person),
                        Err(RestoreError::Unreadable { problem, .. }) => {
                            let user = self.ports.keys.tag_of(&stored.user_id);
                            tracing::warn!(%user, %problem, "erased unread");
                            None
                        }
                        Err(error) => return Err(end(error)),
                    },
                }
            }
        };
        if let Some(person) = person {
            let mode = person.state.map(|state| state.mode());
            // Of somebody who has sent nothing since they were let in there may still be what was before.
            return Ok((person.record_number, person.newest.or(stored.newest), mode));
        }
        let begin = Begin::Newest { upto: i64::MAX };
        let places = self.ports.store.places_back(stored.user, begin, stored.record_number);
        Ok(match places.await.map_err(store_end)?.first() {
            Some(newest) => (newest.number, Some(newest.place), None),
            None => (stored.record_number, stored.newest, None),
        })
    }

    pub(crate) async fn plan_readmit(&self, id: i64, user_id: String) -> Result<Plan, End> {
        let known = self.ports.store.users(Asked::Ids(&[&user_id])).await.map_err(store_end)?;
        let Some(stored) = known.first() else { return Ok(Plan::nothing(id, NOBODY)) };
        if !stored.erased {
            return Ok(Plan::nothing(id, NOT_ERASED));
        }
        // Whoever asked for the erasure and did not see it through: the old keys must not open again.
        self.destroy_keys(stored).await?;
        self.ports.keys.renew(stored.user).await.map_err(keys_end)?;
        let mut plan = Plan::nothing(id, READMITTED);
        plan.obeyed.erasure = Some((ErasureRow { user: stored.user, change: Erasure::Ends }, None));
        plan.done = Done::Readmitted(user_id);
        Ok(plan)
    }
}
