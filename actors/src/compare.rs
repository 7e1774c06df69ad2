//! What there is of a user beside what their stored records make of them, which must be the same. Nothing
//! is put right here, and what does not open is never taken for what it should be.

use crate::person::Person;
use crate::restore::{RestoreError, Restorer};
use crate::seal::DataKey;
use crate::store::StoredUser;

/// What there is, and the same made anew from stored records.
pub struct Comparison {
    /// What there is.
    pub there: There,
    /// What the records come to.
    pub rebuilt: Person,
}

/// What there is of a user.
pub enum There {
    /// A state.
    State(Person),
    /// A checkpoint that this release does not read, and why.
    Unreadable(String),
    /// No checkpoint: it was deleted, or none was written yet.
    Nothing,
}

/// What a comparison comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// They are the same, byte for byte.
    Agrees,
    /// They are not.
    Differs,
    /// What there is does not open.
    Unreadable,
    /// There is nothing to compare.
    Nothing,
}

impl Comparison {
    /// What it comes to.
    pub fn finding(&self) -> Finding {
        let rebuilt = &self.rebuilt;
        match &self.there {
            There::State(there)
                if there.record_number == rebuilt.record_number
                    && there.message_number == rebuilt.message_number
                    && there.to_checkpoint() == rebuilt.to_checkpoint() =>
            {
                Finding::Agrees
            }
            There::State(_) => Finding::Differs,
            There::Unreadable(_) => Finding::Unreadable,
            There::Nothing => Finding::Nothing,
        }
    }
}

impl Restorer {
    /// Compares a user's checkpoint with what the records that it holds make of them. Their base may have
    /// moved on since `stored` was read: then what is stored by now is compared.
    ///
    /// # Errors
    ///
    /// See [`RestoreError`].
    pub async fn compare(
        &self,
        stored: &StoredUser,
        key: &DataKey,
    ) -> Result<Comparison, RestoreError> {
        let compared = self.compare_as_read(stored, key).await;
        if !matches!(compared, Err(RestoreError::Unreadable { .. })) {
            return compared;
        }
        match self.again(stored.user).await? {
            Some(again) => self.compare_as_read(&again, key).await,
            None => compared,
        }
    }

    async fn compare_as_read(
        &self,
        stored: &StoredUser,
        key: &DataKey,
    ) -> Result<Comparison, RestoreError> {
        let there = match &stored.checkpoint {
            Some(sealed) => self
                .open_checkpoint(stored, key, sealed)
                .map_or_else(There::Unreadable, There::State),
            None => There::Nothing,
        };
        let rebuilt = self.rebuild(stored, key, stored.record_number).await?;
        Ok(Comparison { there, rebuilt })
    }

    /// Compares a user as they are in memory with what their records up to there make of them.
    ///
    /// # Errors
    ///
    /// See [`RestoreError`].
    pub async fn compare_live(
        &self,
        live: Person,
        stored: &StoredUser,
        key: &DataKey,
    ) -> Result<Comparison, RestoreError> {
        let rebuilt = self.rebuild(stored, key, live.record_number).await?;
        Ok(Comparison { there: There::State(live), rebuilt })
    }
}
