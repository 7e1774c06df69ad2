//! Replays recorded logs through the wire formats and the engine, in the order of their lines.

mod alerts;
mod log;
mod output;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use neuros::wire::{self, Intake, Rejection};
use neuros::{Explain, Outcome, Policy, State, StateSummary, step};

pub use alerts::{AlertLine, AlertReplay, AlertSummary};
pub use log::{LINE_BYTES_MAX, Line, Lines, Malformed, Numbered};
pub use output::OutcomeLine;

/// Everybody's states, as a log builds them up.
pub struct Replay<'p> {
    policy: &'p Policy,
    intake: Intake,
    explain: Explain,
    /// Only this user's records are applied.
    only_user: Option<String>,
    /// Never iterated unsorted.
    states: HashMap<String, Box<State>, RandomState>,
    outcomes: Vec<Outcome>,
}

/// What one line of a log came to.
pub enum Applied<'r> {
    /// A record, with an outcome for each of its events.
    Record {
        /// Whose.
        user_id: &'r str,
        /// In time order.
        outcomes: &'r [Outcome],
    },
    /// No record, and the state of its user, if there is one.
    Rejected {
        /// Why.
        rejection: &'r Rejection<'r>,
        /// The user's state, untouched.
        state: Option<&'r State>,
    },
    /// Another user's record than the one asked for.
    Ignored,
}

impl<'p> Replay<'p> {
    /// A replay without any state.
    pub fn new(
        policy: &'p Policy,
        intake: Intake,
        explain: Explain,
        only_user: Option<String>,
    ) -> Self {
        Self {
            policy,
            intake,
            explain,
            only_user,
            states: HashMap::default(),
            outcomes: Vec::new(),
        }
    }

    /// Applies one line; calls `report` with what came of it.
    pub fn apply<T>(&mut self, line: &Line<'_>, report: impl FnOnce(Applied<'_>) -> T) -> T {
        let value = line.value();
        let message = line.message(&value);
        let decoded = wire::decode(&message, &self.intake);
        let user_id = match &decoded {
            Ok(record) => Some(record.user_id.as_ref()),
            Err(rejection) => rejection.user_id.as_deref(),
        };
        if self.only_user.as_deref().is_some_and(|only| user_id != Some(only)) {
            return report(Applied::Ignored);
        }
        match &decoded {
            Ok(record) => {
                let entry = self.states.entry_ref(record.user_id.as_str());
                let state = entry.or_insert_with(|| Box::new(State::born(record)));
                self.outcomes.clear();
                step(self.policy, state, record, self.explain, &mut self.outcomes);
                report(Applied::Record { user_id: &record.user_id, outcomes: &self.outcomes })
            }
            Err(rejection) => {
                let state = user_id.and_then(|user_id| self.states.get(user_id)).map(Box::as_ref);
                report(Applied::Rejected { rejection, state })
            }
        }
    }

    /// All states, by the bytes of the user id.
    pub fn summaries(&self) -> Vec<StateSummary<'_>> {
        let mut summaries: Vec<_> =
            self.states.iter().map(|(user_id, state)| state.summary(user_id)).collect();
        summaries.sort_unstable_by_key(|summary| summary.user_id);
        summaries
    }
}
