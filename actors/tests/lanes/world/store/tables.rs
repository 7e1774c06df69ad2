//! The tables of the store in memory, with their keys: what is written twice, or over what is not there,
//! is refused, as the databases refuse it.

use std::collections::BTreeMap;

use actors::dead_letter::Letter;
use actors::defect::Defect;
use actors::expansion::Standing;
use actors::hash_chain::{Head, Link};
use actors::lane::{FenceToken, Lane, Positions, Progress, UserNumber};
use actors::rows::{
    AlertRow, AuditRow, BaseRow, Batch, CommandRow, Erasure, ErasureRow, Fate, LookRow, OutboxRow,
    Quarantine, RecordPlace, ReleasedRow, Sink, TransitionRow, UserRow,
};
use actors::store::{
    AskedLetters, CommitError, Start, StoredBase, StoredCommand, StoredDeadLetter, StoredLetter,
    StoredLook, StoredOutbox, StoredRecord, StoredUser,
};
use neuros::time::Timestamp;

use super::gaps::Gap;

pub(crate) struct LaneRow {
    pub token: Option<FenceToken>,
    pub epoch: i64,
    pub progress: Progress,
    /// Where its rows in the log of accesses end.
    pub audited: Head,
    /// Where it is to stop, while partitions are added.
    pub stops: Option<Positions>,
}

impl LaneRow {
    pub(super) fn starting_at(positions: Positions) -> Self {
        let progress = Progress::starting_at(positions);
        Self { token: None, epoch: 0, progress, audited: Head::default(), stops: None }
    }
}

/// A dead letter with its sealed record and, when it waits for a release, whose it is.
#[derive(Clone)]
pub(crate) struct LetterRow {
    pub said: StoredDeadLetter,
    pub user: Option<UserNumber>,
    pub body: Vec<u8>,
}

/// A row of the outbox.
#[derive(Clone)]
pub(crate) struct Leaving {
    pub sink: Sink,
    pub user: Option<UserNumber>,
    pub n: Option<i64>,
    pub body: Option<Vec<u8>>,
}

/// A mode change or a change of an alert: the record that caused it, its message and its body.
#[derive(Clone)]
pub(crate) struct Change {
    pub user: UserNumber,
    /// Of a mode change.
    pub seq: Option<i64>,
    pub n: i64,
    pub record_number: i64,
    pub body: Vec<u8>,
}

/// A batch, all of it owned: the transaction goes on when who sent it is gone.
pub(crate) struct Written {
    pub lane: Lane,
    pub token: FenceToken,
    pub before: Progress,
    pub after: Progress,
    pub records: Vec<StoredRecord>,
    /// By record where each says that the one before it lies.
    pub previous: Vec<Option<RecordPlace>>,
    pub users: Vec<UserWrite>,
    /// By user and record.
    pub bases: Vec<((UserNumber, i64), StoredBase)>,
    pub transitions: Vec<Change>,
    pub alerts: Vec<Change>,
    pub letters: BTreeMap<i64, LetterRow>,
    pub outbox: BTreeMap<i64, Leaving>,
    pub released: Vec<ReleasedRow>,
    pub commands: Vec<CommandRow>,
    pub looks: Vec<LookRow>,
    pub erasures: Vec<ErasureRow>,
    /// All that the audit row says, and its place in the lane's chain.
    pub audit: (String, Link),
    /// Rows that came with a number that another row of the batch has.
    pub repeated: usize,
}

/// A row for the table of users.
pub(crate) struct UserWrite {
    pub user: UserNumber,
    pub user_id: String,
    pub is_new: bool,
    pub record_number: i64,
    pub newest: Option<RecordPlace>,
    pub message_number: i64,
    pub checkpoint: Option<Vec<u8>>,
    pub is_rebuilt: bool,
    pub quarantine: Quarantine,
}

impl From<&UserRow> for UserWrite {
    fn from(row: &UserRow) -> Self {
        Self {
            user: row.user,
            user_id: row.user_id.clone(),
            is_new: row.is_new,
            record_number: row.record_number,
            newest: row.newest,
            message_number: row.message_number,
            checkpoint: row.checkpoint.as_ref().map(|sealed| sealed.0.clone()),
            is_rebuilt: row.is_rebuilt,
            quarantine: row.quarantine,
        }
    }
}

