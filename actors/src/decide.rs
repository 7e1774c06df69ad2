//! From the users' answers to one decided batch: rows in their order, counts, and how far the lane has
//! come with it.

use std::sync::Arc;

use crate::batch::{Dead, Decided, End, Passport};
use crate::cache::CachedState;
use crate::dead_letter::{self, Failure, Letter};
use crate::defect::Defect;
use crate::gather::Gathering;
use crate::lane::{ModeCounts, Progress, UserNumber};
use crate::log::Outgoing;
use crate::notice::Notice;
use crate::obey::{Obeyed, Rebuilt};
use crate::person::Look;
use crate::residents::Residents;
use crate::router::{LOST, UserWork};
use crate::rows::{
    BaseRow, CommandRow, DeadLetterRow, ErasureRow, KeysUsed, LookRow, Quarantine, RecordRow,
    ReleasedRow, Sink, UserRow,
};
use crate::user::{Steps, Switch};

/// What the batch's users come to.
#[derive(Default)]
struct Sum {
    records: Vec<RecordRow>,
    users: Vec<UserRow>,
    bases: Vec<BaseRow>,
    switches: Vec<Switch>,
    notices: Vec<Notice>,
    looks: Vec<LookRow>,
    states: Vec<CachedState>,
    keys: KeysUsed,
}

impl Sum {
    /// Everything in the order in which it is written. Rows are large: their keys are sorted, and each row is moved
    /// once.
    fn sort(&mut self) {
        self.records.sort_by_cached_key(|record| record.position);
        self.users.sort_by_cached_key(|row| row.user);
        if Defect::UnsortedRows.is_on() {
            self.users.reverse();
        }
        self.bases.sort_by_cached_key(|row| (row.user, row.record_number));
        self.switches.sort_unstable_by_key(|switch| (switch.row.user, switch.row.n));
        self.notices.sort_unstable_by_key(|notice| (notice.user, notice.change.n));
        self.looks.sort_unstable_by_key(|look| look.user);
    }

