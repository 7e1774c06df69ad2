//! What a command comes to: which dead letters are applied after all, in order and with their original
//! record times, and whose quarantine ends. Nothing leaves the list but in the batch that applies it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use neuros::Mode;
use neuros::time::Timestamp;
use tokio::sync::oneshot;

use crate::batch::End;
use crate::capacity::RELEASED_PAGE;
use crate::command::{Command, Letters, Order, REBUILT_ANOTHER, REBUILT_THE_SAME, RELEASED};
use crate::dead_letter::{self, Letter};
use crate::defect::Defect;
use crate::erase::WAS_ERASED;
use crate::home::home;
use crate::intake::{self, Application, QUARANTINED};
use crate::lane::{Provenance, UserNumber};
use crate::places::checkpoint_place;
use crate::residents::{Residents, end, keys_end, store_end};
use crate::restore::RestoreError;
use crate::router::LOST;
use crate::rows::{CommandRow, ErasureRow, Fate, LookRow, Quarantine, ReleasedRow, UserRow};
use crate::store::{Asked, AskedLetters, StoredLetter};
use crate::suspects::Suspects;
use crate::taken::{Entry, Taken};
use crate::trace::Trace;
use crate::user::Steps;

/// A command on its way through the lane, with nothing else in flight.
pub(crate) struct Commanded {
    pub(crate) command: Command,
    /// What must not be evaluated.
    pub(crate) suspects: Suspects,
    /// Told what became of it once it is decided.
    pub(crate) done: oneshot::Sender<Done>,
}

/// What became of a command.
pub(crate) enum Done {
    /// It is carried out; this user's quarantine has ended with it.
    Whole(Option<String>),
    /// A part of it; this is the rest.
    Part(Command),
    /// This user is erased; destroying their keys is the rest.
    Erased(String, Command),
    /// This user may begin anew.
    Readmitted(String),
}

/// What is to be written for a command beside the records.
#[derive(Default)]
pub(crate) struct Obeyed {
    /// Dead letters that leave the list; of those that are applied, by position among the batch's records.
    pub(crate) released: Vec<(Option<i32>, ReleasedRow)>,
    /// The command, when it is carried out.
    pub(crate) command: Option<CommandRow>,
    /// Whose quarantine ends.
    pub(crate) freed: Option<(Arc<str>, UserNumber)>,
    /// Whose state was made anew.
    pub(crate) rebuilt: Option<Rebuilt>,
    /// Whose alerts are looked at later.
    pub(crate) looks: Vec<LookRow>,
    /// Who gets a row with it, of whom nothing was ever applied.
    pub(crate) met: Option<(Arc<str>, UserNumber)>,
    /// Who is erased or readmitted, with the mode that they leave.
    pub(crate) erasure: Option<(ErasureRow, Option<Mode>)>,
    /// Whose keys are destroyed.
    pub(crate) forgotten: Option<String>,
}

/// A state that was made anew.
pub(crate) struct Rebuilt {
    pub(crate) row: UserRow,
    /// The mode of the state that was there.
    pub(crate) mode_before: Option<Mode>,
    pub(crate) mode: Option<Mode>,
    /// The number of the key that has sealed it.
    pub(crate) key_number: u32,
}

/// A command thought through: what to apply, what to write, what to tell.
pub(crate) struct Plan {
    pub(crate) taken: Vec<Taken>,
    pub(crate) obeyed: Obeyed,
    pub(crate) done: Done,
}

pub(crate) const NO_STATE: &str = "the user has no state";
const NO_RECORDS: &str = "stored records that the state holds are missing: it stays as it is";
pub(crate) const IN_QUARANTINE: &str = "the user is in quarantine: release them first";
const NOT_QUARANTINED: &str = "the user is not in quarantine";
const NOT_RESTORED: &str = "the user's state still cannot be restored by this release";
const STILL_FAILS: &str =
    "a record still cannot be evaluated by this release: the quarantine goes on";
const NOT_READ: &str =
    "a record is no longer accepted under these settings: the quarantine goes on";

impl Residents {
    /// Thinks a command through. Nothing is written with that, but a user whose state is made anew is in
    /// memory with it.
    pub(crate) async fn plan(
        &mut self,
        command: Command,
        suspects: &Suspects,
        stamp: Timestamp,
    ) -> Result<Plan, End> {
        let Command { id, order } = command;
        // Letters may have been sealed by a key that is newer than the lane's claim. Time needs no key store.
        if !matches!(order, Order::Tick { .. }) {
            self.service_key = self.ports.keys.newest_service_key().await.map_err(keys_end)?;
        }
        match order {
            Order::Rekey { user_id } => self.plan_rekey(id, user_id.as_deref()).await,
            Order::Erase { user_id } => self.plan_erase(id, user_id).await,
            Order::Readmit { user_id } => self.plan_readmit(id, user_id).await,
            Order::Release { user_id } => self.plan_release(id, user_id, suspects).await,
            Order::Redrive(letters) => self.plan_letters(id, letters, Some(suspects)).await,
            Order::Discard(letters) => self.plan_letters(id, letters, None).await,
            Order::Rebuild { user_id } => self.plan_rebuild(id, &user_id, stamp).await,
            Order::Alert { user_id, order } => {
                self.plan_alert((id, stamp), user_id, order, suspects).await
            }
            Order::Tick { users, at } => self.plan_tick(users, at, suspects).await,
        }
    }

