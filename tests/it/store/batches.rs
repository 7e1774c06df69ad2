//! Lanes and batches for the facts to write.

use std::collections::BTreeMap;
use std::sync::Arc;

use actors::hash_chain::{Content, Head, writer_of};
use actors::lane::{
    FenceToken, Lane, Positions, Progress, Provenance, Routing, Source, UserNumber,
};
use actors::rows::{
    AlertRow, AuditRow, Batch, DeadLetterRow, OutboxRow, Quarantine, RecordPlace, RecordRow, Sink,
    TransitionRow, UserRow,
};
use actors::seal::Sealed;
use actors::store::{CommitError, Store};
use biometric_bridge::store::{Administration, SqlStore};
use entities::base_checkpoints;
use neuros::Mode;
use neuros::time::Timestamp;
use sea_orm::ActiveValue::Set;
use sea_orm::EntityTrait;
use uuid::Uuid;

use super::places::Place;

/// 2025-03-03T08:00:00.123456Z.
pub(crate) const START: i64 = 1_740_988_800_123_456;

pub(crate) fn routing() -> Routing {
    Routing {
        generation: 1,
        partition_count: 2,
        version: actors::lane::ROUTING_VERSION,
        bytes_max: 1_048_576,
        log_id: Some("cluster/events/by-user".to_owned()),
        expanding: false,
    }
}

pub(crate) const LANES: [(Lane, Positions); 2] = [
    (Lane(0), Positions { events: 5, by_user: 0 }),
    (Lane(1), Positions { events: 7, by_user: 3 }),
];

/// Lives in lane 0 of the two.
pub(crate) const AT_HOME: &str = "u1";

/// A lane's owner, as far as the store can tell.
pub(crate) struct Owner {
    pub(crate) store: Arc<SqlStore>,
    pub(crate) lane: Lane,
    pub(crate) token: FenceToken,
    pub(crate) progress: Progress,
    /// Where the lane's rows in the log of accesses end.
    pub(crate) audited: Head,
    /// Where each user's records lie, by number.
    pub(crate) places: BTreeMap<(UserNumber, i64), RecordPlace>,
}

impl Owner {
    /// Lane 0 of a store that has just begun.
    pub(crate) async fn first(store: &Arc<SqlStore>) -> Self {
        store.begin(&routing(), &LANES).await.expect("the store begins");
        Self::of(store, Lane(0)).await
    }

    pub(crate) async fn of(store: &Arc<SqlStore>, lane: Lane) -> Self {
        let claim = store.claim(lane, "it", &routing()).await.expect("the lane is free");
        let (store, places) = (Arc::clone(store), BTreeMap::new());
        let (token, progress, audited) = (claim.token, claim.progress, claim.audited);
        Self { store, lane, token, progress, audited, places }
    }

    /// The next batch, with nothing in it yet.
    pub(crate) fn batch(&self) -> Batch {
        let before = self.progress.clone();
        let mut after = before.clone();
        after.batch += 1;
        after.positions.events += 10;
        after.counts.events.new += 10;
        after.stamp = Timestamp::from_micros(START + after.batch * 1_000_000);
        Batch {
            lane: self.lane,
            token: self.token,
            before,
            audit: self.audit_row(&after),
            after,
            records: Vec::new(),
            users: Vec::new(),
            bases: Vec::new(),
            transitions: Vec::new(),
            alerts: Vec::new(),
            dead_letters: Vec::new(),
            outbox: Vec::new(),
            released: Vec::new(),
            commands: Vec::new(),
            looks: Vec::new(),
            erasures: Vec::new(),
        }
    }

    fn audit_row(&self, after: &Progress) -> AuditRow {
        let (access_type, table_name) = ("WRITE", "event_records");
        let (accessor_id, writer) = ("bridge/it".to_owned(), writer_of(self.lane));
        let record_id = format!("lane {} batch {}", self.lane, after.batch);
        let (time, records) = (after.stamp, 0);
        let content = Content {
            user_id: None,
            accessor_id: &accessor_id,
            access_type,
            table_name,
            record_id: Some(&record_id),
            records,
            time_us: time.as_micros(),
        };
        let link = self.audited.follow(&writer, &content);
        AuditRow { writer, link, accessor_id, access_type, table_name, record_id, records, time }
    }

    /// Commits, and is where the batch ends.
    pub(crate) async fn commit(&mut self, mut batch: Batch) -> Result<(), CommitError> {
        self.link(&mut batch);
        self.store.commit(&batch).await?;
        self.audited = batch.audit.link.head();
        self.progress = batch.after;
        Ok(())
    }

