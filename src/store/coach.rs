//! What the coach has told of, what it may still ask for, and what it says. Its transactions lock no row that a lane
//! writes, so that no lane ever waits for them.

use std::time::Duration;

use actors::lane::{FenceToken, Lane, UserNumber};
use actors::rows::Sink;
use actors::seal::Sealed;
use actors::store::StoreError;
use entities::coach_messages::{Column, Entity, Model};
use neuros::time::{Micros, Timestamp};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QueryResult,
    QuerySelect, Statement, Value,
};

use super::failure::of_database;
use super::read::page;
use super::{SqlStore, begin, instant, unbroken};

/// A lane with mode changes that are not told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Untold {
    /// The lane.
    pub lane: Lane,
    /// Its owner's right to write.
    pub token: FenceToken,
    /// The newest number of its outbox.
    pub head: i64,
    /// All up to this number is told of.
    pub cursor: i64,
}

/// A mode change that is not told of.
pub struct UntoldChange {
    /// The number of its outbox row.
    pub number: i64,
    /// Whose.
    pub user: UserNumber,
    /// The user's id.
    pub user_id: String,
    /// Its number among the user's outgoing messages.
    pub n: i64,
    /// The event's time.
    pub time: Timestamp,
    /// The sealed mode change with its explanation.
    pub body: Vec<u8>,
    /// Calls that were permitted for it, of which nobody knows what came.
    pub calls: i32,
}

/// How many calls are permitted, by all processes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallsMax {
    /// Within a minute.
    pub per_minute: u32,
    /// Within a day.
    pub per_day: u32,
    /// Within a day about one user.
    pub per_user_day: u32,
}

/// Calls that were permitted lately, by all processes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Within the last minute.
    pub minute: i64,
    /// Within the last day.
    pub day: i64,
    /// Within the last day about the user asked for.
    pub user_day: i64,
}

/// Whether a call may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// It may, and counts from now on.
    Given,
    /// There were as many within a minute as may be.
    MinuteSpent,
    /// There were as many within a day as may be.
    DaySpent,
    /// There were as many within a day about this user as may be.
    UserDaySpent,
    /// Somebody else makes it, or has; or the user was erased.
    Taken,
}

/// A message to be kept.
pub struct NewCoachMessage {
    /// Whose.
    pub user: UserNumber,
    /// The mode change's number among the user's outgoing messages.
    pub n: i64,
    /// The sealed message.
    pub body: Sealed,
}

/// A message of the coach as it is kept.
pub struct StoredCoachMessage {
    /// The mode change's number among the user's outgoing messages.
    pub n: i64,
    /// The sealed message.
    pub body: Vec<u8>,
}

/// How long a lock is waited for: a process that stands still with it holds up no connection of the others for longer.
const PATIENCE: &str = "SET LOCAL lock_timeout = '2s'";
/// Any number that nothing else in the database locks.
const PERMITTING: i64 = 0x63_6f61_6368;

const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

