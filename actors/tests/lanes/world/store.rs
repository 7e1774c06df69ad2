//! A store in memory that can fail, lose the answer to a commit, and be looked into.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use actors::command::Order;
use actors::lane::{FenceToken, Lane, Positions, Progress, Routing, UserNumber};
use actors::rows::{Batch, Fate, Quarantine, Sink};
use actors::store::{
    Asked, AskedLetters, Claim, CommitError, Store, StoreError, StoredBase, StoredCommand,
    StoredDeadLetter, StoredLetter, StoredOutbox, StoredRecord, StoredUser,
};
use async_trait::async_trait;
use neuros::time::Timestamp;
use uuid::Uuid;

/// What the next commits come to instead of success.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// It fails before anything is written.
    Away,
    /// It is written, and nobody learns of it.
    Ghost,
    /// It is not written, and nobody learns of it.
    Lost,
}

struct LaneRow {
    token: Option<FenceToken>,
    epoch: i64,
    progress: Progress,
}

#[derive(Default)]
struct Data {
    lanes: BTreeMap<Lane, LaneRow>,
    users: BTreeMap<UserNumber, StoredUser>,
    records: Vec<(Lane, StoredRecord)>,
    transitions: Vec<(UserNumber, i64, i64)>,
    alerts: Vec<(UserNumber, i64)>,
    outbox: Vec<(Lane, Sink, StoredOutbox)>,
    cursors: BTreeMap<(Lane, Sink), i64>,
    audits: usize,
    faults: VecDeque<Fault>,
    letters: BTreeMap<(Lane, i64), (Option<UserNumber>, StoredLetter)>,
    fates: Vec<Fate>,
    commands: BTreeMap<(Lane, i64), StoredCommand>,
    outcomes: Vec<String>,
}

pub(crate) struct MemoryStore {
    held: AtomicBool,
    routing: Routing,
    data: Mutex<Data>,
}

impl MemoryStore {
    pub(crate) fn new(routing: Routing) -> Self {
        let mut data = Data::default();
        for lane in 0..routing.partition_count {
            let progress = Progress::starting_at(Positions::default());
            data.lanes.insert(Lane(lane), LaneRow { token: None, epoch: 0, progress });
        }
        Self { held: AtomicBool::new(false), routing, data: Mutex::new(data) }
    }

    pub(crate) fn fail_next(&self, fault: Fault) {
        self.data.lock().unwrap().faults.push_back(fault);
    }

    pub(crate) fn progress(&self, lane: Lane) -> Progress {
        self.data.lock().unwrap().lanes[&lane].progress.clone()
    }

    pub(crate) fn positions(&self, lane: Lane) -> Positions {
        self.progress(lane).positions
    }

    /// Somebody else takes the lane.
    pub(crate) fn steal(&self, lane: Lane) {
        let mut data = self.data.lock().unwrap();
        data.lanes.get_mut(&lane).unwrap().token = Some(FenceToken(Uuid::new_v4()));
    }

    /// Asks a lane for something.
    pub(crate) fn command(&self, lane: Lane, id: i64, order: &Order) {
        let requested_at = Timestamp::from_micros(id);
        let place = actors::command::place(lane, requested_at);
        let body = order.to_bytes().map(|body| super::sealed_by_service(place, &body));
        let (kind, user_id) = (order.kind().to_owned(), order.user_id().map(str::to_owned));
        let command = StoredCommand { id, kind, user_id, requested_at, body };
        self.data.lock().unwrap().commands.insert((lane, id), command);
    }

    /// What came of commands, in order.
    pub(crate) fn outcomes(&self) -> Vec<String> {
        self.data.lock().unwrap().outcomes.clone()
    }

    /// What became of dead letters that left the list, in order.
    pub(crate) fn fates(&self) -> Vec<Fate> {
        self.data.lock().unwrap().fates.clone()
    }

    /// Numbers of the dead letters that are still on the list.
    pub(crate) fn letters_left(&self) -> Vec<i64> {
        self.data.lock().unwrap().letters.keys().map(|(_, number)| *number).collect()
    }

    /// Offsets of a user's records, by number.
    pub(crate) fn offsets_of(&self, user_id: &str) -> Vec<i64> {
        let data = self.data.lock().unwrap();
        let user = data.users.values().find(|user| user.user_id == user_id).unwrap().user;
        let records = data.records.iter().filter(|(_, record)| record.user == user);
        records.map(|(_, record)| record.offset).collect()
    }

    pub(crate) fn is_quarantined(&self, user_id: &str) -> bool {
        let data = self.data.lock().unwrap();
        data.users.values().any(|user| user.user_id == user_id && user.quarantined)
    }

