//! Taking a lane: compares the routing, then writes a fresh token behind whatever the previous owner
//! has in flight. Never writes the routing.

use actors::defect::Defect;
use actors::hash_chain::writer_of;
use actors::lane::{FenceToken, Lane, Positions, Routing};
use actors::store::{Claim, StoreError};
use entities::{lanes, routing};
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QuerySelect};

use super::failure::of_database;
use super::locks::Locks;
use super::{SqlStore, accesses, answered, begin, now, progress, schema, unbroken};

impl SqlStore {
    pub(super) async fn claim_lane(
        &self,
        lane: Lane,
        owner: &str,
        wanted: &Routing,
    ) -> Result<Claim, StoreError> {
        let (owner, wanted) = (owner.to_owned(), wanted.clone());
        let (writer, postgres) = (self.writer.clone(), self.postgres.clone());
        let claim = async move {
            let transaction = begin(&writer).await?;
            let locks = Locks::of(&transaction, postgres.as_deref()).await?;
            schema::not_outdated(&transaction).await?;
            // Whoever was giving users new homes may have fallen silent over it.
            let stored = locks.behind_what_is_in_flight(stored_routing(&transaction)).await?;
            agree(stored.as_ref(), &wanted, lane)?;
            let take = take(&transaction, lane, &owner);
            let (token, row) = locks.behind_what_is_in_flight(take).await?;
            let progress = progress::of_row(&row)?;
            // Behind the row's lock: what a predecessor had in flight is in it, or never will be.
            let audited = accesses::head_of(&transaction, &writer_of(lane)).await?;
            transaction.commit().await.map_err(|error| of_database(&error))?;
            Ok(Claim { token, epoch: row.epoch, progress, audited })
        };
        // Given up, it lets its connection go; what it has locked meanwhile the next claim frees.
        unbroken(answered(claim)).await
    }
}

/// Writes a fresh token into the lane's row; makes the row if there is none.
///
/// In this order: an insert that finds the row waits beside the queue for it, a lock in it.
async fn take(
    transaction: &impl ConnectionTrait,
    lane: Lane,
    owner: &str,
) -> Result<(FenceToken, lanes::Model), StoreError> {
    if let Some(signed) = sign(transaction, lane, owner).await? {
        return Ok(signed);
    }
    lanes::Entity::insert(progress::new_row(lane, Positions::default()))
        .on_conflict(OnConflict::column(lanes::Column::Lane).do_nothing().to_owned())
        .exec_without_returning(transaction)
        .await
        .map_err(|error| of_database(&error))?;
    let signed = sign(transaction, lane, owner).await?;
    signed.ok_or_else(|| StoreError::Refused(format!("the row of lane {lane} is gone")))
}

/// Writes a fresh token and the owner's name; gives them with the row, if there is one. The lock waits for
/// cursors that are being moved too, which an update alone would let pass.
async fn sign(
    transaction: &impl ConnectionTrait,
    lane: Lane,
    owner: &str,
) -> Result<Option<(FenceToken, lanes::Model)>, StoreError> {
    let mut row = lanes::Entity::find_by_id(lane.0);
    if !Defect::ClaimWithoutWaiting.is_on() {
        row = row.lock_exclusive();
    }
    let row = row.one(transaction).await.map_err(|error| of_database(&error))?;
    let Some(row) = row else { return Ok(None) };
    let token = match Defect::TokenOfTheEpoch.is_on() {
        true => FenceToken(uuid::Uuid::from_u64_pair(0, row.epoch.unsigned_abs() + 1)),
        false => progress::fresh_token(),
    };
    let rows = lanes::Entity::update_many()
        .col_expr(lanes::Column::FenceToken, Expr::value(token.0))
        .col_expr(lanes::Column::Epoch, Expr::col(lanes::Column::Epoch).add(1))
        .col_expr(lanes::Column::Owner, Expr::value(owner))
        .col_expr(lanes::Column::ClaimedAt, Expr::cust(now(transaction)))
        .filter(lanes::Column::Lane.eq(lane.0))
        .exec_with_returning(transaction)
        .await
        .map_err(|error| of_database(&error))?;
    Ok(rows.into_iter().next().map(|row| (token, row)))
}

/// The routing, which nobody can change while the transaction is open.
async fn stored_routing(
    transaction: &impl ConnectionTrait,
) -> Result<Option<routing::Model>, StoreError> {
    let query = routing::Entity::find().lock_shared().one(transaction).await;
    query.map_err(|error| of_database(&error))
}

/// Whether a process that sees the log as `wanted` may take `lane`; else why not, and the cure.
fn agree(stored: Option<&routing::Model>, wanted: &Routing, lane: Lane) -> Result<(), StoreError> {
    let refused = |problem: String| Err(StoreError::Refused(problem));
    let Some(stored) = stored else {
        return refused(
            "the store knows no topics yet: `biometric-bridge topics adopt` makes them known"
                .to_owned(),
        );
    };
    if stored.generation != wanted.generation {
        return Err(StoreError::Outdated(format!(
            "the store is at generation {}, this process at {}: the topics were adopted, or partitions \
             added, meanwhile; a new process goes on with them",
            stored.generation, wanted.generation
        )));
    }
    if stored.routing_version != wanted.version {
        return refused(format!(
            "the store was written under routing version {}, this release has {}: \
             `biometric-bridge topics adopt` begins a new generation with it",
            stored.routing_version, wanted.version
        ));
    }
    if stored.bytes_max != wanted.bytes_max {
        return refused(format!(
            "the store was written with messages of at most {} bytes, `events.max_bytes` is {}: set \
             it back, or `biometric-bridge topics adopt` begins a new generation with it",
            stored.bytes_max, wanted.bytes_max
        ));
    }
    if let (Some(stored), Some(wanted)) = (&stored.log_id, &wanted.log_id)
        && stored != wanted
    {
        return refused(
            "the topics are not those that the positions belong to: `biometric-bridge topics adopt` \
             begins a new generation with them"
                .to_owned(),
        );
    }
    same_partitions(stored, wanted, lane)
}

/// The part of [`agree`] about partitions: while more of them are being added, the old ones go on.
fn same_partitions(
    stored: &routing::Model,
    wanted: &Routing,
    lane: Lane,
) -> Result<(), StoreError> {
    let (known, seen) = (stored.partition_count, wanted.partition_count);
    if seen < known {
        return Err(StoreError::Refused(format!(
            "the topics have {seen} partitions, the store knows {known}: they were made anew; \
             `biometric-bridge topics adopt` begins a new generation with them"
        )));
    }
    if (seen > known || lane.0 >= known) && !stored.expanding {
        let seen = Ord::max(seen, lane.0.saturating_add(1));
        return Err(StoreError::Refused(format!(
            "the topics have {seen} partitions, the store knows {known}: `biometric-bridge topics \
             expand` moves the users to their new homes"
        )));
    }
    if lane.0 >= known || lane.0 < 0 {
        return Err(StoreError::NotYet(format!(
            "lane {lane} is being added and not in use yet: `biometric-bridge topics expand` is \
             under way"
        )));
    }
    Ok(())
}
