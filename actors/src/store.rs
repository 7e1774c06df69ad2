//! The store as the lanes need it: claims, batches, users, the outbox. PostgreSQL is the truth; what a
//! lane holds in memory is only ahead of it.

mod stored;

use async_trait::async_trait;
use neuros::time::Timestamp;

use crate::dead_letter::Letter;
use crate::hash_chain::Head;
use crate::lane::{FenceToken, Lane, Positions, Progress, Routing, UserNumber};
use crate::rows::{Batch, RecordPlace, Sink};

pub use stored::{
    Start, StoredBase, StoredCommand, StoredDeadLetter, StoredLetter, StoredLook, StoredOutbox,
    StoredRecord, StoredUser,
};

/// Where everything that must survive is kept.
#[async_trait]
pub trait Store: Send + Sync {
    /// How users map to lanes; `None` before the topics were ever adopted.
    ///
    /// # Errors
    ///
    /// When the store is away.
    async fn routing(&self) -> Result<Option<Routing>, StoreError>;

    /// Takes a lane: a fresh token, one more epoch; waits for what its previous owner has in flight,
    /// and ends the previous owner's connections when they hang on for longer than three seconds.
    ///
    /// A lane that nobody ever had begins at `Positions` 0 and 0.
    ///
    /// # Errors
    ///
    /// [`StoreError::Outdated`] when the store has gone on to another generation, [`StoreError::NotYet`]
    /// when the lane is being added, [`StoreError::Refused`] when `routing` differs in another way from what
    /// the store says; else when it is away.
    async fn claim(&self, lane: Lane, owner: &str, routing: &Routing) -> Result<Claim, StoreError>;

    /// Moves a lane up to where its log begins, with a new token, and records the gap; says whether
    /// `token` still holds, else nothing is moved.
    ///
    /// # Errors
    ///
    /// When the store is away.
    async fn skip_gap(
        &self,
        lane: Lane,
        token: FenceToken,
        starts: Positions,
        at: Timestamp,
    ) -> Result<bool, StoreError>;

    /// What the lane's owner is to know from time to time; `None` when its token is no longer `token`.
    ///
    /// # Errors
    ///
    /// When the store is away.
    async fn tenure(&self, lane: Lane, token: FenceToken) -> Result<Option<Tenure>, StoreError>;

    /// Where records of a lane's users may still come from.
    ///
    /// # Errors
    ///
    /// When the store is away.
    async fn sources(&self, lane: Lane) -> Result<Sources, StoreError>;

    /// The offset of the last record that `origin` has forwarded to `home`, as committed; -1 for none.
    ///
    /// # Errors
    ///
    /// When the store is away.
    async fn last_forwarded(&self, origin: Lane, home: Lane) -> Result<i64, StoreError>;

    /// Writes a batch, all or nothing. The transaction is never abandoned half way, even when the
    /// caller goes away.
    ///
    /// # Errors
    ///
    /// See [`CommitError`].
    async fn commit(&self, batch: &Batch) -> Result<(), CommitError>;

    /// Records of a lane with stamps after `after` and up to `upto`, in order of stamp and position, at most
    /// `limit`: those that checkpoints may not hold yet.
    ///
    /// # Errors
    ///
    /// When the store is away.
    async fn records_of_lane(
        &self,
        lane: Lane,
        after: (Timestamp, i32),
        upto: Timestamp,
        limit: i64,
    ) -> Result<Vec<StoredRecord>, StoreError>;

    /// Where a user's records with numbers above `after` lie, from `begin` back, newest first: at most
    /// [`RECORDS_PAGE`](crate::capacity::RECORDS_PAGE). [`Chain`](crate::chain::Chain) has them in order.
    ///
    /// # Errors
    ///
    /// When the store is away.
    async fn places_back(
        &self,
        user: UserNumber,
        begin: Begin,
        after: i64,
    ) -> Result<Vec<NumberedPlace>, StoreError>;

    /// The records of a user that lie there, in order of their numbers.
    ///
    /// # Errors
    ///
    /// When the store is away.
    async fn records_at(
        &self,
        user: UserNumber,
        places: &[RecordPlace],
    ) -> Result<Vec<StoredRecord>, StoreError>;

