//! Following users: who may, written down before anything is sent; then where each user stands, what was missed,
//! and from there on what is new. All of it is read from the store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actors::message::message_of_stored;
use actors::store::{Asked, Store as _};
use actors::user::{alert_place, transition_place};
use bytestring::ByteString;
use futures_util::future::join_all;
use serde_json::json;

use super::archive::{Archive, File, Opened, Unread};
use super::cursor::Cursor;
use super::feed::{self, Missing};
use super::hub::with_cursor;
use super::status::Status;
use super::subscriber::{Cut, Subscriber};
use super::{USER_ID_BYTES_MAX, access, now};
use crate::http::authentication::Identity;
use crate::http::problem::Problem;
use crate::store::{Access, Administration as _};
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Messages of a user that are read at a time.
const PAGE: i64 = 200;
/// Users whose snapshots are read at a time.
const USERS_PAGE: i64 = 200;
/// How long to wait before the store is asked again.
const PAUSE: Duration = Duration::from_secs(1);
/// How long writing down that somebody follows may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What somebody asks to follow.
pub(in crate::http) struct Wanted {
    pub(in crate::http) whom: Whom,
    /// Send first where each user stands.
    pub(in crate::http) snapshot: bool,
}

/// Whom, and from where on.
pub(in crate::http) enum Whom {
    /// These, each from behind a message, or from now on.
    Users(BTreeMap<String, Option<i64>>),
    /// Everybody, from behind a cursor, or from now on.
    Everybody(Option<String>),
}

/// Why somebody does not follow.
pub(in crate::http) enum Unfollowed {
    /// They may not see one of these users.
    Forbidden,
    /// The request is none that can be; says what is wrong.
    Wrong(String),
    /// It cannot be written down.
    NotLogged,
}

/// Somebody's place at the hub, until it is dropped.
pub(in crate::http) struct Subscription {
    opened: Arc<Opened>,
    identity: Identity,
    id: u64,
    subscriber: Arc<Subscriber>,
    users_max: usize,
    sockets: TaskTrackerToken,
}

impl Subscription {
    /// A place for somebody who follows nobody yet.
    ///
    /// # Errors
    ///
    /// When the service has not reached its store.
    pub(in crate::http) fn new(
        archive: &Archive,
        identity: Identity,
        bytes_max: usize,
        users_max: usize,
    ) -> Result<Self, Problem> {
        let opened = archive.opened()?;
        let subscriber = Arc::new(Subscriber::new(bytes_max));
        let id = opened.hub.enter(&subscriber);
        let sockets = archive.sockets.token();
        Ok(Self { opened, identity, id, subscriber, users_max, sockets })
    }

    /// What is to be sent.
    pub(in crate::http) fn subscriber(&self) -> &Arc<Subscriber> {
        &self.subscriber
    }

    /// What is to be said at first: that the store is away, if it is.
    pub(in crate::http) fn greeting(&self) -> Option<ByteString> {
        self.opened.hub.is_away().then(|| Status::Stale.of_service(None))
    }

    /// Follows, if that may be.
    ///
    /// # Errors
    ///
    /// See [`Unfollowed`].
    pub(in crate::http) async fn follow(&self, wanted: Wanted) -> Result<(), Unfollowed> {
        match wanted.whom {
            Whom::Users(users) => self.follow_users(users, wanted.snapshot).await,
            Whom::Everybody(cursor) => self.follow_everybody(cursor, wanted.snapshot).await,
        }
    }

    async fn follow_users(
        &self,
        users: BTreeMap<String, Option<i64>>,
        snapshot: bool,
    ) -> Result<(), Unfollowed> {
        self.check(&users)?;
        if let Some(user_id) = users.keys().find(|user_id| !self.identity.may_see(user_id)) {
            self.refuse(Some(user_id.clone())).await;
            return Err(Unfollowed::Forbidden);
        }
        let row = |user_id: &String, after: Option<i64>| Access {
            user_id: Some(user_id.clone()),
            record_id: after.map(|after| format!("n > {after}")),
            ..access(&self.identity, "SUBSCRIBE", "mode_transitions")
        };
        self.log(users.iter().map(|(user_id, after)| row(user_id, *after)).collect()).await?;
        for user_id in users.keys() {
            self.subscriber.follow(user_id);
            self.opened.hub.follow(self.id, &self.subscriber, user_id);
        }
        let (opened, subscriber) = (Arc::clone(&self.opened), Arc::clone(&self.subscriber));
        self.opened.runtime.spawn(async move {
            for (user_id, after) in users {
                if !begin(&opened, &subscriber, &user_id, after, snapshot).await {
                    return;
                }
                catch_up(&opened, &subscriber, &user_id).await;
            }
        });
        Ok(())
    }

