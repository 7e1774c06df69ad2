//! What each batch must be, from the log and what was committed before it: fates of records, marks,
//! counts, rows. It shares the engine, the decoder and the hash of homes with the lanes, and no more.

use std::collections::{BTreeMap, BTreeSet};

use actors::dead_letter::Letter;
use actors::intake::QUARANTINED;
use actors::lane::{
    FenceToken, Lane, Positions, Progress, Provenance, Routing, Source, UserNumber,
};
use actors::message::explained_of_stored;
use actors::person::Look;
use actors::places::{checkpoint_place, record_place, transition_place};
use actors::rows::{Erasure, ErasureRow, Quarantine};
use actors::seal::Seal as _;
use actors::store::StoredRecord;
use neuros::alert::{self, Stored};
use neuros::event::Record;
use neuros::time::Timestamp;

use super::fates::{Checked, Fate, Judge, ensure};
use super::leaks::readable;
use super::leaving::Departures;
use super::letters::Freed;
use super::people::{Applied, Given, People};
use super::process::wire_of;
use crate::world::store::tables::{Change, Tables, UserWrite, Written};
use crate::world::{PlainSeal, all_keys_of};

/// How much a lane may have read and not committed.
pub(super) struct Limits {
    pub records_max: usize,
    pub bytes_max: usize,
    /// What was in flight and is dropped has left its places, and before the lane ends they may be taken once
    /// more, by what is dropped next: twice as many as there are places.
    pub batches: usize,
}

/// A lane as it was committed last.
#[derive(Default)]
struct LaneBook {
    token: Option<FenceToken>,
    progress: Option<Progress>,
}

pub(super) struct Reference {
    pub judge: Judge,
    limits: Limits,
    /// Dead letters that wait for no release: where they were read, and why they were refused.
    pub(super) refused: BTreeMap<Letter, ((Source, i64), &'static str)>,
    /// Dead letters that an operator has given up.
    pub given_up: BTreeSet<Letter>,
    lanes: BTreeMap<Lane, LaneBook>,
    pub people: People,
    pub departures: Departures,
    /// Counted for the table.
    pub counted: BTreeMap<String, u64>,
}

impl Reference {
    pub(super) fn new(judge: Judge, limits: Limits) -> Self {
        let lanes = judge.lanes().map(|lane| (lane, LaneBook::default()));
        Self {
            lanes: lanes.collect(),
            judge,
            limits,
            refused: BTreeMap::new(),
            given_up: BTreeSet::new(),
            people: People::default(),
            departures: Departures::default(),
            counted: BTreeMap::new(),
        }
    }

    pub(super) fn count(&mut self, what: impl Into<String>, by: u64) {
        *self.counted.entry(what.into()).or_default() += by;
    }

    pub(super) fn claimed(&mut self, lane: Lane, token: FenceToken) {
        self.lanes.get_mut(&lane).unwrap().token = Some(token);
    }

    /// Users find new homes: nothing may be under way.
    pub(super) fn expanded(&mut self, tables: &Tables, routing: &Routing) -> Checked {
        let adrift = self.judge.adrift();
        ensure(adrift.is_empty(), || {
            format!("I1: users found new homes while {adrift:?} were forwarded and not applied")
        })?;
        let waiting = self.departures.waiting();
        ensure(waiting.is_empty(), || {
            format!("I9: users found new homes while {waiting:?} had not left")
        })?;
        let unwritten = self.people.books.iter().find(|(user, book)| {
            let newest = i64::try_from(book.states.len()).unwrap();
            !book.erased && (tables.users[user].record_number < newest || !book.held.is_empty())
        });
        ensure(unwritten.is_none(), || {
            "I5: users found new homes without their checkpoints or with records held back"
                .to_owned()
        })?;
        self.judge.go_on(routing);
        self.people.moved(routing.partition_count);
        self.take_lanes(tables);
        Ok(())
    }

    /// The topic of events was made anew, and what was left of it is gone.
    pub(super) fn adopted(&mut self, tables: &Tables, routing: &Routing) {
        self.judge.begin_anew(routing);
        self.take_lanes(tables);
    }

