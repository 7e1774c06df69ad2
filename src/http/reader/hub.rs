//! Hands committed messages to those who follow their users. It reads each of them once, from the store, whoever
//! committed it; hints only say that it is time to look.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actors::lane::Lane;
use hashbrown::HashMap;
use tokio_util::sync::CancellationToken;

use super::archive::Opened;
use super::catching_up::catch_up;
use super::cursor::Cursor;
use super::feed::{self, Left, Missing, Step};
use super::status::Status;
use super::subscriber::{Cut, Offered, Subscriber};
use super::text::{Text, text_of};
use super::unread::Unread;
use crate::hints::Hints;
use crate::telemetry;

/// A lost hint costs so much, at most, beside reading.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the store may take to say how far lanes have come before subscribers are told that it is away.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who follows whom, and up to where messages were handed out.
#[derive(Default)]
pub(super) struct Hub(Mutex<Registry>);

#[derive(Default)]
struct Registry {
    next_id: u64,
    subscribers: BTreeMap<u64, Arc<Subscriber>>,
    /// By user; the order of the users is never seen.
    followers: HashMap<String, Vec<(u64, Arc<Subscriber>)>>,
    everybody: BTreeMap<u64, Arc<Subscriber>>,
    /// `None` before the store was asked first.
    position: Option<Cursor>,
    is_away: bool,
}

impl Hub {
    /// Adds one who follows nobody yet.
    pub(super) fn enter(&self, subscriber: &Arc<Subscriber>) -> u64 {
        let mut registry = self.registry();
        registry.next_id += 1;
        let id = registry.next_id;
        registry.subscribers.insert(id, Arc::clone(subscriber));
        id
    }

    /// From now on a user's messages are offered to this one, unless it has gone.
    pub(super) fn follow(&self, id: u64, subscriber: &Arc<Subscriber>, user_id: &str) {
        let mut registry = self.registry();
        if registry.subscribers.contains_key(&id) {
            let followers = registry.followers.entry(user_id.to_owned()).or_default();
            followers.push((id, Arc::clone(subscriber)));
        }
    }

    /// From now on everybody's are.
    pub(super) fn follow_everybody(&self, id: u64, subscriber: &Arc<Subscriber>) {
        let mut registry = self.registry();
        if registry.subscribers.contains_key(&id) {
            registry.everybody.insert(id, Arc::clone(subscriber));
        }
    }

    /// Up to where messages were handed out; `None` before the store was asked first.
    pub(super) fn position(&self) -> Option<Cursor> {
        self.registry().position.clone()
    }

    /// Whether this one knows all that was handed out, and is handed what follows.
    pub(super) fn joins(&self, subscriber: &Subscriber) -> bool {
        let registry = self.registry();
        registry.position.as_ref().is_some_and(|position| subscriber.joins(position))
    }

    /// Forgets one that has gone.
    pub(super) fn leave(&self, id: u64, users: &[(String, u64)]) {
        let mut registry = self.registry();
        registry.subscribers.remove(&id);
        registry.everybody.remove(&id);
        for (user_id, _) in users {
            if let Some(followers) = registry.followers.get_mut(user_id) {
                followers.retain(|(its, _)| *its != id);
                if followers.is_empty() {
                    registry.followers.remove(user_id);
                }
            }
        }
    }

    /// Those who follow this user by name.
    pub(super) fn followers(&self, user_id: &str) -> Vec<Arc<Subscriber>> {
        let registry = self.registry();
        let followers = registry.followers.get(user_id).into_iter().flatten();
        followers.map(|(_, subscriber)| Arc::clone(subscriber)).collect()
    }

    /// Those who follow everybody.
    pub(super) fn of_everybody(&self) -> Vec<Arc<Subscriber>> {
        self.registry().everybody.values().cloned().collect()
    }

    /// All users who are followed by name.
    pub(super) fn followed(&self) -> Vec<String> {
        let mut users: Vec<String> = self.registry().followers.keys().cloned().collect();
        users.sort_unstable();
        users
    }

    /// Whether anybody follows anybody.
    fn has_subscribers(&self) -> bool {
        !self.registry().subscribers.is_empty()
    }

    /// From where to hand out; `None` when there is nothing to do up to `heads`.
    fn from(&self, heads: &BTreeMap<Lane, i64>) -> Option<Cursor> {
        let mut registry = self.registry();
        let registry = &mut *registry;
        match &mut registry.position {
            Some(position) if !registry.subscribers.is_empty() => {
                let heads = Cursor::at(heads.clone());
                (!position.covers(&heads)).then(|| position.clone())
            }
            // Nobody waits for what was before they came.
            position => {
                *position = Some(Cursor::at(heads.clone()));
                None
            }
        }
    }

