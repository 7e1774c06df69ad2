//! The user actor: one person's state, alone. It folds what it is handed, in order, and answers with
//! sealed rows; it never waits, reads or writes anything itself.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use neuros::alert::{Held, Refusal, Stored};
use neuros::event::Record;
use neuros::time::Timestamp;
use neuros::{ENGINE_VERSION, Kind, Mode, Outcome, Policy};
use smol_str::SmolStr;

use crate::defect::Defect;
use crate::lane::{Counts, Lane, PerSource, Provenance, UserNumber};
use crate::message::{self, Cause, ModeSwitch, to_json};
use crate::notice::Notice;
use crate::person::{Applied, Evaluate, Look, Person, Reaction};
use crate::phi::Phi;
use crate::places::{checkpoint_place, outbox_place, record_place, transition_place};
use crate::rows::{BaseRow, RecordPlace, RecordRow, TransitionRow};
use crate::seal::{DataKey, Seal, Sealed, Sealing};
use crate::taken::{Entry, Panicked, Taken};
use crate::trace::Trace;

/// What all users of a batch share.
pub struct BatchContext {
    /// The lane.
    pub lane: Lane,
    /// When the batch was made.
    pub stamp: Timestamp,
    /// The policy in force, and its number in the store.
    pub policy: Arc<Policy>,
    /// See `policy`.
    pub policy_number: i32,
    /// How a record is applied.
    pub evaluate: Evaluate,
    /// Seals what leaves.
    pub seal: Arc<dyn Seal>,
    /// Records after which a checkpoint is written.
    pub checkpoint_every: u32,
    /// Records after which a state is kept for good.
    pub base_every: u32,
    /// Give every state, for the cache.
    pub states: bool,
}

/// What the users of a batch add to it.
#[derive(Default)]
pub struct Added {
    /// Records, by their place among what the batch applies; none where one was applied before.
    pub records: Vec<Option<RecordRow>>,
    /// States that are kept for good.
    pub bases: Vec<BaseRow>,
    /// Mode changes.
    pub switches: Vec<Switch>,
    /// Changes of alerts.
    pub notices: Vec<Notice>,
    /// What came of the events of the record in work.
    outcomes: Vec<Outcome>,
}

/// What a user's records of one batch have changed, beside what they add.
#[derive(Default)]
pub struct Steps {
    /// Counts of new and duplicate records.
    pub counts: PerSource<Counts>,
    /// Records applied.
    pub records: u32,
    /// Something is said of the user's alerts.
    pub has_notices: bool,
    /// Events of these records that were evaluated.
    pub evaluations: u64,
    /// What was held back, by the place of its reason in [`Held::ALL`].
    pub held: [u32; Held::ALL.len()],
    /// When to look at the alerts again.
    pub look: Look,
    /// Why an order came to nothing.
    pub refusal: Option<Refusal>,
    /// The mode before, of a user who had one.
    pub mode_before: Option<Mode>,
    /// The mode afterwards; `None` when the user still has no state.
    pub mode: Option<Mode>,
    /// The newest record.
    pub record_number: i64,
    /// Where it lies.
    pub newest: Option<RecordPlace>,
    /// The newest message.
    pub message_number: i64,
    /// The state, when it is time to write it or the cache wants it.
    pub state: Option<Sealed>,
    /// The state is to be written as the user's checkpoint.
    pub writes_checkpoint: bool,
    /// The number of the key that has sealed them.
    pub key_number: u32,
}

/// A mode change, ready to be written and to leave.
pub struct Switch {
    /// Its row.
    pub row: TransitionRow,
    /// The message for the outbox.
    pub outgoing: Sealed,
    /// The same in the clear, to be published once the batch is committed.
    pub message: Phi<Vec<u8>>,
    /// Whose, as the outside knows them.
    pub user_id: String,
    /// The trace that it continues.
    pub trace: Option<Arc<str>>,
}

/// One person, in memory.
pub struct User {
    user: UserNumber,
    key: DataKey,
    person: Person,
    /// Records since the last checkpoint.
    unwritten: u32,
}

impl User {
    /// The actor of a person; `unwritten` records are not in their stored checkpoint yet.
    pub fn new(user: UserNumber, key: DataKey, person: Person, unwritten: u32) -> Self {
        Self { user, key, person, unwritten }
    }

    /// Seals with `key` from now on.
    pub(crate) fn take_key(&mut self, key: DataKey) {
        self.key = key;
    }

    /// Who this is now.
    pub(crate) fn person(&self) -> &Person {
        &self.person
    }

