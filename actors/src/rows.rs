//! What one batch writes: everything is ready, sealed and in order before the transaction begins.

use neuros::time::Timestamp;
use smol_str::SmolStr;
use uuid::Uuid;

use crate::dead_letter::Letter;
use crate::hash_chain::Link;
use crate::lane::{FenceToken, Lane, Progress, Provenance, Source, UserNumber};
use crate::seal::Sealed;

/// One transaction of one lane.
pub struct Batch {
    /// Whose.
    pub lane: Lane,
    /// The right to write it.
    pub token: FenceToken,
    /// How far the lane had come before it.
    pub before: Progress,
    /// How far it has come with it; `batch` is one more, `stamp` later.
    pub after: Progress,
    /// Records in the order in which they were applied; by `position`.
    pub records: Vec<RecordRow>,
    /// Users that are new, or have a new checkpoint or flag; by number, each once.
    pub users: Vec<UserRow>,
    /// States that are kept for good; by user, then record.
    pub bases: Vec<BaseRow>,
    /// Mode changes; by user, then `n`.
    pub transitions: Vec<TransitionRow>,
    /// Changes of alerts; by user, then `n`.
    pub alerts: Vec<AlertRow>,
    /// What could not be applied; by outbox number.
    pub dead_letters: Vec<DeadLetterRow>,
    /// What must leave; numbered without gaps from `before.outbox + 1`.
    pub outbox: Vec<OutboxRow>,
    /// Who did what to whose data.
    pub audit: AuditRow,
    /// Dead letters that leave the list; by lane and number.
    pub released: Vec<ReleasedRow>,
    /// Commands carried out with it; by id.
    pub commands: Vec<CommandRow>,
    /// When to look at alerts again; by user, each once.
    pub looks: Vec<LookRow>,
    /// Users who are erased or readmitted.
    pub erasures: Vec<ErasureRow>,
}

/// Where a stored record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordPlace {
    /// The stamp of its batch, its time in the store.
    pub stamp: Timestamp,
    /// The lane that applied it.
    pub lane: Lane,
    /// Its place among the batch's records, from 0.
    pub position: i32,
}

/// A record that has changed its user's state. Its time in the store is the batch's stamp.
pub struct RecordRow {
    /// Its place among the batch's records, from 0.
    pub position: i32,
    /// Whose.
    pub user: UserNumber,
    /// Numbers the user's records, from 1, without gaps.
    pub number: i64,
    /// Where the user's record before it lies: so one leads to the other, and no index on users is needed.
    pub previous: Option<RecordPlace>,
    /// Where it comes from.
    pub provenance: Provenance,
    /// When it entered the log; of an order when it was carried out.
    pub record_time: Timestamp,
    /// The policy that it was decided under.
    pub policy: i32,
    /// The engine that decided it.
    pub engine: i16,
    /// The device that measured.
    pub device_id: SmolStr,
    /// What the producer calls it.
    pub event_type: SmolStr,
    /// The decoded record.
    pub body: Sealed,
}

/// When somebody must look at a user's alerts again, though nothing of theirs may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LookRow {
    /// Whose.
    pub user: UserNumber,
    /// When; `None` for not by time alone.
    pub due: Option<Timestamp>,
}

/// A user, as far as the store has to know.
pub struct UserRow {
    /// The user.
    pub user: UserNumber,
    /// The user's id.
    pub user_id: String,
    /// Not stored yet.
    pub is_new: bool,
    /// The number of the newest record that the checkpoint holds.
    pub record_number: i64,
    /// The number of the newest outgoing message up to there.
    pub message_number: i64,
    /// Where that record lies.
    pub newest: Option<RecordPlace>,
    /// The state after that record; `None` leaves the stored one alone.
    pub checkpoint: Option<Sealed>,
    /// The state was rebuilt, and replaces one after the same record too.
    pub is_rebuilt: bool,
    /// What becomes of the user's quarantine.
    pub quarantine: Quarantine,
}

/// A state that is kept for good, sealed as the checkpoint of the same record is.
pub struct BaseRow {
    /// Whose.
    pub user: UserNumber,
    /// The number of the newest record that it holds.
    pub record_number: i64,
    /// The number of the newest outgoing message up to there.
    pub message_number: i64,
    /// Where that record lies.
    pub newest: RecordPlace,
    /// The state.
    pub body: Sealed,
}

/// What a batch does about a user's quarantine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quarantine {
    /// Nothing.
    #[default]
    Unchanged,
    /// The user's evaluation panicked: it begins.
    Begins,
    /// An operator has released the user, and the last record that waited is applied: it ends.
    Ends,
}

/// A user who is erased, or readmitted. Their row stays, as a tombstone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErasureRow {
    /// Whom.
    pub user: UserNumber,
    /// What happens.
    pub change: Erasure,
}

/// What a batch does about a user's erasure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Erasure {
    /// The user is erased: the state goes, and whatever comes later is numbered behind what was.
    Begins {
        /// The number of the user's newest record.
        record_number: i64,
        /// Where it lies: from there all of them are found that are to be deleted.
        newest: Option<RecordPlace>,
        /// The number of their newest key: those up to it are destroyed, and none that somebody who is readmitted
        /// gets.
        key_number: u32,
    },
    /// The user may begin anew.
    Ends,
}

