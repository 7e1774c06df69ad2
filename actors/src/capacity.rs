//! Every queue of a lane: how much it holds, why, and what happens when it is full.

/// Batches of a lane on their way from ingest to commit, unless configured (`batch.in_flight_max`).
///
/// One is being committed, one waits for it with its rows ready, one is being decided. Full: ingest
/// reads no further, the client's own queue fills, and the broker is not asked for more.
pub const BATCHES_IN_FLIGHT: usize = 3;

/// Mailboxes of the actors that batches pass through (router, alert, audit, persist): as many as there
/// are batches in flight, so a batch that has its permit always finds room.
pub const BATCH_MAILBOX: usize = 16;

/// The scrub's questions to the router: it waits for the answer before it asks again. They have a place of
/// their own, so that a batch still finds its.
pub const SCRUB_QUESTIONS: usize = 1;

/// Questions from outside to a lane, each of which waits for the answer to the one before; in the router's mailbox
/// one has a place of its own. Full: whoever asks is told that the lane does not answer.
pub const INQUIRIES: usize = 1;

/// Users of a batch who work before others on the lane's thread have a turn: some fraction of a millisecond.
pub const USERS_AT_ONCE: usize = 256;

/// Messages that a sink has been handed after their commit and has not published yet. Full: the sink
/// forgets them and reads them from the outbox, where they are anyway.
pub const LIVE_OUTBOX: usize = 4_096;

/// Bytes of them, for dead letters may be large. Full: as above.
pub const LIVE_OUTBOX_BYTES: usize = 8 << 20;

/// Rows that a sink reads from the outbox at once.
pub const OUTBOX_PAGE: i64 = 512;

/// Messages of a lane that are on their way to the peer at once: so many that a round trip to another continent still
/// leaves a thousand a second of each lane, so few that what comes twice after a fault is not much.
pub const PEER_PAGE: i64 = 128;

/// Bytes of them. What comes behind waits in the outbox.
pub const PEER_PAGE_BYTES: usize = 256 << 10;

/// Dead letters that are read at once: each may have the size of the largest message.
pub const DEAD_LETTERS_PAGE: i64 = 16;

/// Batches whose states wait for the cache. Full: the newer batch is not handed over, and the cache
/// is older for a while.
pub const CACHE_QUEUE: usize = 4;

/// Records of a batch that are followed by spans: so many as the span of the batch can name, for it names each. Full:
/// the others of that batch are not followed, and counted.
pub const FOLLOWED_IN_BATCH: usize = 128;

/// Records that are read at once to restore states.
pub const RESTORE_PAGE: i64 = 4_000;

/// Records of one user that are read at once.
pub const RECORDS_PAGE: usize = 1_000;

/// Users whose checkpoints are loaded at once.
pub const USERS_PAGE: usize = 5_000;

/// Dead letters that are applied in one batch of a command: each may have the size of the largest
/// message. Those beyond go with the next batches, between which the lane's records have their turn.
pub const RELEASED_PAGE: usize = 64;

/// Checkpoints that are added to a batch for users who have gone quiet: so many that a burst of users is
/// written within seconds, so few that the records beside them hardly wait. Those beyond go with the
/// next batches.
pub const QUIET_CHECKPOINTS: usize = 64;

/// The same of a batch without records: a record that comes meanwhile waits for one such batch, some twenty
/// milliseconds.
pub const IDLE_CHECKPOINTS: usize = 1_024;