    fn take_lanes(&mut self, tables: &Tables) {
        for (lane, row) in &tables.lanes {
            let book = LaneBook { token: row.token, progress: Some(row.progress.clone()) };
            self.lanes.insert(*lane, book);
        }
    }

    /// I7: no more is read ahead of what is committed than the batches in flight may hold.
    pub(super) fn read(&self, lane: Lane, at: Positions) -> Checked {
        let committed = self.lanes[&lane].progress.as_ref().map(|progress| progress.positions);
        let committed = committed.unwrap_or_default();
        let (mut ahead, mut bytes, mut largest) = (0, 0, 0);
        for source in Source::ALL {
            let (from, to) = (*committed.of(source), *at.of(source));
            ahead += self.judge.log.count(lane, source, from, to);
            let [more, bytes_max] = self.judge.log.bytes(lane, source, from, to);
            (bytes, largest) = (bytes + more, largest.max(bytes_max));
        }
        let Limits { records_max, bytes_max, batches } = self.limits;
        ensure(ahead <= batches * records_max, || {
            format!("I7: lane {lane} has read {ahead} records ahead, of {records_max} a batch")
        })?;
        // A batch takes the record with which it is full.
        ensure(bytes <= batches * (bytes_max + largest), || {
            format!("I7: lane {lane} has read {bytes} bytes ahead, of {bytes_max} a batch")
        })
    }

    /// I7: a batch is closed once it is full, by records or by bytes.
    fn check_size(&self, written: &Written, fates: &BTreeMap<(Source, i64), Fate>) -> Checked {
        let (log, lane) = (&self.judge.log, written.lane);
        let (mut bytes, mut newest) = (0, 0);
        for source in Source::ALL {
            let of_source = fates.range((source, 0)..=(source, i64::MAX));
            let (Some((first, _)), Some((last, _))) =
                (of_source.clone().next(), of_source.clone().next_back())
            else {
                continue;
            };
            let [all, _] = log.bytes(lane, source, first.1, last.1 + 1);
            let [of_last, _] = log.bytes(lane, source, last.1, last.1 + 1);
            // The record that was read last is the last of one of them.
            (bytes, newest) = (bytes + all, newest.max(of_last));
        }
        let Limits { records_max, bytes_max, .. } = self.limits;
        ensure(fates.len() <= records_max && (bytes == 0 || bytes - newest < bytes_max), || {
            format!("I7: a batch of {} records with {bytes} bytes", fates.len())
        })
    }

    /// I8: what is not sealed says neither whose it is nor what was measured. What is sealed is opened, which
    /// fails over plaintext; or else it is looked at here.
    fn check_plain(written: &Written) -> Checked {
        let letters = written.letters.values();
        let said = letters.flat_map(|letter| [&letter.said.reason, &letter.said.detail]);
        let outcomes = written.commands.iter().map(|row| &row.outcome);
        let texts = said.chain(outcomes).chain([&written.audit.0]).map(|text| text.as_bytes());
        let changes = written.alerts.iter().chain(&written.transitions).map(|row| &*row.body);
        let leaving = written.outbox.values().filter_map(|row| row.body.as_deref());
        match texts.chain(changes).chain(leaving).find_map(readable) {
            Some(mark) => Err(format!("I8: {mark:?} can be read in what is not sealed")),
            None => Ok(()),
        }
    }

    /// A batch is audited under the service's key that has sealed its dead letters.
    fn check_service_key(written: &Written) -> Checked {
        let Some(letter) = written.letters.values().next() else { return Ok(()) };
        let key = format!("; service's key {}", char::from(letter.body[0]));
        ensure(written.audit.0.ends_with(&key), || format!("the row of a batch lacks {key:?}"))
    }

    /// I4: only who holds the newest token may write.
    pub(super) fn check_token(&self, lane: Lane, token: FenceToken) -> Checked {
        ensure(self.lanes[&lane].token == Some(token), || {
            format!("I4: lane {lane}: somebody wrote with a token that is not the lane's")
        })
    }