    fn check(&self, users: &BTreeMap<String, Option<i64>>) -> Result<(), Unfollowed> {
        let wrong = |text: &str| Err(Unfollowed::Wrong(text.to_owned()));
        let is_id = |user_id: &String| {
            (1..=USER_ID_BYTES_MAX).contains(&user_id.len()) && !user_id.contains(char::is_control)
        };
        if users.is_empty() || !users.keys().all(is_id) {
            return wrong("`users` must be \"*\" or a list of user ids");
        }
        if self.subscriber.follows_everybody()
            || users.keys().any(|user_id| self.subscriber.follows(user_id))
        {
            return wrong("`users` names somebody who is followed already");
        }
        if self.subscriber.user_count() + users.len() > self.users_max {
            let most = self.users_max;
            return wrong(&format!("`users`: one socket follows {most} at most"));
        }
        Ok(())
    }

    async fn follow_everybody(
        &self,
        cursor: Option<String>,
        snapshot: bool,
    ) -> Result<(), Unfollowed> {
        let wrong = |text: &str| Unfollowed::Wrong(text.to_owned());
        if self.subscriber.follows_everybody() || self.subscriber.user_count() > 0 {
            return Err(wrong("`users` names somebody who is followed already"));
        }
        let cursor = match cursor {
            Some(text) => Some(Cursor::decode(&text).ok_or_else(|| {
                wrong("`after` must be the cursor of the last message, as it came")
            })?),
            None => None,
        };
        if !self.identity.may_see_everybody() {
            self.refuse(None).await;
            return Err(Unfollowed::Forbidden);
        }
        let row = access(&self.identity, "SUBSCRIBE", "mode_transitions");
        self.log(vec![Access { record_id: Some("everybody".to_owned()), ..row }]).await?;
        let (opened, subscriber) = (Arc::clone(&self.opened), Arc::clone(&self.subscriber));
        let cursor = match cursor.or_else(|| opened.hub.position()) {
            Some(cursor) => cursor,
            // Before the store was asked for the first time.
            None => Cursor::at(opened.store.heads().await.map_err(|_| Unfollowed::NotLogged)?),
        };
        let status = if opened.hub.is_away() { Status::Stale } else { Status::Fresh };
        subscriber.tell(&status.of_service(Some(&cursor.encode())));
        subscriber.follow_everybody(cursor);
        opened.hub.follow_everybody(self.id, &subscriber);
        self.opened.runtime.spawn(async move {
            if !snapshot || snapshots(&opened, &subscriber).await {
                catch_up_everybody(&opened, &subscriber).await;
            }
        });
        Ok(())
    }

    /// Writes rows down before anything is sent.
    async fn log(&self, rows: Vec<Access>) -> Result<(), Unfollowed> {
        let opened = Arc::clone(&self.opened);
        let written = self.opened.runtime.spawn(async move { log_all(&opened, &rows).await });
        match tokio::time::timeout(PATIENCE, written).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(problem))) => {
                tracing::error!(%problem, "nobody follows: phi_access_log takes no rows");
                Err(Unfollowed::NotLogged)
            }
            Ok(Err(_)) | Err(_) => Err(Unfollowed::NotLogged),
        }
    }

    async fn refuse(&self, user_id: Option<String>) {
        let row = Access { user_id, ..access(&self.identity, "DENIED", "users") };
        // Whoever is refused is closed, and comes again at the pace of the limits.
        let _refused = self.log(vec![row]).await;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let (users, everybody) = self.subscriber.end();
        self.opened.hub.leave(self.id, &users);
        let row = |user_id: Option<String>, records: u64| Access {
            record_id: user_id.is_none().then(|| "everybody".to_owned()),
            user_id,
            records: i64::try_from(records).unwrap_or(i64::MAX),
            ..access(&self.identity, "SUBSCRIPTION ENDED", "mode_transitions")
        };
        let mut rows: Vec<Access> =
            users.into_iter().map(|(user_id, sent)| row(Some(user_id), sent)).collect();
        rows.extend(everybody.map(|sent| row(None, sent)));
        if rows.is_empty() {
            return;
        }
        let (opened, sockets) = (Arc::clone(&self.opened), self.sockets.clone());
        self.opened.runtime.spawn(async move {
            if let Err(problem) = log_all(&opened, &rows).await {
                tracing::warn!(%problem, "the end of a subscription could not be written down");
            }
            drop(sockets);
        });
    }
}