    /// Folds in what one batch has for this user, in order, and writes a checkpoint whatever the count says if
    /// `checkpoint`. What it adds to the batch goes behind `added`.
    pub(crate) fn apply(
        &mut self,
        records: impl Iterator<Item = Taken>,
        checkpoint: bool,
        context: &BatchContext,
        added: &mut Added,
    ) -> Result<Steps, Panicked> {
        let mode_before = self.person.state.as_ref().map(|state| state.mode());
        let mut steps = Steps { mode_before, ..Steps::default() };
        let (bases, notices) = (added.bases.len(), added.notices.len());
        let before = Defect::CheckpointOfTheWrongBatch.is_on().then(|| self.person.clone());
        let key = self.key.clone();
        let context = &Context { batch: context, seal: context.seal.with(&key) };
        let mut last = None;
        for taken in records {
            let blamed = Panicked::over(&taken);
            last = Some(blamed);
            let whole = AssertUnwindSafe(|| {
                let number = self.person.record_number;
                self.take(taken, context, added, &mut steps);
                self.keep(number, context, added);
            });
            // What the panic has left of this state is never looked at again: the lane starts anew.
            catch_unwind(whole).map_err(|_| blamed)?;
        }
        self.unwritten += steps.records;
        steps.has_notices = added.notices.len() > notices;
        steps.record_number = self.person.record_number;
        steps.newest = self.person.newest;
        steps.message_number = self.person.message_number;
        steps.key_number = self.key.number();
        steps.mode = self.person.state.as_ref().map(|state| state.mode());
        // No base is ahead of its user's row.
        let is_due = checkpoint || added.bases.len() > bases;
        if self.unwritten > 0 && (is_due || self.unwritten >= context.batch.checkpoint_every) {
            steps.writes_checkpoint = true;
            self.unwritten = 0;
        }
        // Duplicates change nothing. So there is at most one state for each record: `key_usage` counts on that.
        if steps.writes_checkpoint || context.batch.states && steps.records > 0 {
            let whole = AssertUnwindSafe(|| self.checkpoint(before.as_ref(), context));
            match (catch_unwind(whole), last) {
                (Ok(state), _) => steps.state = state,
                (Err(_), Some(last)) => return Err(last),
                // No record to blame: the state stays as it is, and so does its stored checkpoint.
                (Err(_), None) => steps.writes_checkpoint = false,
            }
        }
        Ok(steps)
    }

    fn take(&mut self, taken: Taken, context: &Context<'_>, added: &mut Added, steps: &mut Steps) {
        let Taken { position, provenance, trace, entry, .. } = taken;
        let _step = trace.step();
        let &BatchContext { lane, stamp, ref policy, evaluate, .. } = context.batch;
        let mut reaction = Reaction::default();
        let (body, named, user_id) = match entry {
            Entry::Record(record) => {
                let seq = self.person.seq();
                let counts = match provenance {
                    Provenance::Log(source, _) => steps.counts.of_mut(source),
                    Provenance::Order(_) => &mut Counts::default(),
                };
                let outcomes = &mut added.outcomes;
                let applied = evaluate(&mut self.person, policy, &record, outcomes);
                if applied == Applied::Duplicate {
                    counts.duplicate += 1;
                    return;
                }
                counts.new += 1;
                steps.evaluations += evaluated(outcomes);
                self.person.react(policy, &record, outcomes, &mut reaction);
                let switched = outcomes.iter().filter(|outcome| outcome.kind == Kind::Switched);
                for ((outcome, n), seq) in switched.zip(&reaction.switches).zip(seq + 1..) {
                    let told = Told { record: &record, trace: &trace, seq, n: *n };
                    added.switches.extend(self.switch(&told, outcome, context));
                }
                let mut body = Vec::with_capacity(192);
                record.to_stored(&mut body);
                let named = Named {
                    time: record.record_time,
                    device_id: record.device_id,
                    event_type: record.event_type,
                };
                (Phi::new(body), named, record.user_id)
            }
            Entry::Order(asked) => {
                let stored = Stored::new(asked.at, asked.order);
                if let Err(refusal) = self.person.obey(policy, &stored, &mut reaction) {
                    steps.refusal = Some(refusal);
                    return;
                }
                let (device_id, event_type) = (SmolStr::default(), SmolStr::new_static(ORDER));
                let named = Named { time: asked.at, device_id, event_type };
                (Phi::new(stored.to_bytes()), named, SmolStr::from(asked.user_id))
            }
        };
        self.say(&user_id, &trace, reaction, context.batch, added, steps);
        let place = RecordPlace { stamp, lane, position };
        let previous = self.person.newest.replace(place);
        let row = self.row((position, provenance, previous), named, &body, context);
        // A batch has a place for each record. Were there none, the record must not be passed over in silence.
        added.records[usize::try_from(position).unwrap_or(usize::MAX)] = Some(row);
        steps.records += 1;
    }

