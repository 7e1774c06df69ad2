//! An operator who looks into a single user, where the settings let them: why the user is in their mode, the records
//! one by one, and what is said of the user while it is. Each look is written down before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};
use actors::home::home;
use actors::lane::Lane;
use actors::message::explained_of_stored;
use actors::phi::Phi;
use actors::restore::RestoreError;
use actors::seal::Place;
use actors::store::{Store as _, StoredUser};
use actors::user::{alert_place, transition_place};
use futures_util::future::{FutureExt as _, LocalBoxFuture};
use neuros::time::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use super::archive::{File, Opened, Unread};
use super::ended::ENDED;
use super::{PAGE_BYTES, Reader, now};
use crate::http::Desk;
use crate::http::authentication::Identity;
use crate::http::problem::Problem;
use crate::http::query::Page;
use crate::http::refusals::Whom;
use crate::retrace::{Numbers, Retracing};
use crate::store::{Access, Administration as _, StoredAlert};
use crate::why::{PASSED_MAX, RECORDS_MAX, Told, Why, place};

/// An operator, about a user.
pub(in crate::http) struct Inquirer(Reader);

/// Rows of a user that are read at once …
const ROWS: i64 = 1_000;
/// … and of somebody who is followed: each may have an explanation with ten thousand readings.
const LIVE_ROWS: i64 = 100;
/// How often somebody who follows a user is looked for something new.
const LOOK_EVERY: Duration = Duration::from_millis(500);

impl FromRequest for Inquirer {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        async move { Self::of(&request).await }.boxed_local()
    }
}

impl Inquirer {
    async fn of(request: &HttpRequest) -> Result<Self, Problem> {
        let reader = Reader::of(request).await?;
        let desk = request.app_data::<Data<Desk>>().ok_or_else(Problem::broken)?;
        if desk.debug && reader.identity.is_operator() {
            return Ok(Self(reader));
        }
        if let Some(one) = desk.refusals.one(Whom::Known(reader.identity.name().clone())) {
            let about = Access { user_id: Some(reader.user_id), ..super::refusal(&one) };
            desk.archive.log_refusal(about, one).await;
        }
        Err(Problem::not_found())
    }

    /// Why the user is in their mode, or was at a time.
    pub(in crate::http) async fn why(
        &self,
        as_of: Option<Timestamp>,
        lanes: BTreeMap<i32, &'static str>,
    ) -> Result<Phi<Vec<u8>>, Problem> {
        let user_id = self.0.user_id.clone();
        let read = async move |opened: Arc<Opened>, file: File| {
            let why = Why::of(opened.source(&file), as_of, now()).await?;
            let why = why.map_err(|_| too_far("as_of"))?;
            let mut shown = why.to_json(&user_id);
            let open = open_alerts(&opened, &file, why.person.message_number).await?;
            let lane = lane_of(&opened, &user_id, &lanes).await?;
            if let Value::Object(shown) = &mut shown {
                shown.insert("user_id".to_owned(), json!(user_id));
                shown.insert("as_of".to_owned(), json!(as_of));
                shown.insert("quarantined".to_owned(), json!(file.stored.quarantined));
                shown.insert("alerts".to_owned(), json!(open));
                shown.insert("lane".to_owned(), lane);
            }
            super::written(&shown)
        };
        let part = Some(as_of.map_or_else(|| "why".to_owned(), |at| format!("why at {at}")));
        self.0.disclose("biometric_events", part, RECORDS_MAX, read).await
    }

