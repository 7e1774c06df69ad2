//! What each person must be: the pure fold of their stored records, one after the other, by the engine
//! alone. It knows no lane's memory and reads no checkpoint.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use actors::dead_letter::Letter;
use actors::home::home;
use actors::lane::{Lane, ModeCounts, Source, UserNumber};
use actors::person::{Applied as Done, Look, Person, Reaction};
use actors::rows::RecordPlace;
use neuros::alert::Stored;
use neuros::event::Record;
use neuros::time::Timestamp;
use neuros::{Kind, Mode, Outcome, Policy, Reason};

use super::fates::Fate;
use crate::world::policy;

/// A record that was applied, as the log has it.
pub(super) struct Applied<'r> {
    pub record: &'r Record<'static>,
    /// Where it lies in the store.
    pub place: RecordPlace,
    /// The bytes that the producer sent.
    pub content: &'r [u8],
    /// The partition of `biometric.events` that it came in on, and the offset there.
    pub origin: (i32, i64),
    /// The number of the policy that decided it.
    pub policy: i32,
    /// It had waited for the user's release.
    pub is_released: bool,
    /// It was refused before, and is applied out of its turn.
    pub is_redriven: bool,
}

/// A record that waits for its user's release.
pub(super) struct Held {
    pub letter: Letter,
    pub place: (Source, i64),
    pub fate: Fate,
}

/// A mode change that the fold gives.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Switch {
    pub seq: i64,
    pub n: i64,
    pub record_number: i64,
    pub previous: Mode,
    pub mode: Mode,
}

/// What the fold gives for one record.
#[derive(Default)]
pub(super) struct Given {
    pub switches: Vec<Switch>,
    /// Numbers of changes of alerts.
    pub alerts: Vec<i64>,
    /// When to look at the alerts again.
    pub look: Look,
}

/// A state that the fold has gone through.
pub(super) struct Known {
    pub stamp: Timestamp,
    pub checkpoint: Vec<u8>,
    pub message_number: i64,
    pub place: RecordPlace,
}

/// A remembered record: device, event type and own time, then the content.
type Identity = ((String, String, i64), Vec<u8>);

/// A person.
pub(super) struct Book {
    pub user_id: String,
    pub lane: Lane,
    person: Person,
    seq: i64,
    /// After record 1, 2 and so on.
    pub states: Vec<Known>,
    remembered: VecDeque<Identity>,
    /// Everything that was ever applied.
    contents: BTreeSet<Vec<u8>>,
    /// By partition of `biometric.events` the newest offset.
    origins: BTreeMap<i32, i64>,
    pub quarantined: bool,
    /// What waits for the release, in order.
    pub held: VecDeque<Held>,
    pub revisions: u64,
    /// Records from before, and from after, their arrival.
    pub late: u64,
    pub early: u64,
    /// So many states were in checkpoints when the person found a new home.
    settled: usize,
    pub erased: bool,
    /// So many states were there when the person was erased last.
    began: usize,
}

impl Book {
    fn mode(&self) -> Option<Mode> {
        self.person.state.as_ref().map(|state| state.mode())
    }

    /// Keeps the state as it is after a record.
    fn keep(&mut self, place: RecordPlace) {
        self.states.push(Known {
            stamp: place.stamp,
            checkpoint: self.person.to_checkpoint().unwrap().into_inner(),
            message_number: self.person.message_number,
            place,
        });
    }

    /// Whether the person had this very record before, so that it may be a duplicate.
    pub(super) fn has_had(&self, content: &[u8]) -> bool {
        self.contents.contains(content)
    }

    /// Somebody gives up what waits; says whether it did.
    pub(super) fn drop_held(&mut self, letter: Letter) -> bool {
        let count = self.held.len();
        self.held.retain(|held| held.letter != letter);
        self.held.len() < count
    }

