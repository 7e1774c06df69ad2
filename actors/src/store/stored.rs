//! Rows as the store gives them back: sealed bodies stay sealed.

use neuros::time::Timestamp;

use crate::dead_letter::Letter;
use crate::lane::{Provenance, Source, UserNumber};
use crate::rows::RecordPlace;

/// A dead letter that is still on the list.
#[derive(Clone)]
pub struct StoredLetter {
    /// Which.
    pub letter: Letter,
    /// Where it was read.
    pub source: Source,
    /// The offset there.
    pub offset: i64,
    /// When it entered the log.
    pub record_time: Option<Timestamp>,
    /// When it was refused.
    pub failed_at: Timestamp,
    /// Why.
    pub reason: String,
    /// The sealed record.
    pub body: Vec<u8>,
}

/// A command as the store knows it.
#[derive(Clone)]
pub struct StoredCommand {
    /// Its number.
    pub id: i64,
    /// What to do ([`crate::command::Order::kind`]).
    pub kind: String,
    /// To whom.
    pub user_id: Option<String>,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// The sealed particulars.
    pub body: Option<Vec<u8>>,
}

/// A user as the store knows them.
#[derive(Clone)]
pub struct StoredUser {
    /// The user's number.
    pub user: UserNumber,
    /// The user's id.
    pub user_id: String,
    /// The newest record in the checkpoint.
    pub record_number: i64,
    /// Where it lies.
    pub newest: Option<RecordPlace>,
    /// The newest message up to there.
    pub message_number: i64,
    /// The sealed state; `None` when it was deleted.
    pub checkpoint: Option<Vec<u8>>,
    /// Nothing of this user is evaluated until an operator releases them.
    pub quarantined: bool,
    /// The user was erased, and nothing of them is accepted.
    pub erased: bool,
    /// Where their numbers begin.
    pub start: Start,
    /// Keys up to this one were theirs before they were erased.
    pub start_key_number: u32,
}

/// The numbers behind which a user's own begin: zeros, but for somebody who was erased and readmitted. What
/// is numbered goes on, so that whoever drops repeats by number drops nothing new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// Of records.
    pub record_number: i64,
    /// Of outgoing messages.
    pub message_number: i64,
    /// Of mode changes.
    pub seq: i64,
}

/// A record as the store knows it.
#[derive(Clone)]
pub struct StoredRecord {
    /// Where it lies.
    pub place: RecordPlace,
    /// Whose.
    pub user: UserNumber,
    /// Its number among the user's.
    pub number: i64,
    /// Where it comes from.
    pub provenance: Provenance,
    /// The policy that it was decided under.
    pub policy: i32,
    /// The engine that decided it.
    pub engine: i16,
    /// The sealed record.
    pub body: Vec<u8>,
}

/// A user whose alerts somebody must look at.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredLook {
    /// Who.
    pub user: UserNumber,
    /// The user's id.
    pub user_id: String,
    /// Since when.
    pub due: Timestamp,
}

impl std::fmt::Debug for StoredLook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredLook").finish_non_exhaustive()
    }
}

/// A base checkpoint.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredBase {
    /// The newest record in it.
    pub record_number: i64,
    /// The newest message up to there.
    pub message_number: i64,
    /// The engine that wrote it.
    pub engine: i16,
    /// Where the newest record lies, if that is known.
    pub newest: Option<RecordPlace>,
    /// The sealed state.
    pub body: Vec<u8>,
}

/// A row of the outbox, or with it the dead letter that it stands for.
#[derive(Clone)]
pub struct StoredOutbox {
    /// Its number.
    pub number: i64,
    /// The stamp of its batch.
    pub recorded_at: Timestamp,
    /// Whose.
    pub user: Option<UserNumber>,
    /// The user's id, the key of the message.
    pub user_id: Option<String>,
    /// The user's message number.
    pub n: Option<i64>,
    /// The sealed message; of a dead letter the sealed record.
    pub body: Vec<u8>,
    /// Of a dead letter: what is said about it.
    pub dead_letter: Option<StoredDeadLetter>,
}

/// What is said about a dead letter.
#[derive(Clone)]
pub struct StoredDeadLetter {
    /// Where it was read.
    pub source: Source,
    /// The offset there.
    pub offset: i64,
    /// When it entered the log.
    pub record_time: Option<Timestamp>,
    /// Why, machine-readable.
    pub reason: String,
    /// Why, for people.
    pub detail: String,
    /// When it failed.
    pub failed_at: Timestamp,
}
