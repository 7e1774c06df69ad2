//! Looks from time to time whether those who are followed have turned stale, quarantined or fresh again, and tells
//! who follows them. No message of a user's own says so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use actors::lane::UserNumber;
use actors::store::{Asked, Store as _};
use tokio_util::sync::CancellationToken;

use super::archive::{File, Opened, Unread};
use super::catching_up::status_of;

/// A checkpoint may lag by as much.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Users that are looked up at a time.
const PAGE: usize = 1_000;

/// Looks until `stop`.
pub(super) async fn run(opened: Arc<Opened>, stop: CancellationToken) {
    let mut quarantined = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = stop.cancelled() => return,
        }
        if let Err(Unread::Broken(problem)) = look(&opened, &mut quarantined).await {
            tracing::error!(%problem, "nobody knows whether a user who is followed is fresh");
        }
    }
}

/// One look; what is away is looked at again, and subscribers are told by the hub.
async fn look(opened: &Opened, known: &mut Option<BTreeSet<String>>) -> Result<(), Unread> {
    let followed = opened.hub.followed();
    for users in followed.chunks(PAGE) {
        tell_followers(opened, users).await?;
    }
    let everybody = opened.hub.of_everybody();
    if everybody.is_empty() {
        *known = None;
        return Ok(());
    }
    let now: BTreeSet<String> = opened.store.quarantined().await?.into_iter().collect();
    if let Some(before) = known.replace(now.clone()) {
        for user_id in before.symmetric_difference(&now) {
            let file = files(opened, std::slice::from_ref(user_id)).await?.remove(user_id);
            let (_, text) = status_of(opened, user_id, file).await?;
            everybody.iter().for_each(|subscriber| subscriber.tell(&text));
        }
    }
    Ok(())
}

async fn tell_followers(opened: &Opened, users: &[String]) -> Result<(), Unread> {
    let mut files = files(opened, users).await?;
    for user_id in users {
        let (status, text) = status_of(opened, user_id, files.remove(user_id)).await?;
        for subscriber in opened.hub.followers(user_id) {
            subscriber.offer_status(user_id, status, &text);
        }
    }
    Ok(())
}

/// The rows and keys of those of these users who are there.
async fn files(opened: &Opened, users: &[String]) -> Result<BTreeMap<String, File>, Unread> {
    let _turn = opened.turns.wait().await;
    let ids: Vec<&str> = users.iter().map(String::as_str).collect();
    let mut stored = opened.store.users(Asked::Ids(&ids)).await?;
    stored.retain(|stored| !stored.erased);
    let numbers: Vec<UserNumber> = stored.iter().map(|stored| stored.user).collect();
    let keys = opened.keys.keys_of(&numbers).await?;
    let files = stored.into_iter().zip(keys);
    let files = files
        .filter_map(|(stored, key)| Some((stored.user_id.clone(), File { stored, key: key? })));
    Ok(files.collect())
}
