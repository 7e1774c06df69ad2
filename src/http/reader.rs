//! Somebody who may see a person's data: the one way from a request to what is stored. Making one knows who
//! asks and whether they may; each of its answers is written down, durably, before it is given.

mod alerts;
mod archive;
mod catching_up;
mod coach;
mod cursor;
mod ended;
mod feed;
mod follow;
mod hub;
mod inquiry;
mod queue;
mod shares;
mod status;
mod statuses;
mod subscriber;
mod text;
mod tickets;
mod timeline;
mod turns;
mod unread;

use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::web::{Data, Path};
use actix_web::{FromRequest, HttpRequest};
use actors::message::explained_of_stored;
use actors::phi::Phi;
use actors::places::transition_place;
use actors::seal::Place;
use futures_util::future::{FutureExt as _, LocalBoxFuture};
use neuros::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use self::archive::{File, Opened};
use self::unread::Unread;
use super::Desk;
use super::authentication::{Change, Identity, Refused};
use super::limits::Network;
use super::problem::Problem;
use super::query::Page;
use super::refusals::{Unwritten, Whom};
use crate::store::{Access, Administration as _};

pub(super) use alerts::Answer;
pub use archive::{Archive, Ending, Opening};
pub(super) use follow::{Followees, Subscription, Unfollowed, Wanted};
pub(super) use inquiry::{Following, Inquirer};
pub(super) use subscriber::Cut;
pub(super) use text::Text;
pub(super) use tickets::SECONDS as TICKET_SECONDS;
pub(super) use timeline::{Stretch, Timeline};

/// Whoever asks, and about whom.
pub(super) struct Reader {
    archive: Arc<Archive>,
    identity: Identity,
    user_id: String,
}

/// What leaves for whoever follows somebody, as rows name it: where they stand, and what is said of them.
const FOLLOWED: &str = "neuros_checkpoints, mode_transitions, biometric_alerts";
/// What is told of a changed file, at most.
const CHANGE_BYTES: usize = 4 << 10;
/// A page ends when it is about so long: an explanation may have ten thousand readings.
const PAGE_BYTES: usize = 4 << 20;

impl FromRequest for Reader {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        async move { Self::of(&request).await }.boxed_local()
    }
}

/// What every path of a reader names.
#[derive(Deserialize)]
struct Whose {
    user_id: String,
}

impl Reader {
    async fn of(request: &HttpRequest) -> Result<Self, Problem> {
        let desk = request.app_data::<Data<Desk>>().ok_or_else(Problem::broken)?;
        let identity = identify(desk, request).await?;
        let whose = Path::<Whose>::extract(request).await;
        let user_id = whose.map_or_else(|_| String::new(), |whose| whose.into_inner().user_id);
        // Nothing else was ever stored.
        if !neuros::wire::is_user_id(&user_id) {
            return Err(Problem::not_found());
        }
        if !identity.may_see(&user_id) {
            // Nobody has looked whether there is such a user, so the answer cannot tell.
            if let Some(one) = desk.refusals.one(Whom::Known(identity.name().clone())) {
                let about = Access { user_id: Some(user_id), ..refusal(&one) };
                desk.archive.log_refusal(about, one).await;
            }
            return Err(Problem::not_found());
        }
        Ok(Self { archive: Arc::clone(&desk.archive), identity, user_id })
    }

    /// The user's state with all records that are stored by now.
    pub(super) async fn state(&self) -> Result<Tagged, Problem> {
        let user_id = self.user_id.clone();
        let read = async move |opened: Arc<Opened>, File { stored, key }: File| {
            let person = opened.restorer.newest(&stored, &key).await?;
            let mut json = json!({
                "user_id": user_id,
                "n": person.message_number,
                "record_number": person.record_number,
                "as_of": person.newest.map(|newest| newest.stamp),
                "quarantined": stored.quarantined,
            });
            let summary = person.state.as_ref().map(|state| json!(state.summary(&user_id)));
            if let (Value::Object(shown), Some(Value::Object(summary))) = (&mut json, summary) {
                shown.extend(summary);
            }
            let quarantined = u8::from(stored.quarantined);
            let tag = format!("{}.{}.{quarantined}", person.record_number, person.message_number);
            Ok(Tagged { body: written(&json)?, tag })
        };
        self.disclose("neuros_checkpoints", None, 1, read).await
    }

