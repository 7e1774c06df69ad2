//! From the users' answers to one decided batch: rows in their order, counts, and how far the lane has
//! come with it.

use std::sync::Arc;

use neuros::alert::Held;
use neuros::time::Timestamp;

use crate::batch::{Dead, Decided, End, Passport};
use crate::cache::CachedState;
use crate::dead_letter::{self, Failure, Letter};
use crate::defect::Defect;
use crate::lane::{Counts, ModeCounts, PerSource, Progress, UserNumber};
use crate::live::Seat;
use crate::log::Outgoing;
use crate::obey::{Obeyed, Rebuilt};
use crate::person::Look;
use crate::residents::Residents;
use crate::router::LOST;
use crate::rows::{
    CommandRow, DeadLetterRow, ErasureRow, KeysUsed, LookRow, Quarantine, RecordRow, ReleasedRow,
    Sink, UserRow,
};
use crate::user::{Added, Steps};

/// What the batch's users come to.
pub(crate) struct Sum {
    pub(crate) added: Added,
    users: Vec<UserRow>,
    looks: Vec<LookRow>,
    states: Vec<CachedState>,
    keys: KeysUsed,
    counts: PerSource<Counts>,
    modes: ModeCounts,
    held: [u32; Held::ALL.len()],
    evaluations: u64,
}

impl Sum {
    /// Of a batch behind `before`, of so many records.
    pub(crate) fn after(before: &Progress, records: usize) -> Self {
        let mut added = Added::default();
        added.records.resize_with(records, || None);
        Self {
            added,
            users: Vec::new(),
            looks: Vec::new(),
            states: Vec::new(),
            keys: KeysUsed::default(),
            counts: before.counts,
            modes: before.modes,
            held: Default::default(),
            evaluations: 0,
        }
    }

    /// Counts what a user was sent.
    pub(crate) fn count(&mut self, steps: &Steps) {
        self.counts.add(&steps.counts);
    }

    /// Everything in the order in which it is written. As a rule users have worked in their order, and their rows
    /// are in it already.
    fn sort(&mut self) {
        let Added { bases, switches, notices, .. } = &mut self.added;
        in_order(&mut self.users, |row| row.user);
        if Defect::UnsortedRows.is_on() {
            self.users.reverse();
        }
        in_order(bases, |row| (row.user, row.record_number));
        in_order(switches, |switch| (switch.row.user, switch.row.n));
        in_order(notices, |notice| (notice.user, notice.change.n));
        in_order(&mut self.looks, |look| look.user);
    }

    /// The row of a user, made if there is none yet.
    fn mention(&mut self, user: UserNumber, user_id: &str, is_new: bool) -> &mut UserRow {
        let known = self.users.iter().position(|row| row.user == user);
        let place = known.unwrap_or(self.users.len());
        if known.is_none() {
            self.users.push(UserRow {
                user,
                user_id: user_id.to_owned(),
                is_new,
                record_number: 0,
                newest: None,
                message_number: 0,
                checkpoint: None,
                is_rebuilt: false,
                quarantine: Quarantine::Unchanged,
            });
        }
        &mut self.users[place]
    }
}

/// Rows are large: their keys are sorted, and each row is moved once, if at all.
fn in_order<R, K: Ord>(rows: &mut [R], key: impl Fn(&R) -> K) {
    if !rows.is_sorted_by_key(&key) {
        rows.sort_by_cached_key(key);
    }
}

/// A batch when its users have worked.
pub(crate) struct Worked {
    /// What they come to.
    pub(crate) sum: Sum,
    /// Users whose quarantine begins with it; they have a dead letter in it.
    pub(crate) quarantine: Vec<String>,
    /// Users who are mentioned and whom the store does not know yet.
    pub(crate) outsiders: Vec<(Arc<str>, UserNumber)>,
    /// What a command comes to beside them.
    pub(crate) obeyed: Option<Obeyed>,
}

