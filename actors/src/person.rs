//! A person as their lane holds them: the state, the alerts and the numbers that go with them. One way to apply a
//! record or an order, for the live path, for restoring and for rebuilding alike; that is why they agree.

use neuros::alert::{Book, Change, Held, Meeting, Refusal, Stored};
use neuros::event::Record;
use neuros::time::Timestamp;
use neuros::{Explain, Kind, Outcome, Policy, State, checkpoint, step};

use crate::defect::Defect;
use crate::phi::Phi;
use crate::rows::RecordPlace;
use crate::store::Start;

/// State and numbers after some records; by default after none.
#[derive(Clone, Default)]
pub struct Person {
    /// `None` before the first record.
    pub state: Option<Box<State>>,
    /// The alerts.
    pub alerts: Book,
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

/// What is to be said of a person after a record or an order.
#[derive(Default)]
pub struct Reaction {
    /// The numbers of the messages of mode changes, in the order of the outcomes that switched.
    pub switches: Vec<i64>,
    /// Changes of alerts.
    pub changes: Vec<Change>,
    /// What was held back, by the place of its reason in [`Held::ALL`].
    pub held: [u32; Held::ALL.len()],
    /// When somebody must look at the person's alerts again.
    pub look: Look,
}

/// When somebody must look at a person's alerts again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Look {
    /// As was said before.
    #[default]
    Unchanged,
    /// Then.
    At(Timestamp),
    /// Not by time alone.
    Never,
}

/// What alerts take of a checkpoint, as a rule at most: so it need not grow, and leaves no copies behind.
const ALERTS_BYTES: usize = 256;