    /// Checks a batch before it is written, and goes on with it.
    pub(super) fn writes(&mut self, tables: &Tables, written: &Written, process: usize) -> Checked {
        let lane = written.lane;
        self.check_token(lane, written.token)?;
        if let Some(progress) = &self.lanes[&lane].progress {
            // Users who are met in a batch are numbered before it is decided.
            let mut before = written.before.clone();
            before.users = progress.users;
            ensure(*progress == before, || {
                format!("I1: batch {} does not begin where its lane is", written.after.batch)
            })?;
        }
        ensure(written.after.stamp > written.before.stamp, || "a stamp went back".to_owned())?;
        let wire = wire_of(process);
        let fates = self.judge.fates(written, &wire)?;
        self.check_size(written, &fates)?;
        Self::check_plain(written)?;
        Self::check_service_key(written)?;
        for row in written.users.iter().filter(|row| row.is_new) {
            self.people.add(row.user, &row.user_id, lane);
        }
        self.check_erasures(written)?;
        let mut freed = self.check_released(written, &wire)?;
        let given = self.check_records(written, &fates, &mut freed)?;
        self.check_freed(written, &freed)?;
        self.check_letters(written, &fates)?;
        self.check_counts(written, &fates)?;
        self.check_changes(written, &given)?;
        check_looks(written, &given)?;
        self.check_users(tables, written)?;
        self.departures.take(written, &self.people)?;
        let after = &written.after;
        self.judge.check_marks(lane, after)?;
        let book = self.lanes.get_mut(&lane).unwrap();
        book.progress = Some(after.clone());
        ensure(after.modes == self.people.modes(lane), || "the counts of modes".to_owned())
    }

    /// Whoever is erased leaves with all of their records; whatever waited for them waits for nobody.
    fn check_erasures(&mut self, written: &Written) -> Checked {
        for ErasureRow { user, change } in &written.erasures {
            let Erasure::Begins { record_number, newest, .. } = change else {
                let book = self.people.books.get_mut(user).ok_or("nobody is let in")?;
                ensure(std::mem::take(&mut book.erased), || "let in without need".to_owned())?;
                self.judge.erased.remove(&book.user_id);
                self.count("users readmitted", 1);
                continue;
            };
            let book = self.people.erase(*user).ok_or("nobody is erased")?;
            let (number, last) = (book.states.len(), book.states.last().map(|known| known.place));
            ensure(usize::try_from(*record_number) == Ok(number), || {
                format!("I3: {} is erased at record {record_number}", book.user_id)
            })?;
            ensure(number == 0 || *newest == last, || {
                format!("I3: the newest record of {} is at {newest:?}", book.user_id)
            })?;
            let held = std::mem::take(&mut book.held);
            let user_id = book.user_id.clone();
            self.refused
                .extend(held.into_iter().map(|held| (held.letter, (held.place, QUARANTINED))));
            self.departures.excuse(&user_id);
            self.judge.erased.insert(user_id);
            self.count("users erased", 1);
            let is_new = written.users.iter().any(|row| row.user == *user && row.is_new);
            self.count("strangers erased", u64::from(is_new));
        }
        Ok(())
    }

    /// I1, I3, I5: the stored records are the log's, in its order, each once; gives the mode changes.
    fn check_records(
        &mut self,
        written: &Written,
        fates: &BTreeMap<(Source, i64), Fate>,
        freed: &mut [Freed],
    ) -> Result<Vec<(UserNumber, i64, Given)>, String> {
        let mut all = Vec::new();
        let mut newest: BTreeMap<Source, (i32, i64)> = BTreeMap::new();
        for (row, previous) in written.records.iter().zip(&written.previous) {
            let before = self.people.before(row.user, row.number);
            let place = format!("{:?}", row.provenance);
            ensure(*previous == before, || {
                format!("I3: {place} leads to {previous:?}, the record before it is at {before:?}")
            })?;
            let Provenance::Log(source, offset) = row.provenance else {
                let given = self.check_order(row)?;
                all.push((row.user, row.number, given));
                continue;
            };
            let key = (source, offset);
            // Letters of two lanes may have been at one place.
            let is_it = |one: &Freed| {
                !one.is_stored && one.place == key && self.check_fate(row, &one.fate).is_ok()
            };
            let one = freed.iter().position(is_it);
            let (is_released, is_redriven) = one.map_or((false, false), |one| {
                freed[one].is_stored = true;
                (!freed[one].is_redriven, freed[one].is_redriven)
            });
            let last = newest.insert(source, (row.place.position, offset));
            let follows =
                |last: (i32, i64)| last.0 < row.place.position && (is_redriven || last.1 < offset);
            ensure(last.is_none_or(follows), || format!("I1: {place} is out of order"))?;
            let fate = one.map(|one| &freed[one].fate).or_else(|| fates.get(&key));
            let Some(fate @ Fate::Apply { record, content, origin }) = fate else {
                return Err(format!("I1: {place} was not to be applied in this batch"));
            };
            self.check_fate(row, fate).map_err(|problem| format!("{place}: {problem}"))?;
            let (origin, at, policy) = (*origin, row.place, row.policy);
            let applied =
                Applied { record, content, origin, place: at, policy, is_released, is_redriven };
            let found = self.people.apply(row.user, row.number, &applied);
            let found = found.map_err(|problem| format!("I1/I3: {place}: {problem}"))?;
            all.push((row.user, row.number, found));
        }
        Ok(all)
    }

