//! Whom and what a lane must not evaluate: users in quarantine, records whose evaluation has failed, and users
//! who were erased. It decides nothing about a state.

use std::collections::BTreeSet;

use foldhash::fast::RandomState;
use hashbrown::HashSet;

use crate::batch::End;
use crate::dead_letter::Letter;
use crate::intake::Verdict;
use crate::lane::{Counts, Provenance, Source};
use crate::ports::Ports;
use crate::residents::{keys_end, store_end};
use crate::store::Asked;
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
    /// Users who were erased: nothing of theirs is accepted. Looked into for every record, and never iterated.
    pub erased: HashSet<String, RandomState>,
}

/// What a dead letter of a user in quarantine says.
pub(crate) const QUARANTINE: &str =
    "an evaluation of this user has failed; the record waits for the user's release";

impl Suspects {
    /// Something whose evaluation panicked.
    pub(crate) fn add(&mut self, panicked: Panicked) {
        match (panicked.letter, panicked.provenance) {
            (Some(letter), _) => _ = self.letters.insert(letter),
            (None, Provenance::Log(source, offset)) => _ = self.records.insert((source, offset)),
            (None, Provenance::Order(_)) => {}
        }
    }

    /// Finds out, of users who are here, who is in quarantine, and who was erased: as their rows say or, in a
    /// database that was restored from an older backup, as the key store says alone.
    pub(crate) async fn look(
        &mut self,
        ports: &Ports,
        is_here: impl Fn(&str) -> bool,
    ) -> Result<(), End> {
        let store = &ports.store;
        let quarantined = store.quarantined().await.map_err(store_end)?;
        let erased = store.erased().await.map_err(store_end)?;
        let keyless = ports.keys.destroyed().await.map_err(keys_end)?;
        let keyless = store.users(Asked::Numbers(&keyless)).await.map_err(store_end)?;
        let erased = erased.into_iter().chain(keyless.into_iter().map(|stored| stored.user_id));
        self.erased = erased.filter(|user_id| is_here(user_id)).collect();
        let is_held = |user_id: &String| is_here(user_id) && !self.erased.contains(user_id);
        self.quarantined = quarantined.into_iter().filter(is_held).collect();
        Ok(())
    }

    /// Whether nothing of this user may be evaluated now.
    pub(crate) fn holds(&self, user_id: &str) -> bool {
        self.quarantined.contains(user_id)
            || self.users.contains(user_id)
            || self.erased.contains(user_id)
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

    /// Whether a record is of a user who was erased; then it counts as skipped, whatever it was judged to be.
    /// One that is sent on is not looked at: its home refuses it.
    pub(crate) fn refuses(&self, verdict: &Verdict, counts: &mut Counts) -> bool {
        if self.erased.is_empty() {
            return false;
        }
        let (user_id, is_letter) = match verdict {
            Verdict::Apply(application) => (&*application.record.user_id, false),
            Verdict::DeadLetter(letter) => (letter.user_id.as_deref().unwrap_or_default(), true),
            Verdict::Forward(_) | Verdict::Skip(_) => return false,
        };
        let refuses = self.erased.contains(user_id);
        if refuses {
            counts.dead_letter -= i64::from(is_letter);
            counts.skipped += 1;
        }
        refuses
    }

    /// A user is erased: whatever was wrong with them is over.
    pub(crate) fn erase(&mut self, user_id: String) {
        self.users.remove(&user_id);
        self.quarantined.remove(&user_id);
        self.erased.insert(user_id);
    }
}