    /// Hands rows out in their order; gives who must read the store for whom.
    fn hand_out(&self, steps: Vec<Step>) -> Vec<(Arc<Subscriber>, String)> {
        let mut registry = self.registry();
        let Registry { followers, everybody, position, .. } = &mut *registry;
        let position = position.get_or_insert_default();
        let mut holes = Vec::new();
        for Step { lane, number, left } in steps {
            position.move_to(lane, number);
            let message = match left {
                Left::Nothing => continue,
                Left::Message(message) => message,
                Left::Broken { user_id, n, problem } => {
                    tracing::error!(%problem, "a message cannot be handed out");
                    everybody.values().for_each(|subscriber| subscriber.misses_any((lane, number)));
                    for (_, subscriber) in followers.get(&user_id).into_iter().flatten() {
                        if subscriber.misses(&user_id, n) == Offered::Hole {
                            holes.push((Arc::clone(subscriber), user_id.clone()));
                        }
                    }
                    continue;
                }
            };
            let own = followers.get(&message.user_id);
            let sockets = own.map_or(0, Vec::len) + everybody.len();
            telemetry::traces().handed_out(message.text.expose(), sockets);
            for (_, subscriber) in own.into_iter().flatten() {
                if subscriber.offer(&message) == Offered::Hole {
                    holes.push((Arc::clone(subscriber), message.user_id.clone()));
                }
            }
            if !everybody.is_empty() {
                let text = with_cursor(&message.text, &position.encode());
                for subscriber in everybody.values() {
                    subscriber.offer_any((lane, number), &text);
                }
            }
        }
        holes
    }

    /// Rows that were to be handed out are no longer kept: who waits for them must come again.
    fn lose(&self, heads: BTreeMap<Lane, i64>) {
        let mut registry = self.registry();
        registry.position = Some(Cursor::at(heads));
        tracing::error!("messages were dropped from the outbox before subscribers had them");
        registry.subscribers.values().for_each(|subscriber| subscriber.cut(Cut::Again));
    }

    /// Tells everybody when the store goes away, and when it is back.
    fn note_away(&self, is_away: bool) {
        let mut registry = self.registry();
        if registry.is_away == is_away {
            return;
        }
        registry.is_away = is_away;
        let status = if is_away { Status::Stale } else { Status::Fresh };
        let text = status.of_service(None);
        registry.subscribers.values().for_each(|subscriber| subscriber.tell(&text));
    }

    /// Whether the store was away when it was asked last.
    pub(super) fn is_away(&self) -> bool {
        self.registry().is_away
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A message with the cursor behind it: every message is an object with fields.
pub(super) fn with_cursor(text: &Text, cursor: &str) -> Text {
    let text = text.expose();
    let text = text.strip_suffix('}').unwrap_or(text);
    text_of(format!("{text},\"cursor\":\"{cursor}\"}}"))
}

/// Hands out what is committed, until `stop`.
pub(super) async fn run(opened: Arc<Opened>, hints: Hints, stop: CancellationToken) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        let done = turn(&opened).await;
        if let Err(problem) = &done {
            tracing::warn!(%problem, "subscribers wait");
        }
        opened.hub.note_away(done.is_err());
        looks.reset();
        loop {
            tokio::select! {
                // While nobody follows anybody, commits cost the store no question.
                () = hints.heard() => if opened.hub.has_subscribers() { break },
                _ = looks.tick() => break,
                () = stop.cancelled() => return,
            }
        }
    }
}

