//! How far each lane has come, and who may write it: the row behind the fence.

use sea_orm::entity::prelude::*;

/// A lane.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "lanes")]
pub struct Model {
    /// The lane, and so the partition.
    #[sea_orm(primary_key, auto_increment = false)]
    pub lane: i32,
    /// The number of its newest batch.
    pub batch: i64,
    /// The next offset to read of `biometric.events`.
    pub events_position: i64,
    /// The next offset to read of `biometric.events.by-user`.
    pub by_user_position: i64,
    /// How often the lane has been claimed.
    pub epoch: i64,
    /// Proof of owning the lane: random, new with each claim.
    pub fence_token: Uuid,
    /// Who claimed it last.
    pub owner: String,
    /// When.
    pub claimed_at: Option<DateTimeUtc>,
    /// Per origin partition the offset of its newest forwarded record that was applied here, JSON.
    pub marks: String,
    /// Per home lane the offset of the newest record that was forwarded to it, JSON.
    pub forwarded: String,
    /// What is left of the generation before, JSON.
    pub closed: Option<String>,
    /// The number of the newest outbox row.
    pub outbox: i64,
    /// How many user numbers the lane has given away.
    pub users: i64,
    /// Its users in the mode reflex.
    pub reflex: i64,
    /// Its users in the mode guardian.
    pub guardian: i64,
    /// Its users in the mode pattern.
    pub pattern: i64,
    /// Its users in the mode hypothesis.
    pub hypothesis: i64,
    /// Records of `biometric.events` applied and stored.
    pub events_new: i64,
    /// Records of `biometric.events` that were already among the user's newest.
    pub events_duplicate: i64,
    /// Records of `biometric.events` kept as dead letters.
    pub events_dead_letter: i64,
    /// Records of `biometric.events` sent on to their user's home lane.
    pub events_forwarded: i64,
    /// Records of `biometric.events` that were forwarded and must not be applied.
    pub events_skipped: i64,
    /// Records of `biometric.events.by-user` applied and stored.
    pub by_user_new: i64,
    /// Records of `biometric.events.by-user` that were already among the user's newest.
    pub by_user_duplicate: i64,
    /// Records of `biometric.events.by-user` kept as dead letters.
    pub by_user_dead_letter: i64,
    /// Records of `biometric.events.by-user` sent on to their user's home lane.
    pub by_user_forwarded: i64,
    /// Records of `biometric.events.by-user` that were forwarded and must not be applied.
    pub by_user_skipped: i64,
    /// When the newest batch was made.
    pub stamp: DateTimeUtc,
    /// Every user's checkpoint holds all records with stamps up to here.
    pub checkpointed: DateTimeUtc,
    /// While partitions are added: from which offset on no more of `biometric.events` is read.
    pub events_stop: Option<i64>,
    /// The same: up to which offset all of `biometric.events.by-user` must be read.
    pub by_user_stop: Option<i64>,
}

crate::plain!(Model);
