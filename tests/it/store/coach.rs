//! What the coach asks of the store: what is not told of, what may be asked for, and messages that are kept once.

use std::sync::Arc;

use actors::lane::{Lane, UserNumber};
use actors::rows::{Erasure, ErasureRow, Sink};
use actors::seal::Sealed;
use actors::store::Store as _;
use biometric_bridge::store::{CallsMax, NewCoachMessage, Permission, SqlStore, Untold};
use neuros::time::{Micros, Timestamp};

use super::batches::{Owner, START, alert, dead_letter, mail, transition};
use super::facts;
use super::places::Place;

facts!(
    what_is_told_of_begins_where_it_was_switched_on,
    a_message_is_kept_once_and_only_by_who_owns_the_lane,
    calls_are_counted_by_minute_day_and_user,
    of_many_who_ask_at_once_as_many_are_permitted_as_may_be,
    nobody_who_is_erased_is_asked_about_or_told,
);

/// Who claims in these facts.
const OWNER: &str = "it";

const MANY: CallsMax = CallsMax { per_minute: 100, per_day: 100, per_user_day: 100 };

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(START) + Micros::from_seconds(seconds)
}

/// Two mode changes of a user with an alert and a dead letter between, committed.
async fn changes(owner: &mut Owner, user: UserNumber, n: i64) {
    let mut batch = owner.batch();
    batch.transitions.push(transition(user, n, n));
    batch.alerts.push(alert(user, n + 1, uuid::Uuid::new_v4(), "firing"));
    batch.transitions.push(transition(user, n + 1, n + 2));
    mail(&mut batch, Sink::Transitions, user, n);
    mail(&mut batch, Sink::Alerts, user, n + 1);
    dead_letter(&mut batch, 7, None);
    mail(&mut batch, Sink::Transitions, user, n + 2);
    owner.commit(batch).await.expect("it is committed");
}

async fn untold(store: &SqlStore) -> Vec<Untold> {
    store.untold_lanes(OWNER).await.expect("lanes")
}

async fn numbers(store: &SqlStore, lane: &Untold) -> Vec<(i64, i64)> {
    let changes = store.untold_changes(lane, 10).await.expect("mode changes");
    changes.iter().map(|change| (change.number, change.n)).collect()
}

fn message(user: UserNumber, n: i64, text: &str) -> NewCoachMessage {
    NewCoachMessage { user, n, body: Sealed(text.as_bytes().to_vec()) }
}

async fn kept(store: &SqlStore, user: UserNumber) -> Vec<(i64, String)> {
    let rows = store.coach_messages_of_user(user, 0, 10).await.expect("messages");
    rows.into_iter().map(|row| (row.n, String::from_utf8(row.body).expect("text"))).collect()
}

async fn what_is_told_of_begins_where_it_was_switched_on(place: Place) {
    let store = &place.store;
    let mut owner = Owner::first(store).await;
    let ada = owner.with_user("ada").await;
    changes(&mut owner, ada, 1).await;
    store.begin_coaching().await.expect("it begins");
    assert_eq!(untold(store).await, []);
    changes(&mut owner, ada, 4).await;
    let lanes = untold(store).await;
    let [lane] = lanes[..] else { panic!("one lane, not {lanes:?}") };
    assert_eq!((lane.lane, lane.token, lane.head), (Lane(0), owner.token, owner.progress.outbox));
    let head = lane.head;
    assert_eq!(numbers(store, &lane).await, [(head - 3, 4), (head, 6)]);
    let first = store.untold_changes(&lane, 1).await.expect("mode changes").remove(0);
    assert_eq!((first.user, &*first.user_id, first.calls), (ada, "ada", 0));
    assert_eq!((first.time, &*first.body), (Timestamp::from_micros(START + 4), &b"switch 4"[..]));
    // Whoever begins again leaves what is there, and nobody tells of the lanes of others.
    store.begin_coaching().await.expect("it begins");
    assert_eq!(untold(store).await, lanes);
    assert_eq!(store.untold_lanes("others").await.expect("lanes"), []);
}

async fn a_message_is_kept_once_and_only_by_who_owns_the_lane(place: Place) {
    let store = &place.store;
    let mut owner = Owner::first(store).await;
    let ada = owner.with_user("ada").await;
    changes(&mut owner, ada, 1).await;
    let lane = untold(store).await.remove(0);
    assert_eq!(lane.cursor, 0, "a lane that came later is told of from its beginning");
    let keep = async |lane: Untold, to, text: &str| {
        store.keep_coach_messages(lane, to, vec![message(ada, 1, text)], at(0)).await.expect("kept")
    };
    let other = store.claim(Lane(0), OWNER, &super::batches::routing()).await.expect("claimed");
    assert!(!keep(lane, lane.head, "of who has lost it").await);
    assert_eq!(kept(store, ada).await, []);
    let lane = Untold { token: other.token, ..lane };
    assert!(keep(lane, lane.head - 1, "first").await);
    assert!(!keep(lane, lane.head, "of who has not seen that").await);
    let lane = untold(store).await.remove(0);
    assert_eq!(numbers(store, &lane).await, [(lane.head, 3)]);
    assert!(keep(lane, lane.head, "again").await, "the cursor moves");
    assert_eq!(kept(store, ada).await, [(1, "first".to_owned())], "and the message stays");
    assert_eq!(untold(store).await, []);
    let newest = store.newest_coach_message(ada).await.expect("an answer").expect("a message");
    assert_eq!(newest.n, 1);
}