async fn log_all(opened: &Opened, rows: &[Access]) -> Result<(), String> {
    // Together: they are written by one statement.
    let written = join_all(rows.iter().map(|row| opened.store.log_access(row))).await;
    written.into_iter().collect::<Result<(), _>>().map_err(|error| error.to_string())
}

/// A user's row and key; `None` when there is no such user.
async fn file_of(opened: &Opened, user_id: &str) -> Result<Option<File>, Unread> {
    let users = opened.store.users(Asked::Ids(&[user_id])).await?;
    let Some(stored) = users.into_iter().find(|stored| !stored.erased) else { return Ok(None) };
    let keys = opened.keys.keys_of(&[stored.user]).await?;
    Ok(keys.into_iter().next().flatten().map(|key| File { stored, key }))
}

/// Where a user stands.
struct Standing {
    /// The message that says so.
    text: ByteString,
    status: Status,
    /// The newest message up to there.
    n: i64,
}

async fn standing(opened: &Opened, user_id: &str) -> Result<Standing, Unread> {
    let _turn = opened.turns.acquire().await;
    let file = file_of(opened, user_id).await?;
    standing_of(opened, user_id, file).await
}

async fn standing_of(
    opened: &Opened,
    user_id: &str,
    file: Option<File>,
) -> Result<Standing, Unread> {
    let Some(File { stored, key }) = file else {
        let status = Status::Stale;
        let text = json!({
            "type": "snapshot", "user_id": user_id, "n": 0, "seq": 0, "mode": null,
            "confidence": null, "as_of": null, "clock": null, "status": status,
        });
        return Ok(Standing { text: text.to_string().into(), status, n: 0 });
    };
    let person = opened.restorer.newest(&stored, &key).await?;
    let state = person.state.as_deref();
    let clock = state.and_then(|state| state.summary(user_id).clock);
    let status = Status::of(stored.quarantined, clock, now(), opened.fresh_for);
    let summary = state.map(|state| state.summary(user_id));
    let text = json!({
        "type": "snapshot",
        "user_id": user_id,
        "n": person.message_number,
        "seq": summary.as_ref().map_or(person.seq_before, |summary| summary.seq),
        "mode": summary.as_ref().map(|summary| summary.mode),
        "confidence": summary.as_ref().map(|summary| summary.confidence),
        "as_of": person.newest.map(|newest| newest.stamp),
        "clock": clock,
        "status": status,
    });
    Ok(Standing { text: text.to_string().into(), status, n: person.message_number })
}

/// Sends where a user stands, and says from where on their messages are taken; `false` when nobody waits.
async fn begin(
    opened: &Opened,
    subscriber: &Subscriber,
    user_id: &str,
    after: Option<i64>,
    snapshot: bool,
) -> bool {
    while subscriber.last(user_id).is_some() {
        match standing(opened, user_id).await {
            Ok(Standing { text, status, n }) => {
                // Whoever knows more than there is knew another store.
                let last = after.map_or(n, |after| after.min(n));
                subscriber.begin_after(user_id, last, status);
                return !snapshot || subscriber.put(text).await;
            }
            Err(unread) => pause_after(unread, subscriber).await,
        }
    }
    false
}