    /// The users that are known, of those asked for, in any order.
    ///
    /// # Errors
    ///
    /// When the store is away.
    async fn users(&self, asked: Asked<'_>) -> Result<Vec<StoredUser>, StoreError>;

    /// Users with numbers above `after`, in order, at most `limit`.
    ///
    /// # Errors
    ///
    /// When the store is away.
    async fn users_after(
        &self,
        after: UserNumber,
        limit: i64,
    ) -> Result<Vec<StoredUser>, StoreError>;

    /// The newest few base checkpoints of a user that hold nothing behind record `upto`, the newest first.
    ///
    /// # Errors
    ///
    /// When the store is away.
    async fn bases(&self, user: UserNumber, upto: i64) -> Result<Vec<StoredBase>, StoreError>;

    /// Ids of all users in quarantine.
    ///
    /// # Errors
    ///
    /// When the store is away.
    async fn quarantined(&self) -> Result<Vec<String>, StoreError>;

    /// Ids of all users who were erased and not readmitted.
    ///
    /// # Errors
    ///
    /// When the store is away.
    async fn erased(&self) -> Result<Vec<String>, StoreError>;

    /// Commands of a lane that are not carried out, in order, at most `limit`.
    ///
    /// # Errors
    ///
    /// When the store is away.
    async fn commands(&self, lane: Lane, limit: i64) -> Result<Vec<StoredCommand>, StoreError>;

    /// Users of a lane whose alerts are to be looked at by `now`, the longest due first, at most `limit`. More
    /// partitions may have made another lane their home since: see [`Store::move_looks`].
    ///
    /// # Errors
    ///
    /// When the store is away.
    async fn looks(
        &self,
        lane: Lane,
        now: Timestamp,
        limit: i64,
    ) -> Result<Vec<StoredLook>, StoreError>;

    /// Says to which lane looks belong; those that were changed meanwhile are left alone.
    ///
    /// # Errors
    ///
    /// When the store is away.
    async fn move_looks(&self, looks: &[(StoredLook, Lane)]) -> Result<(), StoreError>;

    /// Dead letters that are still on the list, in order.
    ///
    /// # Errors
    ///
    /// When the store is away.
    async fn letters(&self, asked: AskedLetters<'_>) -> Result<Vec<StoredLetter>, StoreError>;

    /// The number of a policy, given one and kept with its text if it is new.
    ///
    /// # Errors
    ///
    /// When the store is away.
    async fn keep_policy(&self, version: &str, text: &str) -> Result<i32, StoreError>;

    /// Version and text of a policy.
    ///
    /// # Errors
    ///
    /// When the store is away, or has no such policy.
    async fn policy(&self, number: i32) -> Result<(String, String), StoreError>;

    /// Rows of a lane's outbox for one sink with numbers above `after`, in order, at most `limit`.
    ///
    /// # Errors
    ///
    /// When the store is away.
    async fn outbox(
        &self,
        lane: Lane,
        sink: Sink,
        after: i64,
        limit: i64,
    ) -> Result<Vec<StoredOutbox>, StoreError>;

    /// The number up to which a sink has taken a lane's outbox; 0 before anything.
    ///
    /// # Errors
    ///
    /// When the store is away.
    async fn cursor(&self, lane: Lane, sink: Sink) -> Result<i64, StoreError>;

    /// Moves that number up; says whether the token still holds, else nothing is moved.
    ///
    /// # Errors
    ///
    /// When the store is away.
    async fn move_cursor(
        &self,
        lane: Lane,
        token: FenceToken,
        sink: Sink,
        to: i64,
    ) -> Result<bool, StoreError>;
}

/// What a claim gives.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The right to write.
    pub token: FenceToken,
    /// How often the lane has been claimed.
    pub epoch: i64,
    /// How far the lane has come.
    pub progress: Progress,
    /// Where the lane's rows in the log of accesses end.
    pub audited: Head,
}

/// What an owner is told while it owns its lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tenure {
    /// Offset from which on no more of `biometric.events` is to be read: more partitions are being added,
    /// and users will find new homes.
    pub events_stop: Option<i64>,
}

/// Where a lane's users' records may still come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// The lane, and those that have ever sent something on to it: how far each has come, as committed.
    pub positions: Vec<(Lane, Positions)>,
    /// What the store takes for now; `None` when it has no clock of its own.
    pub now: Option<Timestamp>,
}

/// One of a user's records, by number, and where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumberedPlace {
    /// Its number among the user's.
    pub number: i64,
    /// Where it lies.
    pub place: RecordPlace,
}

/// Where the way back through a user's records begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// At the newest with a number up to `upto`. Some of the newest may be missing while another process is
    /// committing them.
    Newest {
        /// The number.
        upto: i64,
    },
    /// At this one.
    At(NumberedPlace),
}

/// Which users to look up.
#[derive(Clone, Copy, Debug)]
pub enum Asked<'a> {
    /// By id.
    Ids(&'a [&'a str]),
    /// By number.
    Numbers(&'a [UserNumber]),
}

/// Which dead letters to look up.
#[derive(Clone, Copy, Debug)]
pub enum AskedLetters<'a> {
    /// The oldest that wait for a user's release, so many at most.
    OfUser(UserNumber, usize),
    /// These, in this order.
    Named(&'a [Letter]),
}

/// Why the store did not do what it was asked for. Texts name servers and tables, never values.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached or cannot answer now: trying again may help.
    #[error("the store is away: {0}")]
    Away(String),
    /// It does not let us in: trying again helps only when somebody changes that.
    #[error("the store lets nobody in with these credentials: {0}")]
    Denied(String),
    /// It answers, and the answer is no: trying again does not help.
    #[error("{0}")]
    Refused(String),
    /// It answers, and the answer is no until an operator's work that is under way is done.
    #[error("{0}")]
    NotYet(String),
    /// It has gone on to what this process does not know: only a new process helps.
    #[error("{0}")]
    Outdated(String),
}

impl StoreError {
    /// What the store said.
    pub fn into_problem(self) -> String {
        match self {
            Self::Away(problem)
            | Self::Denied(problem)
            | Self::Refused(problem)
            | Self::NotYet(problem)
            | Self::Outdated(problem) => problem,
        }
    }
}

/// Why a batch is not known to be committed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// Somebody else owns the lane. Nothing was written.
    #[error("fenced: the lane has another owner")]
    Fenced,
    /// The token holds, but the lane is not where the batch begins. Nothing was written.
    #[error("the lane is not at the batch before this one")]
    OutOfStep,
    /// Certainly not committed; trying again may help.
    #[error("not committed: {0}")]
    Away(String),
    /// The connection died while waiting for the answer to COMMIT: nobody knows.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    /// Certainly not committed, and never will be: a row was there already, or does not fit. An alarm.
    #[error("the store refused the batch: {0}")]
    Refused(String),
}