async fn calls_are_counted_by_minute_day_and_user(place: Place) {
    let store = &place.store;
    let mut owner = Owner::first(store).await;
    let (ada, bob) = (owner.with_user("ada").await, owner.with_user("bob").await);
    let max = CallsMax { per_minute: 2, per_day: 4, per_user_day: 3 };
    let ask = async |user, n, before, seconds| {
        store.permit_call((user, n), before, max, at(seconds)).await.expect("an answer")
    };
    use Permission::{DaySpent, Given, MinuteSpent, Taken, UserDaySpent};
    assert_eq!(ask(ada, 1, 0, 0).await, Given);
    assert_eq!(ask(ada, 1, 0, 1).await, Taken, "somebody has asked");
    assert_eq!(ask(ada, 1, 1, 1).await, Given, "once more");
    assert_eq!(ask(bob, 1, 0, 2).await, MinuteSpent);
    assert_eq!(ask(ada, 2, 0, 62).await, Given);
    assert_eq!(ask(ada, 3, 0, 63).await, UserDaySpent);
    assert_eq!(ask(bob, 1, 0, 63).await, Given);
    assert_eq!(ask(bob, 2, 0, 130).await, DaySpent);
    let calls = store.coach_calls(at(64)).await.expect("calls");
    assert_eq!((calls.minute, calls.day), (2, 4));
    // A day later they count no more; what was permitted without a message shows as such.
    assert_eq!(ask(bob, 2, 0, 86_462).await, Given);
    changes(&mut owner, ada, 1).await;
    let lane = untold(store).await.remove(0);
    let change = store.untold_changes(&lane, 10).await.expect("mode changes").remove(0);
    assert_eq!((change.n, change.calls), (1, 2));
    // With a message there is nothing more to ask.
    let said = vec![message(ada, 1, "said")];
    assert!(store.keep_coach_messages(lane, lane.head, said, at(99_999)).await.expect("kept"));
    assert_eq!(ask(ada, 1, 2, 200_000).await, Taken);
}

async fn of_many_who_ask_at_once_as_many_are_permitted_as_may_be(place: Place) {
    let mut owner = Owner::first(&place.store).await;
    let ada = owner.with_user("ada").await;
    let max = CallsMax { per_minute: 3, ..MANY };
    let asking: Vec<_> = (1..=10)
        .map(|n| {
            let store = Arc::clone(&place.store);
            tokio::spawn(async move { store.permit_call((ada, n), 0, max, at(0)).await })
        })
        .collect();
    let mut given = 0;
    for asked in asking {
        let permission = asked.await.expect("it runs").expect("an answer");
        given += usize::from(permission == Permission::Given);
    }
    assert_eq!((given, place.count("coach_messages").await), (3, 3));
}

async fn nobody_who_is_erased_is_asked_about_or_told(place: Place) {
    let store = &place.store;
    let mut owner = Owner::first(store).await;
    let (ada, bob) = (owner.with_user("ada").await, owner.with_user("bob").await);
    changes(&mut owner, ada, 1).await;
    changes(&mut owner, bob, 1).await;
    let lane = untold(store).await.remove(0);
    let said = vec![message(ada, 1, "said"), message(bob, 1, "said")];
    assert!(store.keep_coach_messages(lane, lane.head - 4, said, at(0)).await.expect("kept"));
    let mut batch = owner.batch();
    let change = Erasure::Begins { record_number: 1, newest: None, key_number: 1 };
    batch.erasures.push(ErasureRow { user: ada, change });
    owner.commit(batch).await.expect("it is committed");
    place.run("UPDATE users SET start_message_number = 9 WHERE user_id = 'ada'").await;
    let lane = untold(store).await.remove(0);
    let change = store.untold_changes(&lane, 10).await.expect("mode changes");
    assert!(change.iter().all(|change| change.user == bob), "only bob is told of");
    let asked = store.permit_call((ada, 3), 0, MANY, at(0)).await.expect("an answer");
    assert_eq!(asked, Permission::Taken);
    let said = vec![message(ada, 3, "late"), message(bob, 3, "said")];
    assert!(store.keep_coach_messages(lane, lane.head, said, at(0)).await.expect("kept"));
    let swept = store.sweep_erased(ada).await.expect("swept");
    assert_eq!(swept.coach_messages, 1);
    assert_eq!((kept(store, ada).await.len(), kept(store, bob).await.len()), (0, 2));
}