impl From<&TransitionRow> for Change {
    fn from(row: &TransitionRow) -> Self {
        let TransitionRow { user, seq, n, record_number, .. } = *row;
        Self { user, seq: Some(seq), n, record_number, body: row.body.0.clone() }
    }
}

impl From<&AlertRow> for Change {
    fn from(row: &AlertRow) -> Self {
        let AlertRow { user, n, record_number, .. } = *row;
        Self { user, seq: None, n, record_number, body: row.body.0.clone() }
    }
}

impl From<&OutboxRow> for Leaving {
    fn from(row: &OutboxRow) -> Self {
        let body = row.body.as_ref().map(|sealed| sealed.0.clone());
        Self { sink: row.sink, user: row.user, n: row.n, body }
    }
}

impl Written {
    pub(super) fn of(batch: &Batch) -> Self {
        let stamp = batch.after.stamp;
        let records = batch.records.iter().map(|row| StoredRecord {
            place: RecordPlace { stamp, lane: batch.lane, position: row.position },
            user: row.user,
            number: row.number,
            provenance: row.provenance,
            policy: row.policy,
            engine: row.engine,
            body: row.body.0.clone(),
        });
        let letters = batch.dead_letters.iter().map(|row| {
            let said = StoredDeadLetter {
                source: row.source,
                offset: row.offset,
                record_time: row.record_time,
                reason: row.reason.to_owned(),
                detail: row.detail.clone(),
                failed_at: stamp,
            };
            (row.outbox, LetterRow { said, user: row.user, body: row.body.0.clone() })
        });
        let letters: BTreeMap<i64, LetterRow> = letters.collect();
        let outbox: BTreeMap<i64, Leaving> =
            batch.outbox.iter().map(|row| (row.number, row.into())).collect();
        Self {
            lane: batch.lane,
            token: batch.token,
            before: batch.before.clone(),
            after: batch.after.clone(),
            records: records.collect(),
            previous: batch.records.iter().map(|row| row.previous).collect(),
            users: batch.users.iter().map(UserWrite::from).collect(),
            bases: batch.bases.iter().map(base).collect(),
            transitions: batch.transitions.iter().map(Change::from).collect(),
            alerts: batch.alerts.iter().map(Change::from).collect(),
            repeated: batch.outbox.len() - outbox.len() + batch.dead_letters.len() - letters.len(),
            letters,
            outbox,
            audit: {
                let AuditRow { accessor_id, access_type, table_name, record_id, .. } = &batch.audit;
                let said = format!("{accessor_id} {access_type} {table_name} {record_id}");
                (said, batch.audit.link)
            },
            released: batch.released.clone(),
            commands: batch.commands.clone(),
            looks: batch.looks.clone(),
            erasures: batch.erasures.clone(),
        }
    }

    /// Whether the batch follows on what its lane was, as far as its row can say.
    pub(super) fn follows(&self) -> bool {
        let (before, after) = (&self.before, &self.after);
        after.batch == before.batch + 1
            && after.stamp > before.stamp
            && after.outbox == before.outbox + i64::try_from(self.outbox.len()).unwrap()
            && after.positions.events >= before.positions.events
            && after.positions.by_user >= before.positions.by_user
    }
}

#[derive(Default)]
pub(crate) struct Tables {
    pub lanes: BTreeMap<Lane, LaneRow>,
    pub users: BTreeMap<UserNumber, StoredUser>,
    pub ids: BTreeMap<String, UserNumber>,
    /// By user and number.
    pub records: BTreeMap<(UserNumber, i64), StoredRecord>,
    /// By lane, stamp and position.
    pub places: BTreeMap<(Lane, Timestamp, i32), (UserNumber, i64)>,
    /// By user and the number of the newest record in it.
    pub bases: BTreeMap<(UserNumber, i64), StoredBase>,
    pub transitions: BTreeMap<(UserNumber, i64), Change>,
    pub alerts: BTreeMap<(UserNumber, i64), Change>,
    pub letters: BTreeMap<(Lane, i64), LetterRow>,
    pub outbox: BTreeMap<(Lane, i64), Leaving>,
    pub cursors: BTreeMap<(Lane, Sink), i64>,
    /// What became of letters that have left the list, in the order in which they left.
    pub fates: Vec<((Lane, i64), Fate)>,
    pub commands: BTreeMap<(Lane, i64), StoredCommand>,
    /// Whose alerts somebody must look at, and when; with the lane that is to.
    pub looks: BTreeMap<UserNumber, (Lane, Timestamp)>,
    /// What came of commands, in the order in which they were carried out.
    pub outcomes: Vec<((Lane, i64), String)>,
    /// Stretches of the log that were skipped.
    pub gaps: Vec<Gap>,
    /// What the audit row of each batch says.
    pub audits: Vec<String>,
}

