//! A person's alerts: what was said of them, what is open, and what somebody asks to be done. Never does it: that
//! is for the owner of the lane.

use std::sync::Arc;
use std::time::Duration;

use actors::command::{DONE, Order};
use actors::home::home;
use actors::phi::Phi;
use actors::places::alert_place;
use actors::store::{Store as _, StoreError};
use neuros::alert::{self, Refusal};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use super::archive::{File, Opened};
use super::unread::Unread;
use super::{Messages, Reader, now};
use crate::http::problem::Problem;
use crate::http::query::Page;
use crate::store::Administration as _;

/// A page of what was said of alerts, as it left.
#[derive(Serialize)]
struct Alerts {
    alerts: Vec<Box<RawValue>>,
    /// What to ask for next; `null` when these were the last.
    next: Option<i64>,
}

/// What became of what was asked for.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Answer {
    /// Its number.
    command: i64,
    /// `done`; `null` when the lane's owner has not carried it out within five seconds: it stays, and will be.
    outcome: Option<String>,
}

/// Open alerts of a user that are looked through, at most: a policy has at most 32 rules, and each one of them one.
const OPEN_MAX: i64 = 1_000;
/// Orders about one user that may wait for the lane's owner: each ends a batch there.
const WAITING_MAX: u64 = 8;
const MANY_WAIT: &str =
    "what was asked about this user's alerts before waits still; try again when it is done";
/// How long whoever asks for something waits for what comes of it.
const PATIENCE: Duration = Duration::from_secs(5);

impl Reader {
    /// A page of the changes of the user's alerts; with `open` only the newest of each that is not over.
    pub(in crate::http) async fn alerts(
        &self,
        open: bool,
        page: Page,
    ) -> Result<Phi<Vec<u8>>, Problem> {
        let limit = i64::from(page.limit);
        let read = async move |opened: Arc<Opened>, file: File| {
            // What is of before the user was erased and let in again does not open.
            let (user, after) =
                (file.stored.user, page.after.max(file.stored.start.message_number));
            let rows: Vec<(i64, Vec<u8>)> = if open {
                let rows = opened.store.open_alerts_of_user(user, after, limit).await?;
                rows.into_iter().map(|row| (row.n, row.body)).collect()
            } else {
                let rows = opened.store.alerts_of_user(user, after, limit).await?;
                rows.into_iter().map(|row| (row.n, row.body)).collect()
            };
            let mut messages = Messages::of(rows.len(), limit);
            for (n, body) in &rows {
                if messages.is_full() {
                    break;
                }
                let place = alert_place(user, *n);
                messages.add(place, Some(opened.open(&file, place, body).await?))?;
            }
            let (alerts, next) = messages.end();
            super::written(&Alerts { alerts, next })
        };
        let part = Some(format!("n > {}", page.after));
        self.disclose("biometric_alerts", part, limit, read).await
    }

    /// Asks the owner of the user's lane to do something about an alert, and waits a little for what comes of it.
    pub(in crate::http) async fn ask_about(
        &self,
        id: Uuid,
        kind: &'static str,
        order: impl FnOnce(i64, String) -> alert::Order + Send + 'static,
    ) -> Result<Answer, Problem> {
        // Without the alert: from its id somebody could guess its rule.
        let access = self.access(kind, "biometric_alerts", None, 1);
        let (user_id, by) = (self.user_id.clone(), access.accessor_id.clone());
        let asking = async move |opened: Arc<Opened>, file: File| {
            let episode = open_episode(&opened, &file, id).await?;
            let episode = episode.ok_or_else(|| Unread::Nothing(Refusal::NotOpen.to_string()))?;
            if opened.store.waiting_about(&user_id).await? >= WAITING_MAX {
                return Err(Unread::Nothing(MANY_WAIT.to_owned()));
            }
            let routing = opened.store.routing().await?;
            let routing =
                routing.ok_or_else(|| Unread::Away("nothing has run on it".to_owned()))?;
            let service_key = opened.keys.newest_service_key().await?;
            let lane = (home(&user_id, routing.partition_count), routing.generation);
            let order = Order::Alert { user_id, order: order(episode, by.clone()) };
            let sealing = (&*opened.seal, &service_key);
            let asked = opened.store.ask(lane, &order, sealing, &by, now()).await;
            asked.map_err(|error| match error {
                // Users are finding new homes: the next time there is one.
                StoreError::Outdated(problem) => Unread::Away(problem),
                error => error.into(),
            })
        };
        let command = self.archive.read(access, self.user_id.clone(), asking).await?;
        let outcome = self.archive.outcome(command, PATIENCE).await?;
        match outcome {
            Some(outcome) if outcome != DONE => Err(Problem::conflict(outcome)),
            outcome => Ok(Answer { command, outcome }),
        }
    }
}

/// What a message about an alert calls it.
#[derive(Deserialize)]
struct Named {
    id: Uuid,
}

/// The number of the open episode that messages call `id`: outside of what is sealed alerts have other names.
async fn open_episode(opened: &Opened, file: &File, id: Uuid) -> Result<Option<i64>, Unread> {
    let (user, after) = (file.stored.user, file.stored.start.message_number);
    for row in opened.store.open_alerts_of_user(user, after, OPEN_MAX).await? {
        let place = alert_place(user, row.n);
        let message = opened.open(file, place, &row.body).await?;
        let named = serde_json::from_slice::<Named>(message.expose());
        let named = named.map_err(|_| super::unread(place, "it is no message"))?;
        if named.id == id {
            return Ok(opened.store.first_of_alert(user, row.alert_id).await?);
        }
    }
    Ok(None)
}
