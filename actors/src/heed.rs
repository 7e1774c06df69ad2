//! Orders about alerts: handed to the person whose alerts they are about, who alone says what comes of them. It
//! holds no alert.

use neuros::alert;
use neuros::time::{Micros, Timestamp};

use crate::batch::End;
use crate::command::DONE;
use crate::lane::Provenance;
use crate::obey::{Done, IN_QUARANTINE, NO_STATE, Obeyed, Plan};
use crate::residents::{Residents, store_end};
use crate::rows::LookRow;
use crate::store::{Asked, StoredLook};
use crate::suspects::Suspects;
use crate::taken::{AskedOf, Entry, Taken};

/// When alerts of somebody in quarantine are looked at again.
const LOOK_AGAIN_AFTER: Micros = Micros::from_minutes(60);

impl Residents {
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

/// Time passes for these users; for those who must not be evaluated it waits.
pub(crate) fn plan_tick(users: Vec<StoredLook>, at: Timestamp, suspects: &Suspects) -> Plan {
    let mut plan = Plan { taken: Vec::new(), obeyed: Obeyed::default(), done: Done::Whole(None) };
    for StoredLook { user, user_id, .. } in users {
        if suspects.holds(&user_id) {
            let due = Some(at + LOOK_AGAIN_AFTER);
            plan.obeyed.looks.push(LookRow { user, due });
        } else {
            plan.ask(0, user_id, alert::Order::Tick, at);
        }
    }
    plan
}

impl Plan {
    /// Hands a person an order.
    fn ask(&mut self, id: i64, user_id: String, order: alert::Order, at: Timestamp) {
        // A page is small.
        let position = i32::try_from(self.taken.len()).unwrap_or(i32::MAX);
        let entry = Entry::Order(Box::new(AskedOf { user_id, order, at }));
        let provenance = Provenance::Order(id);
        self.taken.push(Taken { position, provenance, letter: None, traceparent: None, entry });
    }
}
