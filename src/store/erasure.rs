//! What is left of users who were erased: what can go goes, and the rest is counted. It touches nobody who was not
//! erased, and nothing that came after a readmission.

use actors::chain::Chain;
use actors::dead_letter::Letter;
use actors::lane::{Lane, UserNumber};
use actors::rows::RecordPlace;
use actors::store::StoreError;
use entities::{
    alert_changes, base_checkpoints, coach_messages, dead_letters, event_records, lane_commands,
    mode_transitions, outbox, phi_access_log, users,
};
use neuros::time::Timestamp;
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect,
};

use super::failure::of_database;
use super::read::{named, page};
use super::{SqlStore, instant};

/// Records that are deleted with one statement.
const RECORDS_MAX: usize = 200;

/// What a sweep has deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Records.
    pub records: u64,
    /// Mode changes.
    pub transitions: u64,
    /// Changes of alerts.
    pub alerts: u64,
    /// Base checkpoints.
    pub bases: u64,
    /// Messages of the coach.
    pub coach_messages: u64,
}

/// What stays of an erased user, unreadable or without anything about a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Rows of the log of accesses with the user's id.
    pub accesses: u64,
    /// Commands about the user.
    pub commands: u64,
    /// Messages of the outbox that open no more, until housekeeping drops them.
    pub outbox: u64,
}

/// A dead letter with its sealed record.
pub struct SealedLetter {
    /// Which.
    pub letter: Letter,
    /// When it entered the log.
    pub record_time: Option<Timestamp>,
    /// Why it is one.
    pub reason: String,
    /// Whose, when it was kept for the user's release from quarantine.
    pub user: Option<UserNumber>,
    /// The sealed record.
    pub body: Vec<u8>,
}

/// The fate of a dead letter that was destroyed with its user.
const ERASED: &str = "erased";

