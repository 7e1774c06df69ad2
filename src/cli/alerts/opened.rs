//! Changes of alerts as people are shown them: opened, and written down before. Changes nothing.

use actors::lane::UserNumber;
use actors::places::alert_place;
use actors::seal::{DataKey, KeyRing as _, Seal as _, Unopened};
use actors::store::{Asked, Store as _, StoredUser};
use serde_json::Value;

use crate::cli::asking::Asking;
use crate::cli::failure::Failure;
use crate::cli::servers::log_access;
use crate::store::{Administration as _, OpenAlert};
use crate::telemetry::escaped;

/// Changes that are read at once.
pub(super) const PAGE: i64 = 1_000;

/// A change of an alert, opened.
pub(super) struct Opened {
    pub(super) user_id: String,
    /// The number of the message.
    pub(super) n: i64,
    pub(super) message: Value,
}

impl Opened {
    pub(super) fn text(&self, field: &str) -> &str {
        self.message[field].as_str().unwrap_or("")
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.text("status"), "firing" | "acknowledged")
    }

    pub(super) fn is_named(&self, name: &str) -> bool {
        self.text("id") == name || self.text("rule") == name
    }

    pub(super) fn line(&self) -> String {
        let flag = |field: &str| match &self.message[field] {
            Value::Bool(true) => format!(", {field}"),
            Value::String(until) => format!(", snoozed until {until}"),
            _ => String::new(),
        };
        format!(
            "{}  {} {} {} since {}{}{}  {}\n    {}",
            escaped(&self.user_id),
            self.text("severity"),
            self.text("rule"),
            self.text("status"),
            self.text("started_at"),
            flag("suspended"),
            flag("snoozed_until"),
            self.text("id"),
            escaped(self.text("detail")),
        )
    }
}

pub(super) async fn open(asking: &Asking, page: Vec<OpenAlert>) -> Result<Vec<Opened>, Failure> {
    let users: Vec<UserNumber> = page.iter().map(|alert| alert.user).collect();
    let keys = asking.opened.keys.keys_of(&users).await;
    let keys = keys.map_err(|error| Failure::Unavailable(error.to_string()))?;
    let mut all = Vec::with_capacity(page.len());
    for (alert, key) in page.into_iter().zip(keys) {
        // Of somebody who was erased nothing opens.
        let Some(key) = key else { continue };
        if let Some(message) = opened(asking, &key, alert.user, alert.n, &alert.body)? {
            all.push(Opened { user_id: alert.user_id, n: alert.n, message });
        }
    }
    Ok(all)
}

/// A change in the clear; `None` when it is of before its user was erased and let in again.
fn opened(
    asking: &Asking,
    key: &DataKey,
    user: UserNumber,
    n: i64,
    body: &[u8],
) -> Result<Option<Value>, Failure> {
    let not_opened = |problem: &str| {
        Failure::Broken(format!("change {n} of an alert of user number {}: {problem}", user.0))
    };
    match asking.seal.open(key, alert_place(user, n), body) {
        Ok(bytes) => {
            let message = serde_json::from_slice(bytes.expose());
            message.map(Some).map_err(|_| not_opened("it is no message"))
        }
        Err(Unopened::OtherKey(_)) => Ok(None),
        Err(error) => Err(not_opened(&error.to_string())),
    }
}

/// All changes of a user's alerts, oldest first.
pub(super) async fn changes_of(asking: &Asking, user_id: &str) -> Result<Vec<Opened>, Failure> {
    let Some(stored) = user_of(asking, user_id).await? else { return Ok(Vec::new()) };
    let keys = asking.opened.keys.keys_of(&[stored.user]).await;
    let keys = keys.map_err(|error| Failure::Unavailable(error.to_string()))?;
    let Some(key) = keys.into_iter().next().flatten() else { return Ok(Vec::new()) };
    let (mut after, mut sealed) = (0, Vec::new());
    loop {
        let page = asking.opened.store.alerts_of_user(stored.user, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.n;
        sealed.extend(page.into_iter().map(|row| (row.n, row.body)));
    }
    let count = i64::try_from(sealed.len()).unwrap_or(i64::MAX);
    log_access(&asking.opened.store, "biometric_alerts", Some(user_id), count).await?;
    let mut all = Vec::with_capacity(sealed.len());
    for (n, body) in sealed {
        if let Some(message) = opened(asking, &key, stored.user, n, &body)? {
            all.push(Opened { user_id: user_id.to_owned(), n, message });
        }
    }
    Ok(all)
}

async fn user_of(asking: &Asking, user_id: &str) -> Result<Option<StoredUser>, Failure> {
    Ok(asking.opened.store.users(Asked::Ids(&[user_id])).await?.into_iter().next())
}