impl Residents {
    /// Makes a decided batch of what its users come to; `None` when there is nothing to write.
    ///
    /// `read` is how far ingest has come: its positions, marks and counts are taken, everything else
    /// the router knows better.
    pub(crate) fn decide(
        &mut self,
        mut passport: Passport,
        worked: Worked,
        mut dead: Vec<Dead>,
        read: Progress,
    ) -> Result<Option<Decided>, End> {
        let before = self.progress.clone();
        let mut after = read;
        let Worked { mut sum, quarantine, outsiders, obeyed } = worked;
        (passport.held, passport.evaluations) = (sum.held, sum.evaluations);
        let records = std::mem::take(&mut sum.added.records);
        // Rows that stay where they are: to flatten them would move each, and more than once.
        #[expect(clippy::filter_map_identity, reason = "only so are they collected in place")]
        let records: Vec<RecordRow> = records.into_iter().filter_map(|row| row).collect();
        self.add_outsiders(outsiders, &quarantine, &mut sum)?;
        let (mut forgotten, mut erasure) = (None, None);
        let (mut released, mut commands) = (Vec::new(), Vec::new());
        if let Some(mut obeyed) = obeyed {
            (forgotten, erasure) = (obeyed.forgotten.take(), obeyed.erasure.take());
            (released, commands) = self.obey(obeyed, &records, &mut sum);
        }
        if let Some((_, Some(mode))) = erasure {
            sum.modes.left(mode);
        }
        let erasures: Vec<ErasureRow> = erasure.into_iter().map(|(row, _)| row).collect();
        for source in crate::lane::Source::ALL {
            let (found, total) = (sum.counts.of(source), after.counts.of_mut(source));
            (total.new, total.duplicate) = (found.new, found.duplicate);
        }
        if Defect::DeadLetterDropped.is_on() {
            dead.pop();
        }
        let dead_letters = self.dead_letters(dead, &passport, before.outbox);
        sum.keys.service = (!dead_letters.is_empty()).then(|| self.service_key.number());
        after.modes = sum.modes;
        after.users = self.progress.users;
        let Added { switches, notices, .. } = &sum.added;
        after.outbox = before.outbox + count(&dead_letters) + count(switches) + count(notices);
        after.checkpointed = self.checkpointed(passport.stamp);
        let is_command = !(released.is_empty() && commands.is_empty() && erasures.is_empty());
        let is_asked = is_command || !records.is_empty() || !sum.looks.is_empty();
        after.batch = before.batch + 1 - i64::from(is_command && Defect::CommandIsNoBatch.is_on());
        after.stamp = passport.stamp;
        if after.positions == before.positions && sum.users.is_empty() && !is_asked {
            // Only a quiet lane's look after checkpoints, and there were none to write.
            return Ok(None);
        }
        sum.sort();
        self.progress = after.clone();
        let Sum { added, users, looks, states, keys, .. } = sum;
        let Added { bases, switches, notices, .. } = added;
        Ok(Some(Decided {
            passport,
            before,
            after,
            records,
            users,
            bases,
            switches,
            dead_letters,
            states,
            released,
            commands,
            keys,
            notices,
            looks,
            erasures,
            forgotten,
        }))
    }

    /// The rows of a command, and the flag of whose quarantine ends.
    fn obey(
        &mut self,
        mut obeyed: Obeyed,
        records: &[RecordRow],
        sum: &mut Sum,
    ) -> (Vec<ReleasedRow>, Vec<CommandRow>) {
        if let Some(Rebuilt { row, mode_before, mode, key_number }) = obeyed.rebuilt.take() {
            sum.users.push(row);
            sum.keys.add(key_number);
            if let Some(mode) = mode {
                sum.modes.moved(mode_before, mode);
            }
        }
        sum.looks.append(&mut obeyed.looks);
        if let Some((user_id, user)) = &obeyed.met {
            sum.mention(*user, user_id, true);
        }
        if let Some((user_id, user)) = &obeyed.freed {
            if let Some(command) = &mut obeyed.command {
                command.record_number = records.iter().map(|record| record.number).max();
            }
            self.outsiders.remove(user_id);
            sum.mention(*user, user_id, false).quarantine = Quarantine::Ends;
        }
        obeyed.rows(&records.iter().map(|record| record.position).collect())
    }