/// A mode change.
pub struct TransitionRow {
    /// Whose.
    pub user: UserNumber,
    /// Numbers the user's mode changes, from 1, without gaps.
    pub seq: i64,
    /// Numbers the user's outgoing messages, from 1, without gaps.
    pub n: i64,
    /// The record that caused it.
    pub record_number: i64,
    /// The de-duplication key of the message.
    pub message_id: Uuid,
    /// The event's time.
    pub time: Timestamp,
    /// The policy.
    pub policy: i32,
    /// The message with its explanation, JSON.
    pub body: Sealed,
}

/// A change of an alert.
pub struct AlertRow {
    /// Whose.
    pub user: UserNumber,
    /// Numbers the user's outgoing messages.
    pub n: i64,
    /// The record that caused it.
    pub record_number: i64,
    /// Names the episode, and says nothing of its rule: the id of the first message about it.
    pub alert_id: Uuid,
    /// The de-duplication key of the message.
    pub message_id: Uuid,
    /// `firing`, `acknowledged`, `resolved` or `expired`.
    pub status: &'static str,
    /// When the episode began (event time).
    pub started_at: Timestamp,
    /// The time of the change (event time).
    pub updated_at: Timestamp,
    /// When it ended (event time).
    pub ended_at: Option<Timestamp>,
    /// The message, JSON.
    pub body: Sealed,
}

/// A record that could not be applied.
pub struct DeadLetterRow {
    /// Its number in the lane's outbox.
    pub outbox: i64,
    /// Where it was read.
    pub source: Source,
    /// The offset there.
    pub offset: i64,
    /// When it entered the log.
    pub record_time: Option<Timestamp>,
    /// Why, machine-readable.
    pub reason: &'static str,
    /// Why, for people; quotes nothing of the record.
    pub detail: String,
    /// Whose, when it is kept for the user's release from quarantine.
    pub user: Option<UserNumber>,
    /// The record as it came ([`crate::incoming::Raw`]).
    pub body: Sealed,
}

/// A dead letter that leaves the list: of the lane itself, or of a user whose home it has become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReleasedRow {
    /// Which.
    pub letter: Letter,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was applied after all.
    Applied,
    /// The user's newest records have it already.
    Duplicate,
    /// An operator gave it up.
    Discarded,
}

impl Fate {
    /// Its name in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Duplicate => "duplicate",
            Self::Discarded => "discarded",
        }
    }
}

/// A command that is carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandRow {
    /// Its number.
    pub id: i64,
    /// The user's newest record number with it, when it is about one user and applied records.
    pub record_number: Option<i64>,
    /// What came of it, for people; says nothing about a person's body.
    pub outcome: String,
}

/// Who takes rows of the outbox, each at its own pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sink {
    /// `neuros.mode.transitions`.
    Transitions,
    /// `biometric.alerts`.
    Alerts,
    /// `biometric.events.dlq`.
    DeadLetters,
    /// The peer at `push.websocket_url`: what the two topics of messages are given goes there too. No row is for it
    /// alone.
    Peer,
}

impl Sink {
    /// All, in the order of their numbers in tables.
    pub const ALL: [Self; 4] = [Self::Transitions, Self::Alerts, Self::DeadLetters, Self::Peer];

    /// The topics: each row of the outbox names one of them.
    pub const TOPICS: [Self; 3] = [Self::Transitions, Self::Alerts, Self::DeadLetters];

    /// Whether it takes rows for that topic.
    pub fn takes(self, topic: Self) -> bool {
        match self {
            Self::Peer => matches!(topic, Self::Transitions | Self::Alerts),
            own => own == topic,
        }
    }

    /// Its number in tables, from 0.
    pub fn number(self) -> i16 {
        self as i16
    }

    /// The sink of that number.
    pub fn of_number(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|sink| sink.number() == number)
    }

    /// Its name in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transitions => "transitions",
            Self::Alerts => "alerts",
            Self::DeadLetters => "dead_letters",
            Self::Peer => "push",
        }
    }
}

/// Something that must leave once the batch is committed.
pub struct OutboxRow {
    /// Numbers the lane's outbox, from 1, without gaps.
    pub number: i64,
    /// Which topic.
    pub sink: Sink,
    /// Whose; `None` for a dead letter.
    pub user: Option<UserNumber>,
    /// The user's message number; `None` for a dead letter.
    pub n: Option<i64>,
    /// The message, JSON; `None` for a dead letter, whose row has it.
    pub body: Option<Sealed>,
}

/// One row for each batch: the service wrote these people's data.
pub struct AuditRow {
    /// Whose chain it is in.
    pub writer: String,
    /// Its place there.
    pub link: Link,
    /// The process, as `service/instance`.
    pub accessor_id: String,
    /// What it did.
    pub access_type: &'static str,
    /// To which table, mainly.
    pub table_name: &'static str,
    /// To which part of it.
    pub record_id: String,
    /// How many records.
    pub records: i64,
    /// When.
    pub time: Timestamp,
}

/// Which keys have sealed what a batch writes: of how many users, and the numbers of their keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeysUsed {
    /// Users.
    pub users: u64,
    /// The lowest number and the highest among those of each user's keys.
    pub numbers: Option<(u32, u32)>,
    /// The number of the service's own key, when it has sealed a dead letter.
    pub service: Option<u32>,
}

impl KeysUsed {
    /// A user's key has sealed something.
    pub fn add(&mut self, number: u32) {
        self.users += 1;
        let (lowest, highest) = self.numbers.unwrap_or((number, number));
        self.numbers = Some((lowest.min(number), highest.max(number)));
    }
}