impl SqlStore {
    /// What happened before anybody told of mode changes stays untold: of each lane that there is and that nobody has
    /// told of yet, all up to now.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn begin_coaching(&self) -> Result<(), StoreError> {
        let sql =
            "INSERT INTO coach_cursors (lane, number) SELECT lane, outbox FROM lanes WHERE TRUE
                   ON CONFLICT (lane) DO NOTHING";
        self.carry(async move |store| {
            let done = store.writer.execute_unprepared(sql).await;
            done.map(|_| ()).map_err(|error| of_database(&error))
        })
        .await
    }

    /// The lanes that `owner` has claimed last and in which something is not told of.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn untold_lanes(&self, owner: &str) -> Result<Vec<Untold>, StoreError> {
        let rows = self.found(UNTOLD_LANES, vec![owner.into()]).await?;
        let untold = |row: &QueryResult| {
            Ok(Untold {
                lane: Lane(row.try_get_by_index(0)?),
                token: FenceToken(row.try_get_by_index(1)?),
                head: row.try_get_by_index(2)?,
                cursor: row.try_get_by_index(3)?,
            })
        };
        all(&rows, untold)
    }

    /// The first mode changes of a lane that are not told of, of users who are not erased, in order, at most `limit`.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn untold_changes(
        &self,
        of: &Untold,
        limit: i64,
    ) -> Result<Vec<UntoldChange>, StoreError> {
        let values = vec![
            of.lane.0.into(),
            Sink::Transitions.number().into(),
            of.cursor.into(),
            of.head.into(),
            limit.into(),
        ];
        let rows = self.found(UNTOLD_CHANGES, values).await?;
        let change = |row: &QueryResult| {
            Ok(UntoldChange {
                number: row.try_get_by_index(0)?,
                user: UserNumber(row.try_get_by_index(1)?),
                user_id: row.try_get_by_index(2)?,
                n: row.try_get_by_index(3)?,
                time: instant::from(row.try_get_by_index(4)?),
                body: row.try_get_by_index(5)?,
                calls: row.try_get_by_index::<Option<i32>>(6)?.unwrap_or(0),
            })
        };
        all(&rows, change)
    }

    /// Permits the next call about a mode change, of which there were `before`, and counts it; of all processes one
    /// gets each, and what is permitted is committed before it is made.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn permit_call(
        &self,
        (user, n): (UserNumber, i64),
        before: i32,
        max: CallsMax,
        now: Timestamp,
    ) -> Result<Permission, StoreError> {
        let (writer, is_postgres) = (self.writer.clone(), self.is_postgres());
        unbroken(async move {
            let transaction = begin(&writer).await?;
            if is_postgres {
                // One after the other, or two would both see that one is left.
                let lock = format!("SELECT pg_advisory_xact_lock({PERMITTING})");
                for sql in [PATIENCE, &lock] {
                    let done = transaction.execute_unprepared(sql).await;
                    done.map_err(|error| of_database(&error))?;
                }
            }
            let Calls { minute, day, user_day } = calls_of(&transaction, user, now).await?;
            let refused = [
                (minute, max.per_minute, Permission::MinuteSpent),
                (day, max.per_day, Permission::DaySpent),
                (user_day, max.per_user_day, Permission::UserDaySpent),
            ];
            if let Some((.., refused)) =
                refused.into_iter().find(|(calls, max, _)| *calls >= i64::from(*max))
            {
                return Ok(refused);
            }
            let values = [user.0.into(), n.into(), instant::of(now).into(), before.into()];
            let backend = transaction.get_database_backend();
            let statement = Statement::from_sql_and_values(backend, PERMIT, values);
            let permitted = transaction.execute_raw(statement).await;
            let permitted = permitted.map_err(|error| of_database(&error))?.rows_affected();
            transaction.commit().await.map_err(|error| of_database(&error))?;
            Ok(if permitted == 1 { Permission::Given } else { Permission::Taken })
        })
        .await
    }

    /// Calls that were permitted before `now`.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn coach_calls(&self, now: Timestamp) -> Result<Calls, StoreError> {
        calls_of(&self.reader, UserNumber(-1), now).await
    }

    /// Keeps messages and moves the lane's cursor `to`, all or nothing; says whether it was where it was read, and the
    /// lane is still its owner's. A message that is there already stays, and nobody who was erased gets one.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn keep_coach_messages(
        &self,
        of: Untold,
        to: i64,
        messages: Vec<NewCoachMessage>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (writer, is_postgres) = (self.writer.clone(), self.is_postgres());
        unbroken(async move {
            let transaction = begin(&writer).await?;
            if is_postgres {
                let done = transaction.execute_unprepared(PATIENCE).await;
                done.map_err(|error| of_database(&error))?;
            }
            let backend = transaction.get_database_backend();
            let moved: [Value; 4] =
                [of.lane.0.into(), of.token.0.into(), of.cursor.into(), to.into()];
            let moved = Statement::from_sql_and_values(backend, MOVE_CURSOR, moved);
            let moved =
                transaction.execute_raw(moved).await.map_err(|error| of_database(&error))?;
            if moved.rows_affected() != 1 {
                return Ok(false);
            }
            for NewCoachMessage { user, n, body: Sealed(body) } in messages {
                let kept = [user.0.into(), n.into(), instant::of(now).into(), body.into()];
                let kept = Statement::from_sql_and_values(backend, KEEP, kept);
                transaction.execute_raw(kept).await.map_err(|error| of_database(&error))?;
            }
            transaction.commit().await.map_err(|error| of_database(&error))?;
            Ok(true)
        })
        .await
    }

    /// Messages of a user with numbers above `after`, in order, at most `limit`.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn coach_messages_of_user(
        &self,
        user: UserNumber,
        after: i64,
        limit: i64,
    ) -> Result<Vec<StoredCoachMessage>, StoreError> {
        let rows = Entity::find()
            .filter(Column::UserNumber.eq(user.0))
            .filter(Column::N.gt(after))
            .filter(Column::Body.is_not_null())
            .order_by_asc(Column::N)
            .limit(page(limit))
            .all(&self.reader)
            .await
            .map_err(|error| of_database(&error))?;
        let message = |row: Model| Some(StoredCoachMessage { n: row.n, body: row.body? });
        Ok(rows.into_iter().filter_map(message).collect())
    }

    /// The newest message of a user.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn newest_coach_message(
        &self,
        user: UserNumber,
    ) -> Result<Option<StoredCoachMessage>, StoreError> {
        let newest = Entity::find()
            .filter(Column::UserNumber.eq(user.0))
            .filter(Column::Body.is_not_null())
            .order_by_desc(Column::N)
            .limit(1)
            .one(&self.reader)
            .await
            .map_err(|error| of_database(&error))?;
        Ok(newest.and_then(|row| Some(StoredCoachMessage { n: row.n, body: row.body? })))
    }

    async fn found(&self, sql: &str, values: Vec<Value>) -> Result<Vec<QueryResult>, StoreError> {
        let backend = self.reader.get_database_backend();
        let statement = Statement::from_sql_and_values(backend, sql, values);
        self.reader.query_all_raw(statement).await.map_err(|error| of_database(&error))
    }
}

