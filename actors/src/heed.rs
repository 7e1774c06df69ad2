//! Orders about alerts: handed to the person whose alerts they are about, who alone says what comes of them. It
//! holds no alert.

use std::collections::BTreeSet;

use neuros::alert;
use neuros::time::{Micros, Timestamp};

use crate::batch::End;
use crate::command::DONE;
use crate::lane::{Provenance, UserNumber};
use crate::obey::{Done, IN_QUARANTINE, NO_STATE, Obeyed, Plan};
use crate::residents::{Residents, end, keys_end, store_end};
use crate::restore::RestoreError;
use crate::rows::LookRow;
use crate::store::{Asked, StoredLook};
use crate::suspects::Suspects;
use crate::taken::{AskedOf, Entry, Taken};
use crate::trace::Trace;

/// When alerts of somebody who must not be evaluated are looked at again.
const LOOK_AGAIN_AFTER: Micros = Micros::from_minutes(60);

impl Residents {
    /// Time passes for these users; for those who must not be evaluated, or cannot be restored, it waits.
    pub(crate) async fn plan_tick(
        &self,
        users: Vec<StoredLook>,
        at: Timestamp,
        suspects: &Suspects,
    ) -> Result<Plan, End> {
        let done = Done::Whole(None);
        let mut plan = Plan { taken: Vec::new(), obeyed: Obeyed::default(), done };
        let asleep = users.iter().filter(|look| self.live.find(&look.user_id).is_none());
        let asleep: Vec<UserNumber> = asleep.map(|look| look.user).collect();
        let unreadable = self.unreadable(&asleep).await?;
        for StoredLook { user, user_id, .. } in users {
            if suspects.holds(&user_id) || unreadable.contains(&user) {
                let due = Some(at + LOOK_AGAIN_AFTER);
                plan.obeyed.looks.push(LookRow { user, due });
            } else {
                plan.ask(0, user_id, alert::Order::Tick, at);
            }
        }
        Ok(plan)
    }

    /// Whom of these this release cannot restore. Nobody has sent anything: no lane stops for that.
    async fn unreadable(&self, users: &[UserNumber]) -> Result<BTreeSet<UserNumber>, End> {
        let mut unreadable = BTreeSet::new();
        let known = self.ports.store.users(Asked::Numbers(users)).await.map_err(store_end)?;
        let numbers: Vec<UserNumber> = known.iter().map(|stored| stored.user).collect();
        let keys = self.ports.keys.keys_of(&numbers).await.map_err(keys_end)?;
        for (stored, key) in known.iter().zip(keys) {
            let restored = match &key {
                Some(key) => self.restorer.person(stored, key).await.map(|_| ()),
                None => continue,
            };
            match restored {
                Ok(()) => {}
                Err(RestoreError::Unreadable { problem, .. }) => {
                    let user = self.ports.keys.tag_of(&stored.user_id);
                    tracing::warn!(%user, %problem, "alerts are looked at later");
                    unreadable.insert(stored.user);
                }
                Err(error) => return Err(end(error)),
            }
        }
        Ok(unreadable)
    }

    pub(crate) async fn plan_alert(
        &self,
        (id, stamp): (i64, Timestamp),
        user_id: String,
        order: alert::Order,
        suspects: &Suspects,
    ) -> Result<Plan, End> {
        let store = &self.ports.store;
        let known = store.users(Asked::Ids(&[&user_id])).await.map_err(store_end)?;
        if known.is_empty() && self.live.find(&user_id).is_none() {
            return Ok(Plan::nothing(id, NO_STATE));
        }
        if suspects.holds(&user_id) {
            return Ok(Plan::nothing(id, IN_QUARANTINE));
        }
        let mut plan = Plan::nothing(id, DONE);
        plan.ask(id, user_id, order, stamp);
        Ok(plan)
    }
}

impl Plan {
    /// Hands a person an order.
    fn ask(&mut self, id: i64, user_id: String, order: alert::Order, at: Timestamp) {
        // A page is small.
        let position = i32::try_from(self.taken.len()).unwrap_or(i32::MAX);
        let entry = Entry::Order(Box::new(AskedOf { user_id, order, at }));
        let provenance = Provenance::Order(id);
        let (letter, trace) = (None, Trace::default());
        self.taken.push(Taken { position, provenance, letter, trace, entry });
    }
}
