//! What a lane must not evaluate: what has failed here before, and whose state cannot be had. It forgets nothing
//! while the lane is owned.

use std::collections::BTreeSet;

use crate::dead_letter::Letter;
use crate::lane::{Provenance, Source};
use crate::taken::Panicked;

/// What ingest must not evaluate.
#[derive(Clone, Default)]
pub(crate) struct Suspects {
    /// Records whose evaluation panicked.
    pub records: BTreeSet<(Source, i64)>,
    /// The same of dead letters that were tried once more.
    pub letters: BTreeSet<Letter>,
    /// Users whose state cannot be restored.
    pub users: BTreeSet<String>,
    /// Users in quarantine.
    pub quarantined: BTreeSet<String>,
}

impl Suspects {
    /// Something whose evaluation panicked.
    pub(crate) fn add(&mut self, panicked: Panicked) {
        match (panicked.letter, panicked.provenance) {
            (Some(letter), _) => _ = self.letters.insert(letter),
            (None, Provenance::Log(source, offset)) => _ = self.records.insert((source, offset)),
            (None, Provenance::Order(_)) => {}
        }
    }

    /// Whether nothing of a user must be evaluated.
    pub(crate) fn is_one(&self, user_id: &str) -> bool {
        self.quarantined.contains(user_id) || self.users.contains(user_id)
    }

    /// Whether a user's record must not be evaluated; a user who is first met so is added to
    /// `quarantine`.
    pub(crate) fn hold_back(
        &mut self,
        source: Source,
        offset: i64,
        user_id: &str,
        quarantine: &mut Vec<String>,
    ) -> bool {
        if self.quarantined.contains(user_id) {
            return true;
        }
        let suspect = self.records.contains(&(source, offset)) || self.users.contains(user_id);
        if suspect {
            self.quarantined.insert(user_id.to_owned());
            quarantine.push(user_id.to_owned());
        }
        suspect
    }
}