    /// Commits wait while it is held.
    pub(crate) fn hold(&self, held: bool) {
        self.held.store(held, Ordering::Relaxed);
    }

    /// All records of a user were decided by that engine.
    pub(crate) fn decided_by(&self, user_id: &str, engine: i16) {
        let mut data = self.data.lock().unwrap();
        let user = data.users.values().find(|user| user.user_id == user_id).unwrap().user;
        for (_, record) in data.records.iter_mut().filter(|(_, record)| record.user == user) {
            record.engine = engine;
        }
    }

    /// Retention has passed everything below `starts` in a lane's by-user log.
    pub(crate) fn lose_by_user(&self, lane: Lane, starts: i64) {
        let mut data = self.data.lock().unwrap();
        let count = self.routing.partition_count;
        let progress = &mut data.lanes.get_mut(&lane).unwrap().progress;
        progress.positions.by_user = starts;
        progress.unsettle_marks(count);
    }

    pub(crate) fn epoch(&self, lane: Lane) -> i64 {
        self.data.lock().unwrap().lanes[&lane].epoch
    }

    /// A user's checkpoint becomes what it was after an older record, sealed as if it were the newest.
    pub(crate) fn falsify(&self, user_id: &str, older: &[u8]) {
        let mut data = self.data.lock().unwrap();
        let user = data.users.values_mut().find(|user| user.user_id == user_id).unwrap();
        let place = actors::user::checkpoint_place(user.user, user.record_number);
        user.checkpoint = Some(super::sealed_by(user.user, place, older));
    }

    /// A user's checkpoint in the clear.
    pub(crate) fn checkpoint_of(&self, user_id: &str) -> Vec<u8> {
        let data = self.data.lock().unwrap();
        let user = data.users.values().find(|user| user.user_id == user_id).unwrap();
        let place = actors::user::checkpoint_place(user.user, user.record_number);
        super::opened(user.user, place, user.checkpoint.as_ref().unwrap())
    }

    pub(crate) fn delete_checkpoints(&self) {
        for user in self.data.lock().unwrap().users.values_mut() {
            user.checkpoint = None;
        }
    }

    /// Users with the number of their newest record.
    pub(crate) fn users_with_records(&self) -> BTreeMap<String, i64> {
        let data = self.data.lock().unwrap();
        let newest = |user| {
            let numbers = data.records.iter().filter(|(_, record)| record.user == user);
            numbers.map(|(_, record)| record.number).max().unwrap_or(0)
        };
        data.users.values().map(|user| (user.user_id.clone(), newest(user.user))).collect()
    }

    pub(crate) fn transitions_of(&self, user_id: &str) -> Vec<(i64, i64)> {
        let data = self.data.lock().unwrap();
        let Some(user) = data.users.values().find(|user| user.user_id == user_id) else {
            return Vec::new();
        };
        let of_user = data.transitions.iter().filter(|(of, _, _)| *of == user.user);
        of_user.map(|(_, seq, n)| (*seq, *n)).collect()
    }

    /// What must hold whatever happened: numbers without gaps, and an outbox that is what it stands for.
    pub(crate) fn check(&self) {
        let data = self.data.lock().unwrap();
        for user in data.users.keys() {
            let numbers = data.records.iter().filter(|(_, record)| record.user == *user);
            let numbers: Vec<i64> = numbers.map(|(_, record)| record.number).collect();
            let expected: Vec<i64> = (1..=i64::try_from(numbers.len()).unwrap()).collect();
            assert_eq!(numbers, expected, "record numbers of {user:?}");
            let mut messages: Vec<i64> = data
                .outbox
                .iter()
                .filter_map(|(_, _, row)| (row.user == Some(*user)).then_some(row.n).flatten())
                .collect();
            messages.sort_unstable();
            let expected: Vec<i64> = (1..=i64::try_from(messages.len()).unwrap()).collect();
            assert_eq!(messages, expected, "message numbers of {user:?}");
        }
        let dead = data.outbox.iter().filter(|(_, sink, _)| *sink == Sink::DeadLetters).count();
        assert_eq!(data.outbox.len(), data.transitions.len() + data.alerts.len() + dead);
        for (lane, row) in &data.lanes {
            let progress = &row.progress;
            let read = progress.counts.events.read();
            assert_eq!(read, progress.positions.events, "records of {lane}");
            assert_eq!(progress.counts.by_user.read(), progress.positions.by_user);
            let outbox = data.outbox.iter().filter(|(of, _, _)| of == lane).count();
            assert_eq!(progress.outbox, i64::try_from(outbox).unwrap());
        }
    }
}

