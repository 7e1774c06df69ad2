//! Following users: whether somebody may, and that it is written down before anything is sent. Nothing is read here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actors::store::StoreError;
use futures_util::future::join_all;

use super::archive::{Archive, Opened};
use super::catching_up::{begin, catch_up, catch_up_everybody, snapshots};
use super::cursor::Cursor;
use super::ended::ENDED;
use super::status::Status;
use super::subscriber::{Cut, Subscriber};
use super::text::Text;
use super::{FOLLOWED, access, accessor, refusal};
use crate::http::authentication::Identity;
use crate::http::problem::Problem;
use crate::http::refusals::{Refusals, Whom};
use crate::store::{Access, Administration as _};
use tokio_util::task::task_tracker::TaskTrackerToken;

/// How long writing down that somebody follows may take while the store is there.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait before a store that is away is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// What somebody asks to follow.
pub(in crate::http) struct Wanted {
    pub(in crate::http) whom: Followees,
    /// Send first where each user stands.
    pub(in crate::http) snapshot: bool,
}

/// Whom, and from where on.
pub(in crate::http) enum Followees {
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
}

/// Somebody's place at the hub, until it is dropped.
pub(in crate::http) struct Subscription {
    archive: Arc<Archive>,
    opened: Arc<Opened>,
    refusals: Arc<Refusals>,
    identity: Identity,
    id: u64,
    subscriber: Arc<Subscriber>,
    users_max: usize,
    /// The service waits for it when it ends.
    _socket: TaskTrackerToken,
}

impl Subscription {
    /// A place for somebody who follows nobody yet.
    ///
    /// # Errors
    ///
    /// When the service has not reached its store.
    pub(in crate::http) fn new(
        archive: &Arc<Archive>,
        refusals: &Arc<Refusals>,
        identity: Identity,
        bytes_max: usize,
        wait_max: Duration,
        users_max: usize,
    ) -> Result<Self, Problem> {
        let opened = archive.opened()?;
        let subscriber = Arc::new(Subscriber::new(bytes_max, wait_max));
        let id = opened.hub.enter(&subscriber);
        let _socket = archive.sockets.token();
        let (archive, refusals) = (Arc::clone(archive), Arc::clone(refusals));
        Ok(Self { archive, opened, refusals, identity, id, subscriber, users_max, _socket })
    }

    /// What is to be sent.
    pub(in crate::http) fn subscriber(&self) -> &Arc<Subscriber> {
        &self.subscriber
    }

    /// What is to be said at first: that the store is away, if it is.
    pub(in crate::http) fn greeting(&self) -> Option<Text> {
        self.opened.hub.is_away().then(|| Status::Stale.of_service(None))
    }

    /// Follows, if that may be, once it is written down; while the store is away, that waits.
    ///
    /// # Errors
    ///
    /// See [`Unfollowed`].
    pub(in crate::http) async fn follow(&self, wanted: Wanted) -> Result<(), Unfollowed> {
        match wanted.whom {
            Followees::Users(users) => self.follow_users(users, wanted.snapshot).await,
            Followees::Everybody(cursor) => self.follow_everybody(cursor, wanted.snapshot).await,
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
            ..self.access("SUBSCRIBE")
        };
        let rows = users.iter().map(|(user_id, after)| row(user_id, *after)).collect();
        self.subscriber.ask(users.keys().cloned());
        let beginning = self.beginning();
        self.opened.runtime.spawn(async move { beginning.users(rows, users, snapshot).await });
        Ok(())
    }

