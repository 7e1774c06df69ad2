//! Somebody who may see a person's data: the one way from a request to what is stored. Making one knows who
//! asks and whether they may; each of its answers is written down, durably, before it is given.

mod archive;
mod catching_up;
mod cursor;
mod feed;
mod follow;
mod hub;
mod status;
mod statuses;
mod subscriber;
mod tickets;

use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::web::{Data, Path};
use actix_web::{FromRequest, HttpRequest};
use actors::message::explained_of_stored;
use actors::user::transition_place;
use futures_util::future::{FutureExt as _, LocalBoxFuture};
use neuros::time::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use self::archive::{File, Opened, Unread};
use super::Desk;
use super::authentication::{Identity, Refused};
use super::limits::Network;
use super::problem::Problem;
use crate::store::{Access, Administration as _};

pub use archive::{Archive, Opening};
pub(super) use follow::{Subscription, Unfollowed, Wanted, Whom};
pub(super) use subscriber::Cut;
pub(super) use tickets::SECONDS as TICKET_SECONDS;

/// Whoever asks, and about whom.
pub(super) struct Reader {
    archive: Arc<Archive>,
    identity: Identity,
    user_id: String,
}

/// A user id has 1 to so many bytes and no control characters; nothing else was ever stored.
const USER_ID_BYTES_MAX: usize = 255;
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

impl Reader {
    async fn of(request: &HttpRequest) -> Result<Self, Problem> {
        let desk = request.app_data::<Data<Desk>>().ok_or_else(Problem::broken)?;
        let identity = identify(desk, request).await?;
        let user_id =
            Path::<String>::extract(request).await.map_or_else(|_| String::new(), Path::into_inner);
        let is_id =
            (1..=USER_ID_BYTES_MAX).contains(&user_id.len()) && !user_id.contains(char::is_control);
        if !is_id {
            return Err(Problem::not_found());
        }
        if !identity.may_see(&user_id) {
            // Nobody has looked whether there is such a user, so the answer cannot tell.
            if desk.limits.writes_refusal() {
                let user_id = Some(user_id);
                let about = Access { user_id, ..access(&identity, "DENIED", "users") };
                desk.archive.log_refusal(about).await;
            }
            return Err(Problem::not_found());
        }
        Ok(Self { archive: Arc::clone(&desk.archive), identity, user_id })
    }

    /// The user's state with all records that are stored by now.
    pub(super) async fn state(&self) -> Result<Value, Problem> {
        let user_id = self.user_id.clone();
        let read = async move |opened: Arc<Opened>, File { stored, key }: File| {
            let person = opened.restorer.newest(&stored, &key).await?;
            let mut shown = json!({
                "user_id": user_id,
                "n": person.message_number,
                "record_number": person.record_number,
                "as_of": person.newest.map(|newest| newest.stamp),
                "quarantined": stored.quarantined,
            });
            let summary = person.state.as_ref().map(|state| json!(state.summary(&user_id)));
            if let (Value::Object(shown), Some(Value::Object(summary))) = (&mut shown, summary) {
                shown.extend(summary);
            }
            Ok(shown)
        };
        self.disclose("neuros_checkpoints", None, 1, read).await
    }

    /// The user's mode changes with message numbers above `after`, at most `limit`.
    pub(super) async fn transitions(&self, after: i64, limit: u32) -> Result<Transitions, Problem> {
        let limit = i64::from(limit);
        let read = async move |opened: Arc<Opened>, file: File| {
            // What is of before the user was erased and let in again does not open.
            let (user, after) = (file.stored.user, after.max(file.stored.start.message_number));
            let rows = opened.store.transitions_of_user(user, after, limit).await?;
            let is_last = (rows.len() as i64) < limit;
            let mut page = Transitions { transitions: Vec::new(), next: None };
            let mut bytes = 0;
            for row in rows {
                if bytes >= PAGE_BYTES {
                    return Ok(page);
                }
                let place = transition_place(user, row.n);
                let unopened = |problem: &str| {
                    Unread::Broken(format!("row {} of {}: {problem}", row.n, place.table))
                };
                let stored = opened.restorer.open(user, &file.key, place, &row.body).await?;
                let stored = stored.map_err(|error| unopened(&error.to_string()))?;
                let json =
                    explained_of_stored(stored).and_then(|json| String::from_utf8(json).ok());
                let json = json.and_then(|json| RawValue::from_string(json).ok());
                let json =
                    json.ok_or_else(|| unopened("what is sealed there is no mode change"))?;
                bytes += json.get().len();
                page.transitions.push(json);
                page.next = Some(row.n);
            }
            if is_last {
                page.next = None;
            }
            Ok(page)
        };
        let part = Some(format!("n > {after}"));
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
        let access = Access {
            user_id: Some(self.user_id.clone()),
            record_id: part,
            records,
            ..access(&self.identity, "READ", table)
        };
        self.archive.read(access, self.user_id.clone(), read).await
    }
}

/// A page of mode changes as they left, each with its explanation.
#[derive(Serialize)]
pub(super) struct Transitions {
    transitions: Vec<Box<RawValue>>,
    /// What to ask for next; `null` when these were the last.
    next: Option<i64>,
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
            if desk.limits.writes_refusal() {
                let network = Network::of(request.peer_addr().map(|address| address.ip()));
                let about = Access {
                    user_id: None,
                    accessor_id: format!("address {network}"),
                    access_type: "AUTHENTICATION FAILED".to_owned(),
                    table_name: "users".to_owned(),
                    record_id: Some(refused.as_str().to_owned()),
                    records: 0,
                    time: now(),
                };
                desk.archive.log_refusal(about).await;
            }
            Err(refused.problem())
        }
    }
}

fn access(identity: &Identity, kind: &str, table: &str) -> Access {
    Access {
        user_id: None,
        accessor_id: format!("http/{}", identity.name()),
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