impl SqlStore {
    /// When a user was erased; `None` when they were not, or were readmitted.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn erased_at(&self, user_id: &str) -> Result<Option<Timestamp>, StoreError> {
        let row = users::Entity::find().filter(users::Column::UserId.eq(user_id));
        let row = row.one(&self.writer).await.map_err(|error| of_database(&error))?;
        Ok(row.and_then(|row| row.erased_at).map(instant::from))
    }

    /// Deletes what a user had who is erased. What was numbered later stays.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] when the user is not erased; else when the store is away. It can be done again.
    pub async fn sweep_erased(&self, user: UserNumber) -> Result<Swept, StoreError> {
        let row = users::Entity::find_by_id(user.0).one(&self.writer).await;
        let row = row.map_err(|error| of_database(&error))?;
        let Some(row) = row.filter(|row| row.erased_at.is_some()) else {
            return Err(StoreError::Refused(
                "only what an erased user had is swept away".to_owned(),
            ));
        };
        let records = self.sweep_records(user, row.start_record_number).await?;
        let transitions = mode_transitions::Entity::delete_many()
            .filter(mode_transitions::Column::UserNumber.eq(user.0))
            .filter(mode_transitions::Column::N.lte(row.start_message_number))
            .exec(&self.writer)
            .await
            .map_err(|error| of_database(&error))?;
        let alerts = alert_changes::Entity::delete_many()
            .filter(alert_changes::Column::UserNumber.eq(user.0))
            .filter(alert_changes::Column::N.lte(row.start_message_number))
            .exec(&self.writer)
            .await
            .map_err(|error| of_database(&error))?;
        let bases = base_checkpoints::Entity::delete_many()
            .filter(base_checkpoints::Column::UserNumber.eq(user.0))
            .filter(base_checkpoints::Column::RecordNumber.lte(row.start_record_number))
            .exec(&self.writer)
            .await
            .map_err(|error| of_database(&error))?;
        let coach_messages = coach_messages::Entity::delete_many()
            .filter(coach_messages::Column::UserNumber.eq(user.0))
            .filter(coach_messages::Column::N.lte(row.start_message_number))
            .exec(&self.writer)
            .await
            .map_err(|error| of_database(&error))?;
        Ok(Swept {
            records,
            transitions: transitions.rows_affected,
            alerts: alerts.rows_affected,
            bases: bases.rows_affected,
            coach_messages: coach_messages.rows_affected,
        })
    }

    /// The oldest first: each record leads to the one before it, and whoever goes on from here must find the way.
    async fn sweep_records(&self, user: UserNumber, upto: i64) -> Result<u64, StoreError> {
        let (mut chain, mut gone) = (Chain::find(self, user, 0, upto).await?, 0);
        while let Some(records) = chain.next(self).await? {
            let places: Vec<RecordPlace> = records.iter().map(|record| record.place).collect();
            for places in places.chunks(RECORDS_MAX) {
                gone += self.delete_records(user, places).await?;
            }
        }
        Ok(gone)
    }

    async fn delete_records(
        &self,
        user: UserNumber,
        places: &[RecordPlace],
    ) -> Result<u64, StoreError> {
        use event_records::Column;
        let at = |place: &RecordPlace| {
            Condition::all()
                .add(Column::Time.eq(instant::of(place.stamp)))
                .add(Column::Lane.eq(place.lane.0))
                .add(Column::Position.eq(place.position))
        };
        let anywhere = places.iter().map(at).fold(Condition::any(), Condition::add);
        let done = event_records::Entity::delete_many()
            .filter(Column::UserNumber.eq(user.0))
            .filter(anywhere)
            .exec(&self.writer)
            .await;
        done.map(|done| done.rows_affected).map_err(|error| of_database(&error))
    }

    /// Dead letters behind `after` (lane and number) whose record is there, in order, at most `limit`, also
    /// those that have left the list.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn sealed_letters(
        &self,
        after: (Lane, i64),
        limit: i64,
    ) -> Result<Vec<SealedLetter>, StoreError> {
        use dead_letters::Column;
        let later = Condition::any()
            .add(Column::Lane.gt(after.0.0))
            .add(Condition::all().add(Column::Lane.eq(after.0.0)).add(Column::Outbox.gt(after.1)));
        let rows = dead_letters::Entity::find()
            .filter(later)
            .filter(Column::Fate.is_null().or(Column::Fate.ne(ERASED)))
            .order_by_asc(Column::Lane)
            .order_by_asc(Column::Outbox)
            .limit(page(limit))
            .all(&self.writer)
            .await;
        Ok(rows.map_err(|error| of_database(&error))?.into_iter().map(sealed).collect())
    }

    /// A dead letter; `None` when there is no such one. The record of one that was destroyed with its user is empty.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn sealed_letter(&self, letter: Letter) -> Result<Option<SealedLetter>, StoreError> {
        let key = (letter.lane.0, letter.number);
        let row = dead_letters::Entity::find_by_id(key).one(&self.reader).await;
        Ok(row.map_err(|error| of_database(&error))?.map(sealed))
    }

    /// How many dead letters there are whose record is there.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn count_sealed_letters(&self) -> Result<u64, StoreError> {
        use dead_letters::Column;
        let all = dead_letters::Entity::find()
            .filter(Column::Fate.is_null().or(Column::Fate.ne(ERASED)))
            .count(&self.reader)
            .await;
        all.map_err(|error| of_database(&error))
    }

    /// Destroys the records in dead letters; their rows stay, off the list. Gives how many they were.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn destroy_letters(
        &self,
        letters: &[Letter],
        at: Timestamp,
    ) -> Result<u64, StoreError> {
        use dead_letters::Column;
        if letters.is_empty() {
            return Ok(0);
        }
        let left = Expr::col(Column::ReleasedAt).if_null(instant::of(at));
        let done = dead_letters::Entity::update_many()
            .col_expr(Column::Body, Expr::value(Vec::<u8>::new()))
            .col_expr(Column::Fate, Expr::value(ERASED))
            .col_expr(Column::ReleasedAt, left)
            .filter(named(letters))
            .exec(&self.writer)
            .await;
        done.map(|done| done.rows_affected).map_err(|error| of_database(&error))
    }

    /// What stays of a user.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn left_of(&self, user: UserNumber, user_id: &str) -> Result<Left, StoreError> {
        let accesses = phi_access_log::Entity::find()
            .filter(phi_access_log::Column::UserId.eq(user_id))
            .count(&self.reader)
            .await
            .map_err(|error| of_database(&error))?;
        let commands = lane_commands::Entity::find()
            .filter(lane_commands::Column::UserId.eq(user_id))
            .count(&self.reader)
            .await
            .map_err(|error| of_database(&error))?;
        let outbox = outbox::Entity::find()
            .filter(outbox::Column::UserNumber.eq(user.0))
            .count(&self.reader)
            .await
            .map_err(|error| of_database(&error))?;
        Ok(Left { accesses, commands, outbox })
    }
}

fn sealed(row: dead_letters::Model) -> SealedLetter {
    SealedLetter {
        letter: Letter { lane: Lane(row.lane), number: row.outbox },
        record_time: row.record_time.map(instant::from),
        reason: row.reason,
        user: row.user_number.map(UserNumber),
        body: row.body,
    }
}