    fn check(&self, users: &BTreeMap<String, Option<i64>>) -> Result<(), Unfollowed> {
        let wrong = |text: &str| Err(Unfollowed::Wrong(text.to_owned()));
        if users.is_empty() || !users.keys().all(|user_id| neuros::wire::is_user_id(user_id)) {
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
        let row = self.access("SUBSCRIBE");
        let row = Access { record_id: Some("everybody".to_owned()), ..row };
        self.subscriber.ask_for_everybody();
        let beginning = self.beginning();
        self.opened.runtime.spawn(async move { beginning.everybody(row, cursor, snapshot).await });
        Ok(())
    }

    fn beginning(&self) -> Beginning {
        let (archive, opened) = (Arc::clone(&self.archive), Arc::clone(&self.opened));
        Beginning { archive, opened, id: self.id, subscriber: Arc::clone(&self.subscriber) }
    }

    async fn refuse(&self, user_id: Option<String>) {
        if let Some(one) = self.refusals.one(Whom::Known(self.identity.name().clone())) {
            let about = Access { user_id, ..refusal(&one) };
            self.archive.log_refusal(about, one).await;
        }
    }

    fn access(&self, kind: &str) -> Access {
        access(&accessor(&self.identity), kind, FOLLOWED)
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
            ..self.access(ENDED)
        };
        let mut rows: Vec<Access> =
            users.into_iter().map(|(user_id, sent)| row(Some(user_id), sent)).collect();
        rows.extend(everybody.map(|sent| row(None, sent)));
        self.archive.log_end(rows);
    }
}

/// How somebody comes to follow whom they may.
struct Beginning {
    archive: Arc<Archive>,
    opened: Arc<Opened>,
    id: u64,
    subscriber: Arc<Subscriber>,
}

impl Beginning {
    async fn users(self, rows: Vec<Access>, users: BTreeMap<String, Option<i64>>, snapshot: bool) {
        if !self.log(&rows).await {
            return;
        }
        let Self { archive, opened, id, subscriber } = &self;
        for (user_id, row) in users.keys().zip(rows) {
            match subscriber.follow(user_id) {
                true => opened.hub.follow(*id, subscriber, user_id),
                false => archive.log_end(vec![ended(row)]),
            }
        }
        for (user_id, after) in users {
            if !begin(opened, subscriber, &user_id, after, snapshot).await {
                return;
            }
            catch_up(opened, subscriber, &user_id).await;
        }
    }

    async fn everybody(self, row: Access, cursor: Option<Cursor>, snapshot: bool) {
        if !self.log(std::slice::from_ref(&row)).await {
            return;
        }
        let Self { archive, opened, id, subscriber } = &self;
        let cursor = match cursor {
            Some(cursor) => cursor,
            None => self.position().await,
        };
        let status = if opened.hub.is_away() { Status::Stale } else { Status::Fresh };
        subscriber.tell(&status.of_service(Some(&cursor.encode())));
        if !subscriber.follow_everybody(cursor) {
            return archive.log_end(vec![ended(row)]);
        }
        opened.hub.follow_everybody(*id, subscriber);
        if !snapshot || snapshots(opened, subscriber).await {
            catch_up_everybody(opened, subscriber).await;
        }
    }

    /// Where everybody's messages are by now.
    async fn position(&self) -> Cursor {
        loop {
            if let Some(position) = self.opened.hub.position() {
                return position;
            }
            // Before the store was asked for the first time.
            match self.opened.store.heads().await {
                Ok(heads) => return Cursor::at(heads),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Writes rows down before anything is sent, as often as it takes while the store is away: whoever waits is told
    /// so by the hub. Says whether they are written.
    async fn log(&self, rows: &[Access]) -> bool {
        let hub = &self.opened.hub;
        while self.subscriber.waits() {
            // A crowd that waits asks nothing.
            if hub.is_away() {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            let problem = match tokio::time::timeout(PATIENCE, log_all(&self.opened, rows)).await {
                Ok(Ok(())) => return true,
                Ok(Err(StoreError::Away(_))) => {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                Err(_) if hub.is_away() => continue,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            tracing::error!(%problem, "nobody follows: phi_access_log takes no rows");
            self.subscriber.cut(Cut::NotLogged);
        }
        false
    }
}

/// Of a subscription that was written down and came to nothing: its socket has gone meanwhile.
fn ended(row: Access) -> Access {
    let record_id = row.record_id.filter(|_| row.user_id.is_none());
    Access { access_type: ENDED.to_owned(), record_id, ..row }
}

async fn log_all(opened: &Opened, rows: &[Access]) -> Result<(), StoreError> {
    // Together: they are written by one statement.
    let written = join_all(rows.iter().map(|row| opened.store.log_access(row))).await;
    written.into_iter().collect()
}