    /// A page of the user's mode changes: [`Transitions`].
    pub(super) async fn transitions(&self, page: Page) -> Result<Phi<Vec<u8>>, Problem> {
        let limit = i64::from(page.limit);
        let read = async move |opened: Arc<Opened>, file: File| {
            // What is of before the user was erased and let in again does not open.
            let (user, after) = (file.stored.user, page.after.max(file.stored.start.seq));
            let rows = opened.store.transitions_by_seq(user, after, limit).await?;
            let mut messages = Messages::of(rows.len(), limit);
            for row in &rows {
                if messages.is_full() {
                    break;
                }
                let place = transition_place(user, row.n);
                let stored = opened.open(&file, place, &row.body).await?;
                messages.add(place, explained_of_stored(stored))?;
            }
            let (transitions, next) = messages.end();
            let last = transitions.len().checked_sub(1).and_then(|last| rows.get(last));
            let next = next.and(last.map(|last| last.seq));
            written(&Transitions { transitions, next })
        };
        let part = Some(format!("seq > {}", page.after));
        self.disclose("mode_transitions", part, limit, read).await
    }

    async fn disclose<T, F>(
        &self,
        table: &'static str,
        part: Option<String>,
        records: i64,
        read: impl FnOnce(Arc<Opened>, File) -> F + Send + 'static,
    ) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Unread>> + Send,
    {
        let access = self.access("READ", table, part, records);
        self.archive.read(access, self.user_id.clone(), read).await
    }

    fn access(&self, kind: &str, table: &str, part: Option<String>, records: i64) -> Access {
        Access {
            user_id: Some(self.user_id.clone()),
            record_id: part,
            records,
            ..access(&accessor(&self.identity), kind, table)
        }
    }
}

/// Something, and what is another when it is.
pub(super) struct Tagged {
    pub(super) body: Phi<Vec<u8>>,
    pub(super) tag: String,
}

/// A page of mode changes as they left, each with its explanation.
#[derive(Serialize)]
struct Transitions {
    transitions: Vec<Box<RawValue>>,
    /// What to ask for next; `null` when these were the last.
    next: Option<i64>,
}

/// An answer as it leaves.
fn written(answer: &impl Serialize) -> Result<Phi<Vec<u8>>, Unread> {
    // What went wrong might quote what it was about.
    let json = serde_json::to_vec(answer);
    json.map(Phi::new).map_err(|_| Unread::Broken("an answer cannot be written".to_owned()))
}

/// Messages of a page, by their numbers.
struct Messages {
    texts: Vec<Box<RawValue>>,
    newest: Option<i64>,
    bytes: usize,
    /// So many were found, and none is behind them.
    last: Option<usize>,
}

impl Messages {
    /// A page of rows, of which `found` were found of up to `limit`.
    fn of(found: usize, limit: i64) -> Self {
        let last = Some(found).filter(|found| (*found as i64) < limit);
        Self { texts: Vec::new(), newest: None, bytes: 0, last }
    }

    fn is_full(&self) -> bool {
        self.bytes >= PAGE_BYTES
    }

    fn add(&mut self, place: Place, json: Option<Phi<Vec<u8>>>) -> Result<(), Unread> {
        let json = json.and_then(|json| String::from_utf8(json.into_inner()).ok());
        let json = json.and_then(|json| RawValue::from_string(json).ok());
        let json = json.ok_or_else(|| unread(place, "what is sealed there is no message"))?;
        self.bytes += json.get().len();
        self.texts.push(json);
        self.newest = Some(place.record);
        Ok(())
    }

