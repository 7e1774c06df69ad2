//! Everything that is told of a person to whoever looks into them, by HTTP or at a terminal: why they are in their
//! mode, their alerts, what the coach said, and where their lane is. It is read, and nothing of it is written.

use actors::home::home;
use actors::lane::{Lane, Positions};
use actors::person::Person;
use actors::places::alert_place;
use actors::restore::RestoreError;
use actors::seal::Place;
use actors::store::{Store as _, StoreError};
use neuros::time::Timestamp;
use serde_json::{Value, json};

use crate::coach;
use crate::export::ExportError;
use crate::retrace::{Source, TooFar};
use crate::store::{Administration as _, LaneRow, SqlStore};
use crate::why::Why;

/// What is told of a person.
pub(crate) struct Inquiry {
    user_id: String,
    as_of: Option<Timestamp>,
    pub(crate) quarantined: bool,
    pub(crate) why: Why,
    /// The newest change of each alert that was open.
    pub(crate) alerts: Vec<Value>,
    /// What the coach said last; `None` of a time before now.
    pub(crate) coach: Option<Value>,
    pub(crate) home: Option<Home>,
}

/// The lane that a user lives in, as its row says.
pub(crate) struct Home {
    pub(crate) lane: Lane,
    pub(crate) row: Option<LaneRow>,
}

/// What only the process that owns a lane knows.
pub(crate) struct Owned {
    pub(crate) condition: Option<&'static str>,
    /// For how long the user has been in its memory, or why that is not known.
    pub(crate) actor_age_seconds: Result<f64, &'static str>,
}

impl Inquiry {
    /// Looks at whose records `source` has, at `as_of` or else at `now`.
    ///
    /// # Errors
    ///
    /// When something cannot be had or does not open; the inner error when too many records lie between.
    pub(crate) async fn of(
        source: Source<'_>,
        user_id: &str,
        as_of: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Result<Self, TooFar>, ExportError> {
        let Ok(why) = Why::of(source, as_of, now).await? else { return Ok(Err(TooFar)) };
        let alerts = open_alerts(source, &why.person).await?;
        let coach = match as_of {
            None => coached(source).await?,
            Some(_) => None,
        };
        let home = Home::of(source.store, user_id).await?;
        let (user_id, quarantined) = (user_id.to_owned(), source.stored.quarantined);
        Ok(Ok(Self { user_id, as_of, quarantined, why, alerts, coach, home }))
    }

    /// All of it.
    pub(crate) fn to_json(&self, owned: &Owned) -> Value {
        let mut all = self.why.to_json(&self.user_id);
        let rest = [
            ("user_id", json!(self.user_id)),
            ("as_of", json!(self.as_of)),
            ("quarantined", json!(self.quarantined)),
            ("alerts", json!(self.alerts)),
            ("coach", json!(self.coach)),
            ("lane", json!(self.home.as_ref().map(|home| home.to_json(owned)))),
        ];
        if let Value::Object(all) = &mut all {
            all.extend(rest.map(|(name, value)| (name.to_owned(), value)));
        }
        all
    }
}

impl Home {
    async fn of(store: &SqlStore, user_id: &str) -> Result<Option<Self>, StoreError> {
        let Some(routing) = store.routing().await? else { return Ok(None) };
        let lane = home(user_id, routing.partition_count);
        let row = store.lanes().await?.into_iter().find(|row| row.lane == lane);
        Ok(Some(Self { lane, row }))
    }

    /// How far it has come, in both topics.
    pub(crate) fn positions(&self) -> Option<Positions> {
        self.row.as_ref().map(|row| row.progress.positions)
    }

    fn to_json(&self, owned: &Owned) -> Value {
        let (positions, age) = (self.positions(), owned.actor_age_seconds);
        json!({
            "partition": self.lane.0,
            "events_position": positions.map(|positions| positions.events),
            "by_user_position": positions.map(|positions| positions.by_user),
            "owner": self.row.as_ref().map(|row| &row.owner),
            "condition": owned.condition,
            "actor_age_seconds": age.ok(),
            // A lane answers between two batches, when nothing waits for any actor.
            "mailbox": age.ok().map(|_| 0),
            "missing": age.err(),
        })
    }
}

/// The newest change of each alert that was open, of a person as they were then.
async fn open_alerts(source: Source<'_>, person: &Person) -> Result<Vec<Value>, ExportError> {
    let (user, upto) = (source.stored.user, person.message_number);
    let mut open = Vec::new();
    for first in person.alerts.open_episodes() {
        open.extend(source.store.newest_of_alert(user, first, upto).await?);
    }
    open.sort_unstable_by_key(|row| row.n);
    let mut shown = Vec::with_capacity(open.len());
    for row in open {
        shown.push(opened(source, alert_place(user, row.n), &row.body).await?);
    }
    Ok(shown)
}

/// The newest message of the coach.
async fn coached(source: Source<'_>) -> Result<Option<Value>, ExportError> {
    let user = source.stored.user;
    let newest = source.store.newest_coach_message(user).await?;
    // What is of before the user was erased and let in again does not open.
    match newest.filter(|message| message.n > source.stored.start.message_number) {
        Some(message) => {
            Ok(Some(opened(source, coach::place(user, message.n), &message.body).await?))
        }
        None => Ok(None),
    }
}

async fn opened(source: Source<'_>, place: Place, sealed: &[u8]) -> Result<Value, ExportError> {
    let Source { restorer, stored, key, .. } = source;
    let unopened = |problem: String| ExportError::Unopened {
        table: place.table,
        number: place.record,
        problem,
    };
    let bytes = restorer.open(stored.user, key, place, sealed).await.map_err(RestoreError::from)?;
    let bytes = bytes.map_err(|error| unopened(error.to_string()))?;
    // What serde_json says might quote what it could not read.
    serde_json::from_slice(bytes.expose()).map_err(|_| unopened("it is no message".to_owned()))
}