    /// Adds what a user's steps in the batch stamped `stamp` come to, beside what the user has added.
    pub(crate) fn add(
        &mut self,
        seat: Seat,
        steps: Steps,
        stamp: Timestamp,
        sum: &mut Sum,
    ) -> Result<(), End> {
        for (sum, held) in sum.held.iter_mut().zip(steps.held) {
            *sum += held;
        }
        sum.evaluations += steps.evaluations;
        if let Some(mode) = steps.mode.filter(|mode| steps.mode_before != Some(*mode)) {
            sum.modes.moved(steps.mode_before, mode);
        }
        let resident = self.live.get_mut(seat).ok_or(LOST)?;
        let (user, is_new) = (resident.user, !std::mem::replace(&mut resident.is_stored, true));
        let written = steps.writes_checkpoint;
        if written || steps.records > 0 || steps.has_notices {
            sum.keys.add(steps.key_number);
        }
        let mut state = steps.state;
        if self.rules.cache
            && let Some(body) = &state
        {
            let (user_id, body) = (resident.user_id.as_ref().to_owned(), body.clone());
            sum.states.push(CachedState { user_id, version: steps.record_number, body });
        }
        if is_new || written {
            sum.users.push(UserRow {
                user,
                user_id: resident.user_id.as_ref().to_owned(),
                is_new,
                record_number: if written { steps.record_number } else { 0 },
                newest: steps.newest.filter(|_| written),
                message_number: if written { steps.message_number } else { 0 },
                checkpoint: state.take().filter(|_| written),
                is_rebuilt: false,
                quarantine: Quarantine::Unchanged,
            });
        }
        match steps.look {
            Look::Unchanged => {}
            Look::At(due) => sum.looks.push(LookRow { user, due: Some(due) }),
            Look::Never => sum.looks.push(LookRow { user, due: None }),
        }
        if written {
            self.written(seat, stamp);
        } else if steps.records > 0 {
            self.lags(seat, stamp);
        }
        Ok(())
    }

    /// Rows of users of whom nothing was evaluated, and the flags of those whose quarantine begins.
    fn add_outsiders(
        &self,
        outsiders: Vec<(Arc<str>, UserNumber)>,
        quarantine: &[String],
        sum: &mut Sum,
    ) -> Result<(), End> {
        for (user_id, user) in &outsiders {
            sum.mention(*user, user_id, true);
        }
        for user_id in quarantine {
            let user = self.number_of(user_id).ok_or(LOST)?;
            if !Defect::QuarantineNotWritten.is_on() {
                sum.mention(user, user_id, false).quarantine = Quarantine::Begins;
            }
        }
        Ok(())
    }

    fn dead_letters(
        &self,
        dead: Vec<Dead>,
        passport: &Passport,
        outbox: i64,
    ) -> Vec<(DeadLetterRow, Outgoing)> {
        let bytes_max = self.ports.publisher.bytes_max(Sink::DeadLetters);
        let numbered = dead.into_iter().zip(outbox + 1..);
        let row = |(Dead { source, offset, user_id, letter }, number): (Dead, i64)| {
            let place = dead_letter::place(Letter { lane: passport.lane, number });
            let bytes = dead_letter::to_bytes(&letter.raw);
            let row = DeadLetterRow {
                outbox: number,
                source,
                offset,
                record_time: letter.record_time,
                reason: letter.reason,
                detail: letter.detail,
                user: user_id.and_then(|user_id| self.number_of(&user_id)),
                body: self.ports.seal.seal(&self.service_key, place, &bytes),
            };
            let failure = Failure {
                reason: row.reason,
                detail: &row.detail,
                topic: self.rules.topics.of(source),
                lane: passport.lane,
                offset,
                failed_at: passport.stamp,
            };
            let outgoing = dead_letter::outgoing(letter.raw, &failure, bytes_max);
            (row, outgoing)
        };
        numbered.map(row).collect()
    }
}

fn count<T>(items: &[T]) -> i64 {
    i64::try_from(items.len()).unwrap_or(i64::MAX)
}