    /// A page of the user's records by number, each with where it lies and what came of it.
    pub(in crate::http) async fn events(&self, page: Page) -> Result<Phi<Vec<u8>>, Problem> {
        let limit = i64::from(page.limit);
        let read = async move |opened: Arc<Opened>, file: File| {
            let source = opened.source(&file);
            let newest = source.newest_by(None, 0).await?.ok().flatten();
            let start = file.stored.start.record_number;
            let newest = newest.map_or(start, |newest| newest.number);
            let after = page.after.max(start);
            if newest - after > PASSED_MAX {
                return Err(too_far("after"));
            }
            let numbers =
                |after: i64| Numbers { after, upto: after.saturating_add(limit).min(newest) };
            let mut asked = numbers(after);
            if asked.upto <= after {
                return super::written(&Events::default());
            }
            let base = source.oldest_base(Numbers { after, upto: newest }).await?;
            let mut begun = Retracing::begin(source, asked, RECORDS_MAX).await;
            if let (Err(RestoreError::Unreadable { .. }), Some(base)) = (&begun, base) {
                // Records that a base holds may have gone: it goes on with the first behind that.
                asked = numbers(base);
                begun = Retracing::begin(source, asked, RECORDS_MAX).await;
            }
            let mut records = begun?.ok_or_else(|| too_far("after"))?;
            let mut events = Events::default();
            let mut last = asked.upto;
            while let Some((record, replayed)) = records.next().await? {
                let number = record.number;
                events.add(&match replayed {
                    Some(replayed) => Told::of(record, replayed).to_json(),
                    None => json!({ "record": place(&record), "message": null, "outcomes": [] }),
                })?;
                if events.bytes >= PAGE_BYTES {
                    last = number;
                    break;
                }
            }
            events.next = (last < newest).then_some(last);
            super::written(&events)
        };
        let part = Some(format!("number > {}", page.after));
        self.0.disclose("biometric_events", part, limit, read).await
    }

    /// Begins to follow the user behind message number `after`, or from now on; it is written down once.
    pub(in crate::http) async fn follow(self, after: Option<i64>) -> Result<Following, Problem> {
        let read = async move |opened: Arc<Opened>, file: File| match after {
            Some(after) => Ok(after.max(file.stored.start.message_number)),
            None => Ok(opened.restorer.newest(&file.stored, &file.key).await?.message_number),
        };
        let Self(reader) = self;
        let access = following(&reader, "SUBSCRIBE", 0);
        let after = reader.archive.read(access, reader.user_id.clone(), read).await?;
        Ok(Following { reader, after, sent: 0 })
    }
}

/// Somebody who follows what is said of a user.
pub(in crate::http) struct Following {
    reader: Reader,
    after: i64,
    sent: i64,
}

/// A row about somebody who follows what is said of a user.
fn following(reader: &Reader, kind: &str, sent: i64) -> Access {
    reader.access(kind, "mode_transitions, biometric_alerts", Some("live".to_owned()), sent)
}

impl Drop for Following {
    fn drop(&mut self) {
        let row = following(&self.reader, ENDED, self.sent);
        self.reader.archive.log_end(vec![row]);
    }
}