    /// I5: an order is carried out at its batch's time, as the fold does.
    fn check_order(&mut self, row: &StoredRecord) -> Result<Given, String> {
        let place = record_place(row.user, row.number);
        let body = PlainSeal.open(&all_keys_of(row.user), place, &row.body);
        let stored = Stored::of_bytes(body.map_err(|error| error.to_string())?.expose())?;
        let is_tick = *stored.order() == alert::Order::Tick;
        ensure(is_tick || stored.at() == row.place.stamp, || {
            "an order of another time".to_owned()
        })?;
        let what = if is_tick { "ticks" } else { "orders" };
        self.count(what, 1);
        self.people.obey(row.user, row.number, &stored, row.place, row.policy)
    }

    /// A stored record is the log's, with the time at which it entered it.
    fn check_fate(&self, row: &StoredRecord, fate: &Fate) -> Checked {
        let Fate::Apply { record, .. } = fate else { return Err("no record".to_owned()) };
        self.check_body(row, record)
    }

    fn check_body(&self, row: &StoredRecord, record: &Record<'static>) -> Checked {
        let book = self.people.books.get(&row.user).ok_or("a record of nobody")?;
        ensure(record.user_id == book.user_id.as_str(), || "another user's record".to_owned())?;
        let sealed =
            PlainSeal.open(&all_keys_of(row.user), record_place(row.user, row.number), &row.body);
        let mut bytes = Vec::new();
        record.to_stored(&mut bytes);
        ensure(sealed.is_ok_and(|opened| *opened.expose() == bytes), || {
            "not what the log holds".to_owned()
        })
    }

    /// I6, for this batch: all that was read is counted once, and what is counted new is stored.
    fn check_counts(
        &mut self,
        written: &Written,
        fates: &BTreeMap<(Source, i64), Fate>,
    ) -> Checked {
        let stored: BTreeSet<(Source, i64)> =
            written.records.iter().filter_map(|row| of_log(row.provenance)).collect();
        let letters: BTreeSet<(Source, i64)> =
            written.letters.values().map(|row| (row.said.source, row.said.offset)).collect();
        for source in Source::ALL {
            let counts = written.after.counts.of(source).since(written.before.counts.of(source));
            let mut due = actors::lane::Counts::default();
            for (place, fate) in fates.iter().filter(|((of, _), _)| *of == source) {
                match fate {
                    _ if letters.contains(place) => due.dead_letter += 1,
                    Fate::Apply { .. } if stored.contains(place) => due.new += 1,
                    Fate::Apply { record, content, .. } => {
                        due.duplicate += 1;
                        self.check_duplicate(record, content)
                            .map_err(|problem| format!("I1: {place:?}: {problem}"))?;
                    }
                    Fate::Forward(_) => due.forwarded += 1,
                    Fate::Skip(what) => {
                        due.skipped += 1;
                        *self.counted.entry(format!("skipped {what:?}")).or_default() += 1;
                    }
                    Fate::Letter(_) => {}
                }
            }
            self.count("duplicates", u64::try_from(due.duplicate).unwrap());
            ensure(counts == due, || format!("I6: {source:?}: {counts:?}, due is {due:?}"))?;
        }
        Ok(())
    }

