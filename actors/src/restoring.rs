//! What a claim restores: users whose stored checkpoints lag behind their stored records are folded on
//! to where they were, without effects.

use std::collections::BTreeMap;
use std::sync::Arc;

use neuros::time::Timestamp;

use crate::batch::End;
use crate::capacity::{RESTORE_PAGE, USERS_PAGE};
use crate::defect::Defect;
use crate::lane::UserNumber;
use crate::person::Person;
use crate::residents::{Residents, end, keys_end, store_end};
use crate::store::{Asked, StoredRecord, StoredUser};
use crate::suspects::Suspects;

/// Folds a lane's users on by the records that their checkpoints have not.
pub(crate) async fn catch_up(residents: &mut Residents, suspects: &Suspects) -> Result<(), End> {
    let (lane, store) = (residents.lane, Arc::clone(&residents.ports.store));
    let (checkpointed, upto) = (residents.progress.checkpointed, residents.progress.stamp);
    let mut restoring = Restoring::default();
    let (mut after, mut read) = ((checkpointed, i32::MAX), 0);
    loop {
        let page = store.records_of_lane(lane, after, upto, RESTORE_PAGE).await;
        let page = page.map_err(store_end)?;
        let Some(last) = page.last() else { break };
        after = (last.place.stamp, last.place.position);
        read += page.len();
        restoring.meet(&page, residents, suspects).await?;
        for record in &page {
            restoring.apply(record, residents).await?;
        }
    }
    let users = restoring.users.len();
    tracing::info!(lane = lane.0, records = read, users, "what no checkpoint has is restored");
    restoring.settle(residents);
    Ok(())
}

/// Users whose stored checkpoints lag, while they are restored.
#[derive(Default)]
pub(crate) struct Restoring {
    users: BTreeMap<UserNumber, Restored>,
}

struct Restored {
    stored: StoredUser,
    key: crate::seal::DataKey,
    /// `None` when this release cannot restore them.
    person: Option<Person>,
    unwritten: u32,
    since: Option<Timestamp>,
}

impl Restoring {
    /// Loads the users of a page who were not met before.
    pub(crate) async fn meet(
        &mut self,
        page: &[StoredRecord],
        residents: &Residents,
        suspects: &Suspects,
    ) -> Result<(), End> {
        let mut new: Vec<UserNumber> = page
            .iter()
            .map(|record| record.user)
            .filter(|user| !self.users.contains_key(user))
            .collect();
        new.sort_unstable();
        new.dedup();
        for users in new.chunks(USERS_PAGE) {
            let stored = residents.ports.store.users(Asked::Numbers(users)).await;
            let stored = stored.map_err(store_end)?;
            let numbers: Vec<UserNumber> = stored.iter().map(|stored| stored.user).collect();
            let keys = residents.ports.keys.keys_of(&numbers).await.map_err(keys_end)?;
            for (stored, key) in stored.into_iter().zip(keys) {
                let mut person = None;
                if !suspects.users.contains(&stored.user_id) {
                    let restored = residents.restorer.person(&stored, &key).await;
                    let (restored, anew) = restored.map_err(end)?;
                    if anew {
                        residents.ports.observer.rebuilt(residents.lane, 1);
                    }
                    person = Some(restored);
                }
                let restored = Restored { key, person, unwritten: 0, since: None, stored };
                self.users.insert(restored.stored.user, restored);
            }
        }
        Ok(())
    }

    pub(crate) async fn apply(
        &mut self,
        record: &StoredRecord,
        residents: &Residents,
    ) -> Result<(), End> {
        let Some(restored) = self.users.get_mut(&record.user) else { return Ok(()) };
        let Restored { stored, key, person, unwritten, since } = restored;
        let known = person.as_ref().map_or(stored.record_number, |person| person.record_number);
        if record.number <= known && !Defect::CheckpointVersionUnchecked.is_on() {
            return Ok(());
        }
        if let Some(person) = person {
            let replayed = residents.restorer.replay(person, stored, key, record).await;
            replayed.map_err(end)?;
            *unwritten += 1;
        }
        since.get_or_insert(record.place.stamp);
        Ok(())
    }

    /// Everybody gets an actor; of those who cannot be restored only where their records begin that no
    /// checkpoint has is kept in mind.
    pub(crate) fn settle(self, residents: &mut Residents) {
        let mut lagging = Vec::new();
        for (user, restored) in self.users {
            let Restored { stored, key, person, unwritten, since } = restored;
            let Some(person) = person else {
                residents.withheld.extend(since.map(|since| (stored.user_id, since)));
                continue;
            };
            let user_id: Arc<str> = stored.user_id.as_str().into();
            let touched = residents.progress.stamp;
            let seat = residents.settle(user_id, user, key, person, true, touched, unwritten);
            if let Some(since) = since {
                lagging.push((since, seat));
            }
        }
        // The queue is by time.
        lagging.sort_unstable();
        for (since, seat) in lagging {
            residents.lags(seat, since);
        }
    }
}