    /// A repeat of one of the newest 64 must not be applied again.
    fn remember(&mut self, applied: &Applied<'_>) -> Result<(), String> {
        let Record { device_id, event_type, time, .. } = applied.record;
        let name = (device_id.to_string(), event_type.to_string(), time.as_micros());
        let known = self.remembered.iter_mut().find(|known| known.0 == name);
        match known {
            Some((_, content)) if *content == applied.content => {
                return Err("a repeat was applied again".to_owned());
            }
            Some((_, content)) => {
                self.revisions += 1;
                applied.content.clone_into(content);
            }
            None => self.remembered.push_back((name, applied.content.to_owned())),
        }
        if self.remembered.len() > 64 {
            self.remembered.pop_front();
        }
        self.contents.insert(applied.content.to_owned());
        Ok(())
    }
}

/// Everybody.
#[derive(Default)]
pub(super) struct People {
    pub books: BTreeMap<UserNumber, Book>,
    policies: BTreeMap<i32, Policy>,
    /// What each lane counts: who has come into being or changed there.
    modes: BTreeMap<Lane, ModeCounts>,
}

impl People {
    /// Everybody finds a new home among so many lanes.
    pub(super) fn moved(&mut self, lanes: i32) {
        for book in self.books.values_mut() {
            book.lane = home(&book.user_id, lanes);
            book.settled = book.states.len();
        }
    }

    pub(super) fn add(&mut self, user: UserNumber, user_id: &str, lane: Lane) {
        let book = Book {
            user_id: user_id.to_owned(),
            lane,
            person: Person::default(),
            seq: 0,
            states: Vec::new(),
            remembered: VecDeque::new(),
            contents: BTreeSet::new(),
            origins: BTreeMap::new(),
            quarantined: false,
            held: VecDeque::new(),
            revisions: 0,
            late: 0,
            early: 0,
            settled: 0,
            erased: false,
            began: 0,
        };
        self.books.insert(user, book);
    }

    /// Folds an order on.
    pub(super) fn obey(
        &mut self,
        user: UserNumber,
        number: i64,
        stored: &Stored,
        place: RecordPlace,
        policy_number: i32,
    ) -> Result<Given, String> {
        let book = self.books.get_mut(&user).ok_or("an order to nobody")?;
        if book.quarantined {
            return Err("an order to a user in quarantine was carried out".to_owned());
        }
        let known = self.policies.entry(policy_number);
        let policy = known.or_insert_with(|| policy(policy_number));
        let mut reaction = Reaction::default();
        let obeyed = book.person.obey(policy, stored, &mut reaction);
        obeyed.map_err(|refusal| format!("an order that comes to nothing: {refusal}"))?;
        if book.person.record_number != number {
            return Err(format!("record number {number} for an order"));
        }
        book.person.newest = Some(place);
        book.keep(place);
        let alerts = reaction.changes.iter().map(|change| change.n).collect();
        Ok(Given { switches: Vec::new(), alerts, look: reaction.look })
    }