fn base(row: &BaseRow) -> ((UserNumber, i64), StoredBase) {
    let BaseRow { user, record_number, message_number, body } = row;
    let base = StoredBase {
        record_number: *record_number,
        message_number: *message_number,
        engine: neuros::ENGINE_VERSION.cast_signed(),
        body: body.0.clone(),
    };
    ((*user, *record_number), base)
}

fn key_of(Letter { lane, number }: Letter) -> (Lane, i64) {
    (lane, number)
}

/// Puts a row where there must be none.
fn put<K: Ord, V>(
    table: &mut BTreeMap<K, V>,
    name: &str,
    key: K,
    row: V,
) -> Result<(), CommitError> {
    if table.insert(key, row).is_some() {
        return Err(CommitError::Refused(format!("table {name}: a row was there already")));
    }
    Ok(())
}

impl Tables {
    /// The compare-and-set: batch and positions, for a batch of commands would move no position.
    pub(super) fn compare(&self, written: &Written) -> Result<(), CommitError> {
        let row = &self.lanes[&written.lane];
        if row.token != Some(written.token) && !Defect::FenceRemoved.is_on() {
            return Err(CommitError::Fenced);
        }
        let (stored, before) = (&row.progress, &written.before);
        if stored.batch != before.batch || stored.positions != before.positions {
            return Err(CommitError::OutOfStep);
        }
        Ok(())
    }

    /// What a statement would say that does not find its rows, or finds them already; before anything
    /// is written.
    pub(super) fn check(&self, written: &Written) -> Result<(), CommitError> {
        let refused = |table: &str| Err(CommitError::Refused(format!("table {table}")));
        if written.repeated > 0 {
            return refused("outbox: a number twice");
        }
        if !written.users.is_sorted_by_key(|row| row.user) {
            return refused("users: rows out of order, which may lock each other out");
        }
        for row in &written.users {
            let stored = self.users.get(&row.user);
            match stored {
                Some(_) if row.is_new => return refused("users: there already"),
                None if !row.is_new => {
                    let with_it = |other: &UserWrite| other.user == row.user && other.is_new;
                    if !written.users.iter().any(with_it) {
                        return refused("users: not there");
                    }
                }
                Some(stored) if row.checkpoint.is_some() => {
                    let over = stored.record_number < row.record_number
                        || (stored.checkpoint.is_none() || row.is_rebuilt)
                            && stored.record_number == row.record_number;
                    if !over {
                        return Err(CommitError::Fenced);
                    }
                }
                _ => {}
            }
            if row.is_new && self.ids.contains_key(&row.user_id) {
                return refused("users: the id is there already");
            }
        }
        let on_the_list = |row: &&ReleasedRow| {
            let key = key_of(row.letter);
            self.letters.contains_key(&key) && !self.has_left(key)
        };
        match written.released.iter().find(|row| !on_the_list(row)) {
            Some(row) if row.letter.lane == written.lane => {
                return refused("dead_letters: not on the list");
            }
            Some(_) => return Err(CommitError::Fenced),
            None => {}
        }
        let is_open = |row: &CommandRow| {
            let key = (written.lane, row.id);
            self.commands.contains_key(&key) && !self.is_carried_out(key)
        };
        if !written.commands.iter().all(is_open) {
            return refused("lane_commands: not open");
        }
        Ok(())
    }

