//! Looks into the store, and what operators and accidents do to it; nothing that a lane could do.

use std::collections::BTreeMap;

use actors::command::Order;
use actors::dead_letter::Letter;
use actors::lane::{Lane, Positions, Progress};
use actors::rows::{Fate, Sink};
use actors::store::{StoredBase, StoredCommand};
use neuros::time::Timestamp;

use super::MemoryStore;
use super::tables::Tables;

impl MemoryStore {
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Tables) -> T) -> T {
        look(&self.tables.lock().unwrap())
    }

    pub(crate) fn progress(&self, lane: Lane) -> Progress {
        self.look(|tables| tables.lanes[&lane].progress.clone())
    }

    pub(crate) fn positions(&self, lane: Lane) -> Positions {
        self.look(|tables| tables.lanes[&lane].progress.positions)
    }

    pub(crate) fn epoch(&self, lane: Lane) -> i64 {
        self.look(|tables| tables.lanes[&lane].epoch)
    }

    /// Somebody else takes the lane.
    pub(crate) fn steal(&self, lane: Lane) {
        let token = self.chance.token();
        self.tables.lock().unwrap().lanes.get_mut(&lane).unwrap().token = Some(token);
        self.witness.claimed(lane, token);
    }

    /// Asks a lane for something.
    pub(crate) fn command(&self, lane: Lane, id: i64, order: &Order) {
        let requested_at = Timestamp::from_micros(id);
        let place = actors::command::place(lane, requested_at);
        let body = order.to_bytes().map(|body| crate::world::sealed_by_service(place, &body));
        let (kind, user_id) = (order.kind().to_owned(), order.user_id().map(str::to_owned));
        let command = StoredCommand { id, kind, user_id, requested_at, body };
        self.tables.lock().unwrap().commands.insert((lane, id), command);
    }

    /// What came of commands, in order.
    pub(crate) fn outcomes(&self) -> Vec<String> {
        self.look(|tables| tables.outcomes.iter().map(|(_, said)| said.clone()).collect())
    }

    /// What became of dead letters that left the list, in order.
    pub(crate) fn fates(&self) -> Vec<Fate> {
        self.look(|tables| tables.fates.iter().map(|(_, fate)| *fate).collect())
    }

    /// The dead letters that are still on the list.
    pub(crate) fn letters_left(&self) -> Vec<Letter> {
        self.look(|tables| {
            let open = tables.letters.keys().filter(|key| !tables.has_left(**key));
            open.map(|(lane, number)| Letter { lane: *lane, number: *number }).collect()
        })
    }

    /// Offsets of a user's records, by number.
    pub(crate) fn offsets_of(&self, user_id: &str) -> Vec<i64> {
        self.look(|tables| {
            let user = tables.ids[user_id];
            let records = tables.records.range((user, 0)..=(user, i64::MAX));
            records.map(|(_, record)| record.provenance.offset()).collect()
        })
    }

    /// A user's checkpoint becomes what it was after an older record, sealed as if it were the newest.
    pub(crate) fn falsify(&self, user_id: &str, older: &[u8]) {
        let mut tables = self.tables.lock().unwrap();
        let number = tables.ids[user_id];
        let user = tables.users.get_mut(&number).unwrap();
        let place = actors::places::checkpoint_place(number, user.record_number);
        user.checkpoint = Some(crate::world::sealed_by(number, place, older));
    }

    /// A user's checkpoint in the clear.
    pub(crate) fn checkpoint_of(&self, user_id: &str) -> Vec<u8> {
        self.look(|tables| {
            let user = &tables.users[&tables.ids[user_id]];
            let place = actors::places::checkpoint_place(user.user, user.record_number);
            crate::world::opened(user.user, place, user.checkpoint.as_ref().unwrap())
        })
    }

    /// Keeps a user's checkpoint as a base.
    pub(crate) fn keep_base(&self, user_id: &str) {
        let mut tables = self.tables.lock().unwrap();
        let user = tables.users[&tables.ids[user_id]].clone();
        let base = StoredBase {
            record_number: user.record_number,
            message_number: user.message_number,
            engine: neuros::ENGINE_VERSION.cast_signed(),
            body: user.checkpoint.unwrap(),
        };
        tables.bases.insert((user.user, user.record_number), base);
    }

    /// Forgets a user's bases from that record on; gives them back to who wants to put them again.
    pub(crate) fn take_bases(&self, user_id: &str, from: i64) -> Vec<StoredBase> {
        let mut tables = self.tables.lock().unwrap();
        let user = tables.ids[user_id];
        tables.bases.split_off(&(user, from)).into_values().collect()
    }

    /// Half of each of a user's bases from that record on is gone.
    pub(crate) fn damage_bases(&self, user_id: &str, from: i64) {
        let mut tables = self.tables.lock().unwrap();
        let user = tables.ids[user_id];
        for (_, base) in tables.bases.range_mut((user, from)..=(user, i64::MAX)) {
            base.body.truncate(base.body.len() / 2);
        }
    }

    /// Drops a user's records up to that one.
    pub(crate) fn drop_records(&self, user_id: &str, upto: i64) {
        self.tables.lock().unwrap().drop_records(user_id, upto);
    }

    /// Once bases have been read the next time, a newer one is there, and the records in it are not.
    pub(crate) fn tidy_between(&self, user_id: &str, base: StoredBase) {
        *self.housekeeping.lock().unwrap() = Some((user_id.to_owned(), base));
    }

    pub(super) fn housekeeping_comes_by(&self) {
        let Some((user_id, base)) = self.housekeeping.lock().unwrap().take() else { return };
        let mut tables = self.tables.lock().unwrap();
        let (user, upto) = (tables.ids[&user_id], base.record_number);
        tables.bases.insert((user, upto), base);
        tables.drop_records(&user_id, upto);
    }

    pub(crate) fn is_quarantined(&self, user_id: &str) -> bool {
        self.look(|tables| {
            tables.users.values().any(|user| user.user_id == user_id && user.quarantined)
        })
    }

    /// All records of a user were decided by that engine.
    pub(crate) fn decided_by(&self, user_id: &str, engine: i16) {
        let mut tables = self.tables.lock().unwrap();
        let user = tables.ids[user_id];
        for record in tables.records.values_mut().filter(|record| record.user == user) {
            record.engine = engine;
        }
    }

    pub(crate) fn delete_checkpoints(&self) {
        for user in self.tables.lock().unwrap().users.values_mut() {
            user.checkpoint = None;
        }
    }

    pub(crate) fn damage_checkpoints(&self) {
        let mut tables = self.tables.lock().unwrap();
        for checkpoint in tables.users.values_mut().filter_map(|user| user.checkpoint.as_mut()) {
            let half = checkpoint.len() / 2;
            checkpoint.truncate(half);
        }
    }

    /// Users with the number of their newest record.
    pub(crate) fn users_with_records(&self) -> BTreeMap<String, i64> {
        self.look(|tables| {
            let newest = |user| {
                let numbers = tables.records.range((user, 0)..=(user, i64::MAX));
                numbers.map(|((_, number), _)| *number).max().unwrap_or(0)
            };
            let users = tables.users.values();
            users.map(|user| (user.user_id.clone(), newest(user.user))).collect()
        })
    }

    pub(crate) fn transitions_of(&self, user_id: &str) -> Vec<(i64, i64)> {
        self.look(|tables| {
            let Some(user) = tables.ids.get(user_id) else { return Vec::new() };
            let of_user = tables.transitions.range((*user, 0)..=(*user, i64::MAX));
            of_user.map(|((_, seq), row)| (*seq, row.n)).collect()
        })
    }

    /// What must hold whatever happened: numbers without gaps, and an outbox that is what it stands for.
    pub(crate) fn check(&self) {
        self.look(|tables| {
            for user in tables.users.keys() {
                let numbers = tables.records.range((*user, 0)..=(*user, i64::MAX));
                let numbers: Vec<i64> = numbers.map(|((_, number), _)| *number).collect();
                assert_eq!(numbers, upto(numbers.len()), "record numbers of {user:?}");
                let of_user = tables.outbox.values().filter(|row| row.user == Some(*user));
                let mut messages: Vec<i64> = of_user.filter_map(|row| row.n).collect();
                messages.sort_unstable();
                assert_eq!(messages, upto(messages.len()), "message numbers of {user:?}");
            }
            let dead = tables.outbox.values().filter(|row| row.sink == Sink::DeadLetters).count();
            let decided = tables.transitions.len() + tables.alerts.len();
            assert_eq!(tables.outbox.len(), decided + dead);
            for (lane, row) in &tables.lanes {
                let progress = &row.progress;
                let read = progress.counts.events.read();
                assert_eq!(read, progress.positions.events, "records of {lane}");
                assert_eq!(progress.counts.by_user.read(), progress.positions.by_user);
                let outbox = tables.outbox.keys().filter(|(of, _)| of == lane).count();
                assert_eq!(progress.outbox, i64::try_from(outbox).unwrap());
            }
        });
    }
}

fn upto(count: usize) -> Vec<i64> {
    (1..=i64::try_from(count).unwrap()).collect()
}