    /// Has each record say where the one before it lies, and each checkpoint where its newest does.
    fn link(&mut self, batch: &mut Batch) {
        let (stamp, lane) = (batch.after.stamp, self.lane);
        for row in &mut batch.records {
            row.previous = self.places.get(&(row.user, row.number - 1)).copied();
            let place = RecordPlace { stamp, lane, position: row.position };
            self.places.insert((row.user, row.number), place);
        }
        for row in &mut batch.users {
            row.newest = self.places.get(&(row.user, row.record_number)).copied();
        }
    }

    /// A user, with a first record and a first checkpoint, committed.
    pub(crate) async fn with_user(&mut self, id: &str) -> UserNumber {
        let mut batch = self.batch();
        let user = batch.after.number_user(self.lane);
        batch.after.modes.moved(None, Mode::Pattern);
        batch.records.push(record(user, 1, 0));
        batch.users.push(user_row(user, id, 1, true));
        self.commit(batch).await.expect("a first batch is committed");
        user
    }
}

pub(crate) fn record(user: UserNumber, number: i64, position: i32) -> RecordRow {
    RecordRow {
        position,
        user,
        number,
        previous: None,
        provenance: Provenance::Log(
            if number % 2 == 0 { Source::ByUser } else { Source::Events },
            1_000 + number,
        ),
        record_time: Timestamp::from_micros(START - number),
        policy: 1,
        engine: 1,
        device_id: format!("ring {position}").into(),
        event_type: "heart_rate".into(),
        body: Sealed(format!("record {number} of {}", user.0).into_bytes()),
    }
}

pub(crate) fn user_row(user: UserNumber, id: &str, record_number: i64, is_new: bool) -> UserRow {
    UserRow {
        user,
        user_id: id.to_owned(),
        is_new,
        record_number,
        newest: None,
        message_number: record_number / 2,
        checkpoint: Some(Sealed(format!("state after {record_number}").into_bytes())),
        is_rebuilt: false,
        quarantine: Quarantine::Unchanged,
    }
}

pub(crate) fn transition(user: UserNumber, seq: i64, n: i64) -> TransitionRow {
    TransitionRow {
        user,
        seq,
        n,
        record_number: n,
        message_id: Uuid::new_v4(),
        time: Timestamp::from_micros(START + n),
        policy: 1,
        body: Sealed(format!("switch {seq}").into_bytes()),
    }
}

pub(crate) fn alert(user: UserNumber, n: i64, alert_id: Uuid, status: &'static str) -> AlertRow {
    AlertRow {
        user,
        n,
        record_number: n,
        alert_id,
        message_id: Uuid::new_v4(),
        status,
        started_at: Timestamp::from_micros(START),
        updated_at: Timestamp::from_micros(START + n),
        ended_at: (status == "resolved").then(|| Timestamp::from_micros(START + n)),
        body: Sealed(format!("alert {n} {status}").into_bytes()),
    }
}

/// Puts a message into the outbox.
pub(crate) fn mail(batch: &mut Batch, sink: Sink, user: UserNumber, n: i64) {
    batch.after.outbox += 1;
    batch.outbox.push(OutboxRow {
        number: batch.after.outbox,
        sink,
        user: Some(user),
        n: Some(n),
        body: Some(Sealed(format!("message {n}").into_bytes())),
    });
}

/// Keeps a dead letter, with its row in the outbox.
pub(crate) fn dead_letter(batch: &mut Batch, offset: i64, user: Option<UserNumber>) {
    batch.after.outbox += 1;
    let number = batch.after.outbox;
    batch.outbox.push(OutboxRow {
        number,
        sink: Sink::DeadLetters,
        user: None,
        n: None,
        body: None,
    });
    batch.dead_letters.push(DeadLetterRow {
        outbox: number,
        source: Source::Events,
        offset,
        record_time: (offset % 2 == 0).then(|| Timestamp::from_micros(START)),
        reason: "not_json",
        detail: "not JSON at byte 3".to_owned(),
        user,
        body: Sealed(format!("raw {offset}").into_bytes()),
    });
}

/// Keeps a base, as housekeeping would.
pub(crate) async fn keep_base(place: &Place, user: UserNumber, record_number: i64, at: Timestamp) {
    let created_at = chrono::DateTime::from_timestamp_micros(at.as_micros()).expect("an instant");
    let row = base_checkpoints::ActiveModel {
        user_number: Set(user.0),
        record_number: Set(record_number),
        message_number: Set(record_number / 2),
        engine: Set(1),
        body: Set(format!("base {record_number}").into_bytes()),
        created_at: Set(created_at),
        newest_lane: Set(None),
        newest_position: Set(None),
    };
    let outside = place.outside().await;
    let kept = base_checkpoints::Entity::insert(row).exec_without_returning(&outside).await;
    kept.expect("the base is kept");
}
