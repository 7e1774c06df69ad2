//! Reading for who follows: where a user stands, what was missed, and when live messages can follow. Nobody is asked
//! here whether they may, for nobody is followed who may not be.

use std::time::Duration;

use actors::message::message_of_stored;
use actors::person::Person;
use actors::places::{alert_place, transition_place};
use actors::restore::RestoreError;
use actors::store::{Asked, Store as _, StoredUser};
use neuros::time::Timestamp;
use serde_json::json;

use super::archive::{File, Opened};
use super::cursor::Cursor;
use super::feed::{self, Left, Missing, Step};
use super::hub::with_cursor;
use super::now;
use super::status::Status;
use super::subscriber::{Cut, Subscriber, Told};
use super::text::{Text, text_of, text_of_opened};
use super::unread::Unread;
use crate::store::Administration as _;

/// Messages of a user that are read at a time.
const PAGE: i64 = 200;
/// Users whose snapshots are read at a time.
const USERS_PAGE: i64 = 200;
/// How long to wait before the store is asked again.
const PAUSE: Duration = Duration::from_secs(1);

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
    text: Text,
    told: Told,
    /// The newest message up to there.
    n: i64,
}

async fn standing(opened: &Opened, user_id: &str) -> Result<Standing, Unread> {
    let _turn = opened.turns.wait().await?;
    let file = file_of(opened, user_id).await?;
    standing_of(opened, user_id, file).await
}

async fn standing_of(
    opened: &Opened,
    user_id: &str,
    file: Option<File>,
) -> Result<Standing, Unread> {
    let Some(File { stored, key }) = file else {
        let told = Told { status: Status::Stale, clock: None };
        let text = json!({
            "type": "snapshot", "user_id": user_id, "n": 0, "seq": 0, "mode": null,
            "confidence": null, "as_of": null, "clock": null, "status": told.status,
        });
        return Ok(Standing { text: text_of(text.to_string()), told, n: 0 });
    };
    let person = if_readable(opened, &stored, opened.restorer.newest(&stored, &key).await)?;
    let person = person.as_ref();
    let state = person.and_then(|person| person.state.as_deref());
    let summary = state.map(|state| state.summary(user_id));
    let summary = summary.as_ref();
    let clock = summary.and_then(|summary| summary.clock);
    let status = Status::of(stored.quarantined, clock, now(), opened.fresh_for);
    let seq_before = person.map(|person| person.seq_before);
    let n = person.map_or(stored.message_number, |person| person.message_number);
    let text = json!({
        "type": "snapshot",
        "user_id": user_id,
        "n": n,
        "seq": summary.map_or(seq_before, |summary| Some(summary.seq)),
        "mode": summary.map(|summary| summary.mode),
        "confidence": summary.map(|summary| summary.confidence),
        "as_of": person.and_then(|person| Some(person.newest?.stamp)),
        "clock": clock,
        "status": status,
    });
    Ok(Standing { text: text_of(text.to_string()), told: Told { status, clock }, n })
}

/// Somebody as they were restored; `None` when this release cannot: nobody else who is followed with them is of less
/// interest for that.
fn if_readable(
    opened: &Opened,
    stored: &StoredUser,
    restored: Result<Person, RestoreError>,
) -> Result<Option<Person>, Unread> {
    match restored {
        Err(RestoreError::Unreadable { problem, .. }) => {
            let user = opened.keys.tag_of(&stored.user_id);
            tracing::warn!(%user, %problem, "nobody can be told where a user stands");
            Ok(None)
        }
        restored => Ok(Some(restored?)),
    }
}

/// Sends where a user stands, and says from where on their messages are taken; `false` when nobody waits.
pub(super) async fn begin(
    opened: &Opened,
    subscriber: &Subscriber,
    user_id: &str,
    after: Option<i64>,
    snapshot: bool,
) -> bool {
    while subscriber.last(user_id).is_some() {
        match standing(opened, user_id).await {
            Ok(Standing { text, told, n }) => {
                // Whoever knows more than there is knew another store.
                let last = after.map_or(n, |after| after.min(n));
                // Before it is said where they stand, no change of that is.
                if snapshot && !subscriber.put(text).await {
                    return false;
                }
                subscriber.begin_after(user_id, last, told);
                return true;
            }
            Err(unread) => pause_after(unread, subscriber).await,
        }
    }
    false
}

/// What is away may be back after a pause; what is broken ends the subscription, and so does too much waiting.
async fn pause_after(unread: Unread, subscriber: &Subscriber) {
    match unread {
        Unread::Broken(problem) => {
            tracing::error!(%problem, "a subscriber cannot be shown what is stored");
            subscriber.cut(Cut::Broken);
        }
        Unread::Busy => subscriber.cut(Cut::Busy),
        Unread::Away(_)
        | Unread::NotLogged(_)
        | Unread::Nobody
        | Unread::Nothing(_)
        | Unread::TooFar(..) => {
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
) -> Result<(Vec<(i64, Text)>, bool), Unread> {
    let _turn = opened.turns.wait().await?;
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
        let text = text.and_then(text_of_opened);
        messages.push((n, text.ok_or_else(|| unopened("what is sealed there is no message"))?));
    }
    messages.sort_unstable_by_key(|(n, _)| *n);
    Ok((messages, is_last))
}

/// Sends where everybody stands; `false` when nobody waits.
pub(super) async fn snapshots(opened: &Opened, subscriber: &Subscriber) -> bool {
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

/// The next messages of everybody.
async fn page(opened: &Opened, cursor: &Cursor) -> Result<Vec<Step>, Missing> {
    let _turn = opened.turns.wait().await?;
    let heads = opened.store.heads().await?;
    feed::next(opened, cursor, &heads).await
}

/// Reads everybody's messages from the store into the queue until live ones can follow.
pub(super) async fn catch_up_everybody(opened: &Opened, subscriber: &Subscriber) {
    while let Some(mut cursor) = subscriber.cursor() {
        match page(opened, &cursor).await {
            Ok(steps) if steps.is_empty() => {
                if opened.hub.joins(subscriber) {
                    return;
                }
            }
            Ok(steps) => {
                for step in steps {
                    cursor.move_to(step.lane, step.number);
                    let was_message = match step.left {
                        Left::Nothing => false,
                        Left::Message(message) => {
                            let text = with_cursor(&message.text, &cursor.encode());
                            if !subscriber.put(text).await {
                                return;
                            }
                            true
                        }
                        Left::Broken { problem, .. } => {
                            return pause_after(Unread::Broken(problem), subscriber).await;
                        }
                    };
                    subscriber.passed_any((step.lane, step.number), was_message);
                }
            }
            Err(Missing::Gone) => return subscriber.cut(Cut::CursorGone),
            Err(Missing::Unread(unread)) => pause_after(unread, subscriber).await,
        }
    }
}

/// The time of a user's newest evaluated event in their checkpoint.
pub(super) async fn clock_of(
    opened: &Opened,
    File { stored, key }: &File,
) -> Result<Option<Timestamp>, Unread> {
    let person = opened.restorer.person(stored, key).await.map(|(person, _)| person);
    let person = if_readable(opened, stored, person)?;
    let state = person.as_ref().and_then(|person| person.state.as_deref());
    Ok(state.and_then(|state| state.summary(&stored.user_id).clock))
}
