//! A person as their lane holds them: the state and the numbers that go with it. One way to apply a
//! record, for the live path, for restoring and for rebuilding alike; that is why they agree.

use neuros::event::Record;
use neuros::{Explain, Kind, Outcome, Policy, State, checkpoint, step};

use crate::defect::Defect;
use crate::message;
use crate::rows::RecordPlace;
use crate::store::Start;

/// State and numbers after some records; by default after none.
#[derive(Clone, Default)]
pub struct Person {
    /// `None` before the first record.
    pub state: Option<Box<State>>,
    /// The number of the newest record.
    pub record_number: i64,
    /// Where it lies in the store; set by whoever knows.
    pub newest: Option<RecordPlace>,
    /// The number of the newest outgoing message.
    pub message_number: i64,
    /// The number of the newest mode change before the first record.
    pub seq_before: u64,
}

/// How a record is applied to a person: [`Person::apply`], unless somebody wants to see what happens when
/// that fails.
pub type Evaluate = fn(&mut Person, &Policy, &Record<'_>, &mut Vec<Outcome>) -> Applied;

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The person's newest records have it already.
    Duplicate,
    /// It is the person's record of this number.
    Numbered(i64),
}

impl Person {
    /// A person whose checkpoint is `bytes`.
    ///
    /// # Errors
    ///
    /// When this release cannot read it.
    pub fn of_checkpoint(
        bytes: &[u8],
        record_number: i64,
        message_number: i64,
    ) -> Result<Self, checkpoint::Error> {
        let state = Some(Box::new(State::from_checkpoint(bytes)?));
        Ok(Self { state, record_number, newest: None, message_number, seq_before: 0 })
    }

    /// A person of whom there is no record yet.
    pub fn starting(start: Start) -> Self {
        let Start { record_number, message_number, seq } = start;
        let seq_before = u64::try_from(seq).unwrap_or(0);
        Self { record_number, message_number, seq_before, ..Self::default() }
    }

    /// The number of the newest mode change.
    pub fn seq(&self) -> u64 {
        self.state.as_ref().map_or(self.seq_before, |state| state.seq())
    }

    /// Applies a record; `outcomes` holds what came of its events, and nothing else.
    pub fn apply(
        &mut self,
        policy: &Policy,
        record: &Record<'_>,
        outcomes: &mut Vec<Outcome>,
    ) -> Applied {
        outcomes.clear();
        let seq = self.seq_before;
        let born = || Box::new(State::born_after(record, seq));
        let state = self.state.get_or_insert_with(born);
        step(policy, state, record, Explain::Switches, outcomes);
        let repeated = outcomes.iter().all(|outcome| outcome.kind == Kind::Duplicate);
        if repeated && !Defect::DedupeRemoved.is_on() {
            return Applied::Duplicate;
        }
        self.record_number += 1;
        Applied::Numbered(self.record_number)
    }

    /// Applies a record that was applied before, without its effects.
    pub fn replay(&mut self, policy: &Policy, record: &Record<'_>, outcomes: &mut Vec<Outcome>) {
        self.apply(policy, record, outcomes);
        for outcome in outcomes.iter().filter(|outcome| outcome.kind == Kind::Switched) {
            self.message_number += message::count(outcome.previous_mode, outcome.mode);
        }
    }
}

impl std::fmt::Debug for Person {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Person").finish_non_exhaustive()
    }
}