/// Hands out what is committed by now; the error says what is away.
async fn turn(opened: &Arc<Opened>) -> Result<(), String> {
    let heads = tokio::time::timeout(PATIENCE, opened.store.heads()).await;
    let heads = heads.map_err(|_| "the store does not answer".to_owned())?;
    let heads = heads.map_err(|error| error.to_string())?;
    while let Some(from) = opened.hub.from(&heads) {
        match feed::next(opened, &from, &heads).await {
            Ok(steps) => {
                // Who was told that the store is away hears that it is back before what it says.
                opened.hub.note_away(false);
                for (subscriber, user_id) in opened.hub.hand_out(steps) {
                    let opened = Arc::clone(opened);
                    let runtime = opened.runtime.clone();
                    runtime.spawn(async move { catch_up(&opened, &subscriber, &user_id).await });
                }
            }
            Err(Missing::Gone) => opened.hub.lose(heads.clone()),
            Err(Missing::Unread(Unread::Away(problem) | Unread::Broken(problem))) => {
                return Err(problem);
            }
            Err(Missing::Unread(Unread::NotLogged(error))) => return Err(error.to_string()),
            Err(Missing::Unread(
                Unread::Nobody | Unread::Nothing(_) | Unread::TooFar(..) | Unread::Busy,
            )) => return Ok(()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::reader::feed::Message;
    use crate::http::reader::subscriber::Told;

    fn step(number: i64, user_id: &str, n: i64) -> Step {
        let text = text_of(format!("{{\"n\":{n}}}"));
        let left = Left::Message(Message { user_id: user_id.to_owned(), n, text });
        Step { lane: Lane(1), number, left }
    }

    async fn next(subscriber: &Subscriber) -> String {
        subscriber.next().await.expect("a message").1.expose().clone()
    }

    fn entered(hub: &Hub) -> (u64, Arc<Subscriber>) {
        let subscriber = Arc::new(Subscriber::new(10_000, PATIENCE));
        (hub.enter(&subscriber), subscriber)
    }

    #[tokio::test]
    async fn each_gets_whom_they_follow_and_who_follows_everybody_gets_a_cursor_with_it() {
        let hub = Hub::default();
        assert_eq!(hub.from(&BTreeMap::from([(Lane(1), 4)])), None, "nobody waits yet");
        let (one, ada) = entered(&hub);
        ada.follow("ada");
        hub.follow(one, &ada, "ada");
        ada.begin_after("ada", 7, Told { status: Status::Fresh, clock: None });
        assert!(ada.caught_up("ada", false));
        let (two, all) = entered(&hub);
        all.follow_everybody(hub.position().expect("the store was asked"));
        hub.follow_everybody(two, &all);
        assert!(hub.joins(&all));
        let steps = vec![step(5, "bob", 1), step(6, "ada", 8), step(7, "ada", 10)];
        let holes = hub.hand_out(steps);
        assert_eq!(holes.len(), 1, "the ninth is missing");
        assert_eq!(next(&ada).await, "{\"n\":8}");
        for (number, n) in [(5, 1), (6, 8), (7, 10)] {
            let cursor = Cursor::at([(Lane(1), number)].into()).encode();
            let text = format!("{{\"n\":{n},\"cursor\":\"{cursor}\"}}");
            assert_eq!(next(&all).await, text);
        }
        let (users, _) = ada.end();
        hub.leave(one, &users);
        assert!(hub.followed().is_empty());
        hub.follow(one, &ada, "ada");
        assert!(hub.followed().is_empty(), "who has gone comes too late");
    }

    #[tokio::test]
    async fn one_that_does_not_open_ends_who_follows_everybody_and_is_looked_for_where_else_it_is()
    {
        let hub = Hub::default();
        assert_eq!(hub.from(&BTreeMap::from([(Lane(1), 4)])), None, "nobody waits yet");
        let (one, ada) = entered(&hub);
        ada.follow("ada");
        hub.follow(one, &ada, "ada");
        ada.begin_after("ada", 7, Told { status: Status::Fresh, clock: None });
        assert!(ada.caught_up("ada", false));
        let all = [(); 2].map(|()| {
            let (id, all) = entered(&hub);
            all.follow_everybody(hub.position().expect("the store was asked"));
            hub.follow_everybody(id, &all);
            all
        });
        assert!(hub.joins(&all[0]), "the other still reads, and will meet it");
        let broken = |number, n| {
            let (user_id, problem) = ("ada".to_owned(), "it is spoilt".to_owned());
            Step { lane: Lane(1), number, left: Left::Broken { user_id, n, problem } }
        };
        assert!(hub.hand_out(vec![broken(4, 7)]).is_empty(), "all had it before");
        assert_eq!(hub.hand_out(vec![broken(5, 8)]).len(), 1, "somebody looks for it");
        let holes = hub.hand_out(vec![step(6, "ada", 9), step(7, "bob", 1)]);
        assert!(holes.is_empty(), "somebody does already");
        assert_eq!(all[0].next().await.err(), Some(Cut::Broken));
        assert!(all[1].cursor().is_some());
        assert_eq!(ada.last("ada"), Some(7), "the ninth waits for the eighth");
    }

    #[tokio::test]
    async fn all_are_told_once_that_the_store_is_away_and_once_that_it_is_back() {
        let hub = Hub::default();
        let (_, subscriber) = entered(&hub);
        for is_away in [false, true, true, false] {
            hub.note_away(is_away);
        }
        for status in ["stale", "fresh"] {
            let text = next(&subscriber).await;
            assert!(text.contains(&format!("\"status\":\"{status}\"")), "{text}");
        }
    }
}