fn write(data: &mut Data, batch: &Batch) {
    let row = data.lanes.get_mut(&batch.lane).unwrap();
    row.progress = batch.after.clone();
    let stamp = batch.after.stamp;
    for record in &batch.records {
        let stored = StoredRecord {
            stamp,
            position: record.position,
            user: record.user,
            number: record.number,
            source: record.source,
            offset: record.offset,
            policy: record.policy,
            engine: record.engine,
            body: record.body.0.clone(),
        };
        data.records.push((batch.lane, stored));
    }
    for row in &batch.users {
        let user = data.users.entry(row.user).or_insert_with(|| StoredUser {
            user: row.user,
            user_id: row.user_id.clone(),
            record_number: 0,
            message_number: 0,
            checkpoint: None,
            quarantined: false,
        });
        if let Some(checkpoint) = &row.checkpoint {
            user.checkpoint = Some(checkpoint.0.clone());
            (user.record_number, user.message_number) = (row.record_number, row.message_number);
        }
        match row.quarantine {
            Quarantine::Unchanged => {}
            Quarantine::Begins => user.quarantined = true,
            Quarantine::Ends => user.quarantined = false,
        }
    }
    data.transitions.extend(batch.transitions.iter().map(|row| (row.user, row.seq, row.n)));
    data.alerts.extend(batch.alerts.iter().map(|row| (row.user, row.n)));
    for row in &batch.outbox {
        let dead = batch.dead_letters.iter().find(|dead| dead.outbox == row.number);
        let dead_letter = dead.map(|dead| StoredDeadLetter {
            source: dead.source,
            offset: dead.offset,
            record_time: dead.record_time,
            reason: dead.reason.to_owned(),
            detail: dead.detail.clone(),
            failed_at: stamp,
        });
        let user_id = row.user.map(|user| data.users[&user].user_id.clone());
        let body = row.body.as_ref().or_else(|| dead.map(|dead| &dead.body)).unwrap().0.clone();
        let stored = StoredOutbox {
            number: row.number,
            user: row.user,
            user_id,
            n: row.n,
            body,
            dead_letter,
        };
        data.outbox.push((batch.lane, row.sink, stored));
    }
    write_letters(data, batch);
    data.audits += 1;
}