    /// The messages, and what to ask for next.
    fn end(self) -> (Vec<Box<RawValue>>, Option<i64>) {
        let are_last = self.last == Some(self.texts.len());
        (self.texts, self.newest.filter(|_| !are_last))
    }
}

fn unread(place: Place, problem: &str) -> Unread {
    Unread::Broken(format!("row {} of {}: {problem}", place.record, place.table))
}

/// Who asks. Whom nobody knows is counted, written down, and told what is missing.
pub(super) async fn identify(desk: &Desk, request: &HttpRequest) -> Result<Identity, Problem> {
    let known = desk.authentication.identify(request.headers()).await;
    admit(desk, request, known).await
}

/// Lets in who is known, at their pace; whom nobody knows is counted and written down.
pub(super) async fn admit(
    desk: &Desk,
    request: &HttpRequest,
    known: Result<Identity, Refused>,
) -> Result<Identity, Problem> {
    match known {
        Ok(identity) => {
            desk.limits.subject(identity.name()).map_err(Problem::too_many)?;
            Ok(identity)
        }
        Err(refused) => {
            desk.watch.authentication_failed(refused.as_str());
            if let Some(one) = desk.refusals.one(Whom::Unknown) {
                let network = Network::of(request.peer_addr().map(|address| address.ip()));
                let about = Access {
                    accessor_id: format!("address {network}"),
                    record_id: Some(refused.as_str().to_owned()),
                    ..refusal(&one)
                };
                desk.archive.log_refusal(about, one).await;
            }
            Err(refused.problem())
        }
    }
}

/// Writes down how many refusals had no row of their own.
pub(super) async fn log_more_refusals(desk: &Desk) {
    for more in desk.refusals.more() {
        let count = more.count();
        let record_id = Some(format!("{count} more"));
        let about = Access { record_id, records: count, ..refusal(&more) };
        if !desk.archive.log_refusal(about, more).await {
            // What is left is tried again, and not now: each try takes its time.
            return;
        }
    }
}

/// Writes down that a file says otherwise who may see what; says whether that is known to be written.
pub(super) async fn log_change(desk: &Desk, Change { setting, now }: Change) -> bool {
    let mut said = String::new();
    for (place, one) in now.iter().enumerate() {
        if said.len() + one.len() > CHANGE_BYTES {
            said.push_str(&format!("and {} more", now.len() - place));
            break;
        }
        said.push_str(one);
        said.push_str("; ");
    }
    let records = i64::try_from(now.len()).unwrap_or(i64::MAX);
    let about = access(&format!("http/{setting}"), "CONFIGURE", "settings");
    let about = Access { record_id: Some(said), records, ..about };
    let written = desk.archive.log(about, || ()).await;
    if let Err(problem) = &written {
        let why = "what it said before counts until its change can be written to phi_access_log";
        tracing::warn!(%problem, setting, "{why}");
    }
    written.is_ok()
}

/// What a row about refusals of somebody says in any case.
fn refusal(unwritten: &Unwritten) -> Access {
    match unwritten.whom() {
        Whom::Unknown => access("addresses", "AUTHENTICATION FAILED", "users"),
        Whom::Known(name) => access(&format!("http/{name}"), "DENIED", "users"),
    }
}

/// Who asks, as rows name them.
fn accessor(identity: &Identity) -> String {
    format!("http/{}", identity.name())
}

fn access(accessor_id: &str, kind: &str, table: &str) -> Access {
    Access {
        user_id: None,
        accessor_id: accessor_id.to_owned(),
        access_type: kind.to_owned(),
        table_name: table.to_owned(),
        record_id: None,
        records: 0,
        time: now(),
    }
}

fn now() -> Timestamp {
    crate::app::now()
}