    async fn plan_rebuild(
        &mut self,
        id: i64,
        user_id: &str,
        stamp: Timestamp,
    ) -> Result<Plan, End> {
        let known = self.ports.store.users(Asked::Ids(&[user_id])).await.map_err(store_end)?;
        let Some(stored) = known.first() else { return Ok(Plan::nothing(id, NO_STATE)) };
        if stored.erased {
            return Ok(Plan::nothing(id, WAS_ERASED));
        }
        let keys = self.ports.keys.keys_of(&[stored.user]).await.map_err(keys_end)?;
        let Some(key) = keys.into_iter().next().flatten() else { return Err(LOST) };
        let rebuilt = self.restorer.rebuild(stored, &key, i64::MAX).await;
        let person = match rebuilt {
            Ok(person) if person.record_number < stored.record_number => {
                return Ok(Plan::nothing(id, NO_RECORDS));
            }
            Ok(person) => person,
            Err(RestoreError::Unreadable { problem, .. }) => {
                return Ok(Plan::nothing(id, &format!("cannot be rebuilt: {problem}")));
            }
            Err(error) => return Err(end(error)),
        };
        // Nothing is in flight: the checkpoint with what came after it is what is in memory.
        let there = match self.restorer.newest(stored, &key).await {
            Ok(there) => Some(there),
            Err(RestoreError::Unreadable { .. }) => None,
            Err(error) => return Err(end(error)),
        };
        let Some(bytes) = person.to_checkpoint() else { return Ok(Plan::nothing(id, NO_STATE)) };
        let is_same = there.as_ref().is_some_and(|there| {
            there.to_checkpoint().as_ref() == Some(&bytes)
                && there.message_number == person.message_number
        });
        let outcome = if is_same { REBUILT_THE_SAME } else { REBUILT_ANOTHER };
        let mut plan = Plan::nothing(id, outcome);
        let place = checkpoint_place(stored.user, person.record_number);
        plan.obeyed.rebuilt = Some(Rebuilt {
            row: UserRow {
                user: stored.user,
                user_id: user_id.to_owned(),
                is_new: false,
                record_number: person.record_number,
                newest: person.newest,
                message_number: person.message_number,
                checkpoint: Some(self.ports.seal.seal(&key, place, &bytes)),
                is_rebuilt: true,
                quarantine: Quarantine::Unchanged,
            },
            mode_before: there.and_then(|there| there.state).map(|state| state.mode()),
            mode: person.state.as_ref().map(|state| state.mode()),
            key_number: key.number(),
        });
        self.withheld.remove(user_id);
        self.settle(user_id.into(), stored.user, key, person, true, stamp, 0);
        Ok(plan)
    }

    async fn plan_release(
        &self,
        id: i64,
        user_id: String,
        suspects: &Suspects,
    ) -> Result<Plan, End> {
        let store = &self.ports.store;
        let known = store.users(Asked::Ids(&[&user_id])).await.map_err(store_end)?;
        let Some(user) = known.iter().find(|user| user.quarantined).map(|user| user.user) else {
            return Ok(Plan::nothing(id, NOT_QUARANTINED));
        };
        if suspects.users.contains(&user_id) {
            return Ok(Plan::nothing(id, NOT_RESTORED));
        }
        let asked = AskedLetters::OfUser(user, RELEASED_PAGE);
        let letters = store.letters(asked).await.map_err(store_end)?;
        let is_last = letters.len() < RELEASED_PAGE;
        let mut plan = Plan::nothing(id, RELEASED);
        for letter in letters {
            let problem = match self.read_again(&letter) {
                _ if self.has_failed(&letter, suspects) => STILL_FAILS,
                Some(application) if application.record.user_id == user_id => {
                    plan.take(&letter, application);
                    continue;
                }
                _ => NOT_READ,
            };
            plan.finish(id, problem.to_owned());
            return Ok(plan);
        }
        if is_last {
            plan.obeyed.freed = Some((user_id.as_str().into(), user));
            plan.done = Done::Whole(Some(user_id));
        } else {
            plan.obeyed.command = None;
            plan.done = Done::Part(Command { id, order: Order::Release { user_id } });
        }
        Ok(plan)
    }

