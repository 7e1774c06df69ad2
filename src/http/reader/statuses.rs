//! Looks from time to time whether those who are followed have turned stale, quarantined or fresh again, and tells
//! who follows them. No message of a user's own says so. It opens nobody's state who has the checkpoint of before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use actors::lane::UserNumber;
use actors::store::{Asked, Store as _};
use hashbrown::HashMap;
use neuros::time::Timestamp;
use tokio_util::sync::CancellationToken;

use super::archive::{File, Opened};
use super::catching_up::clock_of;
use super::now;
use super::status::Status;
use super::subscriber::Told;
use super::unread::Unread;
use crate::store::UserMark;

/// A checkpoint may lag by as much.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Users that are looked up at a time.
const PAGE: usize = 1_000;

/// What is known of those who are followed; the order of the users is never seen.
type Known = HashMap<String, Clock>;

/// The time of a user's newest evaluated event, and of which checkpoint it is.
struct Clock {
    mark: UserMark,
    time: Option<Timestamp>,
}

/// Looks until `stop`.
pub(super) async fn run(opened: Arc<Opened>, stop: CancellationToken) {
    let (mut known, mut quarantined) = (Known::default(), None);
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = stop.cancelled() => return,
        }
        if let Err(Unread::Broken(problem)) = look(&opened, &mut known, &mut quarantined).await {
            tracing::error!(%problem, "nobody knows whether a user who is followed is fresh");
        }
    }
}

/// One look; what is away is looked at again, and subscribers are told by the hub.
async fn look(
    opened: &Opened,
    known: &mut Known,
    quarantined: &mut Option<BTreeSet<String>>,
) -> Result<(), Unread> {
    let followed = opened.hub.followed();
    known.retain(|user_id, _| followed.binary_search(user_id).is_ok());
    for users in followed.chunks(PAGE) {
        refresh(opened, users, known).await?;
        for user_id in users {
            tell_followers(opened, user_id, known.get(user_id));
        }
    }
    let everybody = opened.hub.of_everybody();
    if everybody.is_empty() {
        *quarantined = None;
        return Ok(());
    }
    let current: BTreeSet<String> = opened.store.quarantined().await?.into_iter().collect();
    if let Some(before) = quarantined.replace(current.clone()) {
        let changed: Vec<String> = before.symmetric_difference(&current).cloned().collect();
        let mut one = Known::default();
        refresh(opened, &changed, &mut one).await?;
        for user_id in &changed {
            let Told { status, clock } = standing(opened, one.get(user_id), None);
            let text = status.message(user_id, clock);
            everybody.iter().for_each(|subscriber| subscriber.tell(&text));
        }
    }
    Ok(())
}

/// Opens the states of those of whom another checkpoint is stored than the one that is known.
async fn refresh(opened: &Opened, users: &[String], known: &mut Known) -> Result<(), Unread> {
    if users.is_empty() {
        return Ok(());
    }
    let ids: Vec<&str> = users.iter().map(String::as_str).collect();
    let marks = opened.store.marks(&ids).await?;
    let is_there: BTreeSet<&str> = marks.iter().map(|mark| mark.user_id.as_str()).collect();
    for user_id in ids.iter().filter(|user_id| !is_there.contains(*user_id)) {
        known.remove(*user_id);
    }
    let mut changed = Vec::new();
    for mark in marks {
        match known.get_mut(&mark.user_id) {
            Some(clock) if clock.mark.is_of_same_state(&mark) => clock.mark = mark,
            _ => changed.push(mark),
        }
    }
    if changed.is_empty() {
        return Ok(());
    }
    let mut files = files(opened, &changed).await?;
    for mark in changed {
        let time = match files.remove(&mark.user_id) {
            Some(file) => clock_of(opened, &file).await?,
            None => None,
        };
        known.insert(mark.user_id.clone(), Clock { mark, time });
    }
    Ok(())
}

fn tell_followers(opened: &Opened, user_id: &str, clock: Option<&Clock>) {
    for subscriber in opened.hub.followers(user_id) {
        let judge = |told| standing(opened, clock, told);
        let text = |Told { status, clock }: Told| status.message(user_id, clock);
        subscriber.offer_status(user_id, judge, text);
    }
}

/// A user's status by now, and the time of their newest evaluated event: of the checkpoint, or of the newer state that
/// whoever follows was `told`. Of nobody that is nothing.
fn standing(opened: &Opened, clock: Option<&Clock>, told: Option<Timestamp>) -> Told {
    let time = clock.and_then(|clock| clock.time.max(told));
    let quarantined = clock.is_some_and(|clock| clock.mark.quarantined);
    Told { status: Status::of(quarantined, time, now(), opened.fresh_for), clock: time }
}

/// The rows and keys of these users.
async fn files(opened: &Opened, marks: &[UserMark]) -> Result<BTreeMap<String, File>, Unread> {
    let _turn = opened.turns.wait().await?;
    let ids: Vec<&str> = marks.iter().map(|mark| mark.user_id.as_str()).collect();
    let mut stored = opened.store.users(Asked::Ids(&ids)).await?;
    stored.retain(|stored| !stored.erased);
    let numbers: Vec<UserNumber> = stored.iter().map(|stored| stored.user).collect();
    let keys = opened.keys.keys_of(&numbers).await?;
    let files = stored.into_iter().zip(keys);
    let files = files
        .filter_map(|(stored, key)| Some((stored.user_id.clone(), File { stored, key: key? })));
    Ok(files.collect())
}