fn all<T>(
    rows: &[QueryResult],
    read: impl Fn(&QueryResult) -> Result<T, DbErr>,
) -> Result<Vec<T>, StoreError> {
    rows.iter().map(read).collect::<Result<_, _>>().map_err(|error| of_database(&error))
}

async fn calls_of(
    connection: &impl ConnectionTrait,
    user: UserNumber,
    now: Timestamp,
) -> Result<Calls, StoreError> {
    let ago = |time: Duration| {
        let micros = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        instant::of(now + Micros(-micros))
    };
    let values = [ago(DAY).into(), ago(MINUTE).into(), user.0.into()];
    let backend = connection.get_database_backend();
    let statement = Statement::from_sql_and_values(backend, COUNT_CALLS, values);
    let row = connection.query_one_raw(statement).await.map_err(|error| of_database(&error))?;
    let Some(row) = row else { return Ok(Calls::default()) };
    let read = || {
        let [minute, day, user_day] = [0, 1, 2].map(|place| row.try_get_by_index(place));
        Ok(Calls { minute: minute?, day: day?, user_day: user_day? })
    };
    read().map_err(|error: DbErr| of_database(&error))
}

const UNTOLD_LANES: &str = "
    SELECT l.lane, l.fence_token, l.outbox, coalesce(c.number, 0) FROM lanes l
    LEFT JOIN coach_cursors c ON c.lane = l.lane
    WHERE l.owner = $1 AND l.outbox > coalesce(c.number, 0) ORDER BY l.lane";

const UNTOLD_CHANGES: &str = "
    SELECT o.number, o.user_number, u.user_id, o.n, t.time, t.body, m.calls FROM outbox o
    JOIN users u ON u.user_number = o.user_number AND u.erased_at IS NULL
    JOIN mode_transitions t ON t.user_number = o.user_number AND t.n = o.n
    LEFT JOIN coach_messages m ON m.user_number = o.user_number AND m.n = o.n
    WHERE o.lane = $1 AND o.sink = $2 AND o.number > $3 AND o.number <= $4 AND m.body IS NULL
    ORDER BY o.number LIMIT $5";

const COUNT_CALLS: &str = "
    SELECT coalesce(sum(CASE WHEN called_at > $2 THEN calls ELSE 0 END), 0),
        coalesce(sum(calls), 0),
        coalesce(sum(CASE WHEN user_number = $3 THEN calls ELSE 0 END), 0)
    FROM coach_messages WHERE called_at > $1";

const PERMIT: &str = "
    INSERT INTO coach_messages (user_number, n, calls, called_at)
    SELECT user_number, $2, 1, $3 FROM users
    WHERE user_number = $1 AND erased_at IS NULL AND start_message_number < $2
    ON CONFLICT (user_number, n) DO UPDATE
        SET calls = coach_messages.calls + 1, called_at = excluded.called_at
        WHERE coach_messages.body IS NULL AND coach_messages.calls = $4";

const MOVE_CURSOR: &str = "
    INSERT INTO coach_cursors (lane, number)
    SELECT lane, $4 FROM lanes WHERE lane = $1 AND fence_token = $2
    ON CONFLICT (lane) DO UPDATE SET number = excluded.number WHERE coach_cursors.number = $3";

const KEEP: &str = "
    INSERT INTO coach_messages (user_number, n, calls, written_at, body)
    SELECT user_number, $2, 0, $3, $4 FROM users
    WHERE user_number = $1 AND erased_at IS NULL AND start_message_number < $2
    ON CONFLICT (user_number, n) DO UPDATE
        SET written_at = excluded.written_at, body = excluded.body
        WHERE coach_messages.body IS NULL";