fn write_letters(data: &mut Data, batch: &Batch) {
    for dead in &batch.dead_letters {
        let letter = StoredLetter {
            outbox: dead.outbox,
            source: dead.source,
            offset: dead.offset,
            record_time: dead.record_time,
            reason: dead.reason.to_owned(),
            body: dead.body.0.clone(),
        };
        data.letters.insert((batch.lane, dead.outbox), (dead.user, letter));
    }
    for row in &batch.released {
        let letter = data.letters.remove(&(batch.lane, row.outbox));
        assert!(letter.is_some(), "a letter was released twice");
        data.fates.push(row.fate);
    }
    for row in &batch.commands {
        let command = data.commands.remove(&(batch.lane, row.id));
        assert!(command.is_some(), "a command was carried out twice");
        data.outcomes.push(row.outcome.clone());
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn routing(&self) -> Result<Option<Routing>, StoreError> {
        Ok(Some(self.routing.clone()))
    }

    async fn claim(&self, lane: Lane, _: &str, routing: &Routing) -> Result<Claim, StoreError> {
        assert_eq!(*routing, self.routing);
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        let mut data = self.data.lock().unwrap();
        let row = data.lanes.get_mut(&lane).unwrap();
        let token = FenceToken(Uuid::new_v4());
        row.token = Some(token);
        row.epoch += 1;
        Ok(Claim { token, epoch: row.epoch, progress: row.progress.clone() })
    }

    async fn skip_gap(&self, _: Lane, _: Positions, _: Timestamp) -> Result<(), StoreError> {
        unreachable!("no test skips")
    }

    async fn holds(&self, lane: Lane, token: FenceToken) -> Result<bool, StoreError> {
        Ok(self.data.lock().unwrap().lanes[&lane].token == Some(token))
    }

    async fn last_forwarded(&self, origin: Lane, home: Lane) -> Result<i64, StoreError> {
        let data = self.data.lock().unwrap();
        Ok(data.lanes[&origin].progress.forwarded.get(&home.0).copied().unwrap_or(-1))
    }

    async fn commit(&self, batch: &Batch) -> Result<(), CommitError> {
        tokio::task::yield_now().await;
        while self.held.load(Ordering::Relaxed) {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        let mut data = self.data.lock().unwrap();
        let fault = data.faults.pop_front();
        if let Some(Fault::Away) = fault {
            return Err(CommitError::Away("told so".to_owned()));
        }
        if let Some(Fault::Lost) = fault {
            return Err(CommitError::Unknown("told so".to_owned()));
        }
        let row = &data.lanes[&batch.lane];
        if row.token != Some(batch.token) {
            return Err(CommitError::Fenced);
        }
        if row.progress.batch != batch.before.batch
            || row.progress.positions != batch.before.positions
        {
            return Err(CommitError::OutOfStep);
        }
        write(&mut data, batch);
        match fault {
            Some(Fault::Ghost) => Err(CommitError::Unknown("told so".to_owned())),
            _ => Ok(()),
        }
    }

    async fn records_of_lane(
        &self,
        lane: Lane,
        after: (Timestamp, i32),
        limit: i64,
    ) -> Result<Vec<StoredRecord>, StoreError> {
        let data = self.data.lock().unwrap();
        let records = data.records.iter().filter(|(of, _)| *of == lane).map(|(_, r)| r);
        let newer = records.filter(|record| (record.stamp, record.position) > after);
        Ok(newer.take(usize::try_from(limit).unwrap()).cloned().collect())
    }

    async fn records_of_user(
        &self,
        user: UserNumber,
        after: i64,
        limit: i64,
    ) -> Result<Vec<StoredRecord>, StoreError> {
        let data = self.data.lock().unwrap();
        let records = data.records.iter().map(|(_, record)| record);
        let records = records.filter(|record| record.user == user && record.number > after);
        Ok(records.take(usize::try_from(limit).unwrap()).cloned().collect())
    }

    async fn users(&self, asked: Asked<'_>) -> Result<Vec<StoredUser>, StoreError> {
        let data = self.data.lock().unwrap();
        let wanted = |user: &&StoredUser| match asked {
            Asked::Ids(ids) => ids.contains(&user.user_id.as_str()),
            Asked::Numbers(numbers) => numbers.contains(&user.user),
        };
        Ok(data.users.values().filter(wanted).cloned().collect())
    }

    async fn base(&self, _: UserNumber) -> Result<Option<StoredBase>, StoreError> {
        Ok(None)
    }

    async fn quarantined(&self) -> Result<Vec<String>, StoreError> {
        let data = self.data.lock().unwrap();
        let quarantined = data.users.values().filter(|user| user.quarantined);
        Ok(quarantined.map(|user| user.user_id.clone()).collect())
    }

    async fn commands(&self, lane: Lane, limit: i64) -> Result<Vec<StoredCommand>, StoreError> {
        let data = self.data.lock().unwrap();
        let of_lane = data.commands.iter().filter(|((of, _), _)| *of == lane);
        let commands = of_lane.map(|(_, command)| command.clone());
        Ok(commands.take(usize::try_from(limit).unwrap()).collect())
    }

    async fn letters(
        &self,
        lane: Lane,
        asked: AskedLetters<'_>,
    ) -> Result<Vec<StoredLetter>, StoreError> {
        let data = self.data.lock().unwrap();
        let of_lane = data.letters.iter().filter(|((of, _), _)| *of == lane);
        let wanted = of_lane.filter(|((_, number), (user, _))| match asked {
            AskedLetters::OfUser(asked, _) => *user == Some(asked),
            AskedLetters::Numbered(numbers) => numbers.contains(number),
        });
        let limit = match asked {
            AskedLetters::OfUser(_, limit) => limit,
            AskedLetters::Numbered(numbers) => numbers.len(),
        };
        Ok(wanted.map(|(_, (_, letter))| letter.clone()).take(limit).collect())
    }

    async fn keep_policy(&self, _: &str, _: &str) -> Result<i32, StoreError> {
        Ok(1)
    }

    async fn policy(&self, _: i32) -> Result<(String, String), StoreError> {
        let policy = neuros::Policy::default();
        Ok((policy.version.clone(), policy.to_yaml()))
    }

    async fn outbox(
        &self,
        lane: Lane,
        sink: Sink,
        after: i64,
        limit: i64,
    ) -> Result<Vec<StoredOutbox>, StoreError> {
        let data = self.data.lock().unwrap();
        let rows = data
            .outbox
            .iter()
            .filter(|(of, to, row)| *of == lane && *to == sink && row.number > after);
        Ok(rows.take(usize::try_from(limit).unwrap()).map(|(_, _, row)| row.clone()).collect())
    }

    async fn cursor(&self, lane: Lane, sink: Sink) -> Result<i64, StoreError> {
        Ok(self.data.lock().unwrap().cursors.get(&(lane, sink)).copied().unwrap_or(0))
    }

    async fn move_cursor(
        &self,
        lane: Lane,
        token: FenceToken,
        sink: Sink,
        to: i64,
    ) -> Result<bool, StoreError> {
        let mut data = self.data.lock().unwrap();
        if data.lanes[&lane].token != Some(token) {
            return Ok(false);
        }
        data.cursors.insert((lane, sink), to);
        Ok(true)
    }
}