    /// A page of letters: tried once more where there are `suspects` to spare, else given up.
    async fn plan_letters(
        &self,
        id: i64,
        mut letters: Letters,
        suspects: Option<&Suspects>,
    ) -> Result<Plan, End> {
        let count = RELEASED_PAGE.min(letters.names.len());
        let names: Vec<Letter> = letters.names.drain(..count).collect();
        let asked = AskedLetters::Named(&names);
        let found = self.ports.store.letters(asked).await.map_err(store_end)?;
        let mut plan = Plan::nothing(id, "");
        for letter in &found {
            match suspects {
                None => plan.release(letter, None, Fate::Discarded),
                Some(suspects) => match self.tried(letter, suspects) {
                    Some(application) if self.lives_here(&application) => {
                        plan.take(letter, application);
                    }
                    tried => letters.elsewhere += usize::from(tried.is_some()),
                },
            }
        }
        letters.done += plan.obeyed.released.len();
        letters.left += found.len() - plan.obeyed.released.len();
        letters.gone += names.len() - found.len();
        if letters.names.is_empty() {
            let outcome = outcome_of(&letters, suspects.is_some());
            plan.finish(id, outcome);
        } else {
            let order = match suspects {
                Some(_) => Order::Redrive(letters),
                None => Order::Discard(letters),
            };
            plan.obeyed.command = None;
            plan.done = Done::Part(Command { id, order });
        }
        Ok(plan)
    }

    /// What a dead letter says now, when it may be applied out of its turn. One of a user in
    /// quarantine waits for the user's release, which keeps the order.
    fn tried(&self, letter: &StoredLetter, suspects: &Suspects) -> Option<Application> {
        if letter.reason == QUARANTINED || self.has_failed(letter, suspects) {
            return None;
        }
        let application = self.read_again(letter)?;
        let user_id = application.record.user_id.as_ref();
        (!suspects.holds(user_id)).then_some(application)
    }

    /// Whether its evaluation has failed in this process.
    fn has_failed(&self, stored: &StoredLetter, suspects: &Suspects) -> bool {
        let StoredLetter { letter, source, offset, .. } = stored;
        let when_read = letter.lane == self.lane && suspects.records.contains(&(*source, *offset));
        when_read || suspects.letters.contains(letter)
    }

    fn lives_here(&self, application: &Application) -> bool {
        home(&application.record.user_id, self.rules.routing.partition_count) == self.lane
    }

    fn read_again(&self, letter: &StoredLetter) -> Option<Application> {
        let place = dead_letter::place(letter.letter);
        let bytes = self.ports.seal.open(&self.service_key, place, &letter.body).ok()?;
        let raw = dead_letter::of_bytes(&bytes)?;
        let now = Defect::RedrivenAsOfToday.is_on().then(|| self.ports.clock.now());
        intake::read_again(&raw, now.or(letter.record_time), &self.rules.wire)
    }
}

/// What came of letters, for people.
fn outcome_of(letters: &Letters, is_redrive: bool) -> String {
    let Letters { done, left, gone, elsewhere, .. } = letters;
    let mut outcome = match is_redrive {
        true => format!("{done} applied, {left} stay"),
        false => format!("{done} discarded"),
    };
    if *elsewhere > 0 {
        let more = format!(
            ", {elsewhere} of them because their user's home is another lane: ask once more"
        );
        outcome.push_str(&more);
    }
    if *gone > 0 {
        outcome.push_str(&format!("; {gone} were not there"));
    }
    outcome
}

impl Plan {
    /// A command that comes to nothing, so far.
    pub(crate) fn nothing(id: i64, outcome: &str) -> Self {
        let command = CommandRow { id, record_number: None, outcome: outcome.to_owned() };
        let obeyed = Obeyed { command: Some(command), ..Obeyed::default() };
        Self { taken: Vec::new(), obeyed, done: Done::Whole(None) }
    }

    fn finish(&mut self, id: i64, outcome: String) {
        self.obeyed.command = Some(CommandRow { id, record_number: None, outcome });
        self.done = Done::Whole(None);
    }

    /// Applies a letter after those before it.
    fn take(&mut self, letter: &StoredLetter, application: Application) {
        let Application { record, traceparent } = application;
        // A page is small.
        let position = i32::try_from(self.taken.len()).unwrap_or(i32::MAX);
        let (source, offset) = (letter.source, letter.offset);
        let name = Some(letter.letter);
        let (provenance, entry) = (Provenance::Log(source, offset), Entry::Record(record));
        let trace = Trace { traceparent, followed: None };
        self.taken.push(Taken { position, provenance, letter: name, trace, entry });
        self.release(letter, Some(position), Fate::Applied);
    }

    fn release(&mut self, letter: &StoredLetter, position: Option<i32>, fate: Fate) {
        let row = ReleasedRow { letter: letter.letter, fate };
        self.obeyed.released.push((position, row));
    }
}

impl Obeyed {
    /// What a person has made of the order that the command is.
    pub(crate) fn refused(&mut self, steps: &Steps) {
        let Some(command) = &mut self.command else { return };
        match steps.refusal {
            Some(refusal) => command.outcome = refusal.to_string(),
            None => command.record_number = Some(steps.record_number),
        }
    }

    /// The rows, now that it is known which letters were new to their users.
    pub(crate) fn rows(self, new: &BTreeSet<i32>) -> (Vec<ReleasedRow>, Vec<CommandRow>) {
        let rows = self.released.into_iter().map(|(position, row)| match position {
            Some(position) if !new.contains(&position) => {
                ReleasedRow { fate: Fate::Duplicate, ..row }
            }
            _ => row,
        });
        let rows: BTreeMap<Letter, ReleasedRow> = rows.map(|row| (row.letter, row)).collect();
        (rows.into_values().collect(), self.command.into_iter().collect())
    }
}
