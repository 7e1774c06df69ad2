//! An operator who looks into a single user, where the settings let them: why the user is in their mode, the records
//! one by one, and what is said of the user while it is. Each look is written down before.

use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};
use actors::inquiry::Presence;
use actors::lane::Lane;
use actors::message::explained_of_stored;
use actors::phi::Phi;
use actors::places::{alert_place, transition_place};
use actors::restore::RestoreError;
use actors::seal::Place;
use futures_util::future::{FutureExt as _, LocalBoxFuture};
use neuros::time::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::archive::{File, Opened};
use super::ended::ENDED;
use super::unread::Unread;
use super::{PAGE_BYTES, Reader, now};
use crate::http::Desk;
use crate::http::authentication::Identity;
use crate::http::problem::Problem;
use crate::http::query::Page;
use crate::http::refusals::Whom;
use crate::inquiry::{Inquiry, Owned};
use crate::retrace::{Numbers, Retracing};
use crate::store::{Access, Administration as _};
use crate::watch::Watch;
use crate::why::{PASSED_MAX, RECORDS_MAX, Told, place};

/// An operator, about a user.
pub(in crate::http) struct Inquirer(Reader);

/// Rows of somebody who is followed that are read at once: each may have an explanation with ten thousand readings.
const ROWS: i64 = 100;
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
        watch: Arc<Watch>,
    ) -> Result<Phi<Vec<u8>>, Problem> {
        let user_id = self.0.user_id.clone();
        let read = async move |opened: Arc<Opened>, file: File| {
            let told = Inquiry::of(opened.source(&file), &user_id, as_of, now()).await?;
            let told = told.map_err(|_| too_far("as_of"))?;
            let owned = match &told.home {
                Some(home) => owned(&watch, home.lane, &user_id).await,
                None => NO_LANES,
            };
            let shown = told.to_json(&owned);
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
            let changes = opened.store.transitions_of_user(user, after, ROWS).await?;
            let alerts = opened.store.alerts_of_user(user, after, ROWS).await?;
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

/// Before there are any, nobody owns a lane.
const NO_LANES: Owned = Owned { condition: None, actor_age_seconds: Err("there are no lanes yet") };

/// What this process knows of a user's home lane.
async fn owned(watch: &Watch, lane: Lane, user_id: &str) -> Owned {
    let actor_age_seconds = match watch.presence(lane, user_id).await {
        Ok(Some(Presence { age })) => Ok(age.as_secs_f64()),
        Ok(None) => Err("the user is not in memory"),
        Err(why) => Err(why),
    };
    Owned { condition: watch.readiness().lanes.get(&lane.0).copied(), actor_age_seconds }
}
