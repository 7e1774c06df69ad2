//! States and outcomes for somebody who looks back: as far as that is near, and with all of why. Never for a
//! lane, which explains no more than it says.

use std::sync::Arc;

use neuros::event::Record;
use neuros::{Outcome, Policy};

use super::{Opened, RestoreError, Restorer, decoded, is_next, obey, unreadable};
use crate::person::Person;
use crate::seal::DataKey;
use crate::store::{StoredRecord, StoredUser};

/// What came of a record that was applied again.
pub struct Replayed {
    /// The record.
    pub record: Record<'static>,
    /// What came of each of its events, with all of why.
    pub outcomes: Vec<Outcome>,
    /// The policy of the time.
    pub policy: Arc<Policy>,
}

impl Restorer {
    /// The person with the records up to number `upto`, from the newest of checkpoint, bases and beginning that is
    /// not behind it; `None` when more than `records_max` records would have to be applied to that.
    ///
    /// # Errors
    ///
    /// See [`RestoreError`].
    pub async fn at(
        &self,
        stored: &StoredUser,
        key: &DataKey,
        upto: i64,
        records_max: i64,
    ) -> Result<Option<Person>, RestoreError> {
        let mut person = Person::starting(stored.start);
        if stored.record_number <= upto
            && let Some(sealed) = &stored.checkpoint
            && let Ok(opened) = self.open_checkpoint(stored, key, sealed).await?
        {
            person = opened;
        } else {
            let bases = self.store.bases(stored.user, upto).await?;
            for base in &bases {
                if let Ok(based) = self.based(stored.user, key, base).await? {
                    person = based;
                    break;
                }
            }
        }
        if upto - person.record_number > records_max {
            return Ok(None);
        }
        self.follow(&mut person, stored, key, upto).await?;
        if person.record_number < upto {
            let problem = format!("record {} is missing", person.record_number + 1);
            return Err(unreadable(stored, problem));
        }
        Ok(Some(person))
    }

    /// The same for somebody who looks: also says what came of it, and why. Of an order there is nothing to say.
    ///
    /// # Errors
    ///
    /// See [`RestoreError`].
    pub async fn replay_explained(
        &self,
        person: &mut Person,
        stored: &StoredUser,
        key: &DataKey,
        record: &StoredRecord,
    ) -> Result<Option<Replayed>, RestoreError> {
        let (policy, bytes) = self.opened(person, stored, key, record).await?;
        let replayed = match decoded(stored, bytes.expose())? {
            Opened::Order(order) => {
                obey(person, &policy, stored, &order)?;
                None
            }
            Opened::Record(record) => {
                let mut outcomes = Vec::new();
                person.replay_explained(&policy, &record, &mut outcomes);
                Some(Replayed { record: record.into_owned(), outcomes, policy })
            }
        };
        is_next(person, stored, record)?;
        Ok(replayed)
    }
}