/// The first byte of a checkpoint with alerts; a checkpoint of a state alone begins with its version, a smaller one.
const WITH_ALERTS: u8 = 0x81;

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
        const DAMAGED: checkpoint::Error = checkpoint::Error::Damaged("its alerts do not open");
        let (state, alerts) = match bytes {
            [WITH_ALERTS, rest @ ..] => {
                let (length, rest) = rest.split_first_chunk().ok_or(DAMAGED)?;
                let length = usize::from(u16::from_le_bytes(*length));
                let (alerts, state) = rest.split_at_checked(length).ok_or(DAMAGED)?;
                let (alerts, rest) = postcard::take_from_bytes(alerts).map_err(|_| DAMAGED)?;
                if !rest.is_empty() {
                    return Err(DAMAGED);
                }
                (state, alerts)
            }
            [first, ..] if *first > WITH_ALERTS => {
                return Err(checkpoint::Error::UnknownVersion(*first));
            }
            _ => (bytes, Book::default()),
        };
        let state = Some(Box::new(State::from_checkpoint(state)?));
        Ok(Self { state, alerts, record_number, newest: None, message_number, seq_before: 0 })
    }

    /// State and alerts as bytes; `None` before the first record.
    pub fn to_checkpoint(&self) -> Option<Phi<Vec<u8>>> {
        let state = self.state.as_ref()?.to_checkpoint();
        let mut bytes = Vec::with_capacity(state.len() + ALERTS_BYTES);
        bytes.extend_from_slice(&[WITH_ALERTS, 0, 0]);
        // Writing into a vector cannot fail, and no part of a book refuses to be written.
        bytes = postcard::to_extend(&self.alerts, bytes).unwrap_or_default();
        // A policy has at most 32 rules, each with one open episode at most.
        let length = u16::try_from(bytes.len() - 3).unwrap_or(u16::MAX).to_le_bytes();
        bytes.splice(1..3, length);
        bytes.extend_from_slice(&state);
        Some(Phi::new(bytes))
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
        self.apply_explaining(policy, record, Explain::Switches, outcomes)
    }

    fn apply_explaining(
        &mut self,
        policy: &Policy,
        record: &Record<'_>,
        explain: Explain,
        outcomes: &mut Vec<Outcome>,
    ) -> Applied {
        outcomes.clear();
        let seq = self.seq_before;
        let born = || Box::new(State::born_after(record, seq));
        let state = self.state.get_or_insert_with(born);
        step(policy, state, record, explain, outcomes);
        let repeated = outcomes.iter().all(|outcome| outcome.kind == Kind::Duplicate);
        if repeated && !Defect::DedupeRemoved.is_on() {
            return Applied::Duplicate;
        }
        self.record_number += 1;
        Applied::Numbered(self.record_number)
    }

    /// Numbers what is to be said after a record was applied, mode changes and what they do to alerts.
    pub fn react(
        &mut self,
        policy: &Policy,
        record: &Record<'_>,
        outcomes: &[Outcome],
        reaction: &mut Reaction,
    ) {
        let Some(state) = self.state.as_deref() else { return };
        let mut meeting = Meeting {
            policy,
            state,
            arrived: record.record_time,
            now: record.record_time,
            message_number: &mut self.message_number,
            changes: &mut reaction.changes,
            held: &mut reaction.held,
        };
        self.alerts.begin(&mut meeting);
        let mut evaluated = false;
        for outcome in outcomes {
            if outcome.kind == Kind::Switched {
                *meeting.message_number += 1;
                reaction.switches.push(*meeting.message_number);
            }
            evaluated |= !matches!(outcome.kind, Kind::Duplicate | Kind::NotEvaluated);
            self.alerts.meet(outcome, &mut meeting);
        }
        if let Some(at) = self.alerts.finish(evaluated, &mut meeting) {
            reaction.look = Look::At(at);
        }
    }

    /// Carries out an order, as the person's next record.
    ///
    /// # Errors
    ///
    /// When it comes to nothing; then it is no record, and nothing has changed.
    pub fn obey(
        &mut self,
        policy: &Policy,
        stored: &Stored,
        reaction: &mut Reaction,
    ) -> Result<(), Refusal> {
        let state = self.state.as_deref().ok_or(Refusal::NotOpen)?;
        let mut meeting = Meeting {
            policy,
            state,
            arrived: stored.at(),
            now: stored.at(),
            message_number: &mut self.message_number,
            changes: &mut reaction.changes,
            held: &mut reaction.held,
        };
        let is_tick = *stored.order() == neuros::alert::Order::Tick;
        match self.alerts.obey(stored.order(), &mut meeting)? {
            Some(at) => reaction.look = Look::At(at),
            None if is_tick => reaction.look = Look::Never,
            None => {}
        }
        self.record_number += 1;
        Ok(())
    }

    /// Applies a record that was applied before, without its effects.
    pub fn replay(&mut self, policy: &Policy, record: &Record<'_>, outcomes: &mut Vec<Outcome>) {
        if let Applied::Numbered(_) = self.apply(policy, record, outcomes) {
            self.react(policy, record, outcomes, &mut Reaction::default());
        }
    }

    /// The same for somebody who looks: each outcome says why.
    pub fn replay_explained(
        &mut self,
        policy: &Policy,
        record: &Record<'_>,
        outcomes: &mut Vec<Outcome>,
    ) {
        let applied = self.apply_explaining(policy, record, Explain::Everything, outcomes);
        let Applied::Numbered(_) = applied else { return };
        // An alert takes what it needs from an explanation where there is one: it must not see more of them than
        // it did at the time.
        let more: Vec<_> = outcomes
            .iter_mut()
            .map(|outcome| {
                let is_more = outcome.kind != Kind::Switched;
                outcome.explanation.take_if(|_| is_more)
            })
            .collect();
        self.react(policy, record, outcomes, &mut Reaction::default());
        for (outcome, explanation) in outcomes.iter_mut().zip(more) {
            outcome.explanation = outcome.explanation.take().or(explanation);
        }
    }
}

impl std::fmt::Debug for Person {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Person").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use neuros::wire::{Intake, Message, decode};

    use super::*;

    #[test]
    fn a_record_that_is_explained_leaves_the_person_as_one_that_is_not() {
        let policy = Policy::default();
        let (mut plain, mut explained) = (Person::default(), Person::default());
        let mut explanations = 0;
        for number in 0..120 {
            let stress = if number / 30 % 2 == 0 { 0.95 } else { 0.1 };
            let seconds = 1_740_988_800 + number * 120;
            let value = format!(
                "{{\"user_id\":\"u\",\"timestamp\":{seconds},\"metrics\":{{\"stress_level\":{stress},\
                 \"recovery_score\":{}}}}}",
                10 + number % 60
            );
            // Some come late: their time is not that of their evaluation.
            let late = number % 5 * 100;
            let record_time = Some(Timestamp::from_millis((seconds + late) * 1_000));
            let message = Message { value: value.as_bytes(), record_time, ..Message::default() };
            let record = decode(&message, &Intake::default()).map_err(|no| no.reason);
            let record = record.expect("it decodes");
            let mut outcomes = Vec::new();
            plain.replay(&policy, &record, &mut outcomes);
            explained.replay_explained(&policy, &record, &mut outcomes);
            explanations += outcomes.iter().filter(|its| its.explanation.is_some()).count();
            assert!(plain.to_checkpoint() == explained.to_checkpoint(), "record {number}");
            assert_eq!(plain.message_number, explained.message_number);
        }
        assert!(plain.message_number > 4 && explanations == 120);
    }
}