    /// Writes a batch; an error is one of a key, and an alarm.
    pub(super) fn write(&mut self, written: &Written) -> Result<(), CommitError> {
        let (lane, stamp) = (written.lane, written.after.stamp);
        let row = self.lanes.get_mut(&lane).unwrap();
        let (_, link) = &written.audit;
        if (link.sequence, link.previous) != (row.audited.sequence + 1, row.audited.hash) {
            return Err(CommitError::Refused("table phi_access_log: the chain breaks".to_owned()));
        }
        row.audited = link.head();
        self.audits.push(written.audit.0.clone());
        row.progress = written.after.clone();
        for row in &written.records {
            let key = (row.user, row.number);
            put(&mut self.records, "event_records", key, row.clone())?;
            put(&mut self.places, "event_records", (lane, stamp, row.place.position), key)?;
        }
        for row in &written.users {
            self.ids.insert(row.user_id.clone(), row.user);
            let user = self.users.entry(row.user).or_insert_with(|| StoredUser {
                user: row.user,
                user_id: row.user_id.clone(),
                record_number: 0,
                newest: None,
                message_number: 0,
                checkpoint: None,
                quarantined: false,
                erased: false,
                start: Start::default(),
                start_key_number: 0,
            });
            if row.checkpoint.is_some() {
                user.checkpoint.clone_from(&row.checkpoint);
                (user.record_number, user.message_number) = (row.record_number, row.message_number);
                user.newest = row.newest;
            }
            match row.quarantine {
                Quarantine::Unchanged => {}
                Quarantine::Begins => user.quarantined = true,
                Quarantine::Ends => user.quarantined = false,
            }
        }
        for (key, base) in &written.bases {
            put(&mut self.bases, "base_checkpoints", *key, base.clone())?;
        }
        for row in &written.erasures {
            self.erase(row);
        }
        for row in &written.transitions {
            let key = (row.user, row.seq.unwrap_or_default());
            put(&mut self.transitions, "mode_transitions", key, row.clone())?;
        }
        for row in &written.alerts {
            put(&mut self.alerts, "alert_changes", (row.user, row.n), row.clone())?;
        }
        for (number, letter) in &written.letters {
            put(&mut self.letters, "dead_letters", (lane, *number), letter.clone())?;
        }
        for (number, row) in &written.outbox {
            put(&mut self.outbox, "outbox", (lane, *number), row.clone())?;
        }
        let fates = written.released.iter().map(|row| (key_of(row.letter), row.fate));
        self.fates.extend(fates);
        let outcomes = written.commands.iter().map(|row| ((lane, row.id), row.outcome.clone()));
        self.outcomes.extend(outcomes);
        for row in &written.looks {
            match row.due {
                Some(due) => _ = self.looks.insert(row.user, (lane, due)),
                None => _ = self.looks.remove(&row.user),
            }
        }
        Ok(())
    }

    fn erase(&mut self, row: &ErasureRow) {
        let of_user = |(user, _): &&(UserNumber, i64)| *user == row.user;
        let seq = self.transitions.keys().filter(of_user).map(|(_, seq)| *seq).max();
        let changes = self.transitions.values().chain(self.alerts.values());
        let n = changes.filter(|change| change.user == row.user).map(|change| change.n).max();
        let user = self.users.get_mut(&row.user).unwrap();
        let Erasure::Begins { record_number, newest, key_number } = row.change else {
            user.erased = false;
            return;
        };
        (user.erased, user.quarantined, user.checkpoint, user.newest) = (true, false, None, newest);
        user.message_number = user.message_number.max(n.unwrap_or(0));
        let seq = user.start.seq.max(seq.unwrap_or(0));
        user.record_number = record_number;
        let message_number = user.message_number;
        user.start = Start { record_number, message_number, seq };
        user.start_key_number = key_number;
    }

    /// Drops a user's records up to that one.
    pub(super) fn drop_records(&mut self, user_id: &str, upto: i64) {
        let user = self.ids[user_id];
        self.records.retain(|(of, number), _| *of != user || *number > upto);
        self.places.retain(|_, (of, number)| *of != user || *number > upto);
    }

    /// Whether a letter is no longer on the list.
    pub(crate) fn has_left(&self, letter: (Lane, i64)) -> bool {
        self.fates.iter().any(|(key, _)| *key == letter)
    }

    pub(super) fn is_carried_out(&self, command: (Lane, i64)) -> bool {
        self.outcomes.iter().any(|(key, _)| *key == command)
    }