    /// Keeps the state for good, where it is time to. `before` is the newest record of before: nothing is kept twice.
    fn keep(&self, before: i64, context: &Context<'_>, added: &mut Added) {
        let record_number = self.person.record_number;
        if record_number > before && record_number % i64::from(context.batch.base_every) == 0 {
            let (user, message_number) = (self.user, self.person.message_number);
            let kept = self.checkpoint(None, context).zip(self.person.newest);
            let row =
                |(body, newest)| BaseRow { user, record_number, message_number, newest, body };
            added.bases.extend(kept.map(row));
        }
    }

    /// What a record or an order has led to beside mode changes.
    fn say(
        &self,
        user_id: &str,
        trace: &Trace,
        reaction: Reaction,
        context: &BatchContext,
        added: &mut Added,
        steps: &mut Steps,
    ) {
        added.notices.extend(reaction.changes.into_iter().map(|change| Notice {
            user: self.user,
            user_id: user_id.to_owned(),
            key: self.key.clone(),
            record_number: self.person.record_number,
            change,
            policy_version: context.policy.version.clone(),
            stamp: context.stamp,
            trace: trace.clone(),
        }));
        for (sum, held) in steps.held.iter_mut().zip(reaction.held) {
            *sum += held;
        }
        if reaction.look != Look::Unchanged {
            steps.look = reaction.look;
        }
    }

    fn row(
        &self,
        (position, provenance, previous): (i32, Provenance, Option<RecordPlace>),
        named: Named,
        body: &Phi<Vec<u8>>,
        context: &Context<'_>,
    ) -> RecordRow {
        let number = self.person.record_number;
        RecordRow {
            position,
            user: self.user,
            number,
            previous,
            provenance,
            record_time: named.time,
            policy: context.batch.policy_number,
            engine: ENGINE_VERSION.cast_signed(),
            device_id: named.device_id,
            event_type: named.event_type,
            body: (context.seal)(record_place(self.user, number), body),
        }
    }

    fn switch(&self, told: &Told<'_>, outcome: &Outcome, context: &Context<'_>) -> Option<Switch> {
        // A switch always comes with its explanation.
        let explanation = outcome.explanation.as_deref()?;
        let &Told { record, trace, seq, n } = told;
        let seq = i64::try_from(seq).unwrap_or(i64::MAX);
        let stamp = context.batch.stamp;
        let traceparent = trace.traceparent.as_deref();
        let cause = Cause { record, traceparent, outcome, explanation, seq, n, stamp };
        let message = to_json(&ModeSwitch::of(&cause));
        let explained = message::explained_to_stored(&message, explanation);
        let row = TransitionRow {
            user: self.user,
            seq,
            n,
            record_number: self.person.record_number,
            message_id: message::message_id(&record.user_id, n),
            time: outcome.time,
            policy: context.batch.policy_number,
            body: (context.seal)(transition_place(self.user, n), &explained),
        };
        let outgoing = (context.seal)(outbox_place(self.user, n), &message);
        let (user_id, trace) = (record.user_id.to_string(), trace.continued());
        Some(Switch { row, outgoing, message, user_id, trace })
    }

    fn checkpoint(&self, defective: Option<&Person>, context: &Context<'_>) -> Option<Sealed> {
        let person = defective.filter(|person| person.state.is_some()).unwrap_or(&self.person);
        let bytes = person.to_checkpoint()?;
        let place = checkpoint_place(self.user, self.person.record_number);
        Some((context.seal)(place, &bytes))
    }
}

/// Of these events, how many could have changed the mode.
fn evaluated(outcomes: &[Outcome]) -> u64 {
    outcomes.iter().filter(|outcome| outcome.kind != Kind::NotEvaluated).count() as u64
}

/// What all users of a batch share, and one user's key made ready.
struct Context<'c> {
    batch: &'c BatchContext,
    seal: Sealing<'c>,
}

/// What is told of a mode change.
struct Told<'t> {
    record: &'t Record<'static>,
    trace: &'t Trace,
    seq: u64,
    n: i64,
}

/// What a row says in the clear of what it holds.
struct Named {
    time: Timestamp,
    device_id: SmolStr,
    event_type: SmolStr,
}

/// The type of event that an order is stored as.
const ORDER: &str = "order";
