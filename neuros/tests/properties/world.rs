//! Everybody's states, as records build them up.

use std::collections::BTreeMap;

use neuros::event::Record;
use neuros::{Explain, Outcome, Policy, State, step};

/// Everybody's states under one policy.
pub(crate) struct World<'p> {
    pub(crate) policy: &'p Policy,
    explain: Explain,
    pub(crate) states: BTreeMap<String, State>,
}

impl<'p> World<'p> {
    pub(crate) fn new(policy: &'p Policy, explain: Explain) -> Self {
        Self { policy, explain, states: BTreeMap::new() }
    }

    /// Applies one record; its outcomes are appended.
    pub(crate) fn step(&mut self, record: &Record<'_>, outcomes: &mut Vec<Outcome>) {
        let entry = self.states.entry(record.user_id.to_string());
        let state = entry.or_insert_with(|| State::born(record));
        step(self.policy, state, record, self.explain, outcomes);
    }

    /// Applies one record.
    pub(crate) fn outcomes_of(&mut self, record: &Record<'_>) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        self.step(record, &mut outcomes);
        outcomes
    }

    /// Applies records one by one.
    pub(crate) fn play(&mut self, records: &[Record<'_>]) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for record in records {
            self.step(record, &mut outcomes);
        }
        outcomes
    }

    /// Everybody's checkpoints.
    pub(crate) fn checkpoints(&self) -> BTreeMap<&str, Vec<u8>> {
        self.states.iter().map(|(user, state)| (user.as_str(), state.to_checkpoint())).collect()
    }
}

/// The outcome without its explanation.
pub(crate) fn unexplained(outcome: &Outcome) -> Outcome {
    Outcome { explanation: None, ..outcome.clone() }
}