    /// What is neither stored nor a dead letter must have been there before.
    pub(super) fn check_duplicate(&self, record: &Record<'_>, content: &[u8]) -> Checked {
        let user = self.people.number_of(&record.user_id);
        let had = user.is_some_and(|user| self.people.books[&user].has_had(content));
        ensure(had, || "a record that nobody had before is lost".to_owned())
    }

    /// I3, I9: the mode changes and alerts are those of the fold, and all of them leave.
    fn check_changes(&mut self, written: &Written, given: &[(UserNumber, i64, Given)]) -> Checked {
        let find = |rows: &[Change], user: UserNumber, n: i64, number: i64| {
            rows.iter().any(|r| r.user == user && r.n == n && r.record_number == number)
        };
        let (mut alerts, mut switches) = (0, 0);
        for (user, number, given) in given {
            alerts += given.alerts.len();
            for n in &given.alerts {
                ensure(find(&written.alerts, *user, *n, *number), || {
                    format!("I9: alert {n} is missing")
                })?;
            }
        }
        for (user, switch) in given
            .iter()
            .flat_map(|(user, _, given)| given.switches.iter().map(move |switch| (user, switch)))
        {
            switches += 1;
            let row = written.transitions.iter().find(|row| row.user == *user && row.n == switch.n);
            let row = row.ok_or_else(|| format!("I3: a mode change is missing: {switch:?}"))?;
            ensure(
                row.seq == Some(switch.seq) && row.record_number == switch.record_number,
                || format!("I3: seq {:?} where {switch:?} is due", row.seq),
            )?;
            let place = transition_place(*user, switch.n);
            let body = PlainSeal.open(&all_keys_of(*user), place, &row.body);
            let body = body.map_err(|error| error.to_string())?;
            let body = explained_of_stored(body).ok_or("I5: what is stored is no mode change")?;
            let body: serde_json::Value =
                serde_json::from_slice(body.expose()).map_err(|error| error.to_string())?;
            let said = (&body["previous_mode"], &body["mode"], &body["seq"], &body["n"]);
            let mode = |mode| serde_json::to_value(mode).unwrap_or_default();
            let (previous, entered) = (mode(switch.previous), mode(switch.mode));
            ensure(said == (&previous, &entered, &switch.seq.into(), &switch.n.into()), || {
                format!("I5: a mode change says something else than {switch:?}")
            })?;
        }
        self.count("mode changes", switches as u64);
        self.count("changes of alerts", alerts as u64);
        ensure(written.transitions.len() == switches, || "I3: a mode change too many".into())?;
        ensure(written.alerts.len() == alerts, || "I9: an alert too many".to_owned())
    }

    /// I5: checkpoints are the fold's states; what the lane calls written is written.
    fn check_users(&mut self, tables: &Tables, written: &Written) -> Checked {
        let mut checkpoints = 0;
        for row in written.users.iter().filter(|row| row.checkpoint.is_some()) {
            checkpoints += 1;
            self.check_checkpoint(row)?;
        }
        self.count("checkpoints", checkpoints);
        self.check_bases(written)?;
        self.count("bases", written.bases.len() as u64);
        for row in written.users.iter().filter(|row| row.quarantine == Quarantine::Ends) {
            let book = self.people.books.get_mut(&row.user).ok_or("a release of nobody")?;
            ensure(book.quarantined && book.held.is_empty(), || {
                format!("the quarantine of {} ends too early", row.user_id)
            })?;
            book.quarantined = false;
            self.count("quarantines ended", 1);
        }
        let rebuilt = written.users.iter().filter(|row| row.is_rebuilt).count();
        self.count("states rebuilt", rebuilt as u64);
        let after = &written.after;
        let new = written.users.iter().filter(|row| row.is_new).count();
        let known = self.lanes[&written.lane].progress.as_ref().map_or(0, |before| before.users);
        ensure(after.users - known == i64::try_from(new).unwrap(), || {
            "a user number was given away and not used".to_owned()
        })?;
        for (user, newest) in self.people.newest_upto(written.lane, after.checkpointed) {
            if self.people.books[&user].erased {
                continue;
            }
            let row = written.users.iter().find(|row| row.user == user && row.checkpoint.is_some());
            let stored = tables.users.get(&user).map_or(0, |stored| stored.record_number);
            let has = row.map_or(stored, |row| row.record_number);
            ensure(has >= newest, || {
                format!("I5: checkpoints are said to be written, one is at {has}, not {newest}")
            })?;
        }
        Ok(())
    }