impl Following {
    /// What has been said since, by number, once there is something; `None` when nothing was for `patience`. Nothing
    /// any more, once `is_known` says that nobody knows who follows, or the service ends.
    pub(in crate::http) async fn next(
        &mut self,
        patience: Duration,
        is_known: impl Fn(&Identity) -> bool,
    ) -> Result<Option<Vec<(i64, Phi<Vec<u8>>)>>, Problem> {
        let waited = tokio::time::timeout(patience, async {
            loop {
                let said = self.look().await?;
                if !is_known(&self.reader.identity) {
                    return Err(Problem::not_found());
                }
                if self.reader.archive.ending().is_cancelled() {
                    return Err(Problem::unavailable("the service is ending"));
                }
                if !said.is_empty() {
                    return Ok(said);
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        let Ok(said) = waited.await else { return Ok(None) };
        let said = said?;
        self.after = said.last().map_or(self.after, |(n, _)| *n);
        self.sent += i64::try_from(said.len()).unwrap_or(i64::MAX);
        Ok(Some(said))
    }

    async fn look(&self) -> Result<Vec<(i64, Phi<Vec<u8>>)>, Problem> {
        let after = self.after;
        let read = async move |opened: Arc<Opened>, file: File| {
            let user = file.stored.user;
            let changes = opened.store.transitions_of_user(user, after, LIVE_ROWS).await?;
            let alerts = opened.store.alerts_of_user(user, after, LIVE_ROWS).await?;
            let changes = changes.into_iter().map(|row| (transition_place(user, row.n), row.body));
            let alerts = alerts.into_iter().map(|row| (alert_place(user, row.n), row.body));
            let mut rows: Vec<(Place, Vec<u8>)> = changes.chain(alerts).collect();
            rows.sort_unstable_by_key(|(place, _)| place.record);
            // What is numbered has no gaps; behind one there may be what is not read yet.
            let whole =
                rows.iter().zip(after + 1..).take_while(|((place, _), n)| place.record == *n);
            let whole = whole.count();
            let (mut said, mut bytes) = (Vec::new(), 0);
            for (place, body) in rows.into_iter().take(whole) {
                let stored = opened.open(&file, place, &body).await?;
                let is_change = place == transition_place(user, place.record);
                let json = if is_change { explained_of_stored(stored) } else { Some(stored) };
                let json = json.ok_or_else(|| super::unread(place, "it is no mode change"))?;
                bytes += json.expose().len();
                said.push((place.record, json));
                if bytes >= PAGE_BYTES {
                    break;
                }
            }
            Ok(said)
        };
        let Reader { archive, identity, user_id } = &self.reader;
        archive.read_on(super::accessor(identity), user_id.clone(), read).await
    }
}

/// A page of records.
#[derive(Default, Serialize)]
struct Events {
    events: Vec<Box<RawValue>>,
    /// What to ask for next; `null` when these were the last.
    next: Option<i64>,
    #[serde(skip)]
    bytes: usize,
}

impl Events {
    fn add(&mut self, event: &Value) -> Result<(), Unread> {
        // What went wrong might quote what it was about.
        let text = serde_json::value::to_raw_value(event);
        let text = text.map_err(|_| Unread::Broken("a record cannot be written".to_owned()))?;
        self.bytes += text.get().len();
        self.events.push(text);
        Ok(())
    }
}

fn too_far(field: &'static str) -> Unread {
    let detail = format!(
        "more than {RECORDS_MAX} records lie between that and where a state is kept, so it cannot be recomputed"
    );
    Unread::TooFar(field, detail)
}

/// The newest change of each alert that was open when the user's newest message was number `upto`.
async fn open_alerts(opened: &Opened, file: &File, upto: i64) -> Result<Vec<Value>, Unread> {
    let StoredUser { user, start, .. } = file.stored;
    let mut newest: BTreeMap<Uuid, StoredAlert> = BTreeMap::new();
    let mut after = start.message_number;
    loop {
        let page = opened.store.alerts_of_user(user, after, ROWS).await?;
        let Some(last) = page.last() else { break };
        after = last.n;
        for row in page.into_iter().filter(|row| row.n <= upto) {
            match row.status.as_str() {
                "firing" | "acknowledged" => drop(newest.insert(row.alert_id, row)),
                _ => drop(newest.remove(&row.alert_id)),
            }
        }
        if after >= upto {
            break;
        }
    }
    let mut open: Vec<StoredAlert> = newest.into_values().collect();
    open.sort_unstable_by_key(|row| row.n);
    let mut shown = Vec::with_capacity(open.len());
    for row in open {
        let place = alert_place(user, row.n);
        let bytes = opened.open(file, place, &row.body).await?;
        let json = serde_json::from_slice(bytes.expose());
        shown.push(json.map_err(|_| super::unread(place, "it is no message"))?);
    }
    Ok(shown)
}

/// The user's home lane as its row says, and what this process knows of it.
async fn lane_of(
    opened: &Opened,
    user_id: &str,
    ours: &BTreeMap<i32, &'static str>,
) -> Result<Value, Unread> {
    let Some(routing) = opened.store.routing().await? else { return Ok(Value::Null) };
    let lane: Lane = home(user_id, routing.partition_count);
    let rows = opened.store.lanes().await?;
    let row = rows.into_iter().find(|row| row.lane == lane);
    let positions = row.as_ref().map(|row| row.progress.positions);
    let condition = ours.get(&lane.0);
    let missing = match condition {
        Some(_) => "the lane does not tell of single actors",
        None => "this process does not own the lane",
    };
    Ok(json!({
        "partition": lane.0,
        "events_position": positions.map(|positions| positions.events),
        "by_user_position": positions.map(|positions| positions.by_user),
        "owner": row.as_ref().map(|row| row.owner.clone()),
        "condition": condition,
        "actor_age_seconds": null,
        "mailbox": null,
        "missing": missing,
    }))
}