    /// Folds a record on; gives the mode changes and what they do to alerts.
    pub(super) fn apply(
        &mut self,
        user: UserNumber,
        number: i64,
        applied: &Applied<'_>,
    ) -> Result<Given, String> {
        let book = self.books.get_mut(&user).ok_or("a record of nobody")?;
        if book.quarantined && !applied.is_released {
            return Err("a record of a user in quarantine was applied".to_owned());
        }
        let (partition, offset) = applied.origin;
        if !applied.is_redriven
            && book.origins.insert(partition, offset).is_some_and(|newest| newest >= offset)
        {
            return Err(format!("{partition}/{offset} was applied after a later one"));
        }
        book.remember(applied)?;
        let before = book.mode();
        let mut outcomes: Vec<Outcome> = Vec::new();
        let known = self.policies.entry(applied.policy);
        let policy = known.or_insert_with(|| policy(applied.policy));
        let mut reaction = Reaction::default();
        if book.person.apply(policy, applied.record, &mut outcomes) != Done::Duplicate {
            book.person.react(policy, applied.record, &outcomes, &mut reaction);
        }
        if book.person.record_number != number {
            let due = book.person.record_number;
            return Err(format!("record number {number} where {due} is due"));
        }
        book.early += u64::from(applied.record.time > applied.record.record_time);
        let is_late = outcomes.iter().any(|outcome| outcome.reason == Some(Reason::Backfill));
        book.late += u64::from(is_late);
        let mut switches = Vec::new();
        let switched = outcomes.iter().filter(|outcome| outcome.kind == Kind::Switched);
        for (outcome, n) in switched.zip(&reaction.switches) {
            book.seq += 1;
            switches.push(Switch {
                seq: book.seq,
                n: *n,
                record_number: number,
                previous: outcome.previous_mode,
                mode: outcome.mode,
            });
        }
        book.person.newest = Some(applied.place);
        let state = book.person.state.as_ref().ok_or("a record without a state")?;
        if before != Some(state.mode()) {
            self.modes.entry(book.lane).or_default().moved(before, state.mode());
        }
        book.keep(applied.place);
        let alerts = reaction.changes.iter().map(|change| change.n).collect();
        Ok(Given { switches, alerts, look: reaction.look })
    }

    /// A person is erased: the state is forgotten, and the numbers are not.
    pub(super) fn erase(&mut self, user: UserNumber) -> Option<&mut Book> {
        let book = self.books.get_mut(&user)?;
        if let Some(mode) = book.mode() {
            self.modes.entry(book.lane).or_default().left(mode);
        }
        let Person { record_number, message_number, .. } = book.person;
        let seq_before = u64::try_from(book.seq).unwrap();
        book.person = Person { record_number, message_number, seq_before, ..Person::default() };
        book.remembered.clear();
        book.contents.clear();
        (book.erased, book.quarantined, book.began) = (true, false, book.states.len());
        Some(book)
    }

    /// Where the record before that one lies.
    pub(super) fn before(&self, user: UserNumber, number: i64) -> Option<RecordPlace> {
        let is_first = self
            .books
            .get(&user)
            .is_some_and(|book| i64::try_from(book.began).unwrap() == number - 1);
        self.known(user, number - 1).filter(|_| !is_first).map(|known| known.place)
    }

    /// The state after a record, if the fold has come so far.
    pub(super) fn known(&self, user: UserNumber, number: i64) -> Option<&Known> {
        let place = usize::try_from(number).ok()?.checked_sub(1)?;
        self.books.get(&user)?.states.get(place)
    }

    /// Takes a letter, when it is the next that waits for one of a lane's users.
    pub(super) fn next_held(&mut self, lane: Lane, letter: Letter) -> Option<Held> {
        let mut of_lane = self.books.values_mut().filter(|book| book.lane == lane);
        let is_next = |held: &Held| held.letter == letter;
        let book = of_lane.find(|book| book.held.front().is_some_and(is_next))?;
        book.held.pop_front()
    }

    pub(super) fn number_of(&self, user_id: &str) -> Option<UserNumber> {
        self.books.iter().find(|(_, book)| book.user_id == user_id).map(|(user, _)| *user)
    }

    /// What a lane must count.
    pub(super) fn modes(&self, lane: Lane) -> ModeCounts {
        self.modes.get(&lane).copied().unwrap_or_default()
    }

    /// The newest record of each of a lane's users with a stamp up to `stamp`.
    pub(super) fn newest_upto(
        &self,
        lane: Lane,
        stamp: Timestamp,
    ) -> impl Iterator<Item = (UserNumber, i64)> {
        let of_lane = self.books.iter().filter(move |(_, book)| book.lane == lane);
        of_lane.map(move |(user, book)| {
            let of_lane = &book.states[book.settled..];
            let count = of_lane.partition_point(|known| known.stamp <= stamp);
            (*user, i64::try_from(book.settled + count).unwrap())
        })
    }
}