    /// I5: so are bases, and they come when they are due.
    fn check_bases(&self, written: &Written) -> Checked {
        for ((user, number), base) in &written.bases {
            let known = self.people.known(*user, *number);
            let known = known.ok_or_else(|| format!("I5: a base of record {number} to come"))?;
            let place = checkpoint_place(*user, *number);
            let opened = PlainSeal.open(&all_keys_of(*user), place, &base.body);
            ensure(opened.is_ok_and(|bytes| *bytes.expose() == known.checkpoint), || {
                format!("I5: the base of user {} at {number} is not the replay's", user.0)
            })?;
            ensure(base.message_number == known.message_number, || {
                format!("I3: message number {} at base {number}", base.message_number)
            })?;
            ensure(number % i64::from(super::run::BASE_EVERY) == 0, || {
                format!("I5: a base at record {number}")
            })?;
        }
        Ok(())
    }

    fn check_checkpoint(&self, row: &UserWrite) -> Checked {
        let (user, number) = (row.user, row.record_number);
        let known = self.people.known(user, number);
        let known = known.ok_or_else(|| format!("I5: a checkpoint of record {number} to come"))?;
        let sealed = row.checkpoint.as_deref().unwrap_or_default();
        let opened = PlainSeal.open(&all_keys_of(user), checkpoint_place(user, number), sealed);
        ensure(opened.is_ok_and(|bytes| *bytes.expose() == known.checkpoint), || {
            format!("I5: the checkpoint of {} at {number} is not the replay's", row.user_id)
        })?;
        ensure(row.newest == Some(known.place), || {
            format!("I3: the newest record of {} is at {:?}", row.user_id, row.newest)
        })?;
        ensure(row.message_number == known.message_number, || {
            format!("I3: message number {} at {number}", row.message_number)
        })
    }

    /// I2, I5: a state for the cache is committed, and the fold's.
    pub(super) fn cached(&self, user_id: &str, number: i64, body: &[u8]) -> Checked {
        let user = self.people.number_of(user_id);
        let user = user.ok_or("I2: the cache got a state of a user who is not committed")?;
        let known = self.people.known(user, number);
        let known = known.ok_or("I2: the cache got a state that is not committed")?;
        let opened = PlainSeal.open(&all_keys_of(user), checkpoint_place(user, number), body);
        ensure(opened.is_ok_and(|bytes| *bytes.expose() == known.checkpoint), || {
            format!("I5: the live state of {user_id} at {number} is not the replay's")
        })
    }
}

/// Somebody is to look at alerts when the fold says, and only then.
fn check_looks(written: &Written, given: &[(UserNumber, i64, Given)]) -> Checked {
    let mut due: BTreeMap<UserNumber, Option<Timestamp>> = BTreeMap::new();
    for (user, _, given) in given {
        match given.look {
            Look::Unchanged => {}
            Look::At(at) => _ = due.insert(*user, Some(at)),
            Look::Never => _ = due.insert(*user, None),
        }
    }
    // Whom nobody may evaluate is looked at later.
    let met: BTreeSet<UserNumber> = given.iter().map(|(user, ..)| *user).collect();
    let said = written.looks.iter().filter(|row| met.contains(&row.user));
    let said: BTreeMap<_, _> = said.map(|row| (row.user, row.due)).collect();
    ensure(said == due, || format!("I5: looks at {said:?} where {due:?} are due"))
}

fn of_log(provenance: Provenance) -> Option<(Source, i64)> {
    match provenance {
        Provenance::Log(source, offset) => Some((source, offset)),
        Provenance::Order(_) => None,
    }
}
