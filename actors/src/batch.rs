//! A batch on its way: a new name and a new shape at every station, one batch of one lane throughout.

use neuros::alert::Held;
use neuros::time::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::cache::CachedState;
use crate::intake::DeadLetter;
use crate::lane::{FenceToken, Lane, PerSource, Progress, Source, UserNumber};
use crate::log::{LogError, Outgoing};
use crate::notice::Notice;
use crate::obey::Commanded;
use crate::rows::{
    AlertRow, BaseRow, Batch, CommandRow, DeadLetterRow, ErasureRow, KeysUsed, LookRow, RecordRow,
    ReleasedRow, Sink, UserRow,
};
use crate::seal::UserTag;
use crate::taken::Taken;
use crate::trace::Trail;
use crate::user::Switch;
use futures_util::future::BoxFuture;

/// What belongs to a batch wherever it is.
pub(crate) struct Passport {
    /// Whose.
    pub lane: Lane,
    /// The right to write it.
    pub token: FenceToken,
    /// One of the lane's places for batches in flight; free again when the batch is gone.
    #[expect(dead_code, reason = "it is held, and gives its place back when it is dropped")]
    pub permit: OwnedSemaphorePermit,
    /// When it was made.
    pub stamp: Timestamp,
    /// When its oldest record entered the log.
    pub oldest: Option<Timestamp>,
    /// What was held back of alerts, by the place of its reason; known once it is decided.
    pub held: [u32; Held::ALL.len()],
    /// Events that were evaluated; known once it is decided.
    pub evaluations: u64,
    /// Records of users who were erased: they count as skipped.
    pub refused: PerSource<i64>,
    /// Ends when every record that was forwarded is safe at its home.
    pub forwarded: Vec<BoxFuture<'static, Result<(), LogError>>>,
    /// Its records that are followed.
    pub trail: Trail,
}

/// From ingest to router: records read and judged.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub(crate) struct Read {
    /// See [`Passport`].
    pub passport: Passport,
    /// Records to be applied, in order.
    pub applications: Vec<Taken>,
    /// Records that cannot be.
    pub dead_letters: Vec<Dead>,
    /// Users whose quarantine begins with this batch.
    pub quarantine: Vec<String>,
    /// The lane is given up: nothing comes after it, and everybody's checkpoint is to be written.
    pub last: bool,
    /// How far ingest has come: positions, marks, what was forwarded, and its share of the counts.
    pub progress: Progress,
    /// A command to be carried out; then there are no records.
    pub commanded: Option<Commanded>,
}

/// A dead letter with its place in the log.
pub(crate) struct Dead {
    /// Where it was read.
    pub source: Source,
    /// The offset there.
    pub offset: i64,
    /// Of a user in quarantine: who.
    pub user_id: Option<String>,
    /// What is kept.
    pub letter: DeadLetter,
}

/// From router to alert: decided.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub(crate) struct Decided {
    /// See [`Passport`].
    pub passport: Passport,
    /// How far the lane had come.
    pub before: Progress,
    /// How far it has come with this batch.
    pub after: Progress,
    /// Records applied, in order.
    pub records: Vec<RecordRow>,
    /// Users with something new, by number.
    pub users: Vec<UserRow>,
    /// States that are kept for good, by user and record.
    pub bases: Vec<BaseRow>,
    /// Mode changes, by user and number.
    pub switches: Vec<Switch>,
    /// Dead letters with what leaves for them.
    pub dead_letters: Vec<(DeadLetterRow, Outgoing)>,
    /// For the cache.
    pub states: Vec<CachedState>,
    /// Dead letters that leave the list, by outbox number.
    pub released: Vec<ReleasedRow>,
    /// The command that is carried out.
    pub commands: Vec<CommandRow>,
    /// Keys that have sealed something of it.
    pub keys: KeysUsed,
    /// Changes of alerts, by user and number.
    pub notices: Vec<Notice>,
    /// When to look at alerts again, by user.
    pub looks: Vec<LookRow>,
    /// The user who is erased or readmitted.
    pub erasures: Vec<ErasureRow>,
    /// Whose keys are destroyed.
    pub forgotten: Option<String>,
}

/// From alert to audit: with everything that must leave.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub(crate) struct Alerted {
    /// See [`Decided`].
    pub decided: Decided,
    /// Changes of alerts, by user and number.
    pub alerts: Vec<AlertRow>,
    /// What leaves, in the order of the outbox.
    pub leaving: Vec<Leaving>,
}

/// A row of the outbox with its message in the clear.
pub(crate) struct Leaving {
    /// Its number.
    pub number: i64,
    /// Where to.
    pub sink: Sink,
    /// Whose.
    pub user: Option<UserNumber>,
    /// The user's message number.
    pub n: Option<i64>,
    /// The sealed message for the row.
    pub sealed: Option<crate::seal::Sealed>,
    /// The message to be published.
    pub outgoing: Outgoing,
}

/// From audit to persist: complete.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub(crate) struct Audited {
    /// See [`Passport`].
    pub passport: Passport,
    /// The rows.
    pub batch: Batch,
    /// What is released once they are committed.
    pub effects: Effects,
}

/// What may happen only after the commit.
pub(crate) struct Effects {
    /// Messages for the sinks, in order.
    pub messages: Vec<(i64, Sink, Outgoing)>,
    /// States for the cache.
    pub states: Vec<CachedState>,
    /// Of whom nothing may be left in the cache, and nothing leave any more.
    pub forgotten: Option<String>,
}

/// From persist to push: these may leave now.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub(crate) struct Committed {
    /// Messages with their outbox numbers, in order.
    pub messages: Vec<(i64, Sink, Outgoing)>,
    /// The newest number of the lane's outbox.
    pub head: i64,
    /// There are no messages, and some that were handed over may open no more: somebody was erased.
    pub erased: bool,
}

/// Why a lane's actors end.
#[derive(Debug)]
pub(crate) enum End {
    /// Somebody else owns the lane, or nobody knows the outcome of a commit: claim again.
    Claim {
        /// Whether another owner was met.
        fenced: bool,
    },
    /// A record's evaluation panicked.
    Panicked {
        /// What it was.
        panicked: crate::taken::Panicked,
        /// Whose, for the log.
        user: Option<UserTag>,
    },
    /// A user's state cannot be restored by this release.
    Unreadable {
        /// Who.
        user_id: String,
        /// Why.
        problem: String,
    },
    /// Something must come back first.
    Away {
        /// `postgres`, `kafka` or `keys`.
        part: &'static str,
        /// What it said.
        problem: String,
    },
    /// An operator must look.
    Halted {
        /// Why, and the cure.
        problem: String,
    },
    /// The lane is being added.
    NotYet,
    /// Only a new process goes on.
    Outdated {
        /// Why.
        problem: String,
    },
    /// The log broke off.
    Log(LogError),
    /// The lane was taken away, and what was in flight is done or dropped.
    Stopped,
}

/// Whoever holds it cannot panic without the lane's coming to know.
pub(crate) struct EndGuard(pub(crate) mpsc::Sender<End>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The first reason to end counts.
            let _later = self.0.try_send(End::Claim { fenced: false });
        }
    }
}

impl PerSource<crate::lane::Counts> {
    /// Adds what users have found out: new records and duplicates.
    pub(crate) fn add(&mut self, found: &Self) {
        for source in Source::ALL {
            let sum = self.of_mut(source);
            sum.new += found.of(source).new;
            sum.duplicate += found.of(source).duplicate;
        }
    }
}
