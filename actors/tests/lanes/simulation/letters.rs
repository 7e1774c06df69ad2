//! What must be in dead letters, and what may leave their list: released, tried once more or given up. It shares
//! with the lanes what the reference does.

use std::collections::BTreeMap;

use actors::dead_letter::{self, Letter};
use actors::home::home;
use actors::intake::QUARANTINED;
use actors::lane::Source;
use actors::rows::{self, Quarantine};
use actors::seal::Seal as _;
use neuros::wire::Intake;

use super::fates::{Checked, Fate, ensure, letter_time};
use super::people::Held;
use super::produce::POISON;
use super::reference::Reference;
use crate::world::store::tables::{LetterRow, Written};
use crate::world::{PlainSeal, all_keys_of};

/// A dead letter that leaves the list with a batch.
pub(super) struct Freed {
    pub row: rows::ReleasedRow,
    pub place: (Source, i64),
    pub fate: Fate,
    /// It did not wait for a release.
    pub is_redriven: bool,
    pub is_stored: bool,
}

impl Reference {
    /// Letters leave the list once: those in quarantine in the order in which they came to it, others when
    /// this process accepts what it had refused; gives those that are applied.
    pub(super) fn check_released(
        &mut self,
        written: &Written,
        wire: &Intake,
    ) -> Result<Vec<Freed>, String> {
        let mut freed = Vec::new();
        for row in &written.released {
            let letter = row.letter;
            let found = if row.fate == rows::Fate::Discarded {
                ensure(self.given_up.contains(&letter), || {
                    format!("I1: nobody has given {letter} up")
                })?;
                let was_held = self.people.books.values_mut().any(|book| book.drop_held(letter));
                self.count("letters discarded", 1);
                (was_held || self.refused.remove(&letter).is_some()).then_some(None)
            } else if let Some(held) = self.people.next_held(written.lane, letter) {
                self.count("letters released", 1);
                Some(Some((held.place, held.fate, false)))
            } else if let Some((place, reason)) = self.refused.remove(&letter) {
                let fate = self.judge.again(letter.lane, place, reason, wire);
                fate.map(|fate| Some((place, fate, true)))
            } else {
                None
            };
            let found = found.ok_or_else(|| format!("I1: letter {letter} is not to leave"))?;
            freed.extend(found.map(|(place, fate, is_redriven)| {
                let is_stored = false;
                Freed { row: *row, place, fate, is_redriven, is_stored }
            }));
        }
        self.count("commands carried out", written.commands.len() as u64);
        Ok(freed)
    }

    /// What has left the list is stored, at its user's home, or was there before.
    pub(super) fn check_freed(&mut self, written: &Written, freed: &[Freed]) -> Checked {
        for Freed { row, place, fate, is_redriven, is_stored } in freed {
            ensure(*is_stored == (row.fate == rows::Fate::Applied), || {
                format!("I1: {place:?} left the list as {:?}", row.fate)
            })?;
            let Fate::Apply { record, content, .. } = fate else { continue };
            let lanes = self.judge.routing.partition_count;
            ensure(home(&record.user_id, lanes) == written.lane, || {
                format!("I1: letter {} was applied off its user's home", row.letter)
            })?;
            // A repeat may be one of a record that was released with it.
            self.check_duplicate(record, content)
                .map_err(|problem| format!("I1: {place:?}: {problem}"))?;
            if *is_redriven {
                let what = if *is_stored { "letters redriven" } else { "letters redriven in vain" };
                self.count(what, 1);
            }
        }
        Ok(())
    }

    /// Every record that cannot be applied is a dead letter, and no other, but for those in quarantine.
    pub(super) fn check_letters(
        &mut self,
        written: &Written,
        fates: &BTreeMap<(Source, i64), Fate>,
    ) -> Checked {
        let mut due: BTreeMap<(Source, i64), &'static str> = fates
            .iter()
            .filter_map(|(place, fate)| match fate {
                Fate::Letter(reason) => Some((*place, *reason)),
                _ => None,
            })
            .collect();
        for (number, letter) in &written.letters {
            let place = (letter.said.source, letter.said.offset);
            let name = Letter { lane: written.lane, number: *number };
            self.check_letter_body(name, letter)
                .map_err(|problem| format!("{place:?}: {problem}"))?;
            let reason = letter.said.reason.as_str();
            self.count(format!("dead letter {reason}"), 1);
            if reason != QUARANTINED {
                let expected = due.remove(&place);
                ensure(expected == Some(reason), || {
                    format!("a dead letter {place:?} {reason}, due is {expected:?}")
                })?;
                self.refused.extend(expected.map(|reason| (name, (place, reason))));
                continue;
            }
            let Some(fate @ Fate::Apply { record, .. }) = fates.get(&place) else {
                return Err(format!("{place:?} was not to be applied, and is kept for a release"));
            };
            let user = letter.user.ok_or("a quarantined record of nobody")?;
            let book = self.people.books.get_mut(&user).ok_or("a quarantined record of nobody")?;
            ensure(record.user_id == book.user_id.as_str(), || "kept for another user".to_owned())?;
            let flagged = written
                .users
                .iter()
                .any(|row| row.user == user && row.quarantine == Quarantine::Begins);
            ensure(!flagged || book.quarantined || record.event_type == POISON, || {
                format!("{place:?}: a quarantine without a reason")
            })?;
            book.quarantined |= flagged;
            ensure(book.quarantined, || {
                format!("{place:?}: the flag is not written with the first quarantined record")
            })?;
            ensure(letter.said.record_time == Some(record.record_time), || {
                format!("{place:?} is kept with another time")
            })?;
            book.held.push_back(Held { letter: name, place, fate: fate.clone() });
        }
        ensure(due.is_empty(), || format!("dead letters are missing: {due:?}"))
    }

    /// What is kept of a dead letter is the record as the log has it, and when it entered it.
    fn check_letter_body(&self, name: Letter, letter: &LetterRow) -> Checked {
        let (source, offset) = (letter.said.source, letter.said.offset);
        let entries = self.judge.log.entries(name.lane, source, offset, offset + 1);
        let entry = entries.first().ok_or("a dead letter of nothing")?;
        let time = letter_time(entry, source, &letter.said.reason);
        ensure(letter.said.reason == QUARANTINED || letter.said.record_time == time, || {
            format!("the time of a dead letter is {time:?}")
        })?;
        let opened = PlainSeal.open(
            &all_keys_of(actors::lane::UserNumber(0)),
            dead_letter::place(name),
            &letter.body,
        );
        let kept = dead_letter::of_bytes(&opened.map_err(|error| error.to_string())?);
        let kept = kept.ok_or("a dead letter that cannot be read")?.into_inner();
        ensure(kept.key == entry.raw.key && kept.value == entry.raw.value, || {
            "a dead letter that is not what the log holds".to_owned()
        })
    }
}