    /// The row of a user, made if there is none yet.
    fn mention(&mut self, user: UserNumber, user_id: &Arc<str>, is_new: bool) -> &mut UserRow {
        let known = self.users.iter().position(|row| row.user == user);
        let place = known.unwrap_or(self.users.len());
        if known.is_none() {
            self.users.push(UserRow {
                user,
                user_id: user_id.as_ref().to_owned(),
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

/// A batch when its users have answered.
pub(crate) struct Worked {
    /// Who worked, and who is only mentioned.
    pub(crate) gathering: Gathering,
    /// The answers, in the order of the works, as they came.
    #[expect(clippy::vec_box, reason = "each has been boxed on its way already")]
    pub(crate) answers: Vec<Box<Steps>>,
    /// Users who are mentioned and whom the store does not know yet.
    pub(crate) outsiders: Vec<(Arc<str>, UserNumber)>,
    /// What a command comes to beside them.
    pub(crate) obeyed: Option<Obeyed>,
}

impl Residents {
    /// Makes a decided batch of the answers; `None` when there is nothing to write.
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
        let mut sum = Sum::default();
        let (mut counts, mut modes) = (before.counts, before.modes);
        let Worked { gathering, answers, outsiders, mut obeyed } = worked;
        let Gathering { works, quarantine, .. } = gathering;
        for (work, steps) in works.into_iter().zip(answers) {
            // Released records were counted when they were read, as dead letters.
            match &mut obeyed {
                None => counts.add(&steps.counts),
                Some(obeyed) => obeyed.refused(&steps),
            }
            for (sum, held) in passport.held.iter_mut().zip(steps.held) {
                *sum += held;
            }
            passport.evaluations += steps.evaluations;
            if let Some(mode) = steps.mode.filter(|mode| steps.mode_before != Some(*mode)) {
                modes.moved(steps.mode_before, mode);
            }
            self.add(work, steps, &passport, &mut sum)?;
        }
        self.add_outsiders(outsiders, &quarantine, &mut sum)?;
        let mut obeyed = obeyed.unwrap_or_default();
        let (forgotten, erasure) = (obeyed.forgotten.take(), obeyed.erasure.take());
        if let Some((_, Some(mode))) = erasure {
            modes.left(mode);
        }
        let erasures: Vec<ErasureRow> = erasure.into_iter().map(|(row, _)| row).collect();
        let (released, commands) = self.obey(obeyed, &mut sum, &mut modes);
        for source in crate::lane::Source::ALL {
            let (found, total) = (counts.of(source), after.counts.of_mut(source));
            (total.new, total.duplicate) = (found.new, found.duplicate);
        }
        if Defect::DeadLetterDropped.is_on() {
            dead.pop();
        }
        let dead_letters = self.dead_letters(dead, &passport, before.outbox);
        sum.keys.service = (!dead_letters.is_empty()).then(|| self.service_key.number());
        after.modes = modes;
        after.users = self.progress.users;
        after.outbox =
            before.outbox + count(&dead_letters) + count(&sum.switches) + count(&sum.notices);
        after.checkpointed = self.checkpointed(passport.stamp);
        let is_command = !(released.is_empty() && commands.is_empty() && erasures.is_empty());
        let is_asked = is_command || !sum.records.is_empty() || !sum.looks.is_empty();
        after.batch = before.batch + 1 - i64::from(is_command && Defect::CommandIsNoBatch.is_on());
        after.stamp = passport.stamp;
        if after.positions == before.positions && sum.users.is_empty() && !is_asked {
            // Only a quiet lane's look after checkpoints, and there were none to write.
            return Ok(None);
        }
        sum.sort();
        self.progress = after.clone();
        let Sum { records, users, bases, switches, notices, looks, states, keys } = sum;
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
        sum: &mut Sum,
        modes: &mut ModeCounts,
    ) -> (Vec<ReleasedRow>, Vec<CommandRow>) {
        if let Some(Rebuilt { row, mode_before, mode, key_number }) = obeyed.rebuilt.take() {
            sum.users.push(row);
            sum.keys.add(key_number);
            if let Some(mode) = mode {
                modes.moved(mode_before, mode);
            }
        }
        sum.looks.append(&mut obeyed.looks);
        if let Some((user_id, user)) = &obeyed.met {
            sum.mention(*user, user_id, true);
        }
        if let Some((user_id, user)) = &obeyed.freed {
            if let Some(command) = &mut obeyed.command {
                command.record_number = sum.records.iter().map(|record| record.number).max();
            }
            self.outsiders.remove(user_id);
            sum.mention(*user, user_id, false).quarantine = Quarantine::Ends;
        }
        obeyed.rows(&sum.records.iter().map(|record| record.position).collect())
    }

    fn add(
        &mut self,
        work: UserWork,
        steps: Box<Steps>,
        passport: &Passport,
        sum: &mut Sum,
    ) -> Result<(), End> {
        let UserWork { seat, .. } = work;
        let resident = self.live.get_mut(seat).ok_or(LOST)?;
        let (user, is_new) = (resident.user, !std::mem::replace(&mut resident.is_stored, true));
        let user_id = Arc::clone(&resident.user_id);
        if steps.writes_checkpoint || !steps.records.is_empty() || !steps.notices.is_empty() {
            sum.keys.add(steps.key_number);
        }
        if steps.writes_checkpoint {
            self.written(seat, passport.stamp);
        } else if !steps.records.is_empty() {
            self.lags(seat, passport.stamp);
        }
        if is_new || steps.writes_checkpoint {
            let written = steps.writes_checkpoint;
            sum.users.push(UserRow {
                user,
                user_id: user_id.as_ref().to_owned(),
                is_new,
                record_number: if written { steps.record_number } else { 0 },
                newest: steps.newest.filter(|_| written),
                message_number: if written { steps.message_number } else { 0 },
                checkpoint: steps.state.clone().filter(|_| written),
                is_rebuilt: false,
                quarantine: Quarantine::Unchanged,
            });
        }
        if self.rules.cache
            && let Some(body) = steps.state
        {
            let user_id = user_id.as_ref().to_owned();
            sum.states.push(CachedState { user_id, version: steps.record_number, body });
        }
        match steps.look {
            Look::Unchanged => {}
            Look::At(due) => sum.looks.push(LookRow { user, due: Some(due) }),
            Look::Never => sum.looks.push(LookRow { user, due: None }),
        }
        sum.records.extend(steps.records);
        sum.bases.extend(steps.bases);
        sum.switches.extend(steps.switches);
        sum.notices.extend(steps.notices);
        Ok(())
    }

    /// Rows of users of whom nothing was evaluated, and the flags of those whose quarantine begins.
    fn add_outsiders(
        &self,
        outsiders: Vec<(Arc<str>, UserNumber)>,
        quarantine: &[Arc<str>],
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
