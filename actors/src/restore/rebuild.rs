//! States made anew from what is kept for good and the records behind it. Never from a checkpoint: that is what they
//! are compared with.

use super::{RestoreError, Restorer};
use crate::person::Person;
use crate::seal::DataKey;
use crate::store::{StoredBase, StoredUser};

/// A rebuilt state that is to be compared goes back so far at most, if it need not.
const FURTHER_BACK_MAX: i64 = 10_000;

/// The base before the newest, where it is near: what went wrong before a base was kept is in that base too, and
/// shows only to whoever begins in front of it.
fn further_back<'b>(
    bases: &'b [StoredBase],
    stored: &StoredUser,
    upto: i64,
) -> Option<&'b StoredBase> {
    let base = bases.get(1)?;
    let is_near = upto - base.record_number <= FURTHER_BACK_MAX;
    (is_near && base.record_number > stored.start.record_number).then_some(base)
}

/// A person as rebuilt; where the newest record lies, the user's row knows.
fn at_newest(mut person: Person, stored: &StoredUser) -> Person {
    if person.record_number == stored.record_number {
        person.newest = stored.newest;
    }
    person
}

impl Restorer {
    /// The person as the newest base that opens and the records after it, up to number `upto`, make them;
    /// as all records do, where there is no such base.
    ///
    /// # Errors
    ///
    /// See [`RestoreError`].
    pub async fn rebuild(
        &self,
        stored: &StoredUser,
        key: &DataKey,
        upto: i64,
    ) -> Result<Person, RestoreError> {
        let bases = self.store.bases(stored.user, upto).await?;
        let rebuilt = self.rebuild_from(&bases, stored, key, upto).await;
        let is_short = match &rebuilt {
            Ok(person) => person.record_number < upto.min(stored.record_number),
            Err(error) => matches!(error, RestoreError::Unreadable { .. }),
        };
        if !is_short {
            return rebuilt;
        }
        // Records that led on from a base may have gone since it was read: then a newer one holds them.
        let newer = self.store.bases(stored.user, upto).await?;
        if newer == bases {
            return rebuilt;
        }
        self.rebuild_from(&newer, stored, key, upto).await
    }

    async fn rebuild_from(
        &self,
        bases: &[StoredBase],
        stored: &StoredUser,
        key: &DataKey,
        upto: i64,
    ) -> Result<Person, RestoreError> {
        let mut person = Person::starting(stored.start);
        let mut unopened = None;
        if let Some(base) = further_back(bases, stored, upto)
            && let Ok(mut person) = self.based(stored.user, key, base).await?
        {
            match self.follow(&mut person, stored, key, upto).await {
                Ok(()) => return Ok(at_newest(person, stored)),
                // Records that lead on from it have gone: a newer base holds them.
                Err(RestoreError::Unreadable { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let is_theirs = |base: &&StoredBase| base.record_number > stored.start.record_number;
        for base in bases.iter().filter(is_theirs) {
            match self.based(stored.user, key, base).await? {
                Ok(based) => {
                    person = based;
                    break;
                }
                Err(problem) => {
                    let user = self.keys.tag_of(&stored.user_id);
                    tracing::warn!(%user, %problem, "a base is passed over");
                    unopened.get_or_insert(problem);
                }
            }
        }
        let followed = self.follow(&mut person, stored, key, upto).await;
        followed.map_err(|error| match (error, unopened) {
            (RestoreError::Unreadable { user_id, problem }, Some(unopened)) => {
                let problem = format!("{problem}, and the newest base does not open: {unopened}");
                RestoreError::Unreadable { user_id, problem }
            }
            (error, _) => error,
        })?;
        Ok(at_newest(person, stored))
    }
}