/// What is away may be back after a pause; what is broken ends the subscription.
async fn pause_after(unread: Unread, subscriber: &Subscriber) {
    match unread {
        Unread::Broken(problem) => {
            tracing::error!(%problem, "a subscriber cannot be shown what is stored");
            subscriber.cut(Cut::Broken);
        }
        Unread::Away(_) | Unread::NotLogged(_) | Unread::Nobody => {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Reads a user's messages from the store into the queue until live ones can follow.
pub(super) async fn catch_up(opened: &Opened, subscriber: &Subscriber, user_id: &str) {
    while let Some(after) = subscriber.last(user_id) {
        let (messages, is_last) = match messages(opened, user_id, after).await {
            Ok(page) => page,
            Err(unread) => {
                pause_after(unread, subscriber).await;
                continue;
            }
        };
        let was_something = !messages.is_empty();
        for (n, text) in messages {
            if !subscriber.put(text).await {
                return;
            }
            subscriber.passed(user_id, n);
        }
        if is_last && subscriber.caught_up(user_id, was_something) {
            return;
        }
    }
}

/// Messages of a user behind number `after`, in order, and whether these are all.
async fn messages(
    opened: &Opened,
    user_id: &str,
    after: i64,
) -> Result<(Vec<(i64, ByteString)>, bool), Unread> {
    let _turn = opened.turns.acquire().await;
    let Some(File { stored, key }) = file_of(opened, user_id).await? else {
        return Ok((Vec::new(), true));
    };
    // What is of before the user was erased and let in again does not open.
    let (user, after) = (stored.user, after.max(stored.start.message_number));
    let changes = opened.store.transitions_of_user(user, after, PAGE).await?;
    let alerts = opened.store.alerts_of_user(user, after, PAGE).await?;
    let is_whole = |count: usize| (count as i64) < PAGE;
    let is_last = is_whole(changes.len()) && is_whole(alerts.len());
    // Of a table that was not read to its end, nothing is known behind its last row.
    let ends = [
        changes.last().filter(|_| !is_whole(changes.len())).map(|row| row.n),
        alerts.last().filter(|_| !is_whole(alerts.len())).map(|row| row.n),
    ];
    let end = ends.into_iter().flatten().min().unwrap_or(i64::MAX);
    let mut messages = Vec::with_capacity(changes.len() + alerts.len());
    let rows = changes.into_iter().map(|row| (row.n, transition_place(user, row.n), row.body));
    let rows =
        rows.chain(alerts.into_iter().map(|row| (row.n, alert_place(user, row.n), row.body)));
    for (n, place, body) in rows.filter(|(n, ..)| *n <= end) {
        let unopened =
            |problem: &str| Unread::Broken(format!("row {n} of {}: {problem}", place.table));
        let opened = opened.restorer.open(user, &key, place, &body).await?;
        let opened = opened.map_err(|error| unopened(&error.to_string()))?;
        let is_change = place == transition_place(user, n);
        let text = if is_change { message_of_stored(opened) } else { Some(opened) };
        let text = text.and_then(|bytes| ByteString::try_from(bytes).ok());
        messages.push((n, text.ok_or_else(|| unopened("what is sealed there is no message"))?));
    }
    messages.sort_unstable_by_key(|(n, _)| *n);
    Ok((messages, is_last))
}

/// Sends where everybody stands; `false` when nobody waits.
async fn snapshots(opened: &Opened, subscriber: &Subscriber) -> bool {
    let mut after = actors::lane::UserNumber(0);
    loop {
        if subscriber.cursor().is_none() {
            return false;
        }
        let page = opened.store.users_after(after, USERS_PAGE).await;
        let Ok(users) = page else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let Some(last) = users.last() else { return true };
        after = last.user;
        for stored in users.into_iter().filter(|stored| !stored.erased) {
            let standing = loop {
                match standing(opened, &stored.user_id).await {
                    Ok(standing) => break standing,
                    Err(_) if subscriber.cursor().is_none() => return false,
                    Err(unread) => pause_after(unread, subscriber).await,
                }
            };
            if !subscriber.put(standing.text).await {
                return false;
            }
        }
    }
}

/// Reads everybody's messages from the store into the queue until live ones can follow.
async fn catch_up_everybody(opened: &Opened, subscriber: &Subscriber) {
    while let Some(mut cursor) = subscriber.cursor() {
        let page = {
            let _turn = opened.turns.acquire().await;
            match opened.store.heads().await {
                Ok(heads) => feed::next(opened, &cursor, &heads).await,
                Err(error) => Err(Missing::from(error)),
            }
        };
        match page {
            Ok(steps) if steps.is_empty() => {
                if opened.hub.joins(subscriber) {
                    return;
                }
            }
            Ok(steps) => {
                for step in steps {
                    cursor.move_to(step.lane, step.number);
                    let was_message = step.message.is_some();
                    if let Some(message) = step.message {
                        let text = with_cursor(&message.text, &cursor.encode());
                        if !subscriber.put(text).await {
                            return;
                        }
                    }
                    subscriber.passed_any((step.lane, step.number), was_message);
                }
            }
            Err(Missing::Gone) => return subscriber.cut(Cut::CursorGone),
            Err(Missing::Unread(unread)) => pause_after(unread, subscriber).await,
        }
    }
}

/// A user's status by now, with the message that says it.
pub(super) async fn status_of(
    opened: &Opened,
    user_id: &str,
    file: Option<File>,
) -> Result<(Status, ByteString), Unread> {
    let Some(File { stored, key }) = file else {
        return Ok((Status::Stale, Status::Stale.message(user_id, None)));
    };
    let (person, _) = opened.restorer.person(&stored, &key).await?;
    let clock = person.state.as_deref().and_then(|state| state.summary(user_id).clock);
    let status = Status::of(stored.quarantined, clock, now(), opened.fresh_for);
    Ok((status, status.message(user_id, clock)))
}