    /// Letters that are on the list.
    pub(super) fn letters_of(&self, asked: AskedLetters<'_>) -> Vec<StoredLetter> {
        let named = |letter: Letter| {
            let found = self.letters.get(&key_of(letter))?;
            Some(StoredLetter {
                letter,
                source: found.said.source,
                offset: found.said.offset,
                record_time: found.said.record_time,
                failed_at: found.said.failed_at,
                reason: found.said.reason.clone(),
                body: found.body.clone(),
            })
        };
        let is_open = |letter: &Letter| !self.has_left(key_of(*letter));
        match asked {
            AskedLetters::Named(names) => {
                names.iter().copied().filter(is_open).filter_map(named).collect()
            }
            AskedLetters::OfUser(user, limit) => {
                let of_user = self.letters.iter().filter(|(_, row)| row.user == Some(user));
                let names = of_user.map(|((lane, number), row)| {
                    (row.said.failed_at, Letter { lane: *lane, number: *number })
                });
                let mut names: Vec<_> = names.filter(|(_, letter)| is_open(letter)).collect();
                names.sort_unstable();
                names.into_iter().take(limit).filter_map(|(_, letter)| named(letter)).collect()
            }
        }
    }

    /// Commands of a lane that are not carried out.
    pub(super) fn commands_of(&self, lane: Lane, limit: usize) -> Vec<StoredCommand> {
        let of_lane = self.commands.range((lane, 0)..=(lane, i64::MAX));
        let open = of_lane.filter(|(key, _)| !self.is_carried_out(**key));
        open.take(limit).map(|(_, command)| command.clone()).collect()
    }

    /// Users whose alerts a lane must look at.
    pub(super) fn looks_of(&self, lane: Lane, limit: usize) -> Vec<StoredLook> {
        let of_lane = self.looks.iter().filter(|(_, (of, _))| *of == lane);
        let look = |(user, (_, due)): (&UserNumber, &(Lane, Timestamp))| {
            let user_id = self.users.get(user)?.user_id.clone();
            Some(StoredLook { user: *user, user_id, due: *due })
        };
        of_lane.filter_map(look).take(limit).collect()
    }

    /// How far the lanes have come.
    pub(crate) fn standings(&self) -> Vec<Standing> {
        let standing = |(lane, row): (&Lane, &LaneRow)| {
            let lane = *lane;
            let is_behind = |sink: &Sink| {
                let cursor = self.cursors.get(&(lane, *sink)).copied().unwrap_or(0);
                let mut above = self.outbox.range((lane, cursor + 1)..=(lane, i64::MAX));
                above.any(|(_, row)| sink.takes(row.sink))
            };
            let letters = self.letters.range((lane, 0)..=(lane, i64::MAX));
            let waiting =
                letters.filter(|(key, letter)| letter.user.is_some() && !self.has_left(**key));
            let newer = (lane, row.progress.checkpointed, i32::MAX);
            let last = (lane, Timestamp::from_micros(i64::MAX), i32::MAX);
            let newer = self.places.range(newer..=last).map(|(_, key)| *key);
            let above = |(user, number): (UserNumber, i64)| {
                (number > self.users[&user].record_number).then_some(user)
            };
            Standing {
                lane,
                progress: row.progress.clone(),
                stops: row.stops,
                behind: Sink::ALL.into_iter().filter(is_behind).collect(),
                commands: self.commands_of(lane, usize::MAX).len() as u64,
                letters: waiting.count() as u64,
                has_unwritten: newer.clone().next().is_some(),
                lagging: newer.filter_map(above).collect(),
            }
        };
        self.lanes.iter().map(standing).collect()
    }

    /// A page of a lane's outbox.
    pub(super) fn page(
        &self,
        lane: Lane,
        sink: Sink,
        after: i64,
        limit: usize,
    ) -> Vec<StoredOutbox> {
        let rows = self.outbox.range((lane, after + 1)..=(lane, i64::MAX));
        let rows = rows.filter(|(_, row)| sink.takes(row.sink)).take(limit);
        rows.map(|((_, number), row)| {
            let letter = self.letters.get(&(lane, *number));
            StoredOutbox {
                number: *number,
                recorded_at: self.lanes[&lane].progress.stamp,
                user: row.user,
                user_id: row.user.map(|user| self.users[&user].user_id.clone()),
                n: row.n,
                body: row.body.clone().or_else(|| letter.map(|l| l.body.clone())).unwrap(),
                dead_letter: letter.map(|letter| letter.said.clone()),
            }
        })
        .collect()
    }
}
